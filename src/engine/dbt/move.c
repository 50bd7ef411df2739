/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Data movement without side effects: MOV, MOVZX, MOVSX, LEA, CMOVcc, SETcc, BSWAP, MOVBE, XLAT, flag instructions, NOPs. */
#include <sched.h>

#include "engine/dbt/alu.h"

#define PAUSES_PER_YIELD 128

#define MOVES(bits)                                                                                              \
    static void mov_rr##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                            \
        DBT_SET##bits(v, op->reg[0], DBT_GET##bits(v, op->reg[1]));                                              \
    }                                                                                                            \
    static void mov_ri##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                            \
        DBT_SET##bits(v, op->reg[0], (uint##bits##_t)op->immediate);                                             \
    }                                                                                                            \
    static void mov_rm##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                            \
        DBT_SET##bits(v, op->reg[0], dbt_load##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_READ)));            \
    }                                                                                                            \
    static void mov_mr##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                            \
        dbt_store##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_WRITE), DBT_GET##bits(v, op->reg[0]));           \
    }                                                                                                            \
    static void mov_mi##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                            \
        dbt_store##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_WRITE), (uint##bits##_t)op->immediate);          \
    }                                                                                                            \
    static void movbe_rm##bits(struct dbt_vcpu *v, const struct op *op)                                           \
    {                                                                                                            \
        uint##bits##_t value = dbt_load##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_READ));                    \
        DBT_SET##bits(v, op->reg[0], BSWAP##bits(value));                                                        \
    }                                                                                                            \
    static void movbe_mr##bits(struct dbt_vcpu *v, const struct op *op)                                           \
    {                                                                                                            \
        uint##bits##_t value = DBT_GET##bits(v, op->reg[0]);                                                     \
        dbt_store##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_WRITE), BSWAP##bits(value));                     \
    }                                                                                                            \
    static void moffs_load##bits(struct dbt_vcpu *v, const struct op *op)                                    \
    {                                                                                                            \
        uint64_t linear = dbt_segment_address(v, op->segment, op->immediate, (bits) / 8, ACCESS_READ);            \
        DBT_SET##bits(v, X86_RAX, dbt_load##bits(v, linear));                                                    \
    }                                                                                                            \
    static void moffs_store##bits(struct dbt_vcpu *v, const struct op *op)                                   \
    {                                                                                                            \
        uint64_t linear = dbt_segment_address(v, op->segment, op->immediate, (bits) / 8, ACCESS_WRITE);           \
        dbt_store##bits(v, linear, DBT_GET##bits(v, X86_RAX));                                                   \
    }
#define BSWAP8(x) (x)
#define BSWAP16(x) __builtin_bswap16(x)
#define BSWAP32(x) __builtin_bswap32(x)
#define BSWAP64(x) __builtin_bswap64(x)
MOVES(8)
MOVES(16)
MOVES(32)
MOVES(64)

#define EXTENDS(name, from, to, type)                                                                              \
    static void name##_r##from##to(struct dbt_vcpu *v, const struct op *op)                                         \
    {                                                                                                              \
        DBT_SET##to(v, op->reg[0], (uint##to##_t)(type##to##_t)(type##from##_t)DBT_GET##from(v, op->reg[1]));       \
    }                                                                                                              \
    static void name##_m##from##to(struct dbt_vcpu *v, const struct op *op)                                         \
    {                                                                                                              \
        type##from##_t value = (type##from##_t)dbt_load##from(v, dbt_address(v, op, (from) / 8, ACCESS_READ));      \
        DBT_SET##to(v, op->reg[0], (uint##to##_t)(type##to##_t)value);                                              \
    }
EXTENDS(movzx, 8, 16, uint)
EXTENDS(movzx, 8, 32, uint)
EXTENDS(movzx, 8, 64, uint)
EXTENDS(movzx, 16, 16, uint)
EXTENDS(movzx, 16, 32, uint)
EXTENDS(movzx, 16, 64, uint)
EXTENDS(movsx, 8, 16, int)
EXTENDS(movsx, 8, 32, int)
EXTENDS(movsx, 8, 64, int)
EXTENDS(movsx, 16, 16, int)
EXTENDS(movsx, 16, 32, int)
EXTENDS(movsx, 16, 64, int)
EXTENDS(movsx, 32, 16, int)
EXTENDS(movsx, 32, 32, int)
EXTENDS(movsx, 32, 64, int)

static void lea16(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET16(v, op->reg[0], (uint16_t)dbt_offset(v, op));
}

static void lea32(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET32(v, op->reg[0], dbt_offset(v, op));
}

static void lea64(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[op->reg[0]] = dbt_offset(v, op);
}

static void bswap16(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET16(v, op->reg[0], 0); /* undefined; this is what the silicon gives */
}

static void bswap32(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET32(v, op->reg[0], __builtin_bswap32(gpr32(v, op->reg[0])));
}

