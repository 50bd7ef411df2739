/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The test devices, and the firmware configuration port that goes with them. */
#include "pc_harness.h"

#include "base/bits.h"
#include "devices/pc/fw_cfg.h"
#include "devices/pc/testdev.h"

struct fixture {
    struct harness h;
    struct dev *dev;
    uint32_t exit_status;
    unsigned exits;
    bool level[24];
};

static void set_line(void *ctx, unsigned gsi, bool level)
{
    ((struct fixture *)ctx)->level[gsi] = level;
}

static void exit_with(void *ctx, uint32_t status)
{
    ((struct fixture *)ctx)->exits++;
    ((struct fixture *)ctx)->exit_status = status;
}

static void start(struct fixture *f)
{
    struct testdev_config config = {.ctx = f, .set_line = set_line, .exit = exit_with};

    *f = (struct fixture){0};
    harness_init(&f->h);
    f->dev = harness_new(&f->h, &testdev_type, 0, &config);
}

static void test_latch_and_memory(void **state)
{
    struct fixture f, g;

    start(&f);
    start(&g);
    dev_out(f.dev, TESTDEV_WINDOW_LATCH, 0, 4, 0x12345678);
    assert_int_equal(dev_in(f.dev, TESTDEV_WINDOW_LATCH, 1, 2), 0x3456);
    dev_out(f.dev, TESTDEV_WINDOW_LATCH, 3, 1, 0xab);
    assert_int_equal(dev_in(f.dev, TESTDEV_WINDOW_LATCH, 0, 4), 0xab345678);
    dev_out(f.dev, TESTDEV_WINDOW_BYTE, 0, 1, 0x5a);
    assert_int_equal(dev_in(f.dev, TESTDEV_WINDOW_BYTE, 0, 1), 0x5a);
    dev_out(f.dev, TESTDEV_WINDOW_MEMORY, 0xfff8, 8, UINT64_C(0x1122334455667788));
    assert_int_equal(dev_in(f.dev, TESTDEV_WINDOW_MEMORY, 0xfffb, 2), 0x4455);
    dev_out(f.dev, TESTDEV_WINDOW_FLUSH, 0, 4, 0x1000);
    harness_move(f.dev, g.dev);
    assert_int_equal(dev_in(g.dev, TESTDEV_WINDOW_MEMORY, 0xfff8, 1), 0x88);
    dev_free(f.dev);
    dev_free(g.dev);
}

static void test_lines_and_exit(void **state)
{
    struct fixture f;

    start(&f);
    dev_out(f.dev, TESTDEV_WINDOW_IRQ, 14, 4, 1);
    assert_true(f.level[14]);
    dev_out(f.dev, TESTDEV_WINDOW_IRQ, 14, 1, 0);
    assert_false(f.level[14]);
    dev_out(f.dev, TESTDEV_WINDOW_EXIT, 0, 4, 77);
    assert_int_equal(f.exit_status, 77);
    assert_int_equal(f.exits, 1);
    dev_free(f.dev);
}

static void test_fw_cfg(void **state)
{
    struct harness h;
    struct fw_cfg_config config = {.memory = GIB(5), .cpus = 4};
    struct dev *dev;
    uint64_t value = 0;

    harness_init(&h);
    dev = harness_new(&h, &fw_cfg_type, 0, &config);
    dev_out(dev, 0, 0, 2, 3);
    for (unsigned i = 0; i < 8; i++)
        value |= dev_in(dev, 0, 1, 1) << (8 * i);
    assert_int_equal(value, GIB(5));
    assert_int_equal(dev_in(dev, 0, 1, 1), 0);
    dev_out(dev, 0, 0, 2, 5);
    assert_int_equal(dev_in(dev, 0, 1, 1), 4);
    assert_int_equal(dev_in(dev, 0, 1, 1), 0);
    dev_out(dev, 0, 0, 2, 0x11);
    assert_int_equal(dev_in(dev, 0, 1, 1), 0);
    dev_free(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latch_and_memory),
        cmocka_unit_test(test_lines_and_exit),
        cmocka_unit_test(test_fw_cfg),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
