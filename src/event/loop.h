/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop: file descriptors, the timers of one queue, and work handed over from other threads.
 *
 * Callbacks run in the thread that calls loop_run(), with the loop's lock (see loop_set_lock) held. */
#ifndef FERRY_EVENT_LOOP_H
#define FERRY_EVENT_LOOP_H

#include <pthread.h>
#include <stdint.h>

#include "event/timer.h"

struct loop;
struct loop_source;

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

/* events: which of LOOP_* are true now. LOOP_HANGUP is reported without being asked for. */
typedef void loop_fn(void *ctx, unsigned events);
typedef void loop_work_fn(void *ctx);

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop); /* accepts NULL; sources still there are removed */

/* The lock that is taken around every callback (in a VM: the machine lock). NULL: none. Set before loop_run(). */
void loop_set_lock(struct loop *loop, pthread_mutex_t *lock);

/* Watches fd, which stays the caller's. Only with the lock held, or before loop_run(). */
int loop_add(struct loop *loop, int fd, unsigned events, loop_fn *fn, void *ctx, struct loop_source **ret_source);
int loop_modify(struct loop_source *source, unsigned events);
void loop_remove(struct loop_source *source); /* accepts NULL; safe inside its own callback, no call follows */

/* Connects a timer queue whose deadlines the loop then serves; its clock must run on the host's monotonic time. */
int loop_attach_timers(struct loop *loop, struct timer_queue *queue);

/* Runs fn(ctx) once in the loop's thread, soon. From any thread, lock held or not. -ENOMEM. */
int loop_defer(struct loop *loop, loop_work_fn *fn, void *ctx);

/* Serves events until loop_quit(). */
int loop_run(struct loop *loop);
/* Waits at most timeout_ms (-1: for ever) and serves what is ready once. Returns 0 or a negative errno. */
int loop_step(struct loop *loop, int timeout_ms);
void loop_quit(struct loop *loop); /* from any thread */

#endif
