/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In a guest: writes to memory over and over at a steady pace. For the bench of migration; says "dirty: MIB filled" when all of it
 * has its first contents, and "dirty: PASSES" each second.
 *
 * dirty MIB RATE: of so many MiB, RATE MiB a second (0: as fast as it can; without RATE: fills once with noise, and waits). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fill(uint64_t *memory, uint64_t seed)
{
    for (size_t i = 0; i < MIB / sizeof(*memory); i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        memory[i] = seed;
    }
}

/* A word in every cache line: what matters are pages, and a slow CPU is to keep the pace too. */
static void touch(uint64_t *memory, uint64_t value)
{
    for (size_t i = 0; i < MIB / sizeof(*memory); i += 8)
        memory[i] += value;
}

int main(int argc, char *argv[])
{
    size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    double rate = argc > 2 ? strtod(argv[2], NULL) : -1;
    uint64_t *memory = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    size_t step = MIB / sizeof(*memory);
    double start, said;
    uint64_t done = 0;

    if (mib == 0 || memory == MAP_FAILED) {
        puts("dirty: no memory");
        return 1;
    }
    for (size_t i = 0; i < mib; i++)
        fill(memory + i * step, 88172645463325252u + i);
    printf("dirty: %zu MiB filled\n", mib);
    fflush(stdout);
    while (rate < 0)
        pause();
    start = said = now();
    for (;; done++) {
        touch(memory + done % mib * step, done | 1);
        if (now() - said >= 1) {
            said += 1;
            printf("dirty: %.2f passes\n", (double)done / (double)mib);
            fflush(stdout);
        }
        while (rate > 0 && (double)done / rate > now() - start)
            usleep(1000);
    }
}
