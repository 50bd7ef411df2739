/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MUL IMUL DIV IDIV, and the sign extensions CBW .. CQO. */
#include "engine/dbt/alu.h"

/* One-operand forms work on rDX:rAX (AX for bytes). The value read comes from a register or memory. */
static uint64_t source_value(struct dbt_vcpu *v, const struct op *op)
{
    if (op->flags & OP_MEMORY)
        return dbt_load(v, dbt_address(v, op, op->size, ACCESS_READ), op->size);
    return op->size == 1 ? DBT_GET8(v, op->reg[0]) : truncate_to(v->gpr[op->reg[0]], op->size);
}

/* The result is moved aside first: LAHF and SETO need AX. */
#define WIDE(name, insn, bits, suffix)                                                                   \
    static void name##bits(struct dbt_vcpu *v, const struct op *op)                                       \
    {                                                                                                    \
        uint##bits##_t s = (uint##bits##_t)source_value(v, op);                                           \
        uint64_t a = v->gpr[X86_RAX], low;                                                               \
        uint##bits##_t d = DBT_GET##bits(v, X86_RDX);                                                     \
        __asm__(insn suffix " %[s]\n\tmov %%rax, %[low]" ASM_FLAGS_OUT                                   \
                : "+a"(a), "+d"(d), [low] "=&r"(low)                                                     \
                : [s] "r"(s)                                                                             \
                : "cc");                                                                                 \
        DBT_SET##bits(v, X86_RAX, (uint##bits##_t)low);                                                   \
        DBT_SET##bits(v, X86_RDX, d);                                                                     \
        dbt_flags_store(v, (uint32_t)a);                                                                 \
    }
WIDE(mul, "mul", 16, "w")
WIDE(mul, "mul", 32, "l")
WIDE(mul, "mul", 64, "q")
WIDE(imul, "imul", 16, "w")
WIDE(imul, "imul", 32, "l")
WIDE(imul, "imul", 64, "q")

#define BYTE(name, insn)                                                                    \
    static void name##8(struct dbt_vcpu *v, const struct op *op)                             \
    {                                                                                       \
        uint64_t a = v->gpr[X86_RAX], low;                                                  \
        uint8_t s = (uint8_t)source_value(v, op);                                           \
        __asm__(insn " %[s]\n\tmov %%rax, %[low]" ASM_FLAGS_OUT                             \
                : "+a"(a), [low] "=&r"(low)                                                 \
                : [s] "q"(s)                                                                \
                : "cc");                                                                    \
        DBT_SET16(v, X86_RAX, (uint16_t)low);                                               \
        dbt_flags_store(v, (uint32_t)a);                                                    \
    }
BYTE(mul, "mulb")
BYTE(imul, "imulb")

