/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which CPUID bits and which bits of the CPU's mode an instruction set extension asks for. */
#ifndef FERRY_ENGINE_DBT_FEATURE_H
#define FERRY_ENGINE_DBT_FEATURE_H

#include "engine/dbt/op.h"

enum feature_gate { /* what besides CPUID decides between executing, #UD and #NM (SDM vol. 2 section 2.4, vol. 3 table 2-2) */
    GATE_NOT_MINE,  /* not an extension of this binder */
    GATE_NONE,      /* CPUID alone */
    GATE_X87,       /* EM or TS: #NM */
    GATE_MMX,       /* EM: #UD; TS: #NM */
    GATE_SSE,       /* the same, and CR4.OSFXSR */
    GATE_AVX,       /* OSXSAVE and XCR0, protected mode; TS: #NM */
    GATE_AVX512,
    GATE_VEX_GPR,   /* VEX encoded without vector state: protected mode */
    GATE_XSAVE,     /* OSXSAVE; TS: #NM */
    GATE_OSXSAVE,   /* OSXSAVE only: XGETBV, XSETBV */
};

/* The gate of a decoded instruction. */
enum feature_gate dbt_feature_gate(const ZydisDecodedInstruction *instruction);

/* Whether the guest was offered what the instruction belongs to. */
bool dbt_feature_offered(const struct dbt_vcpu *v, const ZydisDecodedInstruction *instruction);

#endif
