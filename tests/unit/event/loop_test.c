/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of timers, the loop and the worker pool. Nothing sleeps: clocks are stepped and steps are bounded. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "event/loop.h"
#include "event/worker.h"

#define STEP_MS 5000 /* how long to wait at most for something that is due to come */

struct tick {
    struct timer timer;
    char name;
    int64_t period;
    char *journal;
};

static void tick(void *ctx)
{
    struct tick *t = ctx;
    t->journal[strlen(t->journal)] = t->name;
    if (t->period != 0)
        timer_set(&t->timer, t->timer.deadline + t->period);
}

static void test_timer_order(void **state)
{
    struct clock clock;
    struct timer_queue queue;
    char journal[64] = "";
    struct tick a = {.name = 'a', .journal = journal}, b = {.name = 'b', .journal = journal},
                c = {.name = 'c', .journal = journal};
    clock_init_stopped(&clock, 0);
    timer_queue_init(&queue, &clock);
    assert_true(timer_queue_deadline(&queue) == INT64_MAX);
    timer_init(&a.timer, &queue, tick, &a);
    timer_init(&b.timer, &queue, tick, &b);
    timer_init(&c.timer, &queue, tick, &c);
    timer_set(&a.timer, 30);
    timer_set(&b.timer, 10);
    timer_set(&c.timer, 10);
    assert_int_equal(timer_queue_deadline(&queue), 10);
    timer_queue_run(&queue);
    assert_string_equal(journal, "");
    clock_advance(&clock, 10);
    timer_queue_run(&queue);
    assert_string_equal(journal, "bc");
    timer_set(&b.timer, 40);
    timer_set(&b.timer, 20); /* moved, not doubled */
    clock_advance(&clock, 100);
    timer_queue_run(&queue);
    assert_string_equal(journal, "bcba");
    timer_set(&a.timer, 500);
    timer_cancel(&a.timer);
    timer_cancel(&a.timer);
    struct timer zeroed = {0};
    timer_cancel(&zeroed);
    clock_advance(&clock, 1000);
    timer_queue_run(&queue);
    assert_string_equal(journal, "bcba");
}

static void test_timer_catches_up(void **state)
{
    struct clock clock;
    struct timer_queue queue;
    char journal[4096] = "";
    struct tick t = {.name = 't', .period = 10, .journal = journal};
    clock_init_stopped(&clock, 0);
    timer_queue_init(&queue, &clock);
    timer_init(&t.timer, &queue, tick, &t);
    timer_set(&t.timer, 10);
    clock_advance(&clock, 105);
    timer_queue_run(&queue);
    assert_string_equal(journal, "tttttttttt");
    assert_int_equal(timer_queue_deadline(&queue), 110);
    /* More than one run may call: it stops, and the rest is still due. */
    clock_advance(&clock, 1000000);
    timer_queue_run(&queue);
    assert_int_equal(strlen(journal), 10 + 1024);
    assert_true(timer_queue_deadline(&queue) < clock_now(&clock));
}

static void cancel(void *ctx)
{
    timer_cancel(ctx);
}

static void test_timer_cancels_another(void **state)
{
    struct clock clock;
    struct timer_queue queue;
    char journal[8] = "";
    struct tick victim = {.name = 'v', .journal = journal};
    struct timer killer;
    clock_init_stopped(&clock, 0);
    timer_queue_init(&queue, &clock);
    timer_init(&victim.timer, &queue, tick, &victim);
    timer_init(&killer, &queue, cancel, &victim.timer);
    timer_set(&killer, 5);
    timer_set(&victim.timer, 5);
    clock_advance(&clock, 10);
    timer_queue_run(&queue);
    assert_string_equal(journal, "");
}

struct watched {
    struct loop_source *source, *other;
    int calls;
    unsigned events;
};

static void on_event(void *ctx, unsigned events)
{
    struct watched *watched = ctx;
    watched->calls++;
    watched->events = events;
}

static void on_event_remove_both(void *ctx, unsigned events)
{
    struct watched *watched = ctx;
    watched->calls++;
    loop_remove(watched->source);
    loop_remove(watched->other);
}

static void test_loop_sources(void **state)
{
    struct loop *loop = NULL;
    struct watched watched = {0};
    int fds[2];
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(loop_add(loop, fds[0], LOOP_READ, on_event, &watched, &watched.source), 0);
    struct loop_source *twice = NULL;
    assert_int_equal(loop_add(loop, fds[0], LOOP_READ, on_event, &watched, &twice), -EEXIST);
    assert_null(twice);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(watched.calls, 0);
    assert_int_equal(fd_write_all(fds[1], "x", 1), 0);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(watched.events, LOOP_READ);
    assert_int_equal(loop_modify(watched.source, 0), 0);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(watched.calls, 1);
    fd_close(&fds[1]);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(watched.events, LOOP_HANGUP);
    loop_remove(watched.source);
    loop_remove(NULL);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(watched.calls, 2);
    fd_close(&fds[0]);
    loop_free(loop);
    loop_free(NULL);
}

/* Both are ready in one step; whichever runs first removes the other, whose event is then in hand already. */
static void test_loop_removed_in_callback(void **state)
{
    struct loop *loop = NULL;
    struct watched watched = {0};
    int a, b;
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(eventfd_new(&a), 0);
    assert_int_equal(eventfd_new(&b), 0);
    assert_int_equal(loop_add(loop, a, LOOP_READ, on_event_remove_both, &watched, &watched.source), 0);
    assert_int_equal(loop_add(loop, b, LOOP_READ, on_event_remove_both, &watched, &watched.other), 0);
    eventfd_signal(a);
    eventfd_signal(b);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(watched.calls, 1);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(watched.calls, 1);
    fd_close(&a);
    fd_close(&b);
    loop_free(loop);
}

