/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What two CPUs may and may not see of each other's stores, and atomic operations of every size, aligned or not. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

enum { TURNS = 20000 };

static pthread_barrier_t barrier;
static uint8_t *memory; /* three pages */

/* Both threads of a test call the same function, told who they are. */
static void together(void *(*body)(void *))
{
    pthread_t other;

    pthread_barrier_init(&barrier, NULL, 2);
    need(pthread_create(&other, NULL, body, (void *)1) == 0, "thread");
    body(NULL);
    pthread_join(other, NULL);
    pthread_barrier_destroy(&barrier);
}

/* --- Atomic operations ------------------------------------------------------------------------------------------------- */

static size_t place;     /* of the counter */
static bool lower_half;  /* some of the operations are on its lower half alone */

static void *adder(void *who)
{
    volatile uint64_t *p = (volatile uint64_t *)(void *)(memory + place);

    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < TURNS; i++) {
        uint64_t one = 1;

        switch (i % 4) {
        case 0:
            __asm__ volatile("lock addq $1, %0" : "+m"(*p)::"cc");
            break;
        case 1:
            __asm__ volatile("lock xaddq %1, %0" : "+m"(*p), "+r"(one)::"cc");
            break;
        case 2:
            if (lower_half)
                __asm__ volatile("lock incl %0" : "+m"(*(volatile uint32_t *)p)::"cc");
            else
                __asm__ volatile("lock incq %0" : "+m"(*p)::"cc");
            break;
        default:
            __asm__ volatile("1: mov %0, %%rax; lea 1(%%rax), %%rdx; lock cmpxchgq %%rdx, %0; jnz 1b" : "+m"(*p)::"rax", "rdx", "cc");
        }
    }
    return who;
}

static void counters(void)
{
    static const struct {
        const char *name;
        size_t place;
        bool lower_half;
    } places[] = {{"an aligned counter", 64, false},
                  {"an aligned counter and its lower half", 64, true},
                  {"a counter in two cache lines", 60, false},
                  {"a counter in two cache lines and its lower half", 60, true},
                  {"a counter in two pages", 4092, false},
                  {"a counter in two pages and its lower half", 4092, true}};

    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        uint64_t value;

        place = places[i].place;
        lower_half = places[i].lower_half;
        memset(memory + place, 0, 8);
        together(adder);
        memcpy(&value, memory + place, 8);
        report(places[i].name, value == 2 * TURNS);
    }
}

static struct {
    uint64_t low, high;
} __attribute__((aligned(16))) pair;

/* The halves go up together; whoever sees them apart has seen a torn store. */
static void *pair_adder(void *who)
{
    uintptr_t bad = 0;

    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < TURNS; i++) {
        uint64_t a = 0, d = 0;
        uint8_t done = 0;

        while (!done) {
            uint64_t b = a + 1, c = d + 3;

            __asm__ volatile("lock cmpxchg16b %1; sete %0" : "=q"(done), "+m"(pair), "+a"(a), "+d"(d) : "b"(b), "c"(c) : "cc");
            bad |= d != 3 * a;
        }
    }
    if (bad)
        report("cmpxchg16b saw a torn pair", false);
    return who;
}

static void pairs(void)
{
    together(pair_adder);
    report("cmpxchg16b", pair.low == 2 * TURNS && pair.high == 6 * TURNS);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t guarded;
static volatile uint32_t spin;

static void *locker(void *who)
{
    pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < TURNS; i++) {
        if (i & 1) {
            pthread_mutex_lock(&mutex);
        } else {
            pthread_mutex_lock(&mutex);
            while (__atomic_exchange_n(&spin, 1, __ATOMIC_ACQUIRE))
                __asm__ volatile("pause");
            __atomic_store_n(&spin, 0, __ATOMIC_RELEASE);
        }
        guarded++;
        pthread_mutex_unlock(&mutex);
    }
    return who;
}

static void locks(void)
{
    together(locker);
    report("mutex and spin lock", guarded == 2 * TURNS);
}

/* --- Order of stores and loads (the architecture's examples, SDM 3A 8.2.3) --------------------------------------------- */

static volatile uint32_t x __attribute__((aligned(64))), y __attribute__((aligned(64)));
static uint32_t seen[2];
static unsigned forbidden;

/* Stores are seen in their order. */
static void *message(void *who)
{
    pthread_barrier_wait(&barrier);
    for (uint32_t i = 1; i <= TURNS * 5; i++) {
        if (who == NULL) {
            x = i;
            __asm__ volatile("" ::: "memory");
            y = i;
        } else {
            uint32_t second = y, first;

            __asm__ volatile("" ::: "memory");
            first = x;
            forbidden += first < second;
        }
    }
    return who;
}

/* With a fence or a locked operation between store and load, at least one of two sees the other's store. */
static void *dekker(void *who)
{
    for (unsigned i = 0; i < 3000; i++) {
        pthread_barrier_wait(&barrier);
        if (who == NULL) {
            x = 1;
            __asm__ volatile("mfence" ::: "memory");
            seen[0] = y;
        } else {
            y = 1;
            __asm__ volatile("lock orl $0, -8(%%rsp)" ::: "memory", "cc");
            seen[1] = x;
        }
        pthread_barrier_wait(&barrier);
        if (who == NULL) {
            forbidden += seen[0] == 0 && seen[1] == 0;
            x = y = 0;
        }
    }
    return who;
}

static void order(void)
{
    x = y = 0;
    together(message);
    report("stores are seen in order", forbidden == 0);
    x = y = 0;
    together(dekker);
    report("fences hold", forbidden == 0);
}

/* --- Mappings ---------------------------------------------------------------------------------------------- */

/* A page goes away and comes back while the other CPU writes to it: no store may land in a page that is gone. */
static void *mapper(void *who)
{
    static _Atomic bool stop;
    static volatile uint64_t *page;

    if (who == NULL) {
        page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        atomic_store(&stop, false);
    }
    pthread_barrier_wait(&barrier);
    if (who != NULL) {
        while (!atomic_load(&stop))
            page[1]++;
        return who;
    }
    for (unsigned i = 0; i < 300; i++) {
        uint64_t before;

        madvise((void *)page, 4096, MADV_DONTNEED);
        before = page[1];
        if (before > UINT64_C(1) << 40)
            forbidden++;
        usleep(20);
    }
    atomic_store(&stop, true);
    return who;
}

/* fork() makes pages read-only on both sides: the other CPU's stores must not reach the child's copy. */
static void *forker(void *who)
{
    static _Atomic bool stop;
    volatile uint64_t *counter = (volatile uint64_t *)(void *)memory;
    uint64_t turns = 0;

    pthread_barrier_wait(&barrier);
    if (who != NULL) {
        while (!atomic_load(&stop)) {
            (*counter)++;
            turns++;
        }
        forbidden += *counter != turns;
        return who;
    }
    for (unsigned i = 0; i < 30; i++) {
        int status = 0;

        if (fork() == 0) {
            uint64_t value = *counter;

            usleep(500);
            _exit(*counter == value ? 0 : 1);
        }
        wait(&status);
        forbidden += status != 0;
    }
    atomic_store(&stop, true);
    return who;
}

static void mappings(void)
{
    forbidden = 0;
    together(mapper);
    report("a page that goes away", forbidden == 0);
    memset(memory, 0, 4096);
    together(forker);
    report("a page that fork() shares", forbidden == 0);
}

int main(void)
{
    memory = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED, "memory");
    counters();
    pairs();
    locks();
    order();
    mappings();
    return report_bad;
}
