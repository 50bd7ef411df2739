/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Far JMP, CALL and RET, call gates included (SDM vol. 2: JMP, CALL, RET; vol. 3 section 5.8). */
#include "engine/dbt/far.h"

#include "engine/dbt/segment.h"

struct target { /* where a far transfer goes */
    uint16_t selector;
    uint64_t offset;
};

static uint64_t code_mask(unsigned size)
{
    return size == 8 ? UINT64_MAX : size == 4 ? UINT32_MAX : 0xffff;
}

/* The operand: ptr16:16/32 in the instruction, or m16:16/32/64 in memory. */
static struct target operand(struct dbt_vcpu *v, const struct op *op)
{
    struct target t = {.selector = op->argument | op->argument2 << 8, .offset = op->immediate & code_mask(op->size)};

    if (op->flags & OP_MEMORY) {
        uint8_t bounce[16], *p;
        uint64_t address = dbt_address(v, op, op->size + 2u, ACCESS_READ);

        p = dbt_access_begin(v, address, op->size + 2u, ACCESS_READ, bounce);
        t.offset = op->size == 2 ? load_le16(p) : op->size == 4 ? load_le32(p) : load_le64(p);
        t.selector = load_le16(p + op->size);
        dbt_access_end(v, address, op->size + 2u, ACCESS_READ, p, bounce);
    }
    return t;
}

static void jump_to(struct dbt_vcpu *v, const struct x86_segment *cs, unsigned cpl, uint64_t rip)
{
    v->segment[X86_CS] = *cs;
    v->segment[X86_CS].selector = (uint16_t)((cs->selector & ~3u) | cpl);
    v->gpr[GPR_RIP] = rip;
    dbt_update_mode(v);
}

static void jump_real(struct dbt_vcpu *v, struct target t)
{
    if ((uint32_t)t.offset > v->segment[X86_CS].limit)
        dbt_raise_error(v, X86_GP, 0);
    dbt_segment_real(v, X86_CS, t.selector);
    v->gpr[GPR_RIP] = t.offset;
    dbt_update_mode(v);
}

static void push_return(struct dbt_vcpu *v, struct stack *stack, unsigned size)
{
    dbt_stack_push(v, stack, size, v->segment[X86_CS].selector);
    dbt_stack_push(v, stack, size, v->gpr[GPR_RIP]);
}

static struct descriptor read_target(struct dbt_vcpu *v, uint16_t selector)
{
    struct descriptor d;

    if (selector_null(selector))
        dbt_raise_error(v, X86_GP, 0);
    if (!dbt_descriptor_read(v, selector, &d))
        dbt_raise_error(v, X86_GP, dbt_selector_error(v, selector));
    return d;
}

/* A code segment reached directly, at the present privilege. */
static void check_code(struct dbt_vcpu *v, const struct descriptor *d)
{
    uint16_t selector = d->segment.selector;
    bool conforming = d->segment.type & TYPE_CONFORMING, bad;

    bad = conforming ? d->segment.dpl > v->cpl : selector_rpl(selector) > v->cpl || d->segment.dpl != v->cpl;
    if (bad || (dbt_long_mode(v) && d->segment.l && d->segment.db))
        dbt_raise_error(v, X86_GP, dbt_selector_error(v, selector));
    if (!d->segment.present)
        dbt_raise_error(v, X86_NP, dbt_selector_error(v, selector));
}

struct call_gate {
    unsigned parameters, size; /* of one parameter: bytes */
    struct target target;
    struct descriptor code;
};

static struct call_gate read_call_gate(struct dbt_vcpu *v, const struct descriptor *d)
{
    uint16_t selector = d->segment.selector;
    uint32_t error = dbt_selector_error(v, selector);
    struct call_gate gate = {.parameters = (unsigned)bit_range(d->raw, 36, 32), .size = d->segment.type & 8 ? 4 : 2};
    bool wide = dbt_long_mode(v);

