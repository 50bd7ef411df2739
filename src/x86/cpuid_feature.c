/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of CPUID feature bits with their names (SDM vol. 2 CPUID; APM vol. 3 appendix E). */
#include "x86/cpuid_feature.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"

static const struct word {
    uint32_t leaf, subleaf;
    bool indexed;
    uint8_t reg; /* 0 EAX .. 3 EDX */
    const char *name[32];
} words[CPUID_WORDS] = {
    [WORD_1_EDX] = {1, 0, false, 3, {"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", NULL, "sep", "mtrr",
                    "pge", "mca", "cmov", "pat", "pse36", "pn", "clflush", NULL, "dts", "acpi", "mmx", "fxsr", "sse", "sse2",
                    "ss", "ht", "tm", "ia64", "pbe"}},
    [WORD_1_ECX] = {1, 0, false, 2, {"pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "vmx", "smx", "est", "tm2", "ssse3",
                    "cid", "sdbg", "fma", "cx16", "xtpr", "pdcm", NULL, "pcid", "dca", "sse4_1", "sse4_2", "x2apic", "movbe",
                    "popcnt", "tsc_deadline_timer", "aes", "xsave", "osxsave", "avx", "f16c", "rdrand", "hypervisor"}},
    [WORD_7_EBX] = {7, 0, true, 1, {"fsgsbase", "tsc_adjust", "sgx", "bmi1", "hle", "avx2", "fdp_excptn_only", "smep", "bmi2",
                    "erms", "invpcid", "rtm", "cqm", "zero_fcs_fds", "mpx", "rdt_a", "avx512f", "avx512dq", "rdseed", "adx",
                    "smap", "avx512ifma", NULL, "clflushopt", "clwb", "intel_pt", "avx512pf", "avx512er", "avx512cd",
                    "sha_ni", "avx512bw", "avx512vl"}},
    [WORD_7_ECX] = {7, 0, true, 2, {"prefetchwt1", "avx512vbmi", "umip", "pku", "ospke", "waitpkg", "avx512_vbmi2", "shstk",
                    "gfni", "vaes", "vpclmulqdq", "avx512_vnni", "avx512_bitalg", "tme", "avx512_vpopcntdq", NULL, "la57",
                    [22] = "rdpid", [24] = "bus_lock_detect", [25] = "cldemote", [27] = "movdiri", [28] = "movdir64b",
                    [29] = "enqcmd", [30] = "sgx_lc", [31] = "pks"}},
    [WORD_7_EDX] = {7, 0, true, 3, {[2] = "avx512_4vnniw", [3] = "avx512_4fmaps", [4] = "fsrm", [8] = "avx512_vp2intersect",
                    [10] = "md_clear", [14] = "serialize", [16] = "tsxldtrk", [18] = "pconfig", [19] = "arch_lbr",
                    [20] = "ibt", [22] = "amx_bf16", [23] = "avx512_fp16", [24] = "amx_tile", [25] = "amx_int8",
                    [26] = "spec_ctrl", [27] = "intel_stibp", [28] = "flush_l1d", [29] = "arch_capabilities",
                    [31] = "ssbd"}},
    [WORD_7_1_EAX] = {7, 1, true, 0, {[4] = "avx_vnni", [5] = "avx512_bf16", [10] = "fzrm", [11] = "fsrs", [12] = "fsrc",
                      [26] = "lam"}},
    [WORD_D_1_EAX] = {0xd, 1, true, 0, {"xsaveopt", "xsavec", "xgetbv1", "xsaves"}},
    [WORD_80000001_EDX] = {0x80000001, 0, false, 3, {[11] = "syscall", [19] = "mp", [20] = "nx", [22] = "mmxext",
                           [25] = "fxsr_opt", [26] = "pdpe1gb", [27] = "rdtscp", [29] = "lm", [30] = "3dnowext",
                           [31] = "3dnow"}},
    [WORD_80000001_ECX] = {0x80000001, 0, false, 2, {"lahf_lm", "cmp_legacy", "svm", "extapic", "cr8_legacy", "abm", "sse4a",
                           "misalignsse", "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", NULL, "lwp", "fma4", "tce",
                           NULL, "nodeid_msr", NULL, "tbm", "topoext", "perfctr_core", "perfctr_nb", NULL, "bpext", "ptsc",
                           "perfctr_llc", "mwaitx"}},
    [WORD_80000007_EDX] = {0x80000007, 0, false, 3, {[8] = "nonstop_tsc"}},
    [WORD_80000008_EBX] = {0x80000008, 0, false, 1, {"clzero", "irperf", "xsaveerptr", [4] = "rdpru", [9] = "wbnoinvd",
                           [12] = "ibpb", [14] = "ibrs", [15] = "stibp", [24] = "amd_ssbd", [25] = "virt_ssbd",
                           [26] = "amd_ssb_no"}},
    [WORD_80000021_EAX] = {0x80000021, 0, false, 0, {"no_nested_data_bp", [2] = "lfence_rdtsc", [6] = "null_sel_clr_base",
                           [8] = "autoibrs"}},
    [WORD_6_EAX] = {6, 0, false, 0, {[2] = "arat"}},
};

