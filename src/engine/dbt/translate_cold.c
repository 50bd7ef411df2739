/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cold side of a translation: TLB misses, instructions left to the interpreter, side exits. Behind the code that runs. */
#include "engine/dbt/translate.h"

#include "engine/dbt/tlb.h"

struct cold *dbt_cold(struct translator *t, enum cold_kind kind, const struct guest_instruction *g, uint8_t *distance)
{
    struct cold *cold = &t->cold[t->colds++];

    *cold = (struct cold){.kind = kind, .instruction = g, .distance = {distance}, .distances = 1};
    return cold;
}

static struct translated_op *keep_op(struct translator *t, const struct guest_instruction *g)
{
    struct translated_op *kept = dbt_translations_allocate(t->v, sizeof(*kept));

    kept->op = g->op;
    kept->next_rip = g->next_rip;
    kept->falls_through = dbt_jump_condition(g->decoded->mnemonic) >= 0 && g->translate != NULL;
    return kept;
}

/* SCRATCH = what follows the jump; the trampoline reads it and comes back behind it. Returns the jump's place for a retry. */
static uint8_t *emit_call(struct translator *t, const struct guest_instruction *g, const struct cold *cold, uint8_t *trampoline)
{
    struct cold_data data = {.op = keep_op(t, g)};
    uint8_t *distance = emit_lea_rip(&t->e, SCRATCH);
    uint8_t *place;

    if (cold != NULL) {
        data.size = cold->size;
        data.access = cold->access;
        data.align = cold->align;
    }
    emit_jump_to(&t->e, trampoline);
    emit_patch(distance, t->e.at);
    place = t->e.at + offsetof(struct cold_data, retry);
    emit_bytes(&t->e, &data, sizeof(data));
    return place;
}

void dbt_emit_interpret(struct translator *t, const struct guest_instruction *g)
{
    dbt_flags_to_memory(t);
    emit_call(t, g, NULL, dbt_translations_trampolines(t->v)->interpret);
    t->host_flags = false;
    t->memory_flags = true;
}

static void emit_cold_access(struct translator *t, const struct cold *cold)
{
    struct emitter here;

    /* Back to the linear address: the entry is still the one that was looked at. */
    if (cold->kind == COLD_KNOWN)
        emit_constant(&t->e, ADDRESS, cold->target);
    else
        emit_memory(&t->e, EMIT_W, 0x33, ADDRESS, at_base(SCRATCH, dbt_tag_offset(cold->access)));
    here.at = emit_call(t, cold->instruction, cold, cold->kind == COLD_SHARED ? dbt_translations_trampolines(t->v)->shared
                                                                              : dbt_translations_trampolines(t->v)->access);
    emit_jump_to(&here, cold->retry);
    for (unsigned i = 1; cold->kind == COLD_SHARED && i < cold->run; i++)
        emit_call(t, cold->instruction + i, NULL, dbt_translations_trampolines(t->v)->interpret);
}

/* In the other window, perhaps. This stands here and not in the trampoline so that each place has a jump of its own to predict. */
static void emit_other_stack(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;
    uint8_t *not_there;

    emit_memory(e, EMIT_W, 0x2b, ADDRESS, VCPU(other_stack_base)); /* sub */
    emit_memory(e, EMIT_W, 0x3b, ADDRESS, VCPU(other_stack_limit)); /* cmp */
    not_there = emit_jump_if(e, IF_AE);
    emit_memory(e, EMIT_W, 0x03, ADDRESS, VCPU(other_stack_host));
    emit_jump_to(e, cold->retry);
    emit_patch(not_there, e->at);
    emit_memory(e, EMIT_W, 0x03, ADDRESS, VCPU(other_stack_base));
}

static void emit_cold_stack(struct translator *t, const struct cold *cold)
{
    struct emitter here;

    emit_memory(&t->e, EMIT_W, 0x03, ADDRESS, VCPU(stack_base));
    if (cold->align == 0)
        emit_other_stack(t, cold);
    here.at = emit_call(t, cold->instruction, cold, dbt_translations_trampolines(t->v)->stack);
    emit_jump_to(&here, cold->retry);
}

/* A run of stack instructions of which not all are in the window: one by one. */
static void emit_cold_run(struct translator *t, const struct cold *cold)
{
    unsigned first = t->colds;

    t->single = true;
    t->host_flags = false;
    t->memory_flags = true;
    for (unsigned i = 0; i < cold->run; i++) {
        const struct guest_instruction *g = cold->instruction + i;

        g->translate(t, g);
        for (; first < t->colds; first++)
            t->cold[first].next = t->e.at;
    }
    t->single = false;
}