    if (d->segment.dpl < v->cpl || d->segment.dpl < selector_rpl(selector))
        dbt_raise_error(v, X86_GP, error);
    if (!d->segment.present)
        dbt_raise_error(v, X86_NP, error);
    gate.target.selector = (uint16_t)bit_range(d->raw, 31, 16);
    gate.target.offset = bit_range(d->raw, 15, 0);
    if (gate.size == 4)
        gate.target.offset |= bit_range(d->raw, 63, 48) << 16;
    if (wide) {
        struct descriptor whole;
        uint64_t high;

        if (!dbt_descriptor_read_system(v, selector, &whole))
            dbt_raise_error(v, X86_GP, error);
        high = dbt_load_system(v, d->address + 8, 8);
        if (bit_range(high, 44, 40) != 0)
            dbt_raise_error(v, X86_GP, error);
        gate.target.offset |= high << 32;
        gate.size = 8;
        gate.parameters = 0;
    }
    gate.code = read_target(v, gate.target.selector);
    error = dbt_selector_error(v, gate.target.selector);
    if (!segment_is_code(&gate.code.segment) || gate.code.segment.dpl > v->cpl ||
        (wide && (!gate.code.segment.l || gate.code.segment.db)))
        dbt_raise_error(v, X86_GP, error);
    if (!gate.code.segment.present)
        dbt_raise_error(v, X86_NP, error);
    return gate;
}

static void jump_gate(struct dbt_vcpu *v, const struct descriptor *d)
{
    struct call_gate gate = read_call_gate(v, d);

    if (!(gate.code.segment.type & TYPE_CONFORMING) && gate.code.segment.dpl != v->cpl)
        dbt_raise_error(v, X86_GP, dbt_selector_error(v, gate.target.selector));
    dbt_check_target(v, &gate.code.segment, gate.target.offset);
    dbt_descriptor_mark_accessed(v, &gate.code);
    jump_to(v, &gate.code.segment, v->cpl, gate.target.offset);
}

static struct stack gate_stack(struct dbt_vcpu *v, const struct call_gate *gate, unsigned cpl)
{
    struct x86_segment ss = dbt_null_stack_segment(cpl);
    uint16_t selector = 0;
    struct stack stack;
    uint64_t sp;

    if (dbt_long_mode(v)) {
        sp = dbt_tss_stack64(v, cpl, false);
    } else {
        dbt_tss_stack(v, cpl, &selector, &sp);
        ss = dbt_check_stack_segment(v, selector, cpl, X86_TS);
    }
    stack = dbt_stack_new(&ss, sp, cpl, gate->size == 8);
    stack.error = dbt_selector_error(v, selector);
    return stack;
}

static void call_gate_inward(struct dbt_vcpu *v, struct call_gate *gate)
{
    struct stack old = dbt_stack(v), stack = gate_stack(v, gate, gate->code.segment.dpl);
    unsigned cpl = gate->code.segment.dpl;

    dbt_stack_push(v, &stack, gate->size, v->segment[X86_SS].selector);
    dbt_stack_push(v, &stack, gate->size, v->gpr[X86_RSP]);
    for (unsigned i = gate->parameters; i > 0; i--)
        dbt_stack_push(v, &stack, gate->size, dbt_stack_peek(v, &old, (uint64_t)(i - 1) * gate->size, gate->size));
    push_return(v, &stack, gate->size);
    dbt_check_target(v, &gate->code.segment, gate->target.offset);
    dbt_descriptor_mark_accessed(v, &gate->code);
    v->segment[X86_SS] = stack.ss;
    v->gpr[X86_RSP] = stack.sp;
    jump_to(v, &gate->code.segment, cpl, gate->target.offset);
}

static void call_through_gate(struct dbt_vcpu *v, const struct descriptor *d)
{
    struct call_gate gate = read_call_gate(v, d);
    struct stack stack = dbt_stack(v);

    if (!(gate.code.segment.type & TYPE_CONFORMING) && gate.code.segment.dpl < v->cpl) {
        call_gate_inward(v, &gate);
        return;
    }
    if (gate.size == 8)
        stack = dbt_stack_new(&v->segment[X86_SS], v->gpr[X86_RSP], v->cpl, true);
    push_return(v, &stack, gate.size);
    dbt_check_target(v, &gate.code.segment, gate.target.offset);
    dbt_descriptor_mark_accessed(v, &gate.code);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    jump_to(v, &gate.code.segment, v->cpl, gate.target.offset);
}

