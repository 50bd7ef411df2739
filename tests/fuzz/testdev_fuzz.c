/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the test devices, and the firmware configuration port (chosen by the first byte). */
#include "device_fuzz.h"

#include "devices/pc/fw_cfg.h"
#include "devices/pc/testdev.h"

static void exit_with(void *ctx, uint32_t status)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_device f;
    struct testdev_config testdev = {.set_line = fuzz_line, .exit = exit_with};
    struct fw_cfg_config fw_cfg = {.memory = 1u << 30, .cpus = 2};

    f = (struct fuzz_device){.window = {{TESTDEV_WINDOW_LATCH, 4}, {TESTDEV_WINDOW_FLUSH, 4}, {TESTDEV_WINDOW_BYTE, 1},
                                        {TESTDEV_WINDOW_EXIT, 4}, {TESTDEV_WINDOW_IRQ, 24}, {TESTDEV_WINDOW_MEMORY, 65536}}};
    fuzz_prepare(&f);
    if (size > 0 && (data[0] & 1) != 0) {
        f.window[0] = (struct fuzz_window){0, 2};
        f.window[1].size = 0;
        fuzz_run(&f, &fw_cfg_type, &fw_cfg, data + 1, size - 1);
    } else if (size > 0) {
        fuzz_run(&f, &testdev_type, &testdev, data + 1, size - 1);
    }
    return 0;
}
