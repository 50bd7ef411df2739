/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The DHCP and DNS server of a network: one dnsmasq, that outlives this process and is found again by its pid file.
 *
 * Files: RUN/NAME.conf, .pid, .hostsfile (DHCP hosts), .addnhosts (DNS hosts), and LEASES/NAME.leases, which stays when
 * the network stops. */
#ifndef FERRY_NETWORK_DNSMASQ_H
#define FERRY_NETWORK_DNSMASQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "network/ip.h"

struct buffer;
struct err;
struct network_definition;

struct dnsmasq_place {
    const char *program; /* "dnsmasq" */
    const char *user;    /* that it becomes; "": dnsmasq's own choice */
    const char *run_directory;
    const char *lease_directory;
};

/* Whether the network needs a server at all. */
bool dnsmasq_wanted(const struct network_definition *definition);

/* Starts it and waits until it serves. One that runs already for this network is stopped first. */
int dnsmasq_start(const struct dnsmasq_place *place, const struct network_definition *definition, struct err *err);

/* Tells a running one of changed hosts (DHCP and DNS); of all else by starting it anew. */
int dnsmasq_update(const struct dnsmasq_place *place, const struct network_definition *definition, bool hosts_only,
                   struct err *err);

/* Stops it, if it runs, waits for its end and removes its files but the leases. */
void dnsmasq_stop(const struct dnsmasq_place *place, const char *name);
void dnsmasq_forget_leases(const struct dnsmasq_place *place, const char *name);

/* A descriptor of the process (pidfd) that serves the network; -ESRCH: none does. */
int dnsmasq_find(const struct dnsmasq_place *place, const char *name, int *ret_pidfd);

struct dhcp_lease {
    int64_t expiry; /* seconds since 1970; 0: never */
    bool has_mac;   /* always of IPv4; of IPv6 when the DUID tells it */
    uint8_t mac[6];
    struct ip_address ip;
    char iaid[32];       /* identity association of IPv6; of IPv4 "" */
    char hostname[256];  /* "": not told */
    char client_id[400]; /* of IPv6 the DUID; "": none */
};

/* Leases that have not expired at `now`, in a new allocation that the caller frees. No file: none. */
int dnsmasq_leases(const struct dnsmasq_place *place, const char *name, int64_t now, struct dhcp_lease **ret_leases,
                   size_t *ret_count, struct err *err);

/* The single steps, for tests: configuration, and one line of the lease file (-EINVAL: none). */
int dnsmasq_format(const struct dnsmasq_place *place, const struct network_definition *definition, struct buffer *out);
int dnsmasq_parse_lease(const char *line, struct dhcp_lease *ret_lease);

#endif
