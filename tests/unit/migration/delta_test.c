/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Differences between pages, hostile ones too, and the cache of what was sent. */
#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/delta.h"
#include "migration/progress.h"

#define PAGE 4096

static void expect_round_trip(const uint8_t *from, const uint8_t *to)
{
    uint8_t delta[DELTA_SIZE_MAX], page[PAGE];
    int size = delta_encode(from, to, delta);

    if (size == -EOVERFLOW)
        return;
    assert_int_equal(size == 0, memcmp(from, to, PAGE) == 0);
    memcpy(page, from, PAGE);
    if (size > 0)
        assert_int_equal(delta_apply(page, delta, (size_t)size), 0);
    assert_memory_equal(page, to, PAGE);
}

static void test_round_trips(void **state)
{
    uint8_t from[PAGE], to[PAGE];

    srandom(7);
    for (unsigned i = 0; i < 2000; i++) {
        unsigned changes = (unsigned)random() % (i % 2 == 0 ? 8 : 400), width = 1 + (unsigned)random() % 40;

        for (unsigned at = 0; at < PAGE; at++)
            from[at] = (uint8_t)random();
        memcpy(to, from, PAGE);
        for (unsigned change = 0; change < changes; change++)
            to[(unsigned)random() % (PAGE - width) + (unsigned)random() % width] ^= (uint8_t)random();
        expect_round_trip(from, to);
    }
    memcpy(to, from, PAGE);
    to[0] ^= 1;
    to[PAGE - 1] ^= 1;
    expect_round_trip(from, to);
}

static void test_sizes(void **state)
{
    uint8_t from[PAGE] = {0}, to[PAGE] = {0}, delta[DELTA_SIZE_MAX];

    assert_int_equal(delta_encode(from, to, delta), 0);
    to[200] = 1;
    assert_int_equal(delta_encode(from, to, delta), 4); /* 200 takes two bytes */
    assert_memory_equal(delta, "\xc8\x01\x01\x01", 4);
    for (unsigned at = 0; at < PAGE; at += 64)
        to[at] = 5;
    assert_in_range(delta_encode(from, to, delta), 1, 300);
    memset(to, 1, PAGE);
    assert_int_equal(delta_encode(from, to, delta), -EOVERFLOW);
}

static void expect_refused(const void *delta, size_t size)
{
    uint8_t page[PAGE], before[PAGE];

    memset(page, 0x55, PAGE);
    memcpy(before, page, PAGE);
    assert_int_equal(delta_apply(page, delta, size), -EBADMSG);
    assert_memory_equal(page, before, PAGE);
}

static void test_hostile(void **state)
{
    uint8_t long_one[DELTA_SIZE_MAX + 1] = {0};

    expect_refused("", 0);
    expect_refused("\0", 1);
    expect_refused("\0\1", 2);            /* its byte is missing */
    expect_refused("\0\0", 2);            /* a piece of nothing */
    expect_refused("\x81\0\1a", 4);       /* 1, not in its shortest form */
    expect_refused("\x80\x80\1\1a", 5);   /* more than two bytes */
    expect_refused("\x80\x20\1a", 4);     /* behind the page */
    expect_refused("\xff\x1f\2ab", 5);    /* its second byte is */
    expect_refused("\1\1a\0\1b", 6);      /* two pieces that touch */
    expect_refused("\1\1a\1", 4);         /* good, then cut off */
    expect_refused("\xff\x1f\1a\1\1b", 7); /* good to the last byte, then one more */
    long_one[1] = 1;
    expect_refused(long_one, sizeof(long_one));
}

static void test_cache(void **state)
{
    struct migration_progress progress = {0};
    struct delta_cache *cache;
    uint8_t a[PAGE] = {1}, delta[DELTA_SIZE_MAX];

    assert_int_equal(delta_cache_new(2 * PAGE, &progress, &cache), 0);
    assert_int_equal(delta_cache_update(cache, 0, 2, a, delta), -ENOENT);
    assert_int_equal(delta_cache_update(cache, 0, 3, a, delta), 0);
    a[9] = 7;
    assert_int_equal(delta_cache_update(cache, 0, 4, a, delta), 3);
    assert_int_equal(delta_cache_update(cache, 0, 4, a, delta), 0); /* it has learnt that */
    assert_int_equal(delta_cache_update(cache, 2, 5, a, delta), -ENOENT); /* the same place, and the first is fresh */
    assert_int_equal(delta_cache_update(cache, 0, 5, a, delta), 0);
    assert_int_equal(delta_cache_update(cache, 2, 7, a, delta), -ENOENT); /* it is not any more */
    assert_int_equal(delta_cache_update(cache, 0, 7, a, delta), -ENOENT);
    assert_int_equal(delta_cache_update(cache, 2, 7, a, delta), 0);
    delta_cache_drop(cache, 0); /* is not there */
    assert_int_equal(delta_cache_update(cache, 2, 7, a, delta), 0);
    delta_cache_drop(cache, 2);
    assert_int_equal(delta_cache_update(cache, 2, 8, a, delta), -ENOENT);
    memset(a, 3, PAGE);
    assert_int_equal(delta_cache_update(cache, 2, 8, a, delta), -EOVERFLOW);
    assert_int_equal(delta_cache_update(cache, 2, 8, a, delta), 0);
    assert_int_equal(progress.delta_overflows, 1);
    delta_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
