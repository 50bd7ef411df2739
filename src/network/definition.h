/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a virtual network is to be: libvirt's <network> document as a struct, read, checked, changed and written again.
 *
 * The format is libvirt's (libvirt.org/formatnetwork.html). IPv4 only, one <ip> a network. What has no meaning here is
 * refused by name; <metadata> is kept as it came. */
#ifndef FERRY_NETWORK_DEFINITION_H
#define FERRY_NETWORK_DEFINITION_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "network/ipv4.h"

struct buffer;
struct err;
struct xml_writer;

#define NETWORK_NAME_SIZE 128
#define NETWORK_DOMAIN_SIZE 256 /* of DNS names */
#define NETWORK_TEXT_SIZE 256
#define NETWORK_ENTRIES_MAX 4096         /* of one list in a definition */
#define NETWORK_DHCP_ADDRESSES_MAX 65535 /* in one range */

enum network_forward {
    NETWORK_ISOLATED, /* guests and host among themselves */
    NETWORK_NAT,      /* and out of the host behind its address */
    NETWORK_ROUTE,    /* and out and in, by routing */
    NETWORK_OPEN,     /* like route, but no firewall rules at all */
    NETWORK_BRIDGE,   /* guests are on a bridge of the host that exists already */
};

struct network_range { /* addresses that DHCP gives */
    uint32_t start, end;
    uint32_t lease_seconds; /* 0: the usual (an hour); UINT32_MAX: for ever */
};

struct network_host { /* what DHCP gives to one card or name */
    bool has_mac;
    uint8_t mac[6];
    uint32_t ip;                    /* 0: any */
    char name[NETWORK_DOMAIN_SIZE]; /* "": none */
};

struct network_dns_host { /* one name of one address: <host> with several <hostname> makes several */
    uint32_t ip;
    char name[NETWORK_DOMAIN_SIZE];
};

struct network_dns_txt {
    char name[NETWORK_DOMAIN_SIZE], value[NETWORK_TEXT_SIZE];
};

struct network_dns_srv {
    char service[64], protocol[64], domain[NETWORK_DOMAIN_SIZE], target[NETWORK_DOMAIN_SIZE];
    unsigned port, priority, weight;
};

struct network_forwarder { /* DNS server to ask; 0: answer from here only */
    uint32_t address;
    char domain[NETWORK_DOMAIN_SIZE]; /* "": for all names */
};

#define NETWORK_LIST(type) \
    struct {               \
        type *items;       \
        size_t count;      \
    }

struct network_definition {
    char name[NETWORK_NAME_SIZE];
    uint8_t uuid[UUID_SIZE];
    bool has_uuid;
    enum network_forward forward;
    char forward_dev[IFNAMSIZ];            /* "": whatever the route says */
    uint32_t nat_start, nat_end;           /* addresses to hide behind; 0: the interface's own */
    unsigned nat_port_start, nat_port_end; /* 0: any */
    char bridge[IFNAMSIZ];                 /* "": to be chosen */
    bool stp;
    unsigned delay; /* seconds that a port of the bridge listens before it forwards */
    bool has_mac;
    uint8_t mac[6]; /* of the bridge */
    unsigned mtu;   /* 0: the usual */
    char domain[NETWORK_DOMAIN_SIZE];
    bool domain_local; /* names in it are never asked for elsewhere */
    bool dns;
    bool dns_forward_plain;
    bool has_ip, by_netmask; /* by_netmask: the document says netmask, not prefix */
    struct ipv4_net ip;
    bool has_dhcp;
    char tftp_root[NETWORK_TEXT_SIZE], bootp_file[NETWORK_TEXT_SIZE], bootp_server[NETWORK_DOMAIN_SIZE];
    NETWORK_LIST(struct network_range) ranges;
    NETWORK_LIST(struct network_host) hosts;
    NETWORK_LIST(struct network_dns_host) dns_hosts;
    NETWORK_LIST(struct network_dns_txt) dns_txt;
    NETWORK_LIST(struct network_dns_srv) dns_srv;
    NETWORK_LIST(struct network_forwarder) forwarders;
    char *metadata; /* the element as text, or NULL */
};

/* Reads a <network> document and checks all that needs no look at the host. Sentences; -EINVAL, -ENOTSUP, -ENOMEM. */
int network_definition_parse(const char *xml, struct network_definition **ret_definition, struct err *err);
void network_definition_free(struct network_definition *definition); /* accepts NULL */
int network_definition_copy(const struct network_definition *definition, struct network_definition **ret_copy);

/* Everything about it that can't be: an address outside of its network, two hosts with one address, ... -EINVAL and a
 * sentence. */
int network_definition_check(const struct network_definition *definition, struct err *err);

/* Appends the document. -ENOBUFS, -ENOMEM. */
int network_definition_format(const struct network_definition *definition, struct buffer *out);
/* The <network> element into a document under way. */
void network_definition_write(const struct network_definition *definition, struct xml_writer *writer);

/* libvirt's numbers of virNetworkUpdate. */
enum network_update_command {
    NETWORK_UPDATE_MODIFY = 1,
    NETWORK_UPDATE_DELETE,
    NETWORK_UPDATE_ADD_LAST,
    NETWORK_UPDATE_ADD_FIRST
};
enum network_update_section {
    NETWORK_SECTION_DHCP_HOST = 4,
    NETWORK_SECTION_DHCP_RANGE = 5,
    NETWORK_SECTION_DNS_HOST = 10,
    NETWORK_SECTION_DNS_TXT = 11,
    NETWORK_SECTION_DNS_SRV = 12,
};

/* Changes one entry as the XML fragment says, and checks the whole again; the definition is as it was on failure. */
int network_definition_update(struct network_definition *definition, unsigned command, unsigned section,
                              const char *xml, struct err *err);

/* "nat", "route", ...; "isolated" has no name in the format but is called so in sentences. */
const char *network_forward_name(enum network_forward forward);

/* Whether text may be the name of an interface of the host: 1 to 15 letters, digits, '.', '_', '-'. */
bool network_interface_name_valid(const char *text);
/* Whether text may be a DNS name: labels of letters, digits, '-' and '_', at most 253 bytes. */
bool network_domain_valid(const char *text);

#endif
