/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of routing, and of a device's life: made, reset, saved, loaded, refused. */
#include "check.h"

#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "bus/bus.h"
#include "bus/dev.h"
#include "state/section.h"

struct toy_state {
    uint32_t latch;
    bool armed;
};

struct toy {
    struct dev dev;
    struct toy_state s;
    int resets, loads, saves;
    unsigned last_window, last_size;
    uint64_t last_offset, last_value;
};

static const struct field toy_fields[] = {
    FIELD(1, struct toy_state, latch),
    FIELD(2, struct toy_state, armed),
    FIELD_END,
};

static int fini_calls;

static int toy_init(struct dev *dev, const void *config, struct err *err)
{
    return config != NULL ? err_set(err, -EIO, "refused as asked") : 0;
}

static void toy_reset(struct dev *dev)
{
    struct toy *toy = (struct toy *)dev;
    toy->s = (struct toy_state){.latch = 1};
    toy->resets++;
}

static uint64_t toy_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct toy *toy = (struct toy *)dev;
    toy->last_window = window;
    toy->last_offset = offset;
    toy->last_size = size;
    return UINT64_C(0x1122334455667788);
}

static void toy_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    toy_read(dev, window, offset, size);
    ((struct toy *)dev)->last_value = value;
}

static int toy_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct toy_state *s = state;
    return s->latch > 100 ? err_set(err, -EINVAL, "latch %u is over 100", s->latch) : 0;
}

static void toy_loaded(struct dev *dev)
{
    ((struct toy *)dev)->loads++;
}

static void toy_saving(struct dev *dev)
{
    ((struct toy *)dev)->saves++;
}

static void toy_fini(struct dev *dev)
{
    fini_calls++;
}

static const struct dev_type toy_type = {
    .name = "toy",
    .size = sizeof(struct toy),
    .state_offset = offsetof(struct toy, s),
    .state_size = sizeof(struct toy_state),
    .fields = toy_fields,
    .version = 2,
    .init = toy_init,
    .reset = toy_reset,
    .read = toy_read,
    .write = toy_write,
    .saving = toy_saving,
    .check = toy_check,
    .loaded = toy_loaded,
    .fini = toy_fini,
};

static const struct dev_type mute_type = {.name = "mute", .size = sizeof(struct dev)};

static struct toy *toy_new(uint32_t instance)
{
    static const struct dev_env env;
    struct dev *dev = NULL;
    assert_int_equal(dev_new(&toy_type, instance, &env, NULL, &dev, NULL), 0);
    return (struct toy *)dev;
}

static void test_windows(void **state)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    struct dev *dev = &toy_new(0)->dev;
    assert_int_equal(bus_add(bus, BUS_PORT, 0x3f8, 8, dev, 0), 0);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x3f0, 8, dev, 1), 0);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x400, 8, dev, 2), 0);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x3ff, 1, dev, 3), -EEXIST);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x3f8, 1, dev, 3), -EEXIST);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x3e0, 0x1000, dev, 3), -EEXIST);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x500, 0, dev, 3), -EINVAL);
    assert_int_equal(bus_add(bus, BUS_PORT, 0xffff, 2, dev, 3), -EINVAL);
    assert_int_equal(bus_add(bus, BUS_PORT, 0xffff, 1, dev, 3), 0);
    assert_int_equal(bus_add(bus, BUS_MMIO, UINT64_MAX, 2, dev, 3), -EINVAL);
    assert_int_equal(bus_add(bus, BUS_MMIO, UINT64_MAX - 7, 8, dev, 3), 0);
    assert_int_equal(bus_add(bus, BUS_MMIO, 0x3f8, 8, dev, 4), 0); /* another space */
    bus_remove(bus, BUS_PORT, dev, 0);
    bus_remove(bus, BUS_PORT, dev, 0);
    assert_int_equal(bus->count[BUS_PORT], 3);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x3f8, 8, dev, 0), 0);
    for (unsigned i = bus->count[BUS_PORT]; i < BUS_WINDOWS_MAX; i++)
        assert_int_equal(bus_add(bus, BUS_PORT, 0x1000 + i, 1, dev, i), 0);
    assert_int_equal(bus_add(bus, BUS_PORT, 0x2000, 1, dev, 0), -ENOSPC);
    dev_free(dev);
    free(bus);
}

