/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-balloon (virtio 1.2 section 5.5): memory that the guest lends back to the host. */
#ifndef FERRY_DEVICES_VIRTIO_BALLOON_H
#define FERRY_DEVICES_VIRTIO_BALLOON_H

#include "devices/virtio/virtio.h"

struct virtio_balloon_device_config {
    struct virtio_place place;
    /* The guest's driver changed how much it has given up, in bytes; may be NULL. */
    void (*changed)(void *ctx, uint64_t balloon_bytes);
    void *ctx;
};

extern const struct dev_type virtio_balloon_type;

/* How many bytes the guest is asked to give up (rounded down to pages), and how many it has. */
void virtio_balloon_set_target(struct dev *dev, uint64_t bytes);
uint64_t virtio_balloon_actual(const struct dev *dev);

#endif
