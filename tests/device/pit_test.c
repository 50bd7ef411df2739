/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interval timer: modes, edges of counter 0, reading and latching, port 0x61, save and load. */
#include "pc_harness.h"

#include <errno.h>

#include "base/bits.h"
#include "devices/pc/pit.h"

#define CONTROL 3
#define TICK_NS 838 /* a little less than one tick */

static struct dev *start(struct harness *h)
{
    struct pit_config config;

    harness_init(h);
    config.irq = harness_line(h, 0);
    return harness_new(h, &pit_type, 0, &config);
}

static void out(struct dev *pit, unsigned port, uint8_t value)
{
    dev_out(pit, PIT_WINDOW_COUNTERS, port, 1, value);
}

static uint8_t in(struct dev *pit, unsigned port)
{
    return dev_in(pit, PIT_WINDOW_COUNTERS, port, 1);
}

static void load(struct dev *pit, unsigned counter, uint8_t control, uint16_t count)
{
    out(pit, CONTROL, control);
    out(pit, counter, count & 0xff);
    out(pit, counter, count >> 8);
}

static void test_rate_generator(void **state)
{
    struct harness h;
    struct dev *pit = start(&h);
    unsigned before;

    load(pit, 0, 0x34, 11932); /* 100 Hz */
    before = h.rises[0];
    harness_advance(&h, 1000 * MILLISECOND);
    assert_in_range(h.rises[0] - before, 99, 100);
    /* Late service: what was missed is one edge. */
    before = h.rises[0];
    clock_advance(&h.clock, 500 * MILLISECOND);
    timer_queue_run(&h.timers);
    assert_int_equal(h.rises[0] - before, 1);
    dev_free(pit);
}

static void test_one_shots(void **state)
{
    static const uint8_t control[] = {0x30, 0x38}; /* terminal count, software strobe */
    struct harness h;
    struct dev *pit = start(&h);

    for (unsigned i = 0; i < ARRAY_SIZE(control); i++) {
        unsigned before;

        load(pit, 0, control[i], 1193);
        before = h.rises[0];
        harness_advance(&h, 1193 * TICK_NS);
        assert_int_equal(h.rises[0], before);
        harness_advance(&h, MILLISECOND);
        assert_int_equal(h.rises[0], before + 1);
        harness_advance(&h, 1000 * MILLISECOND);
        assert_int_equal(h.rises[0], before + 1);
    }
    dev_free(pit);
}

static void test_square_wave(void **state)
{
    struct harness h;
    struct dev *pit = start(&h);
    unsigned before;

    load(pit, 0, 0x36, 0); /* 65536: 18.2 Hz */
    assert_true(h.level[0]);
    before = h.rises[0];
    harness_advance(&h, 30 * MILLISECOND);
    assert_false(h.level[0]);
    harness_advance(&h, 970 * MILLISECOND);
    assert_in_range(h.rises[0] - before, 18, 18);
    dev_free(pit);
}

static void test_fastest_rate_is_bounded(void **state)
{
    struct harness h;
    struct dev *pit = start(&h);

    load(pit, 0, 0x34, 1);
    harness_advance(&h, MILLISECOND);
    assert_in_range(h.rises[0], 1, 12);
    dev_free(pit);
}

static void test_reading(void **state)
{
    struct harness h;
    struct dev *pit = start(&h);
    unsigned value;

    load(pit, 1, 0x74, 50000);
    harness_advance(&h, MILLISECOND);
    out(pit, CONTROL, 0x40);
    harness_advance(&h, MILLISECOND);
    out(pit, CONTROL, 0x40); /* latched already: no effect */
    value = in(pit, 1);
    value |= in(pit, 1) << 8;
    assert_int_equal(value, 50000 - 1193);
    value = in(pit, 1);
    value |= in(pit, 1) << 8;
    assert_int_equal(value, 50000 - 2386);
    /* Read-back of status and count. */
    out(pit, CONTROL, 0xc4);
    assert_int_equal(in(pit, 1), 0x80 | 0x34);
    value = in(pit, 1);
    value |= in(pit, 1) << 8;
    assert_int_equal(value, 50000 - 2386);
    assert_int_equal(in(pit, CONTROL), 0xff);
    /* BCD. */
    load(pit, 1, 0x71, 0x9999);
    harness_advance(&h, MILLISECOND);
    value = in(pit, 1);
    value |= in(pit, 1) << 8;
    assert_int_equal(value, 0x8806);
    dev_free(pit);
}

static void test_speaker_port(void **state)
{
    struct harness h;
    struct dev *pit = start(&h);
    uint64_t refresh;

    assert_int_equal(dev_in(pit, PIT_WINDOW_SPEAKER, 0, 1) & 0x23, 0);
    dev_out(pit, PIT_WINDOW_SPEAKER, 0, 1, 3);
    load(pit, 2, 0xb0, 11932);
    assert_int_equal(dev_in(pit, PIT_WINDOW_SPEAKER, 0, 1) & 0x23, 3);
    harness_advance(&h, 9 * MILLISECOND);
    assert_int_equal(dev_in(pit, PIT_WINDOW_SPEAKER, 0, 1) & 0x20, 0);
    harness_advance(&h, 2 * MILLISECOND);
    assert_int_equal(dev_in(pit, PIT_WINDOW_SPEAKER, 0, 1) & 0x20, 0x20);
    refresh = dev_in(pit, PIT_WINDOW_SPEAKER, 0, 1) & 0x10;
    harness_advance(&h, 15085);
    assert_int_not_equal(dev_in(pit, PIT_WINDOW_SPEAKER, 0, 1) & 0x10, refresh);
    /* A rise of the gate restarts a rate generator. */
    load(pit, 2, 0xb4, 50000);
    dev_out(pit, PIT_WINDOW_SPEAKER, 0, 1, 0);
    harness_advance(&h, 10 * MILLISECOND);
    dev_out(pit, PIT_WINDOW_SPEAKER, 0, 1, 1);
    assert_int_equal(in(pit, 2), 50000 & 0xff);
    assert_int_equal(in(pit, 2), 50000 >> 8);
    dev_free(pit);
}

static void test_save_and_load(void **state)
{
    struct harness a, b;
    struct dev *from = start(&a), *to = start(&b);
    unsigned before;

    load(from, 0, 0x34, 11932);
    out(from, 0, 0x12); /* half of a new count */
    harness_advance(&a, 3 * MILLISECOND);
    clock_advance(&b.clock, 3 * MILLISECOND);
    harness_move(from, to);
    before = b.rises[0];
    harness_advance(&b, 6 * MILLISECOND);
    assert_int_equal(b.rises[0], before);
    harness_advance(&b, 2 * MILLISECOND);
    assert_int_equal(b.rises[0], before + 1);
    assert_int_equal(harness_load_with(to, "speaker_data_on", 0, 2), -EBADMSG);
    dev_free(from);
    dev_free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_generator),
        cmocka_unit_test(test_one_shots),
        cmocka_unit_test(test_square_wave),
        cmocka_unit_test(test_fastest_rate_is_bounded),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_speaker_port),
        cmocka_unit_test(test_save_and_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
