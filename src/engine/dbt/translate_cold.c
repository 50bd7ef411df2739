/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cold side of a translation: TLB misses, instructions left to the interpreter, side exits. Behind the code that runs. */
#include "engine/dbt/translate.h"

#include "engine/dbt/lockstep.h"
#include "engine/dbt/mirror.h"
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

    *kept = (struct translated_op){.op = g->op, .next_rip = g->next_rip, .number = dbt_translations_number(t->v, t->out)};
    return kept;
}

/* What the interpreter does over and over is kept decoded, and so is what has a thunk, which may be gone one day. */
static void describe(struct translator *t, const struct guest_instruction *g, struct cold_data *data)
{
    data->jumps = (g->op.flags & OP_END) != 0;
    data->falls_through = g->condition >= 0 && g->translate != NULL;
    data->in_memory = g->translate == NULL || g->op.extra != NULL;
    data->number = dbt_translations_number(t->v, data->in_memory ? (const void *)keep_op(t, g) : t->out);
    data->offset = (uint16_t)(g->next_rip - g->op.length - t->out->linear);
}

void dbt_emit_call_c(struct translator *t, const uint8_t *trampoline)
{
    uint8_t *number;
    uint32_t offset;

    emit8(&t->e, 0x68); /* push */
    number = t->e.at;
    emit32(&t->e, 0);
    emit_jump_to(&t->e, trampoline);
    offset = (uint32_t)(t->e.at - dbt_translations_start(t->v));
    memcpy(number, &offset, sizeof(offset));
}

/* The code behind the instruction is at `next`, or behind the data if NULL. */
static void emit_call(struct translator *t, const struct guest_instruction *g, const struct cold *cold, const uint8_t *next,
                      uint8_t *trampoline)
{
    struct cold_data data = {.next = (int32_t)sizeof(data)};

    dbt_emit_call_c(t, trampoline);
    describe(t, g, &data);
    if (next != NULL)
        data.next = (int32_t)(next - t->e.at);
    if (cold != NULL) {
        data.retry = cold->retry != NULL ? (int32_t)(cold->retry - t->e.at) : 0;
        data.size = cold->size;
        data.access = cold->access;
        data.align = cold->align;
        data.mirror = cold->mirror;
        data.by_tlb = cold->by_tlb != NULL ? (uint8_t)(t->e.at - cold->by_tlb) : 0;
        data.host_flags = next != NULL && cold->host_flags;
        data.direct = cold->mirror && t->direct;
        data.where = cold->where & 3u;
    }
    emit_bytes(&t->e, &data, sizeof(data));
}

void dbt_emit_interpret(struct translator *t, const struct guest_instruction *g)
{
    dbt_emit_interpret_by(t, g, dbt_translations_trampolines(t->v)->interpret);
}

void dbt_emit_interpret_by(struct translator *t, const struct guest_instruction *g, uint8_t *trampoline)
{
    dbt_flags_to_memory(t);
    emit_call(t, g, NULL, NULL, trampoline);
    t->host_flags = false;
    t->memory_flags = true;
}

static void emit_cold_access(struct translator *t, const struct cold *cold)
{
    const struct trampolines *trampolines = dbt_translations_trampolines(t->v);
    unsigned write = cold->access & ACCESS_WRITE ? 1 : 0;

    if (cold->kind == COLD_KNOWN)
        emit_constant(&t->e, ADDRESS, cold->target);
    emit_call(t, cold->instruction, cold, cold->next,
              cold->kind == COLD_KNOWN ? trampolines->access : trampolines->missed[write]);
}

/* The rest of a range that can't be had at once. */
static void emit_rest_of_range(struct translator *t, const struct cold *cold)
{
    uint8_t *interpret = dbt_translations_trampolines(t->v)->interpret;

    for (unsigned i = 1; i < cold->run; i++)
        emit_call(t, cold->instruction + i, cold, i + 1 == cold->run ? cold->next : NULL, interpret);
}

