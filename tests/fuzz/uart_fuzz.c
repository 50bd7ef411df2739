/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the serial port, with a backend that takes what it likes. */
#include "device_fuzz.h"

#include "backend/character.h"
#include "devices/pc/uart.h"

static size_t room;

static size_t take(struct character *character, const void *data, size_t size)
{
    size_t count = size < room ? size : room;

    room -= count;
    return count;
}

static struct character character = {.write = take};

static void own(struct fuzz_device *f, struct fuzz_input *in)
{
    uint8_t what = fuzz_take(in, 1);
    uint8_t bytes[64] = {0};

    if ((what & 0x80) != 0) {
        room = what & 0x7f;
        character.writable(character.device);
    } else {
        character.input(character.device, bytes, what & 63);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{0, 8}}, .own = own};
    struct uart_config config = {.irq = {.set = fuzz_line}, .character = &character};

    room = 20;
    fuzz_prepare(&f);
    fuzz_run(&f, &uart_type, &config, data, size);
    return 0;
}
