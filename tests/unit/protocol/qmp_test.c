/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of the control protocol's codec. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "protocol/qmp.h"

static struct qmp_reader reader;

static int setup(void **state)
{
    qmp_reader_init(&reader);
    return 0;
}

static int teardown(void **state)
{
    qmp_reader_fini(&reader);
    return 0;
}

static void feed(const char *text)
{
    assert_int_equal(qmp_reader_feed(&reader, text, strlen(text)), 0);
}

/* Takes a message and returns whether its "execute" is name. */
static void expect_command(const char *name)
{
    struct err err = ERR_INIT;
    json_t *message = NULL;
    struct qmp_command command;

    assert_int_equal(qmp_reader_next(&reader, &message, &err), 1);
    assert_int_equal(qmp_command_parse(message, &command, &err), 0);
    assert_string_equal(command.name, name);
    json_decref(message);
}

static void expect_nothing(void)
{
    struct err err = ERR_INIT;
    json_t *message = NULL;

    assert_int_equal(qmp_reader_next(&reader, &message, &err), 0);
    assert_null(message);
}

static void expect_bad(void)
{
    struct err err = ERR_INIT;
    json_t *message = NULL;

    assert_int_equal(qmp_reader_next(&reader, &message, &err), -EBADMSG);
    assert_null(message);
    assert_int_not_equal(err.message[0], 0);
}

static void test_one_byte_at_a_time(void **state)
{
    const char *text = "{\"execute\": \"a}b\\\"{\"}";

    for (const char *c = text; c[1] != 0; c++) {
        assert_int_equal(qmp_reader_feed(&reader, c, 1), 0);
        expect_nothing();
    }
    feed("}");
    expect_command("a}b\"{");
    expect_nothing();
}

static void test_several_without_newline(void **state)
{
    feed("{\"execute\":\"one\"}{\"execute\":\"two\"}\r\n  \n{\"execute\":\"three\"} ");
    expect_command("one");
    expect_command("two");
    expect_command("three");
    expect_nothing();
}

static void test_garbage_is_skipped_to_the_line_end(void **state)
{
    feed("hello } world\n{\"execute\":\"after\"}[1,2]{bad}{\"execute\":\"last\"}");
    expect_bad();
    expect_command("after");
    expect_bad();
    expect_bad();
    expect_command("last");
}

static void test_limits(void **state)
{
    static char long_text[QMP_MESSAGE_MAX];

    for (int i = 0; i < QMP_DEPTH_MAX + 1; i++)
        feed("{\"a\":");
    feed("1");
    for (int i = 0; i < QMP_DEPTH_MAX + 1; i++)
        feed("}");
    expect_bad();
    memset(long_text, 'x', sizeof(long_text));
    feed("{\"");
    assert_int_equal(qmp_reader_feed(&reader, long_text, sizeof(long_text)), -ENOBUFS);
}

static void test_bad_commands(void **state)
{
    static const char *const bad[] = {"{}", "{\"execute\":1}", "{\"execute\":\"a\",\"arguments\":[]}",
                                      "{\"execute\":\"a\",\"other\":1}"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = ERR_INIT;
        json_t *message = json_loads(bad[i], 0, NULL);
        struct qmp_command command;

        assert_int_equal(qmp_command_parse(message, &command, &err), -EINVAL);
        assert_int_not_equal(err.message[0], 0);
        json_decref(message);
    }
}

static void expect_output(struct buffer *out, const char *text)
{
    assert_string_equal((const char *)out->data, text);
    buffer_fini(out);
    *out = BUFFER_INIT(4096);
}

static void test_writers(void **state)
{
    struct buffer out = BUFFER_INIT(4096);
    json_t *id = json_integer(7);
    json_t *value = json_pack("{s:b}", "running", 1);

    assert_int_equal(qmp_write_return(&out, NULL, NULL), 0);
    expect_output(&out, "{\"return\": {}}\r\n");
    assert_int_equal(qmp_write_return(&out, value, id), 0);
    expect_output(&out, "{\"return\": {\"running\": true}, \"id\": 7}\r\n");
    assert_int_equal(qmp_write_error(&out, QMP_GENERIC_ERROR, "no \"x\"", id), 0);
    expect_output(&out, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no \\\"x\\\"\"}, \"id\": 7}\r\n");
    assert_int_equal(qmp_write_event(&out, "STOP", NULL, INT64_C(5000007000)), 0);
    expect_output(&out, "{\"timestamp\": {\"seconds\": 5, \"microseconds\": 7}, \"event\": \"STOP\"}\r\n");
    assert_int_equal(qmp_write_command(&out, "balloon", value), 0);
    expect_output(&out, "{\"execute\": \"balloon\", \"arguments\": {\"running\": true}}\r\n");
    assert_int_equal(qmp_write_greeting(&out, "ferry", "0.1.0"), 0);
    expect_output(&out, "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 0}, \"package\": "
                        "\"ferry 0.1.0\"}, \"capabilities\": []}}\r\n");
    json_decref(id);
    json_decref(value);
}

static void test_writer_keeps_output_whole(void **state)
{
    struct buffer out = BUFFER_INIT(20);

    assert_int_equal(qmp_write_return(&out, NULL, NULL), 0);
    assert_int_equal(out.size, 16);
    assert_int_equal(qmp_write_return(&out, NULL, NULL), -ENOBUFS);
    assert_int_equal(out.size, 16);
    buffer_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_byte_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_without_newline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage_is_skipped_to_the_line_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test(test_bad_commands),
        cmocka_unit_test(test_writers),
        cmocka_unit_test(test_writer_keeps_output_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
