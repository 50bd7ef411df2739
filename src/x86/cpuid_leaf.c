/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All leaves of CPUID for one model: identity, caches, topology, XSAVE, hypervisor, clocks. */
#include "x86/cpuid_leaf.h"

#include <string.h>

#include "base/bits.h"
#include "base/text.h"
#include "x86/cpuid_tsc.h"
#include "x86/xsave.h"

#define AMD_COPIED_BITS 0x0183f3ffu /* of leaf 1 EDX, shown again in 0x80000001 EDX */
#define KVM_FEATURES (1u << 3 | 1u << 24) /* clocksource2, stable clock */

static void add(struct cpuid_table *table, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    cpuid_add(table, &(struct cpuid_entry){.leaf = leaf, .eax = eax, .ebx = ebx, .ecx = ecx, .edx = edx});
}

static void add_indexed(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx,
                        uint32_t ecx, uint32_t edx)
{
    cpuid_add(table, &(struct cpuid_entry){.leaf = leaf, .subleaf = subleaf, .indexed = true, .eax = eax, .ebx = ebx,
                                           .ecx = ecx, .edx = edx});
}

static const struct cpuid_entry *supported(const struct cpuid_leaf_plan *plan, uint32_t leaf, uint32_t subleaf)
{
    return cpuid_find(plan->request->supported, leaf, subleaf);
}

/* Bits that number n things. */
static unsigned width_of(unsigned n)
{
    unsigned width = 0;

    while ((1u << width) < n)
        width++;
    return width;
}

static uint32_t signature(const struct cpuid_leaf_plan *plan, const struct cpuid_table *host)
{
    if (plan->identity == IDENTITY_HOST && cpuid_is_intel(host) == (plan->vendor == VENDOR_INTEL))
        return cpuid_find(host, 1, 0)->eax;
    return plan->vendor == VENDOR_INTEL ? CPUID_SIGNATURE_INTEL : CPUID_SIGNATURE_AMD;
}

static void add_vendor(struct cpuid_table *table, uint32_t leaf, uint32_t last, enum cpuid_vendor vendor)
{
    const char *name = vendor == VENDOR_INTEL ? "GenuineIntel" : "AuthenticAMD";

    if (leaf != 0 && vendor == VENDOR_INTEL)
        add(table, leaf, last, 0, 0, 0);
    else
        add(table, leaf, last, load_le32(name), load_le32(name + 8), load_le32(name + 4));
}

static void add_topology(struct cpuid_table *table, uint32_t leaf, unsigned cpus)
{
    add_indexed(table, leaf, 0, 0, 1, 1 << 8 | 0, 0);
    add_indexed(table, leaf, 1, width_of(cpus), cpus, 2 << 8 | 1, 0);
}

/* One cache of the deterministic parameters, in Intel's leaf 4 and AMD's 0x8000001d alike. */
static void add_cache(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, unsigned type, unsigned level,
                      unsigned ways, unsigned sets, unsigned sharing, unsigned cores)
{
    uint32_t eax = type | level << 5 | 1 << 8 | (sharing - 1) << 14;

    if (leaf == 4)
        eax |= ((1u << width_of(cores)) - 1) << 26;
    add_indexed(table, leaf, subleaf, eax, (ways - 1) << 22 | 63, sets - 1, 0);
}

static void add_caches(struct cpuid_table *table, uint32_t leaf, unsigned cpus)
{
    add_cache(table, leaf, 0, 1, 1, 8, 64, 1, cpus);
    add_cache(table, leaf, 1, 2, 1, 8, 64, 1, cpus);
    add_cache(table, leaf, 2, 3, 2, 8, 1024, 1, cpus);
    add_cache(table, leaf, 3, 3, 3, 16, 16384, 1u << width_of(cpus), cpus);
    add_indexed(table, leaf, 4, 0, 0, 0, 0);
}

