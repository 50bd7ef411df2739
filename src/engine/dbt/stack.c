/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The stack: PUSH POP PUSHA POPA ENTER LEAVE. Near calls and returns are in control.c, segment registers in segment.c. */
#include "engine/dbt/alu.h"

static uint64_t stack_mask(const struct dbt_vcpu *v)
{
    if (dbt_code64(v))
        return UINT64_MAX;
    return (v->mode & MODE_STACK32) ? UINT32_MAX : UINT16_MAX;
}

static void set_stack_pointer(struct dbt_vcpu *v, uint64_t value)
{
    if (dbt_code64(v))
        v->gpr[X86_RSP] = value;
    else if (v->mode & MODE_STACK32)
        gpr32_set(v, X86_RSP, (uint32_t)value);
    else
        *gpr16(v, X86_RSP) = (uint16_t)value;
}

void dbt_push(struct dbt_vcpu *v, uint64_t value, unsigned size)
{
    uint64_t sp = (v->gpr[X86_RSP] - size) & stack_mask(v);

    dbt_store(v, dbt_segment_address(v, X86_SS, sp, size, ACCESS_WRITE), size, value);
    set_stack_pointer(v, sp);
}

static uint64_t peek(struct dbt_vcpu *v, uint64_t offset, unsigned size)
{
    uint64_t sp = (v->gpr[X86_RSP] + offset) & stack_mask(v);

    return dbt_load(v, dbt_segment_address(v, X86_SS, sp, size, ACCESS_READ), size);
}

uint64_t dbt_pop(struct dbt_vcpu *v, unsigned size)
{
    uint64_t value = peek(v, 0, size);

    set_stack_pointer(v, v->gpr[X86_RSP] + size);
    return value;
}

/* The commonest forms, in 64-bit code. A miss takes the way that knows of #SS. */
static void push64(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t sp = v->gpr[X86_RSP] - 8;
    volatile uint64_t_unaligned *p = dbt_write_fast(v, sp, 8);

    if (UNLIKELY(p == NULL)) {
        dbt_push(v, v->gpr[op->reg[0]], 8);
        return;
    }
    *p = v->gpr[op->reg[0]];
    v->gpr[X86_RSP] = sp;
}

static void pop64(struct dbt_vcpu *v, const struct op *op)
{
    const volatile uint64_t_unaligned *p = dbt_read_fast(v, v->gpr[X86_RSP], 8);
    uint64_t value = LIKELY(p != NULL) ? *p : peek(v, 0, 8);

    v->gpr[X86_RSP] += 8;
    v->gpr[op->reg[0]] = value;
}

static void push_register(struct dbt_vcpu *v, const struct op *op)
{
    dbt_push(v, v->gpr[op->reg[0]], op->size);
}

static void push_immediate(struct dbt_vcpu *v, const struct op *op)
{
    dbt_push(v, op->immediate, op->size);
}

static void push_memory(struct dbt_vcpu *v, const struct op *op)
{
    dbt_push(v, dbt_load(v, dbt_address(v, op, op->size, ACCESS_READ), op->size), op->size);
}

static void pop_register(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value = dbt_pop(v, op->size);

    if (op->size == 2)
        *gpr16(v, op->reg[0]) = (uint16_t)value;
    else
        v->gpr[op->reg[0]] = value;
}

/* The address is computed with the stack pointer already moved (SDM: POP). */
static void pop_memory(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value = peek(v, 0, op->size);
    struct op moved = *op;

    if (op->base == X86_RSP)
        moved.displacement += op->size;
    dbt_store(v, dbt_address(v, &moved, op->size, ACCESS_WRITE), op->size, value);
    set_stack_pointer(v, v->gpr[X86_RSP] + op->size);
}

static void pusha(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t old = v->gpr[X86_RSP], sp = old & stack_mask(v);
    unsigned size = op->size;

    /* All of them are checked before the first is stored. */
    for (unsigned i = 1; i <= 8; i++)
        dbt_probe(v, dbt_segment_address(v, X86_SS, (sp - i * size) & stack_mask(v), size, ACCESS_WRITE), size, ACCESS_WRITE);
    for (unsigned i = 0; i < 8; i++)
        dbt_store(v, dbt_segment_address(v, X86_SS, (sp - (i + 1) * size) & stack_mask(v), size, ACCESS_WRITE), size,
                  i == X86_RSP ? old : v->gpr[i]);
    set_stack_pointer(v, sp - 8 * size);
}

