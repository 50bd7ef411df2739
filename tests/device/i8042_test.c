/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller: the probing sequences of operating systems, reset, A20, save and load. */
#include "pc_harness.h"

#include <errno.h>

#include "devices/pc/i8042.h"

struct fixture {
    struct harness h;
    struct dev *dev;
    unsigned resets;
    bool a20;
};

static void reset(void *ctx)
{
    ((struct fixture *)ctx)->resets++;
}

static void a20(void *ctx, bool enable)
{
    ((struct fixture *)ctx)->a20 = enable;
}

static void start(struct fixture *f)
{
    struct i8042_config config;

    *f = (struct fixture){0};
    harness_init(&f->h);
    config = (struct i8042_config){
        .keyboard = harness_line(&f->h, 1), .mouse = harness_line(&f->h, 12), .ctx = f, .reset = reset, .a20 = a20};
    f->dev = harness_new(&f->h, &i8042_type, 0, &config);
}

static void command(struct fixture *f, uint8_t value)
{
    dev_out(f->dev, I8042_WINDOW_COMMAND, 0, 1, value);
}

static void data(struct fixture *f, uint8_t value)
{
    dev_out(f->dev, I8042_WINDOW_DATA, 0, 1, value);
}

static uint8_t status(struct fixture *f)
{
    return dev_in(f->dev, I8042_WINDOW_COMMAND, 0, 1);
}

static void expect(struct fixture *f, uint8_t value)
{
    assert_int_equal(status(f) & 0x21, 0x01);
    assert_int_equal(dev_in(f->dev, I8042_WINDOW_DATA, 0, 1), value);
}

static void expect_mouse(struct fixture *f, uint8_t value)
{
    assert_int_equal(status(f) & 0x21, 0x21);
    assert_int_equal(dev_in(f->dev, I8042_WINDOW_DATA, 0, 1), value);
}

static void test_controller(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(status(&f), 0x14);
    command(&f, 0xaa);
    assert_int_equal(status(&f) & 0x08, 0x08);
    expect(&f, 0x55);
    command(&f, 0xab);
    expect(&f, 0);
    command(&f, 0xa9);
    expect(&f, 0);
    command(&f, 0x60);
    data(&f, 0x44);
    command(&f, 0x20);
    expect(&f, 0x44);
    command(&f, 0xa7);
    command(&f, 0x20);
    expect(&f, 0x64);
    command(&f, 0xa8);
    command(&f, 0xad);
    command(&f, 0x20);
    expect(&f, 0x54);
    command(&f, 0xd3);
    data(&f, 0x5a);
    expect_mouse(&f, 0x5a);
    command(&f, 0xd2);
    data(&f, 0xa5);
    expect(&f, 0xa5);
    assert_int_equal(status(&f) & 1, 0);
    dev_free(f.dev);
}

static void test_keyboard(void **state)
{
    struct fixture f;

    start(&f);
    data(&f, 0xff);
    assert_true(f.h.level[1]);
    expect(&f, 0xfa);
    assert_int_equal(f.h.rises[1], 2); /* each byte is an edge */
    expect(&f, 0xaa);
    assert_false(f.h.level[1]);
    data(&f, 0xf2);
    expect(&f, 0xfa);
    expect(&f, 0xab);
    expect(&f, 0x83);
    data(&f, 0xed);
    expect(&f, 0xfa);
    data(&f, 0x07);
    expect(&f, 0xfa);
    data(&f, 0xf0);
    expect(&f, 0xfa);
    data(&f, 0);
    expect(&f, 0xfa);
    expect(&f, 2);
    data(&f, 0xee);
    expect(&f, 0xee);
    data(&f, 0x01);
    expect(&f, 0xfe);
    for (unsigned i = 0; i < 100; i++)
        data(&f, 0xf2);
    dev_free(f.dev);
}

static void test_mouse(void **state)
{
    struct fixture f;

    start(&f);
    command(&f, 0xd4);
    data(&f, 0xff);
    assert_true(f.h.level[12]);
    expect_mouse(&f, 0xfa);
    expect_mouse(&f, 0xaa);
    expect_mouse(&f, 0);
    assert_false(f.h.level[12]);
    command(&f, 0xd4);
    data(&f, 0xf3);
    expect_mouse(&f, 0xfa);
    command(&f, 0xd4);
    data(&f, 200);
    expect_mouse(&f, 0xfa);
    command(&f, 0xd4);
    data(&f, 0xe9);
    expect_mouse(&f, 0xfa);
    expect_mouse(&f, 0);
    expect_mouse(&f, 2);
    expect_mouse(&f, 200);
    command(&f, 0xd4);
    data(&f, 0xf2);
    expect_mouse(&f, 0xfa);
    expect_mouse(&f, 0);
    dev_free(f.dev);
}

static void test_reset_and_a20(void **state)
{
    struct fixture f;

    start(&f);
    assert_true(f.a20);
    command(&f, 0xff);
    assert_int_equal(f.resets, 0);
    command(&f, 0xfe);
    assert_int_equal(f.resets, 1);
    command(&f, 0xd1);
    data(&f, 0x01);
    assert_false(f.a20);
    assert_int_equal(dev_in(f.dev, I8042_WINDOW_FAST, 0, 1), 0);
    command(&f, 0xd1);
    data(&f, 0x02);
    assert_true(f.a20);
    assert_int_equal(f.resets, 2);
    command(&f, 0xdd);
    assert_false(f.a20);
    dev_out(f.dev, I8042_WINDOW_FAST, 0, 1, 2);
    assert_true(f.a20);
    assert_int_equal(f.resets, 2);
    dev_out(f.dev, I8042_WINDOW_FAST, 0, 1, 3);
    assert_int_equal(f.resets, 3);
    command(&f, 0xd0);
    expect(&f, 0x03);
    dev_free(f.dev);
}

static void test_save_and_load(void **state)
{
    struct fixture a, b;

    start(&a);
    start(&b);
    data(&a, 0xf2);
    command(&a, 0xd4);
    harness_move(a.dev, b.dev);
    assert_true(b.h.level[1]);
    data(&b, 0xf2); /* still meant for the mouse */
    expect(&b, 0xfa);
    expect(&b, 0xab);
    expect(&b, 0x83);
    expect_mouse(&b, 0xfa);
    assert_int_equal(harness_load_with(b.dev, "output_from", 0, 3), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "status", 0, 1), -EBADMSG);
    dev_free(a.dev);
    dev_free(b.dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controller),
        cmocka_unit_test(test_keyboard),
        cmocka_unit_test(test_mouse),
        cmocka_unit_test(test_reset_and_a20),
        cmocka_unit_test(test_save_and_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
