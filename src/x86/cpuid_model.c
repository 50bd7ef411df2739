/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models: from a name and options to the CPUID table that a guest is offered. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "x86/cpuid_feature.h"
#include "x86/cpuid_leaf.h"
#include "x86/cpuid_tsc.h"

/* What a 64-bit system cannot do without, and what costs nothing to have everywhere. */
#define SYSTEM_FEATURES                                                                                                \
    "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm "     \
    "x2apic hypervisor tsc_deadline_timer nonstop_tsc arat"
/* Levels of the x86-64 psABI, each upon the one before. The third has in addition what every server CPU of that age has. */
static const struct level {
    const char *name, *adds;
} levels[] = {
    {"x86-64-v1", SYSTEM_FEATURES},
    {"x86-64-v2", "cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 rdtscp"},
    {"x86-64-v3", "avx avx2 bmi1 bmi2 f16c fma abm movbe xsave aes pclmulqdq rdrand fsgsbase smep xsaveopt"},
    {"x86-64-v4", "avx512f avx512bw avx512cd avx512dq avx512vl adx smap rdseed clflushopt clwb xsavec xgetbv1"},
};

/* What named models have, whatever the host has: every server can do it, and it is enough for a TiB of RAM. */
#define PHYSICAL_BITS 40u

bool cpuid_level(unsigned index, struct cpuid_level *ret_level)
{
    struct cpuid_level level = {0};

    if (index >= ARRAY_SIZE(levels))
        return false;
    for (unsigned i = 0; i <= index; i++)
        cpuid_features_add(&level.features, levels[i].adds);
    level.name = levels[index].name;
    *ret_level = level;
    return true;
}

static const char *const model_names[] = {"x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4", "host", "max", NULL};

const char *const *cpuid_model_names(void)
{
    return model_names;
}

static int unknown_model(const char *name, unsigned length, struct err *err)
{
    char list[128] = "";
    size_t used = 0;

    for (unsigned i = 0; model_names[i] != NULL; i++) {
        text_format(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", model_names[i]);
        used = strlen(list);
    }
    return err_set(err, -ENOENT, "there is no CPU model \"%.*s\"; the models are %s", (int)length, name, list);
}

static bool is_name(const char *text, unsigned length, const char *name)
{
    return strlen(name) == length && memcmp(text, name, length) == 0;
}

/* What the model asks for; *ret_flexible: it takes what there is. */
static int model_features(const char *name, unsigned length, const struct cpuid_request *request,
                          struct cpuid_features *ret_set, bool *ret_flexible, struct err *err)
{
    struct cpuid_level level;

    if (is_name(name, length, "host") || is_name(name, length, "max")) {
        cpuid_features_get(request->supported, ret_set);
        *ret_flexible = true;
        return 0;
    }
    for (unsigned i = 0; cpuid_level(i, &level); i++) {
        if (is_name(name, length, level.name)) {
            *ret_set = level.features;
            *ret_flexible = false;
            return 0;
        }
    }
    return unknown_model(name, length, err);
}

static int apply_vendor(const char *value, unsigned length, enum cpuid_vendor *vendor, struct err *err)
{
    if (is_name(value, length, "AuthenticAMD"))
        *vendor = VENDOR_AMD;
    else if (is_name(value, length, "GenuineIntel"))
        *vendor = VENDOR_INTEL;
    else
        return err_set(err, -EINVAL, "CPU vendor \"%.*s\" is neither AuthenticAMD nor GenuineIntel", (int)length, value);
    return 0;
}

static int apply_physical_bits(const char *value, unsigned length, uint32_t *bits, struct err *err)
{
    char text[8];
    uint64_t number;

    if (text_format(text, sizeof(text), "%.*s", (int)length, value) < 0 || text_parse_u64(text, &number) < 0 || number < 32 ||
        number > 52)
        return err_set(err, -EINVAL, "phys-bits of a CPU is a number from 32 to 52, not \"%.*s\"", (int)length, value);
    *bits = (uint32_t)number;
    return 0;
}

/* One option behind the model's name: +feature, -feature, vendor=, phys-bits= or tsc-frequency=, which is the VM's to see to. */
static int apply_option(const char *option, unsigned length, struct cpuid_leaf_plan *plan, struct err *err)
{
    struct cpuid_features *set = &plan->features;
    struct cpuid_feature f;

    if (length > 7 && memcmp(option, "vendor=", 7) == 0)
        return apply_vendor(option + 7, length - 7, &plan->vendor, err);
    if (length > 10 && memcmp(option, "phys-bits=", 10) == 0)
        return apply_physical_bits(option + 10, length - 10, &plan->physical_bits, err);
    if (length > 14 && memcmp(option, "tsc-frequency=", 14) == 0) {
        uint32_t khz;

        return cpuid_model_tsc_khz(plan->request->model, &khz, err);
    }
    if (length < 2 || (option[0] != '+' && option[0] != '-'))
        return err_set(err, -EINVAL, "CPU option \"%.*s\" is not understood; give +feature, -feature, vendor=NAME, phys-bits=N or "
                       "tsc-frequency=HZ", (int)length, option);
    if (!cpuid_feature_find(option + 1, length - 1, &f))
        return err_set(err, -EINVAL, "there is no CPU feature \"%.*s\"; names are those of /proc/cpuinfo",
                       (int)length - 1, option + 1);
    if (option[0] == '+')
        set->word[f.word] |= 1u << f.bit;
    else
        set->word[f.word] &= ~(1u << f.bit);
    return 0;
}

static int apply_options(const char *options, struct cpuid_leaf_plan *plan, struct err *err)
{
    while (*options == ',') {
        unsigned length = (unsigned)strcspn(++options, ",");
        int r = apply_option(options, length, plan, err);

        if (r < 0)
            return r;
        options += length;
    }
    return 0;
}

/* Refuses features that the engine can't deliver, by name. */
static int check_supported(const struct cpuid_features *set, const struct cpuid_features *supported, const char *model,
                           struct err *err)
{
    struct cpuid_features missing;
    bool any = false;
    char names[300];

    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        missing.word[w] = set->word[w] & ~supported->word[w];
        any |= missing.word[w] != 0;
    }
    if (!any)
        return 0;
    cpuid_features_print(&missing, names, sizeof(names));
    return err_set(err, -ENOTSUP, "CPU model %s asks for features that this engine cannot give on this host: %s; "
                   "choose a smaller model, or take them away with -FEATURE", model, names);
}

