/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop on epoll; one timerfd for the earliest deadline of all queues, one eventfd to be woken by. */
#include "event/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/fd.h"

#define EVENTS_PER_STEP 64

struct loop_source {
    struct loop *loop;
    int fd;
    unsigned events;
    loop_fn *fn;
    void *ctx;
    bool removed;
    struct loop_source *next; /* in loop->sources or loop->removed */
};

struct deferred {
    loop_work_fn *fn;
    void *ctx;
    struct deferred *next;
};

struct loop {
    int epoll_fd, timer_fd, wake_fd;
    struct loop_source *timer_source, *wake_source;
    pthread_mutex_t *lock;
    struct loop_source *sources;
    struct loop_source *removed; /* freed after a step's last event: until then the step may hold one of theirs */
    struct clock clock;
    struct timer_queue timers;
    struct timer_queue *queue[LOOP_QUEUES_MAX];
    unsigned queue_count;
    int64_t armed_for; /* host's time at which timer_fd fires next; INT64_MAX: never */
    pthread_mutex_t deferred_lock;
    struct deferred *deferred_first, **deferred_last;
    _Atomic bool quit;
};

static void lock(struct loop *loop)
{
    if (loop->lock != NULL)
        pthread_mutex_lock(loop->lock);
}

static void unlock(struct loop *loop)
{
    if (loop->lock != NULL)
        pthread_mutex_unlock(loop->lock);
}

/* The host's time at which the queue wants to be run. */
static int64_t host_deadline(const struct timer_queue *queue)
{
    int64_t deadline = timer_queue_deadline(queue), now = clock_now(queue->clock), result;
    if (deadline > now && !clock_is_running(queue->clock))
        return INT64_MAX;
    if (deadline == INT64_MAX || __builtin_add_overflow(deadline - now, host_monotonic_ns(), &result))
        return INT64_MAX;
    return result > 1 ? result : 1; /* 0 would disarm */
}

static void rearm(void *ctx)
{
    struct loop *loop = ctx;
    int64_t earliest = INT64_MAX;
    for (unsigned i = 0; i < loop->queue_count; i++) {
        int64_t deadline = host_deadline(loop->queue[i]);
        earliest = deadline < earliest ? deadline : earliest;
    }
    /* A deadline put off costs one idle wake-up, which is cheaper than a system call at every change. */
    if (earliest >= loop->armed_for)
        return;
    struct itimerspec when = {
        .it_value = {.tv_sec = earliest / NANOSECONDS_PER_SECOND, .tv_nsec = earliest % NANOSECONDS_PER_SECOND}};
    timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    loop->armed_for = earliest;
}

static void on_timer(void *ctx, unsigned events)
{
    struct loop *loop = ctx;
    eventfd_drain(loop->timer_fd); /* a timerfd is read like an eventfd */
    for (unsigned i = 0; i < loop->queue_count; i++)
        timer_queue_run(loop->queue[i]);
    loop->armed_for = INT64_MAX;
    rearm(loop);
}

static struct deferred *take_deferred(struct loop *loop)
{
    pthread_mutex_lock(&loop->deferred_lock);
    struct deferred *first = loop->deferred_first;
    loop->deferred_first = NULL;
    loop->deferred_last = &loop->deferred_first;
    pthread_mutex_unlock(&loop->deferred_lock);
    return first;
}

/* Called with the lock held, like every callback, and lets it go between two pieces of work. */
static void on_wake(void *ctx, unsigned events)
{
    struct loop *loop = ctx;
    eventfd_drain(loop->wake_fd);
    struct deferred *work = take_deferred(loop);
    while (work != NULL) {
        struct deferred *next = work->next;
        work->fn(work->ctx);
        free(work);
        work = next;
        if (work != NULL) {
            unlock(loop);
            lock(loop);
        }
    }
}

static int add_own_source(struct loop *loop, int fd, loop_fn *fn, struct loop_source **ret_source)
{
    return loop_add(loop, fd, LOOP_READ, fn, loop, ret_source);
}

static int open_descriptors(struct loop *loop)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->timer_fd < 0)
        return -errno;
    int r = eventfd_new(&loop->wake_fd);
    if (r == 0)
        r = add_own_source(loop, loop->timer_fd, on_timer, &loop->timer_source);
    if (r == 0)
        r = add_own_source(loop, loop->wake_fd, on_wake, &loop->wake_source);
    return r;
}

int loop_new(struct loop **ret_loop)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL)
        return -ENOMEM;
    loop->epoll_fd = loop->timer_fd = loop->wake_fd = -1;
    loop->deferred_last = &loop->deferred_first;
    loop->armed_for = INT64_MAX;
    pthread_mutex_init(&loop->deferred_lock, NULL);
    clock_init_running(&loop->clock, host_monotonic_ns());
    timer_queue_init(&loop->timers, &loop->clock);
    int r = open_descriptors(loop);
    if (r == 0)
        r = loop_attach_timers(loop, &loop->timers);
    if (r < 0) {
        loop_free(loop);
        return r;
    }
    *ret_loop = loop;
    return 0;
}

