/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IRET in every mode (SDM vol. 2: IRET/IRETD/IRETQ). */
#include "engine/dbt/far.h"

struct frame {
    uint64_t rip, flags, sp;
    uint16_t cs, ss;
};

static void unmask_nmi(struct dbt_vcpu *v)
{
    v->nmi_masked = false;
    if (v->nmi_pending)
        dbt_set_attention(v, ATTENTION_NMI);
}

static struct frame pop_frame(struct dbt_vcpu *v, struct stack *stack, unsigned size)
{
    struct frame f;

    f.rip = dbt_stack_pop(v, stack, size);
    f.cs = (uint16_t)dbt_stack_pop(v, stack, size);
    f.flags = dbt_stack_pop(v, stack, size);
    return f;
}

/* The flags that IRET may change at the privilege that it leaves; the others stay. */
static uint64_t merge_flags(const struct dbt_vcpu *v, uint64_t popped, unsigned size)
{
    uint64_t old = dbt_get_rflags(v);
    uint64_t mask = X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_TF | X86_DF | X86_OF | X86_NT;
    unsigned iopl = (unsigned)(v->rflags >> 12 & 3);

    if (size > 2)
        mask |= X86_RF | X86_AC | X86_ID;
    if (v->cpl <= iopl)
        mask |= X86_IF;
    if (v->cpl == 0)
        mask |= X86_IOPL | (size > 2 ? X86_VIF | X86_VIP : 0);
    return (old & ~mask) | (popped & mask);
}

static void iret_real(struct dbt_vcpu *v, unsigned size)
{
    struct stack stack = dbt_stack(v);
    struct frame f = pop_frame(v, &stack, size);
    uint64_t keep = (v->rflags & X86_VM) ? X86_IOPL | X86_VM | X86_VIF | X86_VIP : X86_VM | X86_VIF | X86_VIP;

    if ((uint32_t)f.rip > v->segment[X86_CS].limit)
        dbt_raise_error(v, X86_GP, 0);
    if (size == 2)
        keep |= UINT64_C(0xffff0000);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    v->gpr[GPR_RIP] = f.rip;
    dbt_segment_real(v, X86_CS, f.cs);
    dbt_set_rflags(v, (dbt_get_rflags(v) & keep) | (f.flags & ~keep));
    dbt_update_mode(v);
}

static void iret_to_vm86(struct dbt_vcpu *v, struct stack *stack, const struct frame *f)
{
    static const uint8_t order[] = {X86_ES, X86_DS, X86_FS, X86_GS};
    uint64_t sp = dbt_stack_pop(v, stack, 4);
    uint16_t ss = (uint16_t)dbt_stack_pop(v, stack, 4), selector[4];

    for (unsigned i = 0; i < 4; i++)
        selector[i] = (uint16_t)dbt_stack_pop(v, stack, 4);
    if (f->rip > 0xffff)
        dbt_raise_error(v, X86_GP, 0);
    dbt_set_rflags(v, f->flags);
    dbt_segment_real(v, X86_CS, f->cs);
    dbt_segment_real(v, X86_SS, ss);
    for (unsigned i = 0; i < 4; i++)
        dbt_segment_real(v, order[i], selector[i]);
    v->gpr[X86_RSP] = (uint32_t)sp;
    v->gpr[GPR_RIP] = f->rip;
    dbt_update_mode(v);
}

static void finish(struct dbt_vcpu *v, const struct frame *f, const struct x86_segment *cs, unsigned cpl, unsigned size)
{
    uint64_t flags = merge_flags(v, f->flags, size); /* by the old CPL */

    v->segment[X86_CS] = *cs;
    v->gpr[GPR_RIP] = f->rip;
    if (cpl != v->cpl)
        dbt_null_inaccessible_segments(v, cpl);
    dbt_set_rflags(v, flags);
    dbt_update_mode(v);
}

static uint64_t new_stack_pointer(const struct dbt_vcpu *v, const struct x86_segment *cs, const struct x86_segment *ss,
                                  uint64_t sp)
{
    if (dbt_long_mode(v) && cs->l)
        return sp;
    return ss->db ? (uint32_t)sp : (v->gpr[X86_RSP] & ~UINT64_C(0xffff)) | (sp & 0xffff);
}

static void iret_protected(struct dbt_vcpu *v, unsigned size)
{
    struct stack stack = dbt_stack(v);
    struct frame f = pop_frame(v, &stack, size);
    struct x86_segment ss;
    struct descriptor code;
    bool with_stack;
    unsigned cpl;

    if ((f.flags & X86_VM) && size == 4 && v->cpl == 0 && !dbt_long_mode(v)) {
        iret_to_vm86(v, &stack, &f);
        return;
    }
    code = dbt_check_return_code(v, f.cs);
    cpl = selector_rpl(f.cs);
    with_stack = cpl != v->cpl || dbt_code64(v);
    if (with_stack) {
        f.sp = dbt_stack_pop(v, &stack, size);
        f.ss = (uint16_t)dbt_stack_pop(v, &stack, size);
        ss = dbt_check_return_stack(v, f.ss, &code.segment);
    }
    dbt_check_target(v, &code.segment, f.rip);
    dbt_descriptor_mark_accessed(v, &code);
    if (with_stack) {
        v->gpr[X86_RSP] = new_stack_pointer(v, &code.segment, &ss, f.sp);
        v->segment[X86_SS] = ss;
    } else {
        v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    }
    finish(v, &f, &code.segment, cpl, size);
}

static void iret_task(struct dbt_vcpu *v)
{
    uint16_t link;

    if (dbt_long_mode(v))
        dbt_raise_error(v, X86_GP, 0);
    link = (uint16_t)dbt_load_system(v, v->tr.base, 2);
    dbt_task_switch(v, link, TASK_IRET, false, 0);
}

static void iret(struct dbt_vcpu *v, const struct op *op)
{
    bool vm86 = (v->cr0 & X86_CR0_PE) && (v->rflags & X86_VM);

    if (vm86 && (v->rflags & X86_IOPL) != X86_IOPL)
        dbt_raise_error(v, X86_GP, 0);
    if (!dbt_protected_mode(v))
        iret_real(v, op->size);
    else if (v->rflags & X86_NT)
        iret_task(v);
    else
        iret_protected(v, op->size);
    unmask_nmi(v);
}

op_fn *dbt_bind_iret(const struct decode *d, struct op *op)
{
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_IRET:
        op->size = 2;
        break;
    case ZYDIS_MNEMONIC_IRETD:
        op->size = 4;
        break;
    case ZYDIS_MNEMONIC_IRETQ:
        op->size = 8;
        break;
    default:
        return NULL;
    }
    op->flags |= OP_END;
    return iret;
}
