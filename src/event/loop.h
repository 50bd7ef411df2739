/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop: file descriptors, timer queues, and work handed over from other threads.
 *
 * Callbacks run in the thread that calls loop_run(), with the loop's lock (see loop_set_lock) held; it is let go
 * between any two of them. Events are levels: a callback that leaves data unread is called again. */
#ifndef FERRY_EVENT_LOOP_H
#define FERRY_EVENT_LOOP_H

#include <pthread.h>
#include <stdint.h>

#include "event/timer.h"

struct loop;
struct loop_source;

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

/* events: which of LOOP_* are true now. LOOP_HANGUP (closed, or broken) is reported without being asked for, and again
 * and again until the source is removed. */
typedef void loop_fn(void *ctx, unsigned events);
typedef void loop_work_fn(void *ctx);

int loop_new(struct loop **ret_loop);
/* Accepts NULL. Sources still there are removed, deferred work not yet run is dropped, timer queues are let go. */
void loop_free(struct loop *loop);

/* The lock that is taken around every callback (in a VM: the machine lock). NULL: none. Set before loop_run(). */
void loop_set_lock(struct loop *loop, pthread_mutex_t *lock);

/* Watches fd, which stays the caller's and must be removed before it is closed. Only with the lock held, or before
 * loop_run(). -EEXIST: it is watched already; -EPERM: its kind can't be waited for (a regular file). */
int loop_add(struct loop *loop, int fd, unsigned events, loop_fn *fn, void *ctx, struct loop_source **ret_source);
int loop_modify(struct loop_source *source, unsigned events);
void loop_remove(struct loop_source *source); /* accepts NULL; safe inside its own callback, no call follows */

#define LOOP_QUEUES_MAX 4

/* Connects a timer queue whose deadlines the loop then serves, and which outlives it. While the queue's clock stands,
 * only deadlines already past are served. -ENOSPC. */
int loop_attach_timers(struct loop *loop, struct timer_queue *queue);

/* The loop's own queue, on a clock that follows the host's CLOCK_MONOTONIC (host_monotonic_ns()) and never stops: for
 * backends, whose time goes on while the VM is paused. */
struct timer_queue *loop_timers(struct loop *loop);

/* Runs fn(ctx) once in the loop's thread, soon. From any thread, lock held or not. -ENOMEM. */
int loop_defer(struct loop *loop, loop_work_fn *fn, void *ctx);

/* Serves events until loop_quit(); returns at once if that came before. 0, or a negative errno when waiting fails. */
int loop_run(struct loop *loop);
/* Waits at most timeout_ms (-1: for ever) and serves what is ready once. Returns 0 or a negative errno. */
int loop_step(struct loop *loop, int timeout_ms);
void loop_quit(struct loop *loop); /* from any thread */

#endif
