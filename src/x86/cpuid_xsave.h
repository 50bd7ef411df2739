/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where XSAVE puts each component's registers, as CPUID leaf 0xd tells it (SDM vol. 1 section 13.2): processors of Intel and AMD differ. */
#ifndef FERRY_X86_CPUID_XSAVE_H
#define FERRY_X86_CPUID_XSAVE_H

#include <stdint.h>

#include "x86/cpuid.h"
#include "x86/xsave.h"

struct err;

struct cpuid_xsave_layout {
    uint16_t offset[X86_XSTATE_COMPONENTS]; /* bytes from the area's start, in the standard format; 0: not there, or not told */
};

void cpuid_get_xsave_layout(const struct cpuid_table *table, struct cpuid_xsave_layout *ret_layout);

/* Puts the components that the table has where the layout has them; those that it does not tell stay. -EBADMSG with a sentence: no
 * processor has it so, or it is beyond X86_XSAVE_MAX; then the table is as it was. */
int cpuid_set_xsave_layout(struct cpuid_table *table, const struct cpuid_xsave_layout *layout, struct err *err);

#endif
