/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The state of a vCPU as the lock-step mode keeps, puts back and compares it. */
#include "engine/dbt/lockstep_state.h"

#include <limits.h>

#include "engine/dbt/fpu.h"

struct state_field {
    const char *name;
    size_t offset, size; /* of one element */
    unsigned count;
    bool compared;
};

#define ONE(label, member) {label, offsetof(struct dbt_vcpu, member), sizeof(((struct dbt_vcpu *)NULL)->member), 1, true}
#define ARRAY(label, member)                                                                                                     \
    {label, offsetof(struct dbt_vcpu, member), sizeof(((struct dbt_vcpu *)NULL)->member[0]),                                     \
     ARRAY_SIZE(((struct dbt_vcpu *)NULL)->member), true}
#define KEPT(member) {NULL, offsetof(struct dbt_vcpu, member), sizeof(((struct dbt_vcpu *)NULL)->member), 1, false}

static const struct state_field fields[] = {
    ARRAY("general register", gpr), KEPT(flags), KEPT(overflow), ONE("cpl", cpl), ONE("mode", mode),
    ARRAY("segment base", segment_base), ONE("rflags", rflags), ARRAY("segment", segment), ONE("ldtr", ldtr), ONE("tr", tr),
    ONE("gdtr.base", gdtr.base), ONE("gdtr.limit", gdtr.limit), ONE("idtr.base", idtr.base), ONE("idtr.limit", idtr.limit),
    ONE("cr0", cr0), ONE("cr2", cr2), ONE("cr3", cr3), ONE("cr4", cr4), ARRAY("dr", dr), ONE("dr6", dr6), ONE("dr7", dr7),
    ONE("xcr0", xcr0), ONE("model-specific registers", msr), ONE("tsc_offset", tsc_offset), ONE("tlb_mode", tlb_mode),
    ARRAY("vector register", vector), ARRAY("opmask", opmask), ONE("pkru", pkru), ONE("fpu.mxcsr_masks", fpu.mxcsr_masks),
    ONE("fpu.opcode", fpu.opcode), ONE("fpu.x87_mode", fpu.x87_mode), ONE("fpu.ip", fpu.ip), ONE("fpu.dp", fpu.dp),
    ONE("interrupt_shadow", interrupt_shadow), ONE("debug_pending", debug_pending), ONE("nmi_masked", nmi_masked),
    ONE("run_state", run_state), KEPT(step_trap), KEPT(tlb), KEPT(vectors_away), KEPT(block_end),
};

_Static_assert(sizeof(struct x86_msrs) + sizeof(((struct dbt_vcpu *)NULL)->vector) + 1500 <= LOCKSTEP_FIELDS_SIZE, "all fields fit");

#define FOR_FIELDS(f, at)                                                                                          \
    for (size_t at = 0, i_ = 0; i_ < ARRAY_SIZE(fields); at += fields[i_].size * fields[i_].count, i_++)           \
        for (const struct state_field *f = &fields[i_]; f != NULL; f = NULL)

void dbt_lockstep_get(const struct dbt_vcpu *v, struct lockstep_state *ret_state)
{
    FOR_FIELDS(f, at)
        memcpy(ret_state->field + at, (const uint8_t *)v + f->offset, f->size * f->count);
    dbt_fpu_read(v, ret_state->x87);
}

void dbt_lockstep_set(struct dbt_vcpu *v, const struct lockstep_state *state)
{
    dbt_fpu_write(v, state->x87);
    FOR_FIELDS(f, at)
        memcpy((uint8_t *)v + f->offset, state->field + at, f->size * f->count);
    v->stack_limit[0] = v->stack_limit[1] = v->other_stack_limit = 0;
}

bool dbt_lockstep_equal(const struct lockstep_state *a, const struct lockstep_state *b)
{
    FOR_FIELDS(f, at)
        if (f->compared && memcmp(a->field + at, b->field + at, f->size * f->count) != 0)
            return false;
    return memcmp(a->x87, b->x87, sizeof(a->x87)) == 0;
}

static const uint8_t *find(const struct lockstep_state *state, size_t offset)
{
    FOR_FIELDS(f, at)
        if (offset >= f->offset && offset < f->offset + f->size * f->count)
            return state->field + at + (offset - f->offset);
    return NULL;
}

uint32_t dbt_lockstep_flags(const struct lockstep_state *state)
{
    return (*find(state, offsetof(struct dbt_vcpu, flags)) & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) |
           (*find(state, offsetof(struct dbt_vcpu, overflow)) ? X86_OF : 0);
}

uint64_t dbt_lockstep_rip(const struct lockstep_state *state)
{
    return load_le64(find(state, offsetof(struct dbt_vcpu, gpr[GPR_RIP])));
}

static void x87_differences(const struct lockstep_state *start, const struct lockstep_state *a, const struct lockstep_state *b,
                            lockstep_line_fn *line, void *ctx)
{
    for (unsigned i = 0; i < 10; i++)
        if (memcmp(a->x87 + 16 * i, b->x87 + 16 * i, 16) != 0)
            line(ctx, i < 2 ? "fxsave line" : "st", i < 2 ? i : i - 2, start->x87 + 16 * i, a->x87 + 16 * i, b->x87 + 16 * i, 16);
}

void dbt_lockstep_differences(const struct lockstep_state *start, const struct lockstep_state *a, const struct lockstep_state *b,
                              lockstep_line_fn *line, void *ctx)
{
    FOR_FIELDS(f, at)
        for (unsigned i = 0; i < f->count && f->compared; i++) {
            size_t n = at + i * f->size;

            if (memcmp(a->field + n, b->field + n, f->size) != 0)
                line(ctx, f->name, f->count > 1 ? i : UINT_MAX, start->field + n, a->field + n, b->field + n, (unsigned)f->size);
        }
    x87_differences(start, a, b, line, ctx);
}