static uint64_t xcr0_of(const struct cpuid_leaf_plan *plan)
{
    const struct cpuid_features *f = &plan->features;
    const struct cpuid_entry *e = supported(plan, 0xd, 0);
    uint64_t xcr0 = X86_XSTATE_X87 | X86_XSTATE_SSE;

    if (!cpuid_features_have(f, WORD_1_ECX, 26) || e == NULL)
        return 0;
    xcr0 |= cpuid_features_have(f, WORD_1_ECX, 28) ? X86_XSTATE_AVX : 0;
    xcr0 |= cpuid_features_have(f, WORD_7_EBX, 16) ? X86_XSTATE_AVX512 : 0;
    xcr0 |= cpuid_features_have(f, WORD_7_ECX, 3) ? X86_XSTATE_PKRU : 0;
    return xcr0 & (e->eax | (uint64_t)e->edx << 32);
}

/* Offsets are the engine's: with KVM they are those of the host's hardware. */
static void add_xsave(const struct cpuid_leaf_plan *plan, struct cpuid_table *table)
{
    uint64_t xcr0 = xcr0_of(plan);
    uint32_t size = X86_XSAVE_HEADER_END;

    if (xcr0 == 0)
        return;
    for (unsigned i = 2; i < 32; i++) {
        const struct cpuid_entry *e = supported(plan, 0xd, i);
        if (e != NULL && (xcr0 & BIT(i)) && e->ebx + e->eax > size)
            size = e->ebx + e->eax;
    }
    add_indexed(table, 0xd, 0, (uint32_t)xcr0, size, size, 0);
    add_indexed(table, 0xd, 1, 0, 0, 0, 0);
    for (unsigned i = 2; i < 32; i++) {
        const struct cpuid_entry *e = supported(plan, 0xd, i);
        if (e != NULL && (xcr0 & BIT(i)))
            add_indexed(table, 0xd, i, e->eax, e->ebx, e->ecx, e->edx);
    }
}

static void add_brand(const struct cpuid_leaf_plan *plan, const struct cpuid_table *host, struct cpuid_table *table)
{
    char text[48] = {0};
    unsigned length = (unsigned)strcspn(plan->request->model, ",");

    if (plan->identity == IDENTITY_HOST && cpuid_find(host, 0x80000004, 0) != NULL) {
        for (uint32_t leaf = 0x80000002; leaf <= 0x80000004; leaf++)
            cpuid_add(table, cpuid_find(host, leaf, 0));
        return;
    }
    text_format(text, sizeof(text), "Ferry virtual CPU %.*s", (int)length, plan->request->model);
    for (unsigned i = 0; i < 3; i++)
        add(table, 0x80000002 + i, load_le32(text + 16 * i), load_le32(text + 16 * i + 4), load_le32(text + 16 * i + 8),
            load_le32(text + 16 * i + 12));
}

static void add_basic(const struct cpuid_leaf_plan *plan, const struct cpuid_table *host, struct cpuid_table *table)
{
    unsigned cpus = plan->request->cpus;
    bool intel = plan->vendor == VENDOR_INTEL;

    add_vendor(table, 0, intel ? 0x1f : 0xd, plan->vendor);
    add(table, 1, signature(plan, host), 8 << 8 | cpus << 16, 0, 0);
    if (intel) {
        add(table, 2, 0x0000ff01, 0, 0, 0); /* caches: see leaf 4 */
        add_caches(table, 4, cpus);
    }
    add(table, 6, 0, 0, 0, 0);
    add_indexed(table, 7, 0, plan->features.word[WORD_7_1_EAX] ? 1 : 0, 0, 0, 0);
    add_topology(table, 0xb, cpus);
    add_xsave(plan, table);
    if (!intel)
        return;
    add(table, 0x15, 0, 0, 0, 0);
    add(table, 0x16, 0, 0, CPUID_CRYSTAL_KHZ / 10000, 0);
    add_topology(table, 0x1f, cpus);
}

