/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interfaces of the host by rtnetlink: bridges, their addresses and ports, and the routes there are. Everything happens
 * in the network namespace of the caller and waits for the kernel's answer, which takes microseconds to milliseconds.
 */
#ifndef FERRY_NETWORK_LINK_H
#define FERRY_NETWORK_LINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "network/ipv4.h"

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

int link_add_address(const char *name, const struct ipv4_net *address, struct err *err);

struct link_status {
    bool exists, is_bridge, up;
    uint8_t mac[6];
    unsigned mtu;
};
/* An interface that is not there is no error. */
int link_query(const char *name, struct link_status *ret_status, struct err *err);

/* The first IPv4 route of the main table that overlaps the network, not counting default routes and those by the
 * interface `except`: true, with its network and interface. */
int link_find_route(const struct ipv4_net *net, const char *except, bool *ret_found, struct ipv4_net *ret_route,
                    char ret_interface[static IFNAMSIZ], struct err *err);

#endif
