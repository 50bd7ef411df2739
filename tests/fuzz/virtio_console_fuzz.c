/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: virtio-console with a hostile driver, and input from its backend. */
#include "virtio_fuzz.h"

#include "devices/virtio/console.h"

static size_t take_some(struct character *character, const void *data, size_t size)
{
    return size > 100 ? 100 : size;
}

static struct character character = {.write = take_some};

static int fuzz_make(struct fuzz_machine *machine, const struct virtio_place *place)
{
    struct virtio_console_device_config config = {.place = *place, .character = &character, .columns = 80, .rows = 25};
    return dev_new(&virtio_console_type, 0, &machine->env, &config, &machine->dev, NULL);
}

static void fuzz_feed(struct fuzz_machine *machine, const uint8_t *data, size_t size)
{
    character.input(character.device, data, size);
    character.writable(character.device);
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    return index < 2 ? fuzz_chain_seed(out, max, index, 0) : 0;
}
