/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receive filter of a network card: modes, address table, VLANs, and the commands that set them (virtio 1.2 section
 * 5.1.6.5.1 to .3). */
#ifndef FERRY_DEVICES_VIRTIO_NET_FILTER_H
#define FERRY_DEVICES_VIRTIO_NET_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "state/field.h"

struct err;

#define NET_FILTER_ADDRESSES 64
/* Bytes of command data that can make sense: a full table and a bit, so that a table too large is seen as such. */
#define NET_FILTER_COMMAND_MAX 4096

struct net_filter { /* saved */
    uint8_t mac[6];
    uint8_t promiscuous, all_multicast, all_unicast, no_multicast, no_unicast, no_broadcast;
    uint8_t unicast_overflow, multicast_overflow; /* more addresses were asked for than the table holds: all match */
    uint8_t vlan_filter;                          /* a VLAN has been added: others are dropped */
    uint32_t unicast_count, multicast_count;
    uint8_t unicast[NET_FILTER_ADDRESSES * 6], multicast[NET_FILTER_ADDRESSES * 6];
    uint64_t vlan[64]; /* one bit a VLAN */
};
extern const struct field net_filter_fields[];

void net_filter_reset(struct net_filter *filter, const uint8_t mac[static 6]);
bool net_filter_accepts(const struct net_filter *filter, const uint8_t *frame, size_t size);

/* -EINVAL: unknown or malformed; the filter is unchanged. */
int net_filter_command(struct net_filter *filter, uint8_t class, uint8_t command, const uint8_t *data, size_t size);

int net_filter_check(const struct net_filter *filter, struct err *err);

#endif
