/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hardware task switch of legacy protected mode (SDM vol. 3 ch. 7). */
#include "engine/dbt/segment.h"
#include "engine/dbt/tlb.h"

/* Where things lie in a TSS of either size. */
struct layout {
    uint8_t cr3, ip, flags, gpr, gpr_size, segments, segment_size, segment_count, ldt;
    uint32_t limit; /* the smallest */
};
static const struct layout layout16 = {.ip = 0x0e, .flags = 0x10, .gpr = 0x12, .gpr_size = 2, .segments = 0x22,
                                       .segment_size = 2, .segment_count = 4, .ldt = 0x2a, .limit = 0x2b};
static const struct layout layout32 = {.cr3 = 0x1c, .ip = 0x20, .flags = 0x24, .gpr = 0x28, .gpr_size = 4,
                                       .segments = 0x48, .segment_size = 4, .segment_count = 6, .ldt = 0x60,
                                       .limit = 0x67};

static const struct layout *layout_of(const struct x86_segment *tss)
{
    return tss->type & 8 ? &layout32 : &layout16;
}

static uint64_t load(struct dbt_vcpu *v, const struct x86_segment *tss, unsigned offset, unsigned size)
{
    return dbt_load_system(v, (uint32_t)(tss->base + offset), size);
}

static void store(struct dbt_vcpu *v, const struct x86_segment *tss, unsigned offset, unsigned size, uint64_t value)
{
    dbt_store_system(v, (uint32_t)(tss->base + offset), size, truncate_to(value, size));
}

struct task { /* a TSS read in */
    uint64_t cr3, ip, flags;
    uint32_t gpr[8];
    uint16_t segment[6], ldt;
    bool debug_trap;
};

static struct task read_task(struct dbt_vcpu *v, const struct x86_segment *tss)
{
    const struct layout *l = layout_of(tss);
    struct task t = {0};

    t.cr3 = l->cr3 ? load(v, tss, l->cr3, 4) : v->cr3;
    t.ip = load(v, tss, l->ip, l->gpr_size);
    t.flags = load(v, tss, l->flags, l->gpr_size);
    for (unsigned i = 0; i < 8; i++)
        t.gpr[i] = (uint32_t)load(v, tss, l->gpr + i * l->gpr_size, l->gpr_size);
    for (unsigned i = 0; i < l->segment_count; i++)
        t.segment[i] = (uint16_t)load(v, tss, l->segments + i * l->segment_size, 2);
    t.ldt = (uint16_t)load(v, tss, l->ldt, 2);
    t.debug_trap = l == &layout32 && (load(v, tss, 0x64, 2) & 1);
    return t;
}

static void save_task(struct dbt_vcpu *v, uint64_t flags)
{
    const struct layout *l = layout_of(&v->tr);

    store(v, &v->tr, l->ip, l->gpr_size, v->gpr[GPR_RIP]);
    store(v, &v->tr, l->flags, l->gpr_size, flags);
    for (unsigned i = 0; i < 8; i++)
        store(v, &v->tr, l->gpr + i * l->gpr_size, l->gpr_size, v->gpr[i]);
    for (unsigned i = 0; i < l->segment_count; i++)
        store(v, &v->tr, l->segments + i * l->segment_size, 2, v->segment[i].selector);
}

static void set_busy(struct dbt_vcpu *v, uint16_t selector, bool busy)
{
    struct descriptor d;
    uint64_t byte;

    if (!dbt_descriptor_read(v, selector, &d))
        return;
    byte = d.raw >> 40 & 0xff;
    dbt_store_system(v, d.address + 5, 1, busy ? byte | 2 : byte & ~UINT64_C(2));
}

static struct descriptor check_tss(struct dbt_vcpu *v, uint16_t selector, enum task_switch why)
{
    enum x86_vector vector = why == TASK_IRET ? X86_TS : X86_GP;
    uint32_t error = dbt_selector_error(v, selector);
    struct descriptor d;
    unsigned type;

    if (selector_null(selector) || (selector & 4) || !dbt_descriptor_read(v, selector, &d))
        dbt_raise_error(v, vector, error);
    type = d.segment.s ? 0 : d.segment.type;
    if (why == TASK_IRET ? type != TYPE_TSS16_BUSY && type != TYPE_TSS32_BUSY
                         : type != TYPE_TSS16 && type != TYPE_TSS32)
        dbt_raise_error(v, vector, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_NP, error);
    if (d.segment.limit < layout_of(&d.segment)->limit)
        dbt_raise_error(v, X86_TS, error);
    return d;
}

