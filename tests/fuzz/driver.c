/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small fuzz driver without coverage feedback: repeatable random inputs and mutated seeds, bounded in runs and time.
 *
 *     NAME_fuzz                      20000 runs or 2 seconds (FUZZ_RUNS, FUZZ_SECONDS), the same ones every time
 *     NAME_fuzz FILE...              runs these inputs: to reproduce a crash
 *     NAME_fuzz --seeds DIRECTORY    writes the target's valid inputs there: a corpus for libFuzzer
 *
 * The input that crashed, or took longer than ten seconds, is left in crash-input.bin. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "fuzz.h"

#define INPUT_MAX 8192
#define HANG_SECONDS 10

static uint8_t input[INPUT_MAX];
static size_t input_size;

/* Async-signal-safe. Returning runs the default action: the handler is gone by then. */
static void keep_input(int signal_number)
{
    int fd = open("crash-input.bin", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd >= 0) {
        ssize_t ignored = write(fd, input, input_size);
        (void)ignored;
        close(fd);
    }
    raise(signal_number);
}

static void catch_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction action = {.sa_handler = keep_input, .sa_flags = (int)SA_RESETHAND};
        sigaction(signals[i], &action, NULL);
    }
}

/* xorshift64*: the same numbers on every run. */
static uint64_t random_number(void)
{
    static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(0x2545f4914f6cdd1d);
}

static size_t random_below(size_t limit)
{
    return limit == 0 ? 0 : (size_t)(random_number() % limit);
}

/* Values at which programs break. */
static uint64_t interesting_value(void)
{
    static const uint64_t values[] = {0,          1,          2,           0x7f,      0x80,
                                      0xff,       0x7fff,     0x8000,      0xffff,    0x7fffffff,
                                      0x80000000, 0xffffffff, 0x100000000, INT64_MAX, UINT64_C(1) << 63,
                                      UINT64_MAX, 4096,       512};
    return values[random_below(sizeof(values) / sizeof(values[0]))];
}

static void random_input(void)
{
    /* Short ones are as likely as long ones. */
    input_size = random_below((size_t)1 << random_below(14));
    bool plain = random_below(2) == 0;
    for (size_t i = 0; i < input_size; i++)
        input[i] = (uint8_t)(plain ? random_number() : interesting_value());
}

static void mutate_once(void)
{
    size_t at = random_below(input_size), room = input_size - at;
    uint64_t value = random_below(2) == 0 ? interesting_value() : random_number();
    switch (random_below(5)) {
    case 0:
        input[at] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1: {
        size_t width = (size_t)1 << random_below(4);
        memcpy(input + at, &value, width < room ? width : room);
        break;
    }
    case 2: /* cut off */
        input_size = at;
        break;
    case 3: { /* copy a piece over another */
        size_t from = random_below(input_size), most = input_size - from;
        memmove(input + at, input + from, random_below(most < room ? most : room));
        break;
    }
    default: { /* put bytes in */
        size_t count = random_below(16), space = INPUT_MAX - input_size;
        count = count < space ? count : space;
        memmove(input + at + count, input + at, room);
        memset(input + at, (int)(value & 0xff), count);
        input_size += count;
    }
    }
}

static size_t seed(unsigned index)
{
    size_t size = fuzz_seed != NULL ? fuzz_seed(index, input, INPUT_MAX) : 0;
    return size < INPUT_MAX ? size : INPUT_MAX;
}

static unsigned count_seeds(void)
{
    unsigned count = 0;
    while (seed(count) > 0)
        count++;
    return count;
}

static void next_input(unsigned seeds)
{
    if (seeds == 0 || random_below(4) == 0) {
        random_input();
        return;
    }
    input_size = seed((unsigned)random_below(seeds));
    for (size_t changes = random_below(8); changes > 0 && input_size > 0; changes--)
        mutate_once();
}

/* Inputs live in allocations of their own size, so that the address sanitizer sees the first byte too many. */
static void run_input(void)
{
    uint8_t *copy = malloc(input_size > 0 ? input_size : 1);
    if (copy == NULL)
        return;
    memcpy(copy, input, input_size);
    alarm(HANG_SECONDS);
    LLVMFuzzerTestOneInput(copy, input_size);
    alarm(0);
    free(copy);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    if (text != NULL)
        text_parse_u64(text, &otherwise);
    return otherwise;
}

static int run_bounded(void)
{
    uint64_t runs = setting("FUZZ_RUNS", 20000), done = 0;
    int64_t end = host_monotonic_ns() + (int64_t)setting("FUZZ_SECONDS", 2) * NANOSECONDS_PER_SECOND;
    unsigned seeds = count_seeds();
    for (unsigned i = 0; i < seeds; i++) {
        input_size = seed(i);
        run_input();
    }
    for (; done < runs && host_monotonic_ns() < end; done++) {
        next_input(seeds);
        run_input();
    }
    printf("%llu runs, %u seeds\n", (unsigned long long)done, seeds);
    return 0;
}

static int run_file(const char *path)
{
    void *data;
    int r = fd_read_file(path, INPUT_MAX, &data, &input_size);
    if (r < 0) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(-r));
        return 1;
    }
    memcpy(input, data, input_size);
    free(data);
    run_input();
    return 0;
}

static int write_seeds(const char *directory)
{
    char path[4096];
    unsigned seeds = count_seeds();
    for (unsigned i = 0; i < seeds; i++) {
        size_t size = seed(i);
        if (text_format(path, sizeof(path), "%s/seed-%u", directory, i) < 0)
            return 1;
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || fd_write_all(fd, input, size) < 0) {
            fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
            return 1;
        }
        fd_close(&fd);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && text_equal(argv[1], "--seeds"))
        return write_seeds(argv[2]);
    catch_crashes();
    int r = 0;
    for (int i = 1; i < argc; i++)
        r |= run_file(argv[i]);
    return argc > 1 ? r : run_bounded();
}
