/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Raising exceptions, double and triple faults, and delivery of events (SDM vol. 3 ch. 6 and 20.3). */
#include "engine/dbt/exception.h"

#include "engine/dbt/interrupt.h"
#include "engine/dbt/mail.h"
#include "engine/dbt/segment.h"

#define IDT_FLAG 2u /* in an error code: the index is one of the IDT */

_Noreturn static void leave(struct dbt_vcpu *v, struct dbt_exception exception)
{
    v->raised = exception;
    if (UNLIKELY(atomic_load_explicit(&v->vm->exclusive, memory_order_relaxed) == v))
        dbt_exclusive_end(v);
    siglongjmp(v->fault_jump, 1);
}

_Noreturn void dbt_raise(struct dbt_vcpu *v, enum x86_vector vector)
{
    leave(v, (struct dbt_exception){.vector = (uint8_t)vector});
}

_Noreturn void dbt_raise_error(struct dbt_vcpu *v, enum x86_vector vector, uint32_t error)
{
    leave(v, (struct dbt_exception){.vector = (uint8_t)vector, .has_error = true, .error = error});
}

_Noreturn void dbt_raise_page_fault(struct dbt_vcpu *v, uint64_t linear, uint32_t error)
{
    v->cr2 = linear;
    dbt_raise_error(v, X86_PF_FAULT, error);
}

/* What is delivered, and how. */
struct event {
    uint8_t vector;
    bool software;   /* INT n, INT3, INTO: the gate's DPL counts */
    bool has_error;
    uint32_t error;
    bool fault;      /* RF is set in the pushed RFLAGS */
};

static uint32_t idt_error(const struct dbt_vcpu *v, uint8_t vector)
{
    return vector * 8u | IDT_FLAG | (v->delivering ? 1 : 0);
}

static uint64_t flags_to_push(const struct dbt_vcpu *v, const struct event *e)
{
    return dbt_get_rflags(v) | (e->fault ? X86_RF : 0);
}

static void deliver_real(struct dbt_vcpu *v, const struct event *e)
{
    struct stack stack = dbt_stack(v);
    uint64_t entry = v->idtr.base + e->vector * 4u, rip;
    uint16_t selector;

    if (e->vector * 4u + 3 > v->idtr.limit)
        dbt_raise_error(v, X86_GP, idt_error(v, e->vector));
    rip = dbt_load_system(v, entry, 2);
    selector = (uint16_t)dbt_load_system(v, entry + 2, 2);
    dbt_stack_push(v, &stack, 2, dbt_get_rflags(v));
    dbt_stack_push(v, &stack, 2, v->segment[X86_CS].selector);
    dbt_stack_push(v, &stack, 2, v->gpr[GPR_RIP]);
    dbt_set_rflags(v, dbt_get_rflags(v) & ~(uint64_t)(X86_IF | X86_TF | X86_AC | X86_RF));
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    dbt_segment_real(v, X86_CS, selector);
    v->gpr[GPR_RIP] = rip;
    dbt_update_mode(v);
}

struct gate {
    unsigned type, ist;
    uint16_t selector;
    uint64_t offset;
};

static struct gate read_gate(struct dbt_vcpu *v, const struct event *e)
{
    bool wide = dbt_long_mode(v);
    unsigned size = wide ? 16 : 8;
    uint32_t error = idt_error(v, e->vector);
    uint64_t low, address = v->idtr.base + e->vector * size;
    struct gate gate;

    if (e->vector * size + size - 1 > v->idtr.limit)
        dbt_raise_error(v, X86_GP, error);
    low = dbt_load_system(v, address, 8);
    gate.type = (unsigned)bit_range(low, 44, 40);
    gate.ist = wide ? (unsigned)bit_range(low, 34, 32) : 0;
    gate.selector = (uint16_t)bit_range(low, 31, 16);
    gate.offset = bit_range(low, 15, 0) | bit_range(low, 63, 48) << 16;
    if (gate.type == TYPE_INTERRUPT_GATE16 || gate.type == TYPE_TRAP_GATE16)
        gate.offset &= 0xffff;
    switch (gate.type) {
    case TYPE_INTERRUPT_GATE32: case TYPE_TRAP_GATE32:
        break;
    case TYPE_INTERRUPT_GATE16: case TYPE_TRAP_GATE16: case TYPE_TASK_GATE:
        if (!wide)
            break;
        __attribute__((fallthrough));
    default:
        dbt_raise_error(v, X86_GP, error);
    }
    if (e->software && bit_range(low, 46, 45) < v->cpl)
        dbt_raise_error(v, X86_GP, error);
    if (!(low & BIT(47)))
        dbt_raise_error(v, X86_NP, error);
    if (wide)
        gate.offset |= dbt_load_system(v, address + 8, 4) << 32;
    return gate;
}

