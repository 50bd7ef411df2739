/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Coroutines on an event loop: code that waits for somebody without holding up the loop, written as if it were alone.
 *
 * A coroutine runs in the loop's thread from one wait to the next, so nothing needs a lock; only what is read before a wait
 * may have changed behind it. Everything here is for the loop's thread only.
 *
 *     static void serve(void *ctx)
 *     {
 *         coroutine_work(scheduler, look_up_name, ctx);     // in a worker thread; the loop goes on meanwhile
 *         ...
 *     }
 *     r = coroutine_start(scheduler, serve, ctx);           // runs up to its first wait before this returns
 *
 * A stack is 256 KiB of address space with a guard page below; only what was touched costs memory. */
#ifndef FERRY_EVENT_COROUTINE_H
#define FERRY_EVENT_COROUTINE_H

#include <stdbool.h>
#include <stdint.h>

struct coroutine;
struct loop;
struct scheduler;
struct worker_pool;

typedef void coroutine_fn(void *ctx);

/* pool may be NULL when coroutine_work() is never used. */
int scheduler_new(struct loop *loop, struct worker_pool *pool, struct scheduler **ret_scheduler);
/* No coroutine may be left waiting (scheduler_count). Accepts NULL. */
void scheduler_free(struct scheduler *scheduler);
/* Coroutines that have not ended. */
unsigned scheduler_count(const struct scheduler *scheduler);

/* -ENOMEM. May be called from within a coroutine: the new one then runs soon, not at once. */
int coroutine_start(struct scheduler *scheduler, coroutine_fn *fn, void *ctx);

/* The one that runs, or NULL. */
struct coroutine *coroutine_self(const struct scheduler *scheduler);

/* Waits until somebody calls coroutine_wake() on this coroutine. */
void coroutine_yield(struct scheduler *scheduler);
/* Lets a waiting coroutine go on, soon. At most once a wait. */
void coroutine_wake(struct coroutine *coroutine);

/* A queue of waiting coroutines; zeroed is empty. */
struct waiter;
struct wait_queue {
    struct waiter *first;
};

#define WAIT_FOR_EVER INT64_MAX

/* Waits to be woken, at most nanoseconds. 0, or -ETIMEDOUT. */
int wait_queue_wait(struct wait_queue *queue, struct scheduler *scheduler, int64_t nanoseconds);
void wait_queue_wake_all(struct wait_queue *queue);

void coroutine_sleep(struct scheduler *scheduler, int64_t nanoseconds);

/* Runs fn(ctx) in a worker thread and waits for its end. -EAGAIN: there is no thread. */
int coroutine_work(struct scheduler *scheduler, void (*fn)(void *ctx), void *ctx);

/* Waits until one of events (LOOP_READ, LOOP_WRITE) or a hang-up is there on fd, which nobody else watches. 0, -ETIMEDOUT,
 * or what loop_add() says. */
int coroutine_wait_fd(struct scheduler *scheduler, int fd, unsigned events, int64_t nanoseconds);

struct loop *scheduler_loop(const struct scheduler *scheduler);
struct worker_pool *scheduler_pool(const struct scheduler *scheduler);

#endif