/* The target is a system descriptor: a gate or a task. */
static void transfer_system(struct dbt_vcpu *v, const struct descriptor *d, bool call)
{
    unsigned type = d->segment.type;
    uint32_t error = dbt_selector_error(v, d->segment.selector);
    uint16_t tss = d->segment.selector;
    bool wide = dbt_long_mode(v);

    if (type == TYPE_CALL_GATE32 || (type == TYPE_CALL_GATE16 && !wide)) {
        if (call)
            call_through_gate(v, d);
        else
            jump_gate(v, d);
        return;
    }
    if (wide || (type != TYPE_TASK_GATE && type != TYPE_TSS16 && type != TYPE_TSS32) || d->segment.dpl < v->cpl ||
        d->segment.dpl < selector_rpl(d->segment.selector))
        dbt_raise_error(v, X86_GP, error);
    if (!d->segment.present)
        dbt_raise_error(v, X86_NP, error);
    if (type == TYPE_TASK_GATE)
        tss = (uint16_t)bit_range(d->raw, 31, 16);
    dbt_task_switch(v, tss, call ? TASK_CALL : TASK_JUMP, false, 0);
}

static void far_jump(struct dbt_vcpu *v, const struct op *op)
{
    struct target t = operand(v, op);
    struct descriptor d;

    if (!dbt_protected_mode(v)) {
        jump_real(v, t);
        return;
    }
    d = read_target(v, t.selector);
    if (!d.segment.s) {
        transfer_system(v, &d, false);
        return;
    }
    if (!segment_is_code(&d.segment))
        dbt_raise_error(v, X86_GP, dbt_selector_error(v, t.selector));
    check_code(v, &d);
    dbt_check_target(v, &d.segment, t.offset);
    dbt_descriptor_mark_accessed(v, &d);
    jump_to(v, &d.segment, v->cpl, t.offset);
}

static void far_call_real(struct dbt_vcpu *v, const struct op *op, struct target t)
{
    struct stack stack = dbt_stack(v);

    push_return(v, &stack, op->size);
    jump_real(v, t);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
}

static void far_call(struct dbt_vcpu *v, const struct op *op)
{
    struct target t = operand(v, op);
    struct stack stack = dbt_stack(v);
    struct descriptor d;

    if (!dbt_protected_mode(v)) {
        far_call_real(v, op, t);
        return;
    }
    d = read_target(v, t.selector);
    if (!d.segment.s) {
        transfer_system(v, &d, true);
        return;
    }
    if (!segment_is_code(&d.segment))
        dbt_raise_error(v, X86_GP, dbt_selector_error(v, t.selector));
    check_code(v, &d);
    push_return(v, &stack, op->size);
    dbt_check_target(v, &d.segment, t.offset);
    dbt_descriptor_mark_accessed(v, &d);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    jump_to(v, &d.segment, v->cpl, t.offset);
}

struct descriptor dbt_check_return_code(struct dbt_vcpu *v, uint16_t selector)
{
    uint32_t error = dbt_selector_error(v, selector);
    unsigned rpl = selector_rpl(selector);
    struct descriptor d;
    bool conforming;

    if (selector_null(selector))
        dbt_raise_error(v, X86_GP, 0);
    if (!dbt_descriptor_read(v, selector, &d) || !segment_is_code(&d.segment) || rpl < v->cpl)
        dbt_raise_error(v, X86_GP, error);
    conforming = d.segment.type & TYPE_CONFORMING;
    if ((conforming ? d.segment.dpl > rpl : d.segment.dpl != rpl) ||
        (dbt_long_mode(v) && d.segment.l && d.segment.db))
        dbt_raise_error(v, X86_GP, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_NP, error);
    return d;
}

