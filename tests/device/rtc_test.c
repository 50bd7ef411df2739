/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real-time clock: reading and setting, alarm, update and periodic interrupts, memory sizes, save and load. */
#include "pc_harness.h"

#include <errno.h>

#include "base/bits.h"
#include "devices/pc/rtc.h"

#define SECOND (1000 * MILLISECOND)
/* 2026-11-23 12:34:56 UTC, a Monday */
#define START INT64_C(1795437296)

struct fixture {
    struct harness h;
    int64_t wall_ahead; /* of the stepped clock: nanoseconds */
    struct dev *dev;
};

static int64_t wall_clock(void *ctx)
{
    struct fixture *f = ctx;

    return clock_now(&f->h.clock) + f->wall_ahead;
}

static void start(struct fixture *f)
{
    struct rtc_config config;

    harness_init(&f->h);
    f->wall_ahead = START * SECOND - clock_now(&f->h.clock);
    config = (struct rtc_config){
        .irq = harness_line(&f->h, 8), .ctx = f, .wall_clock = wall_clock, .memory_low = GIB(3), .memory_high = GIB(1)};
    f->dev = harness_new(&f->h, &rtc_type, 0, &config);
}

static uint8_t get(struct fixture *f, uint8_t index)
{
    dev_out(f->dev, 0, 0, 1, index | 0x80);
    return dev_in(f->dev, 0, 1, 1);
}

static void set(struct fixture *f, uint8_t index, uint8_t value)
{
    dev_out(f->dev, 0, 0, 1, index);
    dev_out(f->dev, 0, 1, 1, value);
}

static void assert_time(struct fixture *f, uint8_t hour, uint8_t minute, uint8_t second)
{
    assert_int_equal(get(f, 4), hour);
    assert_int_equal(get(f, 2), minute);
    assert_int_equal(get(f, 0), second);
}

static void test_reading(void **state)
{
    struct fixture f;

    start(&f);
    assert_time(&f, 0x12, 0x34, 0x56);
    assert_int_equal(get(&f, 6), 2);
    assert_int_equal(get(&f, 7), 0x23);
    assert_int_equal(get(&f, 8), 0x11);
    assert_int_equal(get(&f, 9), 0x26);
    assert_int_equal(get(&f, RTC_CENTURY), 0x20);
    assert_int_equal(get(&f, 13), 0x80);
    harness_advance(&f.h, 5 * SECOND);
    assert_time(&f, 0x12, 0x35, 0x01);
    set(&f, 11, 0x06); /* binary */
    assert_time(&f, 12, 35, 1);
    set(&f, 11, 0x04); /* 12 hours */
    assert_time(&f, 12 | 0x80, 35, 1);
    assert_int_equal(dev_in(f.dev, 0, 0, 1), 0xff);
    dev_free(f.dev);
}

static void test_update_in_progress(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(get(&f, 10), 0x26);
    harness_advance(&f.h, SECOND - 244001);
    assert_int_equal(get(&f, 10), 0x26);
    harness_advance(&f.h, 1);
    assert_int_equal(get(&f, 10), 0xa6);
    harness_advance(&f.h, 244000);
    assert_int_equal(get(&f, 10), 0x26);
    assert_time(&f, 0x12, 0x34, 0x57);
    dev_free(f.dev);
}

/* As operating systems do it: SET, divider in reset, registers, both back. The first second then takes a half. */
static void test_setting(void **state)
{
    struct fixture f;

    start(&f);
    harness_advance(&f.h, 300 * MILLISECOND);
    set(&f, 11, 0x82);
    set(&f, 10, 0x76);
    set(&f, 9, 0x99);
    set(&f, RTC_CENTURY, 0x19);
    set(&f, 8, 0x12);
    set(&f, 7, 0x31);
    set(&f, 4, 0x23);
    set(&f, 2, 0x59);
    set(&f, 0, 0x59);
    harness_advance(&f.h, 10 * SECOND);
    assert_time(&f, 0x23, 0x59, 0x59); /* it stands */
    set(&f, 11, 0x02);
    set(&f, 10, 0x26);
    harness_advance(&f.h, 499 * MILLISECOND);
    assert_time(&f, 0x23, 0x59, 0x59);
    harness_advance(&f.h, 1 * MILLISECOND);
    assert_time(&f, 0, 0, 0);
    assert_int_equal(get(&f, RTC_CENTURY), 0x20);
    assert_int_equal(get(&f, 9), 0);
    assert_int_equal(get(&f, 6), 7); /* 2000-01-01 was a Saturday */
    set(&f, 4, 0x08); /* also while it runs */
    harness_advance(&f.h, SECOND);
    assert_time(&f, 0x08, 0, 0x01);
    dev_free(f.dev);
}

