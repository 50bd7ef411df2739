/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comparing two CPUID tables, from what matters most to what matters least, into one sentence. */
#include "x86/cpuid_compare.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "x86/cpuid_feature.h"

/* Of no use outside of long mode. */
#define LONG_MODE_FEATURES "lm lahf_lm cx16 syscall fsgsbase pcid la57"
#define ADVICE "start both VMs with the same --cpu; \"ferry cpu baseline\" finds one that both hosts have"

enum { REG_EAX, REG_EBX, REG_ECX, REG_EDX };

struct comparison {
    const struct cpuid_table *source, *destination;
    char source_name[49], destination_name[49];
    struct err *err;
};

/* The name that the CPU tells of itself, at most 48 characters; "" when it tells none. */
static void brand(const struct cpuid_table *table, char ret_name[static 49])
{
    memset(ret_name, 0, 49);
    for (unsigned i = 0; i < 3; i++) {
        const struct cpuid_entry *e = cpuid_find(table, 0x80000002 + i, 0);

        if (e == NULL)
            break;
        store_le32(ret_name + 16 * i, e->eax);
        store_le32(ret_name + 16 * i + 4, e->ebx);
        store_le32(ret_name + 16 * i + 8, e->ecx);
        store_le32(ret_name + 16 * i + 12, e->edx);
    }
    for (char *c = ret_name; *c != 0; c++) /* it may come from a hostile peer, and goes to a terminal */
        if (*c < ' ' || *c > '~')
            *c = '?';
}

/* Features of `a` that `b` has not; false: there are none. */
static bool only_in(const struct cpuid_features *a, const struct cpuid_features *b, const struct cpuid_features *ignored,
                    struct cpuid_features *ret_set)
{
    bool any = false;

    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        ret_set->word[w] = a->word[w] & ~b->word[w] & ~ignored->word[w];
        any |= ret_set->word[w] != 0;
    }
    return any;
}

static int compare_features(const struct comparison *c, bool long_mode)
{
    struct cpuid_features source, destination, ignored = {0}, set;
    char names[240];

    cpuid_features_get(c->source, &source);
    cpuid_features_get(c->destination, &destination);
    if (!long_mode) {
        cpuid_features_add(&ignored, LONG_MODE_FEATURES);
        ignored.word[WORD_80000001_EDX] |= 1u << 29;
    } else if (cpuid_features_have(&source, WORD_80000001_EDX, 29) && !cpuid_features_have(&destination, WORD_80000001_EDX, 29))
        return err_set(c->err, -ENOTSUP, "the guest runs in 64-bit mode, and the destination's CPU \"%s\" has no long mode (feature "
                       "lm), which the source's \"%s\" has; " ADVICE, c->destination_name, c->source_name);
    if (only_in(&source, &destination, &ignored, &set)) {
        cpuid_features_print(&set, names, sizeof(names));
        return err_set(c->err, -ENOTSUP, "the source's CPU \"%s\" has features that the destination's \"%s\" lacks: %s; " ADVICE,
                       c->source_name, c->destination_name, names);
    }
    if (only_in(&destination, &source, &ignored, &set)) {
        cpuid_features_print(&set, names, sizeof(names));
        return err_set(c->err, -ENOTSUP, "the destination's CPU \"%s\" has features that the source's \"%s\" lacks: %s; " ADVICE,
                       c->destination_name, c->source_name, names);
    }
    return 0;
}

static const char *vendor_name(const struct cpuid_table *table)
{
    return cpuid_is_intel(table) ? "GenuineIntel" : "AuthenticAMD";
}

/* First, because much else follows from it. */
static int compare_vendors(const struct comparison *c)
{
    if (cpuid_is_intel(c->source) == cpuid_is_intel(c->destination))
        return 0;
    return err_set(c->err, -ENOTSUP, "the source's CPU \"%s\" is of vendor %s and the destination's \"%s\" of %s; " ADVICE,
                   c->source_name, vendor_name(c->source), c->destination_name, vendor_name(c->destination));
}

static uint32_t value_of(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    const struct cpuid_entry *e = cpuid_find(table, leaf, subleaf);

    return e == NULL ? 0 : reg == REG_EAX ? e->eax : reg == REG_EBX ? e->ebx : reg == REG_ECX ? e->ecx : e->edx;
}

/* Values that a person knows by name. */
static int compare_named(const struct comparison *c)
{
    static const struct {
        const char *what;
        uint32_t leaf, subleaf;
        unsigned reg, shift;
        uint32_t mask;
        bool hexadecimal;
    } values[] = {
        {"family, model and stepping", 1, 0, REG_EAX, 0, ~0u, true},
        {"number of CPUs", 1, 0, REG_EBX, 16, 0xff, false},
        {"bits of a physical address", 0x80000008, 0, REG_EAX, 0, 0xff, false},
        {"bits of a linear address", 0x80000008, 0, REG_EAX, 8, 0xff, false},
        {"register sets of XCR0", 0xd, 0, REG_EAX, 0, ~0u, true},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        uint32_t a = value_of(c->source, values[i].leaf, values[i].subleaf, values[i].reg) >> values[i].shift & values[i].mask;
        uint32_t b = value_of(c->destination, values[i].leaf, values[i].subleaf, values[i].reg) >> values[i].shift & values[i].mask;

        if (a == b)
            continue;
        return err_set(c->err, -ENOTSUP, values[i].hexadecimal ? "the CPUs differ in %s: 0x%x on the source (\"%s\"), 0x%x on the "
                       "destination (\"%s\"); " ADVICE : "the CPUs differ in %s: %u on the source (\"%s\"), %u on the destination "
                       "(\"%s\"); " ADVICE, values[i].what, a, c->source_name, b, c->destination_name);
    }
    return 0;
}

