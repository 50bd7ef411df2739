/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Thunks: the guest's own instruction, wrapped so that it can be called from C.
 *
 * A thunk loads the registers that the instruction uses from the vCPU, runs it on the host, and stores what it changed.
 * General registers are renamed to scratch registers of the host and the memory operand is replaced by the pointer that the
 * thunk is called with, so nothing of the host is reachable from the guest's operands. x87 and MMX registers and MXCSR are in
 * the host's units already (fpu.h). Legacy SSE instructions leave the upper halves of the vector registers alone, VEX and EVEX
 * encoded ones zero them, as silicon does.
 *
 * Equal thunks are shared. Each vCPU has a cache of its own, touched by its thread only. */
#ifndef FERRY_ENGINE_DBT_THUNK_H
#define FERRY_ENGINE_DBT_THUNK_H

#include "engine/dbt/emit.h"
#include "engine/dbt/op.h"

/* memory: host address of the memory operand, NULL if the instruction has none. It must not be able to fault: the caller has
 * checked alignment and access. */
typedef void thunk_fn(struct dbt_vcpu *v, void *memory);

/* Makes and frees v->thunks. -ENOMEM, or why executable memory can't be had. */
int dbt_thunks_new(struct dbt_vcpu *v);
void dbt_thunks_free(struct dbt_vcpu *v); /* accepts a vCPU without */

/* Whether less than what one block may need is left: then the owner of the blocks drops them all and calls clear before it
 * decodes another block. */
bool dbt_thunks_full(const struct dbt_vcpu *v);
void dbt_thunks_clear(struct dbt_vcpu *v);

/* Bytes of the table by which they are found, about: a thunk has touched a page of it. For the statistics. */
size_t dbt_thunks_used(const struct dbt_vcpu *v);

/* The thunk of a decoded instruction, or NULL when the cache is full. THUNK_WITHOUT_REP leaves the F3 prefix out: TZCNT and
 * LZCNT on a CPU that does not know them. */
enum { THUNK_WITHOUT_REP = 1 << 0 };
thunk_fn *dbt_thunk(const struct decode *d, unsigned flags);

/* How a guest instruction stands in host code: the encoding half, for translations too.
 * gpr: which host register (0..15) stands for each guest register; memory: where the memory operand is (of EVEX: without displacement).
 * Returns the length. */
#define THUNK_INSTRUCTION_MAX 22
#define THUNK_HIGH_BYTE 11 /* host register that holds a copy of AH, CH, DH or BH */
unsigned dbt_thunk_encode(const struct decode *d, const uint8_t gpr[static 16], struct host_memory memory, unsigned flags,
                          uint8_t ret_bytes[static THUNK_INSTRUCTION_MAX]);

/* Number of a general register operand's register, 0..15; AH CH DH BH count as the register they are in. */
unsigned dbt_thunk_gpr_number(ZydisRegister reg);
bool dbt_thunk_is_gpr(ZydisRegister reg);

static inline bool dbt_thunk_is_high_byte(ZydisRegister reg)
{
    return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

#endif
