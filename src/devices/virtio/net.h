/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net (virtio 1.2 section 5.1): a network card with one pair of queues and a control queue. */
#ifndef FERRY_DEVICES_VIRTIO_NET_H
#define FERRY_DEVICES_VIRTIO_NET_H

#include "backend/net.h"
#include "devices/virtio/virtio.h"

struct virtio_net_device_config {
    struct virtio_place place;
    struct net_backend *backend; /* stays the caller's; close it after the device is freed. NULL: no link */
    uint8_t mac[6];
};

extern const struct dev_type virtio_net_type;

/* Asks the guest to announce itself on the network (after a migration). False: its driver can't. */
bool virtio_net_announce(struct dev *dev);

/* Plugs the cable in or pulls it out: the guest is told, and without it frames are lost both ways. A guest that starts anew finds it as
 * it was. */
void virtio_net_set_link(struct dev *dev, bool up);

/* The address that the guest uses now. */
void virtio_net_mac(const struct dev *dev, uint8_t ret_mac[static 6]);

#endif
