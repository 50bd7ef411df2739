/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors, loads of segment registers, and stacks of other privilege levels (SDM vol. 3 ch. 3 and 5). */
#include "engine/dbt/segment.h"

static struct x86_segment unpack(uint16_t selector, uint64_t raw)
{
    struct x86_segment s = {
        .base = bit_range(raw, 39, 16) | (bit_range(raw, 63, 56) << 24),
        .limit = (uint32_t)(bit_range(raw, 15, 0) | (bit_range(raw, 51, 48) << 16)),
        .selector = selector,
        .type = (uint8_t)bit_range(raw, 43, 40),
        .s = (uint8_t)bit_range(raw, 44, 44),
        .dpl = (uint8_t)bit_range(raw, 46, 45),
        .present = (uint8_t)bit_range(raw, 47, 47),
        .avl = (uint8_t)bit_range(raw, 52, 52),
        .l = (uint8_t)bit_range(raw, 53, 53),
        .db = (uint8_t)bit_range(raw, 54, 54),
        .g = (uint8_t)bit_range(raw, 55, 55),
    };

    if (s.g)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

static bool descriptor_address(const struct dbt_vcpu *v, uint16_t selector, unsigned size, uint64_t *ret_address)
{
    bool local = selector & 4;
    uint32_t index = selector & ~7u, limit = local ? v->ldtr.limit : v->gdtr.limit;

    if ((local && !v->ldtr.present) || index + size - 1 > limit)
        return false;
    *ret_address = (local ? v->ldtr.base : v->gdtr.base) + index;
    if (!dbt_long_mode(v))
        *ret_address = (uint32_t)*ret_address;
    return true;
}

bool dbt_descriptor_read(struct dbt_vcpu *v, uint16_t selector, struct descriptor *ret_descriptor)
{
    uint64_t address;

    if (!descriptor_address(v, selector, 8, &address))
        return false;
    ret_descriptor->address = address;
    ret_descriptor->raw = dbt_load_system(v, address, 8);
    ret_descriptor->segment = unpack(selector, ret_descriptor->raw);
    return true;
}

bool dbt_descriptor_read_system(struct dbt_vcpu *v, uint16_t selector, struct descriptor *ret_descriptor)
{
    uint64_t address;

    if (!dbt_descriptor_read(v, selector, ret_descriptor))
        return false;
    if (!dbt_long_mode(v) || ret_descriptor->segment.s)
        return true;
    if (!descriptor_address(v, selector, 16, &address))
        return false;
    ret_descriptor->segment.base |= dbt_load_system(v, address + 8, 4) << 32;
    return true;
}

void dbt_descriptor_mark_accessed(struct dbt_vcpu *v, struct descriptor *descriptor)
{
    if (descriptor->segment.type & TYPE_ACCESSED)
        return;
    descriptor->segment.type |= TYPE_ACCESSED;
    dbt_store_system(v, descriptor->address + 5, 1, (descriptor->raw >> 40 & 0xff) | TYPE_ACCESSED);
}

uint32_t dbt_selector_error(const struct dbt_vcpu *v, uint16_t selector)
{
    return (selector & ~3u) | (v->delivering ? 1 : 0);
}

void dbt_segment_real(struct dbt_vcpu *v, unsigned segment, uint16_t selector)
{
    struct x86_segment *s = &v->segment[segment];
    bool vm86 = v->rflags & X86_VM;

    if (vm86 || !s->present || !s->s) /* otherwise limit and attributes stay: "unreal" mode */
        *s = (struct x86_segment){.limit = 0xffff, .type = 3, .s = 1, .present = 1, .dpl = vm86 ? 3 : 0};
    s->selector = selector;
    s->base = (uint64_t)selector << 4;
}

struct x86_segment dbt_null_stack_segment(unsigned cpl)
{
    return (struct x86_segment){.selector = (uint16_t)cpl, .dpl = (uint8_t)cpl};
}

struct x86_segment dbt_flat_code(uint16_t selector, unsigned dpl, bool long_mode)
{
    return (struct x86_segment){.selector = selector, .limit = UINT32_MAX, .type = 11, .s = 1, .dpl = (uint8_t)dpl,
                                .present = 1, .l = long_mode, .db = !long_mode, .g = 1};
}

struct x86_segment dbt_flat_data(uint16_t selector, unsigned dpl)
{
    return (struct x86_segment){.selector = selector, .limit = UINT32_MAX, .type = 3, .s = 1, .dpl = (uint8_t)dpl,
                                .present = 1, .db = 1, .g = 1};
}

struct x86_segment dbt_check_stack_segment(struct dbt_vcpu *v, uint16_t selector, unsigned cpl, enum x86_vector vector)
{
    uint32_t error = dbt_selector_error(v, selector);
    struct descriptor d;

