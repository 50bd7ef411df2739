/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Port and MMIO routing: windows sorted by base, found by bisection. */
#include "bus/bus.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "bus/dev.h"

#define PORT_SPACE_SIZE 65536

/* Index of the first window whose base lies above address. */
static unsigned upper_bound(const struct bus *bus, enum bus_space space, uint64_t address)
{
    unsigned low = 0, high = bus->count[space];
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (bus->window[space][middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t size, struct dev *dev, unsigned number)
{
    struct bus_window *window = bus->window[space];
    if (size == 0 || base + (size - 1) < base)
        return -EINVAL;
    if (space == BUS_PORT && base + (size - 1) >= PORT_SPACE_SIZE)
        return -EINVAL;
    unsigned at = upper_bound(bus, space, base);
    if (at > 0 && base - window[at - 1].base < window[at - 1].size)
        return -EEXIST;
    if (at < bus->count[space] && window[at].base - base < size)
        return -EEXIST;
    if (bus->count[space] == BUS_WINDOWS_MAX)
        return -ENOSPC;
    memmove(&window[at + 1], &window[at], (bus->count[space] - at) * sizeof(*window));
    window[at] = (struct bus_window){.base = base, .size = size, .dev = dev, .number = number};
    bus->count[space]++;
    return 0;
}

void bus_remove(struct bus *bus, enum bus_space space, const struct dev *dev, unsigned number)
{
    struct bus_window *window = bus->window[space];
    for (unsigned i = 0; i < bus->count[space]; i++) {
        if (window[i].dev != dev || window[i].number != number)
            continue;
        bus->count[space]--;
        memmove(&window[i], &window[i + 1], (bus->count[space] - i) * sizeof(*window));
        return;
    }
}

/* The window that covers the whole access, or NULL. */
static const struct bus_window *find(const struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    unsigned at = upper_bound(bus, space, address);
    if (at == 0)
        return NULL;
    const struct bus_window *window = &bus->window[space][at - 1];
    uint64_t offset = address - window->base;
    return offset < window->size && size <= window->size - offset ? window : NULL;
}

uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    const struct bus_window *window = find(bus, space, address, size);
    uint64_t value = UINT64_MAX;
    if (window != NULL && window->dev->type->read != NULL)
        value = window->dev->type->read(window->dev, window->number, address - window->base, size);
    return truncate_to(value, size);
}

void bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, uint64_t value)
{
    const struct bus_window *window = find(bus, space, address, size);
    if (window != NULL && window->dev->type->write != NULL)
        window->dev->type->write(window->dev, window->number, address - window->base, size, truncate_to(value, size));
}