/* In a mirror: a look that finds the address outside of its window comes here, and so does a fault. */
static void emit_cold_look(struct translator *t, struct cold *cold)
{
    const struct trampolines *trampolines = dbt_translations_trampolines(t->v);
    bool shared = cold->kind == COLD_SHARED;

    dbt_emit_by_tlb(t, cold);
    for (unsigned n = 0; n < cold->distances; n++)
        emit_patch(cold->distance[n], t->e.at);
    dbt_translations_may_fault(t->v, cold->retry, cold->end, t->e.at);
    dbt_emit_linear(t, cold->instruction);
    emit_call(t, cold->instruction, cold, !shared || cold->run == 1 ? cold->next : NULL,
              shared ? trampolines->shared : trampolines->access);
    cold->mirror = false;
    if (shared)
        emit_rest_of_range(t, cold);
}

/* Nobody has asked the TLB. The interpreter does the instruction, the mirror gets the page, and what ADDRESS had comes back. */
static void emit_cold_mirrored(struct translator *t, const struct cold *cold)
{
    uint8_t *interpret = dbt_translations_trampolines(t->v)->interpret;

    dbt_translations_may_fault(t->v, cold->retry, cold->end, t->e.at);
    if (cold->save_flags)
        dbt_emit_save_flags(&t->e);
    if (cold->address_holds == 0) {
        emit_call(t, cold->instruction, cold, cold->next, interpret);
        return;
    }
    emit_call(t, cold->instruction, cold, NULL, interpret);
    dbt_emit_mirrored_address(t, cold);
    if (cold->host_flags)
        dbt_emit_restore_flags(&t->e);
    emit_jump_to(&t->e, cold->next);
}

/* Words of the stack. RSP moves at the end of them, so it is brought to where it belongs for the first that faults; the interpreter
 * does that instruction and the others behind it. */
static void emit_cold_words(struct translator *t, const struct cold *cold)
{
    uint8_t *interpret = dbt_translations_trampolines(t->v)->interpret, *distance[STACK_RUN_MAX];

    for (unsigned i = 0; i < cold->run; i++) {
        dbt_translations_may_fault(t->v, cold->word[i], i + 1 < cold->run ? cold->word[i + 1] : cold->end, t->e.at);
        if (cold->save_flags)
            dbt_emit_save_flags(&t->e);
        if (i > 0)
            emit_lea(&t->e, true, GUEST_RSP, at_base(GUEST_RSP, (int32_t)i * cold->step));
        distance[i] = emit_jump(&t->e);
    }
    for (unsigned i = 0; i < cold->run; i++) {
        emit_patch(distance[i], t->e.at);
        emit_call(t, cold->instruction + i, cold, i + 1 == cold->run ? cold->next : NULL, interpret);
    }
}

/* An operand that lies in the other window is fine, too; else the instruction is translated anew, and looks for it everywhere. */
static void emit_cold_elsewhere(struct translator *t, const struct cold *cold)
{
    dbt_emit_elsewhere(t, cold);
    dbt_emit_call_c(t, dbt_translations_trampolines(t->v)->elsewhere);
    emit_bytes(&t->e,
               &(struct cold_data){.number = dbt_translations_number(t->v, t->out),
                                   .offset = (uint16_t)(cold->instruction->next_rip - cold->instruction->op.length - t->out->linear)},
               sizeof(struct cold_data));
}

/* All of a range that can't be had at once. */
static void emit_cold_shared(struct translator *t, const struct cold *cold)
{
    const struct trampolines *trampolines = dbt_translations_trampolines(t->v);

    emit_call(t, cold->instruction, cold, cold->run == 1 ? cold->next : NULL,
              trampolines->missed_shared[cold->access & ACCESS_WRITE ? 1 : 0]);
    emit_rest_of_range(t, cold);
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
    emit_memory(&t->e, EMIT_W, 0x03, ADDRESS, VCPU(stack_base));
    if (cold->align == 0)
        emit_other_stack(t, cold);
    emit_call(t, cold->instruction, cold, cold->next, dbt_translations_trampolines(t->v)->stack);
}

