/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware: mode change, power button, S5, PM timer and its event, GPEs, save and load. */
#include "pc_harness.h"

#include <errno.h>

#include "base/bits.h"
#include "devices/pc/acpi_pm.h"

#define SCI 9

struct fixture {
    struct harness h;
    struct dev *dev;
    unsigned power_offs;
};

static void power_off(void *ctx)
{
    ((struct fixture *)ctx)->power_offs++;
}

static void start(struct fixture *f, bool timer_32bit)
{
    struct acpi_pm_config config;

    *f = (struct fixture){0};
    harness_init(&f->h);
    config = (struct acpi_pm_config){.sci = harness_line(&f->h, SCI), .ctx = f, .power_off = power_off, .s5_sleep_type = 5,
                                     .acpi_enable = 2, .acpi_disable = 3, .timer_32bit = timer_32bit};
    f->dev = harness_new(&f->h, &acpi_pm_type, 0, &config);
    dev_out(f->dev, ACPI_PM_WINDOW_SMI, 0, 1, 2);
}

static void test_mode_change(void **state)
{
    struct fixture f;

    start(&f, false);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2), 1);
    dev_out(f.dev, ACPI_PM_WINDOW_SMI, 0, 1, 3);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2), 0);
    dev_out(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2, 1);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2), 0);
    dev_out(f.dev, ACPI_PM_WINDOW_EVENT, 2, 2, 0x100);
    acpi_pm_power_button(f.dev);
    assert_false(f.h.level[SCI]); /* legacy mode */
    dev_out(f.dev, ACPI_PM_WINDOW_SMI, 0, 1, 2);
    assert_true(f.h.level[SCI]);
    dev_out(f.dev, ACPI_PM_WINDOW_SMI, 1, 1, 0x5a);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_SMI, 0, 2), 0x5a02);
    dev_free(f.dev);
}

static void test_power_button(void **state)
{
    struct fixture f;

    start(&f, false);
    acpi_pm_power_button(f.dev);
    assert_false(f.h.level[SCI]);
    dev_out(f.dev, ACPI_PM_WINDOW_EVENT, 3, 1, 0x01); /* by bytes */
    assert_true(f.h.level[SCI]);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_EVENT, 0, 4), 0x01000100);
    dev_out(f.dev, ACPI_PM_WINDOW_EVENT, 0, 2, 0x001);
    assert_true(f.h.level[SCI]);
    dev_out(f.dev, ACPI_PM_WINDOW_EVENT, 0, 2, 0x100);
    assert_false(f.h.level[SCI]);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_EVENT, 2, 2), 0x100);
    dev_free(f.dev);
}

static void test_sleep(void **state)
{
    struct fixture f;

    start(&f, false);
    dev_out(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2, 5 << 10);
    assert_int_equal(f.power_offs, 0);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2), 5 << 10 | 1);
    dev_out(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2, 1 << 13 | 3 << 10);
    assert_int_equal(f.power_offs, 0);
    dev_out(f.dev, ACPI_PM_WINDOW_CONTROL, 0, 2, 1 << 13 | 5 << 10);
    assert_int_equal(f.power_offs, 1);
    dev_free(f.dev);
}

static void test_timer(void **state)
{
    struct fixture f;

    for (unsigned wide = 0; wide < 2; wide++) {
        uint64_t mask = wide ? UINT32_MAX : 0xffffff;
        uint64_t before;

        start(&f, wide);
        before = dev_in(f.dev, ACPI_PM_WINDOW_TIMER, 0, 4);
        harness_advance(&f.h, 1000 * MILLISECOND);
        assert_in_range((dev_in(f.dev, ACPI_PM_WINDOW_TIMER, 0, 4) - before) & mask, 3579544, 3579546);
        dev_out(f.dev, ACPI_PM_WINDOW_TIMER, 0, 4, 0);
        harness_advance(&f.h, 10000 * MILLISECOND);
        assert_true(dev_in(f.dev, ACPI_PM_WINDOW_TIMER, 0, 4) <= mask);
        dev_free(f.dev);
    }
}

static void test_timer_event(void **state)
{
    struct fixture f;

    start(&f, false);
    dev_out(f.dev, ACPI_PM_WINDOW_EVENT, 2, 2, 1);
    harness_advance(&f.h, 2344 * MILLISECOND); /* 2^23 ticks */
    assert_true(f.h.level[SCI]);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_EVENT, 0, 2), 1);
    dev_out(f.dev, ACPI_PM_WINDOW_EVENT, 0, 2, 1);
    assert_false(f.h.level[SCI]);
    harness_advance(&f.h, 2344 * MILLISECOND);
    assert_true(f.h.level[SCI]);
    assert_int_equal(f.h.rises[SCI], 2);
    dev_free(f.dev);
}

static void test_gpe(void **state)
{
    struct fixture f;

    start(&f, false);
    acpi_pm_event(f.dev, 3);
    acpi_pm_event(f.dev, 16);
    assert_int_equal(dev_in(f.dev, ACPI_PM_WINDOW_GPE0, 0, 4), 8);
    dev_out(f.dev, ACPI_PM_WINDOW_GPE0, 2, 2, 8);
    assert_true(f.h.level[SCI]);
    dev_out(f.dev, ACPI_PM_WINDOW_GPE0, 0, 1, 8);
    assert_false(f.h.level[SCI]);
    dev_free(f.dev);
}

static void test_save_and_load(void **state)
{
    struct fixture a, b;

    start(&a, true);
    start(&b, true);
    dev_out(a.dev, ACPI_PM_WINDOW_EVENT, 2, 2, 0x100);
    acpi_pm_power_button(a.dev);
    harness_move(a.dev, b.dev);
    assert_true(b.h.level[SCI]);
    assert_int_equal(harness_load_with(b.dev, "status", 0, 2), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "enable", 0, 2), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "control", 0, BIT(13)), -EBADMSG);
    dev_free(a.dev);
    dev_free(b.dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_change),
        cmocka_unit_test(test_power_button),
        cmocka_unit_test(test_sleep),
        cmocka_unit_test(test_timer),
        cmocka_unit_test(test_timer_event),
        cmocka_unit_test(test_gpe),
        cmocka_unit_test(test_save_and_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
