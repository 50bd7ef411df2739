/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arithmetic flags in translations: who reads and writes them, when they are dead, and their ways to and from memory. */
#include "engine/dbt/translate.h"

#define PEEK_MAX 8u /* instructions looked at in another translation */

static bool is_shift(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
        return true;
    default:
        return false;
    }
}

/* A shift by zero leaves the flags alone; by CL it may be one. */
static bool may_shift_by_zero(const ZydisDecodedInstruction *in)
{
    if (!is_shift(in->mnemonic))
        return false;
    if (in->raw.imm[0].size == 0) /* by CL, or the short form by 1 */
        return !(in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (in->opcode == 0xd0 || in->opcode == 0xd1));
    return (in->raw.imm[0].value.u & (in->operand_width == 64 ? 63u : 31u)) == 0;
}

static uint32_t flags_tested(const ZydisDecodedInstruction *in)
{
    return in->cpu_flags != NULL ? (uint32_t)in->cpu_flags->tested & FLAGS_ALL : 0;
}

/* Where the manuals leave flags undefined silicon mostly writes them all the same, but here it may leave them alone. */
static bool keeps_undefined(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_LZCNT:
    case ZYDIS_MNEMONIC_TZCNT:
    case ZYDIS_MNEMONIC_BSF:
    case ZYDIS_MNEMONIC_BSR:
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTC:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTS:
        return true;
    default:
        return false;
    }
}

static uint32_t flags_overwritten(const ZydisDecodedInstruction *in)
{
    const ZydisAccessedFlags *f = in->cpu_flags;

    if (f == NULL || may_shift_by_zero(in))
        return 0;
    return (uint32_t)(f->modified | f->set_0 | f->set_1 | (keeps_undefined(in->mnemonic) ? 0 : f->undefined)) & FLAGS_ALL;
}

void dbt_describe_flags(struct guest_instruction *g)
{
    g->flags_read = g->decoded->mnemonic == ZYDIS_MNEMONIC_SYSCALL ? FLAGS_ALL : flags_tested(g->decoded); /* into R11 */
    g->flags_written = flags_overwritten(g->decoded);
    g->changes_flags = g->flags_written != 0 || may_shift_by_zero(g->decoded);
}

uint32_t dbt_flags_needed(const struct guest_instruction *g)
{
    return g->flags_read | (g->flags_after & ~g->flags_written);
}

/* Whether an instruction of somebody else's translation does nothing with the flags but what Zydis says, and goes on behind itself. */
static bool is_plain(const ZydisDecodedInstruction *in)
{
    switch (in->meta.category) {
    case ZYDIS_CATEGORY_BINARY:
    case ZYDIS_CATEGORY_BITBYTE:
    case ZYDIS_CATEGORY_CET:
    case ZYDIS_CATEGORY_CMOV:
    case ZYDIS_CATEGORY_CONVERT:
    case ZYDIS_CATEGORY_DATAXFER:
    case ZYDIS_CATEGORY_LOGICAL:
    case ZYDIS_CATEGORY_LOGICAL_FP:
    case ZYDIS_CATEGORY_MISC:
    case ZYDIS_CATEGORY_NOP:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_ROTATE:
    case ZYDIS_CATEGORY_SETCC:
    case ZYDIS_CATEGORY_SHIFT:
    case ZYDIS_CATEGORY_SSE:
    case ZYDIS_CATEGORY_AVX:
    case ZYDIS_CATEGORY_WIDENOP:
        break;
    default:
        return false;
    }
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_MOV: /* to CR0, say */
        return in->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && in->opcode != 0x8e;
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
        return false;
    default:
        return in->meta.category != ZYDIS_CATEGORY_MISC || in->mnemonic == ZYDIS_MNEMONIC_LEA;
    }
}

/* Same page: with it goes this translation, too, when it is written to. Others may be mapped differently tomorrow. */
static const uint8_t *peek_page(struct translator *t, uint64_t linear)
{
    const struct tlb_entry *entry = &t->v->tlb[TLB_INDEX(linear)];

    if (TLB_PAGE(linear) != TLB_PAGE(t->out->linear) || entry->execute != TLB_PAGE(linear))
        return NULL;
    return (const uint8_t *)entry->host;
}

static const struct decoded *peek(struct translator *t, const uint8_t *bytes, unsigned avail)
{
    struct op op;
    struct decoded *d = dbt_decoded(t->v, bytes, avail, t->v->mode, &op);

    if (d != NULL && !d->peeked) {
        d->peeked = true;
        d->plain = is_plain(&d->zydis->instruction);
        d->flags_tested = (uint16_t)flags_tested(&d->zydis->instruction);
        d->flags_overwritten = (uint16_t)flags_overwritten(&d->zydis->instruction);
    }
    return d;
}