/* All of a run in the other window. What is often there makes it the first one. */
static void emit_other_run(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;
    uint8_t *not_there, *not_whole, *seldom;

    emit_memory(e, EMIT_W, 0x03, ADDRESS, VCPU(stack_base));
    emit_memory(e, EMIT_W, 0x2b, ADDRESS, VCPU(other_stack_base));
    emit_memory(e, EMIT_W, 0x3b, ADDRESS, VCPU(other_stack_limit));
    not_there = emit_jump_if(e, IF_AE);
    emit_lea(e, true, SCRATCH, at_base(ADDRESS, (int32_t)cold->size - 8));
    emit_memory(e, EMIT_W, 0x3b, SCRATCH, VCPU(other_stack_limit));
    not_whole = emit_jump_if(e, IF_AE);
    emit_memory(e, EMIT_W, 0x03, ADDRESS, VCPU(other_stack_host));
    emit_alu_memory_constant(e, 0, ALU_SUB, VCPU(other_stack_runs), 1);
    seldom = emit_jump_if(e, IF_NS);
    emit_call_to(e, dbt_translations_trampolines(t->v)->exchange_stacks);
    emit_patch(seldom, e->at);
    emit_jump_to(e, cold->retry);
    emit_patch(not_there, e->at);
    emit_patch(not_whole, e->at);
}

/* A run of stack instructions of which not all are in a window: one by one. */
static void emit_cold_run(struct translator *t, const struct cold *cold)
{
    unsigned first = t->colds;

    emit_other_run(t, cold);
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
        if (cold->kind == COLD_LEAVE)
            dbt_emit_leave_to(t, cold->target);
        else if (cold->kind == COLD_STACK && cold->run > 1)
            emit_cold_run(t, cold);
        else if (cold->kind == COLD_MIRRORED)
            emit_cold_mirrored(t, cold);
        else if (cold->kind == COLD_WORDS)
            emit_cold_words(t, cold);
        else if (cold->kind == COLD_ELSEWHERE)
            emit_cold_elsewhere(t, cold);
        else if (cold->kind == COLD_ASTRAY)
            dbt_emit_astray(t, cold);
        else if (cold->kind == COLD_TOUCHED)
            dbt_emit_touched(t, cold);
        else if (cold->mirror)
            emit_cold_look(t, cold);
        else if (cold->kind == COLD_ACCESS || cold->kind == COLD_KNOWN)
            emit_cold_access(t, cold);
        else if (cold->kind == COLD_SHARED)
            emit_cold_shared(t, cold);
        else if (cold->kind == COLD_STACK)
            emit_cold_stack(t, cold);
        else
            emit_call(t, cold->instruction, cold, cold->next, dbt_translations_trampolines(t->v)->interpret);
    }
}

/* Whether there is code to go on with at RIP, wherever the instruction has led. */
static bool may_jump(struct dbt_vcpu *v)
{
    unsigned user = v->cpl == 3;

    if (atomic_load_explicit(&v->attention, memory_order_relaxed) != 0 || v->shutdown || !dbt_translatable(v) ||
        v->jump_table_mode[user] != dbt_translation_mode(v))
        return false;
    v->resume = (uint64_t)(uintptr_t)v->jump_table[user][dbt_jump_slot(v->gpr[GPR_RIP])];
    return true;
}

static bool jumped(const struct dbt_vcpu *v, const struct cold_data *data, const struct translated_op *op)
{
    return (op->op.flags & OP_END) && !(data->falls_through && v->gpr[GPR_RIP] == op->next_rip);
}

static uint64_t interpret(struct dbt_vcpu *v, const struct cold_data *data, bool leave)
{
    const struct translated_op *op = dbt_translated_op(v, data);
    uint64_t epoch = v->rights_epoch;
    bool stopped, jump;

    v->statistics[STATISTIC_HELPERS]++;
    v->op = &op->op;
    v->block_end = NULL;
    v->gpr[GPR_RIP] = op->next_rip;
    if (UNLIKELY(v->trying))
        dbt_lockstep_check_instruction(v, op->next_rip);
    op->op.execute(v, &op->op);
    jump = jumped(v, data, op);
    /* Looks in the TLB that are shared hold no longer; or other code must go on. */
    stopped = leave || v->block_end != NULL || jump || v->rights_epoch != epoch || (v->mirrored && !dbt_mirror_suits(v));
    v->op = NULL;
    v->resume = (uint64_t)(uintptr_t)data + (uint64_t)(int64_t)data->next;
    if (!stopped)
        return data->host_flags ? CALL_NEXT_FLAGS : CALL_NEXT;
    v->last_indirect = 0;
    return jump && may_jump(v) ? CALL_JUMP : CALL_LEAVE;
}

/* An access has been granted, with this address, or done. If that was the mirror's end its code is left. */
static uint64_t mirrored(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear, uint64_t result)
{
    bool before = v->mirrored;

    if (!data->mirror)
        return result;
    if (data->by_tlb != 0)
        dbt_mirror_look_again(v, data, linear);
    dbt_mirror_fill(v, linear, data->size);
    if (v->mirrored == before)
        return result;
    v->last_indirect = 0;
    return CALL_LEAVE;
}

