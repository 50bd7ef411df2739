/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the keyboard controller. */
#include "device_fuzz.h"

#include "devices/pc/i8042.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{I8042_WINDOW_DATA, 1}, {I8042_WINDOW_COMMAND, 1}, {I8042_WINDOW_FAST, 1}}};
    struct i8042_config config = {.keyboard = {.set = fuzz_line}, .mouse = {.set = fuzz_line}};

    fuzz_prepare(&f);
    fuzz_run(&f, &i8042_type, &config, data, size);
    return 0;
}
