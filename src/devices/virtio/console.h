/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-console (virtio 1.2 section 5.3): port 0 on a character backend. */
#ifndef FERRY_DEVICES_VIRTIO_CONSOLE_H
#define FERRY_DEVICES_VIRTIO_CONSOLE_H

#include "backend/character.h"
#include "devices/virtio/virtio.h"

struct virtio_console_device_config {
    struct virtio_place place;
    struct character *character; /* stays the caller's; close it after the device is freed. NULL: output is dropped */
    uint16_t columns, rows;      /* 0: unknown */
};

extern const struct dev_type virtio_console_type;

/* The terminal has another size. */
void virtio_console_resize(struct dev *dev, uint16_t columns, uint16_t rows);

#endif
