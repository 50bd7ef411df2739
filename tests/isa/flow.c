/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sequences with control flow, silicon against an engine. Usage: isa_flow [engine [seed [cases [instructions]]]]
 * With 0 cases it prints the code of the one with that seed, for 64-bit and for 32-bit code.
 * Each case runs twice in the guest, the second time on what the engine made of its code the first time. A case that
 * differs is shortened, as long as it goes on to differ, before it is printed. */
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64u

struct totals {
    unsigned cases, compared, ended, failed;
};

/* Whether both say the same, cold and again. */
static bool agree(struct isa_guest *guest, const struct isa_case *c, const struct isa_result *native, const char *title)
{
    static struct isa_result result;

    isa_guest_run(guest, c, false, &result);
    if (isa_reached_shadow(&result))
        return true;
    if (!isa_compare(c, native, &result, title))
        return false;
    isa_guest_run(guest, c, true, &result);
    return isa_compare(c, native, &result, title);
}

static void try_without(struct isa_guest *guest, struct isa_case *c, unsigned at, unsigned length)
{
    static struct isa_case shorter;
    static struct isa_result native;

    shorter = *c;
    memset(shorter.code + at, 0x90, length);
    if (isa_native_run(&shorter, 1, &native) == 0 && isa_comparable(&native) && !agree(guest, &shorter, &native, NULL))
        *c = shorter;
}

/* Puts NOPs for structures and instructions, one after the other, while the difference stays. Outer structures come
 * after the inner ones in the list. */
static void shorten(struct isa_guest *guest, struct isa_case *c)
{
    for (unsigned i = c->regions; i-- > 0;)
        try_without(guest, c, c->region[i].at, c->region[i].length);
    for (unsigned i = 0; i < c->marks; i++) {
        if (c->mark[i].removable && c->code[c->mark[i].at] != 0x90)
            try_without(guest, c, c->mark[i].at, c->mark[i].length);
    }
}

static void report(struct isa_guest *guest, struct isa_case *c, uint64_t seed)
{
    static struct isa_result native;
    char title[64];

    snprintf(title, sizeof(title), "seed %llu", (unsigned long long)seed);
    shorten(guest, c);
    if (isa_native_run(c, 1, &native) != 0 || agree(guest, c, &native, title))
        printf("%s: differs, but not when it runs alone\n", title);
}

static void run_batch(struct isa_guest *guest, struct isa_case *cases, unsigned n, uint64_t seed, struct totals *t)
{
    static struct isa_result native[BATCH];

    if (isa_native_run(cases, n, native) < 0) {
        printf("the native child failed at seed %llu\n", (unsigned long long)seed);
        t->failed++;
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        t->cases++;
        if (!isa_comparable(&native[i]))
            continue;
        t->compared++;
        t->ended += native[i].state.rip == ISA_CODE + cases[i].start + cases[i].code_size - 1;
        if (!agree(guest, &cases[i], &native[i], NULL)) {
            t->failed++;
            if (t->failed <= 10)
                report(guest, &cases[i], seed + i);
        }
    }
}

int main(int argc, char **argv)
{
    const char *engine = argc > 1 ? argv[1] : "dbt";
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    unsigned count = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 1000;
    unsigned instructions = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 0) : 40;
    static struct isa_case cases[BATCH];
    struct isa_guest *guest = isa_guest_new(engine);
    struct totals t = {0};

    if (guest == NULL)
        return 77; /* skipped */
    for (unsigned mode = 0; mode < 2; mode++) {
        struct isa_generator *g = isa_generator_new(mode == 1, isa_wanted, NULL);

        if (g == NULL)
            return 1;
        for (unsigned done = 0, n; done < count; done += n) {
            n = count - done < BATCH ? count - done : BATCH;
            for (unsigned i = 0; i < n; i++) {
                struct isa_random r = {.s = seed + done + i};

                isa_generate_sequence(g, &r, 5 + isa_random_below(&r, instructions), &cases[i]);
            }
            run_batch(guest, cases, n, seed + done, &t);
        }
        if (count == 0) {
            struct isa_random r = {.s = seed};

            isa_generate_sequence(g, &r, 5 + isa_random_below(&r, instructions), &cases[0]);
            printf("%s\n", mode == 1 ? "32-bit:" : "64-bit:");
            isa_print(&cases[0]);
        }
        isa_generator_free(g);
    }
    isa_guest_free(guest);
    printf("%u cases, %u compared, %u of them reached their end, %u differ\n", t.cases, t.compared, t.ended, t.failed);
    return t.failed != 0;
}
