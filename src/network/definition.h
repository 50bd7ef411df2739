/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a virtual network is to be: libvirt's <network> document as a struct, read, checked, changed and written again.
 *
 * The format is libvirt's (libvirt.org/formatnetwork.html). One <ip> of each family a network. What has no meaning here is refused by
 * name. <metadata>, and elements of other namespaces below <network>, are kept as they came; elsewhere such elements are refused.
 * Of these the network reads libvirt's <dnsmasq:options>, and Ferry's own <overlay> (docs/formats/network.md). */
#ifndef FERRY_NETWORK_DEFINITION_H
#define FERRY_NETWORK_DEFINITION_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/uuid.h"
#include "network/ip.h"

struct buffer;
struct err;
struct xml_writer;

#define NETWORK_NAME_SIZE 128
#define NETWORK_DOMAIN_SIZE 256 /* of DNS names */
#define NETWORK_TEXT_SIZE 256
#define NETWORK_DUID_SIZE 400 /* RFC 8415 section 11.1: 130 bytes at most */
#define NETWORK_ENTRIES_MAX 4096         /* of one list in a definition */
#define NETWORK_DHCP_ADDRESSES_MAX 65535 /* in one range */
#define NETWORK_NAMESPACE "urn:ferry:network:1" /* of Ferry's own elements */
#define NETWORK_NAMESPACE_DNSMASQ "http://libvirt.org/schemas/network/dnsmasq/1.0"
#define NETWORK_TUNNEL_SUFFIX "-ov" /* the tunnel of virbr1 is virbr1-ov */
#define VXLAN_PORT 4789 /* RFC 7348 section 5 */

enum network_forward {
    NETWORK_ISOLATED, /* guests and host among themselves */
    NETWORK_NAT,      /* and out of the host behind its address */
    NETWORK_ROUTE,    /* and out and in, by routing */
    NETWORK_OPEN,     /* like route, but no firewall rules at all */
    NETWORK_BRIDGE,   /* guests are on a bridge of the host that exists already */
};

struct network_range { /* addresses that DHCP gives */
    struct ip_address start, end;
    uint32_t lease_seconds; /* 0: the usual (an hour); UINT32_MAX: for ever */
};

struct network_host { /* what DHCP gives to one card, DUID or name */
    bool has_mac;       /* IPv4 */
    uint8_t mac[6];
    char id[NETWORK_DUID_SIZE];     /* IPv6: the client's DUID as hex bytes with colons; "": none */
    struct ip_address ip;           /* none: any */
    char name[NETWORK_DOMAIN_SIZE]; /* "": none */
};

struct network_dns_host { /* one name of one address: <host> with several <hostname> makes several */
    struct ip_address ip;
    char name[NETWORK_DOMAIN_SIZE];
};

struct network_dns_txt {
    char name[NETWORK_DOMAIN_SIZE], value[NETWORK_TEXT_SIZE];
};

struct network_dns_srv {
    char service[64], protocol[64], domain[NETWORK_DOMAIN_SIZE], target[NETWORK_DOMAIN_SIZE];
    unsigned port, priority, weight;
};

struct network_forwarder { /* DNS server to ask; none: answer from here only */
    struct ip_address address;
    char domain[NETWORK_DOMAIN_SIZE]; /* "": for all names */
};

struct network_route { /* a network behind a guest */
    struct ip_net net;
    struct ip_address gateway;
    bool by_netmask;
    unsigned metric; /* 0: the kernel's */
};

struct network_option { /* a line of dnsmasq's configuration */
    char text[NETWORK_TEXT_SIZE];
};

#define NETWORK_LIST(type) \
    struct {               \
        type *items;       \
        size_t count;      \
    }

struct network_ip {        /* the host's own address in the network, and what DHCP gives there */
    bool there, by_netmask; /* by_netmask: the document says netmask, not prefix */
    struct ip_net net;
    bool has_dhcp;
    NETWORK_LIST(struct network_range) ranges;
    NETWORK_LIST(struct network_host) hosts;
};

struct network_overlay { /* VXLAN (RFC 7348) that joins networks of several hosts to one */
    bool there;
    unsigned vni, port;
    struct ip_address local; /* of this host, in the network that carries the tunnels */
    NETWORK_LIST(struct ip_address) peers;
};

struct network_definition {
    char name[NETWORK_NAME_SIZE];
    uint8_t uuid[UUID_SIZE];
    bool has_uuid;
    enum network_forward forward;
    char forward_dev[IFNAMSIZ];            /* "": whatever the route says */
    struct ip_address nat_start, nat_end;  /* of IPv4, to hide behind; none: the interface's own */
    bool nat_ipv6;                         /* IPv6 is hidden too; else it is routed */
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
    bool ipv6; /* guests may speak IPv6 to each other though the host has no address there: which nothing here forbids anyway */
    struct network_ip ip4, ip6;
    char tftp_root[NETWORK_TEXT_SIZE], bootp_file[NETWORK_TEXT_SIZE], bootp_server[NETWORK_DOMAIN_SIZE];
    NETWORK_LIST(struct network_route) routes;
    NETWORK_LIST(struct network_dns_host) dns_hosts;
    NETWORK_LIST(struct network_dns_txt) dns_txt;
    NETWORK_LIST(struct network_dns_srv) dns_srv;
    NETWORK_LIST(struct network_forwarder) forwarders;
    NETWORK_LIST(struct network_option) dnsmasq_options;
    struct network_overlay overlay;
    char *metadata; /* the element as text, or NULL */
    char *foreign;  /* elements of namespaces that nobody here knows, as text, or NULL */
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
    NETWORK_SECTION_BRIDGE = 1,
    NETWORK_SECTION_DOMAIN = 2,
    NETWORK_SECTION_IP = 3,
    NETWORK_SECTION_DHCP_HOST = 4,
    NETWORK_SECTION_DHCP_RANGE = 5,
    NETWORK_SECTION_FORWARD = 6,
    NETWORK_SECTION_FORWARD_INTERFACE = 7,
    NETWORK_SECTION_FORWARD_PF = 8,
    NETWORK_SECTION_PORTGROUP = 9,
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
