/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the PC's devices share: a stepped clock with timers, lines that remember, and save/load. */
#ifndef FERRY_TESTS_DEVICE_PC_HARNESS_H
#define FERRY_TESTS_DEVICE_PC_HARNESS_H

#include "check.h"

#include "base/clock.h"
#include "bus/dev.h"
#include "event/timer.h"

#define MILLISECOND INT64_C(1000000)

struct harness {
    struct clock clock;
    struct timer_queue timers;
    struct dev_env env;
    bool level[32];      /* of the lines from harness_line() */
    unsigned rises[32];
};

void harness_init(struct harness *h);

/* A line that the harness watches; number below 32. */
struct irq_line harness_line(struct harness *h, unsigned number);

/* Lets time pass, running each timer at its own instant. */
void harness_advance(struct harness *h, int64_t nanoseconds);

struct dev *harness_new(struct harness *h, const struct dev_type *type, uint32_t instance, const void *config);

uint64_t dev_in(struct dev *dev, unsigned window, uint64_t offset, unsigned size);
void dev_out(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value);

/* Saves `from`, loads it into `to`, and checks that `to` then saves the same bytes. */
void harness_move(struct dev *from, struct dev *to);

/* Loads dev's own state with one field (by name; of an array its element `index`) set to value. Returns what dev_load did. */
int harness_load_with(struct dev *dev, const char *field, unsigned index, uint64_t value);

#endif
