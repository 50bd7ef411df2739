/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtual networks of a host: defined, started, stopped, found again.
 *
 * A network is persistent (it has a file in the configuration directory), active (its bridge is there), or both. What
 * is active is written to the run directory before anything is made and removed after everything is gone, so that
 * networks_open() after a crash finds what runs, and takes away what was half made. Errors are sentences. Codes:
 * -ENOENT no such network, -EEXIST name, UUID or bridge taken, -EISCONN and -ENOTCONN active and not active already,
 * -EINVAL and -ENOTSUP what the definition says, others the system's.
 *
 * All calls are made by one thread, one at a time. What takes long (dnsmasq starts, nftables) goes through options.run,
 * which may let others of that thread go on meanwhile: these may look, but must not change anything. */
#ifndef FERRY_NETWORK_NETWORK_H
#define FERRY_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "network/definition.h"
#include "network/dnsmasq.h"
#include "network/tap.h"

struct err;
struct loop;
struct network;
struct networks;

enum network_event { NETWORK_DEFINED, NETWORK_UNDEFINED, NETWORK_STARTED, NETWORK_STOPPED }; /* libvirt's numbers */

struct networks_options {
    const char *config_directory; /* NAME.xml, autostart/NAME.xml */
    const char *run_directory;    /* what is active; to be lost when the host boots */
    const char *lease_directory;
    const char *dnsmasq;      /* program; NULL: "dnsmasq" */
    const char *dnsmasq_user; /* NULL: dnsmasq's own choice */
    /* All may be NULL. event: after the fact; of the undefined network name and UUID still answer. warn: what could not
     * be done while nobody asked. run: calls fn(arg), perhaps elsewhere, and returns when it has ended. */
    void (*event)(void *ctx, const struct network *network, enum network_event event);
    void (*warn)(void *ctx, const char *sentence);
    void (*run)(void *ctx, void (*fn)(void *arg), void *arg);
    void (*server_ended)(void *ctx, const struct network *network);
    void *ctx;
    struct loop *loop;
};

/* Makes the directories, reads the configurations, finds what runs and repairs it. Strings in options must live as
 * long. A file that can't be read is left alone and warned of. */
int networks_open(const struct networks_options *options, struct networks **ret_networks, struct err *err);
/* Active networks stay active. Accepts NULL. */
void networks_close(struct networks *networks);

/* Starts all with autostart that are not active; failures are warned of. */
void networks_autostart(struct networks *networks);

/* When nothing was ever configured here: defines libvirt's "default" (192.168.122.0/24 behind NAT on virbr0), with
 * autostart or without. */
int networks_define_default(struct networks *networks, bool autostart, struct err *err);

size_t networks_count(const struct networks *networks);
struct network *networks_get(const struct networks *networks, size_t index); /* sorted by name */
/* NULL: none. Networks are valid until they are undefined and not active. */
struct network *networks_find(const struct networks *networks, const char *name);
struct network *networks_find_uuid(const struct networks *networks, const uint8_t uuid[static UUID_SIZE]);

const char *network_name(const struct network *network);
const uint8_t *network_uuid(const struct network *network);
bool network_is_active(const struct network *network);
bool network_is_persistent(const struct network *network);
bool network_autostart(const struct network *network);
/* What holds now, of an active one; else what was defined. */
const struct network_definition *network_definition(const struct network *network);
/* inactive: what was defined (of a transient network, what holds). Appends to out. */
int network_xml(const struct network *network, bool inactive, struct buffer *out);

/* Defines a network, or redefines one of the same name and UUID, whose running state stays as it is. */
int network_define(struct networks *networks, const char *xml, struct network **ret_network, struct err *err);
/* Defines and starts one that is gone when it is destroyed. */
int network_create(struct networks *networks, const char *xml, struct network **ret_network, struct err *err);
int network_start(struct network *network, struct err *err);
/* A transient network is gone afterwards. Taps of running VMs lose their bridge. */
int network_destroy(struct network *network, struct err *err);
/* An active one becomes transient; another is gone. Its leases are forgotten. */
int network_undefine(struct network *network, struct err *err);
int network_set_autostart(struct network *network, bool autostart, struct err *err);

/* Starts what of an active network has ended by itself: its dnsmasq. */
int network_repair(struct network *network, struct err *err);

enum { NETWORK_AFFECT_LIVE = 1, NETWORK_AFFECT_CONFIG = 2 }; /* libvirt's; 0: live if it is active, else config */
int network_update(struct network *network, unsigned command, unsigned section, const char *xml, unsigned affect,
                   struct err *err);

/* Free the leases with free(). */
int network_leases(const struct network *network, struct dhcp_lease **ret_leases, size_t *ret_count, struct err *err);

/* A tap on an active network's bridge for a card; the caller closes its descriptor, with which the interface goes
 * unless another process has it. name: as in tap_open(). */
int network_tap(const struct network *network, const char *name, const uint8_t card_mac[static 6], struct tap *ret_tap,
                struct err *err);

#endif
