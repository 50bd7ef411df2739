/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of guest memory: regions, access across their borders, the dirty log, notices of written code. */
#include "check.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "memory/memory.h"

#define PAGE MEMORY_PAGE_SIZE

/* RAM at 0..16 pages, touching it another of 4 pages, a hole, ROM of 1 page at 1 MiB. */
static int setup(void **state)
{
    struct memory *memory = NULL;
    if (memory_new(&memory, NULL) < 0 || memory_add(memory, 0, 16 * PAGE, false, NULL) < 0 ||
        memory_add(memory, 16 * PAGE, 4 * PAGE, false, NULL) < 0 || memory_add(memory, MIB(1), PAGE, true, NULL) < 0)
        return -1;
    *state = memory;
    return 0;
}

static int teardown(void **state)
{
    memory_free(*state);
    return 0;
}

static void test_add_refuses(void **state)
{
    struct memory *memory = *state;
    struct err err = ERR_INIT;
    assert_int_equal(memory_add(memory, PAGE, PAGE, false, &err), -EINVAL);
    assert_non_null(strstr(err.message, "overlaps"));
    assert_int_equal(memory_add(memory, 19 * PAGE, 2 * PAGE, false, &err), -EINVAL);
    assert_int_equal(memory_add(memory, MIB(2) + 1, PAGE, false, &err), -EINVAL);
    assert_int_equal(memory_add(memory, MIB(2), PAGE - 1, false, &err), -EINVAL);
    assert_int_equal(memory_add(memory, MIB(2), 0, false, &err), -EINVAL);
    assert_int_equal(memory_add(memory, UINT64_MAX - PAGE + 1, PAGE, false, &err), -EINVAL);
    assert_int_equal(memory_add(memory, BIT(52) - PAGE, 2 * PAGE, false, &err), -EINVAL);
    assert_int_equal(memory_add(memory, GIB(4), BIT(50), false, &err), -ENOMEM);
    assert_non_null(strstr(err.message, "the host has only"));
    for (unsigned i = memory->region_count; i < MEMORY_REGIONS_MAX; i++)
        assert_int_equal(memory_add(memory, MIB(2) + i * PAGE, PAGE, false, &err), 0);
    assert_int_equal(memory_add(memory, MIB(4), PAGE, false, &err), -ENOSPC);
    assert_int_equal(memory_add(memory, MIB(4), PAGE, false, NULL), -ENOSPC);
}

static void test_find(void **state)
{
    struct memory *memory = *state;
    assert_int_equal(memory->size, 21 * PAGE);
    assert_ptr_equal(memory_find(memory, 0), &memory->region[0]);
    assert_ptr_equal(memory_find(memory, 16 * PAGE), &memory->region[1]);
    assert_ptr_equal(memory_find(memory, 16 * PAGE - 1), &memory->region[0]);
    assert_null(memory_find(memory, 20 * PAGE));
    assert_null(memory_find(memory, MIB(1) - 1));
    assert_null(memory_find(memory, UINT64_MAX));
    assert_int_equal(memory_page_number(memory_find(memory, 17 * PAGE), 17 * PAGE), 17);
    assert_int_equal(memory_page_number(memory_find(memory, MIB(1)), MIB(1)), 20);
}

static void test_pointer(void **state)
{
    struct memory *memory = *state;
    assert_ptr_equal(memory_pointer(memory, 5, 1), memory->region[0].host + 5);
    assert_non_null(memory_pointer(memory, 0, 16 * PAGE));
    assert_null(memory_pointer(memory, 0, 16 * PAGE + 1));
    assert_null(memory_pointer(memory, 8, UINT64_MAX));
    assert_null(memory_pointer(memory, 20 * PAGE, 0));
    assert_non_null(memory_pointer(memory, PAGE, 0));
    assert_null(memory_pointer(memory, MIB(1), 1)); /* ROM */
}

static void test_access(void **state)
{
    struct memory *memory = *state;
    uint8_t data[32], out[32] = {0};
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i + 1);
    /* Every size and alignment across the border of two regions. */
    for (unsigned size = 0; size <= sizeof(data); size++) {
        for (unsigned before = 0; before <= size; before++) {
            memset(out, 0, sizeof(out));
            assert_int_equal(memory_write(memory, 16 * PAGE - before, data, size), 0);
            assert_int_equal(memory_read(memory, 16 * PAGE - before, out, size), 0);
            assert_memory_equal(out, data, size);
        }
    }
}

