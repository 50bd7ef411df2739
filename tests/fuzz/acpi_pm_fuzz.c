/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: ACPI fixed hardware. */
#include "device_fuzz.h"

#include "devices/pc/acpi_pm.h"

static void power_off(void *ctx)
{
}

static void own(struct fuzz_device *f, struct fuzz_input *in)
{
    uint8_t what = fuzz_take(in, 1);

    if ((what & 0x80) != 0)
        acpi_pm_power_button(f->dev);
    else
        acpi_pm_event(f->dev, what & 31);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_device f = {.window = {{ACPI_PM_WINDOW_EVENT, 4}, {ACPI_PM_WINDOW_CONTROL, 2}, {ACPI_PM_WINDOW_TIMER, 4},
                                       {ACPI_PM_WINDOW_GPE0, 4}, {ACPI_PM_WINDOW_SMI, 2}},
                            .own = own};
    struct acpi_pm_config config = {.sci = {.set = fuzz_line}, .power_off = power_off, .s5_sleep_type = 5, .acpi_enable = 2,
                                    .acpi_disable = 3, .timer_32bit = size % 2 != 0};

    fuzz_prepare(&f);
    fuzz_run(&f, &acpi_pm_type, &config, data, size);
    return 0;
}
