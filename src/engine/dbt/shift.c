/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shifts and rotates: SHL SHR SAR ROL ROR RCL RCR SHLD SHRD. A count of zero leaves the flags alone. */
#include "engine/dbt/alu.h"

/* The host masks the count as the guest's CPU would. Flags go in first: rotates keep most of them. */
#define SHIFT(name, insn, bits, suffix)                                                                             \
    static inline uint##bits##_t name##_value##bits(struct dbt_vcpu *v, uint##bits##_t d, uint8_t count)            \
    {                                                                                                               \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                      \
        if ((count & ((bits) == 64 ? 63 : 31)) == 0)                                                                \
            return d;                                                                                               \
        __asm__(ASM_FLAGS_IN insn suffix " %%cl, %[d]" ASM_FLAGS_OUT : [d] "+q"(d), "+a"(ax) : "c"(count) : "cc");   \
        dbt_flags_store(v, ax);                                                                                     \
        return d;                                                                                                   \
    }                                                                                                               \
    static void name##_ri##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                               \
        DBT_SET##bits(v, op->reg[0],                                                                                \
                      name##_value##bits(v, DBT_GET##bits(v, op->reg[0]), (uint8_t)op->immediate));                 \
    }                                                                                                               \
    static void name##_rc##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                               \
        DBT_SET##bits(v, op->reg[0],                                                                                \
                      name##_value##bits(v, DBT_GET##bits(v, op->reg[0]), (uint8_t)v->gpr[X86_RCX]));               \
    }                                                                                                               \
    static void name##_mi##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                               \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                       \
        *p = name##_value##bits(v, *p, (uint8_t)op->immediate);                                                     \
        DBT_RMW_END(v, uint##bits##_t);                                                                             \
    }                                                                                                               \
    static void name##_mc##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                               \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                       \
        *p = name##_value##bits(v, *p, (uint8_t)v->gpr[X86_RCX]);                                                   \
        DBT_RMW_END(v, uint##bits##_t);                                                                             \
    }

#define SHIFT_FAMILY(name, insn) \
    SHIFT(name, insn, 8, "b")    \
    SHIFT(name, insn, 16, "w")   \
    SHIFT(name, insn, 32, "l")   \
    SHIFT(name, insn, 64, "q")

SHIFT_FAMILY(shl, "shl")
SHIFT_FAMILY(shr, "shr")
SHIFT_FAMILY(sar, "sar")
SHIFT_FAMILY(rol, "rol")
SHIFT_FAMILY(ror, "ror")
SHIFT_FAMILY(rcl, "rcl")
SHIFT_FAMILY(rcr, "rcr")

#define DOUBLE_SHIFT(name, insn, bits, suffix)                                                                       \
    static inline uint##bits##_t name##_value##bits(struct dbt_vcpu *v, uint##bits##_t d, uint##bits##_t s, uint8_t count) \
    {                                                                                                                \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                       \
        if ((count & ((bits) == 64 ? 63 : 31)) == 0)                                                                 \
            return d;                                                                                                \
        __asm__(ASM_FLAGS_IN insn suffix " %%cl, %[s], %[d]" ASM_FLAGS_OUT                                           \
                : [d] "+r"(d), "+a"(ax)                                                                              \
                : "c"(count), [s] "r"(s)                                                                             \
                : "cc");                                                                                             \
        dbt_flags_store(v, ax);                                                                                      \
        return d;                                                                                                    \
    }                                                                                                                \
    static void name##_r##bits(struct dbt_vcpu *v, const struct op *op)                                               \
    {                                                                                                                \
        uint8_t count = op->argument ? (uint8_t)v->gpr[X86_RCX] : (uint8_t)op->immediate;                            \
        DBT_SET##bits(v, op->reg[0],                                                                                 \
                      name##_value##bits(v, DBT_GET##bits(v, op->reg[0]), DBT_GET##bits(v, op->reg[1]), count));     \
    }                                                                                                                \
    static void name##_m##bits(struct dbt_vcpu *v, const struct op *op)                                               \
    {                                                                                                                \
        uint8_t count = op->argument ? (uint8_t)v->gpr[X86_RCX] : (uint8_t)op->immediate;                            \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                        \
        *p = name##_value##bits(v, *p, DBT_GET##bits(v, op->reg[0]), count);                                         \
        DBT_RMW_END(v, uint##bits##_t);                                                                              \
    }
DOUBLE_SHIFT(shld, "shld", 16, "w")
DOUBLE_SHIFT(shld, "shld", 32, "l")
DOUBLE_SHIFT(shld, "shld", 64, "q")
DOUBLE_SHIFT(shrd, "shrd", 16, "w")
DOUBLE_SHIFT(shrd, "shrd", 32, "l")
DOUBLE_SHIFT(shrd, "shrd", 64, "q")

struct shift {
    ZydisMnemonic mnemonic;
    op_fn *ri[4], *rc[4], *mi[4], *mc[4];
};

#define SHIFT_ROW(mnemonic_, name) \
    {ZYDIS_MNEMONIC_##mnemonic_, DBT_SIZES(name##_ri), DBT_SIZES(name##_rc), DBT_SIZES(name##_mi), DBT_SIZES(name##_mc)}

static const struct shift shifts[] = {
    SHIFT_ROW(SHL, shl), SHIFT_ROW(SHR, shr), SHIFT_ROW(SAR, sar), SHIFT_ROW(ROL, rol),
    SHIFT_ROW(ROR, ror), SHIFT_ROW(RCL, rcl), SHIFT_ROW(RCR, rcr),
};

static op_fn *bind_double(const struct decode *d, struct op *op)
{
    static op_fn *const left[2][4] = {{NULL, shld_r16, shld_r32, shld_r64}, {NULL, shld_m16, shld_m32, shld_m64}};
    static op_fn *const right[2][4] = {{NULL, shrd_r16, shrd_r32, shrd_r64}, {NULL, shrd_m16, shrd_m32, shrd_m64}};

    op->argument = dbt_is_register(d, 2); /* CL */
    return (d->instruction->mnemonic == ZYDIS_MNEMONIC_SHLD ? left : right)[dbt_is_memory(d, 0)][dbt_size_index(op)];
}

op_fn *dbt_bind_shift(const struct decode *d, struct op *op)
{
    if (d->instruction->mnemonic == ZYDIS_MNEMONIC_SHLD || d->instruction->mnemonic == ZYDIS_MNEMONIC_SHRD)
        return bind_double(d, op);
    for (unsigned i = 0; i < ARRAY_SIZE(shifts); i++) {
        bool by_register = dbt_is_register(d, 1), memory = dbt_is_memory(d, 0);

        if (shifts[i].mnemonic == d->instruction->mnemonic)
            return (memory ? (by_register ? shifts[i].mc : shifts[i].mi)
                           : (by_register ? shifts[i].rc : shifts[i].ri))[dbt_size_index(op)];
    }
    return NULL;
}
