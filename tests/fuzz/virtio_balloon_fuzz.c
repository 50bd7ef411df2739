/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: virtio-balloon with a hostile driver. */
#include "virtio_fuzz.h"

#include "devices/virtio/balloon.h"

static int fuzz_make(struct fuzz_machine *machine, const struct virtio_place *place)
{
    struct virtio_balloon_device_config config = {.place = *place};
    return dev_new(&virtio_balloon_type, 0, &machine->env, &config, &machine->dev, NULL);
}

static void fuzz_feed(struct fuzz_machine *machine, const uint8_t *data, size_t size)
{
    virtio_balloon_set_target(machine->dev, size << 20);
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    return index < 2 ? fuzz_chain_seed(out, max, index, 0x0000002100000020) : 0;
}
