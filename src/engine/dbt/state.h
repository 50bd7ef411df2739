/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vCPU's state as a whole, and derived parts of it. */
#ifndef FERRY_ENGINE_DBT_STATE_H
#define FERRY_ENGINE_DBT_STATE_H

#include "engine/dbt/vcpu.h"

#define ARITHMETIC_FLAGS (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF) /* in v->flags; OF is in v->overflow */
#define RFLAGS_WRITABLE UINT64_C(0x3f7fd5)

struct err;

/* From and to the common form; only while the vCPU is not running. set: -EINVAL with a sentence for a state that no CPU of this
 * model can have; the vCPU is as it was then. */
void dbt_get_state(const struct dbt_vcpu *v, struct x86_state *ret_state);
int dbt_set_state(struct dbt_vcpu *v, const struct x86_state *state, struct err *err);

/* Recomputes tlb_mode and tlb alone: after a change of RFLAGS.AC. */
void dbt_update_tlb_mode(struct dbt_vcpu *v);

/* Whether the guest was told that its vendor is Intel; the two differ in SYSCALL, SYSENTER and a few checks. */
bool dbt_vendor_intel(const struct dbt_vcpu *v);

#endif