/* The handler's code segment; *ret_cpl: the level it runs at. */
static struct descriptor read_handler_code(struct dbt_vcpu *v, const struct gate *gate, unsigned *ret_cpl)
{
    uint32_t error = dbt_selector_error(v, gate->selector);
    bool conforming, vm86 = v->rflags & X86_VM;
    struct descriptor d;

    if (selector_null(gate->selector) || !dbt_descriptor_read(v, gate->selector, &d) ||
        !segment_is_code(&d.segment) || d.segment.dpl > v->cpl)
        dbt_raise_error(v, X86_GP, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_NP, error);
    if (dbt_long_mode(v) && (!d.segment.l || d.segment.db))
        dbt_raise_error(v, X86_GP, error);
    conforming = d.segment.type & TYPE_CONFORMING;
    if (vm86 && (conforming || d.segment.dpl != 0))
        dbt_raise_error(v, X86_GP, error);
    *ret_cpl = conforming ? v->cpl : d.segment.dpl;
    return d;
}

static struct stack handler_stack64(struct dbt_vcpu *v, unsigned ist, unsigned cpl)
{
    struct x86_segment ss = cpl == v->cpl ? v->segment[X86_SS] : dbt_null_stack_segment(cpl);
    uint64_t sp = v->gpr[X86_RSP];
    struct stack stack;

    if (ist != 0)
        sp = dbt_tss_stack64(v, ist, true);
    else if (cpl != v->cpl)
        sp = dbt_tss_stack64(v, cpl, false);
    stack = dbt_stack_new(&ss, sp & ~UINT64_C(15), cpl, true);
    stack.error = dbt_selector_error(v, 0);
    return stack;
}

static struct stack handler_stack(struct dbt_vcpu *v, unsigned cpl)
{
    struct x86_segment ss;
    struct stack stack;
    uint16_t selector;
    uint64_t sp;

    if (cpl == v->cpl)
        return dbt_stack(v);
    dbt_tss_stack(v, cpl, &selector, &sp);
    ss = dbt_check_stack_segment(v, selector, cpl, X86_TS);
    stack = dbt_stack_new(&ss, sp, cpl, false);
    stack.error = dbt_selector_error(v, selector);
    return stack;
}

static void push_vm86_segments(struct dbt_vcpu *v, struct stack *stack, unsigned size)
{
    static const uint8_t order[] = {X86_GS, X86_FS, X86_DS, X86_ES};

    for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
        dbt_stack_push(v, stack, size, v->segment[order[i]].selector);
}

static void push_frame(struct dbt_vcpu *v, struct stack *stack, const struct event *e, unsigned size, bool with_stack)
{
    if (with_stack) {
        dbt_stack_push(v, stack, size, v->segment[X86_SS].selector);
        dbt_stack_push(v, stack, size, v->gpr[X86_RSP]);
    }
    dbt_stack_push(v, stack, size, flags_to_push(v, e));
    dbt_stack_push(v, stack, size, v->segment[X86_CS].selector);
    dbt_stack_push(v, stack, size, v->gpr[GPR_RIP]);
    if (e->has_error)
        dbt_stack_push(v, stack, size, e->error);
}

static void enter_handler(struct dbt_vcpu *v, const struct gate *gate, const struct descriptor *code,
                          const struct stack *stack, unsigned cpl)
{
    uint64_t clear = X86_TF | X86_NT | X86_RF | X86_VM | (gate->type & 1 ? 0 : X86_IF);
    bool vm86 = v->rflags & X86_VM;

    v->segment[X86_CS] = code->segment;
    v->segment[X86_CS].selector = (uint16_t)((gate->selector & ~3u) | cpl);
    v->segment[X86_SS] = stack->ss;
    v->gpr[X86_RSP] = cpl == v->cpl ? dbt_stack_pointer(stack, v->gpr[X86_RSP]) : stack->sp & stack->mask;
    v->gpr[GPR_RIP] = gate->offset;
    if (vm86)
        for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
            if (i != X86_CS && i != X86_SS)
                v->segment[i] = (struct x86_segment){0};
    dbt_set_rflags(v, dbt_get_rflags(v) & ~clear);
    dbt_update_mode(v);
}

