/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: descriptions of CPUs from other hosts, and the baseline of two of them. */
#include <string.h>

#include "base/buffer.h"
#include "base/err.h"
#include "fuzz.h"
#include "x86/cpuid_baseline.h"
#include "x86/cpuid_tsc.h"

static const char seed[] = "ferry-cpu 1\nengine dbt\nvendor AuthenticAMD\nphysical-bits 48\n"
                           "features fpu de pse tsc msr pae mce cx8 apic sep "
                           "mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm x2apic hypervisor "
                           "tsc_deadline_timer nonstop_tsc arat pku avx xsave\nxstate 2 256 576\nxstate 9 8 2688\ntsc 2596136 fixed\n";

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    if (index > 0 || max < sizeof(seed) - 1)
        return 0;
    memcpy(out, seed, sizeof(seed) - 1);
    return sizeof(seed) - 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"a", "b"};
    struct buffer text = BUFFER_INIT(CPUID_DESCRIPTION_MAX);
    struct cpuid_description list[2];
    struct err err = ERR_INIT;
    char model[CPUID_MODEL_MAX];
    uint32_t khz;

    if (cpuid_description_parse((const char *)data, size, &list[0], &err) < 0 ||
        cpuid_description_parse(seed, sizeof(seed) - 1, &list[1], &err) < 0)
        return 0;
    if (cpuid_baseline(list, names, 2, model, &err) == 0 && cpuid_model_tsc_khz(model, &khz, &err) < 0)
        __builtin_trap();
    cpuid_description_print(&list[0], &text);
    if (cpuid_description_parse((const char *)text.data, text.size, &list[1], &err) == 0 &&
        (memcmp(&list[0].features, &list[1].features, sizeof(list[0].features)) != 0 || list[0].tsc_khz != list[1].tsc_khz))
        __builtin_trap();
    buffer_fini(&text);
    return 0;
}
