/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Labels: instructions of a translation that jumps of its own lead to, loops and joins, without leaving it and without a tail of their own.
 *
 * Only where that costs those nothing who come from the instruction before: flags are dead there, or in memory anyway, and no look in the
 * TLB is shared across. What the translator knows from the instructions before ends at a label. */
#include "engine/dbt/translate.h"

static struct guest_instruction *instruction_at(struct translator *t, uint64_t linear)
{
    uint64_t at = t->out->linear;

    for (unsigned i = 0; i < t->count; i++) {
        if (at == linear)
            return &t->instruction[i];
        at = t->instruction[i].next_rip;
    }
    return NULL;
}

void dbt_labels_find(struct translator *t)
{
    for (unsigned i = 0; i < t->count && t->v->lockstep == NULL; i++) { /* whose trials end with the translation */
        struct guest_instruction *g = &t->instruction[i];

        if (!dbt_is_plain_jump(g))
            continue;
        g->to = instruction_at(t, dbt_relative_target(g));
        if (g->to != NULL)
            g->to->label = true;
    }
}

static bool has_flags_in_memory(const struct translator *t, unsigned i)
{
    return i == 0 || dbt_is_call(&t->instruction[i - 1]);
}

static bool is_shared_across(const struct translator *t, unsigned label)
{
    for (unsigned i = 0; i < label; i++)
        if (t->instruction[i].share_last != 0 && t->instruction[i].share_until >= label)
            return true;
    return false;
}

void dbt_labels_choose(struct translator *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        struct guest_instruction *g = &t->instruction[i];

        if (g->label && !has_flags_in_memory(t, i) && (g->flags_before != 0 || is_shared_across(t, i)))
            g->label = false;
    }
}

void dbt_emit_label(struct translator *t, struct guest_instruction *g)
{
    g->at = t->e.at;
    t->host_flags = false;
    t->memory_flags = true;
    t->address_holds = 0;
}

bool dbt_leads_to_label(const struct guest_instruction *g)
{
    return g->to != NULL && g->to->label;
}

void dbt_emit_jump_to_label(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;

    emit_alu_memory_constant(e, 0, ALU_CMP, VCPU(attention), 0);
    emit_patch(emit_jump_if(e, IF_E), g->to->at);
    dbt_cold(t, COLD_LEAVE, NULL, emit_jump(e))->target = dbt_relative_target(g);
}

void dbt_emit_jump_to_label_if(struct translator *t, const struct guest_instruction *g, unsigned condition)
{
    t->jump[t->jumps++] = (struct jump){.distance = emit_jump_if(&t->e, condition), .to = g->to};
}

void dbt_labels_patch(struct translator *t)
{
    for (unsigned i = 0; i < t->jumps; i++)
        emit_patch(t->jump[i].distance, t->jump[i].to->at);
}
