/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8259 pair: initialisation, priorities, cascade, edge and level, modes, save and load. */
#include "pc_harness.h"

#include <errno.h>

#include "devices/pc/pic.h"

#define INT 0 /* line of the pair's output */

struct pair {
    struct harness h;
    struct dev *primary, *secondary;
};

static void program(struct dev *pic, uint8_t vector_base, uint8_t icw4)
{
    dev_out(pic, PIC_WINDOW_COMMAND, 0, 1, 0x11);
    dev_out(pic, PIC_WINDOW_COMMAND, 1, 1, vector_base);
    dev_out(pic, PIC_WINDOW_COMMAND, 1, 1, 4);
    dev_out(pic, PIC_WINDOW_COMMAND, 1, 1, icw4);
}

static void pair_init(struct pair *p, uint8_t icw4)
{
    struct pic_config config;

    harness_init(&p->h);
    p->secondary = harness_new(&p->h, &pic_type, 1, NULL);
    config = (struct pic_config){.output = harness_line(&p->h, INT), .secondary = p->secondary};
    p->primary = harness_new(&p->h, &pic_type, 0, &config);
    program(p->primary, 0x20, icw4);
    program(p->secondary, 0x28, icw4);
}

static void pair_fini(struct pair *p)
{
    dev_free(p->primary);
    dev_free(p->secondary);
}

static void line(struct pair *p, unsigned irq, bool level)
{
    pic_set_line(irq < 8 ? p->primary : p->secondary, irq & 7, level);
}

static void eoi(struct dev *pic)
{
    dev_out(pic, PIC_WINDOW_COMMAND, 0, 1, 0x20);
}

static void test_priorities(void **state)
{
    struct pair p;

    pair_init(&p, 1);
    line(&p, 4, true);
    line(&p, 1, true);
    assert_true(p.h.level[INT]);
    assert_int_equal(pic_acknowledge(p.primary), 0x21);
    assert_false(p.h.level[INT]);
    assert_int_equal(pic_acknowledge(p.primary), -1);
    line(&p, 0, true);
    assert_true(p.h.level[INT]);
    assert_int_equal(pic_acknowledge(p.primary), 0x20);
    eoi(p.primary);
    assert_false(p.h.level[INT]); /* 1 is still in service */
    eoi(p.primary);
    assert_int_equal(pic_acknowledge(p.primary), 0x24);
    /* A high line is no new edge. */
    eoi(p.primary);
    line(&p, 4, true);
    assert_false(p.h.level[INT]);
    pair_fini(&p);
}

static void test_cascade(void **state)
{
    struct pair p;

    pair_init(&p, 1);
    line(&p, 12, true);
    line(&p, 8, true);
    assert_int_equal(pic_acknowledge(p.primary), 0x28);
    eoi(p.secondary);
    eoi(p.primary);
    assert_int_equal(pic_acknowledge(p.primary), 0x2c);
    eoi(p.secondary);
    eoi(p.primary);
    assert_false(p.h.level[INT]);
    pair_fini(&p);
}

static void test_automatic_eoi_keeps_the_second_request(void **state)
{
    struct pair p;

    pair_init(&p, 3);
    line(&p, 12, true);
    line(&p, 8, true);
    assert_int_equal(pic_acknowledge(p.primary), 0x28);
    assert_int_equal(pic_acknowledge(p.primary), 0x2c);
    assert_int_equal(pic_acknowledge(p.primary), -1);
    pair_fini(&p);
}

static void test_level(void **state)
{
    struct pair p;

    pair_init(&p, 1);
    dev_out(p.secondary, PIC_WINDOW_ELCR, 0, 1, 0xff);
    assert_int_equal(dev_in(p.secondary, PIC_WINDOW_ELCR, 0, 1), 0xde);
    dev_out(p.primary, PIC_WINDOW_ELCR, 0, 1, 0xff);
    assert_int_equal(dev_in(p.primary, PIC_WINDOW_ELCR, 0, 1), 0xf8);
    line(&p, 9, true);
    assert_int_equal(pic_acknowledge(p.primary), 0x29);
    eoi(p.secondary);
    eoi(p.primary);
    assert_true(p.h.level[INT]); /* still high: again */
    line(&p, 9, false);
    /* The primary latched the edge; nobody answers the secondary's part. */
    assert_int_equal(pic_acknowledge(p.primary), 0x2f);
    eoi(p.primary);
    assert_false(p.h.level[INT]);
    pair_fini(&p);
}

