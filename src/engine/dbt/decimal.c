/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decimal adjustments of 16- and 32-bit code: AAA AAS AAM AAD DAA DAS, and SALC. 64-bit hosts lack them, so they are in C. */
#include "engine/dbt/alu.h"

static void set_result_flags(struct dbt_vcpu *v, uint8_t result, bool carry, bool adjust)
{
    bool even = !(__builtin_popcount(result) & 1);

    v->flags = (uint8_t)(2 | (result & X86_SF) | (result == 0 ? X86_ZF : 0) | (even ? X86_PF : 0) | (carry ? X86_CF : 0) |
                         (adjust ? X86_AF : 0));
}

static void daa(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t old = (uint8_t)v->gpr[X86_RAX], al = old;
    bool adjust = (old & 15) > 9 || (v->flags & X86_AF), carry = old > 0x99 || (v->flags & X86_CF);

    al = (uint8_t)(al + (adjust ? 6 : 0) + (carry ? 0x60 : 0));
    *gpr8(v, 0) = al;
    set_result_flags(v, al, carry, adjust);
    v->overflow = 0;
}

static void das(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t old = (uint8_t)v->gpr[X86_RAX], al = old;
    bool adjust = (old & 15) > 9 || (v->flags & X86_AF), carry = old > 0x99 || (v->flags & X86_CF);
    bool borrow = adjust && old < 6;

    al = (uint8_t)(al - (adjust ? 6 : 0) - (carry ? 0x60 : 0));
    *gpr8(v, 0) = al;
    set_result_flags(v, al, carry || borrow, adjust);
    v->overflow = 0;
}

static void ascii_adjust(struct dbt_vcpu *v, int step)
{
    uint16_t ax = *gpr16(v, X86_RAX);
    bool adjust = (ax & 15) > 9 || (v->flags & X86_AF);

    if (adjust)
        ax = (uint16_t)(ax + step);
    *gpr16(v, X86_RAX) = ax & 0xff0f;
    set_result_flags(v, (uint8_t)ax & 15, adjust, adjust);
    v->overflow = 0;
}

static void aaa(struct dbt_vcpu *v, const struct op *op)
{
    ascii_adjust(v, 0x106);
}

static void aas(struct dbt_vcpu *v, const struct op *op)
{
    ascii_adjust(v, -0x106);
}

static void aam(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t al = (uint8_t)v->gpr[X86_RAX], base = (uint8_t)op->immediate;

    if (base == 0)
        dbt_raise(v, X86_DE);
    *gpr16(v, X86_RAX) = (uint16_t)((al / base) << 8 | al % base);
    set_result_flags(v, al % base, false, false);
    v->overflow = 0;
}

static void aad(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t al = (uint8_t)(*gpr8(v, 0) + *gpr8(v, 1) * (uint8_t)op->immediate);

    *gpr16(v, X86_RAX) = al;
    set_result_flags(v, al, false, false);
    v->overflow = 0;
}

static void salc(struct dbt_vcpu *v, const struct op *op)
{
    *gpr8(v, 0) = (v->flags & X86_CF) ? 0xff : 0;
}

op_fn *dbt_bind_decimal(const struct decode *d, struct op *op)
{
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_DAA: return daa;
    case ZYDIS_MNEMONIC_DAS: return das;
    case ZYDIS_MNEMONIC_AAA: return aaa;
    case ZYDIS_MNEMONIC_AAS: return aas;
    case ZYDIS_MNEMONIC_AAM: return aam;
    case ZYDIS_MNEMONIC_AAD: return aad;
    case ZYDIS_MNEMONIC_SALC: return salc;
    default: return NULL;
    }
}
