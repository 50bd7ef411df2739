/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CLI, STI, PUSHF, POPF, CLAC, STAC (SDM vol. 2; vol. 3 section 20.2 for virtual-8086 mode). */
#include "engine/dbt/exception.h"
#include "engine/dbt/segment.h"
#include "engine/dbt/state.h"
#include "engine/dbt/system.h"

static unsigned iopl(const struct dbt_vcpu *v)
{
    return (unsigned)(v->rflags >> 12 & 3);
}

static void check_iopl(struct dbt_vcpu *v)
{
    if (v->cpl > iopl(v)) /* in virtual-8086 mode the CPL is 3 */
        dbt_raise_error(v, X86_GP, 0);
}

static void cli(struct dbt_vcpu *v, const struct op *op)
{
    check_iopl(v);
    v->rflags &= ~(uint64_t)X86_IF;
}

static void sti(struct dbt_vcpu *v, const struct op *op)
{
    check_iopl(v);
    if (v->rflags & X86_IF)
        return;
    v->rflags |= X86_IF;
    v->interrupt_shadow = 1;
    dbt_set_attention(v, ATTENTION_INTERRUPT | ATTENTION_STEP);
}

static bool virtual_8086(const struct dbt_vcpu *v)
{
    return (v->rflags & X86_VM) && (v->cr0 & X86_CR0_PE);
}

static void pushf_(struct dbt_vcpu *v, const struct op *op)
{
    struct stack stack = dbt_stack(v);

    if (virtual_8086(v))
        check_iopl(v);
    dbt_stack_push(v, &stack, op->size, dbt_get_rflags(v) & ~(uint64_t)(X86_VM | X86_RF));
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
}

static void popf_(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t mask = X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_TF | X86_DF | X86_OF | X86_NT, value;
    struct stack stack = dbt_stack(v);

    if (virtual_8086(v))
        check_iopl(v);
    if (op->size > 2)
        mask |= X86_AC | X86_ID;
    if (v->cpl <= iopl(v))
        mask |= X86_IF;
    if (v->cpl == 0)
        mask |= X86_IOPL;
    value = dbt_stack_pop(v, &stack, op->size);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    if (op->size > 2)
        v->rflags &= ~(uint64_t)X86_RF;
    dbt_set_rflags(v, (dbt_get_rflags(v) & ~mask) | (value & mask));
}

static void set_ac(struct dbt_vcpu *v, uint64_t ac)
{
    if (v->cpl != 0)
        dbt_raise(v, X86_UD);
    v->rflags = (v->rflags & ~(uint64_t)X86_AC) | ac;
    dbt_update_tlb_mode(v);
}

static void clac(struct dbt_vcpu *v, const struct op *op)
{
    set_ac(v, 0);
}

static void stac(struct dbt_vcpu *v, const struct op *op)
{
    set_ac(v, X86_AC);
}

static op_fn *bind_sized(struct op *op, uint8_t size, op_fn *execute)
{
    op->size = size;
    if (execute == popf_)
        op->flags |= OP_END;
    return execute;
}

op_fn *dbt_bind_flags(const struct decode *d, struct op *op)
{
    bool smap = dbt_cpuid_bit(d->v, 7, 0, CPUID_EBX, 20);

    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_CLI:
        return cli;
    case ZYDIS_MNEMONIC_STI:
        op->flags |= OP_END;
        return sti;
    case ZYDIS_MNEMONIC_PUSHF:
        return bind_sized(op, 2, pushf_);
    case ZYDIS_MNEMONIC_PUSHFD:
        return bind_sized(op, 4, pushf_);
    case ZYDIS_MNEMONIC_PUSHFQ:
        return bind_sized(op, 8, pushf_);
    case ZYDIS_MNEMONIC_POPF:
        return bind_sized(op, 2, popf_);
    case ZYDIS_MNEMONIC_POPFD:
        return bind_sized(op, 4, popf_);
    case ZYDIS_MNEMONIC_POPFQ:
        return bind_sized(op, 8, popf_);
    case ZYDIS_MNEMONIC_CLAC:
        return smap ? clac : dbt_op_undefined;
    case ZYDIS_MNEMONIC_STAC:
        return smap ? stac : dbt_op_undefined;
    default:
        return NULL;
    }
}
