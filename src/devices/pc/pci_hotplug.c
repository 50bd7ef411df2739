/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI hotplug registers: what was plugged, what is to go, and the guest's leave for it. */
#include "devices/pc/pci_hotplug.h"

#include "base/bits.h"

struct pci_hotplug_state {
    uint32_t plugged, to_unplug;
};

struct pci_hotplug {
    struct dev dev;
    struct pci_hotplug_state s;
    struct pci_hotplug_config config;
};

static const struct field pci_hotplug_fields[] = {
    FIELD(1, struct pci_hotplug_state, plugged),
    FIELD(2, struct pci_hotplug_state, to_unplug),
    FIELD_END,
};

static struct pci_hotplug *to_hotplug(struct dev *dev)
{
    return CONTAINER_OF(dev, struct pci_hotplug, dev);
}

void pci_hotplug_plugged(struct dev *dev, unsigned slot)
{
    struct pci_hotplug *hotplug = to_hotplug(dev);

    hotplug->s.plugged |= (uint32_t)BIT(slot);
    hotplug->config.event(hotplug->config.ctx);
}

void pci_hotplug_unplug(struct dev *dev, unsigned slot)
{
    struct pci_hotplug *hotplug = to_hotplug(dev);

    hotplug->s.to_unplug |= (uint32_t)BIT(slot);
    hotplug->config.event(hotplug->config.ctx);
}

void pci_hotplug_emptied(struct dev *dev, unsigned slot)
{
    struct pci_hotplug *hotplug = to_hotplug(dev);

    hotplug->s.plugged &= ~(uint32_t)BIT(slot);
    hotplug->s.to_unplug &= ~(uint32_t)BIT(slot);
}

uint32_t pci_hotplug_waiting(const struct dev *dev)
{
    return CONTAINER_OF(dev, const struct pci_hotplug, dev)->s.to_unplug;
}

static uint32_t take_plugged(struct pci_hotplug *hotplug)
{
    uint32_t plugged = hotplug->s.plugged;

    hotplug->s.plugged = 0;
    return plugged;
}

/* Nothing but aligned double words: ACPI's field says so, and a read that clears must be whole. */
static uint64_t pci_hotplug_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct pci_hotplug *hotplug = to_hotplug(dev);

    if (size != 4)
        return truncate_to(UINT64_MAX, size);
    switch (offset) {
    case PCI_HOTPLUG_PLUGGED:
        return take_plugged(hotplug);
    case PCI_HOTPLUG_TO_UNPLUG:
        return hotplug->s.to_unplug;
    case PCI_HOTPLUG_EJECT:
        return 0;
    case PCI_HOTPLUG_REMOVABLE:
        return hotplug->config.removable(hotplug->config.ctx);
    default:
        return UINT32_MAX;
    }
}

static void pci_hotplug_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_hotplug *hotplug = to_hotplug(dev);
    uint32_t slots;

    if (size != 4 || offset != PCI_HOTPLUG_EJECT)
        return;
    slots = (uint32_t)value & hotplug->config.removable(hotplug->config.ctx);
    for (unsigned slot = 0; slot < 32; slot++) {
        if ((slots & BIT(slot)) == 0)
            continue;
        pci_hotplug_emptied(dev, slot);
        hotplug->config.eject(hotplug->config.ctx, slot);
    }
}

static int pci_hotplug_init(struct dev *dev, const void *config, struct err *err)
{
    to_hotplug(dev)->config = *(const struct pci_hotplug_config *)config;
    return 0;
}

/* What was to go at the next chance goes with the reset: the board looks at pci_hotplug_waiting() before. */
static void pci_hotplug_reset(struct dev *dev)
{
    to_hotplug(dev)->s = (struct pci_hotplug_state){0};
}

const struct dev_type pci_hotplug_type = {
    .name = "pci-hotplug",
    .size = sizeof(struct pci_hotplug),
    .state_offset = offsetof(struct pci_hotplug, s),
    .state_size = sizeof(struct pci_hotplug_state),
    .fields = pci_hotplug_fields,
    .version = 1,
    .init = pci_hotplug_init,
    .reset = pci_hotplug_reset,
    .read = pci_hotplug_read,
    .write = pci_hotplug_write,
};
