/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every allocation of the inner rooms fails once: nothing leaks, and what was there before is as it was. */
#include "torture.h"

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "bus/dev.h"
#include "event/loop.h"
#include "event/worker.h"
#include "memory/memory.h"
#include "state/irqchip.h"
#include "state/section.h"

static int write_section(void *ctx)
{
    static const struct lapic_state lapic;
    struct buffer out = BUFFER_INIT(100000);
    int r = buffer_append(&out, "before", 6);
    if (r == 0) {
        r = section_write(&out, "lapic", 0, 1, lapic_state_fields, &lapic);
        assert_true(r == 0 || out.size == 6);
        assert_memory_equal(out.data, "before", 6);
    }
    buffer_fini(&out);
    return r;
}

static void test_section_write(void **state)
{
    assert_true(torture(write_section, NULL) >= 2);
}

struct toy {
    struct dev dev;
    struct lapic_state s;
};

static int toy_init(struct dev *dev, const void *config, struct err *err)
{
    return 0;
}

static const struct dev_type toy_type = {
    .name = "toy",
    .size = sizeof(struct toy),
    .state_offset = offsetof(struct toy, s),
    .state_size = sizeof(struct lapic_state),
    .fields = lapic_state_fields,
    .init = toy_init,
};

static int make_and_load(void *ctx)
{
    struct dev *dev = NULL;
    int r = dev_new(&toy_type, 0, NULL, NULL, &dev, NULL);
    if (r < 0)
        return r;
    r = dev_load(dev, ctx, NULL);
    assert_int_equal(((struct toy *)dev)->s.id, r == 0 ? 7 : 0);
    dev_free(dev);
    return r;
}

static void test_dev_load(void **state)
{
    struct lapic_state lapic = {.id = 7};
    struct buffer out = BUFFER_INIT(10000);
    struct section_reader reader;
    struct section section;
    assert_int_equal(section_write(&out, "toy", 0, 0, lapic_state_fields, &lapic), 0);
    section_reader_init(&reader, out.data, out.size);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    assert_int_equal(torture(make_and_load, &section), 3);
    buffer_fini(&out);
}

static int make_memory(void *ctx)
{
    struct memory *memory = NULL;
    int r = memory_new(&memory, NULL);
    if (r < 0)
        return r;
    r = memory_add(memory, 0, MEMORY_PAGE_SIZE, false, NULL);
    if (r == 0) {
        r = memory_add(memory, MEMORY_PAGE_SIZE, MEMORY_PAGE_SIZE, false, NULL);
        /* The first region works on, whether the second came or not. */
        assert_int_equal(memory_write(memory, 0, "x", 1), 0);
        assert_int_equal(memory->region_count, r == 0 ? 2 : 1);
    }
    memory_free(memory);
    return r;
}

static void test_memory(void **state)
{
    assert_int_equal(torture(make_memory, NULL), 5);
}

static void nothing(void *ctx)
{
}

static int make_loop(void *ctx)
{
    struct loop *loop = NULL;
    struct worker_pool *pool = NULL;
    int r = loop_new(&loop);
    if (r == 0)
        r = worker_pool_new(loop, 2, &pool);
    if (r == 0)
        r = loop_defer(loop, nothing, NULL);
    worker_pool_free(pool);
    loop_free(loop);
    return r;
}

static void test_loop(void **state)
{
    assert_true(torture(make_loop, NULL) >= 5);
}

static int read_file(void *ctx)
{
    void *data = NULL;
    size_t size = 99;
    int r = fd_read_file("/dev/null", 10, &data, &size);
    assert_int_equal(r, -EINVAL);
    r = fd_read_file(ctx, 1 << 20, &data, &size);
    assert_true(r == 0 || (data == NULL && size == 99));
    free(data);
    return r;
}

static void test_read_file(void **state)
{
    assert_int_equal(torture(read_file, (void *)"/etc/passwd"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_section_write), cmocka_unit_test(test_dev_load),  cmocka_unit_test(test_memory),
        cmocka_unit_test(test_loop),          cmocka_unit_test(test_read_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