static void test_access_refused(void **state)
{
    struct memory *memory = *state;
    uint8_t data[8] = {1, 1, 1, 1, 1, 1, 1, 1}, out[8] = {9, 9, 9, 9, 9, 9, 9, 9}, expected[8];
    memcpy(expected, out, sizeof(out));
    assert_int_equal(memory_write(memory, 20 * PAGE - 4, data, 8), -EFAULT);
    assert_int_equal(memory_read(memory, 20 * PAGE - 4, out, 8), -EFAULT);
    assert_memory_equal(out, expected, 8);
    assert_int_equal(memory_read(memory, 20 * PAGE - 4, out, 4), 0);
    assert_memory_equal(out, "\0\0\0\0\x9\x9\x9\x9", 8);
    assert_int_equal(memory_read(memory, UINT64_MAX - 3, out, 8), -EFAULT);
    assert_int_equal(memory_read(memory, 0, out, UINT64_MAX), -EFAULT);
    memory->region[2].host[0] = 0x55;
    assert_int_equal(memory_write(memory, MIB(1), data, 1), -EFAULT);
    assert_int_equal(memory_read(memory, MIB(1), out, 1), 0);
    assert_int_equal(out[0], 0x55);
    assert_int_equal(memory_read(memory, MIB(3), NULL, 0), 0);
}

static void test_dirty(void **state)
{
    struct memory *memory = *state;
    uint64_t bitmap[1], value = 7;
    assert_int_equal(memory_bitmap_words(memory), 1);
    assert_int_equal(memory_write(memory, 0, &value, 8), 0);
    memory_mark_dirty(memory, 3);
    memory_dirty_start(memory);
    assert_int_equal(memory_dirty_fetch(memory, bitmap), 0);
    assert_int_equal(bitmap[0], 0);
    assert_int_equal(memory_write(memory, 2 * PAGE - 4, &value, 8), 0);
    memory_wrote(memory, 15 * PAGE, 2 * PAGE);
    memory_wrote(memory, MIB(2), 100); /* nowhere */
    memory_wrote(memory, 0, 0);
    memory_mark_dirty(memory, 20);
    assert_int_equal(memory_dirty_fetch(memory, bitmap), 5);
    assert_true(bitmap[0] == (BIT(1) | BIT(2) | BIT(15) | BIT(16) | BIT(20)));
    assert_int_equal(memory_dirty_fetch(memory, bitmap), 0);
    memory_mark_dirty(memory, 1);
    memory_dirty_start(memory);
    assert_int_equal(memory_dirty_fetch(memory, bitmap), 0);
    memory_dirty_stop(memory);
    memory_mark_dirty(memory, 1);
    assert_int_equal(memory_dirty_fetch(memory, bitmap), 0);
}

struct written {
    unsigned count;
    uint64_t address[4];
};

static void on_code_written(void *ctx, uint64_t address)
{
    struct written *written = ctx;
    assert_true(written->count < ARRAY_SIZE(written->address));
    written->address[written->count++] = address;
}

static void test_code_pages(void **state)
{
    struct memory *memory = *state;
    struct written written = {0};
    uint8_t data[3 * PAGE] = {0};
    memory->code_pages[16] = 1;
    assert_int_equal(memory_write(memory, 16 * PAGE, data, 1), 0); /* nobody listens */
    memory->code_written = on_code_written;
    memory->code_written_ctx = &written;
    assert_int_equal(memory_write(memory, 15 * PAGE - 1, data, sizeof(data)), 0);
    assert_int_equal(written.count, 1);
    assert_int_equal(written.address[0], 16 * PAGE);
    assert_int_equal(memory_write(memory, 17 * PAGE, data, PAGE), 0);
    memory_wrote(memory, 17 * PAGE - 1, 1);
    assert_int_equal(written.count, 2);
}

static void test_page_maps_survive_growth(void **state)
{
    struct memory *memory = *state;
    memory->code_pages[20] = 1;
    memory_dirty_start(memory);
    memory_mark_dirty(memory, 20);
    assert_int_equal(memory_add(memory, GIB(4), 64 * PAGE, false, NULL), 0);
    uint64_t bitmap[2];
    assert_int_equal(memory_bitmap_words(memory), 2);
    assert_int_equal(memory->code_pages[20], 1);
    memory_wrote(memory, GIB(4) + 63 * PAGE, PAGE);
    assert_int_equal(memory_dirty_fetch(memory, bitmap), 2);
    assert_true(bitmap[0] == BIT(20) && bitmap[1] == BIT(20));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_add_refuses),    TEST(test_find),  TEST(test_pointer),    TEST(test_access),
        TEST(test_access_refused), TEST(test_dirty), TEST(test_code_pages), TEST(test_page_maps_survive_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