    if (selector_null(selector) || !dbt_descriptor_read(v, selector, &d))
        dbt_raise_error(v, vector, error);
    if (selector_rpl(selector) != cpl || d.segment.dpl != cpl || !segment_is_writable_data(&d.segment))
        dbt_raise_error(v, vector, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_SS_FAULT, error);
    dbt_descriptor_mark_accessed(v, &d);
    return d.segment;
}

static void load_stack_segment(struct dbt_vcpu *v, uint16_t selector)
{
    if (!selector_null(selector)) {
        v->segment[X86_SS] = dbt_check_stack_segment(v, selector, v->cpl, X86_GP);
        return;
    }
    if (!dbt_code64(v) || v->cpl == 3 || selector_rpl(selector) != v->cpl)
        dbt_raise_error(v, X86_GP, 0);
    v->segment[X86_SS] = dbt_null_stack_segment(v->cpl);
}

void dbt_load_data_segment(struct dbt_vcpu *v, unsigned segment, uint16_t selector, enum x86_vector vector)
{
    uint32_t error = dbt_selector_error(v, selector);
    struct descriptor d;
    unsigned type;

    if (selector_null(selector)) {
        v->segment[segment] = (struct x86_segment){.selector = selector};
        return;
    }
    if (!dbt_descriptor_read(v, selector, &d))
        dbt_raise_error(v, vector, error);
    type = d.segment.type;
    if (!d.segment.s || (type & (TYPE_CODE | TYPE_READABLE)) == TYPE_CODE)
        dbt_raise_error(v, vector, error);
    if ((type & (TYPE_CODE | TYPE_CONFORMING)) != (TYPE_CODE | TYPE_CONFORMING) &&
        (selector_rpl(selector) > d.segment.dpl || v->cpl > d.segment.dpl))
        dbt_raise_error(v, vector, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_NP, error);
    dbt_descriptor_mark_accessed(v, &d);
    v->segment[segment] = d.segment;
}

void dbt_load_segment(struct dbt_vcpu *v, unsigned segment, uint16_t selector)
{
    if (!dbt_protected_mode(v))
        dbt_segment_real(v, segment, selector);
    else if (segment == X86_SS)
        load_stack_segment(v, selector);
    else
        dbt_load_data_segment(v, segment, selector, X86_GP);
    dbt_update_mode(v);
}

static uint64_t stack_mask(const struct x86_segment *ss, bool flat)
{
    if (flat)
        return UINT64_MAX;
    return ss->db ? 0xffffffff : 0xffff;
}

struct stack dbt_stack_new(const struct x86_segment *ss, uint64_t sp, unsigned cpl, bool flat)
{
    return (struct stack){.ss = *ss, .sp = sp, .mask = stack_mask(ss, flat), .cpl = cpl, .flat = flat};
}

struct stack dbt_stack(const struct dbt_vcpu *v)
{
    struct stack s = dbt_stack_new(&v->segment[X86_SS], v->gpr[X86_RSP], v->cpl, dbt_code64(v));