static uint64_t operand_address(struct dbt_vcpu *v, const struct cold_data *data)
{
    const struct translated_op *op;

    switch (data->where) {
    case OPERAND_PUSHED: return v->gpr[X86_RSP] - 8;
    case OPERAND_POPPED: return v->gpr[X86_RSP];
    case OPERAND_FRAME: return v->gpr[X86_RBP];
    default:
        op = dbt_translated_op(v, data);
        v->gpr[GPR_RIP] = op->next_rip;
        return dbt_address(v, &op->op, 1, ACCESS_READ);
    }
}

/* The instruction at RIP is not to be done as it was translated. */
static uint64_t translate_anew(struct dbt_vcpu *v, const struct cold_data *data)
{
    v->gpr[GPR_RIP] = dbt_translated_rip(v, data);
    dbt_mirror_distrust(v, v->gpr[GPR_RIP]);
    dbt_translations_drop(v, data);
    v->last_indirect = 0;
    return CALL_LEAVE;
}

uint64_t dbt_translated_elsewhere(struct dbt_vcpu *v, const struct cold_data *data)
{
    return translate_anew(v, data);
}

/* Code behind a direct operand takes it for granted that the operand was in a window. */
uint64_t dbt_translated_interpret(struct dbt_vcpu *v, const struct cold_data *data)
{
    uint64_t linear = data->mirror ? operand_address(v, data) : 0;

    if (data->direct && data->where == OPERAND_EXPLICIT && dbt_mirror_window(linear) < 0)
        return translate_anew(v, data);
    return mirrored(v, data, linear, interpret(v, data, false));
}

/* The operand's page at once, or else all of the instruction. It is decoded for the latter only: a fault of the walk finds RIP at the
 * instruction, and one in progress that has no length. */
static uint64_t page_of(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear, uint64_t walked)
{
    static const struct op no_length = {.execute = NULL};
    bool write = (data->access & ACCESS_WRITE) != 0;
    const struct tlb_entry *entry = &v->tlb[TLB_INDEX(linear)];
    uint64_t epoch = v->rights_epoch;

    v->op = &no_length;
    v->block_end = NULL;
    v->gpr[GPR_RIP] = dbt_translated_rip(v, data);
    dbt_tlb_translate(v, v->tlb_mode, walked, write ? ACCESS_WRITE : ACCESS_READ);
    if (v->block_end != NULL || v->rights_epoch != epoch)
        return interpret(v, data, true);
    if ((write ? entry->write : entry->read) != TLB_PAGE(linear))
        return interpret(v, data, false);
    v->op = NULL;
    v->resume = (uint64_t)(uintptr_t)data + (uint64_t)(int64_t)data->retry;
    return (uint64_t)(uintptr_t)(entry->host + (linear & 0xfff));
}

uint64_t dbt_translated_access(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear)
{
    v->statistics[STATISTIC_ACCESS_HELPERS]++;
    if ((linear & 0xfff) > 4096u - data->size || (linear & data->align) || (dbt_code64(v) && !dbt_canonical(linear)) ||
        (data->jumps && /* a jump's checks have an order of their own */
         !dbt_tlb_find(v, v->tlb_mode, linear, data->access & ACCESS_WRITE ? ACCESS_WRITE : ACCESS_READ)))
        return mirrored(v, data, linear, interpret(v, data, false));
    return mirrored(v, data, linear, page_of(v, data, linear, linear));
}

/* linear: of the range. A fault is that of the instruction's own operand. */
uint64_t dbt_translated_shared(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear)
{
    v->statistics[STATISTIC_ACCESS_HELPERS]++;
    if ((linear & 0xfff) > 4096u - data->size || !dbt_canonical(linear) ||
        (data->access == (ACCESS_READ | ACCESS_WRITE) && !dbt_tlb_find(v, v->tlb_mode, linear, ACCESS_WRITE)))
        return mirrored(v, data, linear, interpret(v, data, false));
    return mirrored(v, data, linear, page_of(v, data, linear, dbt_address(v, &dbt_translated_op(v, data)->op, 1, ACCESS_READ)));
}
