/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B: the instructions that locks are made of. */
#include "engine/dbt/alu.h"

#define EXCHANGES(bits, suffix)                                                                                     \
    static void xchg_r##bits(struct dbt_vcpu *v, const struct op *op)                                                \
    {                                                                                                               \
        uint##bits##_t a = DBT_GET##bits(v, op->reg[0]), b = DBT_GET##bits(v, op->reg[1]);                           \
        DBT_SET##bits(v, op->reg[0], b);                                                                            \
        DBT_SET##bits(v, op->reg[1], a);                                                                            \
    }                                                                                                               \
    static void xchg_m##bits(struct dbt_vcpu *v, const struct op *op)                                                \
    {                                                                                                               \
        uint##bits##_t a = DBT_GET##bits(v, op->reg[0]);                                                            \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                       \
        __asm__ volatile("xchg" suffix " %[a], %[p]" : [a] "+q"(a), [p] "+m"(*p) : : "memory");                     \
        DBT_RMW_END(v, uint##bits##_t);                                                                             \
        DBT_SET##bits(v, op->reg[0], a);                                                                            \
    }                                                                                                               \
    static void xadd_r##bits(struct dbt_vcpu *v, const struct op *op)                                                \
    {                                                                                                               \
        uint32_t ax;                                                                                                \
        uint##bits##_t d = DBT_GET##bits(v, op->reg[0]), s = DBT_GET##bits(v, op->reg[1]);                           \
        __asm__("xadd" suffix " %[s], %[d]" ASM_FLAGS_OUT : [d] "+q"(d), [s] "+q"(s), "=&a"(ax) : : "cc");           \
        dbt_flags_store(v, ax);                                                                                     \
        DBT_SET##bits(v, op->reg[1], s);                                                                            \
        DBT_SET##bits(v, op->reg[0], d); /* last: with one register for both the sum stays */                       \
    }                                                                                                               \
    static void xadd_m##bits(struct dbt_vcpu *v, const struct op *op)                                                \
    {                                                                                                               \
        uint32_t ax;                                                                                                \
        uint##bits##_t s = DBT_GET##bits(v, op->reg[0]);                                                            \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                       \
        if (op->flags & OP_LOCK)                                                                                    \
            __asm__ volatile("lock xadd" suffix " %[s], %[p]" ASM_FLAGS_OUT                                         \
                             : [p] "+m"(*p), [s] "+q"(s), "=&a"(ax) : : "cc", "memory");                            \
        else                                                                                                        \
            __asm__ volatile("xadd" suffix " %[s], %[p]" ASM_FLAGS_OUT                                              \
                             : [p] "+m"(*p), [s] "+q"(s), "=&a"(ax) : : "cc", "memory");                            \
        dbt_flags_store(v, ax);                                                                                     \
        DBT_RMW_END(v, uint##bits##_t);                                                                             \
        DBT_SET##bits(v, op->reg[0], s);                                                                            \
    }                                                                                                               \
    /* rAX as the old value found; 32-bit writes of the side that isn't chosen leave its upper half alone. */        \
    static void cmpxchg_r##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                               \
        uint##bits##_t d = DBT_GET##bits(v, op->reg[0]), a = DBT_GET##bits(v, X86_RAX);                              \
        uint32_t ax;                                                                                                \
        __asm__("cmp" suffix " %[d], %[acc]" ASM_FLAGS_OUT : "=&a"(ax) : [d] "q"(d), [acc] "q"(a) : "cc");           \
        dbt_flags_store(v, ax);                                                                                     \
        if (a == d)                                                                                                 \
            DBT_SET##bits(v, op->reg[0], DBT_GET##bits(v, op->reg[1]));                                             \
        else                                                                                                        \
            DBT_SET##bits(v, X86_RAX, d);                                                                           \
    }                                                                                                               \
    static void cmpxchg_m##bits(struct dbt_vcpu *v, const struct op *op)                                             \
    {                                                                                                               \
        uint##bits##_t s = DBT_GET##bits(v, op->reg[0]), expected = DBT_GET##bits(v, X86_RAX), found;                \
        uint32_t ax;                                                                                                \
        DBT_RMW_BEGIN(v, op, uint##bits##_t);                                                                       \
        if (op->flags & OP_LOCK) {                                                                                  \
            found = expected;                                                                                       \
            __asm__ volatile("lock cmpxchg" suffix " %[s], %[p]"                                                    \
                             : "+a"(found), [p] "+m"(*p) : [s] "q"(s) : "cc", "memory");                            \
        } else {                                                                                                    \
            found = *p;                                                                                             \
            *p = found == expected ? s : found;                                                                     \
        }                                                                                                           \
        DBT_RMW_END(v, uint##bits##_t);                                                                             \
        __asm__("cmp" suffix " %[d], %[acc]" ASM_FLAGS_OUT : "=&a"(ax) : [d] "q"(found), [acc] "q"(expected) : "cc"); \
        dbt_flags_store(v, ax);                                                                                     \
        if (found != expected)                                                                                      \
            DBT_SET##bits(v, X86_RAX, found);                                                                       \
    }
EXCHANGES(8, "b")
EXCHANGES(16, "w")
EXCHANGES(32, "l")
EXCHANGES(64, "q")

static void set_zero_flag(struct dbt_vcpu *v, bool zero)
{
    v->flags = (uint8_t)((v->flags & ~X86_ZF) | (zero ? X86_ZF : 0));
}

static void cmpxchg8b(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t expected = (uint64_t)gpr32(v, X86_RDX) << 32 | gpr32(v, X86_RAX);
    uint64_t desired = (uint64_t)gpr32(v, X86_RCX) << 32 | gpr32(v, X86_RBX), found = expected;
    DBT_RMW_BEGIN(v, op, uint64_t);

    __asm__ volatile("lock cmpxchgq %[s], %[p]" : "+a"(found), [p] "+m"(*p) : [s] "r"(desired) : "cc", "memory");
    DBT_RMW_END(v, uint64_t);
    set_zero_flag(v, found == expected);
    if (found != expected) {
        gpr32_set(v, X86_RAX, (uint32_t)found);
        gpr32_set(v, X86_RDX, (uint32_t)(found >> 32));
    }
}

static void cmpxchg16b(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t linear = dbt_address(v, op, 16, ACCESS_READ | ACCESS_WRITE), low = v->gpr[X86_RAX], high = v->gpr[X86_RDX];
    uint8_t bounce[16] __attribute__((aligned(16)));
    bool equal;
    void *p;

    if (linear & 15)
        dbt_raise_error(v, X86_GP, 0);
    p = dbt_access_begin(v, linear, 16, ACCESS_READ | ACCESS_WRITE, bounce);
    __asm__ volatile("lock cmpxchg16b %[p]\n\tsetz %[equal]"
                     : [p] "+m"(*(unsigned __int128 *)p), "+a"(low), "+d"(high), [equal] "=qm"(equal)
                     : "b"(v->gpr[X86_RBX]), "c"(v->gpr[X86_RCX])
                     : "cc", "memory");
    dbt_access_end(v, linear, 16, ACCESS_READ | ACCESS_WRITE, p, bounce);
    set_zero_flag(v, equal);
    if (!equal) {
        v->gpr[X86_RAX] = low;
        v->gpr[X86_RDX] = high;
    }
}

op_fn *dbt_bind_exchange(const struct decode *d, struct op *op)
{
    static op_fn *const xchg[2][4] = {DBT_SIZES(xchg_r), DBT_SIZES(xchg_m)};
    static op_fn *const xadd[2][4] = {DBT_SIZES(xadd_r), DBT_SIZES(xadd_m)};
    static op_fn *const cmpxchg[2][4] = {DBT_SIZES(cmpxchg_r), DBT_SIZES(cmpxchg_m)};
    bool memory = (op->flags & OP_MEMORY) != 0;

    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_XCHG:
        if (memory)
            op->flags |= OP_LOCK; /* always locked */
        return xchg[memory][dbt_size_index(op)];
    case ZYDIS_MNEMONIC_XADD: return xadd[memory][dbt_size_index(op)];
    case ZYDIS_MNEMONIC_CMPXCHG: return cmpxchg[memory][dbt_size_index(op)];
    case ZYDIS_MNEMONIC_CMPXCHG8B: return cmpxchg8b;
    case ZYDIS_MNEMONIC_CMPXCHG16B: return dbt_cpuid_bit(d->v, 1, 0, CPUID_ECX, 13) ? cmpxchg16b : NULL;
    default: return NULL;
    }
}
