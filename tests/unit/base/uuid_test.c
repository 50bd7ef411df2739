/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests: UUIDs as text. */
#include "check.h"

#include <errno.h>

#include "base/uuid.h"

static void test_round_trip(void **state)
{
    uint8_t uuid[UUID_SIZE] = {0};
    char text[UUID_TEXT_SIZE];
    assert_int_equal(uuid_parse(" 01234567-89AB-cdef-0123-456789abcdef\n", uuid), 0);
    uuid_format(uuid, text);
    assert_string_equal(text, "01234567-89ab-cdef-0123-456789abcdef");
    assert_int_equal(uuid_parse("0123456789abcdef0123456789abcdef", uuid), 0);
    uuid_format(uuid, text);
    assert_string_equal(text, "01234567-89ab-cdef-0123-456789abcdef");
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "01234567",
                                      "0123456789abcdef0123456789abcdef00",
                                      "0123456789abcdef0123456789abcde",
                                      "g123456789abcdef0123456789abcdef",
                                      "0-123456789abcdef0123456789abcdef"};
    uint8_t uuid[UUID_SIZE], before[UUID_SIZE];
    memset(uuid, 7, sizeof(uuid));
    memset(before, 7, sizeof(before));
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(uuid_parse(bad[i], uuid), -EINVAL);
    assert_memory_equal(uuid, before, sizeof(uuid));
}

static void test_random(void **state)
{
    uint8_t a[UUID_SIZE], b[UUID_SIZE];
    uuid_random(a);
    uuid_random(b);
    assert_false(uuid_equal(a, b));
    assert_int_equal(a[6] >> 4, 4);
    assert_int_equal(a[8] >> 6, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
