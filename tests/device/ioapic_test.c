/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O APIC: registers of every width, edges, levels and remote IRR, the EOI register, save and load. */
#include "pc_harness.h"

#include <errno.h>

#include "base/bits.h"
#include "devices/pc/ioapic.h"

#define ENTRY(pin) (0x10 + 2 * (pin))
#define LEVEL 0x8000u
#define REMOTE_IRR 0x4000u
#define MASKED 0x10000u

struct fixture {
    struct harness h;
    struct dev *dev;
    unsigned messages;
    uint8_t destination, vector;
    bool logical, level, refuse;
    unsigned mode;
};

static bool deliver(void *ctx, uint8_t destination, bool logical, unsigned delivery_mode, uint8_t vector,
                    bool level_triggered)
{
    struct fixture *f = ctx;

    f->messages++;
    f->destination = destination;
    f->vector = vector;
    f->logical = logical;
    f->level = level_triggered;
    f->mode = delivery_mode;
    return !f->refuse;
}

static void start(struct fixture *f, uint8_t version)
{
    struct ioapic_config config = {.ctx = f, .deliver = deliver, .version = version};

    *f = (struct fixture){0};
    harness_init(&f->h);
    f->dev = harness_new(&f->h, &ioapic_type, 0, &config);
}

static void set(struct fixture *f, unsigned number, uint32_t value)
{
    dev_out(f->dev, 0, 0x00, 4, number);
    dev_out(f->dev, 0, 0x10, 4, value);
}

static uint32_t get(struct fixture *f, unsigned number)
{
    dev_out(f->dev, 0, 0x00, 4, number);
    return dev_in(f->dev, 0, 0x10, 4);
}

static void test_registers(void **state)
{
    struct fixture f;

    start(&f, 0x11);
    assert_int_equal(get(&f, 1), 0x170011);
    set(&f, 1, ~0u);
    assert_int_equal(get(&f, 1), 0x170011);
    set(&f, 0, ~0u);
    assert_int_equal(get(&f, 0), 0x0f000000);
    assert_int_equal(get(&f, 2), 0x0f000000);
    set(&f, 2, 0);
    assert_int_equal(get(&f, 2), 0x0f000000);
    assert_int_equal(get(&f, ENTRY(23)), MASKED);
    set(&f, ENTRY(23), ~0u);
    assert_int_equal(get(&f, ENTRY(23)), 0x1afff);
    set(&f, ENTRY(23) + 1, ~0u);
    assert_int_equal(get(&f, ENTRY(23) + 1), 0xff000000);
    assert_int_equal(get(&f, ENTRY(24)), 0);
    /* Narrow and wide accesses. */
    dev_out(f.dev, 0, 0x00, 1, 1);
    assert_int_equal(dev_in(f.dev, 0, 0x10, 1), 0x11);
    assert_int_equal(dev_in(f.dev, 0, 0x12, 1), 0x17);
    assert_int_equal(dev_in(f.dev, 0, 0x12, 2), 0x17);
    assert_int_equal(dev_in(f.dev, 0, 0x10, 8), 0x170011);
    assert_int_equal(dev_in(f.dev, 0, 0x00, 2), 1);
    dev_free(f.dev);
}

static void test_edge(void **state)
{
    struct fixture f;

    start(&f, 0x11);
    set(&f, ENTRY(14) + 1, 0x0d000000);
    set(&f, ENTRY(14), 0x0976); /* lowest priority, logical */
    ioapic_set_line(f.dev, 14, true);
    ioapic_set_line(f.dev, 14, true);
    assert_int_equal(f.messages, 1);
    assert_int_equal(f.destination, 0x0d);
    assert_int_equal(f.vector, 0x76);
    assert_int_equal(f.mode, 1);
    assert_true(f.logical);
    assert_false(f.level);
    /* An edge while masked is lost. */
    ioapic_set_line(f.dev, 14, false);
    set(&f, ENTRY(14), 0x76 | MASKED);
    ioapic_set_line(f.dev, 14, true);
    set(&f, ENTRY(14), 0x76);
    assert_int_equal(f.messages, 1);
    ioapic_set_line(f.dev, 24, true);
    dev_free(f.dev);
}

