/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The layout of XSAVE's standard format in CPUID tables. */
#include "x86/cpuid_xsave.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "x86/state.h"

static bool is_component(const struct cpuid_entry *e)
{
    return e->leaf == 0xd && e->subleaf >= 2 && e->subleaf < X86_XSTATE_COMPONENTS;
}

void cpuid_get_xsave_layout(const struct cpuid_table *table, struct cpuid_xsave_layout *ret_layout)
{
    *ret_layout = (struct cpuid_xsave_layout){0};
    for (unsigned i = 0; i < table->count; i++)
        if (is_component(&table->entry[i]))
            ret_layout->offset[table->entry[i].subleaf] = (uint16_t)table->entry[i].ebx;
}

/* Nothing but the components that a table has: each behind the header, within the image, and none over another. */
static int check(const struct cpuid_table *table, struct err *err)
{
    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_entry *a = &table->entry[i];

        if (!is_component(a))
            continue;
        if (a->ebx < X86_XSAVE_HEADER_END || a->ebx + a->eax > X86_XSAVE_MAX)
            return err_set(err, -EBADMSG, "XSAVE component %u can't be at byte %u", a->subleaf, a->ebx);
        for (unsigned k = 0; k < i; k++) {
            const struct cpuid_entry *b = &table->entry[k];

            if (is_component(b) && a->ebx < b->ebx + b->eax && b->ebx < a->ebx + a->eax)
                return err_set(err, -EBADMSG, "XSAVE components %u and %u can't both be at byte %u", b->subleaf, a->subleaf, a->ebx);
        }
    }
    return 0;
}

/* Leaf 0xd tells the size of an area with all that the CPU has. */
static void set_size(struct cpuid_table *table)
{
    uint32_t size = X86_XSAVE_HEADER_END;

    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_entry *e = &table->entry[i];

        if (is_component(e) && e->ebx + e->eax > size)
            size = e->ebx + e->eax;
    }
    for (unsigned i = 0; i < table->count; i++)
        if (table->entry[i].leaf == 0xd && table->entry[i].subleaf == 0)
            table->entry[i].ebx = table->entry[i].ecx = size;
}

int cpuid_set_xsave_layout(struct cpuid_table *table, const struct cpuid_xsave_layout *layout, struct err *err)
{
    struct cpuid_table changed = *table;
    int r;

    for (unsigned i = 0; i < changed.count; i++) {
        struct cpuid_entry *e = &changed.entry[i];

        if (is_component(e) && layout->offset[e->subleaf] != 0)
            e->ebx = layout->offset[e->subleaf];
    }
    r = check(&changed, err);
    if (r < 0)
        return r;
    set_size(&changed);
    *table = changed;
    return 0;
}
