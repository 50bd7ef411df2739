/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock-step mode: trials of translations on copies of pages, and the interpreter's run for good. See lockstep.h. */
#include "engine/dbt/lockstep.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "engine/dbt/lockstep_state.h"
#include "engine/dbt/tlb.h"
#include "engine/dbt/translate.h"

#define TRIES 6u   /* until a difference is believed: others may have written to what was read */
#define NO_RIP BIT(63) /* not canonical */
#define GROWING 16u /* of those that only found out which pages are written */

int dbt_lockstep_new(struct dbt_vcpu *v, uint32_t limit)
{
    v->lockstep = aligned_alloc(_Alignof(struct lockstep), sizeof(*v->lockstep));
    if (v->lockstep == NULL)
        return -ENOMEM;
    memset(v->lockstep, 0, sizeof(*v->lockstep));
    v->lockstep->stale_code = calloc(1, sizeof(struct lockstep_code) + BLOCK_OPS_MAX * sizeof(struct lockstep_instruction));
    if (v->lockstep->stale_code == NULL) {
        dbt_lockstep_free(v);
        return -ENOMEM;
    }
    v->lockstep->limit = limit;
    return 0;
}

void dbt_lockstep_free(struct dbt_vcpu *v)
{
    if (v->lockstep != NULL)
        free(v->lockstep->stale_code);
    free(v->lockstep);
    v->lockstep = NULL;
}

bool dbt_lockstep_failed(const struct dbt_vcpu *v, struct exit *ret_exit)
{
    if (v->lockstep == NULL || !v->lockstep->failed)
        return false;
    *ret_exit = (struct exit){.kind = EXIT_ERROR};
    memcpy(ret_exit->message, v->lockstep->message, sizeof(ret_exit->message));
    return true;
}

/* --- what is tried ---------------------------------------------------------------------------------------------------------- */

static bool is_control_register(const ZydisDecodedInstruction *in)
{
    return in->mnemonic == ZYDIS_MNEMONIC_MOV && in->opcode_map == ZYDIS_OPCODE_MAP_0F && in->opcode >= 0x20 && in->opcode <= 0x23;
}

bool dbt_lockstep_excludes(const struct guest_instruction *g)
{
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDPID:
        return true;
    default:
        break;
    }
    if (g->translate != NULL)
        return false;
    switch (g->decoded->meta.category) {
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_IO:
    case ZYDIS_CATEGORY_IOSTRINGOP:
    case ZYDIS_CATEGORY_PKU:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_XSAVE:
    case ZYDIS_CATEGORY_XSAVEOPT:
        return true;
    default:
        return (g->op.flags & OP_END) || is_control_register(g->decoded);
    }
}

static void describe(struct lockstep_instruction *to, const struct guest_instruction *g)
{
    struct guest_instruction copy = *g;
    const ZydisAccessedFlags *f = g->decoded->cpu_flags;

    if (g->decoded->length != 0)
        dbt_describe_flags(&copy); /* for what has no translation, too */
    *to = (struct lockstep_instruction){
        .op = g->op, .rip = g->next_rip - g->op.length, .next_rip = g->next_rip, .flags_read = copy.flags_read,
        .flags_written = copy.flags_written, .flags_undefined = f != NULL ? (uint32_t)f->undefined & FLAGS_ALL : 0,
        .excluded = dbt_lockstep_excludes(g)};
    memcpy(to->bytes, g->bytes, sizeof(to->bytes));
}

struct lockstep_code *dbt_lockstep_describe(const struct translator *t, const uint8_t *code_end)
{
    struct lockstep_code *code = dbt_translations_allocate(t->v, sizeof(*code) + t->count * sizeof(code->instruction[0]));

    *code = (struct lockstep_code){.mode = t->out->mode, .host = t->out->checked, .host_end = code_end, .count = t->count};
    for (unsigned i = 0; i < t->count; i++) {
        describe(&code->instruction[i], &t->instruction[i]);
        if (!t->code64)
            code->instruction[i].rip = (uint32_t)code->instruction[i].rip;
    }
    return code;
}

void dbt_lockstep_stop_trial(struct dbt_vcpu *v)
{
    siglongjmp(v->fault_jump, LOCKSTEP_STOPPED);
}

void dbt_lockstep_check_instruction(struct dbt_vcpu *v, uint64_t next_rip)
{
    const struct lockstep_code *code = v->lockstep->code;

    for (unsigned i = 0; i < code->count; i++)
        if (code->instruction[i].next_rip == next_rip && code->instruction[i].excluded)
            dbt_lockstep_stop_trial(v);
}

/* --- copies of pages ---------------------------------------------------------------------------------------------------------- */

static struct lockstep_page *find_page(struct lockstep *ls, uint64_t page)
{
    for (unsigned i = 0; i < ls->pages; i++)
        if (ls->page[i].physical == page)
            return &ls->page[i];
    return NULL;
}

uint8_t *dbt_lockstep_present_copy(const struct dbt_vcpu *v, uint64_t page)
{
    struct lockstep_page *p = find_page(v->lockstep, page);

    return p != NULL ? p->copy : NULL;
}

