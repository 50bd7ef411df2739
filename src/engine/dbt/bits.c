/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bit tests and scans: BT BTS BTR BTC, BSF BSR. */
#include "engine/dbt/alu.h"

#define SCAN(name, insn, bits, suffix)                                                                            \
    static inline void name##_value##bits(struct dbt_vcpu *v, const struct op *op, uint##bits##_t s)               \
    {                                                                                                             \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                    \
        uint##bits##_t d = DBT_GET##bits(v, op->reg[0]);                                                           \
        __asm__(ASM_FLAGS_IN insn suffix " %[s], %[d]" ASM_FLAGS_OUT : [d] "+r"(d), "+a"(ax) : [s] "r"(s) : "cc"); \
        dbt_flags_store(v, ax);                                                                                   \
        if (s != 0) /* otherwise the destination keeps all 64 bits on today's CPUs */                             \
            DBT_SET##bits(v, op->reg[0], d);                                                                      \
    }                                                                                                             \
    static void name##_r##bits(struct dbt_vcpu *v, const struct op *op)                                            \
    {                                                                                                             \
        name##_value##bits(v, op, DBT_GET##bits(v, op->reg[1]));                                                   \
    }                                                                                                             \
    static void name##_m##bits(struct dbt_vcpu *v, const struct op *op)                                            \
    {                                                                                                             \
        name##_value##bits(v, op, dbt_load##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_READ)));                 \
    }
SCAN(bsf, "bsf", 16, "w")
SCAN(bsf, "bsf", 32, "l")
SCAN(bsf, "bsf", 64, "q")
SCAN(bsr, "bsr", 16, "w")
SCAN(bsr, "bsr", 32, "l")
SCAN(bsr, "bsr", 64, "q")

/* A register bit offset reaches outside of the operand: the address moves by whole operands. */
static uint64_t bit_string_address(struct dbt_vcpu *v, const struct op *op, int64_t bit, unsigned access)
{
    unsigned width = op->size * 8u;
    uint64_t offset = dbt_offset(v, op) + (uint64_t)((bit >> __builtin_ctz(width)) * (int64_t)op->size);

    if (op->flags & OP_ADDRESS_SLOW) {
        offset = (op->flags & OP_ADDRESS16) ? (uint16_t)offset : (op->flags & OP_ADDRESS32) ? (uint32_t)offset : offset;
        return dbt_segment_address(v, op->segment, offset, op->size, access);
    }
    return offset + v->segment_base[op->address_segment];
}

#define BIT_TEST(name, insn, bits, suffix, type, write)                                                             \
    static void name##_r##bits(struct dbt_vcpu *v, const struct op *op)                                              \
    {                                                                                                               \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                      \
        uint##bits##_t d = DBT_GET##bits(v, op->reg[0]);                                                             \
        uint##bits##_t bit = op->argument ? DBT_GET##bits(v, op->reg[1]) : (uint##bits##_t)op->immediate;            \
        bit &= (bits) - 1;                                                                                          \
        __asm__(ASM_FLAGS_IN insn suffix " %[s], %[d]" ASM_FLAGS_OUT : [d] "+r"(d), "+a"(ax) : [s] "r"(bit) : "cc"); \
        dbt_flags_store(v, ax);                                                                                     \
        if (write)                                                                                                  \
            DBT_SET##bits(v, op->reg[0], d);                                                                        \
    }                                                                                                               \
    static void name##_m##bits(struct dbt_vcpu *v, const struct op *op)                                              \
    {                                                                                                               \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                      \
        unsigned access = (write) ? ACCESS_READ | ACCESS_WRITE : ACCESS_READ;                                       \
        int64_t bit = op->argument ? (type)DBT_GET##bits(v, op->reg[0]) : (int64_t)(op->immediate & ((bits) - 1));   \
        uint##bits##_t s = (uint##bits##_t)bit & ((bits) - 1);                                                      \
        uint8_t bounce[8];                                                                                          \
        uint64_t linear = bit_string_address(v, op, bit, access);                                                   \
        uint##bits##_t_unaligned *p = dbt_access_begin(v, linear, (bits) / 8, access, bounce);                                \
        if (op->flags & OP_LOCK)                                                                                    \
            __asm__ volatile(ASM_FLAGS_IN "lock " insn suffix " %[s], %[p]" ASM_FLAGS_OUT                           \
                             : [p] "+m"(*p), "+a"(ax)                                                               \
                             : [s] "r"(s)                                                                           \
                             : "cc", "memory");                                                                     \
        else                                                                                                        \
            __asm__ volatile(ASM_FLAGS_IN insn suffix " %[s], %[p]" ASM_FLAGS_OUT                                   \
                             : [p] "+m"(*p), "+a"(ax)                                                               \
                             : [s] "r"(s)                                                                           \
                             : "cc", "memory");                                                                     \
        dbt_flags_store(v, ax);                                                                                     \
        dbt_access_end(v, linear, (bits) / 8, access, p, bounce);                                                   \
    }