/* Two- and three-operand IMUL: d = a * b. */
#define IMUL(bits, suffix)                                                                                       \
    static void imul_to##bits(struct dbt_vcpu *v, const struct op *op)                                            \
    {                                                                                                            \
        uint##bits##_t a, b;                                                                                     \
        uint32_t ax;                                                                                             \
        if (op->flags & OP_MEMORY)                                                                               \
            a = dbt_load##bits(v, dbt_address(v, op, (bits) / 8, ACCESS_READ));                                  \
        else                                                                                                     \
            a = DBT_GET##bits(v, op->reg[1]);                                                                    \
        b = op->argument ? (uint##bits##_t)op->immediate : DBT_GET##bits(v, op->reg[0]);                         \
        __asm__("imul" suffix " %[b], %[a]" ASM_FLAGS_OUT : [a] "+r"(a), "=&a"(ax) : [b] "r"(b) : "cc");          \
        dbt_flags_store(v, ax);                                                                                  \
        DBT_SET##bits(v, op->reg[0], a);                                                                         \
    }
IMUL(16, "w")
IMUL(32, "l")
IMUL(64, "q")

static void divide_unsigned(struct dbt_vcpu *v, const struct op *op)
{
    unsigned bits = op->size * 8u;
    uint64_t divisor = source_value(v, op), high, low;
    unsigned __int128 dividend;

    high = op->size == 1 ? v->gpr[X86_RAX] >> 8 & 0xff : truncate_to(v->gpr[X86_RDX], op->size);
    low = truncate_to(v->gpr[X86_RAX], op->size);
    if (high >= divisor) /* also for a divisor of 0 */
        dbt_raise(v, X86_DE);
    if (high == 0) {
        uint64_t quotient = low / divisor, remainder = low % divisor;

        high = remainder;
        low = quotient;
    } else {
        dividend = (unsigned __int128)high << bits | low;
        high = (uint64_t)(dividend % divisor);
        low = (uint64_t)(dividend / divisor);
    }
    switch (op->size) {
    case 1: DBT_SET16(v, X86_RAX, (uint16_t)(high << 8 | (low & 0xff))); break;
    case 2: DBT_SET16(v, X86_RAX, (uint16_t)low); DBT_SET16(v, X86_RDX, (uint16_t)high); break;
    case 4: DBT_SET32(v, X86_RAX, low); DBT_SET32(v, X86_RDX, high); break;
    default: v->gpr[X86_RAX] = low; v->gpr[X86_RDX] = high; break;
    }
}

static int64_t sign_extend(uint64_t value, unsigned bits)
{
    return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

static void divide_signed(struct dbt_vcpu *v, const struct op *op)
{
    unsigned bits = op->size * 8u;
    int64_t divisor = sign_extend(source_value(v, op), bits), quotient, remainder;
    uint64_t high = op->size == 1 ? v->gpr[X86_RAX] >> 8 & 0xff : truncate_to(v->gpr[X86_RDX], op->size);
    uint64_t low = truncate_to(v->gpr[X86_RAX], op->size);
    __int128 dividend = (__int128)(((unsigned __int128)(__int128)sign_extend(high, bits) << bits) | low);

    if (divisor == 0)
        dbt_raise(v, X86_DE);
    if (divisor == -1) { /* the negation alone can overflow on the host, too */
        if (dividend < -(__int128)INT64_MAX || -dividend != sign_extend((uint64_t)-dividend, bits))
            dbt_raise(v, X86_DE);
        quotient = (int64_t)-dividend;
        remainder = 0;
    } else {
        __int128 wide = dividend / divisor;

        quotient = sign_extend((uint64_t)wide, bits);
        if (wide != quotient)
            dbt_raise(v, X86_DE);
        remainder = (int64_t)(dividend % divisor);
    }
    switch (op->size) {
    case 1: DBT_SET16(v, X86_RAX, (uint16_t)((uint16_t)remainder << 8 | (quotient & 0xff))); break;
    case 2: DBT_SET16(v, X86_RAX, (uint16_t)quotient); DBT_SET16(v, X86_RDX, (uint16_t)remainder); break;
    case 4: DBT_SET32(v, X86_RAX, quotient); DBT_SET32(v, X86_RDX, remainder); break;
    default: v->gpr[X86_RAX] = (uint64_t)quotient; v->gpr[X86_RDX] = (uint64_t)remainder; break;
    }
}

static void cbw(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET16(v, X86_RAX, (uint16_t)(int8_t)v->gpr[X86_RAX]);
}

static void cwde(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET32(v, X86_RAX, (int16_t)v->gpr[X86_RAX]);
}

static void cdqe(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[X86_RAX] = (uint64_t)(int32_t)v->gpr[X86_RAX];
}

static void cwd(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET16(v, X86_RDX, (int16_t)v->gpr[X86_RAX] < 0 ? UINT16_MAX : 0);
}

static void cdq(struct dbt_vcpu *v, const struct op *op)
{
    DBT_SET32(v, X86_RDX, (int32_t)v->gpr[X86_RAX] < 0 ? UINT32_MAX : 0);
}

static void cqo(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[X86_RDX] = (int64_t)v->gpr[X86_RAX] < 0 ? UINT64_MAX : 0;
}

static op_fn *bind_imul(const struct decode *d, struct op *op)
{
    static op_fn *const wide[4] = DBT_SIZES(imul), *const to[4] = {NULL, imul_to16, imul_to32, imul_to64};

    if (d->instruction->raw.modrm.reg == 5 && d->instruction->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
        (d->instruction->opcode == 0xf6 || d->instruction->opcode == 0xf7))
        return wide[dbt_size_index(op)];
    op->argument = dbt_is_immediate(d, 2);
    return to[dbt_size_index(op)];
}

op_fn *dbt_bind_multiply(const struct decode *d, struct op *op)
{
    static op_fn *const mul[4] = DBT_SIZES(mul);

    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_MUL: return mul[dbt_size_index(op)];
    case ZYDIS_MNEMONIC_IMUL: return bind_imul(d, op);
    case ZYDIS_MNEMONIC_DIV: return divide_unsigned;
    case ZYDIS_MNEMONIC_IDIV: return divide_signed;
    case ZYDIS_MNEMONIC_CBW: return cbw;
    case ZYDIS_MNEMONIC_CWDE: return cwde;
    case ZYDIS_MNEMONIC_CDQE: return cdqe;
    case ZYDIS_MNEMONIC_CWD: return cwd;
    case ZYDIS_MNEMONIC_CDQ: return cdq;
    case ZYDIS_MNEMONIC_CQO: return cqo;
    default: return NULL;
    }
}
