/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TSC's frequency in CPUID and in CPU models. */
#include "x86/cpuid_tsc.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

/* Linux multiplies the crystal's kHz with the numerator in 32 bits. */
#define NUMERATOR_MAX (UINT32_MAX / CPUID_CRYSTAL_KHZ)
#define RATIO_TOLERANCE_PPM 1

struct ratio {
    uint64_t numerator, denominator;
};

static bool is_close(struct ratio ratio, uint32_t khz)
{
    if (ratio.numerator == 0 || ratio.denominator == 0)
        return false;
    return cpuid_tsc_is_within(ratio.numerator * CPUID_CRYSTAL_KHZ / ratio.denominator, khz, RATIO_TOLERANCE_PPM);
}

/* Convergents of the continued fraction of khz to the crystal's. */
static struct ratio find_ratio(uint32_t khz)
{
    struct ratio before = {0, 1}, best = {1, 0};
    uint64_t a = khz, b = CPUID_CRYSTAL_KHZ;

    while (b != 0) {
        uint64_t whole = a / b, rest = a % b;
        struct ratio next = {whole * best.numerator + before.numerator, whole * best.denominator + before.denominator};

        if (next.numerator > NUMERATOR_MAX)
            break;
        before = best;
        best = next;
        a = b;
        b = rest;
    }
    return is_close(best, khz) ? best : (struct ratio){0, 0};
}

void cpuid_set_tsc_khz(struct cpuid_table *table, uint32_t khz)
{
    struct ratio ratio = find_ratio(khz);

    for (unsigned i = 0; i < table->count; i++) {
        struct cpuid_entry *e = &table->entry[i];

        if (e->leaf == 0x15) {
            e->eax = (uint32_t)ratio.denominator;
            e->ebx = (uint32_t)ratio.numerator;
            e->ecx = ratio.numerator != 0 ? CPUID_CRYSTAL_KHZ * 1000 : 0;
        } else if (e->leaf == 0x16) {
            e->eax = e->ebx = khz / 1000;
        } else if (e->leaf == 0x40000010) {
            e->eax = khz;
        }
    }
}

int cpuid_model_tsc_khz(const char *model, uint32_t *ret_khz, struct err *err)
{
    static const char name[] = ",tsc-frequency=";
    const char *at = strstr(model, name), *value;
    uint64_t hz;
    char text[24];

    if (at == NULL) {
        *ret_khz = 0;
        return 0;
    }
    value = at + sizeof(name) - 1;
    if (text_format(text, sizeof(text), "%.*s", (int)strcspn(value, ","), value) < 0 || text_parse_u64(text, &hz) < 0 ||
        hz / 1000 < CPUID_TSC_KHZ_MIN || hz / 1000 > CPUID_TSC_KHZ_MAX)
        return err_set(err, -EINVAL, "tsc-frequency of a CPU is a number of hertz from %llu to %llu, not \"%.*s\"",
                       CPUID_TSC_KHZ_MIN * 1000ull, CPUID_TSC_KHZ_MAX * 1000ull, (int)strcspn(value, ","), value);
    *ret_khz = (uint32_t)(hz / 1000);
    return 0;
}