static void popa(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value[8];

    for (unsigned i = 0; i < 8; i++)
        value[i] = i == 3 ? 0 : peek(v, i * op->size, op->size); /* the saved stack pointer is skipped */
    for (unsigned i = 0; i < 8; i++) {
        unsigned n = 7 - i;

        if (n == X86_RSP)
            continue;
        if (op->size == 2)
            *gpr16(v, n) = (uint16_t)value[i];
        else
            gpr32_set(v, n, (uint32_t)value[i]);
    }
    set_stack_pointer(v, v->gpr[X86_RSP] + 8 * op->size);
}

static void leave(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t frame = v->gpr[X86_RBP] & stack_mask(v);
    uint64_t value = dbt_load(v, dbt_segment_address(v, X86_SS, frame, op->size, ACCESS_READ), op->size);

    set_stack_pointer(v, frame + op->size);
    if (op->size == 2)
        *gpr16(v, X86_RBP) = (uint16_t)value;
    else
        v->gpr[X86_RBP] = value;
}

/* immediate: bytes of locals; argument: nesting level 0..31. */
static void enter(struct dbt_vcpu *v, const struct op *op)
{
    unsigned size = op->size, level = op->argument;
    uint64_t mask = stack_mask(v), frame = (v->gpr[X86_RSP] - size) & mask, sp = frame, value[32];

    for (unsigned i = 1; i < level; i++) {
        uint64_t at = (v->gpr[X86_RBP] - (uint64_t)i * size) & mask;

        value[i] = dbt_load(v, dbt_segment_address(v, X86_SS, at, size, ACCESS_READ), size);
    }
    dbt_store(v, dbt_segment_address(v, X86_SS, frame, size, ACCESS_WRITE), size, v->gpr[X86_RBP]);
    for (unsigned i = 1; i <= level; i++) {
        sp = (sp - size) & mask;
        dbt_store(v, dbt_segment_address(v, X86_SS, sp, size, ACCESS_WRITE), size, i < level ? value[i] : frame);
    }
    sp = (sp - op->immediate) & mask;
    dbt_probe(v, dbt_segment_address(v, X86_SS, sp, size, ACCESS_WRITE), size, ACCESS_WRITE);
    if (size == 2)
        *gpr16(v, X86_RBP) = (uint16_t)frame;
    else if (size == 4)
        gpr32_set(v, X86_RBP, (uint32_t)frame);
    else
        v->gpr[X86_RBP] = frame;
    set_stack_pointer(v, sp);
}

static op_fn *bind_push(const struct decode *d, struct op *op)
{
    if (dbt_is_memory(d, 0))
        return push_memory;
    if (dbt_is_immediate(d, 0))
        return push_immediate;
    if (ZydisRegisterGetClass(d->operand[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
        return NULL;
    return op->size == 8 ? push64 : push_register;
}

static op_fn *bind_pop(const struct decode *d, struct op *op)
{
    if (dbt_is_memory(d, 0))
        return pop_memory;
    if (ZydisRegisterGetClass(d->operand[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
        return NULL;
    return op->size == 8 ? pop64 : pop_register;
}

op_fn *dbt_bind_stack(const struct decode *d, struct op *op)
{
    if (!(op->flags & OP_MEMORY))
        op->segment = X86_SS;
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_PUSH: return bind_push(d, op);
    case ZYDIS_MNEMONIC_POP: return bind_pop(d, op);
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD: return pusha;
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD: return popa;
    case ZYDIS_MNEMONIC_LEAVE: return leave;
    case ZYDIS_MNEMONIC_ENTER:
        op->immediate = d->operand[0].imm.value.u & 0xffff;
        op->argument = d->operand[1].imm.value.u & 31;
        return enter;
    default: return NULL;
    }
}
