/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets of the PC's devices share: bytes choose read, write, time, reset, a saved state with wild values,
 * or something of the target's own. */
#ifndef FERRY_TESTS_FUZZ_DEVICE_FUZZ_H
#define FERRY_TESTS_FUZZ_DEVICE_FUZZ_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "bus/dev.h"
#include "event/timer.h"
#include "fuzz.h"
#include "state/section.h"

#define FUZZ_STEPS_MAX 100

struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

static inline uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes)
{
    uint64_t value = 0;
    size_t count = bytes < in->size ? bytes : in->size;

    memcpy(&value, in->data, count);
    in->data += count;
    in->size -= count;
    return value;
}

struct fuzz_window {
    unsigned number;
    uint64_t size;
};

struct fuzz_device {
    struct clock clock;
    struct timer_queue timers;
    struct dev_env env;
    struct dev *dev;
    struct fuzz_window window[8]; /* size 0 ends it */
    void (*own)(struct fuzz_device *f, struct fuzz_input *in); /* lines, messages, input; may be NULL */
};

static inline void fuzz_line(void *ctx, unsigned number, bool level)
{
}

static inline void fuzz_prepare(struct fuzz_device *f)
{
    clock_init_stopped(&f->clock, NANOSECONDS_PER_SECOND);
    timer_queue_init(&f->timers, &f->clock);
    f->env = (struct dev_env){.clock = &f->clock, .timers = &f->timers};
}

static inline void fuzz_access(struct fuzz_device *f, struct fuzz_input *in, bool write)
{
    unsigned count = 0, size = 1u << fuzz_take(in, 1) % 4;
    const struct fuzz_window *w;
    uint64_t offset;

    while (count < 8 && f->window[count].size != 0)
        count++;
    w = &f->window[fuzz_take(in, 1) % count];
    while (size > w->size)
        size /= 2;
    offset = fuzz_take(in, w->size > 256 ? 2 : 1) % (w->size - size + 1);
    if (write)
        f->dev->type->write(f->dev, w->number, offset, size, fuzz_take(in, size));
    else
        f->dev->type->read(f->dev, w->number, offset, size);
}

/* Most wild states must be refused, and none may do harm. */
static inline void fuzz_load(struct fuzz_device *f, struct fuzz_input *in)
{
    const struct dev_type *type = f->dev->type;
    struct buffer saved = BUFFER_INIT(SECTION_BODY_MAX);
    struct section_reader reader;
    struct section section;
    struct err err = ERR_INIT;
    uint8_t *state = malloc(type->state_size);

    if (state == NULL)
        return;
    if (type->saving != NULL)
        type->saving(f->dev);
    memcpy(state, dev_state(f->dev), type->state_size);
    for (unsigned changes = fuzz_take(in, 1) % 4; changes > 0; changes--) {
        size_t at = fuzz_take(in, 2) % type->state_size;
        uint64_t value = fuzz_take(in, 8);
        size_t room = type->state_size - at;

        memcpy(state + at, &value, room < 8 ? room : 8);
    }
    if (section_write(&saved, type->name, f->dev->instance, type->version, type->fields, state) == 0) {
        section_reader_init(&reader, saved.data, saved.size);
        if (section_next(&reader, &section, &err) == 1)
            dev_load(f->dev, &section, &err);
    }
    buffer_fini(&saved);
    free(state);
}

static inline void fuzz_step(struct fuzz_device *f, struct fuzz_input *in)
{
    uint8_t what = fuzz_take(in, 1);

    switch (what % 8) {
    case 0:
    case 1:
        fuzz_access(f, in, false);
        break;
    case 2:
    case 3:
    case 4:
        fuzz_access(f, in, true);
        break;
    case 5:
        clock_advance(&f->clock, (int64_t)(fuzz_take(in, 2) << (what >> 3)));
        timer_queue_run(&f->timers);
        break;
    case 6:
        if (what == 0xfe)
            dev_reset(f->dev);
        else
            fuzz_load(f, in);
        break;
    case 7:
        if (f->own != NULL)
            f->own(f, in);
        break;
    }
}

/* Makes the device, feeds it the input, frees it. */
static inline void fuzz_run(struct fuzz_device *f, const struct dev_type *type, const void *config, const uint8_t *data,
                            size_t size)
{
    struct fuzz_input in = {.data = data, .size = size};
    struct err err = ERR_INIT;

    if (dev_new(type, 0, &f->env, config, &f->dev, &err) < 0)
        return;
    for (unsigned i = 0; i < FUZZ_STEPS_MAX && in.size > 0; i++)
        fuzz_step(f, &in);
    dev_free(f->dev);
}

#endif
