/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng (virtio 1.2 section 5.4): random bytes from the host's getrandom(). */
#ifndef FERRY_DEVICES_VIRTIO_RNG_H
#define FERRY_DEVICES_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

struct virtio_rng_device_config {
    struct virtio_place place;
};

extern const struct dev_type virtio_rng_type;

#endif
