/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Coroutines: order, waits with and without an end, workers, descriptors. */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"
#include "event/coroutine.h"
#include "event/loop.h"
#include "event/worker.h"

struct world {
    struct loop *loop;
    struct worker_pool *pool;
    struct scheduler *scheduler;
    struct wait_queue queue;
    char trace[64];
    int result;
    int pipe[2];
};

static void note(struct world *world, char letter)
{
    world->trace[strlen(world->trace)] = letter;
}

static void set_up(struct world *world)
{
    *world = (struct world){0};
    assert_int_equal(loop_new(&world->loop), 0);
    assert_int_equal(worker_pool_new(world->loop, 1, &world->pool), 0);
    assert_int_equal(scheduler_new(world->loop, world->pool, &world->scheduler), 0);
}

static void finish(struct world *world)
{
    while (scheduler_count(world->scheduler) > 0)
        assert_int_equal(loop_step(world->loop, -1), 0);
    scheduler_free(world->scheduler);
    worker_pool_free(world->pool);
    loop_free(world->loop);
}

static void waits(void *ctx)
{
    struct world *world = ctx;

    note(world, 'a');
    world->result = wait_queue_wait(&world->queue, world->scheduler, WAIT_FOR_EVER);
    note(world, 'c');
}

static void wakes(void *ctx)
{
    struct world *world = ctx;

    note(world, 'b');
    wait_queue_wake_all(&world->queue);
    note(world, 'B');
}

static void test_order(void **state)
{
    struct world world;

    set_up(&world);
    assert_null(coroutine_self(world.scheduler));
    assert_int_equal(coroutine_start(world.scheduler, waits, &world), 0);
    assert_string_equal(world.trace, "a");
    assert_int_equal(coroutine_start(world.scheduler, wakes, &world), 0);
    assert_string_equal(world.trace, "abB"); /* nobody runs inside another */
    finish(&world);
    assert_string_equal(world.trace, "abBc");
    assert_int_equal(world.result, 0);
}

static void waits_a_moment(void *ctx)
{
    struct world *world = ctx;

    world->result = wait_queue_wait(&world->queue, world->scheduler, 1000000);
}

static void test_timeout(void **state)
{
    struct world world;

    set_up(&world);
    assert_int_equal(coroutine_start(world.scheduler, waits_a_moment, &world), 0);
    finish(&world);
    assert_int_equal(world.result, -ETIMEDOUT);
    assert_null(world.queue.first);
}

static void in_worker(void *ctx)
{
    note(ctx, 'w');
}

static void works(void *ctx)
{
    struct world *world = ctx;

    world->result = coroutine_work(world->scheduler, in_worker, world);
    note(world, 'd');
}

static void test_work(void **state)
{
    struct world world;

    set_up(&world);
    assert_int_equal(coroutine_start(world.scheduler, works, &world), 0);
    finish(&world);
    assert_int_equal(world.result, 0);
    assert_string_equal(world.trace, "wd");
}

static void reads_pipe(void *ctx)
{
    struct world *world = ctx;
    char byte;

    world->result = coroutine_wait_fd(world->scheduler, world->pipe[0], LOOP_READ, WAIT_FOR_EVER);
    assert_int_equal(read(world->pipe[0], &byte, 1), 1);
    note(world, byte);
}

static void test_descriptor(void **state)
{
    struct world world;

    set_up(&world);
    assert_int_equal(pipe(world.pipe), 0);
    assert_int_equal(coroutine_start(world.scheduler, reads_pipe, &world), 0);
    assert_int_equal(write(world.pipe[1], "x", 1), 1);
    finish(&world);
    assert_string_equal(world.trace, "x");
    close(world.pipe[0]);
    close(world.pipe[1]);
}

static void deep(void *ctx)
{
    char large[64 * 1024];
    struct world *world = ctx;

    memset(large, 'x', sizeof(large));
    coroutine_sleep(world->scheduler, 1000);
    world->result += large[sizeof(large) - 1] == 'x';
}

static void test_many(void **state)
{
    struct world world;

    set_up(&world);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 50; i++)
            assert_int_equal(coroutine_start(world.scheduler, deep, &world), 0);
        while (scheduler_count(world.scheduler) > 0)
            loop_step(world.loop, -1);
    }
    finish(&world);
    assert_int_equal(world.result, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_timeout), cmocka_unit_test(test_work),
        cmocka_unit_test(test_descriptor), cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