static void free_sources(struct loop_source **first)
{
    while (*first != NULL) {
        struct loop_source *source = *first;
        *first = source->next;
        free(source);
    }
}

void loop_free(struct loop *loop)
{
    if (loop == NULL)
        return;
    for (unsigned i = 0; i < loop->queue_count; i++)
        loop->queue[i]->changed = NULL;
    free_sources(&loop->sources);
    free_sources(&loop->removed);
    for (struct deferred *work = take_deferred(loop), *next; work != NULL; work = next) {
        next = work->next;
        free(work);
    }
    fd_close(&loop->epoll_fd);
    fd_close(&loop->timer_fd);
    fd_close(&loop->wake_fd);
    pthread_mutex_destroy(&loop->deferred_lock);
    free(loop);
}

void loop_set_lock(struct loop *loop, pthread_mutex_t *lock)
{
    loop->lock = lock;
}

static uint32_t to_epoll(unsigned events)
{
    return ((events & LOOP_READ) != 0 ? EPOLLIN : 0) | ((events & LOOP_WRITE) != 0 ? EPOLLOUT : 0);
}

static unsigned from_epoll(uint32_t events)
{
    return ((events & EPOLLIN) != 0 ? LOOP_READ : 0) | ((events & EPOLLOUT) != 0 ? LOOP_WRITE : 0) |
           ((events & (EPOLLHUP | EPOLLERR)) != 0 ? LOOP_HANGUP : 0);
}

int loop_add(struct loop *loop, int fd, unsigned events, loop_fn *fn, void *ctx, struct loop_source **ret_source)
{
    struct loop_source *source = malloc(sizeof(*source));
    if (source == NULL)
        return -ENOMEM;
    *source =
        (struct loop_source){.loop = loop, .fd = fd, .events = events, .fn = fn, .ctx = ctx, .next = loop->sources};
    struct epoll_event event = {.events = to_epoll(events), .data.ptr = source};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        int r = -errno;
        free(source);
        return r;
    }
    loop->sources = source;
    *ret_source = source;
    return 0;
}

int loop_modify(struct loop_source *source, unsigned events)
{
    if (source->events == events)
        return 0;
    struct epoll_event event = {.events = to_epoll(events), .data.ptr = source};
    if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
        return -errno;
    source->events = events;
    return 0;
}

void loop_remove(struct loop_source *source)
{
    if (source == NULL)
        return;
    struct loop *loop = source->loop;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    struct loop_source **link = &loop->sources;
    while (*link != source)
        link = &(*link)->next;
    *link = source->next;
    /* The loop's thread may already have an event of this source in hand, waiting for the lock. */
    source->removed = true;
    source->next = loop->removed;
    loop->removed = source;
}

int loop_attach_timers(struct loop *loop, struct timer_queue *queue)
{
    if (loop->queue_count == LOOP_QUEUES_MAX)
        return -ENOSPC;
    loop->queue[loop->queue_count++] = queue;
    queue->changed = rearm;
    queue->changed_ctx = loop;
    rearm(loop);
    return 0;
}

struct timer_queue *loop_timers(struct loop *loop)
{
    return &loop->timers;
}

int loop_defer(struct loop *loop, loop_work_fn *fn, void *ctx)
{
    struct deferred *work = malloc(sizeof(*work));
    if (work == NULL)
        return -ENOMEM;
    *work = (struct deferred){.fn = fn, .ctx = ctx};
    pthread_mutex_lock(&loop->deferred_lock);
    *loop->deferred_last = work;
    loop->deferred_last = &work->next;
    pthread_mutex_unlock(&loop->deferred_lock);
    eventfd_signal(loop->wake_fd);
    return 0;
}

static void dispatch(struct loop *loop, const struct epoll_event *event, bool last)
{
    struct loop_source *source = event->data.ptr;
    lock(loop);
    if (!source->removed)
        source->fn(source->ctx, from_epoll(event->events));
    if (last) /* no event is in hand any more */
        free_sources(&loop->removed);
    unlock(loop);
}

int loop_step(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[EVENTS_PER_STEP];
    int count = epoll_wait(loop->epoll_fd, events, ARRAY_SIZE(events), timeout_ms);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++)
        dispatch(loop, &events[i], i == count - 1);
    return 0;
}

int loop_run(struct loop *loop)
{
    int r = 0;
    while (r == 0 && !atomic_load(&loop->quit))
        r = loop_step(loop, -1);
    atomic_store(&loop->quit, false);
    return r;
}

void loop_quit(struct loop *loop)
{
    atomic_store(&loop->quit, true);
    eventfd_signal(loop->wake_fd);
}
