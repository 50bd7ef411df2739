/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several threads at once on what is promised to them, for the thread sanitizer to watch: the clock, the dirty log,
 * timers and sources under the machine lock. */
#include "check.h"

#include <pthread.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/fd.h"
#include "event/loop.h"
#include "memory/memory.h"

#define ROUNDS 2000
#define NS_OF_REORDERING 1000 /* reading the TSC is not ordered against the loads around it */

/* cmocka's assertions jump, which only the main thread may do. */
#define THREAD_ASSERT(condition)                                            \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

struct shared_clock {
    struct clock clock;
    _Atomic bool stop;
};

static void *read_clock(void *ctx)
{
    struct shared_clock *shared = ctx;
    int64_t last = 0;
    while (!shared->stop) {
        int64_t now = clock_now(&shared->clock);
        /* Never torn: a running clock's offset read as a stopped one's time would be far away. */
        THREAD_ASSERT(now >= last - NS_OF_REORDERING && now < 3600 * NANOSECONDS_PER_SECOND);
        last = now;
    }
    return NULL;
}

static void test_clock(void **state)
{
    struct shared_clock shared = {0};
    pthread_t thread;
    clock_init_running(&shared.clock, 0);
    assert_int_equal(pthread_create(&thread, NULL, read_clock, &shared), 0);
    for (int i = 0; i < ROUNDS; i++) {
        clock_stop(&shared.clock);
        clock_advance(&shared.clock, 1000);
        clock_start(&shared.clock);
    }
    shared.stop = true;
    pthread_join(thread, NULL);
}

#define PAGES 256

struct writer {
    struct memory *memory;
    unsigned first;
};

static void *write_pages(void *ctx)
{
    struct writer *writer = ctx;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t value = i;
        uint64_t page = (writer->first + i * 2) % PAGES;
        THREAD_ASSERT(memory_write(writer->memory, page * MEMORY_PAGE_SIZE, &value, sizeof(value)) == 0);
    }
    return NULL;
}

/* Whatever was written last in a page is seen by a copy made after the fetch that reports it. */
static void test_dirty_log(void **state)
{
    struct memory *memory = NULL;
    uint64_t bitmap[PAGES / 64];
    static uint64_t copy[PAGES];
    pthread_t thread[2];
    assert_int_equal(memory_new(&memory, NULL), 0);
    assert_int_equal(memory_add(memory, 0, PAGES * MEMORY_PAGE_SIZE, false, NULL), 0);
    struct writer writers[2] = {{memory, 0}, {memory, 1}};
    memory_dirty_start(memory);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_pages, &writers[i]), 0);
    for (int round = 0; round < 100; round++) {
        memory_dirty_fetch(memory, bitmap);
        if (round == 98) /* the last fetch comes after the last write */
            for (int i = 0; i < 2; i++)
                pthread_join(thread[i], NULL);
        for (unsigned page = 0; page < PAGES; page++)
            if ((bitmap[page / 64] & BIT(page % 64)) != 0)
                assert_int_equal(memory_read(memory, page * MEMORY_PAGE_SIZE, &copy[page], sizeof(copy[page])), 0);
    }
    for (unsigned page = 0; page < PAGES; page++)
        assert_true(copy[page] == *(uint64_t *)memory_pointer(memory, page * MEMORY_PAGE_SIZE, 8));
    memory_free(memory);
}

struct vm {
    pthread_mutex_t lock;
    struct loop *loop;
    struct clock clock;
    struct timer_queue queue;
    struct timer timer;
    unsigned fired;
    unsigned event_calls;
};

static void on_timer(void *ctx)
{
    ((struct vm *)ctx)->fired++;
}

static void on_event(void *ctx, unsigned events)
{
    ((struct vm *)ctx)->event_calls++;
}

/* What a vCPU's thread does: sets timers and adds and removes sources that are ready, under the lock. */
static void *be_a_vcpu(void *ctx)
{
    struct vm *vm = ctx;
    struct loop_source *source = NULL;
    int fd;
    THREAD_ASSERT(eventfd_new(&fd) == 0);
    eventfd_signal(fd);
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&vm->lock);
        timer_set(&vm->timer, clock_now(&vm->clock) + (i % 3) * 1000);
        if (i % 5 == 0)
            timer_cancel(&vm->timer);
        if (source == NULL) {
            THREAD_ASSERT(loop_add(vm->loop, fd, LOOP_READ, on_event, vm, &source) == 0);
        } else {
            loop_remove(source);
            source = NULL;
        }
        pthread_mutex_unlock(&vm->lock);
    }
    pthread_mutex_lock(&vm->lock);
    loop_remove(source);
    unsigned calls = vm->event_calls;
    timer_set(&vm->timer, clock_now(&vm->clock) + 1000);
    unsigned fired = vm->fired;
    pthread_mutex_unlock(&vm->lock);
    /* The last timer always comes, and nothing comes from the removed source. */
    for (bool came = false; !came;) {
        usleep(100);
        pthread_mutex_lock(&vm->lock);
        came = vm->fired > fired;
        THREAD_ASSERT(vm->event_calls == calls);
        pthread_mutex_unlock(&vm->lock);
    }
    fd_close(&fd);
    loop_quit(vm->loop);
    return NULL;
}

static void test_loop(void **state)
{
    struct vm vm = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    clock_init_running(&vm.clock, 0);
    timer_queue_init(&vm.queue, &vm.clock);
    timer_init(&vm.timer, &vm.queue, on_timer, &vm);
    assert_int_equal(loop_new(&vm.loop), 0);
    loop_set_lock(vm.loop, &vm.lock);
    assert_int_equal(loop_attach_timers(vm.loop, &vm.queue), 0);
    assert_int_equal(pthread_create(&thread, NULL, be_a_vcpu, &vm), 0);
    assert_int_equal(loop_run(vm.loop), 0);
    pthread_join(thread, NULL);
    loop_free(vm.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_dirty_log),
        cmocka_unit_test(test_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
