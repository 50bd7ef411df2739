/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: PCI hotplug registers. */
#include "device_fuzz.h"

#include "devices/pc/pci_hotplug.h"

struct slots {
    uint32_t filled;
};

static void event(void *ctx)
{
}

/* Only what is there may be ejected, and once. */
static void eject(void *ctx, unsigned slot)
{
    struct slots *slots = ctx;

    if (slot > 31 || (slots->filled >> slot & 1) == 0)
        abort();
    slots->filled &= ~(UINT32_C(1) << slot);
}

static uint32_t removable(void *ctx)
{
    return ((struct slots *)ctx)->filled;
}

static void own(struct fuzz_device *f, struct fuzz_input *in)
{
    uint8_t what = fuzz_take(in, 1);

    if ((what & 0x80) != 0)
        pci_hotplug_unplug(f->dev, what & 31);
    else if ((what & 0x40) != 0)
        pci_hotplug_emptied(f->dev, what & 31);
    else
        pci_hotplug_plugged(f->dev, what & 31);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slots slots = {.filled = 0xfffffff0};
    struct fuzz_device f = {.window = {{0, PCI_HOTPLUG_SIZE}}, .own = own};
    struct pci_hotplug_config config = {.ctx = &slots, .event = event, .eject = eject, .removable = removable};

    fuzz_prepare(&f);
    fuzz_run(&f, &pci_hotplug_type, &config, data, size);
    return 0;
}
