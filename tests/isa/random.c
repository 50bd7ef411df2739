/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random sequences, silicon against an engine. Usage: isa_random [engine [seed [rounds [instructions [mnemonic]]]]]
 * A round is one case of each mnemonic. */
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BATCH 128u

static const char *only;

struct totals {
    unsigned cases, failed;
};

static void run_batch(struct isa_guest *guest, const struct isa_case *cases, unsigned n, uint64_t seed,
                      struct totals *t)
{
    static struct isa_result native[BATCH], result;

    if (isa_native_run(cases, n, native) < 0) {
        printf("the native child failed at seed %llu\n", (unsigned long long)seed);
        t->failed++;
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        char title[64];

        t->cases++;
        if (!isa_comparable(&native[i]))
            continue;
        isa_guest_run(guest, &cases[i], false, &result);
        snprintf(title, sizeof(title), "seed %llu case %u", (unsigned long long)seed, i);
        if (!isa_reached_shadow(&result) && !isa_compare(&cases[i], &native[i], &result, title))
            t->failed++;
    }
}

static void run_round(struct isa_guest *guest, struct isa_generator *g, uint64_t seed, unsigned instructions,
                      struct totals *t)
{
    static struct isa_case cases[BATCH];
    struct isa_random r = {.s = seed};
    unsigned n = 0;

    for (unsigned i = 0; i < isa_generator_mnemonics(g); i++) {
        const char *name = ZydisMnemonicGetString(isa_generator_mnemonic(g, i));

        if (only != NULL && strcasecmp(name, only) != 0)
            continue;
        isa_generate(g, &r, i, 1 + isa_random_below(&r, instructions), &cases[n++]);
        if (n == BATCH) {
            run_batch(guest, cases, n, seed, t);
            n = 0;
        }
    }
    run_batch(guest, cases, n, seed, t);
}

int main(int argc, char **argv)
{
    const char *engine = argc > 1 ? argv[1] : "dbt";
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
    unsigned rounds = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 1;
    unsigned instructions = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 0) : 1;
    struct isa_guest *guest = isa_guest_new(engine);
    struct totals t = {0};

    only = argc > 5 ? argv[5] : NULL;
    if (guest == NULL)
        return 77; /* skipped */
    for (unsigned mode = 0; mode < 2; mode++) {
        struct isa_generator *g = isa_generator_new(mode == 1, isa_wanted, NULL);

        if (g == NULL)
            return 1;
        printf("%s: %u mnemonics\n", mode ? "compatibility mode" : "64-bit mode", isa_generator_mnemonics(g));
        for (unsigned i = 0; i < rounds; i++)
            run_round(guest, g, seed + i, instructions, &t);
        isa_generator_free(g);
    }
    isa_guest_free(guest);
    printf("%u cases, %u differ\n", t.cases, t.failed);
    return t.failed != 0;
}
