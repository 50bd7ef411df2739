/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One look in the TLB for several operands: those off the same base and index registers while these do not change.
 *
 * The first of them checks the whole range that they lie in and keeps its host address; the others use that. It stays good to the end
 * of the translation unless rights are taken away meanwhile, which only C can do: then the translation is left (rights_epoch,
 * translate_cold.c). Where the range does not lie in one page, or is no RAM, the interpreter does everything up to the last of them. */
#include "engine/dbt/translate.h"

#define RANGE_MAX 200 /* bytes; fits in cold_data.size */

/* The operand that may take part, or NULL. */
static const ZydisDecodedOperand *candidate(const struct guest_instruction *g)
{
    const ZydisDecodedOperand *operand = g->translate != NULL && g->sharable ? g->memory : NULL;
    const ZydisDecodedOperandMem *m;

    if (operand == NULL || operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM || g->decoded->address_width != 64)
        return NULL;
    m = &operand->mem;
    if (m->base == ZYDIS_REGISTER_NONE || m->base == ZYDIS_REGISTER_RIP ||
        m->segment == ZYDIS_REGISTER_FS || m->segment == ZYDIS_REGISTER_GS || operand->size > 32 * 8 || operand->size == 0)
        return NULL;
    return dbt_is_on_stack(g, operand, operand->size / 8u) ? NULL : operand;
}

/* Whether what was looked up before the instruction holds behind it. */
static bool is_transparent(const struct guest_instruction *g)
{
    return g->sharable || (g->translate != NULL && g->condition >= 0);
}

static bool writes_memory(const ZydisDecodedOperand *operand)
{
    return (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
}

struct range {
    int64_t first, end; /* displacements may lie 4 GiB apart */
};

static struct range extend(struct range r, const struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
    int64_t first = g->op.displacement, end = first + operand->size / 8;

    return (struct range){first < r.first ? first : r.first, end > r.end ? end : r.end};
}

static bool same_registers(const ZydisDecodedOperandMem *a, const ZydisDecodedOperandMem *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale;
}

/* In a mirror the host's MMU watches over what is written behind a look that reads. */
static bool may_join(const struct translator *t, const ZydisDecodedOperand *leader, const ZydisDecodedOperand *other)
{
    return same_registers(&leader->mem, &other->mem) && (t->mirror || writes_memory(leader) || !writes_memory(other));
}

/* Gathers those that can share with the instruction at `leader`. */
static void gather(struct translator *t, unsigned leader, unsigned slot)
{
    struct guest_instruction *first = &t->instruction[leader];
    const ZydisDecodedOperand *operand = candidate(first);
    struct range range = {first->op.displacement, (int64_t)first->op.displacement + operand->size / 8};
    unsigned last = leader, members = 1;

    for (unsigned i = leader; i < t->count; i++) {
        struct guest_instruction *g = &t->instruction[i];
        const ZydisDecodedOperand *other = i > leader ? candidate(g) : NULL;

        if (!is_transparent(g))
            break;
        if (other != NULL && g->share == 0 && may_join(t, operand, other)) {
            struct range longer = extend(range, g, other);

            if (longer.end - longer.first <= RANGE_MAX) {
                range = longer;
                last = i;
                members++;
                g->share = (uint8_t)slot;
                first->share_writes = first->share_writes || writes_memory(other);
            }
        }
        if (g->written & (1u << first->op.base | 1u << first->op.index))
            break;
    }
    if (members == 1)
        return;
    first->share = (uint8_t)slot;
    first->share_writes = first->share_writes || writes_memory(operand);
    first->share_last = (uint8_t)last;
    for (unsigned i = leader; i <= last; i++)
        if (t->instruction[i].share == slot) {
            t->instruction[i].share_first = (int32_t)range.first;
            t->instruction[i].share_size = (uint8_t)(range.end - range.first);
        }
}

/* The interpreter that stands in for one range's first instruction looks for nobody else: it goes on to the end of each range that begins
 * on its way. */
static void overlap(struct translator *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        unsigned last = t->instruction[i].share_last;

        for (unsigned n = i; n < last; n++)
            last = t->instruction[n].share_last > last ? t->instruction[n].share_last : last;
        t->instruction[i].share_until = (uint8_t)last;
    }
}

void dbt_share_operands(struct translator *t)
{
    unsigned slot = 1;

    for (unsigned i = 0; i < t->count && slot <= SHARED_SLOTS; i++) {
        if (t->instruction[i].share != 0 || candidate(&t->instruction[i]) == NULL)
            continue;
        gather(t, i, slot);
        slot += t->instruction[i].share == slot;
    }
    overlap(t);
}

struct host_memory dbt_shared_slot(unsigned slot)
{
    return dbt_vcpu_at(offsetof(struct dbt_vcpu, shared_host) + 8u * (slot - 1u));
}

/* ADDRESS: the host address of the range's first byte. Returns where in the range the operand is. */
int32_t dbt_emit_shared(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
    struct emitter *e = &t->e;

    if (g->share_last != 0 || !t->mirror) /* others in a mirror leave the flags alone */
        dbt_flags_spare(t, g);
    if (g->share_last != 0) { /* the first */
        unsigned own = writes_memory(operand) ? 0 : ACCESS_READ; /* it may fault as a read only */

        dbt_emit_offset_at(t, g, operand, g->share_first);
        dbt_emit_look(t, g, operand, g->share_size, g->share_writes ? own | ACCESS_WRITE : ACCESS_READ, 0);
        t->cold[t->colds - 1].kind = COLD_SHARED;
        emit_store(e, dbt_shared_slot(g->share), ADDRESS);
    } else if (t->address_holds != g->share) {
        emit_load(e, ADDRESS, dbt_shared_slot(g->share));
    }
    if (t->mirror && g->share_last == 0)
        dbt_cold_mirrored(t, g, operand->size / 8u);
    t->address_holds = g->share;
    return g->op.displacement - g->share_first;
}
