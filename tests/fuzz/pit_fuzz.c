/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the interval timer. */
#include "device_fuzz.h"

#include "devices/pc/pit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{PIT_WINDOW_COUNTERS, 4}, {PIT_WINDOW_SPEAKER, 1}}};
    struct pit_config config = {.irq = {.set = fuzz_line}};

    fuzz_prepare(&f);
    fuzz_run(&f, &pit_type, &config, data, size);
    return 0;
}