static void add_hypervisor(const struct cpuid_leaf_plan *plan, struct cpuid_table *table)
{
    const struct cpuid_entry *kvm = supported(plan, 0x40000001, 0);
    const char name[12] = "KVMKVMKVM\0\0";

    if (kvm == NULL)
        return;
    add(table, 0x40000000, 0x40000010, load_le32(name), load_le32(name + 4), load_le32(name + 8));
    add(table, 0x40000001, kvm->eax & KVM_FEATURES, 0, 0, 0);
    add(table, 0x40000010, 0, CPUID_CRYSTAL_KHZ, 0, 0);
}

static void add_extended(const struct cpuid_leaf_plan *plan, const struct cpuid_table *host, struct cpuid_table *table)
{
    unsigned cpus = plan->request->cpus;
    bool intel = plan->vendor == VENDOR_INTEL;
    uint32_t cores = intel ? 0 : width_of(cpus) << 12 | (cpus - 1);

    add_vendor(table, 0x80000000, intel ? 0x80000008 : 0x80000021, plan->vendor);
    add(table, 0x80000001, intel ? 0 : signature(plan, host), 0, 0, 0);
    add_brand(plan, host, table);
    if (!intel)
        add(table, 0x80000005, 0x01ff01ff, 0x01ff01ff, 0x20080140, 0x20080140);
    add(table, 0x80000006, 0, intel ? 0 : 0x42004200, 0x02006140, intel ? 0 : 0x00808140);
    add(table, 0x80000007, 0, 0, 0, 0);
    add(table, 0x80000008, 48 << 8 | plan->physical_bits, 0, cores, 0);
    if (!intel && cpuid_features_have(&plan->features, WORD_80000001_ECX, 22)) {
        add_caches(table, 0x8000001d, cpus);
        add(table, 0x8000001e, 0, 0, 0, 0);
    }
}

/* Bits that say something about this VM, not about the engine. */
static struct cpuid_features final_features(const struct cpuid_leaf_plan *plan)
{
    struct cpuid_features f = plan->features;
    bool intel = plan->vendor == VENDOR_INTEL, many = plan->request->cpus > 1;
    const struct cpuid_entry *arch = supported(plan, 7, 0);

    f.word[WORD_1_ECX] &= ~(1u << 27); /* OSXSAVE follows CR4 */
    f.word[WORD_7_ECX] &= ~(1u << 4);  /* OSPKE too */
    f.word[WORD_1_EDX] = (f.word[WORD_1_EDX] & ~(1u << 28)) | (many ? 1u << 28 : 0);
    f.word[WORD_80000001_ECX] = (f.word[WORD_80000001_ECX] & ~2u) | (many && !intel ? 2 : 0);
    f.word[WORD_80000001_EDX] &= ~AMD_COPIED_BITS;
    if (intel) {
        f.word[WORD_80000001_EDX] &= 1u << 11 | 1u << 20 | 1u << 26 | 1u << 27 | 1u << 29;
        f.word[WORD_80000001_ECX] &= 1u << 0 | 1u << 5 | 1u << 8;
        f.word[WORD_80000008_EBX] = f.word[WORD_80000021_EAX] = 0;
        if (arch != NULL)
            f.word[WORD_7_EDX] |= arch->edx & 1u << 29; /* tells which mitigations are not needed */
    } else {
        f.word[WORD_80000001_EDX] |= f.word[WORD_1_EDX] & AMD_COPIED_BITS;
        f.word[WORD_7_EDX] &= ~(1u << 29);
    }
    return f;
}

void cpuid_leaves(const struct cpuid_leaf_plan *plan, struct cpuid_table *ret_table)
{
    struct cpuid_features features = final_features(plan);
    const struct cpuid_table *host = plan->request->host;
    struct cpuid_table own;

    if (host == NULL) {
        cpuid_host(&own);
        host = &own;
    }
    ret_table->count = 0;
    add_basic(plan, host, ret_table);
    add_hypervisor(plan, ret_table);
    add_extended(plan, host, ret_table);
    cpuid_set_tsc_khz(ret_table, plan->request->tsc_khz);
    cpuid_features_put(ret_table, &features);
}
