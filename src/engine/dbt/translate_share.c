/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One look in the TLB for several operands: those off the same base and index registers while these do not change.
 *
 * The first of them checks the whole range that they lie in and keeps its host address; the others use that. It stays good to the end
 * of the translation unless rights are taken away meanwhile, which only C can do: then the translation is left (rights_epoch,
 * translate_cold.c). Where the range does not lie in one page, or is no RAM, the interpreter does everything up to the last of them. */
#include "engine/dbt/translate.h"

#define RANGE_MAX 200 /* bytes; fits in cold_data.size */

/* Whether the operand may take part. */
static bool is_candidate(const struct guest_instruction *g)
{
    return g->translate != NULL && g->sharable && g->by_base && !dbt_is_on_stack(g, g->memory, g->op.memory_size);
}

/* Whether what was looked up before the instruction holds behind it. */
static bool is_transparent(const struct guest_instruction *g)
{
    return g->sharable || (g->translate != NULL && g->condition >= 0);
}

struct range {
    int64_t first, end; /* displacements may lie 4 GiB apart */
};

static struct range extend(struct range r, const struct guest_instruction *g)
{
    int64_t first = g->op.displacement, end = first + g->op.memory_size;

    return (struct range){first < r.first ? first : r.first, end > r.end ? end : r.end};
}

static bool same_registers(const struct op *a, const struct op *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale;
}

/* In a mirror the host's MMU watches over what is written behind a look that reads. */
static bool may_join(const struct translator *t, const struct guest_instruction *leader, const struct guest_instruction *other)
{
    return same_registers(&leader->op, &other->op) && (t->mirror || leader->memory_written || !other->memory_written);
}

/* Gathers those that can share with the instruction at `leader`. */
static void gather(struct translator *t, unsigned leader, unsigned slot)
{
    struct guest_instruction *first = &t->instruction[leader];
    struct range range = {first->op.displacement, (int64_t)first->op.displacement + first->op.memory_size};
    unsigned last = leader, members = 1;

    for (unsigned i = leader; i < t->count; i++) {
        struct guest_instruction *g = &t->instruction[i];

        if (!is_transparent(g))
            break;
        if (i > leader && g->share == 0 && is_candidate(g) && may_join(t, first, g)) {
            struct range longer = extend(range, g);

            if (longer.end - longer.first <= RANGE_MAX) {
                range = longer;
                last = i;
                members++;
                g->share = (uint8_t)slot;
                first->share_writes = first->share_writes || g->memory_written;
            }
        }
        if (g->written & (1u << first->op.base | 1u << first->op.index))
            break;
    }
    if (members == 1)
        return;
    first->share = (uint8_t)slot;
    first->share_writes = first->share_writes || first->memory_written;
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
        if (t->instruction[i].share != 0 || !is_candidate(&t->instruction[i]))
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
        unsigned own = g->memory_written ? 0 : ACCESS_READ; /* it may fault as a read only */

        dbt_emit_offset_at(t, g, operand, g->share_first);
        dbt_emit_look(t, g, operand, g->share_size, g->share_writes ? own | ACCESS_WRITE : ACCESS_READ, 0);
        t->cold[t->colds - 1].kind = COLD_SHARED;
        emit_store(e, dbt_shared_slot(g->share), ADDRESS);
    } else if (t->address_holds != g->share) {
        emit_load(e, ADDRESS, dbt_shared_slot(g->share));
    }
    if (t->mirror && g->share_last == 0)
        dbt_cold_mirrored(t, g, g->op.memory_size);
    t->address_holds = g->share;
    return g->op.displacement - g->share_first;
}
