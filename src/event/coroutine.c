/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Coroutines by ucontext; those that may go on stand in a list that one eventfd of the loop serves. */
#include "event/coroutine.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/fd.h"
#include "event/loop.h"
#include "event/worker.h"

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif
#ifdef ADDRESS_SANITIZER
#include <sanitizer/common_interface_defs.h>
#define STACK_SIZE (1024 * 1024) /* redzones make frames large */
#else
#define STACK_SIZE (256 * 1024)
#endif
#ifdef THREAD_SANITIZER
#include <sanitizer/tsan_interface.h>
#endif

#define GUARD_SIZE 4096
#define STACKS_KEPT 8

struct coroutine {
    struct scheduler *scheduler;
    coroutine_fn *fn;
    void *ctx;
    ucontext_t context;
    uint8_t *stack; /* the guard page included */
    bool ended;
    struct coroutine *next; /* in the scheduler's list of ready or of spare ones */
    void *fake_stack;       /* the sanitizers' own */
    void *fiber;
};

struct scheduler {
    struct loop *loop;
    struct worker_pool *pool;
    struct coroutine *current;
    struct coroutine *ready, **ready_last;
    struct coroutine *spare;
    unsigned spare_count, count;
    int wake_fd;
    struct loop_source *source;
    ucontext_t main;
    void *main_fake_stack, *main_fiber;
    const void *main_stack;
    size_t main_stack_size;
};

/* What a sanitizer must know about a switch of stacks. */
static void before_switch(struct scheduler *scheduler, void **save, const void *stack, size_t size, void *fiber)
{
#ifdef ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(save, stack, size);
#endif
#ifdef THREAD_SANITIZER
    __tsan_switch_to_fiber(fiber, 0);
#endif
}

static void after_switch(void *restore, const void **stack, size_t *size)
{
#ifdef ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(restore, stack, size);
#endif
}

static void free_coroutine(struct coroutine *coroutine)
{
#ifdef THREAD_SANITIZER
    if (coroutine->fiber != NULL)
        __tsan_destroy_fiber(coroutine->fiber);
#endif
    munmap(coroutine->stack, GUARD_SIZE + STACK_SIZE);
    free(coroutine);
}

/* Where a coroutine begins, and stays: its stack is used again for the next one. */
static void enter(unsigned low, unsigned high)
{
    struct coroutine *self = (struct coroutine *)(((uintptr_t)high << 32) | low);
    struct scheduler *scheduler = self->scheduler;

    after_switch(NULL, &scheduler->main_stack, &scheduler->main_stack_size);
    for (;;) {
        self->fn(self->ctx);
        self->ended = true;
        coroutine_yield(scheduler);
    }
}

static void prepare_context(struct coroutine *coroutine)
{
    uintptr_t word = (uintptr_t)coroutine;

    getcontext(&coroutine->context);
    coroutine->context.uc_stack.ss_sp = coroutine->stack + GUARD_SIZE;
    coroutine->context.uc_stack.ss_size = STACK_SIZE;
    coroutine->context.uc_link = NULL;
    makecontext(&coroutine->context, (void (*)(void))enter, 2, (unsigned)word, (unsigned)(word >> 32));
}

static struct coroutine *make(struct scheduler *scheduler)
{
    struct coroutine *coroutine = calloc(1, sizeof(*coroutine));

