/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUID tables: look-up, the host's own, and what differs from CPU to CPU of one VM. */
#include "x86/cpuid.h"

#include <cpuid.h>
#include <stddef.h>

#include "base/bits.h"
#include "x86/cpuid_feature.h"

const struct cpuid_entry *cpuid_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_entry *e = &table->entry[i];
        if (e->leaf == leaf && (!e->indexed || e->subleaf == subleaf))
            return e;
    }
    return NULL;
}

bool cpuid_is_intel(const struct cpuid_table *table)
{
    const struct cpuid_entry *e = cpuid_find(table, 0, 0);

    return e != NULL && e->ebx == 0x756e6547; /* "Genu" */
}

static void copy(const struct cpuid_entry *e, uint32_t ret[static 4])
{
    ret[0] = e->eax;
    ret[1] = e->ebx;
    ret[2] = e->ecx;
    ret[3] = e->edx;
}

/* Beyond the last level these leaves still tell the level asked for and the APIC ID. */
static bool topology_query(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, uint32_t ret[static 4])
{
    const struct cpuid_entry *first = cpuid_find(table, leaf, 0);

    if ((leaf != 0xb && leaf != 0x1f) || first == NULL)
        return false;
    ret[2] = subleaf & 0xff;
    ret[3] = first->edx;
    return true;
}

void cpuid_query(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf, uint32_t ret[static 4])
{
    const struct cpuid_entry *e = cpuid_find(table, leaf, subleaf), *range;

    ret[0] = ret[1] = ret[2] = ret[3] = 0;
    if (e != NULL) {
        copy(e, ret);
        return;
    }
    if (topology_query(table, leaf, subleaf, ret) || !cpuid_is_intel(table))
        return;
    /* Intel: a leaf above the range reads as the highest basic leaf. */
    range = cpuid_find(table, leaf & 0x80000000, 0);
    if (range != NULL && leaf <= range->eax)
        return;
    if ((leaf >> 16) == 0x4000 && cpuid_find(table, 0x40000000, 0) != NULL)
        return;
    range = cpuid_find(table, 0, 0);
    e = cpuid_find(table, range->eax, subleaf);
    if (e != NULL)
        copy(e, ret);
}

void cpuid_add(struct cpuid_table *table, const struct cpuid_entry *entry)
{
    if (table->count < CPUID_ENTRIES_MAX)
        table->entry[table->count++] = *entry;
}

static struct cpuid_entry ask(uint32_t leaf, uint32_t subleaf, bool indexed)
{
    struct cpuid_entry e = {.leaf = leaf, .subleaf = subleaf, .indexed = indexed};

    __cpuid_count(leaf, subleaf, e.eax, e.ebx, e.ecx, e.edx);
    return e;
}

/* Whether a subleaf of an indexed leaf says anything; *ret_last: none comes behind it. */
static bool meaningful(const struct cpuid_entry *e, bool *ret_last)
{
    *ret_last = false;
    switch (e->leaf) {
    case 4:
    case 0x8000001d:
        *ret_last = (e->eax & 0x1f) == 0;
        return !*ret_last;
    case 0xb:
    case 0x1f:
        *ret_last = (e->ecx >> 8 & 0xff) == 0;
        return !*ret_last;
    default:
        return e->eax || e->ebx || e->ecx || e->edx;
    }
}

static void add_host_leaf(struct cpuid_table *table, uint32_t leaf)
{
    static const struct {
        uint32_t leaf, subleaves;
    } indexed[] = {{4, 8}, {7, 3}, {0xb, 4}, {0xd, 32}, {0x1f, 6}, {0x8000001d, 8}};
    struct cpuid_entry single;

    for (unsigned i = 0; i < ARRAY_SIZE(indexed); i++) {
        bool last = false;

        if (indexed[i].leaf != leaf)
            continue;
        for (uint32_t subleaf = 0; subleaf < indexed[i].subleaves && !last; subleaf++) {
            struct cpuid_entry e = ask(leaf, subleaf, true);
            if (meaningful(&e, &last))
                cpuid_add(table, &e);
        }
        return;
    }
    single = ask(leaf, 0, false);
    cpuid_add(table, &single);
}

void cpuid_host(struct cpuid_table *ret_table)
{
    uint32_t last_basic = __get_cpuid_max(0, NULL), last_extended = __get_cpuid_max(0x80000000, NULL);

    ret_table->count = 0;
    for (uint32_t leaf = 0; leaf <= last_basic && leaf <= 0x1f; leaf++)
        add_host_leaf(ret_table, leaf);
    for (uint32_t leaf = 0x80000000; leaf <= last_extended && leaf <= 0x80000021; leaf++)
        add_host_leaf(ret_table, leaf);
}

void cpuid_for_cpu(struct cpuid_table *table, uint32_t apic_id)
{
    for (unsigned i = 0; i < table->count; i++) {
        struct cpuid_entry *e = &table->entry[i];

        switch (e->leaf) {
        case 1:
            e->ebx = (e->ebx & 0x00ffffff) | apic_id << 24;
            break;
        case 0xb:
        case 0x1f:
            e->edx = apic_id;
            break;
        case 0x8000001e:
            e->eax = apic_id;
            e->ebx = (e->ebx & ~0xffu) | (apic_id & 0xff);
            break;
        default:
            break;
        }
    }
}
