/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Building blocks of the integer handlers: operands by size, flags in and out of the host's own instructions.
 *
 * The host has the guest's instruction set, so an ALU operation is done by the very instruction, and its flags are the
 * silicon's, those that the manuals leave undefined included. */
#ifndef FERRY_ENGINE_DBT_ALU_H
#define FERRY_ENGINE_DBT_ALU_H

#include "engine/dbt/exception.h"
#include "engine/dbt/softmmu.h"

/* After the operation in an asm statement that has "=&a"(ax) as an output; then dbt_flags_store(v, ax). */
#define ASM_FLAGS_OUT "\n\tlahf\n\tseto %%al"
/* Before it: CF alone, from [f] "r"((uint32_t)v->flags); or all but OF, from "a" holding v->flags << 8. */
#define ASM_CARRY_IN "bt $0, %[f]\n\t"
#define ASM_FLAGS_IN "sahf\n\t"

static inline void dbt_flags_store(struct dbt_vcpu *v, uint32_t ax)
{
    uint16_t both = (uint16_t)ax;

    memcpy(&v->overflow, &both, sizeof(both));
}

#define DBT_GET8(v, n) (*gpr8(v, n))
#define DBT_GET16(v, n) (*gpr16(v, n))
#define DBT_GET32(v, n) (gpr32(v, n))
#define DBT_GET64(v, n) ((v)->gpr[n])
#define DBT_SET8(v, n, x) (*gpr8(v, n) = (x))
#define DBT_SET16(v, n, x) (*gpr16(v, n) = (x))
#define DBT_SET32(v, n, x) ((v)->gpr[n] = (uint32_t)(x))
#define DBT_SET64(v, n, x) ((v)->gpr[n] = (x))

/* A memory destination: declares p (of the operand's type) around the work. */
#define DBT_RMW_BEGIN(v, op, type)                                                                       \
    uint8_t bounce_[8];                                                                                  \
    uint64_t linear_ = dbt_address(v, op, sizeof(type), ACCESS_READ | ACCESS_WRITE);                     \
    type##_unaligned *p = dbt_access_begin(v, linear_, sizeof(type), ACCESS_READ | ACCESS_WRITE, bounce_)
#define DBT_RMW_END(v, type) dbt_access_end(v, linear_, sizeof(type), ACCESS_READ | ACCESS_WRITE, p, bounce_)

/* Index 0..3 for an operand of 1, 2, 4 or 8 bytes. */
static inline unsigned dbt_size_index(const struct op *op)
{
    return (unsigned)__builtin_ctz(op->size);
}

/* A handler for each size. */
#define DBT_SIZES(name) {name##8, name##16, name##32, name##64}

enum dbt_condition { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

static inline bool dbt_condition(const struct dbt_vcpu *v, enum dbt_condition condition)
{
    bool sign_differs = ((v->flags >> 7) & 1) != v->overflow, result;

    switch (condition >> 1) {
    case 0: result = v->overflow; break;
    case 1: result = v->flags & X86_CF; break;
    case 2: result = v->flags & X86_ZF; break;
    case 3: result = v->flags & (X86_CF | X86_ZF); break;
    case 4: result = v->flags & X86_SF; break;
    case 5: result = v->flags & X86_PF; break;
    case 6: result = sign_differs; break;
    default: result = sign_differs || (v->flags & X86_ZF); break;
    }
    return result ^ (condition & 1);
}

#define DBT_FOR_CONDITIONS(M) \
    M(O) M(NO) M(B) M(AE) M(E) M(NE) M(BE) M(A) M(S) M(NS) M(P) M(NP) M(L) M(GE) M(LE) M(G)

/* The condition of Jcc, SETcc, CMOVcc by mnemonic, or -1. */
int dbt_jump_condition(ZydisMnemonic mnemonic);
int dbt_set_condition(ZydisMnemonic mnemonic);
int dbt_move_condition(ZydisMnemonic mnemonic);

/* Shapes of the visible operands, as binders ask for them. */
static inline bool dbt_is_register(const struct decode *d, unsigned n)
{
    return n < d->instruction->operand_count_visible && d->operand[n].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

static inline bool dbt_is_memory(const struct decode *d, unsigned n)
{
    return n < d->instruction->operand_count_visible && d->operand[n].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static inline bool dbt_is_immediate(const struct decode *d, unsigned n)
{
    return n < d->instruction->operand_count_visible && d->operand[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

/* Families of the integer binder. */
op_fn *dbt_bind_alu(const struct decode *d, struct op *op);
op_fn *dbt_bind_shift(const struct decode *d, struct op *op);
op_fn *dbt_bind_bits(const struct decode *d, struct op *op);
op_fn *dbt_bind_multiply(const struct decode *d, struct op *op);
op_fn *dbt_bind_move(const struct decode *d, struct op *op);
op_fn *dbt_bind_exchange(const struct decode *d, struct op *op);
op_fn *dbt_bind_stack(const struct decode *d, struct op *op);
op_fn *dbt_bind_decimal(const struct decode *d, struct op *op);

/* Stack in every mode: 64-, 32- or 16-bit stack pointer. Push stores before it moves the pointer. */
void dbt_push(struct dbt_vcpu *v, uint64_t value, unsigned size);
uint64_t dbt_pop(struct dbt_vcpu *v, unsigned size);

#endif