/* The interpreter leaves flags in memory; the code that goes on may want them in the host's. */
static void emit_go_on(struct translator *t, const struct cold *cold)
{
    if (cold->host_flags)
        dbt_emit_restore_flags(&t->e);
    emit_jump_to(&t->e, cold->next);
}

void dbt_emit_cold(struct translator *t)
{
    for (unsigned i = 0; i < t->colds; i++) {
        struct cold *cold = &t->cold[i];

        for (unsigned n = 0; n < cold->distances; n++)
            emit_patch(cold->distance[n], t->e.at);
        if (cold->kind == COLD_EXIT) {
            if (cold->save_flags) {
                dbt_emit_save_flags(&t->e);
                dbt_emit_exit(t, cold->target, false);
            } else {
                dbt_emit_side_exit(t, cold->target, cold->distance[0]);
            }
            continue;
        }
        if (cold->kind == COLD_STACK && cold->run > 1)
            emit_cold_run(t, cold);
        else if (cold->kind == COLD_ACCESS || cold->kind == COLD_KNOWN || cold->kind == COLD_SHARED)
            emit_cold_access(t, cold);
        else if (cold->kind == COLD_STACK)
            emit_cold_stack(t, cold);
        else
            emit_call(t, cold->instruction, NULL, dbt_translations_trampolines(t->v)->interpret);
        emit_go_on(t, cold);
    }
}

static void begin(struct dbt_vcpu *v, const struct translated_op *op)
{
    v->op = &op->op;
    v->block_end = NULL;
    v->gpr[GPR_RIP] = op->next_rip;
}

/* Whether there is code to go on with at RIP, wherever the instruction has led. */
static bool may_jump(struct dbt_vcpu *v)
{
    unsigned user = v->cpl == 3;

    if (atomic_load_explicit(&v->attention, memory_order_relaxed) != 0 || v->shutdown || !dbt_translatable(v) ||
        v->jump_table_mode[user] != (v->mode | (user ? MODE_USER : 0)))
        return false;
    v->resume = (uint64_t)(uintptr_t)v->jump_table[user][dbt_jump_slot(v->gpr[GPR_RIP])];
    return true;
}

static bool jumped(const struct dbt_vcpu *v, const struct translated_op *op)
{
    return (op->op.flags & OP_END) && !(op->falls_through && v->gpr[GPR_RIP] == op->next_rip);
}

static uint64_t interpret(struct dbt_vcpu *v, const struct translated_op *op)
{
    uint64_t epoch = v->rights_epoch;
    bool stopped, jump;

    v->statistics[STATISTIC_HELPERS]++;
    op->op.execute(v, &op->op);
    jump = jumped(v, op);
    stopped = v->block_end != NULL || jump || v->rights_epoch != epoch; /* looks in the TLB that are shared hold no longer */
    v->op = NULL;
    if (!stopped)
        return CALL_NEXT;
    v->last_indirect = 0;
    return jump && may_jump(v) ? CALL_JUMP : CALL_LEAVE;
}

uint64_t dbt_translated_interpret(struct dbt_vcpu *v, const struct cold_data *data)
{
    begin(v, data->op);
    return interpret(v, data->op);
}

static uint64_t page_of(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear, uint64_t walked)
{
    bool write = (data->access & ACCESS_WRITE) != 0;
    const struct tlb_entry *entry = &v->tlb[TLB_INDEX(linear)];
    uint64_t epoch = v->rights_epoch;

    dbt_tlb_translate(v, v->tlb_mode, walked, write ? ACCESS_WRITE : ACCESS_READ);
    if ((write ? entry->write : entry->read) != TLB_PAGE(linear) || v->rights_epoch != epoch)
        return interpret(v, data->op);
    v->op = NULL;
    return (uint64_t)(uintptr_t)(entry->host + (linear & 0xfff));
}

uint64_t dbt_translated_access(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear)
{
    begin(v, data->op);
    v->statistics[STATISTIC_ACCESS_HELPERS]++;
    if ((linear & 0xfff) > 4096u - data->size || (linear & data->align) || (dbt_code64(v) && !dbt_canonical(linear)) ||
        ((data->op->op.flags & OP_END) && /* a jump's checks have an order of their own */
         !dbt_tlb_find(v, v->tlb_mode, linear, data->access & ACCESS_WRITE ? ACCESS_WRITE : ACCESS_READ)))
        return interpret(v, data->op);
    return page_of(v, data, linear, linear);
}

/* linear: of the range. A fault is that of the instruction's own operand. */
uint64_t dbt_translated_shared(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear)
{
    begin(v, data->op);
    v->statistics[STATISTIC_ACCESS_HELPERS]++;
    if ((linear & 0xfff) > 4096u - data->size || !dbt_canonical(linear))
        return interpret(v, data->op);
    return page_of(v, data, linear, dbt_address(v, &data->op->op, 1, ACCESS_READ));
}
