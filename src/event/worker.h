/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small pool of threads for host work that blocks (pread, fsync, name look-ups); results come back to the loop. */
#ifndef FERRY_EVENT_WORKER_H
#define FERRY_EVENT_WORKER_H

struct loop;
struct worker_pool;

struct work {
    void (*run)(struct work *work);  /* in a worker thread, no lock held */
    void (*done)(struct work *work); /* afterwards in the loop's thread, with the loop's lock */
    struct work *next;               /* the pool's own */
};

/* Starts no thread until work comes; at most max_threads. All calls with the loop's lock held, or before it runs. */
int worker_pool_new(struct loop *loop, unsigned max_threads, struct worker_pool **ret_pool);

/* Waits until all work has run and calls what done() is outstanding before it returns. Accepts NULL. */
void worker_pool_free(struct worker_pool *pool);

/* The work belongs to the pool until done() is called. -EAGAIN when no thread could be started at all. */
int worker_pool_submit(struct worker_pool *pool, struct work *work);

/* Waits until everything submitted has run, work submitted by done() included, calling done() in this thread. */
void worker_pool_drain(struct worker_pool *pool);

#endif
