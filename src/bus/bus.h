/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Port and MMIO routing: which device answers at which address.
 *
 * Windows of one space never overlap. An access that no window covers whole reads as all ones; writes are dropped.
 * An access is passed on with the size the guest used. All calls under the machine lock. */
#ifndef FERRY_BUS_BUS_H
#define FERRY_BUS_BUS_H

#include <stdint.h>

struct dev;

enum bus_space { BUS_PORT, BUS_MMIO };

#define BUS_WINDOWS_MAX 256

struct bus_window {
    uint64_t base, size;
    struct dev *dev;
    unsigned number; /* handed to the device as `window` */
};

struct bus {
    unsigned count[2];
    struct bus_window window[2][BUS_WINDOWS_MAX]; /* sorted by base */
};

/* -EEXIST when it overlaps another window, -ENOSPC, -EINVAL (size 0, wraps, port space past 65536). */
int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t size, struct dev *dev, unsigned number);

/* Removes the window of dev with that number, if there is one. */
void bus_remove(struct bus *bus, enum bus_space space, const struct dev *dev, unsigned number);

uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t address, unsigned size);
void bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, uint64_t value);

#endif