static void test_alarm(void **state)
{
    struct fixture f;

    start(&f);
    set(&f, 10, 0x20); /* no periodic flag between */
    set(&f, 1, 0x02);
    set(&f, 3, 0x35);
    set(&f, 5, 0xc0); /* every hour */
    set(&f, 11, 0x22);
    harness_advance(&f.h, 5 * SECOND);
    assert_false(f.h.level[8]);
    harness_advance(&f.h, SECOND);
    assert_true(f.h.level[8]);
    assert_int_equal(get(&f, 12), 0xb0);
    assert_false(f.h.level[8]);
    assert_int_equal(get(&f, 12), 0);
    harness_advance(&f.h, 3600 * SECOND);
    assert_int_equal(get(&f, 12), 0xb0);
    /* Flags are there without interrupts, too. */
    set(&f, 11, 0x02);
    harness_advance(&f.h, 3600 * SECOND);
    assert_int_equal(get(&f, 12), 0x30);
    assert_int_equal(f.h.rises[8], 2);
    dev_free(f.dev);
}

static void test_update_and_periodic(void **state)
{
    struct fixture f;

    start(&f);
    set(&f, 11, 0x12);
    for (unsigned i = 0; i < 3; i++) {
        harness_advance(&f.h, SECOND);
        assert_int_equal(get(&f, 12) & ~0x40, 0x90);
    }
    assert_int_equal(f.h.rises[8], 3);
    set(&f, 11, 0x42);
    get(&f, 12);
    f.h.rises[8] = 0;
    for (unsigned i = 0; i < 1024; i++) {
        harness_advance(&f.h, 976563);
        get(&f, 12);
    }
    assert_in_range(f.h.rises[8], 1023, 1024);
    set(&f, 10, 0x20);
    harness_advance(&f.h, SECOND);
    assert_int_equal(get(&f, 12) & 0x40, 0);
    dev_free(f.dev);
}

static void test_memory(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(get(&f, 0x15) | get(&f, 0x16) << 8, 640);
    assert_int_equal(get(&f, 0x17) | get(&f, 0x18) << 8, 65535);
    assert_int_equal(get(&f, 0x34) | get(&f, 0x35) << 8, (GIB(3) - MIB(16)) / KIB(64));
    assert_int_equal(get(&f, 0x5b) | get(&f, 0x5c) << 8 | get(&f, 0x5d) << 16, GIB(1) / KIB(64));
    set(&f, 0x7f, 0x5a);
    dev_reset(f.dev);
    assert_int_equal(get(&f, 0x7f), 0x5a);
    dev_free(f.dev);
}

static void test_save_and_load(void **state)
{
    struct fixture a, b;

    start(&a);
    start(&b);
    set(&a, 4, 0x03);
    set(&a, 11, 0x12);
    harness_advance(&a.h, 300 * MILLISECOND);
    b.wall_ahead += 300 * MILLISECOND;
    harness_move(a.dev, b.dev);
    assert_time(&b, 0x03, 0x34, 0x56);
    harness_advance(&b.h, 700 * MILLISECOND);
    assert_true(b.h.level[8]);
    assert_int_equal(harness_load_with(b.dev, "index", 0, 128), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "phase", 0, SECOND), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "offset", 0, INT64_MAX), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "cmos", 12, 1), -EBADMSG);
    dev_free(a.dev);
    dev_free(b.dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_update_in_progress),
        cmocka_unit_test(test_setting),
        cmocka_unit_test(test_alarm),
        cmocka_unit_test(test_update_and_periodic),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_save_and_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