/* BT can't be locked, so its memory form has no locked half. */
#define BIT_READ(bits, suffix, type)                                                                                \
    static void bt_r##bits(struct dbt_vcpu *v, const struct op *op)                                                  \
    {                                                                                                               \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                      \
        uint##bits##_t bit = op->argument ? DBT_GET##bits(v, op->reg[1]) : (uint##bits##_t)op->immediate;            \
        __asm__(ASM_FLAGS_IN "bt" suffix " %[s], %[d]" ASM_FLAGS_OUT                                                \
                : "+a"(ax)                                                                                          \
                : [s] "r"(bit), [d] "r"(DBT_GET##bits(v, op->reg[0]))                                               \
                : "cc");                                                                                            \
        dbt_flags_store(v, ax);                                                                                     \
    }                                                                                                               \
    static void bt_m##bits(struct dbt_vcpu *v, const struct op *op)                                                  \
    {                                                                                                               \
        uint32_t ax = (uint32_t)v->flags << 8;                                                                      \
        int64_t bit = op->argument ? (type)DBT_GET##bits(v, op->reg[0]) : (int64_t)(op->immediate & ((bits) - 1));   \
        uint##bits##_t d = dbt_load##bits(v, bit_string_address(v, op, bit, ACCESS_READ));                          \
        __asm__(ASM_FLAGS_IN "bt" suffix " %[s], %[d]" ASM_FLAGS_OUT                                                \
                : "+a"(ax)                                                                                          \
                : [s] "r"((uint##bits##_t)bit), [d] "r"(d)                                                          \
                : "cc");                                                                                            \
        dbt_flags_store(v, ax);                                                                                     \
    }
BIT_READ(16, "w", int16_t)
BIT_READ(32, "l", int32_t)
BIT_READ(64, "q", int64_t)

#define BIT_FAMILY(name, insn)                     \
    BIT_TEST(name, insn, 16, "w", int16_t, true)   \
    BIT_TEST(name, insn, 32, "l", int32_t, true)   \
    BIT_TEST(name, insn, 64, "q", int64_t, true)
BIT_FAMILY(bts, "bts")
BIT_FAMILY(btr, "btr")
BIT_FAMILY(btc, "btc")

struct row {
    ZydisMnemonic mnemonic;
    op_fn *reg[4], *memory[4];
};

#define ROW(mnemonic_, name)                                                     \
    {ZYDIS_MNEMONIC_##mnemonic_, {NULL, name##_r16, name##_r32, name##_r64},      \
     {NULL, name##_m16, name##_m32, name##_m64}}

static const struct row bit_rows[] = {ROW(BT, bt), ROW(BTS, bts), ROW(BTR, btr), ROW(BTC, btc)};
static const struct row scan_rows[] = {ROW(BSF, bsf), ROW(BSR, bsr)};

op_fn *dbt_bind_bits(const struct decode *d, struct op *op)
{
    for (unsigned i = 0; i < ARRAY_SIZE(scan_rows); i++)
        if (scan_rows[i].mnemonic == d->instruction->mnemonic)
            return (dbt_is_memory(d, 1) ? scan_rows[i].memory : scan_rows[i].reg)[dbt_size_index(op)];
    for (unsigned i = 0; i < ARRAY_SIZE(bit_rows); i++)
        if (bit_rows[i].mnemonic == d->instruction->mnemonic) {
            op->argument = dbt_is_register(d, 1);
            return (dbt_is_memory(d, 0) ? bit_rows[i].memory : bit_rows[i].reg)[dbt_size_index(op)];
        }
    return NULL;
}