    if (coroutine == NULL)
        return NULL;
    coroutine->scheduler = scheduler;
    coroutine->stack = mmap(NULL, GUARD_SIZE + STACK_SIZE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (coroutine->stack == MAP_FAILED) {
        free(coroutine);
        return NULL;
    }
    mprotect(coroutine->stack, GUARD_SIZE, PROT_NONE);
    prepare_context(coroutine);
#ifdef THREAD_SANITIZER
    coroutine->fiber = __tsan_create_fiber(0);
#endif
    return coroutine;
}

static void retire(struct scheduler *scheduler, struct coroutine *coroutine)
{
    scheduler->count--;
    if (scheduler->spare_count == STACKS_KEPT) {
        free_coroutine(coroutine);
        return;
    }
    coroutine->next = scheduler->spare;
    scheduler->spare = coroutine;
    scheduler->spare_count++;
}

/* Outside of coroutines only. */
static void run(struct scheduler *scheduler, struct coroutine *coroutine)
{
    scheduler->current = coroutine;
    before_switch(scheduler, &scheduler->main_fake_stack, coroutine->stack + GUARD_SIZE, STACK_SIZE, coroutine->fiber);
    swapcontext(&scheduler->main, &coroutine->context);
    after_switch(scheduler->main_fake_stack, NULL, NULL);
    scheduler->current = NULL;
    if (coroutine->ended)
        retire(scheduler, coroutine);
}

void coroutine_yield(struct scheduler *scheduler)
{
    struct coroutine *self = scheduler->current;

    before_switch(scheduler, &self->fake_stack, scheduler->main_stack, scheduler->main_stack_size, scheduler->main_fiber);
    swapcontext(&self->context, &scheduler->main);
    after_switch(self->fake_stack, &scheduler->main_stack, &scheduler->main_stack_size);
}

static void make_ready(struct coroutine *coroutine)
{
    struct scheduler *scheduler = coroutine->scheduler;

    coroutine->next = NULL;
    if (scheduler->ready == NULL)
        eventfd_signal(scheduler->wake_fd);
    *scheduler->ready_last = coroutine;
    scheduler->ready_last = &coroutine->next;
}

void coroutine_wake(struct coroutine *coroutine)
{
    make_ready(coroutine);
}

static struct coroutine *take_ready(struct scheduler *scheduler)
{
    struct coroutine *first = scheduler->ready;

    scheduler->ready = NULL;
    scheduler->ready_last = &scheduler->ready;
    return first;
}

static void on_wake(void *ctx, unsigned events)
{
    struct scheduler *scheduler = ctx;

    eventfd_drain(scheduler->wake_fd);
    for (struct coroutine *coroutine = take_ready(scheduler), *next; coroutine != NULL; coroutine = next) {
        next = coroutine->next;
        run(scheduler, coroutine);
    }
}

int scheduler_new(struct loop *loop, struct worker_pool *pool, struct scheduler **ret_scheduler)
{
    struct scheduler *scheduler = calloc(1, sizeof(*scheduler));
    int r;

    if (scheduler == NULL)
        return -ENOMEM;
    scheduler->loop = loop;
    scheduler->pool = pool;
    scheduler->ready_last = &scheduler->ready;
    scheduler->wake_fd = -1;
    r = eventfd_new(&scheduler->wake_fd);
    if (r == 0)
        r = loop_add(loop, scheduler->wake_fd, LOOP_READ, on_wake, scheduler, &scheduler->source);
    if (r < 0) {
        scheduler_free(scheduler);
        return r;
    }
#ifdef THREAD_SANITIZER
    scheduler->main_fiber = __tsan_get_current_fiber();
#endif
    *ret_scheduler = scheduler;
    return 0;
}

void scheduler_free(struct scheduler *scheduler)
{
    if (scheduler == NULL)
        return;
    while (scheduler->spare != NULL) {
        struct coroutine *coroutine = scheduler->spare;

        scheduler->spare = coroutine->next;
        free_coroutine(coroutine);
    }
    loop_remove(scheduler->source);
    fd_close(&scheduler->wake_fd);
    free(scheduler);
}

unsigned scheduler_count(const struct scheduler *scheduler)
{
    return scheduler->count;
}

struct loop *scheduler_loop(const struct scheduler *scheduler)
{
    return scheduler->loop;
}

struct worker_pool *scheduler_pool(const struct scheduler *scheduler)
{
    return scheduler->pool;
}

struct coroutine *coroutine_self(const struct scheduler *scheduler)
{
    return scheduler->current;
}

int coroutine_start(struct scheduler *scheduler, coroutine_fn *fn, void *ctx)
{
    struct coroutine *coroutine = scheduler->spare;

    if (coroutine != NULL) {
        scheduler->spare = coroutine->next;
        scheduler->spare_count--;
    } else {
        coroutine = make(scheduler);
        if (coroutine == NULL)
            return -ENOMEM;
    }
    coroutine->fn = fn;
    coroutine->ctx = ctx;
    coroutine->ended = false;
    scheduler->count++;
    if (scheduler->current != NULL)
        make_ready(coroutine);
    else
        run(scheduler, coroutine);
    return 0;
}