struct x86_segment dbt_check_return_stack(struct dbt_vcpu *v, uint16_t selector, const struct x86_segment *cs)
{
    unsigned rpl = selector_rpl(cs->selector);

    if (!selector_null(selector))
        return dbt_check_stack_segment(v, selector, rpl, X86_GP);
    if (!dbt_long_mode(v) || !cs->l || rpl == 3 || selector_rpl(selector) != rpl)
        dbt_raise_error(v, X86_GP, 0);
    return dbt_null_stack_segment(rpl);
}

static void far_return_real(struct dbt_vcpu *v, const struct op *op)
{
    struct stack stack = dbt_stack(v);
    struct target t = {.offset = dbt_stack_pop(v, &stack, op->size)};

    t.selector = (uint16_t)dbt_stack_pop(v, &stack, op->size);
    stack.sp += op->immediate;
    jump_real(v, t);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
}

static void far_return_outward(struct dbt_vcpu *v, const struct op *op, struct stack *stack, struct descriptor *code,
                               uint64_t rip)
{
    unsigned cpl = selector_rpl(code->segment.selector);
    uint64_t sp;
    uint16_t selector;
    struct x86_segment ss;

    stack->sp += op->immediate;
    sp = dbt_stack_pop(v, stack, op->size);
    selector = (uint16_t)dbt_stack_pop(v, stack, op->size);
    ss = dbt_check_return_stack(v, selector, &code->segment);
    dbt_check_target(v, &code->segment, rip);
    dbt_descriptor_mark_accessed(v, code);
    v->segment[X86_SS] = ss;
    sp += op->immediate;
    v->gpr[X86_RSP] = code->segment.l && dbt_long_mode(v) ? sp
                      : ss.db ? (uint32_t)sp
                              : (v->gpr[X86_RSP] & ~UINT64_C(0xffff)) | (sp & 0xffff);
    dbt_null_inaccessible_segments(v, cpl);
    jump_to(v, &code->segment, cpl, rip);
}

static void far_return(struct dbt_vcpu *v, const struct op *op)
{
    struct stack stack = dbt_stack(v);
    struct descriptor code;
    uint64_t rip;

    if (!dbt_protected_mode(v)) {
        far_return_real(v, op);
        return;
    }
    rip = dbt_stack_pop(v, &stack, op->size);
    code = dbt_check_return_code(v, (uint16_t)dbt_stack_pop(v, &stack, op->size));
    if (selector_rpl(code.segment.selector) != v->cpl) {
        far_return_outward(v, op, &stack, &code, rip);
        return;
    }
    dbt_check_target(v, &code.segment, rip);
    dbt_descriptor_mark_accessed(v, &code);
    stack.sp += op->immediate;
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    jump_to(v, &code.segment, v->cpl, rip);
}

static op_fn *bind_transfer(const struct decode *d, struct op *op, op_fn *execute)
{
    const ZydisDecodedOperand *o = &d->operand[0];

    if (o->type == ZYDIS_OPERAND_TYPE_POINTER) {
        op->immediate = o->ptr.offset;
        op->argument = o->ptr.segment & 0xff;
        op->argument2 = (uint8_t)(o->ptr.segment >> 8);
    } else if (o->type != ZYDIS_OPERAND_TYPE_MEMORY) {
        return dbt_op_undefined;
    }
    return execute;
}

op_fn *dbt_bind_far(const struct decode *d, struct op *op)
{
    if (d->instruction->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
        return NULL;
    op->flags |= OP_END;
    op->size = (uint8_t)(d->instruction->operand_width / 8);
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_JMP:
        return bind_transfer(d, op, far_jump);
    case ZYDIS_MNEMONIC_CALL:
        return bind_transfer(d, op, far_call);
    case ZYDIS_MNEMONIC_RET:
        op->immediate = d->operand[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
                                d->operand[0].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT
                            ? d->operand[0].imm.value.u & 0xffff : 0;
        return far_return;
    default:
        return NULL;
    }
}
