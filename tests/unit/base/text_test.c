/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of text, errors, the log, bits and the checksum. */
#include "check.h"

#include <errno.h>

#include "base/bits.h"
#include "base/checksum.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"

static void test_parse_u64(void **state)
{
    uint64_t value = 77;
    assert_int_equal(text_parse_u64("0", &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(text_parse_u64("0x1F", &value), 0);
    assert_int_equal(value, 31);
    assert_int_equal(text_parse_u64("18446744073709551615", &value), 0);
    assert_true(value == UINT64_MAX);
    value = 77;
    assert_int_equal(text_parse_u64("18446744073709551616", &value), -ERANGE);
    static const char *const bad[] = {"", " 1", "-1", "+1", "1 ", "0x", "x", "1k", "0xg"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(text_parse_u64(bad[i], &value), -EINVAL);
    assert_int_equal(value, 77);
}

static void test_parse_size(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"512M", MIB(512)}, {"3", MIB(3)},   {"1g", GIB(1)},    {"2KiB", 2048},
        {"1kb", 1024},      {"4096B", 4096}, {"1T", GIB(1024)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        uint64_t bytes = 0;
        assert_int_equal(text_parse_size(good[i].text, MIB(1), &bytes), 0);
        assert_true(bytes == good[i].bytes);
    }
    uint64_t bytes = 77;
    static const char *const bad[] = {"", "M", "1X", "1Mx", "1 M", "-1M", "1MiBs"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(text_parse_size(bad[i], 1, &bytes), -EINVAL);
    assert_int_equal(text_parse_size("16777216T", 1, &bytes), -ERANGE);
    assert_int_equal(bytes, 77);
}

static void test_parse_mac(void **state)
{
    uint8_t mac[6] = {0};
    assert_int_equal(text_parse_mac("52:54:00:aB:cd:0f", mac), 0);
    assert_memory_equal(mac, "\x52\x54\x00\xab\xcd\x0f", 6);
    static const char *const bad[] = {
        "", "52:54:00:ab:cd", "52:54:00:ab:cd:0", "52:54:00:ab:cd:0g", "52-54-00-ab-cd-0f", "52:54:00:ab:cd:0f:"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(text_parse_mac(bad[i], mac), -EINVAL);
    assert_memory_equal(mac, "\x52\x54\x00\xab\xcd\x0f", 6);
}

static void test_format(void **state)
{
    char out[4];
    assert_int_equal(text_format(out, sizeof(out), "%s", "abc"), 0);
    assert_int_equal(text_format(out, sizeof(out), "%s", "abcd"), -ENAMETOOLONG);
    assert_string_equal(out, "abc");
    assert_true(text_starts_with("file:x", "file:"));
    assert_false(text_starts_with("fil", "file:"));
}

static void test_err(void **state)
{
    struct err err = ERR_INIT;
    assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
    assert_int_equal(err_set(&err, -EIO, "disk %d is gone", 3), -EIO);
    assert_int_equal(err_prefix(&err, "vm %s", "a"), -EIO);
    assert_string_equal(err.message, "vm a: disk 3 is gone");
    /* Its own message as an argument, and one that doesn't fit. */
    err_set(&err, -EINVAL, "again: %s", err.message);
    assert_string_equal(err.message, "again: vm a: disk 3 is gone");
    for (int i = 0; i < 200; i++)
        err_prefix(&err, "prefix");
    assert_int_equal(strlen(err.message), ERR_MESSAGE_MAX - 1);
}

struct seen {
    int lines;
    char last[64];
};

static void sink(void *ctx, enum log_level level, const char *line)
{
    struct seen *seen = ctx;
    seen->lines++;
    text_format(seen->last, sizeof(seen->last), "%d %s", (int)level, line);
}

static void test_log(void **state)
{
    struct seen seen = {0};
    log_set_sink(sink, &seen);
    log_info("dropped");
    log_warning("disk %s", "full");
    assert_int_equal(seen.lines, 1);
    assert_string_equal(seen.last, "1 disk full");
    log_set_level(LOG_DEBUG);
    log_debug("kept");
    assert_int_equal(seen.lines, 2);
    log_set_level(LOG_WARNING);
    log_set_sink(NULL, NULL);
}

static void test_bits(void **state)
{
    assert_true(bit_range(0xabcd, 15, 12) == 0xa);
    assert_true(bit_range(UINT64_MAX, 63, 0) == UINT64_MAX);
    assert_true(align_up(4097, 4096) == 8192 && align_up(4096, 4096) == 4096 && align_up(UINT64_MAX, 4096) == 0);
    assert_true(align_down(4097, 4096) == 4096);
    assert_true(is_power_of_two(1) && is_power_of_two(BIT(63)) && !is_power_of_two(0) && !is_power_of_two(3));
    assert_true(truncate_to(UINT64_MAX, 1) == 0xff && truncate_to(UINT64_MAX, 8) == UINT64_MAX);
}

static void test_clean_path(void **state)
{
    static const char *const paths[][2] = {{"/", "/"}, {"", "/"}, {"//a///b/", "/a/b"}, {"/a..b/.c/..d", "/a..b/.c/..d"}};
    static const char *const refused[] = {"/.", "/a/..", "/../a", "/a/./b"};
    char path[32];
    for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
        snprintf(path, sizeof(path), "%s", paths[i][0]);
        assert_true(text_clean_path(path));
        assert_string_equal(path, paths[i][1]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        snprintf(path, sizeof(path), "%s", refused[i]);
        assert_false(text_clean_path(path));
    }
}

static void test_checksum(void **state)
{
    /* RFC 3720 appendix B.4: 32 bytes of zeroes, and of ones; and the usual check word. */
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_u64), cmocka_unit_test(test_parse_size), cmocka_unit_test(test_parse_mac),
        cmocka_unit_test(test_format),    cmocka_unit_test(test_err),        cmocka_unit_test(test_log),
        cmocka_unit_test(test_bits),      cmocka_unit_test(test_checksum),    cmocka_unit_test(test_clean_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
