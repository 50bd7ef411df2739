/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interfaces of the host by rtnetlink: bridges, their addresses and ports, and the routes there are. Everything happens
 * in the network namespace of the caller and waits for the kernel's answer, which takes microseconds to milliseconds.
 */
#ifndef FERRY_NETWORK_LINK_H
#define FERRY_NETWORK_LINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "network/ip.h"

struct err;

struct link_bridge {
    const char *name;
    const uint8_t *mac; /* the bridge keeps it, whatever its ports are */
    unsigned mtu;       /* 0: the usual */
    bool stp;
    unsigned delay; /* seconds */
};

/* Makes a bridge, down. -EEXIST when the name is taken. */
int link_make_bridge(const struct link_bridge *bridge, struct err *err);

/* Removes an interface; no error when there is none. */
int link_remove(const char *name, struct err *err);

/* What of an interface is to change; members that are zero stay as they are. */
struct link_change {
    const uint8_t *mac;
    const char *master; /* becomes a port of this bridge */
    unsigned mtu;
    bool up;
};
int link_change(const char *name, const struct link_change *change, struct err *err);

/* Of IPv6 it holds at once: nobody is asked whether he has it. */
int link_add_address(const char *name, const struct ip_net *address, struct err *err);
/* metric 0: the kernel's choice. */
int link_add_route(const char *name, const struct ip_net *net, const struct ip_address *gateway, unsigned metric, struct err *err);

/* A tunnel to other hosts (VXLAN), down; broadcasts and what nobody knows the place of go to all peers. -EEXIST when the name, or
 * this network identifier at that port, is taken. */
struct link_tunnel {
    const char *name;
    const uint8_t *mac;
    unsigned vni, port, mtu;
    const struct ip_address *local; /* must be an address of this host: -EADDRNOTAVAIL */
    const struct ip_address *peers;
    size_t peer_count;
};
int link_make_tunnel(const struct link_tunnel *tunnel, struct err *err);
/* What the interface that has the local address leaves for packets inside a tunnel, bytes; and its name. -EADDRNOTAVAIL */
int link_tunnel_mtu(const struct ip_address *local, unsigned *ret_mtu, char ret_interface[static IFNAMSIZ], struct err *err);

struct link_status {
    bool exists, is_bridge, is_tunnel, up;
    uint8_t mac[6];
    unsigned mtu;
};
/* An interface that is not there is no error. */
int link_query(const char *name, struct link_status *ret_status, struct err *err);

/* The first route of the main table that overlaps the network, not counting default routes and those by the interface `except`: true,
 * with its network and interface. */
int link_find_route(const struct ip_net *net, const char *except, bool *ret_found, struct ip_net *ret_route,
                    char ret_interface[static IFNAMSIZ], struct err *err);

/* An interface from which the kernel has routes of IPv6 by router advertisements; "": none. */
int link_find_advertised(char ret_interface[static IFNAMSIZ], struct err *err);

#endif