static void deliver_protected(struct dbt_vcpu *v, const struct event *e)
{
    struct gate gate = read_gate(v, e);
    struct descriptor code;
    struct stack stack;
    unsigned cpl, size = 8;

    if (gate.type == TYPE_TASK_GATE) {
        dbt_task_switch(v, gate.selector, TASK_EVENT, e->has_error, e->error);
        return;
    }
    code = read_handler_code(v, &gate, &cpl);
    if (dbt_long_mode(v)) {
        stack = handler_stack64(v, gate.ist, cpl);
        push_frame(v, &stack, e, size, true);
    } else {
        size = gate.type & 8 ? 4 : 2;
        stack = handler_stack(v, cpl);
        if (v->rflags & X86_VM)
            push_vm86_segments(v, &stack, size);
        push_frame(v, &stack, e, size, cpl != v->cpl);
    }
    dbt_check_target(v, &code.segment, gate.offset);
    dbt_descriptor_mark_accessed(v, &code);
    enter_handler(v, &gate, &code, &stack, cpl);
}

static void deliver(struct dbt_vcpu *v, const struct event *e)
{
    if (v->cr0 & X86_CR0_PE)
        deliver_protected(v, e);
    else
        deliver_real(v, e);
    v->interrupt_shadow = 0;
    v->step_trap = false;
    v->run_state = X86_RUNNABLE;
}

void dbt_software_interrupt(struct dbt_vcpu *v, uint8_t vector)
{
    deliver(v, &(struct event){.vector = vector, .software = true});
    dbt_end_block(v);
}

static bool contributory(uint8_t vector)
{
    return vector == X86_DE || (vector >= X86_TS && vector <= X86_GP);
}

/* SDM vol. 3 table 6-5: what a second exception during delivery of the first becomes. */
static struct dbt_exception combine(struct dbt_exception first, struct dbt_exception second, bool *ret_triple)
{
    bool second_counts = contributory(second.vector) || second.vector == X86_PF_FAULT;

    *ret_triple = first.vector == X86_DF_FAULT && second_counts;
    if ((contributory(first.vector) && contributory(second.vector)) ||
        (first.vector == X86_PF_FAULT && second_counts))
        return (struct dbt_exception){.vector = X86_DF_FAULT, .has_error = true};
    return second;
}

static void deliver_exception(struct dbt_vcpu *v, struct dbt_exception exception)
{
    struct event e = {.vector = exception.vector, .has_error = exception.has_error && (v->cr0 & X86_CR0_PE),
                      .error = exception.error};

    e.fault = e.vector != X86_DB && e.vector != X86_DF_FAULT;
    if (e.vector == X86_DB)
        v->dr7 &= ~BIT(13); /* GD */
    v->delivering = true;
    v->delivered = exception;
    deliver(v, &e);
    v->delivering = false;
}

void dbt_exception_raised(struct dbt_vcpu *v)
{
    struct dbt_exception exception = v->raised;
    bool triple = false;

    if (v->op != NULL) {
        v->gpr[GPR_RIP] -= v->op->length;
        if (!dbt_code64(v))
            v->gpr[GPR_RIP] = (uint32_t)v->gpr[GPR_RIP];
        v->op = NULL;
    }
    if (v->delivering)
        exception = combine(v->delivered, exception, &triple);
    if (triple) {
        v->delivering = false;
        v->shutdown = true;
        return;
    }
    deliver_exception(v, exception);
}

/* Interrupts are benign: a fault during their delivery is delivered in their place. */
static void deliver_external(struct dbt_vcpu *v, uint8_t vector)
{
    v->delivering = true;
    v->delivered = (struct dbt_exception){.vector = X86_NMI};
    deliver(v, &(struct event){.vector = vector});
    v->delivering = false;
}

void dbt_deliver_interrupt(struct dbt_vcpu *v, uint8_t vector)
{
    deliver_external(v, vector);
}

void dbt_deliver_nmi(struct dbt_vcpu *v)
{
    v->nmi_masked = true;
    deliver_external(v, X86_NMI);
}

void dbt_deliver_debug_trap(struct dbt_vcpu *v, uint64_t dr6_bits)
{
    v->debug_pending = 0;
    v->dr6 = (v->dr6 & ~UINT64_C(0xf)) | dr6_bits;
    deliver_exception(v, (struct dbt_exception){.vector = X86_DB});
}

void dbt_deliver_restored_exception(struct dbt_vcpu *v)
{
    v->exception_restored = false;
    deliver_exception(v, v->raised);
}