static void bswap64(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[op->reg[0]] = __builtin_bswap64(v->gpr[op->reg[0]]);
}

/* A memory source is read, and may fault, whatever the condition; a 32-bit destination is zero-extended either way. */
#define CMOV(cc)                                                                                        \
    static void cmov##cc##16(struct dbt_vcpu *v, const struct op *op)                                    \
    {                                                                                                   \
        uint16_t s = (op->flags & OP_MEMORY) ? dbt_load16(v, dbt_address(v, op, 2, ACCESS_READ))         \
                                             : DBT_GET16(v, op->reg[1]);                                \
        if (dbt_condition(v, CC_##cc))                                                                  \
            DBT_SET16(v, op->reg[0], s);                                                                \
    }                                                                                                   \
    static void cmov##cc##32(struct dbt_vcpu *v, const struct op *op)                                    \
    {                                                                                                   \
        uint32_t s = (op->flags & OP_MEMORY) ? dbt_load32(v, dbt_address(v, op, 4, ACCESS_READ))         \
                                             : gpr32(v, op->reg[1]);                                    \
        DBT_SET32(v, op->reg[0], dbt_condition(v, CC_##cc) ? s : gpr32(v, op->reg[0]));                 \
    }                                                                                                   \
    static void cmov##cc##64(struct dbt_vcpu *v, const struct op *op)                                    \
    {                                                                                                   \
        uint64_t s = (op->flags & OP_MEMORY) ? dbt_load64(v, dbt_address(v, op, 8, ACCESS_READ))         \
                                             : v->gpr[op->reg[1]];                                      \
        if (dbt_condition(v, CC_##cc))                                                                  \
            v->gpr[op->reg[0]] = s;                                                                     \
    }                                                                                                   \
    static void set##cc(struct dbt_vcpu *v, const struct op *op)                                         \
    {                                                                                                   \
        if (op->flags & OP_MEMORY)                                                                      \
            dbt_store8(v, dbt_address(v, op, 1, ACCESS_WRITE), dbt_condition(v, CC_##cc));               \
        else                                                                                            \
            *gpr8(v, op->reg[0]) = dbt_condition(v, CC_##cc);                                           \
    }
DBT_FOR_CONDITIONS(CMOV)

#define CMOV_ROW(cc) {NULL, cmov##cc##16, cmov##cc##32, cmov##cc##64},
static op_fn *const cmov[16][4] = {DBT_FOR_CONDITIONS(CMOV_ROW)};
#define SET_ROW(cc) set##cc,
static op_fn *const set[16] = {DBT_FOR_CONDITIONS(SET_ROW)};

static void xlat(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t offset = v->gpr[X86_RBX] + (uint8_t)v->gpr[X86_RAX];

    offset = (op->flags & OP_ADDRESS16) ? (uint16_t)offset : (op->flags & OP_ADDRESS32) ? (uint32_t)offset : offset;
    DBT_SET8(v, 0, dbt_load8(v, dbt_segment_address(v, op->segment, offset, 1, ACCESS_READ)));
}

static void lahf(struct dbt_vcpu *v, const struct op *op)
{
    *gpr8(v, 1) = v->flags;
}

static void sahf(struct dbt_vcpu *v, const struct op *op)
{
    v->flags = (uint8_t)((*gpr8(v, 1) & (X86_SF | X86_ZF | X86_AF | X86_PF | X86_CF)) | 2);
}

static void clc(struct dbt_vcpu *v, const struct op *op)
{
    v->flags &= (uint8_t)~X86_CF;
}

static void stc(struct dbt_vcpu *v, const struct op *op)
{
    v->flags |= X86_CF;
}

static void cmc(struct dbt_vcpu *v, const struct op *op)
{
    v->flags ^= X86_CF;
}

static void cld(struct dbt_vcpu *v, const struct op *op)
{
    v->rflags &= ~(uint64_t)X86_DF;
}

static void std(struct dbt_vcpu *v, const struct op *op)
{
    v->rflags |= X86_DF;
}

static void nop(struct dbt_vcpu *v, const struct op *op)
{
}

/* Whoever pauses that often waits for a vCPU that may itself be waiting for this processor. */
static void pause(struct dbt_vcpu *v, const struct op *op)
{
    __builtin_ia32_pause();
    if (--v->pauses_left > 0)
        return;
    v->pauses_left = PAUSES_PER_YIELD;
    sched_yield();
}

static op_fn *bind_mov(const struct decode *d, struct op *op)
{
    static op_fn *const rr[4] = DBT_SIZES(mov_rr), *const ri[4] = DBT_SIZES(mov_ri), *const rm[4] = DBT_SIZES(mov_rm),
                        *const mr[4] = DBT_SIZES(mov_mr), *const mi[4] = DBT_SIZES(mov_mi),
                        *const load[4] = DBT_SIZES(moffs_load), *const store[4] = DBT_SIZES(moffs_store);
    unsigned size = dbt_size_index(op);

    for (unsigned i = 0; i < 2; i++)
        if (dbt_is_register(d, i)) {
            ZydisRegisterClass class = ZydisRegisterGetClass(d->operand[i].reg.value);

            if (class == ZYDIS_REGCLASS_SEGMENT || class == ZYDIS_REGCLASS_CONTROL || class == ZYDIS_REGCLASS_DEBUG ||
                class == ZYDIS_REGCLASS_TEST)
                return NULL;
        }
    if (d->instruction->opcode >= 0xa0 && d->instruction->opcode <= 0xa3) {
        const ZydisDecodedOperandMem *m = &d->operand[dbt_is_memory(d, 0) ? 0 : 1].mem;

        op->immediate = truncate_to((uint64_t)m->disp.value, d->instruction->address_width / 8u);
        return dbt_is_memory(d, 0) ? store[size] : load[size];
    }
    if (dbt_is_memory(d, 0))
        return dbt_is_immediate(d, 1) ? mi[size] : mr[size];
    return dbt_is_register(d, 1) ? rr[size] : dbt_is_memory(d, 1) ? rm[size] : ri[size];
}

static op_fn *bind_extend(const struct decode *d, struct op *op)
{
    static op_fn *const zero[2][2][4] = {
        {{NULL, movzx_r816, movzx_r832, movzx_r864}, {NULL, movzx_r1616, movzx_r1632, movzx_r1664}},
        {{NULL, movzx_m816, movzx_m832, movzx_m864}, {NULL, movzx_m1616, movzx_m1632, movzx_m1664}}};
    static op_fn *const sign[2][3][4] = {
        {{NULL, movsx_r816, movsx_r832, movsx_r864}, {NULL, movsx_r1616, movsx_r1632, movsx_r1664},
         {NULL, movsx_r3216, movsx_r3232, movsx_r3264}},
        {{NULL, movsx_m816, movsx_m832, movsx_m864}, {NULL, movsx_m1616, movsx_m1632, movsx_m1664},
         {NULL, movsx_m3216, movsx_m3232, movsx_m3264}}};
    bool memory = dbt_is_memory(d, 1);
    unsigned from = (unsigned)__builtin_ctz(d->operand[1].size / 8u), to = dbt_size_index(op);

    if (d->instruction->mnemonic == ZYDIS_MNEMONIC_MOVZX)
        return zero[memory][from][to];
    return sign[memory][from][to];
}

static op_fn *bind_xlat(const struct decode *d, struct op *op)
{
    op->flags &= (uint8_t)~OP_MEMORY;
    if (d->instruction->address_width == 32)
        op->flags |= OP_ADDRESS32;
    else if (d->instruction->address_width == 16)
        op->flags |= OP_ADDRESS16;
    return xlat;
}

op_fn *dbt_bind_move(const struct decode *d, struct op *op)
{
    static op_fn *const lea[4] = {NULL, lea16, lea32, lea64}, *const bswap[4] = {NULL, bswap16, bswap32, bswap64};
    static op_fn *const movbe[2][4] = {DBT_SIZES(movbe_rm), DBT_SIZES(movbe_mr)};
    ZydisMnemonic mnemonic = d->instruction->mnemonic;
    unsigned size = dbt_size_index(op);
    int condition = dbt_move_condition(mnemonic);

    if (condition >= 0)
        return cmov[condition][size];
    condition = dbt_set_condition(mnemonic);
    if (condition >= 0)
        return set[condition];
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOV: return bind_mov(d, op);
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD: return bind_extend(d, op);
    case ZYDIS_MNEMONIC_LEA: return lea[size];
    case ZYDIS_MNEMONIC_BSWAP: return bswap[size];
    case ZYDIS_MNEMONIC_MOVBE: return dbt_cpuid_bit(d->v, 1, 0, CPUID_ECX, 22) ? movbe[dbt_is_memory(d, 0)][size] : NULL;
    case ZYDIS_MNEMONIC_XLAT: return bind_xlat(d, op);
    case ZYDIS_MNEMONIC_LAHF: return lahf;
    case ZYDIS_MNEMONIC_SAHF: return sahf;
    case ZYDIS_MNEMONIC_CLC: return clc;
    case ZYDIS_MNEMONIC_STC: return stc;
    case ZYDIS_MNEMONIC_CMC: return cmc;
    case ZYDIS_MNEMONIC_CLD: return cld;
    case ZYDIS_MNEMONIC_STD: return std;
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_NOP: return nop;
    case ZYDIS_MNEMONIC_PAUSE: return d->instruction->raw.rex.B ? NULL : pause; /* with REX.B: see vector_special.c */
    default: return NULL;
    }
}