static void load_ldt(struct dbt_vcpu *v, uint16_t selector)
{
    uint32_t error = dbt_selector_error(v, selector);
    struct descriptor d;

    v->ldtr = (struct x86_segment){.selector = selector};
    if (selector_null(selector))
        return;
    if ((selector & 4) || !dbt_descriptor_read(v, selector, &d) || d.segment.s || d.segment.type != TYPE_LDT ||
        !d.segment.present)
        dbt_raise_error(v, X86_TS, error);
    v->ldtr = d.segment;
}

static void load_code(struct dbt_vcpu *v, uint16_t selector)
{
    uint32_t error = dbt_selector_error(v, selector);
    unsigned rpl = selector_rpl(selector);
    struct descriptor d;

    if (selector_null(selector) || !dbt_descriptor_read(v, selector, &d) || !segment_is_code(&d.segment))
        dbt_raise_error(v, X86_TS, error);
    if (d.segment.type & TYPE_CONFORMING ? d.segment.dpl > rpl : d.segment.dpl != rpl)
        dbt_raise_error(v, X86_TS, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_NP, error);
    dbt_descriptor_mark_accessed(v, &d);
    v->segment[X86_CS] = d.segment;
}

/* From here on a fault is one of the new task, at its first instruction. */
static void load_segments(struct dbt_vcpu *v, const struct task *t)
{
    unsigned cpl = selector_rpl(t->segment[X86_CS]);

    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        v->segment[i] = (struct x86_segment){.selector = t->segment[i], .dpl = i == X86_SS ? (uint8_t)cpl : 0};
    if (v->rflags & X86_VM) {
        for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
            dbt_segment_real(v, i, t->segment[i]);
        return;
    }
    load_ldt(v, t->ldt);
    load_code(v, t->segment[X86_CS]);
    dbt_update_mode(v);
    v->segment[X86_SS] = dbt_check_stack_segment(v, t->segment[X86_SS], cpl, X86_TS);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        if (i != X86_CS && i != X86_SS)
            dbt_load_data_segment(v, i, t->segment[i], X86_TS);
}

static void load_registers(struct dbt_vcpu *v, const struct task *t, const struct x86_segment *tss)
{
    bool wide = layout_of(tss) == &layout32;

    if (wide && (v->cr0 & X86_CR0_PG))
        dbt_tlb_set_cr3(v, t->cr3);
    v->gpr[GPR_RIP] = t->ip;
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] = wide ? t->gpr[i] : t->gpr[i] | (uint32_t)(v->gpr[i] & 0xffff0000);
    dbt_set_rflags(v, t->flags);
}

static void push_error(struct dbt_vcpu *v, const struct x86_segment *tss, uint32_t error)
{
    struct stack stack = dbt_stack(v);

    dbt_stack_push(v, &stack, layout_of(tss)->gpr_size, error);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
}

void dbt_task_switch(struct dbt_vcpu *v, uint16_t selector, enum task_switch why, bool has_error, uint32_t error)
{
    struct descriptor d = check_tss(v, selector, why);
    struct task t = read_task(v, &d.segment);
    uint64_t flags = dbt_get_rflags(v);
    bool nested = why == TASK_CALL || why == TASK_EVENT;

    dbt_probe(v, v->tr.base, layout_of(&v->tr)->limit + 1, ACCESS_READ | ACCESS_WRITE);
    save_task(v, why == TASK_IRET ? flags & ~(uint64_t)X86_NT : flags);
    if (!nested)
        set_busy(v, v->tr.selector, false);
    if (nested) {
        store(v, &d.segment, 0, 2, v->tr.selector);
        t.flags |= X86_NT;
    }
    if (why != TASK_IRET)
        set_busy(v, selector, true);
    v->op = NULL;
    v->tr = d.segment;
    v->tr.type |= 2;
    v->cr0 |= X86_CR0_TS;
    v->dr7 &= ~UINT64_C(0x155); /* local breakpoints */
    dbt_debug_changed(v);
    load_registers(v, &t, &d.segment);
    load_segments(v, &t);
    dbt_update_mode(v);
    if (has_error)
        push_error(v, &d.segment, error);
    dbt_check_target(v, &v->segment[X86_CS], v->gpr[GPR_RIP]);
    if (t.debug_trap) {
        v->debug_pending |= BIT(15);
        dbt_set_attention(v, ATTENTION_STEP);
    }
}
