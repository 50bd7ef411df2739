/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Timers: one sorted list a queue. A VM has a few dozen, most of them idle, so a list beats a heap. */
#include "event/timer.h"

#include <stddef.h>

#include "base/clock.h"

#define RUN_MAX 1024 /* functions in one timer_queue_run() */

void timer_queue_init(struct timer_queue *queue, const struct clock *clock)
{
    *queue = (struct timer_queue){.clock = clock};
}

int64_t timer_queue_deadline(const struct timer_queue *queue)
{
    return queue->first != NULL ? queue->first->deadline : INT64_MAX;
}

void timer_queue_clock_changed(struct timer_queue *queue)
{
    if (queue->changed != NULL)
        queue->changed(queue->changed_ctx);
}

void timer_queue_run(struct timer_queue *queue)
{
    int64_t now = clock_now(queue->clock);
    for (int i = 0; i < RUN_MAX && queue->first != NULL && queue->first->deadline <= now; i++) {
        struct timer *timer = queue->first;
        queue->first = timer->next;
        timer->armed = false;
        timer->fn(timer->ctx);
    }
}

void timer_init(struct timer *timer, struct timer_queue *queue, timer_fn *fn, void *ctx)
{
    *timer = (struct timer){.queue = queue, .fn = fn, .ctx = ctx};
}

static void unlink_timer(struct timer *timer)
{
    struct timer **link = &timer->queue->first;
    while (*link != timer)
        link = &(*link)->next;
    *link = timer->next;
    timer->armed = false;
}

/* Behind those of the same deadline: timers that are due together run in the order in which they were set. */
static void link_timer(struct timer *timer)
{
    struct timer **link = &timer->queue->first;
    while (*link != NULL && (*link)->deadline <= timer->deadline)
        link = &(*link)->next;
    timer->next = *link;
    *link = timer;
    timer->armed = true;
}

void timer_set(struct timer *timer, int64_t deadline_ns)
{
    int64_t earliest = timer_queue_deadline(timer->queue);
    if (timer->armed)
        unlink_timer(timer);
    timer->deadline = deadline_ns;
    link_timer(timer);
    if (timer_queue_deadline(timer->queue) != earliest)
        timer_queue_clock_changed(timer->queue);
}

void timer_cancel(struct timer *timer)
{
    if (!timer->armed)
        return;
    int64_t earliest = timer_queue_deadline(timer->queue);
    unlink_timer(timer);
    if (timer_queue_deadline(timer->queue) != earliest)
        timer_queue_clock_changed(timer->queue);
}
