/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes one translation: decodes, looks at the flags backwards, emits forwards. See translate.h. */
#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/dbt/entry_check.h"
#include "engine/dbt/lockstep.h"

struct source { /* where instructions are decoded from */
    uint64_t linear;
    const uint8_t *bytes; /* at linear, to the end of the page */
    unsigned avail;
};

static bool raises(op_fn *execute)
{
    return execute == dbt_op_undefined || execute == dbt_op_device_not_available || execute == dbt_op_general_protection;
}

static uint8_t memory_operand(const struct guest_instruction *g)
{
    for (unsigned i = 0; i < g->decoded->operand_count_visible; i++)
        if (g->operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY && g->operand[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN)
            return (uint8_t)i;
    return MEMORY_NONE;
}

static uint16_t written_registers(const struct guest_instruction *g)
{
    unsigned written = 0;

    for (unsigned i = 0; i < g->decoded->operand_count; i++) {
        const ZydisDecodedOperand *o = &g->operand[i];

        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
            dbt_thunk_is_gpr(o->reg.value))
            written |= 1u << dbt_thunk_gpr_number(o->reg.value);
    }
    return (uint16_t)written;
}

static bool is_by_base(const struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
    const ZydisDecodedOperandMem *m = &operand->mem;

    return operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && g->decoded->address_width == 64 && m->base != ZYDIS_REGISTER_NONE &&
           m->base != ZYDIS_REGISTER_RIP && m->segment != ZYDIS_REGISTER_FS && m->segment != ZYDIS_REGISTER_GS &&
           operand->size != 0 && operand->size <= 32 * 8;
}

