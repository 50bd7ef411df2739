/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks and network cards: the devices that can be added and removed while the VM runs, and their host sides, each with a
 * name of its own. The command line's come the same way.
 *
 * A host side (a "netdev", a "blockdev") exists by itself and serves one device at a time. A device sits in a PCI slot;
 * removing it asks the guest first (src/devices/pc/pci_hotplug.h), and when the guest has let it go the machine tells
 * MACHINE_EVENT_DEVICE_DELETED. A guest that starts anew has let go what it was asked for.
 *
 * Loop thread, lock held, but for plug_eject(). Errors are sentences, and nothing has changed then. */
#ifndef FERRY_VMM_PLUG_H
#define FERRY_VMM_PLUG_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/platform.h"

struct block_config;
struct block_image;
struct board;
struct dev;
struct err;
struct net_backend;

#define PLUG_ID_MAX 63       /* characters of a name: letters, digits, '-', '_', '.', beginning with a letter */
#define PLUG_BACKENDS_MAX 64

struct plug_backend {
    struct plug_backend *next;
    char id[PLUG_ID_MAX + 1];
    struct net_backend *net;   /* of a netdev; NULL with a spec of "none" */
    struct block_image *image; /* of a blockdev */
    char *source;              /* what it was opened from: the image's path, the network's spec */
    char *format;              /* of the image */
    bool used;                 /* by a device */
    bool kept;                 /* it is not to be copied then, whether it is shared or not */
    bool copied;               /* its contents move in the migration under way: it is not shared */
};

struct plug_card {
    struct dev *dev; /* NULL: the slot is empty, or not ours */
    char id[PLUG_ID_MAX + 1];
    struct plug_backend *backend;
    bool ejected;    /* by the guest; to be freed by the loop's thread */
    bool loaded;     /* in the load under way */
};

struct plug {
    struct plug_backend *backends; /* in the order in which they came */
    struct plug_card card[PLATFORM_PCI_SLOTS];
};

struct plug_device {
    const char *driver;  /* "virtio-blk-pci", "virtio-net-pci" */
    const char *id;
    const char *backend; /* name of its host side */
    int slot;            /* -1: the first that is free */
    const uint8_t *mac;  /* NULL: one made from the VM's name and the slot */
    const char *serial;  /* of a disk; NULL: one made from the slot */
};

int plug_open_disk(struct board *board, const char *id, const struct block_config *config, struct err *err);
int plug_open_net(struct board *board, const char *id, const char *spec, struct err *err);

/* Closes a host side that no device uses. disk: which of the two kinds it must be. -ENOENT, -EBUSY. */
int plug_close(struct board *board, const char *id, bool disk, struct err *err);

int plug_add(struct board *board, const struct plug_device *device, struct err *err);

/* Asks the guest to let the device go; a VM that has never run is not asked. -ENOENT. */
int plug_remove(struct board *board, const char *id, struct err *err);

/* The guest has let the slot's device go. From any thread. */
void plug_eject(struct board *board, unsigned slot);

/* Slots that hold one of these devices, one bit each. From any thread. */
uint32_t plug_slots(const struct board *board);

/* Frees what was ejected; and before a reset, what waited for the guest. */
void plug_serve_ejected(struct board *board);
void plug_before_reset(struct board *board);

/* A load, to see that the VM has no device that the saved one had not. */
void plug_load_begin(struct board *board);
void plug_loaded(struct board *board, const struct dev *dev);
int plug_load_end(const struct board *board, struct err *err);

/* The n-th disk or network card in the order of slots; NULL past the last. */
const struct plug_card *plug_disk(const struct board *board, unsigned number);
const struct plug_card *plug_nic(const struct board *board, unsigned number);

/* Frees all devices, then all host sides. */
void plug_free_cards(struct board *board);
void plug_free_backends(struct board *board);

#endif