uint8_t *dbt_lockstep_copy(struct dbt_vcpu *v, uint64_t page, uint8_t *real)
{
    struct lockstep *ls = v->lockstep;
    struct lockstep_page *p = find_page(ls, page);

    if (p != NULL)
        return p->copy;
    if (ls->pages == LOCKSTEP_PAGES)
        siglongjmp(v->fault_jump, LOCKSTEP_GAVE_UP);
    p = &ls->page[ls->pages++];
    p->physical = page;
    p->real = real;
    memcpy(p->copy, real, sizeof(p->copy));
    memcpy(p->translated, p->copy, sizeof(p->translated));
    ls->pages_added = true;
    dbt_tlb_retag_page(v, page); /* whoever reads it reads the copy from here on */
    return p->copy;
}

static void forget_copies(struct dbt_vcpu *v)
{
    struct lockstep *ls = v->lockstep;
    unsigned pages = ls->pages;

    ls->pages = 0;
    for (unsigned i = 0; i < pages; i++)
        dbt_tlb_retag_page(v, ls->page[i].physical);
}

/* --- the two halves of a trial --------------------------------------------------------------------------------------------------- */

static void translated_half(struct dbt_vcpu *v)
{
    dbt_translations_enter(v, v->lockstep->translation);
}

static bool memory_equal(const struct lockstep *ls)
{
    for (unsigned i = 0; i < ls->pages; i++)
        if (memcmp(ls->page[i].copy, ls->page[i].translated, sizeof(ls->page[i].copy)) != 0)
            return false;
    return true;
}

/* The translation may have come back from the middle of its code. */
static bool is_where_translation_left(struct dbt_vcpu *v)
{
    struct lockstep *ls = v->lockstep;
    const struct lockstep_result *t = &ls->translated;

    if (t->end != LOCKSTEP_RAN || v->gpr[GPR_RIP] != dbt_lockstep_rip(&t->state))
        return false;
    dbt_lockstep_get(v, &ls->interpreted.state);
    return dbt_lockstep_equal(&t->state, &ls->interpreted.state) && memory_equal(ls);
}

static void begin(struct dbt_vcpu *v, const struct lockstep_instruction *in)
{
    v->op = &in->op;
    v->block_end = NULL;
    v->gpr[GPR_RIP] = in->next_rip;
}

/* A repeated string instruction may stop between two turns and be at its own address again. */
static bool goes_on_itself(const struct dbt_vcpu *v, const struct lockstep_instruction *in)
{
    return (in->op.flags & (OP_REP | OP_REPNE)) && v->gpr[GPR_RIP] == in->rip;
}

static void interpreted_half(struct dbt_vcpu *v)
{
    struct lockstep *ls = v->lockstep;

    for (unsigned i = 0; i < ls->code->count;) {
        const struct lockstep_instruction *in = &ls->code->instruction[i];

        if (v->gpr[GPR_RIP] != in->rip)
            return;
        ls->matched = is_where_translation_left(v);
        if (ls->matched)
            return;
        v->interrupt_shadow = 0; /* that of the instruction before */
        if (in->excluded)
            dbt_lockstep_stop_trial(v);
        ls->undefined_read = ls->undefined_read || (in->flags_read & ls->undefined);
        begin(v, in);
        in->op.execute(v, &in->op);
        v->op = NULL;
        ls->undefined = (ls->undefined & ~in->flags_written) | in->flags_undefined;
        i += !goes_on_itself(v, in);
        ls->instructions = i;
    }
    ls->matched = is_where_translation_left(v);
}

static void hold_attention(struct dbt_vcpu *v)
{
    v->lockstep->attention |= atomic_exchange(&v->attention, 0);
}

static void run_half(struct dbt_vcpu *v, void (*half)(struct dbt_vcpu *v), struct lockstep_result *ret_result)
{
    struct lockstep *ls = v->lockstep;
    sigjmp_buf outside;
    int jump;

    dbt_lockstep_set(v, &ls->start);
    for (unsigned i = 0; i < ls->pages; i++)
        memcpy(ls->page[i].copy, ls->page[i].real, sizeof(ls->page[i].copy));
    hold_attention(v);
    memcpy(&outside, &v->fault_jump, sizeof(outside));
    v->trying = true;
    jump = sigsetjmp(v->fault_jump, 0);
    if (jump == 0)
        half(v);
    v->trying = false;
    memcpy(&v->fault_jump, &outside, sizeof(outside));
    if (jump != 0 && v->op != NULL) {
        v->gpr[GPR_RIP] -= v->op->length;
        if (!dbt_code64(v))
            v->gpr[GPR_RIP] = (uint32_t)v->gpr[GPR_RIP];
    }
    v->op = NULL;
    ret_result->end = (enum lockstep_end)jump;
    ret_result->raised = jump == LOCKSTEP_RAISED ? v->raised : (struct dbt_exception){0};
    dbt_lockstep_get(v, &ret_result->state);
    hold_attention(v);
}

/* --- the comparison --------------------------------------------------------------------------------------------------------------- */

