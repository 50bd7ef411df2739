/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT, in every size and operand form. */
#include "engine/dbt/alu.h"

/* Two operands, d = d op s, with flags. pre is ASM_CARRY_IN for ADC and SBB. Forms: rr, rm, mr, ri, mi, and locked ones. */
#define TWO_OPERANDS(name, insn, pre, bits, suffix, store)                                                        \
    static inline uint##bits##_t name##_value##bits(struct dbt_vcpu *v, uint##bits##_t d, uint##bits##_t s)        \
    {                                                                                                             \
        uint32_t ax;                                                                                              \
        __asm__(pre insn suffix " %[s], %[d]" ASM_FLAGS_OUT                                                       \
                : [d] "+q"(d), "=&a"(ax)                                                                          \
                : [s] "q"(s), [f] "r"((uint32_t)v->flags)                                                         \
                : "cc");                                                                                          \
        dbt_flags_store(v, ax);                                                                                   \
        return d;                                                                                                 \
    }                                                                                                             \
    static void name##_rr##bits(struct dbt_vcpu *v, const struct op *op)                                           \
    {                                                                                                             \
        uint##bits##_t d = name##_value##bits(v, DBT_GET##bits(v, op->reg[0]), DBT_GET##bits(v, op->reg[1]));      \
        if (store)                                                                                                \
            DBT_SET##bits(v, op->reg[0], d);                                                                      \
    }                                                                                                             \
    static void name##_ri##bits(struct dbt_vcpu *v, const struct op *op)                                           \
    {                                                                                                             \
        uint##bits##_t d = name##_value##bits(v, DBT_GET##bits(v, op->reg[0]), (uint##bits##_t)op->immediate);     \
        if (store)                                                                                                \
            DBT_SET##bits(v, op->reg[0], d);                                                                      \
    }                                                                                                             \
    static void name##_rm##bits(struct dbt_vcpu *v, const struct op *op)                                           \
    {                                                                                                             \
        uint##bits##_t s = dbt_load##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_READ));                         \
        uint##bits##_t d = name##_value##bits(v, DBT_GET##bits(v, op->reg[0]), s);                                 \
        if (store)                                                                                                \
            DBT_SET##bits(v, op->reg[0], d);                                                                      \
    }                                                                                                             \
    static inline void name##_memory##bits(struct dbt_vcpu *v, const struct op *op, uint##bits##_t s)              \
    {                                                                                                             \
        if (store) {                                                                                              \
            uint32_t ax;                                                                                          \
            DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                 \
            __asm__ volatile(pre insn suffix " %[s], %[p]" ASM_FLAGS_OUT                                          \
                             : [p] "+m"(*p), "=&a"(ax)                                                            \
                             : [s] "q"(s), [f] "r"((uint32_t)v->flags)                                            \
                             : "cc", "memory");                                                                   \
            dbt_flags_store(v, ax);                                                                               \
            DBT_RMW_END(v, uint##bits##_t);                                                                       \
        } else {                                                                                                  \
            name##_value##bits(v, dbt_load##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_READ)), s);              \
        }                                                                                                         \
    }                                                                                                             \
    static void name##_mr##bits(struct dbt_vcpu *v, const struct op *op)                                           \
    {                                                                                                             \
        name##_memory##bits(v, op, DBT_GET##bits(v, op->reg[0]));                                                  \
    }                                                                                                             \
    static void name##_mi##bits(struct dbt_vcpu *v, const struct op *op)                                           \
    {                                                                                                             \
        name##_memory##bits(v, op, (uint##bits##_t)op->immediate);                                                 \
    }

/* A locked access whose bytes aren't one piece of RAM (bounced) can't be atomic on the host; the lock serialises those. */
#define LOCKED(name, insn, pre, bits, suffix)                                                                     \
    static inline void name##_locked##bits(struct dbt_vcpu *v, const struct op *op, uint##bits##_t s)              \
    {                                                                                                             \
        uint32_t ax;                                                                                              \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                     \
        __asm__ volatile(pre "lock " insn suffix " %[s], %[p]" ASM_FLAGS_OUT                                      \
                         : [p] "+m"(*p), "=&a"(ax)                                                                \
                         : [s] "q"(s), [f] "r"((uint32_t)v->flags)                                                \
                         : "cc", "memory");                                                                       \
        dbt_flags_store(v, ax);                                                                                   \
        DBT_RMW_END(v, uint##bits##_t);                                                                           \
    }                                                                                                             \
    static void name##_lmr##bits(struct dbt_vcpu *v, const struct op *op)                                          \
    {                                                                                                             \
        name##_locked##bits(v, op, DBT_GET##bits(v, op->reg[0]));                                                  \
    }                                                                                                             \
    static void name##_lmi##bits(struct dbt_vcpu *v, const struct op *op)                                          \
    {                                                                                                             \
        name##_locked##bits(v, op, (uint##bits##_t)op->immediate);                                                 \
    }

#define FAMILY(name, insn, pre)               \
    TWO_OPERANDS(name, insn, pre, 8, "b", 1)  \
    TWO_OPERANDS(name, insn, pre, 16, "w", 1) \
    TWO_OPERANDS(name, insn, pre, 32, "l", 1) \
    TWO_OPERANDS(name, insn, pre, 64, "q", 1) \
    LOCKED(name, insn, pre, 8, "b")           \
    LOCKED(name, insn, pre, 16, "w")          \
    LOCKED(name, insn, pre, 32, "l")          \
    LOCKED(name, insn, pre, 64, "q")

#define COMPARE(name, insn)                  \
    TWO_OPERANDS(name, insn, "", 8, "b", 0)  \
    TWO_OPERANDS(name, insn, "", 16, "w", 0) \
    TWO_OPERANDS(name, insn, "", 32, "l", 0) \
    TWO_OPERANDS(name, insn, "", 64, "q", 0)

FAMILY(add, "add", "")
FAMILY(or, "or", "")
FAMILY(adc, "adc", ASM_CARRY_IN)
FAMILY(sbb, "sbb", ASM_CARRY_IN)
FAMILY(and, "and", "")
FAMILY(sub, "sub", "")
FAMILY(xor, "xor", "")
COMPARE(cmp, "cmp")
COMPARE(test, "test")

/* One operand. INC and DEC keep CF, NOT keeps all flags. */
#define ONE_OPERAND(name, insn, pre, bits, suffix, lock_name, lock)                                               \
    static void name##_##lock_name##m##bits(struct dbt_vcpu *v, const struct op *op)                               \
    {                                                                                                             \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                    \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                     \
        __asm__ volatile(pre lock insn suffix " %[p]" ASM_FLAGS_OUT                                               \
                         : [p] "+m"(*p), "+a"(ax)                                                                 \
                         : [f] "r"((uint32_t)v->flags)                                                            \
                         : "cc", "memory");                                                                       \
        if (insn[1] != 'o')                                                                                       \
            dbt_flags_store(v, ax);                                                                               \
        DBT_RMW_END(v, uint##bits##_t);                                                                           \
    }
#define ONE_REGISTER(name, insn, pre, bits, suffix)                                                               \
    static void name##_r##bits(struct dbt_vcpu *v, const struct op *op)                                            \
    {                                                                                                             \
        uint32_t ax;                                                                                              \
        uint##bits##_t d = DBT_GET##bits(v, op->reg[0]);                                                           \
        __asm__(pre insn suffix " %[d]" ASM_FLAGS_OUT                                                             \
                : [d] "+q"(d), "=&a"(ax)                                                                          \
                : [f] "r"((uint32_t)v->flags)                                                                     \
                : "cc");                                                                                          \
        if (insn[1] != 'o')                                                                                       \
            dbt_flags_store(v, ax);                                                                               \
        DBT_SET##bits(v, op->reg[0], d);                                                                          \
    }
#define ONE_SIZE(name, insn, pre, bits, suffix)             \
    ONE_REGISTER(name, insn, pre, bits, suffix)             \
    ONE_OPERAND(name, insn, pre, bits, suffix, , "")        \
    ONE_OPERAND(name, insn, pre, bits, suffix, l, "lock ")
#define ONE_FAMILY(name, insn, pre)    \
    ONE_SIZE(name, insn, pre, 8, "b")  \
    ONE_SIZE(name, insn, pre, 16, "w") \
    ONE_SIZE(name, insn, pre, 32, "l") \
    ONE_SIZE(name, insn, pre, 64, "q")

ONE_FAMILY(inc, "inc", ASM_CARRY_IN)
ONE_FAMILY(dec, "dec", ASM_CARRY_IN)
ONE_FAMILY(neg, "neg", "")
ONE_FAMILY(not, "not", "")

enum form { FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI, FORM_LMR, FORM_LMI, FORMS };

struct two_operands {
    ZydisMnemonic mnemonic;
    op_fn *handler[FORMS][4];
};

#define ROW(mnemonic_, name)                                                                                        \
    {ZYDIS_MNEMONIC_##mnemonic_,                                                                                     \
     {DBT_SIZES(name##_rr), DBT_SIZES(name##_ri), DBT_SIZES(name##_rm), DBT_SIZES(name##_mr), DBT_SIZES(name##_mi),  \
      DBT_SIZES(name##_lmr), DBT_SIZES(name##_lmi)}}
#define COMPARE_ROW(mnemonic_, name)                                                                                 \
    {ZYDIS_MNEMONIC_##mnemonic_,                                                                                     \
     {DBT_SIZES(name##_rr), DBT_SIZES(name##_ri), DBT_SIZES(name##_rm), DBT_SIZES(name##_mr), DBT_SIZES(name##_mi)}}

static const struct two_operands two_operands[] = {
    ROW(ADD, add), ROW(OR, or), ROW(ADC, adc), ROW(SBB, sbb), ROW(AND, and), ROW(SUB, sub), ROW(XOR, xor),
    COMPARE_ROW(CMP, cmp), COMPARE_ROW(TEST, test),
};

struct one_operand {
    ZydisMnemonic mnemonic;
    op_fn *reg[4], *memory[4], *locked[4];
};

#define ONE_ROW(mnemonic_, name) \
    {ZYDIS_MNEMONIC_##mnemonic_, DBT_SIZES(name##_r), DBT_SIZES(name##_m), DBT_SIZES(name##_lm)}

static const struct one_operand one_operand[] = {ONE_ROW(INC, inc), ONE_ROW(DEC, dec), ONE_ROW(NEG, neg), ONE_ROW(NOT, not)};

static enum form form_of(const struct decode *d, const struct op *op)
{
    bool lock = (op->flags & OP_LOCK) != 0;

    if (dbt_is_memory(d, 0))
        return dbt_is_immediate(d, 1) ? (lock ? FORM_LMI : FORM_MI) : (lock ? FORM_LMR : FORM_MR);
    return dbt_is_register(d, 1) ? FORM_RR : dbt_is_memory(d, 1) ? FORM_RM : FORM_RI;
}

op_fn *dbt_bind_alu(const struct decode *d, struct op *op)
{
    for (unsigned i = 0; i < ARRAY_SIZE(two_operands); i++)
        if (two_operands[i].mnemonic == d->instruction->mnemonic)
            return two_operands[i].handler[form_of(d, op)][dbt_size_index(op)];
    for (unsigned i = 0; i < ARRAY_SIZE(one_operand); i++)
        if (one_operand[i].mnemonic == d->instruction->mnemonic) {
            const struct one_operand *row = &one_operand[i];

            return (dbt_is_register(d, 0) ? row->reg : (op->flags & OP_LOCK) ? row->locked : row->memory)[dbt_size_index(op)];
        }
    return NULL;
}