static uint32_t supported_bits(const struct cpuid_table *supported)
{
    const struct cpuid_entry *sizes = cpuid_find(supported, 0x80000008, 0);

    return sizes != NULL ? sizes->eax & 0xff : PHYSICAL_BITS;
}

static enum cpuid_vendor vendor_of(const struct cpuid_table *table)
{
    return cpuid_is_intel(table) ? VENDOR_INTEL : VENDOR_AMD;
}

int cpuid_build(const struct cpuid_request *request, struct cpuid_table *ret_table, struct err *err)
{
    unsigned length = (unsigned)strcspn(request->model, ",");
    struct cpuid_leaf_plan plan = {.request = request, .vendor = VENDOR_AMD};
    struct cpuid_features supported;
    bool flexible = false;
    int r;

    r = model_features(request->model, length, request, &plan.features, &flexible, err);
    if (r < 0)
        return r;
    plan.identity = is_name(request->model, length, "host") ? IDENTITY_HOST : IDENTITY_OURS;
    if (flexible)
        plan.vendor = vendor_of(request->supported);
    plan.physical_bits = flexible || supported_bits(request->supported) < PHYSICAL_BITS ? supported_bits(request->supported)
                                                                                        : PHYSICAL_BITS;
    r = apply_options(request->model + length, &plan, err);
    if (r < 0)
        return r;
    if (plan.physical_bits > supported_bits(request->supported))
        return err_set(err, -ENOTSUP, "CPU model %s asks for addresses of %u bits, and this engine has %u on this host",
                       request->model, plan.physical_bits, supported_bits(request->supported));
    cpuid_features_get(request->supported, &supported);
    cpuid_features_add(&supported, "hypervisor");
    cpuid_features_add(&plan.features, "hypervisor");
    r = check_supported(&plan.features, &supported, request->model, err);
    if (r < 0)
        return r;
    cpuid_features_settle(&plan.features);
    cpuid_leaves(&plan, ret_table);
    return 0;
}
