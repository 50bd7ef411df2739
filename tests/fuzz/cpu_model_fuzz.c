/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the text of --cpu. What a host accepts is a CPU that it has, and the same one whenever it is asked for. */
#include <stdlib.h>

#include "base/bits.h"
#include "base/err.h"
#include "fuzz.h"
#include "x86/cpuid_compare.h"
#include "x86/cpuid_feature.h"
#include "x86/cpuid_tsc.h"

static const char *const seeds[] = {
    "x86-64-v2",
    "max,-smap,+pku",
    "host,phys-bits=40",
    "x86-64-v3,+adx,vendor=GenuineIntel,phys-bits=36,tsc-frequency=2596136000",
    "x86-64-v1,-lm,-syscall,vendor=AuthenticAMD",
};

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    return fuzz_text_seed(seeds, ARRAY_SIZE(seeds), index, out, max);
}

static void make_supported(struct cpuid_table *table)
{
    struct cpuid_features set = {0};
    struct cpuid_level level;

    cpuid_level(2, &level);
    set = level.features;
    cpuid_features_add(&set, "adx smap pku rdseed sha_ni pcid invpcid topoext arch_capabilities");
    *table = (struct cpuid_table){0};
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0, .eax = 0xd, .ebx = 0x68747541, .ecx = 0x444d4163, .edx = 0x69746e65});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 1, .eax = 0x00a10f11});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .indexed = true, .eax = 0x207});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = 2, .indexed = true, .eax = 256, .ebx = 576});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = 9, .indexed = true, .eax = 8, .ebx = 2432});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x40000001, .eax = 0x01000009});
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0x80000008, .eax = 0x3030});
    cpuid_features_put(table, &set);
}

static void check(const struct cpuid_table *table, const struct cpuid_request *request, const struct cpuid_table *supported)
{
    struct cpuid_table again;
    struct cpuid_features has, may;

    if (cpuid_build(request, &again, NULL) < 0 || cpuid_compare(table, &again, true, NULL) < 0 || table->count >= CPUID_ENTRIES_MAX)
        abort();
    cpuid_features_get(table, &has);
    cpuid_features_get(supported, &may);
    if ((has.word[WORD_7_EBX] & ~may.word[WORD_7_EBX]) != 0 || (cpuid_find(table, 0x80000008, 0)->eax & 0xff) > 48)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cpuid_table supported, table;
    struct cpuid_request request = {.supported = &supported, .cpus = size % 64 + 1, .tsc_khz = 2596136, .host = &supported};
    struct err err = ERR_INIT;
    uint32_t khz = 0;
    char *text = fuzz_text(data, size);

    if (text == NULL)
        return 0;
    make_supported(&supported);
    request.model = text;
    if (cpuid_model_tsc_khz(text, &khz, &err) == 0 && khz != 0 && (khz < CPUID_TSC_KHZ_MIN || khz > CPUID_TSC_KHZ_MAX))
        abort();
    err = ERR_INIT;
    if (cpuid_build(&request, &table, &err) == 0)
        check(&table, &request, &supported);
    else if (err.message[0] == 0)
        abort();
    free(text);
    return 0;
}
