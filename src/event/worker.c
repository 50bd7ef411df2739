/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The worker pool: two lists under one mutex (work to do, work done) and an eventfd that brings results to the loop. */
#include "event/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/fd.h"
#include "event/loop.h"

struct work_list {
    struct work *first, **last;
    unsigned count;
};

struct worker_pool {
    struct loop_source *source;
    int done_fd;
    pthread_mutex_t lock;     /* of everything below; never held while work runs or done() is called */
    pthread_cond_t work_came; /* or stopping */
    pthread_cond_t work_done;
    struct work_list todo, done;
    unsigned running, idle;
    bool stopping;
    unsigned max_threads, thread_count;
    pthread_t thread[];
};

static void list_init(struct work_list *list)
{
    list->first = NULL;
    list->last = &list->first;
    list->count = 0;
}

static void list_append(struct work_list *list, struct work *work)
{
    work->next = NULL;
    *list->last = work;
    list->last = &work->next;
    list->count++;
}

static struct work *list_take(struct work_list *list)
{
    struct work *work = list->first;
    list->first = work->next;
    if (list->first == NULL)
        list->last = &list->first;
    list->count--;
    return work;
}

static void *worker_thread(void *ctx)
{
    struct worker_pool *pool = ctx;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->todo.first == NULL && !pool->stopping) {
            pool->idle++;
            pthread_cond_wait(&pool->work_came, &pool->lock);
            pool->idle--;
        }
        if (pool->todo.first == NULL)
            break;
        struct work *work = list_take(&pool->todo);
        pool->running++;
        pthread_mutex_unlock(&pool->lock);
        work->run(work);
        pthread_mutex_lock(&pool->lock);
        pool->running--;
        list_append(&pool->done, work);
        pthread_cond_signal(&pool->work_done);
        eventfd_signal(pool->done_fd);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Calls done() for what has finished so far. Entered and left with the pool's lock. */
static void deliver(struct worker_pool *pool)
{
    while (pool->done.first != NULL) {
        struct work *work = list_take(&pool->done);
        pthread_mutex_unlock(&pool->lock);
        work->done(work);
        pthread_mutex_lock(&pool->lock);
    }
}

static void on_done(void *ctx, unsigned events)
{
    struct worker_pool *pool = ctx;
    eventfd_drain(pool->done_fd);
    pthread_mutex_lock(&pool->lock);
    deliver(pool);
    pthread_mutex_unlock(&pool->lock);
}

int worker_pool_new(struct loop *loop, unsigned max_threads, struct worker_pool **ret_pool)
{
    struct worker_pool *pool = calloc(1, sizeof(*pool) + max_threads * sizeof(pool->thread[0]));
    if (pool == NULL)
        return -ENOMEM;
    pool->max_threads = max_threads;
    list_init(&pool->todo);
    list_init(&pool->done);
    int r = eventfd_new(&pool->done_fd);
    if (r == 0) {
        r = loop_add(loop, pool->done_fd, LOOP_READ, on_done, pool, &pool->source);
        if (r < 0)
            fd_close(&pool->done_fd);
    }
    if (r < 0) {
        free(pool);
        return r;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work_came, NULL);
    pthread_cond_init(&pool->work_done, NULL);
    *ret_pool = pool;
    return 0;
}

/* Signals are the loop's business: workers block them all, but for the one by which the sandbox tells what it stopped. */
static int start_thread(struct worker_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGSYS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&pool->thread[pool->thread_count], NULL, worker_thread, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        pool->thread_count++;
    return -r;
}

int worker_pool_submit(struct worker_pool *pool, struct work *work)
{
    int r = 0;
    pthread_mutex_lock(&pool->lock);
    if (pool->todo.count >= pool->idle && pool->thread_count < pool->max_threads)
        start_thread(pool);
    if (pool->thread_count > 0) {
        list_append(&pool->todo, work);
        pthread_cond_signal(&pool->work_came);
    } else {
        r = -EAGAIN;
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

void worker_pool_drain(struct worker_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        deliver(pool);
        if (pool->todo.first == NULL && pool->running == 0 && pool->done.first == NULL)
            break;
        if (pool->done.first == NULL)
            pthread_cond_wait(&pool->work_done, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

void worker_pool_free(struct worker_pool *pool)
{
    if (pool == NULL)
        return;
    worker_pool_drain(pool);
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work_came);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->thread[i], NULL);
    loop_remove(pool->source);
    fd_close(&pool->done_fd);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work_came);
    pthread_cond_destroy(&pool->work_done);
    free(pool);
}