    s.error = dbt_selector_error(v, 0);
    return s;
}

static bool within_limit(const struct x86_segment *s, uint32_t offset, unsigned size)
{
    uint32_t last = offset + size - 1;

    if ((s->type & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN)
        return offset > s->limit && last >= offset && last <= (s->db ? UINT32_MAX : 0xffff);
    return last >= offset && last <= s->limit;
}

static uint64_t stack_address(struct dbt_vcpu *v, const struct stack *stack, uint64_t sp, unsigned size)
{
    if (stack->flat) {
        if (!dbt_canonical(sp) || !dbt_canonical(sp + size - 1))
            dbt_raise_error(v, X86_SS_FAULT, stack->error);
        return sp;
    }
    if (!within_limit(&stack->ss, (uint32_t)sp, size))
        dbt_raise_error(v, X86_SS_FAULT, stack->error);
    return (uint32_t)(stack->ss.base + sp);
}

void dbt_stack_push(struct dbt_vcpu *v, struct stack *stack, unsigned size, uint64_t value)
{
    uint64_t sp = (stack->sp - size) & stack->mask;

    dbt_store_as(v, stack->cpl, stack_address(v, stack, sp, size), size, truncate_to(value, size));
    stack->sp = sp;
}

uint64_t dbt_stack_peek(struct dbt_vcpu *v, const struct stack *stack, uint64_t offset, unsigned size)
{
    uint64_t sp = (stack->sp + offset) & stack->mask;

    return dbt_load_as(v, stack->cpl, stack_address(v, stack, sp, size), size);
}

uint64_t dbt_stack_pop(struct dbt_vcpu *v, struct stack *stack, unsigned size)
{
    uint64_t value = dbt_stack_peek(v, stack, 0, size);

    stack->sp = (stack->sp + size) & stack->mask;
    return value;
}

void dbt_tss_stack(struct dbt_vcpu *v, unsigned level, uint16_t *ret_ss, uint64_t *ret_sp)
{
    bool wide = v->tr.type & 8;
    unsigned offset = wide ? 4 + level * 8 : 2 + level * 4, size = wide ? 4 : 2;

    if (offset + 2 * size - 1 > v->tr.limit)
        dbt_raise_error(v, X86_TS, dbt_selector_error(v, v->tr.selector));
    *ret_sp = dbt_load_system(v, v->tr.base + offset, size);
    *ret_ss = (uint16_t)dbt_load_system(v, v->tr.base + offset + size, 2);
}

uint64_t dbt_tss_stack64(struct dbt_vcpu *v, unsigned level_or_ist, bool ist)
{
    unsigned offset = ist ? 36 + (level_or_ist - 1) * 8 : 4 + level_or_ist * 8;
    uint64_t sp;

    if (offset + 7 > v->tr.limit)
        dbt_raise_error(v, X86_TS, dbt_selector_error(v, v->tr.selector));
    sp = dbt_load_system(v, v->tr.base + offset, 8);
    if (!dbt_canonical(sp))
        dbt_raise_error(v, X86_SS_FAULT, dbt_selector_error(v, 0));
    return sp;
}

void dbt_check_target(struct dbt_vcpu *v, const struct x86_segment *cs, uint64_t rip)
{
    bool bad = dbt_long_mode(v) && cs->l ? !dbt_canonical(rip) : (uint32_t)rip > cs->limit;

    if (bad)
        dbt_raise_error(v, X86_GP, dbt_selector_error(v, 0));
}

void dbt_null_inaccessible_segments(struct dbt_vcpu *v, unsigned cpl)
{
    static const uint8_t list[] = {X86_ES, X86_DS, X86_FS, X86_GS};

    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        struct x86_segment *s = &v->segment[list[i]];
        bool conforming = (s->type & (TYPE_CODE | TYPE_CONFORMING)) == (TYPE_CODE | TYPE_CONFORMING);

        /* The base stays: that of FS and GS may have been set by an MSR, and 64-bit code goes on using it. */
        if (s->present && s->dpl < cpl && !conforming)
            *s = (struct x86_segment){.base = s->base};
    }
}
