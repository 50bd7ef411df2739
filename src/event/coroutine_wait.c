/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What coroutines wait for: each other, time, workers, descriptors. */
#include <errno.h>
#include <stddef.h>

#include "base/bits.h"
#include "base/clock.h"
#include "event/coroutine.h"
#include "event/loop.h"
#include "event/timer.h"
#include "event/worker.h"

struct waiter {
    struct coroutine *coroutine;
    struct wait_queue *queue;
    struct waiter *next;
    bool woken; /* by the queue, or by time */
    bool timed_out;
};

static void leave(struct waiter *waiter)
{
    struct waiter **link = &waiter->queue->first;

    while (*link != NULL && *link != waiter)
        link = &(*link)->next;
    if (*link != NULL)
        *link = waiter->next;
}

static void wake(struct waiter *waiter)
{
    if (!waiter->woken) {
        waiter->woken = true;
        coroutine_wake(waiter->coroutine);
    }
}

static void on_timeout(void *ctx)
{
    struct waiter *waiter = ctx;

    if (waiter->woken)
        return;
    leave(waiter);
    waiter->timed_out = true;
    wake(waiter);
}

int wait_queue_wait(struct wait_queue *queue, struct scheduler *scheduler, int64_t nanoseconds)
{
    struct waiter waiter = {.coroutine = coroutine_self(scheduler), .queue = queue};
    struct waiter **last = &queue->first;
    struct timer timer = {0};

    while (*last != NULL)
        last = &(*last)->next;
    *last = &waiter;
    if (nanoseconds != WAIT_FOR_EVER) {
        timer_init(&timer, loop_timers(scheduler_loop(scheduler)), on_timeout, &waiter);
        timer_set(&timer, host_monotonic_ns() + nanoseconds);
    }
    coroutine_yield(scheduler);
    if (nanoseconds != WAIT_FOR_EVER)
        timer_cancel(&timer);
    return waiter.timed_out ? -ETIMEDOUT : 0;
}

void wait_queue_wake_all(struct wait_queue *queue)
{
    while (queue->first != NULL) {
        struct waiter *waiter = queue->first;

        queue->first = waiter->next;
        wake(waiter);
    }
}

void coroutine_sleep(struct scheduler *scheduler, int64_t nanoseconds)
{
    struct wait_queue nobody = {0};

    wait_queue_wait(&nobody, scheduler, nanoseconds);
}

struct job {
    struct work work;
    void (*fn)(void *ctx);
    void *ctx;
    struct coroutine *coroutine;
};

static void run_job(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);

    job->fn(job->ctx);
}

static void job_done(struct work *work)
{
    coroutine_wake(CONTAINER_OF(work, struct job, work)->coroutine);
}

int coroutine_work(struct scheduler *scheduler, void (*fn)(void *ctx), void *ctx)
{
    struct job job = {.work = {.run = run_job, .done = job_done}, .fn = fn, .ctx = ctx,
                      .coroutine = coroutine_self(scheduler)};
    int r = worker_pool_submit(scheduler_pool(scheduler), &job.work);

    if (r == 0)
        coroutine_yield(scheduler);
    return r;
}

static void on_ready(void *ctx, unsigned events)
{
    wait_queue_wake_all(ctx);
}

int coroutine_wait_fd(struct scheduler *scheduler, int fd, unsigned events, int64_t nanoseconds)
{
    struct wait_queue queue = {0};
    struct loop_source *source;
    int r = loop_add(scheduler_loop(scheduler), fd, events, on_ready, &queue, &source);

    if (r < 0)
        return r;
    r = wait_queue_wait(&queue, scheduler, nanoseconds);
    loop_remove(source);
    return r;
}
