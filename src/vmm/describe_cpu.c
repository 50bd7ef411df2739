/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU and time base in descriptions of machines, written and read. */
#include "vmm/describe_cpu.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"

json_t *describe_cpuid(const struct cpuid_table *table)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_entry *e = &table->entry[i];

        json_array_append_new(list, json_pack("[I, I, b, I, I, I, I]", (json_int_t)e->leaf, (json_int_t)e->subleaf,
                                              e->indexed, (json_int_t)e->eax, (json_int_t)e->ebx, (json_int_t)e->ecx,
                                              (json_int_t)e->edx));
    }
    return list;
}

static bool read_entry(const json_t *item, struct cpuid_entry *ret_entry)
{
    uint32_t *const values[] = {&ret_entry->leaf, &ret_entry->subleaf, NULL,           &ret_entry->eax,
                                &ret_entry->ebx,  &ret_entry->ecx,     &ret_entry->edx};

    if (json_array_size(item) < ARRAY_SIZE(values) || !json_is_boolean(json_array_get(item, 2)))
        return false;
    ret_entry->indexed = json_is_true(json_array_get(item, 2));
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        const json_t *value = json_array_get(item, i);

        if (values[i] == NULL)
            continue;
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > UINT32_MAX)
            return false;
        *values[i] = (uint32_t)json_integer_value(value);
    }
    return true;
}

static int read_cpuid(const json_t *list, struct cpuid_table *ret_table, struct err *err)
{
    size_t count = json_array_size(list);

    ret_table->count = 0;
    if (count == 0 || count > CPUID_ENTRIES_MAX)
        return err_set(err, -EBADMSG, "the source's description of its CPU has %zu entries", count);
    for (size_t i = 0; i < count; i++)
        if (!read_entry(json_array_get(list, i), &ret_table->entry[ret_table->count++]))
            return err_set(err, -EBADMSG, "the source's description of its CPU is damaged in entry %zu", i + 1);
    return 0;
}

int describe_read_cpu(const json_t *source, struct describe_cpu *ret_cpu, struct err *err)
{
    struct describe_cpu cpu = {.long_mode = !json_is_false(json_object_get(source, "long-mode")),
                               .clock_ns = json_integer_value(json_object_get(source, "clock"))};
    json_int_t khz = json_integer_value(json_object_get(source, "tsc-khz"));
    int r = read_cpuid(json_object_get(source, "cpuid"), &cpu.cpuid, err);

    if (r < 0)
        return r;
    if (khz <= 0 || khz > UINT32_MAX)
        return err_set(err, -EBADMSG, "the source's description does not tell its TSC frequency");
    cpu.tsc_khz = (uint32_t)khz;
    *ret_cpu = cpu;
    return 0;
}