static void test_level(void **state)
{
    struct fixture f;

    start(&f, 0x11);
    set(&f, ENTRY(16), 0x80 | LEVEL);
    ioapic_set_line(f.dev, 16, true);
    assert_int_equal(f.messages, 1);
    assert_true(f.level);
    assert_int_equal(get(&f, ENTRY(16)), 0x80 | LEVEL | REMOTE_IRR);
    ioapic_set_line(f.dev, 16, false);
    ioapic_set_line(f.dev, 16, true);
    assert_int_equal(f.messages, 1);
    ioapic_end_of_interrupt(f.dev, 0x81);
    assert_int_equal(f.messages, 1);
    ioapic_end_of_interrupt(f.dev, 0x80); /* still high */
    assert_int_equal(f.messages, 2);
    ioapic_set_line(f.dev, 16, false);
    ioapic_end_of_interrupt(f.dev, 0x80);
    assert_int_equal(f.messages, 2);
    assert_int_equal(get(&f, ENTRY(16)), 0x80 | LEVEL);
    /* Unmasking a high line sends. */
    set(&f, ENTRY(16), 0x80 | LEVEL | MASKED);
    ioapic_set_line(f.dev, 16, true);
    assert_int_equal(f.messages, 2);
    set(&f, ENTRY(16), 0x80 | LEVEL);
    assert_int_equal(f.messages, 3);
    /* Edge and back clears remote IRR. */
    set(&f, ENTRY(16), 0x80 | MASKED);
    assert_int_equal(get(&f, ENTRY(16)), 0x80 | MASKED);
    set(&f, ENTRY(16), 0x80 | LEVEL);
    assert_int_equal(f.messages, 4);
    dev_free(f.dev);
}

static void test_nobody_takes_it(void **state)
{
    struct fixture f;

    start(&f, 0x11);
    f.refuse = true;
    set(&f, ENTRY(16), 0x80 | LEVEL);
    ioapic_set_line(f.dev, 16, true);
    assert_int_equal(get(&f, ENTRY(16)), 0x80 | LEVEL);
    dev_free(f.dev);
}

static void test_nmi_is_an_edge(void **state)
{
    struct fixture f;

    start(&f, 0x11);
    set(&f, ENTRY(3), 4 << 8 | LEVEL);
    ioapic_set_line(f.dev, 3, true);
    assert_int_equal(f.messages, 1);
    assert_int_equal(f.mode, 4);
    assert_false(f.level);
    assert_int_equal(get(&f, ENTRY(3)), 4 << 8 | LEVEL);
    dev_free(f.dev);
}

static void test_eoi_register(void **state)
{
    struct fixture f;

    for (unsigned version = 0x11; version <= 0x20; version += 0x0f) {
        start(&f, version);
        set(&f, ENTRY(16), 0x80 | LEVEL);
        ioapic_set_line(f.dev, 16, true);
        ioapic_set_line(f.dev, 16, false);
        dev_out(f.dev, 0, 0x40, 4, 0x80);
        assert_int_equal(get(&f, ENTRY(16)) & REMOTE_IRR, version == 0x20 ? 0 : REMOTE_IRR);
        dev_free(f.dev);
    }
}

static void test_save_and_load(void **state)
{
    struct fixture a, b;

    start(&a, 0x11);
    start(&b, 0x11);
    set(&a, ENTRY(16), 0x80 | LEVEL);
    ioapic_set_line(a.dev, 16, true);
    harness_move(a.dev, b.dev);
    assert_int_equal(b.messages, 0);
    ioapic_end_of_interrupt(b.dev, 0x80);
    assert_int_equal(b.messages, 1);
    assert_int_equal(harness_load_with(b.dev, "id", 0, 16), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "select", 0, 256), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "lines", 0, 1u << 24), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "redirection", 23, BIT(20)), -EBADMSG);
    dev_free(a.dev);
    dev_free(b.dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_edge),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_nobody_takes_it),
        cmocka_unit_test(test_nmi_is_an_edge),
        cmocka_unit_test(test_eoi_register),
        cmocka_unit_test(test_save_and_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
