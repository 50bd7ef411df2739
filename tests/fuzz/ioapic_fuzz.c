/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the I/O APIC. */
#include "device_fuzz.h"

#include "devices/pc/ioapic.h"

static bool deliver(void *ctx, uint8_t destination, bool logical, unsigned delivery_mode, uint8_t vector,
                    bool level_triggered)
{
    return (vector & 1) != 0;
}

static void own(struct fuzz_device *f, struct fuzz_input *in)
{
    uint8_t what = fuzz_take(in, 1);

    if ((what & 0x80) != 0)
        ioapic_end_of_interrupt(f->dev, fuzz_take(in, 1));
    else
        ioapic_set_line(f->dev, what & 31, (what & 0x40) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{0, 4096}}, .own = own};
    struct ioapic_config config = {.deliver = deliver, .version = 0x20};

    fuzz_prepare(&f);
    fuzz_run(&f, &ioapic_type, &config, data, size);
    return 0;
}
