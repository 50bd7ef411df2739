/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU and time base in the descriptions that two sides of a migration exchange. */
#ifndef FERRY_VMM_DESCRIBE_CPU_H
#define FERRY_VMM_DESCRIBE_CPU_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "x86/cpuid.h"

struct err;

struct describe_cpu {
    struct cpuid_table cpuid;
    bool long_mode;   /* the guest is in 64-bit mode, or that is not told */
    uint32_t tsc_khz; /* any but 0 */
    int64_t clock_ns; /* the source's time of day; any value */
};

/* The list that stands in a description under "cpuid". */
json_t *describe_cpuid(const struct cpuid_table *table);

/* From a whole description, which may be hostile. -EBADMSG with a sentence. */
int describe_read_cpu(const json_t *source, struct describe_cpu *ret_cpu, struct err *err);

#endif
