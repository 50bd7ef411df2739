/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: two local APICs that can reach each other; the first is driven. */
#include "device_fuzz.h"

#include "devices/pc/lapic.h"

static struct lapic_group group;

static void set_interrupt(void *ctx, unsigned cpu, bool level)
{
}

static void to_cpu(void *ctx, unsigned cpu)
{
}

static void sipi(void *ctx, unsigned cpu, uint8_t vector)
{
}

static void eoi_broadcast(void *ctx, uint8_t vector)
{
}

static int extint_acknowledge(void *ctx)
{
    return 0x20;
}

static uint64_t tsc_now(void *ctx, unsigned cpu)
{
    struct fuzz_device *f = ctx;

    return (uint64_t)clock_now(&f->clock) * 3;
}

static void own(struct fuzz_device *f, struct fuzz_input *in)
{
    static const uint32_t other_msr[] = {0x1b, 0x6e0};
    uint8_t what = fuzz_take(in, 1);
    uint32_t msr = (what & 0x10) != 0 ? other_msr[what >> 5 & 1] : 0x800 + (uint32_t)fuzz_take(in, 1) % 0x44;
    uint64_t value;

    switch (what % 8) {
    case 0:
        lapic_acknowledge(f->dev);
        break;
    case 1:
        lapic_set_lint(f->dev, what >> 4 & 1, (what & 8) != 0);
        break;
    case 2:
        value = fuzz_take(in, 4);
        lapic_deliver(&group, value & 0xff, (what & 8) != 0, value >> 8 & 7, value >> 16, (what & 16) != 0);
        break;
    case 3:
        lapic_msi(&group, 0xfee00000 | fuzz_take(in, 3), fuzz_take(in, 4));
        break;
    case 4:
        lapic_msr_read(f->dev, msr, &value);
        break;
    case 5:
    case 6:
        lapic_msr_write(f->dev, msr, (what & 8) != 0 ? 0xfee00000 | fuzz_take(in, 2) : fuzz_take(in, 8));
        break;
    case 7:
        lapic_tpr_write(f->dev, fuzz_take(in, 1));
        dev_set_running(f->dev, (what & 8) != 0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{0, 4096}}, .own = own};
    struct dev *other;
    struct lapic_config config = {
        .group = &group, .ctx = &f, .set_interrupt = set_interrupt, .nmi = to_cpu, .init = to_cpu, .sipi = sipi,
        .eoi_broadcast = eoi_broadcast, .extint_acknowledge = extint_acknowledge, .tsc_now = tsc_now, .tsc_khz = 3000000,
        .physical_bits = 40, .x2apic = true, .tsc_deadline = true, .virtual_wire = true,
    };

    fuzz_prepare(&f);
    if (dev_new(&lapic_type, 1, &f.env, &config, &other, NULL) < 0)
        return 0;
    fuzz_run(&f, &lapic_type, &config, data, size);
    dev_free(other);
    return 0;
}