static void count(void *ctx)
{
    (*(int *)ctx)++;
}

static void test_loop_timers(void **state)
{
    struct loop *loop = NULL;
    struct clock clock;
    struct timer_queue queue;
    struct timer host_timer, guest_timer;
    int host = 0, guest = 0;
    clock_init_running(&clock, 0);
    timer_queue_init(&queue, &clock);
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(loop_attach_timers(loop, &queue), 0);
    timer_init(&host_timer, loop_timers(loop), count, &host);
    timer_init(&guest_timer, &queue, count, &guest);
    timer_set(&guest_timer, clock_now(&clock) + 3600 * NANOSECONDS_PER_SECOND);
    timer_set(&host_timer, host_monotonic_ns() + 1000000);
    while (host == 0)
        assert_int_equal(loop_step(loop, STEP_MS), 0);
    assert_int_equal(guest, 0);
    /* While the guest's clock stands its timers do too, but for those that are due already. */
    clock_stop(&clock);
    timer_set(&guest_timer, clock_now(&clock) + 1);
    assert_int_equal(loop_step(loop, 0), 0);
    assert_int_equal(guest, 0);
    clock_advance(&clock, 1);
    timer_queue_clock_changed(&queue);
    while (guest == 0)
        assert_int_equal(loop_step(loop, STEP_MS), 0);
    loop_free(loop);
}

struct other_thread {
    struct loop *loop;
    pthread_mutex_t lock;
    int deferred;
};

static void on_deferred(void *ctx)
{
    struct other_thread *t = ctx;
    assert_int_equal(pthread_mutex_trylock(&t->lock), EBUSY);
    if (++t->deferred == 100)
        loop_quit(t->loop);
}

static void *defer_a_lot(void *ctx)
{
    struct other_thread *t = ctx;
    for (int i = 0; i < 100; i++)
        loop_defer(t->loop, on_deferred, t);
    return NULL;
}

static void test_loop_defer(void **state)
{
    struct other_thread t = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    assert_int_equal(loop_new(&t.loop), 0);
    loop_set_lock(t.loop, &t.lock);
    assert_int_equal(pthread_create(&thread, NULL, defer_a_lot, &t), 0);
    assert_int_equal(loop_run(t.loop), 0);
    assert_int_equal(t.deferred, 100);
    pthread_join(thread, NULL);
    loop_quit(t.loop); /* before it runs: it returns at once, and only once */
    assert_int_equal(loop_run(t.loop), 0);
    assert_int_equal(loop_defer(t.loop, on_deferred, &t), 0);
    loop_free(t.loop);
}

struct job {
    struct work work;
    struct worker_pool *pool;
    bool run, done;
    struct job *follow_up;
};

static void job_run(struct work *work)
{
    ((struct job *)work)->run = true;
}

static void job_done(struct work *work)
{
    struct job *job = (struct job *)work;
    assert_true(job->run);
    job->done = true;
    if (job->follow_up != NULL)
        assert_int_equal(worker_pool_submit(job->pool, &job->follow_up->work), 0);
}

static void job_init(struct job *job, struct worker_pool *pool)
{
    *job = (struct job){.work = {.run = job_run, .done = job_done}, .pool = pool};
}

static void test_workers(void **state)
{
    enum { JOBS = 200 };
    static struct job jobs[JOBS];
    struct loop *loop = NULL;
    struct worker_pool *pool = NULL;
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(worker_pool_new(loop, 3, &pool), 0);
    for (int i = 0; i < JOBS; i++) {
        job_init(&jobs[i], pool);
        assert_int_equal(worker_pool_submit(pool, &jobs[i].work), 0);
    }
    for (int i = 0; i < JOBS; i++)
        while (!jobs[i].done)
            assert_int_equal(loop_step(loop, STEP_MS), 0);

    /* Draining runs what done() submits too, and needs no loop. */
    struct job first, second;
    job_init(&first, pool);
    job_init(&second, pool);
    first.follow_up = &second;
    assert_int_equal(worker_pool_submit(pool, &first.work), 0);
    worker_pool_drain(pool);
    assert_true(first.done && second.done);

    struct job last;
    job_init(&last, pool);
    assert_int_equal(worker_pool_submit(pool, &last.work), 0);
    worker_pool_free(pool);
    assert_true(last.done);
    worker_pool_free(NULL);
    loop_free(loop);
}

static void test_no_workers(void **state)
{
    struct loop *loop = NULL;
    struct worker_pool *pool = NULL;
    struct job job;
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(worker_pool_new(loop, 0, &pool), 0);
    job_init(&job, pool);
    assert_int_equal(worker_pool_submit(pool, &job.work), -EAGAIN);
    worker_pool_free(pool);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timer_order),
        cmocka_unit_test(test_timer_catches_up),
        cmocka_unit_test(test_timer_cancels_another),
        cmocka_unit_test(test_loop_sources),
        cmocka_unit_test(test_loop_removed_in_callback),
        cmocka_unit_test(test_loop_timers),
        cmocka_unit_test(test_loop_defer),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_no_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