static void test_routing(void **state)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    struct toy *toy = toy_new(0);
    struct dev *mute = NULL;
    assert_int_equal(dev_new(&mute_type, 0, NULL, NULL, &mute, NULL), 0);
    assert_int_equal(bus_add(bus, BUS_MMIO, 0x1000, 0x10, &toy->dev, 5), 0);
    assert_int_equal(bus_add(bus, BUS_MMIO, 0x1010, 0x10, mute, 0), 0);
    assert_true(bus_read(bus, BUS_MMIO, 0x1008, 8) == UINT64_C(0x1122334455667788));
    assert_true(bus_read(bus, BUS_MMIO, 0x100f, 1) == 0x88);
    assert_int_equal(toy->last_window, 5);
    assert_true(toy->last_offset == 0xf && toy->last_size == 1);
    bus_write(bus, BUS_MMIO, 0x1002, 2, 0xabcdef);
    assert_true(toy->last_offset == 2 && toy->last_value == 0xcdef);
    /* Beside, across the end, below, in the other space, and a device without functions. */
    assert_true(bus_read(bus, BUS_MMIO, 0x100d, 4) == 0xffffffff);
    assert_true(bus_read(bus, BUS_MMIO, 0xfff, 2) == 0xffff);
    assert_true(bus_read(bus, BUS_MMIO, 0, 8) == UINT64_MAX);
    assert_true(bus_read(bus, BUS_MMIO, UINT64_MAX, 8) == UINT64_MAX);
    assert_true(bus_read(bus, BUS_PORT, 0x1000, 1) == 0xff);
    assert_true(bus_read(bus, BUS_MMIO, 0x1010, 1) == 0xff);
    bus_write(bus, BUS_MMIO, 0x100d, 4, 1);
    bus_write(bus, BUS_MMIO, 0x1010, 4, 1);
    assert_true(toy->last_offset == 2);
    dev_free(mute);
    dev_free(&toy->dev);
    free(bus);
}

static void test_life(void **state)
{
    struct dev *dev = NULL;
    struct err err = ERR_INIT;
    fini_calls = 0;
    assert_int_equal(dev_new(&toy_type, 0, NULL, "no", &dev, &err), -EIO);
    assert_null(dev);
    assert_string_equal(err.message, "refused as asked");
    assert_int_equal(fini_calls, 1);
    struct toy *toy = toy_new(3);
    assert_int_equal(toy->resets, 1);
    assert_int_equal(toy->s.latch, 1);
    assert_ptr_equal(dev_state(&toy->dev), &toy->s);
    dev_free(&toy->dev);
    assert_int_equal(fini_calls, 2);
    dev_free(NULL);
}

/* Saves one toy's state into stream and returns the section. */
static struct section saved(struct buffer *stream, uint32_t instance, struct toy_state s)
{
    struct toy *toy = toy_new(instance);
    struct section_reader reader;
    struct section section;
    toy->s = s;
    assert_int_equal(dev_save(&toy->dev, stream), 0);
    assert_int_equal(toy->saves, 1);
    dev_free(&toy->dev);
    section_reader_init(&reader, stream->data, stream->size);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    return section;
}

static void test_load(void **state)
{
    struct buffer stream = BUFFER_INIT(1000);
    struct section section = saved(&stream, 3, (struct toy_state){.latch = 55, .armed = true});
    struct toy *toy = toy_new(3);
    assert_int_equal(dev_load(&toy->dev, &section, NULL), 0);
    assert_int_equal(toy->s.latch, 55);
    assert_true(toy->s.armed);
    assert_int_equal(toy->loads, 1);
    dev_free(&toy->dev);
    buffer_fini(&stream);
}

static void test_load_refused(void **state)
{
    struct buffer stream = BUFFER_INIT(1000);
    struct section section = saved(&stream, 3, (struct toy_state){.latch = 101});
    struct toy *toy = toy_new(3), *other = toy_new(4);
    struct err err = ERR_INIT;
    assert_int_equal(dev_load(&toy->dev, &section, &err), -EINVAL);
    assert_non_null(strstr(err.message, "latch 101 is over 100"));
    assert_int_equal(dev_load(&other->dev, &section, &err), -EINVAL);
    section.version = 3;
    assert_int_equal(dev_load(&toy->dev, &section, &err), -EPROTO);
    section.version = 1;
    section.size--;
    assert_int_equal(dev_load(&toy->dev, &section, &err), -EBADMSG);
    assert_int_equal(toy->s.latch, 1);
    assert_int_equal(toy->loads + other->loads, 0);
    dev_free(&toy->dev);
    dev_free(&other->dev);
    buffer_fini(&stream);
}

static void test_stateless(void **state)
{
    struct buffer stream = BUFFER_INIT(100);
    struct section_reader reader;
    struct section section;
    struct dev *mute = NULL;
    assert_int_equal(dev_new(&mute_type, 0, NULL, NULL, &mute, NULL), 0);
    assert_int_equal(dev_save(mute, &stream), 0);
    section_reader_init(&reader, stream.data, stream.size);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    assert_int_equal(section.size, 0);
    assert_int_equal(dev_load(mute, &section, NULL), 0);
    dev_free(mute);
    buffer_fini(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows), cmocka_unit_test(test_routing),      cmocka_unit_test(test_life),
        cmocka_unit_test(test_load),    cmocka_unit_test(test_load_refused), cmocka_unit_test(test_stateless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
