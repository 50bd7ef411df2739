/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code that changes, in each way in which processors see it change without being told: stores from the same and from other code, from
 * the other CPU, from the kernel, by another mapping, by another process's copy, by a new mapping at the same place. */
#include <pthread.h>
#include <setjmp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

#define PAGE 4096u

typedef uint32_t function(uint32_t argument);

static uint8_t *code; /* two pages that may be written and run */

/* mov eax, value; ret */
static void write_constant(uint8_t *at, uint32_t value)
{
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

static uint32_t run(const uint8_t *at)
{
    return ((function *)(uintptr_t)at)(0);
}

static void rewritten_between_calls(void)
{
    bool good = true;

    for (uint32_t i = 0; i < 3000; i++) {
        write_constant(code + i % 7 * 16, i);
        good &= run(code + i % 7 * 16) == i;
    }
    report("a function rewritten between calls", good);
}

/* mov dword [rip + 1], value goes into the immediate of the very next instruction. */
static void next_instruction(void)
{
    bool good = true;

    for (uint32_t i = 0; i < 500; i++) {
        uint8_t bytes[] = {0xc7, 0x05, 1, 0, 0, 0, 0, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xc3};

        memcpy(bytes + 6, &i, 4);
        memcpy(code, bytes, sizeof(bytes));
        good &= run(code) == i;
    }
    report("the next instruction", good);
}

/* A loop that counts its own immediate up: eax += immediate; immediate++; ten turns. */
static void own_loop(void)
{
    static const uint8_t bytes[] = {
        0xb9, 10, 0, 0, 0,                 /* mov ecx, 10 */
        0x31, 0xc0,                        /* xor eax, eax */
        0x05, 1, 0, 0, 0,                  /* 7: add eax, 1 */
        0xff, 0x05, 0xf6, 0xff, 0xff, 0xff, /* inc dword [8] */
        0xff, 0xc9, 0x75, 0xf1,            /* dec ecx; jnz 7 */
        0xc3,
    };

    memcpy(code, bytes, sizeof(bytes));
    report("a loop that changes itself", run(code) == 55 && run(code) == 155);
}

/* The instruction that stores is itself overwritten: it must run once more as what it was made. stosb over code that goes on. */
static void overwritten_while_running(void)
{
    /* lea rdi, [rip + 6]; mov ecx, 3; rep stosb writes NOPs (al = 0x90) over the three bytes behind it, which were UD2 and INT3. */
    static const uint8_t bytes[] = {0xb0, 0x90, 0x48, 0x8d, 0x3d, 7, 0, 0, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0xaa, 0x0f, 0x0b, 0xcc,
                                    0xb8, 77, 0, 0, 0, 0xc3};

    memcpy(code, bytes, sizeof(bytes));
    report("rep stosb over what comes next", run(code) == 77);
}

/* Data in the page of the code that writes it: a counter. */
static void data_beside_code(void)
{
    static const uint8_t bytes[] = {0xb9, 0x10, 0x27, 0, 0,            /* mov ecx, 10000 */
                                    0xff, 0x05, 0xf5, 0x01, 0, 0,      /* 5: inc dword [0x200] */
                                    0xff, 0xc9, 0x75, 0xf6,            /* dec ecx; jnz 5 */
                                    0x8b, 0x05, 0xeb, 0x01, 0, 0, 0xc3}; /* mov eax, [0x200]; ret */

    memcpy(code, bytes, sizeof(bytes));
    memset(code + 0x200, 0, 4);
    report("data in the page of its code", run(code) == 10000 && run(code) == 20000);
}

static void across_pages(void)
{
    uint8_t *at = code + PAGE - 3;
    bool good = true;

    for (uint32_t i = 0; i < 200; i++) {
        write_constant(at, 0x01010101u * (i & 0x7f)); /* the immediate lies in both pages */
        good &= run(at) == 0x01010101u * (i & 0x7f);
        code[PAGE] = (uint8_t)i; /* only a byte in the second */
        good &= (run(at) >> 16 & 0xff) == (i & 0xff);
    }
    report("an instruction in two pages", good);
}

static void second_mapping(void)
{
    int fd = memfd_create("code", 0);
    uint8_t *writable, *runnable;
    bool good = true;

    need(fd >= 0 && ftruncate(fd, PAGE) == 0, "memfd");
    writable = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    runnable = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    need(writable != MAP_FAILED && runnable != MAP_FAILED, "shared mapping");
    for (uint32_t i = 0; i < 1000; i++) {
        write_constant(writable, i);
        good &= run(runnable) == i;
    }
    for (uint32_t i = 0; i < 100; i++) {
        uint8_t bytes[6];

        write_constant(bytes, i * 3);
        good &= pwrite(fd, bytes, 6, 0) == 6 && run(runnable) == i * 3;
    }
    report("written by another mapping and by the kernel", good);
    munmap(writable, PAGE);
    munmap(runnable, PAGE);
    close(fd);
}

static void by_system_call(void)
{
    bool good = true;
    int ends[2];

    need(pipe(ends) == 0, "pipe");
    for (uint32_t i = 0; i < 300; i++) {
        uint8_t bytes[6];

        write_constant(bytes, i);
        good &= write(ends[1], bytes, 6) == 6 && read(ends[0], code + 64, 6) == 6 && run(code + 64) == i;
    }
    report("read() into code", good);
    close(ends[0]);
    close(ends[1]);
}

static void mapped_anew(void)
{
    bool good = true;

    for (uint32_t i = 0; i < 200; i++) {
        uint8_t *p = mmap(code + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

        need(p != MAP_FAILED, "mapping");
        write_constant(p + 32, i);
        if (i & 1)
            good &= mprotect(p, PAGE, PROT_READ | PROT_EXEC) == 0;
        good &= run(p + 32) == i;
    }
    report("a new page at the same address", good);
}

static void copied_on_write(void)
{
    bool good = true;
    int status;

    write_constant(code, 1);
    for (uint32_t i = 0; i < 20; i++) {
        good &= run(code) == 1;
        if (fork() == 0) {
            write_constant(code, 2 + i);
            _exit(run(code) == 2 + i ? 0 : 1);
        }
        wait(&status);
        good &= status == 0 && run(code) == 1;
    }
    report("a child's copy", good);
}

/* Two processes with other code at one address take turns on one CPU. */
static void two_processes(void)
{
    bool good = true;
    uint32_t own;
    cpu_set_t all, one;
    int status;
    pid_t child;

    need(sched_getaffinity(0, sizeof(all), &all) == 0, "affinity");
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    need(sched_setaffinity(0, sizeof(one), &one) == 0, "affinity");
    child = fork();
    own = child == 0 ? 0x1111 : 0x2222;
    write_constant(code + 32, own);
    for (unsigned i = 0; i < 3000; i++) {
        good &= run(code + 32) == own;
        sched_yield();
    }
    if (child == 0)
        _exit(good ? 0 : 1);
    wait(&status);
    report("two processes with other code at one address", good && status == 0);
    sched_setaffinity(0, sizeof(all), &all);
}

/* --- Pages that are mapped anew beneath code that leads into them ------------------------------------------------------ */

enum { VERSIONS = 64 };

/* In each page of the file: the end of an instruction that began on the page before (the upper half of an immediate), and a function. */
static int file_of_versions(void)
{
    int fd = memfd_create("versions", 0);
    uint8_t page[PAGE] = {0};

    need(fd >= 0, "file in memory");
    for (uint32_t i = 0; i < VERSIONS; i++) {
        page[0] = (uint8_t)i;
        page[2] = 0xc3;
        write_constant(page + 16, i);
        need(pwrite(fd, page, PAGE, i * PAGE) == PAGE, "writing");
    }
    return fd;
}

static void map_version(uint8_t *at, int fd, uint32_t version)
{
    need(mmap(at, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, version * (off_t)PAGE) == at, "mapping");
}

/* On the page before: jmp to the function, call of it and ret, mov eax with an immediate over the border. */
static uint8_t *write_ways(uint8_t *second)
{
    uint8_t *first = second - PAGE;
    int32_t jump = PAGE + 16 - 0x105, call = PAGE + 16 - 0x205;

    first[0x100] = 0xe9;
    memcpy(first + 0x101, &jump, 4);
    first[0x200] = 0xe8;
    memcpy(first + 0x201, &call, 4);
    first[0x205] = 0xc3;
    memcpy(first + 0xffd, (const uint8_t[]){0xb8, 0, 0}, 3);
    return first;
}

static void ways_into_mapped_anew(void)
{
    uint8_t *second = code + 5 * PAGE, *first = write_ways(second);
    int fd = file_of_versions();
    bool good = true;

    for (uint32_t i = 0; i < 10 * VERSIONS; i++) {
        map_version(second, fd, i % VERSIONS);
        for (unsigned n = 0; n < 3; n++) {
            good &= run(first + 0x100) == i % VERSIONS && run(first + 0x200) == i % VERSIONS;
            good &= run(first + 0xffd) == (i % VERSIONS) << 16;
        }
    }
    report("a page mapped anew beneath jumps, calls and an instruction over its border", good);
    close(fd);
}

static atomic_uint begun, done;

static void *way_walker(void *argument)
{
    const uint8_t *first = argument;
    uintptr_t bad = 0;

    for (;;) {
        for (unsigned n = 0; n < 3; n++) {
            uint32_t before = atomic_load(&done), value = run(first + (n == 0 ? 0x100 : n == 1 ? 0x200 : 0xffd));

            value = n == 2 ? value >> 16 : value;
            bad |= value < before || value > atomic_load(&begun);
        }
        if (atomic_load(&done) == VERSIONS - 1)
            return (void *)bad;
    }
}

/* Whoever has seen that the new mapping is there may not run the old page any more. */
static void ways_into_mapped_anew_by_other_cpu(void)
{
    uint8_t *second = code + 5 * PAGE, *first = write_ways(second);
    int fd = file_of_versions();
    bool good = true;

    for (unsigned turn = 0; turn < 5; turn++) {
        pthread_t thread;
        void *bad;

        atomic_store(&begun, 0);
        atomic_store(&done, 0);
        map_version(second, fd, 0);
        need(pthread_create(&thread, NULL, way_walker, first) == 0, "thread");
        for (uint32_t i = 1; i < VERSIONS; i++) {
            atomic_store(&begun, i);
            map_version(second, fd, i);
            atomic_store(&done, i);
            usleep(i % 4 * 100);
        }
        pthread_join(thread, &bad);
        good &= bad == NULL;
    }
    report("the same by another CPU", good);
    close(fd);
}

/* --- Faults ------------------------------------------------------------------------------------------------------------ */

static sigjmp_buf back;
static uintptr_t fault_address;
static int fault_signal;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    fault_signal = number;
    fault_address = (uintptr_t)info->si_addr;
    siglongjmp(back, 1);
}

/* Whether running it raises a signal; fault_signal and fault_address say which. */
static bool faults(const uint8_t *at)
{
    fault_signal = 0;
    fault_address = 0;
    if (sigsetjmp(back, 1) == 0)
        run(at);
    return fault_signal != 0;
}

static void taken_away(void)
{
    uint8_t *p = code + PAGE;
    bool good = true;

    write_constant(p - 3, 0x1234567);
    for (unsigned i = 0; i < 20; i++) {
        good &= mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC) == 0 && run(p - 3) == 0x1234567;
        good &= mprotect(p, PAGE, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE) == 0;
        good &= faults(p - 3) && fault_signal == SIGSEGV && fault_address == (uintptr_t)p;
    }
    mprotect(p, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    report("code that may not be run any more", good);
}

static void made_invalid(void)
{
    bool good = true;

    for (unsigned i = 0; i < 50; i++) {
        write_constant(code + 128, i);
        good &= run(code + 128) == i;
        code[128] = 0x0f;
        code[129] = 0x0b; /* UD2 */
        good &= faults(code + 128) && fault_signal == SIGILL && fault_address == (uintptr_t)code + 128;
    }
    report("code that became invalid", good);
}

/* --- The other CPU ----------------------------------------------------------------------------------------------------- */

enum { TURNS = 400 };
static atomic_uint asked, answered, wrong;

/* Runs the function over and over and says what it saw. */
static void *caller(void *argument)
{
    unsigned last = 0;

    (void)argument;
    while (last < TURNS) {
        unsigned value = run(code + 256);

        if (value < last || value > atomic_load(&asked))
            atomic_fetch_add(&wrong, 1);
        last = value;
        atomic_store(&answered, value);
    }
    return NULL;
}

/* The immediate lies in an aligned word: one store changes it, and the caller sees either value. */
static void changed_by_other_cpu(void)
{
    pthread_t thread;

    write_constant(code + 256 + 3, 0);
    memset(code + 256, 0x90, 3);
    atomic_store(&asked, 0);
    atomic_store(&answered, 0);
    need(pthread_create(&thread, NULL, caller, NULL) == 0, "thread");
    for (uint32_t i = 1; i <= TURNS; i++) {
        atomic_store(&asked, i);
        atomic_store((_Atomic uint32_t *)(void *)(code + 260), i);
        while (atomic_load(&answered) != i)
            ;
    }
    pthread_join(thread, NULL);
    report("changed by another CPU while it runs", atomic_load(&wrong) == 0);
}

static void *spinner(void *argument)
{
    return (void *)(uintptr_t)run(argument);
}

/* jmp to itself becomes two NOPs. */
static void endless_loop_opened(void)
{
    bool good = true;

    for (unsigned i = 0; i < 40; i++) {
        uint8_t *at = code + 512 + i % 4 * 16;
        pthread_t thread;
        void *result;

        at[0] = 0xeb;
        at[1] = 0xfe;
        write_constant(at + 2, i);
        need(pthread_create(&thread, NULL, spinner, at) == 0, "thread");
        usleep(i % 5 * 700);
        atomic_store((_Atomic uint16_t *)(void *)at, 0x9090);
        pthread_join(thread, &result);
        good &= (uintptr_t)result == i;
    }
    report("an endless loop opened by another CPU", good);
}

/* Two CPUs write to one page and run what they wrote. */
static void *writer(void *argument)
{
    uint8_t *at = argument;
    uintptr_t bad = 0;

    for (uint32_t i = 0; i < 2000; i++) {
        write_constant(at, i ^ (uint32_t)(uintptr_t)at);
        bad |= run(at) != (i ^ (uint32_t)(uintptr_t)at);
    }
    return (void *)bad;
}

static void two_writers(void)
{
    pthread_t thread;
    void *bad;

    need(pthread_create(&thread, NULL, writer, code + 1024) == 0, "thread");
    report("two CPUs writing code in one page", writer(code + 2048) == NULL && pthread_join(thread, &bad) == 0 && bad == NULL);
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    code = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(code != MAP_FAILED, "memory to run");
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    rewritten_between_calls();
    next_instruction();
    own_loop();
    overwritten_while_running();
    data_beside_code();
    across_pages();
    second_mapping();
    by_system_call();
    mapped_anew();
    copied_on_write();
    two_processes();
    ways_into_mapped_anew();
    taken_away();
    made_invalid();
    changed_by_other_cpu();
    endless_loop_opened();
    two_writers();
    ways_into_mapped_anew_by_other_cpu();
    return report_bad;
}