static uint32_t look_ahead(struct translator *t, const uint8_t *page, unsigned offset)
{
    uint32_t open = FLAGS_ALL; /* flags that nobody has overwritten yet */

    for (unsigned i = 0; i < PEEK_MAX && offset < 4096 && !dbt_decoded_full(t->v); i++) {
        const struct decoded *d = peek(t, page + offset, 4096 - offset);

        if (d == NULL || !d->plain || (d->flags_tested & open))
            return FLAGS_ALL;
        open &= ~d->flags_overwritten;
        if (open == 0)
            return 0;
        offset += d->op.length;
    }
    return FLAGS_ALL;
}

/* Either all may be read, or none: a bit beside the address and the mode. The page is watched, as part of the translation. */
uint32_t dbt_flags_live_at(struct translator *t, uint64_t linear)
{
    const uint8_t *page = t->v->vm->exact_flags ? NULL : peek_page(t, linear);
    uint64_t physical = TLB_PAGE(t->out->physical) | (linear & 0xfff), key = physical << (MODE_BITS + 1) | (uint64_t)t->v->mode << 1;
    uint64_t *slot = &t->liveness[(physical ^ physical >> 12) & (LIVENESS_SLOTS - 1)];

    if (page == NULL)
        return FLAGS_ALL;
    if ((*slot & ~UINT64_C(1)) != key) {
        *slot = key | (look_ahead(t, page, (unsigned)(linear & 0xfff)) != 0);
        t->liveness_known = true;
    }
    return *slot & 1 ? FLAGS_ALL : 0;
}

void dbt_flags_forget(struct translator *t)
{
    if (t->liveness_known)
        memset(t->liveness, 0xff, sizeof(t->liveness));
    t->liveness_known = false;
}

/* The interpreter's handlers read flags from memory, or leave them there for whoever is next. */
static uint32_t read_by(const struct translator *t, const struct guest_instruction *g)
{
    return g->translate == NULL || t->v->vm->exact_flags ? FLAGS_ALL : g->flags_read;
}

void dbt_flags_liveness(struct translator *t)
{
    uint32_t live = FLAGS_ALL;

    for (unsigned i = t->count; i-- > 0;) {
        struct guest_instruction *g = &t->instruction[i];
        int condition = g->condition;

        if (i == t->count - 1 && g->translate != NULL) {
            if (condition >= 0 || !(g->op.flags & OP_END))
                live = dbt_flags_live_at(t, g->next_rip);
            else if (dbt_is_relative(g))
                live = dbt_flags_live_at(t, dbt_relative_target(g));
        } else if (dbt_is_call(g)) {
            live = dbt_is_relative(g) ? dbt_flags_live_at(t, dbt_relative_target(g)) : FLAGS_ALL;
        }
        g->flags_read = read_by(t, g);
        g->flags_after = live;
        if (condition >= 0 && g->translate != NULL) {
            g->flags_taken = g->to > g ? g->to->flags_before : dbt_flags_live_at(t, dbt_relative_target(g));
            live |= g->flags_taken;
        }
        live = (live & ~g->flags_written) | g->flags_read;
        g->flags_before = live;
    }
}

/* AL holds OF and AH the rest, as the vCPU has them. */
void dbt_emit_save_flags(struct emitter *e)
{
    emit_move(e, SCRATCH, HOST_RAX);
    emit8(e, 0x9f); /* lahf */
    emit_registers(e, EMIT_0F | EMIT_BYTE, 0x90, 0, HOST_RAX); /* seto al */
    emit_memory(e, EMIT_66, 0x89, HOST_RAX, VCPU(overflow));
    emit_move(e, HOST_RAX, SCRATCH);
}

void dbt_emit_restore_flags(struct emitter *e)
{
    emit_move(e, SCRATCH, HOST_RAX);
    emit_memory(e, EMIT_0F, 0xb7, HOST_RAX, VCPU(overflow)); /* movzx eax, word */
    emit8(e, 0x04); /* add al, 0x7f: overflows if OF is set */
    emit8(e, 0x7f);
    emit8(e, 0x9e); /* sahf */
    emit_move(e, HOST_RAX, SCRATCH);
}

void dbt_flags_to_memory(struct translator *t)
{
    if (t->host_flags && !t->memory_flags)
        dbt_emit_save_flags(&t->e);
    t->memory_flags = t->memory_flags || t->host_flags;
}

void dbt_flags_spare(struct translator *t, const struct guest_instruction *g)
{
    if (dbt_flags_needed(g) != 0)
        dbt_flags_to_memory(t);
}

void dbt_flags_provide(struct translator *t, const struct guest_instruction *g)
{
    if (!g->changes_flags && g->flags_read == 0)
        return;
    if (dbt_flags_needed(g) == 0 || t->host_flags || !t->memory_flags)
        return;
    dbt_emit_restore_flags(&t->e);
    t->host_flags = true;
}

void dbt_flags_done(struct translator *t, const struct guest_instruction *g)
{
    if (!g->changes_flags)
        return;
    t->host_flags = true;
    t->memory_flags = false;
}
