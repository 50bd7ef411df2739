/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the PC's devices share. */
#include "pc_harness.h"

#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "state/section.h"

#define SAVED_MAX (1u << 20)

void harness_init(struct harness *h)
{
    *h = (struct harness){0};
    clock_init_stopped(&h->clock, 5 * NANOSECONDS_PER_SECOND);
    timer_queue_init(&h->timers, &h->clock);
    h->env = (struct dev_env){.clock = &h->clock, .timers = &h->timers};
}

static void set_line(void *ctx, unsigned number, bool level)
{
    struct harness *h = ctx;

    h->rises[number] += level && !h->level[number];
    h->level[number] = level;
}

struct irq_line harness_line(struct harness *h, unsigned number)
{
    assert_true(number < 32);
    return (struct irq_line){.set = set_line, .ctx = h, .number = number};
}

void harness_advance(struct harness *h, int64_t nanoseconds)
{
    int64_t end = clock_now(&h->clock) + nanoseconds;

    while (timer_queue_deadline(&h->timers) <= end) {
        int64_t wait = timer_queue_deadline(&h->timers) - clock_now(&h->clock);

        clock_advance(&h->clock, wait > 0 ? wait : 0);
        timer_queue_run(&h->timers);
    }
    clock_advance(&h->clock, end - clock_now(&h->clock));
}

struct dev *harness_new(struct harness *h, const struct dev_type *type, uint32_t instance, const void *config)
{
    struct dev *dev = NULL;
    struct err err = ERR_INIT;

    if (dev_new(type, instance, &h->env, config, &dev, &err) < 0)
        fail_msg("%s", err.message);
    return dev;
}

uint64_t dev_in(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    return dev->type->read(dev, window, offset, size);
}

void dev_out(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    dev->type->write(dev, window, offset, size, value);
}

static int load_bytes(struct dev *dev, const struct buffer *saved)
{
    struct section_reader reader;
    struct section section;
    struct err err = ERR_INIT;

    section_reader_init(&reader, saved->data, saved->size);
    assert_int_equal(section_next(&reader, &section, &err), 1);
    return dev_load(dev, &section, &err);
}

void harness_move(struct dev *from, struct dev *to)
{
    struct buffer saved = BUFFER_INIT(SAVED_MAX), again = BUFFER_INIT(SAVED_MAX);

    assert_int_equal(dev_save(from, &saved), 0);
    assert_int_equal(load_bytes(to, &saved), 0);
    assert_int_equal(dev_save(to, &again), 0);
    assert_int_equal(saved.size, again.size);
    assert_memory_equal(saved.data, again.data, saved.size);
    buffer_fini(&saved);
    buffer_fini(&again);
}

static const struct field *find_field(const struct field *fields, const char *name)
{
    for (; fields->tag != 0; fields++) {
        if (text_equal(fields->name, name))
            return fields;
    }
    fail_msg("there is no field %s", name);
    return NULL;
}

int harness_load_with(struct dev *dev, const char *name, unsigned index, uint64_t value)
{
    const struct field *field = find_field(dev->type->fields, name);
    struct buffer saved = BUFFER_INIT(SAVED_MAX);
    char *state = malloc(dev->type->state_size);
    int r;

    assert_non_null(state);
    assert_true(index < field->count && field->table == NULL);
    memcpy(state, dev_state(dev), dev->type->state_size);
    memcpy(state + field->offset + (size_t)index * field->width, &value, field->width);
    assert_int_equal(section_write(&saved, dev->type->name, dev->instance, dev->type->version, dev->type->fields, state), 0);
    r = load_bytes(dev, &saved);
    free(state);
    buffer_fini(&saved);
    return r;
}
