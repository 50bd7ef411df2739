/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk (virtio 1.2 section 5.2): a disk on an image of the backend room. */
#ifndef FERRY_DEVICES_VIRTIO_BLK_H
#define FERRY_DEVICES_VIRTIO_BLK_H

#include "backend/block.h"
#include "devices/virtio/virtio.h"

#define VIRTIO_BLK_QUEUES_MAX 16

struct virtio_blk_device_config {
    struct virtio_place place;
    struct block_image *image; /* stays the caller's; close it after the device is freed */
    const char *serial;        /* at most 20 characters; NULL: none */
    unsigned queues;           /* 1..VIRTIO_BLK_QUEUES_MAX; 0 = 1. As many as vCPUs is a good number */
};

extern const struct dev_type virtio_blk_type;

#endif
