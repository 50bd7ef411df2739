/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Timers on a clock of the caller's choice, so that a device test can step time instead of sleeping.
 *
 * A timer is embedded in its owner. All calls on one queue happen under one lock (in a VM: the machine lock). */
#ifndef FERRY_EVENT_TIMER_H
#define FERRY_EVENT_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct clock;
struct timer;

typedef void timer_fn(void *ctx);

struct timer_queue {
    const struct clock *clock;
    struct timer *first;        /* armed timers, earliest first */
    void (*changed)(void *ctx); /* told when the earliest deadline changed; may be NULL */
    void *changed_ctx;
};

struct timer {
    struct timer_queue *queue;
    timer_fn *fn;
    void *ctx;
    bool armed;
    int64_t deadline; /* nanoseconds of the queue's clock */
    struct timer *next;
};

void timer_queue_init(struct timer_queue *queue, const struct clock *clock);

/* Runs every timer whose deadline has come, earliest first; a timer is disarmed before its function runs, and may be
 * set again there: if that deadline has come too, it runs again. After 1024 functions it returns all the same, so that
 * a guest's tiny period can't hold the lock for ever; the loop comes back for the rest. */
void timer_queue_run(struct timer_queue *queue);

/* Earliest deadline, or INT64_MAX when no timer is armed. */
int64_t timer_queue_deadline(const struct timer_queue *queue);

/* To be called after the queue's clock was stopped, started or advanced by hand. */
void timer_queue_clock_changed(struct timer_queue *queue);

void timer_init(struct timer *timer, struct timer_queue *queue, timer_fn *fn, void *ctx);
void timer_set(struct timer *timer, int64_t deadline_ns);
void timer_cancel(struct timer *timer); /* accepts an idle or zeroed timer */

#endif