static void test_masks_and_reads(void **state)
{
    struct pair p;

    pair_init(&p, 1);
    dev_out(p.primary, PIC_WINDOW_COMMAND, 1, 1, 0xfe);
    line(&p, 3, true);
    assert_false(p.h.level[INT]);
    assert_int_equal(dev_in(p.primary, PIC_WINDOW_COMMAND, 1, 1), 0xfe);
    assert_int_equal(dev_in(p.primary, PIC_WINDOW_COMMAND, 0, 1), 0x08);
    dev_out(p.primary, PIC_WINDOW_COMMAND, 1, 1, 0);
    assert_int_equal(pic_acknowledge(p.primary), 0x23);
    dev_out(p.primary, PIC_WINDOW_COMMAND, 0, 1, 0x0b);
    assert_int_equal(dev_in(p.primary, PIC_WINDOW_COMMAND, 0, 1), 0x08);
    /* Special mask mode: a masked level in service blocks nobody. */
    line(&p, 5, true);
    assert_false(p.h.level[INT]);
    dev_out(p.primary, PIC_WINDOW_COMMAND, 1, 1, 0x08);
    dev_out(p.primary, PIC_WINDOW_COMMAND, 0, 1, 0x68);
    assert_true(p.h.level[INT]);
    /* Poll is an acknowledge. */
    dev_out(p.primary, PIC_WINDOW_COMMAND, 0, 1, 0x0c);
    assert_int_equal(dev_in(p.primary, PIC_WINDOW_COMMAND, 0, 1), 0x85);
    pair_fini(&p);
}

static void test_rotation(void **state)
{
    struct pair p;

    pair_init(&p, 1);
    line(&p, 3, true);
    assert_int_equal(pic_acknowledge(p.primary), 0x23);
    dev_out(p.primary, PIC_WINDOW_COMMAND, 0, 1, 0xa0); /* rotate on EOI: 3 becomes the lowest */
    line(&p, 3, false);
    line(&p, 3, true);
    line(&p, 4, true);
    assert_int_equal(pic_acknowledge(p.primary), 0x24);
    dev_out(p.primary, PIC_WINDOW_COMMAND, 0, 1, 0x64);
    assert_int_equal(pic_acknowledge(p.primary), 0x23);
    pair_fini(&p);
}

static void test_save_and_load(void **state)
{
    struct pair a, b;

    pair_init(&a, 1);
    pair_init(&b, 3);
    line(&a, 12, true);
    line(&a, 1, true);
    assert_int_equal(pic_acknowledge(a.primary), 0x21);
    harness_move(a.primary, b.primary);
    harness_move(a.secondary, b.secondary);
    assert_false(b.h.level[INT]);
    eoi(b.primary);
    assert_int_equal(pic_acknowledge(b.primary), 0x2c);
    pair_fini(&a);
    pair_fini(&b);
}

static void test_check(void **state)
{
    struct pair p;

    pair_init(&p, 1);
    assert_int_equal(harness_load_with(p.primary, "init_state", 0, 1), -EBADMSG);
    assert_int_equal(harness_load_with(p.primary, "init_state", 0, 5), -EBADMSG);
    assert_int_equal(harness_load_with(p.primary, "priority_add", 0, 8), -EBADMSG);
    assert_int_equal(harness_load_with(p.primary, "vector_base", 0, 0x21), -EBADMSG);
    assert_int_equal(harness_load_with(p.primary, "elcr", 0, 1), -EBADMSG);
    assert_int_equal(harness_load_with(p.primary, "poll", 0, 2), -EBADMSG);
    assert_int_equal(harness_load_with(p.secondary, "elcr", 0, 0x02), 0);
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_cascade),
        cmocka_unit_test(test_automatic_eoi_keeps_the_second_request),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_masks_and_reads),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