/* What holds whatever translates it. */
static void describe(struct guest_instruction *g, struct decoded *d)
{
    d->memory = memory_operand(g);
    d->written = written_registers(g);
    d->by_base = d->memory != MEMORY_NONE && is_by_base(g, &g->operand[d->memory]);
    d->by_offset = d->memory != MEMORY_NONE && g->operand[d->memory].encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64;
    d->memory_written = d->memory != MEMORY_NONE && (g->operand[d->memory].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    d->condition = (int8_t)dbt_jump_condition(g->decoded->mnemonic);
    d->call = g->decoded->mnemonic == ZYDIS_MNEMONIC_CALL;
    d->relative = g->decoded->operand_count_visible > 0 && g->operand[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static void choose_anew(struct translator *t, struct guest_instruction *g)
{
    static translate_fn *(*const choosers[])(struct translator *, struct guest_instruction *) = {
        dbt_choose_integer, dbt_choose_control, dbt_choose_vector, dbt_choose_system, dbt_choose_x87, dbt_choose_string,
        dbt_choose_special};

    g->translate = NULL;
    g->vector = g->sharable = false;
    g->share = g->share_last = 0;
    g->share_writes = false;
    if (raises(g->op.execute)) {
        g->flags_read = FLAGS_ALL;
        g->flags_written = 0;
        g->changes_flags = false;
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(choosers) && g->translate == NULL; i++)
        g->translate = choosers[i](t, g);
    if (UNLIKELY(t->v->lockstep != NULL) && dbt_lockstep_excludes(g))
        g->translate = NULL;
    dbt_describe_flags(g);
    if (g->translate == NULL) {
        g->vector = g->sharable = false;
        g->flags_written = 0;
    }
}

/* Such a jump's fault is the interpreter's. */
static bool leads_nowhere(const struct translator *t, const struct guest_instruction *g)
{
    return g->relative && t->code64 && !dbt_canonical(dbt_relative_target(g));
}

/* What is chosen for an instruction holds for all that decode to the same; but where a jump leads counts. */
static void choose(struct translator *t, struct guest_instruction *g, struct decoded *d)
{
    if (!d->chosen)
        describe(g, d);
    g->memory = d->memory != MEMORY_NONE ? &g->operand[d->memory] : NULL;
    g->recipe = &d->recipe;
    g->by_base = d->by_base;
    g->by_offset = d->by_offset;
    g->memory_written = d->memory_written;
    g->written = d->written;
    g->condition = d->condition;
    g->call = d->call;
    g->relative = d->relative;
    g->label = false;
    g->to = NULL;
    if (!d->chosen || leads_nowhere(t, g)) {
        choose_anew(t, g);
        d->changes_flags = g->changes_flags;
        d->translate = g->translate;
        d->vector = g->vector;
        d->sharable = g->sharable;
        d->flags_read = (uint16_t)g->flags_read;
        d->flags_written = (uint16_t)g->flags_written;
        d->chosen = !leads_nowhere(t, g);
        return;
    }
    g->translate = d->translate;
    g->vector = d->vector;
    g->sharable = d->sharable;
    g->share = g->share_last = 0;
    g->changes_flags = d->changes_flags;
    g->share_writes = false;
    g->flags_read = d->flags_read;
    g->flags_written = d->flags_written;
}

static struct decoded *decode_bytes(struct translator *t, struct guest_instruction *g, const uint8_t *bytes, unsigned avail)
{
    struct decoded *d = dbt_decoded(t->v, bytes, avail, t->v->mode, &g->op);

    if (d == NULL)
        return NULL;
    g->decoded = &d->zydis->instruction;
    g->operand = d->zydis->operand;
    return d;
}

static struct decoded *decode(struct translator *t, struct source *source)
{
    struct guest_instruction *g = &t->instruction[t->count];

    memcpy(g->bytes, source->bytes, source->avail < 15 ? source->avail : 15);
    return decode_bytes(t, g, g->bytes, source->avail); /* the guest may be writing there */
}

/* An instruction that crosses into the next page: assembled from both; alone in its translation. */
static struct decoded *decode_crossing(struct translator *t, struct source *source)
{
    struct guest_instruction *g = &t->instruction[0];
    const uint8_t *second;
    uint64_t next = source->linear + source->avail;

    memset(g->bytes, 0, sizeof(g->bytes));
    memcpy(g->bytes, source->bytes, source->avail);
    t->out->second_page = dbt_fetch_page(t->v, t->code64 ? next : (uint32_t)next, &second);
    dbt_watch_page(t->v, t->out->second_page);
    memcpy(g->bytes + source->avail, second, 15 - source->avail);
    return decode_bytes(t, g, g->bytes, 15);
}

/* A conditional jump ends nothing: what is behind it is likely to follow. Nor does a call: it comes back, but not in one trial of the
 * lock-step mode. */
static bool ends(const struct translator *t, const struct guest_instruction *g)
{
    bool goes_on = g->translate != NULL && (g->condition >= 0 || dbt_is_sti(g) || (dbt_is_call(g) && t->v->lockstep == NULL));

    return (g->op.flags & OP_END) && !goes_on;
}

/* Code that has been translated is not translated again where another piece of code runs into it. */
static bool meets_another(const struct translator *t, const struct source *source)
{
    uint64_t linear = t->code64 ? source->linear : (uint32_t)source->linear;

    return source->avail > 0 &&
           dbt_translation_at(t->v, linear, TLB_PAGE(t->out->physical) | (linear & 0xfff), t->out->mode) != NULL;
}

static void decode_all(struct translator *t, struct source source)
{
    const uint8_t *ahead = source.bytes; /* how far the caches have been asked */
    bool more = true;

    t->count = 0;
    while (more && t->count < BLOCK_OPS_MAX && source.avail > 0) {
        struct guest_instruction *g = &t->instruction[t->count];
        struct decoded *d;

        if (source.bytes >= ahead)
            ahead = source.bytes + dbt_decoded_prefetch(t->v, source.bytes, source.avail, t->v->mode);
        d = decode(t, &source);
        if (d == NULL) {
            if (t->count > 0)
                break;
            d = decode_crossing(t, &source);
            more = false;
        }
        source.linear += g->op.length;
        g->next_rip = t->code64 ? source.linear : (uint32_t)source.linear;
        source.bytes += g->op.length;
        source.avail -= more ? g->op.length : 0;
        choose(t, g, d);
        t->vector = t->vector || g->vector;
        t->count++;
        more = more && !ends(t, g) && !meets_another(t, &source);
    }
    if (more && t->count > 1 && source.avail > 0 && dbt_is_call(&t->instruction[t->count - 1]))
        t->count--; /* what follows a call should be in its translation */
    if (dbt_is_sti(&t->instruction[t->count - 1])) /* nothing follows */
        t->instruction[t->count - 1].translate = NULL;
}

void dbt_emit_head(struct translator *t, struct translation *entry)
{
    struct emitter *e = &t->e;
    struct head *head = &t->head[t->heads++];
    uint64_t linear = entry->linear;

    *head = (struct head){.linear = linear};
    entry->checked = e->at;
    if ((int64_t)linear == (int32_t)linear) {
        emit_registers(e, EMIT_W, 0x81, ALU_CMP, ADDRESS);
        emit32(e, (uint32_t)linear);
    } else {
        emit_constant(e, SCRATCH, linear);
        emit_registers(e, EMIT_W, 0x3b, ADDRESS, SCRATCH);
    }
    emit_patch(emit_jump_if(e, IF_NE), dbt_translations_trampolines(t->v)->exit_to_address);
    emit_alu_memory_constant(e, 0, ALU_CMP, VCPU(attention), 0);
    head->attention = emit_jump_if(e, IF_NE);
    entry->direct = e->at;
    if (t->vector) {
        emit_alu_memory_constant(e, 0, ALU_CMP, VCPU(vectors_away), 0);
        head->vectors = emit_jump_if(e, IF_NE);
    }
    head->body = e->at;
}

static void emit_head_cold(struct translator *t, const struct head *head)
{
    struct emitter *e = &t->e;
    uint8_t *distance;

    emit_patch(head->attention, e->at);
    emit_constant(e, ADDRESS, head->linear);
    emit_jump_to(e, dbt_translations_trampolines(t->v)->exit_to_address);
    if (head->vectors == NULL)
        return;
    emit_patch(head->vectors, e->at);
    emit_constant(e, ADDRESS, head->linear);
    emit_store(e, VCPU(gpr[GPR_RIP]), ADDRESS);
    distance = emit_lea_rip(e, SCRATCH);
    emit_patch(distance, head->body);
    emit_jump_to(e, dbt_translations_trampolines(t->v)->load_vectors);
}

/* Where the first of a shared range goes on that was left to the interpreter: behind the last. */
static void end_shared(struct translator *t, const struct guest_instruction *g)
{
    for (unsigned i = 0; i < t->colds; i++) {
        struct cold *cold = &t->cold[i];

        if (cold->kind != COLD_SHARED || &t->instruction[cold->instruction->share_until] != g)
            continue;
        cold->run = (uint8_t)(g - cold->instruction + 1);
        cold->next = t->e.at;
        cold->host_flags = t->host_flags;
    }
}

static void emit_instruction(struct translator *t, struct guest_instruction *g)
{
    unsigned first;

    if (t->skip > 0) {
        t->skip--;
        dbt_direct_follow(t, g);
        return;
    }
    if (g->label) {
        dbt_direct_settle(t, g->next_rip - g->op.length);
        dbt_emit_label(t, g);
        dbt_direct_forget(t);
    }
    if (!g->sharable)
        t->address_holds = 0;
    dbt_direct_precede(t, g);
    first = t->colds;
    if (g->translate != NULL)
        g->translate(t, g);
    else
        dbt_emit_interpret(t, g);
    for (unsigned i = first; i < t->colds; i++) {
        t->cold[i].next = t->cold[i].end = t->e.at;
        t->cold[i].host_flags = t->host_flags;
        t->cold[i].address_holds = t->address_holds;
    }
    end_shared(t, g);
    if (t->mirror)
        dbt_mirror_follow(t, g);
    dbt_direct_follow(t, g);
}

static void emit_all(struct translator *t)
{
    const struct guest_instruction *last = &t->instruction[t->count - 1];
    uint8_t *end;

    dbt_emit_head(t, t->out);
    dbt_emit_entry_check(t, t->out);
    t->host_flags = false;
    t->memory_flags = true;
    for (unsigned i = 0; i < t->count; i++)
        emit_instruction(t, &t->instruction[i]);
    if (!(last->op.flags & OP_END)) {
        if (last->flags_after != 0)
            dbt_flags_to_memory(t);
        dbt_direct_settle(t, last->next_rip);
        dbt_emit_exit(t, last->next_rip, false);
    }
    dbt_emit_calls(t);
    dbt_labels_patch(t);
    end = t->e.at;
    t->e.at = dbt_translations_cold_code(t->v);
    dbt_emit_cold(t);
    for (unsigned i = 0; i < t->heads; i++)
        emit_head_cold(t, &t->head[i]);
    dbt_translations_commit_cold(t->v, t->e.at);
    t->e.at = end;
}

/* Decoding may take mail (dbt_watch_page): what that says about the pages just read can't be applied to a translation that isn't
 * linked yet, so they are read again. */
static void decode_stable(struct translator *t, const uint8_t *page_bytes)
{
    struct dbt_vcpu *v = t->v;
    unsigned offset = (unsigned)(t->out->linear & 0xfff);
    uint64_t mail;

    do {
        dbt_decoded_make_room(v); /* each turn may add to it */
        dbt_watch_page(v, TLB_PAGE(t->out->physical));
        mail = atomic_load(&v->mail_done);
        t->vector = false;
        t->out->second_page = NO_PAGE;
        decode_all(t, (struct source){.linear = t->out->linear, .bytes = page_bytes + offset, .avail = 4096 - offset});
    } while (mail != atomic_load(&v->mail_done));
}

static const uint8_t *keep_bytes(const struct translator *t)
{
    const struct guest_instruction *last = &t->instruction[t->count - 1];
    size_t size = (uint32_t)(last->next_rip - t->out->linear);
    uint8_t *kept = dbt_translations_allocate(t->v, size), *at = kept;

    for (unsigned i = 0; i < t->count; i++) {
        memcpy(at, t->instruction[i].bytes, t->instruction[i].op.length);
        at += t->instruction[i].op.length;
    }
    return kept;
}

struct translation *dbt_translate(struct dbt_vcpu *v, uint64_t linear, uint64_t physical, const uint8_t *page_bytes)
{
    struct translator *t = v->translator;
    struct translation *out = dbt_translations_allocate_one(v);

    *out = (struct translation){.linear = linear, .physical = physical, .mode = dbt_translation_mode(v),
                                .valid = true, .call = NO_PAGE};
    t->v = v;
    t->out = out;
    t->colds = t->heads = t->calls = t->jumps = 0;
    t->skip = 0;
    t->single = false;
    t->address_holds = 0;
    t->code64 = dbt_code64(v);
    t->mirror = (out->mode & MODE_MIRROR) && !v->vm->exact_flags;
    decode_stable(t, page_bytes);
    out->bytes = keep_bytes(t);
    dbt_labels_find(t);
    dbt_flags_liveness(t);
    if (t->mirror)
        dbt_mirror_begin(t);
    dbt_direct_begin(t);
    if (!v->vm->exact_flags && !dbt_operands_are_direct(t)) /* flags are right at each access */
        dbt_share_operands(t);
    dbt_labels_choose(t);
    t->e.at = dbt_translations_code(v);
    emit_all(t);
    if (UNLIKELY(v->lockstep != NULL))
        out->lockstep = dbt_lockstep_describe(t, t->e.at);
    dbt_translations_commit(v, t->e.at);
    v->statistics[STATISTIC_TRANSLATIONS]++;
    v->statistics[STATISTIC_INSTRUCTIONS_TRANSLATED] += t->count;
    return out;
}

int dbt_translator_new(struct dbt_vcpu *v)
{
    v->translator = malloc(sizeof(*v->translator));
    if (v->translator == NULL)
        return -ENOMEM;
    v->translator->liveness_known = true;
    dbt_flags_forget(v->translator);
    return 0;
}

void dbt_translator_code_changed(struct dbt_vcpu *v)
{
    dbt_flags_forget(v->translator);
}

void dbt_translator_free(struct dbt_vcpu *v)
{
    free(v->translator);
    v->translator = NULL;
}