/* Where XSAVE puts the registers that processors of the two vendors put elsewhere. */
static int compare_layouts(const struct comparison *c)
{
    static const struct {
        uint32_t number;
        const char *registers, *feature;
    } components[] = {
        {5, "the opmask registers", "avx512f"},
        {6, "the upper halves of ZMM0 to ZMM15", "avx512f"},
        {7, "ZMM16 to ZMM31", "avx512f"},
        {9, "the protection key rights", "pku"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(components); i++) {
        uint32_t a = value_of(c->source, 0xd, components[i].number, REG_EBX);
        uint32_t b = value_of(c->destination, 0xd, components[i].number, REG_EBX);

        if (a == b)
            continue;
        return err_set(c->err, -ENOTSUP, "the source's CPU \"%s\" has %s at byte %u of what XSAVE writes, and the destination's "
                       "\"%s\" has them at byte %u, as processors of Intel and AMD do: start both VMs with --cpu MODEL,-%s, or with "
                       "what \"ferry cpu baseline\" finds",
                       c->source_name, components[i].registers, a, c->destination_name, b, components[i].feature);
    }
    return 0;
}

/* Which bits of a register are compared here: not those that belong to one CPU, to the time base, or to the features. */
static uint32_t compared_bits(uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    static const struct {
        uint32_t leaf;
        unsigned reg;
        uint32_t left_out;
    } masks[] = {
        {1, REG_EBX, 0xff000000}, {0xb, REG_EDX, ~0u},         {0x1f, REG_EDX, ~0u},      {0x8000001e, REG_EAX, ~0u},
        {0x8000001e, REG_EBX, 0xff}, {0x15, REG_EAX, ~0u},     {0x15, REG_EBX, ~0u},      {0x15, REG_ECX, ~0u},
        {0x16, REG_EAX, ~0u},    {0x16, REG_EBX, ~0u},     {0x40000010, REG_EAX, ~0u},
    };

    if (cpuid_features_hold(leaf, subleaf, reg))
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(masks); i++)
        if (masks[i].leaf == leaf && masks[i].reg == reg)
            return ~masks[i].left_out;
    return ~0u;
}

static const char *subject(uint32_t leaf)
{
    switch (leaf) {
    case 2:
    case 4:
    case 0x80000005:
    case 0x80000006:
    case 0x8000001d:
        return "the description of its caches";
    case 0xb:
    case 0x1f:
    case 0x8000001e:
        return "its topology";
    case 0xd:
        return "the layout of saved registers (XSAVE)";
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        return "its name";
    default:
        return leaf >> 16 == 0x4000 ? "what it says about the hypervisor" : "what it says about itself";
    }
}

/* Entries of `a` that are otherwise in `b`. */
static int compare_entries(const struct comparison *c, const struct cpuid_table *a)
{
    for (unsigned i = 0; i < a->count; i++) {
        const struct cpuid_entry *e = &a->entry[i];

        for (unsigned reg = REG_EAX; reg <= REG_EDX; reg++) {
            uint32_t mine = value_of(c->source, e->leaf, e->subleaf, reg), other = value_of(c->destination, e->leaf, e->subleaf, reg);

            if (((mine ^ other) & compared_bits(e->leaf, e->subleaf, reg)) == 0)
                continue;
            return err_set(c->err, -ENOTSUP, "the source's CPU \"%s\" and the destination's \"%s\" differ in %s: CPUID leaf 0x%x.%u E%cX "
                           "is 0x%x there and 0x%x here; " ADVICE, c->source_name, c->destination_name, subject(e->leaf), e->leaf,
                           e->subleaf, "ABCD"[reg], mine, other);
        }
    }
    return 0;
}

int cpuid_compare(const struct cpuid_table *source, const struct cpuid_table *destination, bool long_mode, struct err *err)
{
    struct comparison c = {.source = source, .destination = destination, .err = err};
    int r;

    brand(source, c.source_name);
    brand(destination, c.destination_name);
    r = compare_vendors(&c);
    if (r == 0)
        r = compare_features(&c, long_mode);
    if (r == 0)
        r = compare_named(&c);
    if (r == 0)
        r = compare_layouts(&c);
    if (r == 0)
        r = compare_entries(&c, source);
    if (r == 0)
        r = compare_entries(&c, destination);
    return r;
}
