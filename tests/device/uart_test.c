/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The serial port: interrupts, FIFOs, loopback, a backend that is full, save and load. */
#include "pc_harness.h"

#include <errno.h>

#include "backend/character.h"
#include "devices/pc/uart.h"

enum { THR, IER, IIR, LCR, MCR, LSR, MSR, SCR };

struct fixture {
    struct harness h;
    struct character character;
    uint8_t sent[64];
    size_t sent_count, room;
    unsigned resumed;
    struct dev *dev;
};

static size_t take(struct character *character, const void *data, size_t size)
{
    struct fixture *f = (struct fixture *)((char *)character - offsetof(struct fixture, character));
    size_t count = size < f->room ? size : f->room;

    memcpy(f->sent + f->sent_count, data, count);
    f->sent_count += count;
    f->room -= count;
    return count;
}

static void resume(struct character *character)
{
    ((struct fixture *)((char *)character - offsetof(struct fixture, character)))->resumed++;
}

static void start(struct fixture *f)
{
    struct uart_config config;

    *f = (struct fixture){.room = sizeof(f->sent), .character = {.write = take, .resume = resume}};
    harness_init(&f->h);
    config = (struct uart_config){.irq = harness_line(&f->h, 4), .character = &f->character};
    f->dev = harness_new(&f->h, &uart_type, 0, &config);
}

static void out(struct fixture *f, unsigned offset, uint8_t value)
{
    dev_out(f->dev, 0, offset, 1, value);
}

static uint8_t in(struct fixture *f, unsigned offset)
{
    return dev_in(f->dev, 0, offset, 1);
}

static size_t type(struct fixture *f, const char *text)
{
    return f->character.input(f->character.device, (const uint8_t *)text, strlen(text));
}

static void test_output(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(in(&f, LSR), 0x60);
    out(&f, THR, 'H');
    out(&f, THR, 'i');
    assert_memory_equal(f.sent, "Hi", 2);
    assert_int_equal(in(&f, LSR), 0x60);
    dev_free(f.dev);
    assert_null(f.character.device);
}

static void test_full_backend_keeps_bytes(void **state)
{
    struct fixture f;

    start(&f);
    f.room = 1;
    out(&f, IIR, 1);
    for (unsigned i = 0; i < 20; i++)
        out(&f, THR, 'a' + i);
    assert_int_equal(in(&f, LSR), 0);
    out(&f, IER, 2);
    assert_false(f.h.level[4]);
    f.room = 5;
    f.character.writable(f.character.device);
    assert_false(f.h.level[4]);
    f.room = 40;
    f.character.writable(f.character.device);
    assert_int_equal(f.sent_count, 17); /* the one that went at once, and a FIFO full */
    assert_memory_equal(f.sent, "abcdefghijklmnopq", 17);
    assert_int_equal(in(&f, LSR), 0x60);
    assert_true(f.h.level[4]);
    dev_free(f.dev);
}

static void test_transmit_interrupt(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(in(&f, IIR), 1);
    out(&f, IER, 2);
    assert_true(f.h.level[4]);
    assert_int_equal(in(&f, IIR), 2);
    assert_false(f.h.level[4]); /* reading it ends it */
    assert_int_equal(in(&f, IIR), 1);
    out(&f, IER, 0);
    out(&f, IER, 2);
    assert_int_equal(in(&f, IIR), 2);
    out(&f, THR, 'x');
    assert_true(f.h.level[4]);
    dev_free(f.dev);
}

static void test_input(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(type(&f, "ab"), 1); /* no FIFO yet */
    assert_int_equal(in(&f, LSR), 0x61);
    assert_int_equal(in(&f, THR), 'a');
    assert_int_equal(in(&f, LSR), 0x60);
    f.resumed = 0;
    out(&f, IIR, 0x41); /* trigger at four */
    assert_true(f.resumed > 0);
    out(&f, IER, 1);
    assert_int_equal(type(&f, "abc"), 3);
    assert_false(f.h.level[4]);
    harness_advance(&f.h, 10 * MILLISECOND); /* four characters at 9600 baud are about 4 ms */
    assert_true(f.h.level[4]);
    assert_int_equal(in(&f, IIR), 0xcc);
    assert_int_equal(in(&f, THR), 'a');
    assert_false(f.h.level[4]);
    assert_int_equal(type(&f, "de"), 2);
    assert_int_equal(in(&f, IIR), 0xc4);
    assert_int_equal(type(&f, "0123456789abcdef"), 12);
    for (unsigned i = 0; i < 16; i++)
        in(&f, THR);
    assert_int_equal(in(&f, IIR), 0xc1);
    out(&f, IIR, 0x03);
    dev_free(f.dev);
}

static void test_loopback(void **state)
{
    struct fixture f;

    start(&f);
    assert_int_equal(in(&f, MSR), 0xb0);
    out(&f, MCR, 0x1a);
    assert_int_equal(in(&f, MSR) & 0xf0, 0x90);
    assert_int_equal(in(&f, MSR), 0x90);
    out(&f, MCR, 0x1f);
    assert_int_equal(in(&f, MSR), 0xf2);
    out(&f, MCR, 0x1b);
    assert_int_equal(in(&f, MSR), 0xb4); /* the end of the ring */
    out(&f, THR, 0xae);
    assert_int_equal(f.sent_count, 0);
    assert_int_equal(in(&f, LSR), 0x61);
    out(&f, THR, 0xaf);
    assert_int_equal(in(&f, LSR), 0x63);
    assert_int_equal(in(&f, LSR), 0x61);
    assert_int_equal(in(&f, THR), 0xae);
    assert_int_equal(type(&f, "x"), 0);
    out(&f, MCR, 0);
    assert_int_equal(type(&f, "x"), 1);
    dev_free(f.dev);
}

static void test_registers(void **state)
{
    struct fixture f;

    start(&f);
    out(&f, LCR, 0x83);
    dev_out(f.dev, 0, THR, 2, 0x0102);
    assert_int_equal(dev_in(f.dev, 0, THR, 2), 0x0102);
    out(&f, LCR, 3);
    assert_int_equal(in(&f, IER), 0);
    out(&f, IER, 0xff);
    assert_int_equal(in(&f, IER), 0x0f);
    out(&f, MCR, 0xff);
    assert_int_equal(in(&f, MCR), 0x1f);
    out(&f, SCR, 0x5a);
    assert_int_equal(in(&f, SCR), 0x5a);
    dev_free(f.dev);
}

static void test_save_and_load(void **state)
{
    struct fixture a, b;

    start(&a);
    start(&b);
    a.room = 0;
    out(&a, IIR, 0x41);
    out(&a, IER, 1);
    type(&a, "abc");
    out(&a, THR, 'x');
    b.room = 0;
    harness_move(a.dev, b.dev);
    harness_advance(&b.h, 10 * MILLISECOND);
    assert_true(b.h.level[4]);
    b.room = 1;
    b.character.writable(b.character.device);
    assert_int_equal(b.sent[0], 'x');
    assert_int_equal(in(&b, THR), 'a');
    assert_int_equal(harness_load_with(b.dev, "receive_count", 0, 17), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "transmit_count", 0, 17), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "mcr", 0, 0x20), -EBADMSG);
    assert_int_equal(harness_load_with(b.dev, "ier", 0, 0x10), -EBADMSG);
    dev_free(a.dev);
    dev_free(b.dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_full_backend_keeps_bytes),
        cmocka_unit_test(test_transmit_interrupt),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_save_and_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
