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

/* The rest is for the handlers of this room. */

#define X87_MASKS 0x3fu       /* exception masks of the control word */
#define X87_SUMMARY 0x80u     /* ES of the status word: an unmasked exception is pending */
#define MXCSR_MASKS 0x1f80u   /* exception masks; in the host's MXCSR always set while the guest runs */
#define MXCSR_INITIAL 0x1f80u
#define MXCSR_VALID 0xffffu   /* MXCSR_MASK: the guest's bits; AMD's misaligned exception mode is not offered */

/* The guest's MXCSR while entered, and the host's as it stands. */
uint32_t dbt_fpu_mxcsr(const struct dbt_vcpu *v);
void dbt_fpu_set_mxcsr(struct dbt_vcpu *v, uint32_t mxcsr);
uint32_t dbt_fpu_live_mxcsr(void);
void dbt_fpu_set_live_mxcsr(uint32_t mxcsr);

/* The x87 state and MXCSR while entered, as an FXSAVE64 image without XMM registers. */
void dbt_fpu_read(const struct dbt_vcpu *v, uint8_t ret_image[static 512]);
void dbt_fpu_write(struct dbt_vcpu *v, const uint8_t image[static 512]);
void dbt_fpu_initial_image(uint8_t ret_image[static 512]); /* of XRSTOR's initial configuration */

/* Raises #MF if an unmasked x87 exception is pending: before every waiting instruction. */
void dbt_x87_check(struct dbt_vcpu *v);

/* What decides whether one can be pending has changed: keeps MODE_X87_UNMASKED true, and ends the block if it is another now. */
void dbt_fpu_note_x87_masks(struct dbt_vcpu *v, uint16_t control, uint16_t status);

/* Calls a thunk while the guest has SIMD exceptions unmasked: raises #XM (or #UD) if the host's unit traps. */
void dbt_fpu_run_unmasked(struct dbt_vcpu *v, void (*thunk)(struct dbt_vcpu *v, void *memory), void *memory);

/* XSAVE components (SDM vol. 1 ch. 13). offered: what XCR0 may hold for this guest. save and load move component i >= 2 of the
 * first `registers` (8 or 16) vector registers; source NULL loads the initial configuration. */
uint64_t dbt_xstate_offered(const struct dbt_vcpu *v);

/* Takes over where the vCPU's CPUID has the components; and gives those of all vCPUs another place (engine.h). */
void dbt_xsave_take_layout(struct dbt_vcpu *v);
void dbt_xsave_set_layout(struct engine_vm *engine_vm, const struct cpuid_xsave_layout *layout);
void dbt_xstate_save(const struct dbt_vcpu *v, unsigned i, unsigned registers, uint8_t *target);
void dbt_xstate_load(struct dbt_vcpu *v, unsigned i, unsigned registers, const uint8_t *source);
void dbt_xstate_load_xmm(struct dbt_vcpu *v, unsigned registers, const uint8_t *source);

/* Makes the process ready to take the guest's unmasked SIMD exceptions; when a vCPU is made, since its thread may be confined
 * later. */
void dbt_fpu_trap_prepare(void);

#endif
