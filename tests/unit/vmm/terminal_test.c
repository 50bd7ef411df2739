/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of the terminal's escapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/character.h"
#include "vmm/terminal.h"

static char output[512], received[512];
static size_t output_size, received_size, room;
static unsigned quits;

static size_t fake_write(struct character *character, const void *data, size_t size)
{
    memcpy(output + output_size, data, size);
    output_size += size;
    return size;
}

static void fake_free(struct character *character)
{
}

static size_t device_input(void *device, const uint8_t *data, size_t size)
{
    size_t taken = size < room ? size : room;

    memcpy(received + received_size, data, taken);
    received_size += taken;
    room -= taken;
    return taken;
}

static void quit(void *ctx)
{
    quits++;
}

static struct character inner = {.write = fake_write, .free = fake_free};
static struct character *outer;

static int setup(void **state)
{
    output_size = received_size = quits = 0;
    room = sizeof(received);
    memset(output, 0, sizeof(output));
    memset(received, 0, sizeof(received));
    assert_int_equal(terminal_new(&inner, quit, NULL, &outer), 0);
    outer->input = device_input;
    return 0;
}

static int teardown(void **state)
{
    outer->free(outer);
    return 0;
}

static size_t type(const char *keys)
{
    return inner.input(inner.device, (const uint8_t *)keys, strlen(keys));
}

static void test_plain_bytes_pass(void **state)
{
    assert_int_equal(type("hello\x03\n"), 7);
    assert_string_equal(received, "hello\x03\n");
}

static void test_escapes(void **state)
{
    assert_int_equal(type("a\x01"), 2);
    assert_int_equal(type("\x01z\x01qb\x01h"), 7);
    assert_string_equal(received, "a\x01zb");
    assert_non_null(strstr(output, "Ctrl-A x"));
    assert_int_equal(quits, 0);
    type("\x01x");
    assert_int_equal(quits, 1);
}

static void test_full_device_loses_nothing(void **state)
{
    const char *keys = "abc\x01\x01" "de";
    size_t taken, total = 0;

    for (int i = 0; i < 20 && total < strlen(keys); i++) {
        room = 1;
        taken = type(keys + total);
        total += taken;
    }
    assert_string_equal(received, "abc\x01" "de");
}

static void test_output_passes(void **state)
{
    assert_int_equal(outer->write(outer, "text", 4), 4);
    assert_string_equal(output, "text");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_plain_bytes_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(test_escapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_device_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_output_passes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