static bool same_end(const struct lockstep_result *a, const struct lockstep_result *b)
{
    return a->end == b->end && a->raised.vector == b->raised.vector && a->raised.has_error == b->raised.has_error &&
           a->raised.error == b->raised.error;
}

static uint32_t different_flags(const struct lockstep *ls)
{
    return (dbt_lockstep_flags(&ls->translated.state) ^ dbt_lockstep_flags(&ls->interpreted.state)) & ~ls->undefined;
}

static bool results_equal(const struct dbt_vcpu *v)
{
    const struct lockstep *ls = v->lockstep;
    bool equal = ls->matched || (same_end(&ls->translated, &ls->interpreted) &&
                                 dbt_lockstep_equal(&ls->translated.state, &ls->interpreted.state) && memory_equal(ls));

    return (equal && !(v->vm->exact_flags && different_flags(ls) != 0)) || ls->undefined_read;
}

/* The first half once more as long as it writes to new pages: with copies of them it runs on in one piece. */
static void try_translation(struct dbt_vcpu *v)
{
    struct lockstep *ls = v->lockstep;

    for (unsigned i = 0; i < GROWING; i++) {
        ls->pages_added = false;
        run_half(v, translated_half, &ls->translated);
        if (!ls->pages_added || ls->translated.end == LOCKSTEP_GAVE_UP)
            break;
    }
    for (unsigned i = 0; i < ls->pages; i++)
        memcpy(ls->page[i].translated, ls->page[i].copy, sizeof(ls->page[i].copy));
    ls->instructions = 0;
    ls->undefined = 0;
    ls->undefined_read = ls->matched = false;
    run_half(v, interpreted_half, &ls->interpreted);
}


/* Returns how many instructions the interpreter is to do for good. */
static unsigned try(struct dbt_vcpu *v)
{
    struct lockstep *ls = v->lockstep;
    unsigned tries = 0;
    bool equal, gave_up;

    dbt_lockstep_get(v, &ls->start);
    ls->pages = 0;
    do {
        try_translation(v);
        gave_up = ls->translated.end == LOCKSTEP_GAVE_UP || ls->interpreted.end == LOCKSTEP_GAVE_UP;
        equal = gave_up || results_equal(v);
    } while (!equal && ++tries < TRIES);
    dbt_lockstep_set(v, &ls->start);
    if (!equal) {
        dbt_lockstep_report_difference(v);
        ls->failed = true;
    }
    forget_copies(v);
    if (gave_up || ls->failed)
        return ls->failed ? 0 : UINT_MAX;
    return ls->instructions + (ls->interpreted.end != LOCKSTEP_RAN || ls->instructions == 0);
}

/* --- for good ------------------------------------------------------------------------------------------------------------------- */

/* Whether an instruction reads what the translations before it have left wrong. */
static void check_stale_flags(struct dbt_vcpu *v, const struct lockstep_code *code, unsigned instructions)
{
    struct lockstep *ls = v->lockstep;

    for (unsigned i = 0; i < code->count && i < instructions && ls->stale_flags != 0; i++) {
        const struct lockstep_instruction *in = &code->instruction[i];

        if (ls->stale_flags & in->flags_read) {
            dbt_lockstep_report_flags(v, in, ls->stale_flags & in->flags_read);
            ls->failed = true;
            return;
        }
        ls->stale_flags &= ~in->flags_written;
    }
}

static void note_stale_flags(struct lockstep *ls)
{
    uint32_t flags = ls->translated.end == LOCKSTEP_RAN ? different_flags(ls) : 0;

    ls->stale_flags |= flags;
    if (flags != 0)
        memcpy(ls->stale_code, ls->code, sizeof(*ls->code) + ls->code->count * sizeof(ls->code->instruction[0]));
}

/* false: stopped before that. */
static bool interpret(struct dbt_vcpu *v, const struct lockstep_code *code, unsigned instructions)
{
    for (unsigned i = 0; i < code->count && i < instructions; i++) {
        const struct lockstep_instruction *in = &code->instruction[i];

        if (v->gpr[GPR_RIP] != in->rip)
            return true;
        begin(v, in);
        in->op.execute(v, &in->op);
        v->op = NULL;
        if (v->block_end != NULL || v->interrupt_shadow != 0)
            return i + 1 == instructions;
    }
    return true;
}

void dbt_lockstep_run(struct dbt_vcpu *v)
{
    struct lockstep *ls = v->lockstep;
    struct translation *t = dbt_translations_find(v);
    unsigned instructions = UINT_MAX;
    bool tried = t->lockstep->tried < ls->limit;

    ls->code = t->lockstep;
    ls->translation = t;
    if (v->gpr[GPR_RIP] != ls->next_rip)
        ls->stale_flags = 0;
    if (tried) {
        t->lockstep->tried++;
        instructions = try(v);
        dbt_set_attention(v, ls->attention);
        ls->attention = 0;
    }
    if (!ls->failed)
        check_stale_flags(v, ls->code, instructions);
    if (ls->failed)
        return;
    ls->next_rip = NO_RIP;
    if (interpret(v, ls->code, instructions) && tried && instructions != UINT_MAX)
        note_stale_flags(ls);
    ls->next_rip = v->gpr[GPR_RIP];
}
