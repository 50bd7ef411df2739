/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the real-time clock. */
#include "device_fuzz.h"

#include "devices/pc/rtc.h"

static int64_t wall_jump;

static int64_t wall_clock(void *ctx)
{
    struct fuzz_device *f = ctx;

    return clock_now(&f->clock) + wall_jump;
}

/* The host's clock may be set. */
static void own(struct fuzz_device *f, struct fuzz_input *in)
{
    wall_jump = (int64_t)(fuzz_take(in, 8) >> 2) - INT64_MAX / 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{0, 2}}, .own = own};
    struct rtc_config config = {.irq = {.set = fuzz_line}, .ctx = &f, .wall_clock = wall_clock, .memory_low = 1u << 30};

    wall_jump = 0;
    fuzz_prepare(&f);
    fuzz_run(&f, &rtc_type, &config, data, size);
    return 0;
}
