/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tap interfaces for the cards of VMs: made here with privileges, handed over as a descriptor. */
#ifndef FERRY_NETWORK_TAP_H
#define FERRY_NETWORK_TAP_H

#include <net/if.h>
#include <stdint.h>

struct err;

struct tap {
    int fd; /* non-blocking, close-on-exec; the interface lives as long as a copy of this is open anywhere */
    char name[IFNAMSIZ]; /* vnet0, ... */
};

/* Makes a tap interface that is a port of the bridge, up, with frames that carry a 12-byte virtio-net header. Its own
 * MAC is the card's with the first byte fe, so that the bridge never takes it for the lowest. name: NULL for the next
 * free vnetN. mtu: 0 takes the bridge's. Nothing is left behind on failure. */
int tap_open(const char *bridge, const char *name, const uint8_t card_mac[static 6], unsigned mtu, struct tap *ret_tap,
             struct err *err);

#endif
