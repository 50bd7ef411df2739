/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the translator can offer its guests, and what CPUID tells them. */
#include "engine/dbt/cpuid.h"

#include "engine/dbt/system.h"
#include "x86/cpuid_feature.h"
#include "x86/cpuid_leaf.h"
#include "x86/xsave.h"

/* Ours on every host: system features that the engine makes itself. */
#define OURS                                                                                                           \
    "de pse tsc msr pae mce cx8 apic sep mtrr pge mca pat pse36 clflush ht syscall nx lm pdpe1gb lahf_lm cmp_legacy "  \
    "cr8_legacy x2apic hypervisor tsc_deadline_timer nonstop_tsc arat pcid smep smap umip fsgsbase invpcid "           \
    "tsc_adjust rdtscp rdpid pku pks arch_capabilities lfence_rdtsc null_sel_clr_base"
/* Instructions that run on the host's own units. */
#define HOSTS                                                                                                          \
    "fpu cmov mmx fxsr sse sse2 pni ssse3 sse4_1 sse4_2 sse4a misalignsse popcnt cx16 movbe aes pclmulqdq sha_ni "     \
    "gfni vaes vpclmulqdq xsave xsaveopt xsavec xgetbv1 avx avx2 f16c fma bmi1 bmi2 abm adx rdrand rdseed "            \
    "clflushopt clwb erms fsrm 3dnowprefetch mmxext"

#define KVM_CLOCK_FEATURES (1u << 0 | 1u << 3 | 1u << 24)
#define XCR0_OFFERED (X86_XSTATE_X87 | X86_XSTATE_SSE | X86_XSTATE_AVX | X86_XSTATE_PKRU)

static void add_xsave(struct cpuid_table *table)
{
    cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .indexed = true, .eax = (uint32_t)XCR0_OFFERED});
    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++)
        if (XCR0_OFFERED & BIT(i))
            cpuid_add(table, &(struct cpuid_entry){.leaf = 0xd, .subleaf = i, .indexed = true,
                                                   .eax = x86_xstate_components[i].size,
                                                   .ebx = x86_xstate_components[i].offset});
}

/* Guest-physical addresses are no narrower than the host's: nested page tables are not involved. */
static uint32_t physical_bits(const struct cpuid_table *host)
{
    const struct cpuid_entry *e = cpuid_find(host, 0x80000008, 0);
    uint32_t bits = e != NULL ? e->eax & 0xff : 40;

    return bits < 40 ? 40 : bits > 52 ? 52 : bits;
}

void dbt_cpuid_offered(const struct cpuid_table *host, struct cpuid_table *ret_table)
{
    struct cpuid_features set = {0}, host_set;

    cpuid_features_get(host, &host_set);
    cpuid_features_add(&set, HOSTS);
    for (unsigned i = 0; i < CPUID_WORDS; i++)
        set.word[i] &= host_set.word[i];
    cpuid_features_add(&set, OURS);
    cpuid_features_settle(&set);
    ret_table->count = 0;
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 0, .eax = 0xd, .ebx = 0x68747541, .ecx = 0x444d4163,
                                               .edx = 0x69746e65}); /* AuthenticAMD */
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 1, .eax = CPUID_SIGNATURE_AMD});
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 0x40000001, .eax = KVM_CLOCK_FEATURES});
    cpuid_add(ret_table, &(struct cpuid_entry){.leaf = 0x80000008, .eax = 48 << 8 | physical_bits(host)});
    add_xsave(ret_table);
    cpuid_features_put(ret_table, &set);
}

static uint32_t xsave_size(const struct dbt_vcpu *v, uint64_t components, bool compacted)
{
    uint32_t size = X86_XSAVE_HEADER_END;

    for (unsigned i = 2; i < X86_XSTATE_COMPONENTS; i++) {
        const struct cpuid_entry *e = components & BIT(i) ? cpuid_find(&v->cpuid, 0xd, i) : NULL;

        if (e == NULL)
            continue;
        if (compacted)
            size = (e->ecx & 2 ? (uint32_t)align_up(size, 64) : size) + e->eax;
        else if (e->ebx + e->eax > size)
            size = e->ebx + e->eax;
    }
    return size;
}

static bool apic_enabled(struct dbt_vcpu *v)
{
    uint64_t base;

    return v->hooks->apic_msr_read == NULL || v->hooks->apic_msr_read(v->hooks->ctx, v->id, 0x1b, &base) < 0 ||
           (base & BIT(11));
}

void dbt_cpuid(struct dbt_vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t ret[static 4])
{
    cpuid_query(&v->cpuid, leaf, subleaf, ret);
    if (leaf == 1) {
        ret[CPUID_ECX] |= v->cr4 & X86_CR4_OSXSAVE ? 1u << 27 : 0;
        ret[CPUID_EDX] &= apic_enabled(v) ? ~0u : ~(1u << 9);
    } else if (leaf == 7 && subleaf == 0) {
        ret[CPUID_ECX] |= v->cr4 & X86_CR4_PKE ? 1u << 4 : 0;
    } else if (leaf == 0xd && subleaf == 0 && ret[CPUID_EAX] != 0) {
        ret[CPUID_EBX] = xsave_size(v, v->xcr0, false);
    } else if (leaf == 0xd && subleaf == 1 && ret[CPUID_EAX] & 0xa) {
        ret[CPUID_EBX] = xsave_size(v, v->xcr0 | v->msr.xss, true);
    }
}
