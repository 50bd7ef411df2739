/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A clock that counts nanoseconds: follows the host, can be stopped with the VM, or is stepped by a test.
 *
 * Not locked: whoever shares a clock between threads holds the machine lock around stop, start, set and advance;
 * clock_now() alone may be called from anywhere. */
#ifndef FERRY_BASE_CLOCK_H
#define FERRY_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NANOSECONDS_PER_SECOND INT64_C(1000000000)

struct clock {
    bool running;  /* true: time = CLOCK_MONOTONIC + value; false: time = value */
    int64_t value; /* nanoseconds */
};

/* A clock that reads start_ns now and runs. */
void clock_init_running(struct clock *clock, int64_t start_ns);

/* A clock that stands at start_ns until it is advanced or started. */
void clock_init_stopped(struct clock *clock, int64_t start_ns);

int64_t clock_now(const struct clock *clock);

/* Both do nothing when already so. Time continues without a jump. */
void clock_stop(struct clock *clock);
void clock_start(struct clock *clock);

/* Adds to the clock's time; for tests, and for restoring a saved VM. */
void clock_advance(struct clock *clock, int64_t nanoseconds);

/* The host's own CLOCK_MONOTONIC in nanoseconds. */
int64_t host_monotonic_ns(void);

#endif