/* A feature and what it cannot be without. */
static const struct {
    const char *feature, *needs;
} dependencies[] = {
    {"xsaveopt", "xsave"}, {"xsavec", "xsave"}, {"xgetbv1", "xsave"}, {"xsaves", "xsavec"}, {"avx", "xsave"},
    {"pku", "xsave"}, {"avx2", "avx"}, {"fma", "avx"}, {"f16c", "avx"}, {"vaes", "avx"}, {"vpclmulqdq", "avx"},
    {"avx_vnni", "avx2"}, {"avx512f", "avx2"}, {"avx512dq", "avx512f"}, {"avx512ifma", "avx512f"},
    {"avx512cd", "avx512f"}, {"avx512bw", "avx512f"}, {"avx512vl", "avx512f"}, {"avx512vbmi", "avx512bw"},
    {"avx512_vbmi2", "avx512bw"}, {"avx512_vnni", "avx512f"}, {"avx512_bitalg", "avx512bw"},
    {"avx512_vpopcntdq", "avx512f"}, {"avx512_bf16", "avx512bw"}, {"avx512_fp16", "avx512bw"},
    {"avx512_vp2intersect", "avx512f"}, {"sse2", "sse"}, {"pni", "sse2"}, {"ssse3", "pni"}, {"sse4_1", "ssse3"},
    {"sse4_2", "sse4_1"}, {"sse4a", "pni"}, {"aes", "sse2"}, {"pclmulqdq", "sse2"}, {"sha_ni", "sse2"},
    {"mmxext", "mmx"}, {"invpcid", "pcid"}, {"la57", "lm"}, {"cx16", "lm"}, {"lahf_lm", "lm"}, {"fsgsbase", "lm"},
    {"pcid", "lm"},
};

bool cpuid_feature_find(const char *name, unsigned length, struct cpuid_feature *ret_feature)
{
    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            const char *candidate = words[w].name[bit];
            if (candidate != NULL && strlen(candidate) == length && memcmp(candidate, name, length) == 0) {
                *ret_feature = (struct cpuid_feature){(enum cpuid_word)w, bit};
                return true;
            }
        }
    }
    return false;
}

const char *cpuid_feature_name(enum cpuid_word word, unsigned bit)
{
    return words[word].name[bit];
}

bool cpuid_features_hold(uint32_t leaf, uint32_t subleaf, unsigned reg)
{
    for (unsigned w = 0; w < CPUID_WORDS; w++)
        if (words[w].leaf == leaf && (!words[w].indexed || words[w].subleaf == subleaf) && words[w].reg == reg)
            return true;
    return false;
}

#define MORE_SIZE 16 /* of " and 416 more" */

void cpuid_features_print(const struct cpuid_features *set, char *out, size_t size)
{
    size_t used = 0;
    unsigned left_out = 0;

    out[0] = 0;
    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        for (unsigned bit = 0; bit < 32; bit++) {
            char name[40];
            int length;

            if (!cpuid_features_have(set, (enum cpuid_word)w, bit))
                continue;
            if (words[w].name[bit] != NULL)
                length = snprintf(name, sizeof(name), "%s%s", used > 0 ? " " : "", words[w].name[bit]);
            else
                length = snprintf(name, sizeof(name), "%sleaf-%x-E%cX-bit-%u", used > 0 ? " " : "", words[w].leaf,
                                  "ABCD"[words[w].reg], bit);
            if (left_out > 0 || used + (size_t)length + MORE_SIZE > size) {
                left_out++;
                continue;
            }
            memcpy(out + used, name, (size_t)length + 1);
            used += (size_t)length;
        }
    }
    if (left_out > 0)
        snprintf(out + used, size - used, " and %u more", left_out);
}

static uint32_t *reg_of(struct cpuid_entry *e, unsigned reg)
{
    uint32_t *const registers[] = {&e->eax, &e->ebx, &e->ecx, &e->edx};

    return registers[reg];
}

void cpuid_features_get(const struct cpuid_table *table, struct cpuid_features *ret_set)
{
    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        const struct cpuid_entry *found = cpuid_find(table, words[w].leaf, words[w].subleaf);
        struct cpuid_entry e = {0};

        if (found != NULL)
            e = *found;
        ret_set->word[w] = *reg_of(&e, words[w].reg);
    }
}

void cpuid_features_put(struct cpuid_table *table, const struct cpuid_features *set)
{
    for (unsigned w = 0; w < CPUID_WORDS; w++) {
        struct cpuid_entry *e = (struct cpuid_entry *)cpuid_find(table, words[w].leaf, words[w].subleaf);

        if (e == NULL && set->word[w] != 0 && table->count < CPUID_ENTRIES_MAX) {
            e = &table->entry[table->count++];
            *e = (struct cpuid_entry){.leaf = words[w].leaf, .subleaf = words[w].subleaf, .indexed = words[w].indexed};
        }
        if (e != NULL)
            *reg_of(e, words[w].reg) = set->word[w];
    }
}

void cpuid_features_add(struct cpuid_features *set, const char *names)
{
    while (*names != 0) {
        unsigned length = (unsigned)strcspn(names, " ");
        struct cpuid_feature f;

        if (cpuid_feature_find(names, length, &f))
            set->word[f.word] |= 1u << f.bit;
        names += length;
        names += strspn(names, " ");
    }
}

static bool settle_one(struct cpuid_features *set, const char *feature, const char *needs)
{
    struct cpuid_feature f, n;

    if (!cpuid_feature_find(feature, (unsigned)strlen(feature), &f) ||
        !cpuid_feature_find(needs, (unsigned)strlen(needs), &n))
        return false;
    if (!cpuid_features_have(set, f.word, f.bit) || cpuid_features_have(set, n.word, n.bit))
        return false;
    set->word[f.word] &= ~(1u << f.bit);
    return true;
}

void cpuid_features_settle(struct cpuid_features *set)
{
    bool changed;

    do {
        changed = false;
        for (unsigned i = 0; i < ARRAY_SIZE(dependencies); i++)
            changed |= settle_one(set, dependencies[i].feature, dependencies[i].needs);
    } while (changed);
}
