/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoded instructions: what a block is made of, and how decoding finds the handler of an instruction.
 *
 * Zydis decodes an instruction once. dbt_decode() fills the operand part of the op, then asks each binder in turn for a
 * handler; the first that returns one wins, and none means #UD. The translator uses the same binders' knowledge. */
#ifndef FERRY_ENGINE_DBT_OP_H
#define FERRY_ENGINE_DBT_OP_H

#include <Zydis/Zydis.h>

#include "engine/dbt/vcpu.h"

/* Executes one instruction. v->gpr[GPR_RIP] is already behind it. */
typedef void op_fn(struct dbt_vcpu *v, const struct op *op);

enum {
    OP_MEMORY = 1 << 0,     /* has an explicit memory operand: base .. displacement are valid */
    OP_ADDRESS_SLOW = 1 << 1, /* 16- or 32-bit addresses, or segment limits to check: dbt_address_slow() */
    OP_ADDRESS32 = 1 << 2,
    OP_ADDRESS16 = 1 << 3,
    OP_LOCK = 1 << 4,
    OP_REP = 1 << 5,        /* F3 in force as REP/REPE */
    OP_REPNE = 1 << 6,
    OP_END = 1 << 7,        /* the block ends behind it: control flow, or the mode may change */
};

struct op {
    op_fn *execute;
    uint8_t length;         /* bytes, 1..15 */
    uint8_t flags;          /* OP_* */
    uint8_t size;           /* operand size in bytes: 1, 2, 4, 8 */
    /* Register operands in order of the explicit operands: numbers 0..15. For 8-bit general registers the byte's offset in
     * gpr[] (number * 8, plus 1 for AH CH DH BH). For others (vector, segment, control) the plain number. */
    uint8_t reg[3];
    /* The explicit memory operand. */
    uint8_t base, index;    /* in gpr[]: GPR_ZERO if absent, GPR_RIP for RIP-relative */
    uint8_t scale;          /* shift: 0..3 */
    uint8_t segment;        /* X86_*; SEGMENT_NONE never occurs here */
    uint8_t address_segment; /* index into segment_base */
    uint8_t memory_size;    /* bytes of the memory operand, 0 if it has none (LEA, INVLPG) or is larger than 255 */
    uint8_t argument;       /* free for the binder */
    uint8_t argument2;
    int32_t displacement;
    uint64_t immediate;     /* sign-extended to 64 bits as the instruction asks; moffs: the address */
    void *extra;            /* free for the binder (a thunk, ...) */
};

struct decode { /* what a binder sees */
    struct dbt_vcpu *v;
    const ZydisDecodedInstruction *instruction;
    const ZydisDecodedOperand *operand; /* all of them; instruction->operand_count_visible explicit and implicit ones */
    const uint8_t *bytes;
    uint32_t mode;              /* MODE_* */
};

/* Each returns the handler and fills op further, or returns NULL: not mine. op->flags may get OP_END. */
op_fn *dbt_bind_integer(const struct decode *d, struct op *op);  /* moves, ALU, shifts, bits, stack */
op_fn *dbt_bind_control(const struct decode *d, struct op *op);  /* near jumps, calls, returns, loops */
op_fn *dbt_bind_string(const struct decode *d, struct op *op);   /* MOVS STOS LODS SCAS CMPS INS OUTS, IN OUT */
op_fn *dbt_bind_system(const struct decode *d, struct op *op);   /* segments, far transfers, interrupts, CR DR MSR, CPUID, ... */
op_fn *dbt_bind_vector(const struct decode *d, struct op *op);   /* x87 MMX SSE AVX BMI AES ..., XSAVE family */

/* Decodes the bytes (avail of them, at most 15) as an instruction in the mode. 1: done; 0: more bytes needed than there are;
 * never fails otherwise: what can't be decoded becomes an op that raises #UD (or #GP if longer than 15 bytes), and what Zydis said is
 * all zeros then. Whoever wants to do this often asks dbt_decoded(). */
int dbt_decode_all(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, uint32_t mode, struct op *ret_op,
                   ZydisDecodedInstruction *ret_instruction, ZydisDecodedOperand ret_operands[static ZYDIS_MAX_OPERAND_COUNT]);

/* Handlers that raise. */
void dbt_op_undefined(struct dbt_vcpu *v, const struct op *op);            /* #UD */
void dbt_op_device_not_available(struct dbt_vcpu *v, const struct op *op); /* #NM */
void dbt_op_general_protection(struct dbt_vcpu *v, const struct op *op);   /* #GP(0) */

/* Stops the running block behind the present instruction. */
static inline void dbt_end_block(struct dbt_vcpu *v)
{
    v->block_end = v->op + 1;
}

/* General registers by operand number. Writing 32 bits clears the upper half; 8 and 16 leave the rest. */
static inline uint8_t *gpr8(struct dbt_vcpu *v, unsigned byte_offset)
{
    return (uint8_t *)v->gpr + byte_offset;
}

static inline uint16_t *gpr16(struct dbt_vcpu *v, unsigned number)
{
    return (uint16_t *)(void *)&v->gpr[number];
}

static inline uint32_t gpr32(const struct dbt_vcpu *v, unsigned number)
{
    return (uint32_t)v->gpr[number];
}

static inline void gpr32_set(struct dbt_vcpu *v, unsigned number, uint32_t value)
{
    v->gpr[number] = value;
}

#endif
