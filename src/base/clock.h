/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A clock that counts nanoseconds: follows the host, can be stopped with the VM, or is stepped by a test.
 *
 * Whoever shares a clock between threads holds the machine lock around stop, start and advance; clock_now() and
 * clock_is_running() may be called from anywhere, without a lock. */
#ifndef FERRY_BASE_CLOCK_H
#define FERRY_BASE_CLOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NANOSECONDS_PER_SECOND INT64_C(1000000000)

struct clock {
    _Atomic uint32_t sequence; /* odd while running and value are being changed */
    _Atomic bool running;      /* true: time = CLOCK_MONOTONIC + value; false: time = value */
    _Atomic int64_t value;     /* nanoseconds */
};

/* A clock that reads start_ns now and runs. */
void clock_init_running(struct clock *clock, int64_t start_ns);

/* A clock that stands at start_ns until it is advanced or started. */
void clock_init_stopped(struct clock *clock, int64_t start_ns);

int64_t clock_now(const struct clock *clock);
bool clock_is_running(const struct clock *clock);

/* Both do nothing when already so. Time continues without a jump. Timer queues on this clock want to be told:
 * timer_queue_clock_changed(). */
void clock_stop(struct clock *clock);
void clock_start(struct clock *clock);

/* Adds to the clock's time; for tests, and for restoring a saved VM. */
void clock_advance(struct clock *clock, int64_t nanoseconds);

/* The host's own CLOCK_MONOTONIC in nanoseconds. */
int64_t host_monotonic_ns(void);

/* Waits for the condition until host_monotonic_ns() is deadline_ns: 0 (perhaps for nothing, as ever), or -ETIMEDOUT. */
int host_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t deadline_ns);

#endif
