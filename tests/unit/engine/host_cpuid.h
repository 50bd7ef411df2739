/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Recorded CPUID of real hosts (tests/golden/cpuid), and what either engine offers on them. */
#ifndef FERRY_TESTS_UNIT_ENGINE_HOST_CPUID_H
#define FERRY_TESTS_UNIT_ENGINE_HOST_CPUID_H

#include "check.h"

#include "base/bits.h"
#include "engine/dbt/cpuid.h"
#include "engine/kvm/internal.h"
#include "x86/cpuid_feature.h"

/* What cpuid_host() would have found there. */
static inline void host_cpuid_load(const char *name, struct cpuid_table *ret_table)
{
    static const uint32_t with_subleaves[] = {4, 7, 0xb, 0xd, 0x1f, 0x8000001d};
    char path[256], line[160];
    FILE *file;

    snprintf(path, sizeof(path), CPUID_DIRECTORY "/%s.txt", name);
    file = fopen(path, "re");
    assert_non_null(file);
    ret_table->count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        struct cpuid_entry e = {0};

        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%x %x %x %x %x %x", &e.leaf, &e.subleaf, &e.eax, &e.ebx, &e.ecx, &e.edx), 6);
        for (unsigned i = 0; i < ARRAY_SIZE(with_subleaves); i++)
            e.indexed |= with_subleaves[i] == e.leaf;
        cpuid_add(ret_table, &e);
    }
    fclose(file);
}

/* What KVM passes on of leaf 1 (Linux, arch/x86/kvm/cpuid.c); what it adds and hides otherwise is below. */
#define KVM_1_ECX "pni pclmulqdq dtes64 monitor vmx ssse3 fma cx16 pdcm pcid sse4_1 sse4_2 movbe popcnt aes xsave osxsave avx f16c rdrand"
#define KVM_1_EDX                                                                                                      \
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss"

static inline void host_cpuid_kvm_entry(struct kvm_cpuid_entry2 *e)
{
    struct cpuid_features passed = {0};

    cpuid_features_add(&passed, KVM_1_ECX " " KVM_1_EDX);
    if (e->function == 1) {
        e->ecx = (e->ecx & passed.word[WORD_1_ECX]) | BIT(21) | BIT(31); /* x2APIC and hypervisor on every host */
        e->edx &= passed.word[WORD_1_EDX];
    } else if (e->function == 6) {
        e->eax = BIT(2);
        e->ebx = e->ecx = e->edx = 0;
    } else if (e->function == 7 && e->index == 0) {
        e->ebx = (e->ebx & ~(uint32_t)BIT(14)) | BIT(1);
    } else if (e->function == 0x80000007) {
        e->edx &= BIT(8);
    }
}

/* What the kvm engine offers on such a host. */
static inline void host_cpuid_kvm(const struct cpuid_table *host, struct cpuid_table *ret_table)
{
    struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + (CPUID_ENTRIES_MAX + 2) * sizeof(list->entries[0]));
    bool power = false;

    assert_non_null(list);
    for (unsigned i = 0; i < host->count; i++) {
        const struct cpuid_entry *e = &host->entry[i];
        struct kvm_cpuid_entry2 *to = &list->entries[list->nent++];

        *to = (struct kvm_cpuid_entry2){.function = e->leaf, .index = e->subleaf, .eax = e->eax, .ebx = e->ebx, .ecx = e->ecx,
                                        .edx = e->edx, .flags = e->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0};
        host_cpuid_kvm_entry(to);
        power |= to->function == 6;
    }
    if (!power)
        list->entries[list->nent++] = (struct kvm_cpuid_entry2){.function = 6, .eax = BIT(2)};
    list->entries[list->nent++] = (struct kvm_cpuid_entry2){.function = 0x40000001, .eax = 0x01007efb};
    kvm_cpuid_offered(list, true, ret_table);
    free(list);
}

#endif
