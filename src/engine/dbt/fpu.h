/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87, SSE and AVX state: in the host's units while guest code runs, in memory otherwise. */
#ifndef FERRY_ENGINE_DBT_FPU_H
#define FERRY_ENGINE_DBT_FPU_H

#include "engine/dbt/vcpu.h"

/* Loads the guest's x87 registers and MXCSR into the host's units, and back again (restoring the host's own). Around dbt_run(), and
 * around hooks that may use floating point is not needed: compiled C keeps MXCSR and the x87 stack as they are. */
void dbt_fpu_enter(struct dbt_vcpu *v);
void dbt_fpu_leave(struct dbt_vcpu *v);

/* Reset values (vector registers, x87, MXCSR, opmask); only while not entered. */
void dbt_fpu_reset(struct dbt_vcpu *v);

/* The standard-format XSAVE image (x86_state.xsave) from and to the vCPU; only while not entered. set: -EINVAL for an impossible image
 * (reserved MXCSR bits, XSTATE_BV outside of supported features). */
void dbt_fpu_get_xsave(const struct dbt_vcpu *v, uint8_t ret_area[static X86_XSAVE_MAX]);
int dbt_fpu_set_xsave(struct dbt_vcpu *v, const uint8_t area[static X86_XSAVE_MAX]);

#endif
