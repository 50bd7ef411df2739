/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A clock that counts nanoseconds. Changes are made under the owner's lock; readers see them whole by the sequence. */
#include "base/clock.h"

#include <time.h>

int64_t host_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec;
}

int host_wait(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t deadline_ns)
{
    const struct timespec deadline = {.tv_sec = deadline_ns / NANOSECONDS_PER_SECOND,
                                      .tv_nsec = deadline_ns % NANOSECONDS_PER_SECOND};

    return -pthread_cond_clockwait(condition, lock, CLOCK_MONOTONIC, &deadline);
}

/* Host time is taken between begin and end: a reader whose sequence held until it had its own was earlier, so that no
 * reader sees time go back. */
static void begin_change(struct clock *clock)
{
    atomic_fetch_add(&clock->sequence, 1);
}

static void end_change(struct clock *clock, bool running, int64_t value)
{
    atomic_store(&clock->running, running);
    atomic_store(&clock->value, value);
    atomic_fetch_add(&clock->sequence, 1);
}

void clock_init_running(struct clock *clock, int64_t start_ns)
{
    atomic_init(&clock->sequence, 0);
    atomic_init(&clock->running, true);
    atomic_init(&clock->value, start_ns - host_monotonic_ns());
}

void clock_init_stopped(struct clock *clock, int64_t start_ns)
{
    atomic_init(&clock->sequence, 0);
    atomic_init(&clock->running, false);
    atomic_init(&clock->value, start_ns);
}

int64_t clock_now(const struct clock *clock)
{
    uint32_t before, after;
    int64_t now;
    do {
        before = atomic_load(&clock->sequence);
        now = atomic_load(&clock->value);
        if (atomic_load(&clock->running))
            now += host_monotonic_ns();
        after = atomic_load(&clock->sequence);
    } while (before != after || (before & 1) != 0);
    return now;
}

bool clock_is_running(const struct clock *clock)
{
    return atomic_load(&clock->running);
}

void clock_stop(struct clock *clock)
{
    if (!clock->running)
        return;
    begin_change(clock);
    end_change(clock, false, clock->value + host_monotonic_ns());
}

void clock_start(struct clock *clock)
{
    if (clock->running)
        return;
    begin_change(clock);
    end_change(clock, true, clock->value - host_monotonic_ns());
}

void clock_advance(struct clock *clock, int64_t nanoseconds)
{
    begin_change(clock);
    end_change(clock, clock->running, clock->value + nanoseconds);
}
