/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU models: from a name and options to the CPUID table that a guest is offered. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "x86/cpuid_feature.h"
#include "x86/cpuid_leaf.h"

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
    struct cpuid_features set = {0};

    if (is_name(name, length, "host") || is_name(name, length, "max")) {
        cpuid_features_get(request->supported, ret_set);
        *ret_flexible = true;
        return 0;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
        cpuid_features_add(&set, levels[i].adds);
        if (is_name(name, length, levels[i].name)) {
            *ret_set = set;
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

/* One option behind the model's name: +feature, -feature or vendor=. */
static int apply_option(const char *option, unsigned length, struct cpuid_features *set, enum cpuid_vendor *vendor,
                        struct err *err)
{
    struct cpuid_feature f;

    if (length > 7 && memcmp(option, "vendor=", 7) == 0)
        return apply_vendor(option + 7, length - 7, vendor, err);
    if (length < 2 || (option[0] != '+' && option[0] != '-'))
        return err_set(err, -EINVAL, "CPU option \"%.*s\" is not understood; give +feature, -feature or vendor=NAME",
                       (int)length, option);
    if (!cpuid_feature_find(option + 1, length - 1, &f))
        return err_set(err, -EINVAL, "there is no CPU feature \"%.*s\"; names are those of /proc/cpuinfo",
                       (int)length - 1, option + 1);
    if (option[0] == '+')
        set->word[f.word] |= 1u << f.bit;
    else
        set->word[f.word] &= ~(1u << f.bit);
    return 0;
}

static int apply_options(const char *options, struct cpuid_features *set, enum cpuid_vendor *vendor, struct err *err)
{
    while (*options == ',') {
        unsigned length = (unsigned)strcspn(++options, ",");
        int r = apply_option(options, length, set, vendor, err);

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
    char missing[300] = "";
    size_t used = 0;

    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *name = cpuid_feature_name((enum cpuid_word)w, bit);

            if (name == NULL || !cpuid_features_have(set, (enum cpuid_word)w, bit) ||
                cpuid_features_have(supported, (enum cpuid_word)w, bit))
                continue;
            text_format(missing + used, sizeof(missing) - used, " %s", name);
            used = strlen(missing);
        }
    }
    if (used == 0)
        return 0;
    return err_set(err, -ENOTSUP, "CPU model %s asks for features that this engine cannot give on this host:%s; "
                   "choose a smaller model, or take them away with -FEATURE", model, missing);
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
    r = apply_options(request->model + length, &plan.features, &plan.vendor, err);
    if (r < 0)
        return r;
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
