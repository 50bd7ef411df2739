/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory operands of code that runs in a mirror (mirror.h): in which window they are looked for, the look, and its cold side.
 *
 * Either the look finds the operand to be outside of the window, and the TLB is asked in the usual way, out of line; or the operand's
 * own instruction faults, because the mirror has not the page or not the right, and its cold piece asks C. An operand at a
 * known address, or near one that was looked at, needs no look: only its instruction may fault. */
#include "engine/dbt/mirror.h"

#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"

#define SMALL 65536u /* no pointer */
#define TRIES_MAX 3u /* windows; fits in cold_data.tries */

struct host_memory dbt_mirror_field(unsigned window, size_t field)
{
    return dbt_vcpu_at(offsetof(struct dbt_vcpu, mirror_window) + window * sizeof(struct mirror_window) + field);
}

/* Locked operands are the TLB's: those that cross pages are not the host's to lock. */
bool dbt_uses_mirror(const struct translator *t, const struct guest_instruction *g)
{
    return t->mirror && !(g->op.flags & OP_LOCK) && g->decoded->mnemonic != ZYDIS_MNEMONIC_XCHG;
}

/* --- in which window ------------------------------------------------------------------------------------------------------- */

/* A wrong guess costs time only. Registers are as they are now, when the code is about to run for the first time; what it loads into them
 * is taken to be like what is in them. */
void dbt_mirror_begin(struct translator *t)
{
    for (unsigned i = 0; i < 16; i++)
        t->window[i] = (int8_t)(t->v->gpr[i] < SMALL ? -1 : dbt_mirror_window(t->v->gpr[i]));
}

static int window_of(const struct translator *t, unsigned gpr)
{
    return gpr < 16 ? t->window[gpr] : -1;
}

static int window_of_sum(const struct translator *t, const struct op *op)
{
    int window = window_of(t, op->base);

    if (window < 0)
        window = window_of(t, op->index);
    return window < 0 && op->displacement >= (int32_t)SMALL ? 0 : window;
}

unsigned dbt_mirror_guess(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
    ZydisRegister segment = operand->mem.segment;
    int window = segment == ZYDIS_REGISTER_FS || segment == ZYDIS_REGISTER_GS
                     ? dbt_mirror_window(t->v->segment_base[segment - ZYDIS_REGISTER_ES])
                     : window_of_sum(t, &g->op);

    if (window < 0)
        window = dbt_mirror_window(t->out->linear);
    return window < 0 ? 0 : (unsigned)window;
}

/* Pointers that are copied or moved. */
void dbt_mirror_follow(struct translator *t, const struct guest_instruction *g)
{
    const ZydisDecodedOperand *to = &g->operand[0], *from = &g->operand[1];
    unsigned number;
    int window;

    if (g->decoded->operand_count_visible != 2 || to->type != ZYDIS_OPERAND_TYPE_REGISTER || to->size != 64 ||
        !dbt_thunk_is_gpr(to->reg.value))
        return;
    number = dbt_thunk_gpr_number(to->reg.value);
    if (g->decoded->mnemonic == ZYDIS_MNEMONIC_LEA) {
        window = from->mem.base == ZYDIS_REGISTER_RIP ? dbt_mirror_window(t->out->linear) : window_of_sum(t, &g->op);
    } else if (from->type == ZYDIS_OPERAND_TYPE_REGISTER && dbt_thunk_is_gpr(from->reg.value)) {
        window = window_of(t, dbt_thunk_gpr_number(from->reg.value));
        if (g->decoded->mnemonic == ZYDIS_MNEMONIC_ADD && window < 0)
            return;
        if (g->decoded->mnemonic != ZYDIS_MNEMONIC_ADD && g->decoded->mnemonic != ZYDIS_MNEMONIC_MOV)
            return;
    } else {
        return;
    }
    t->window[number] = (int8_t)window;
}

/* --- the look -------------------------------------------------------------------------------------------------------------- */

static void emit_mirrored(struct translator *t, const struct guest_instruction *g, unsigned window, unsigned size, unsigned access,
                          unsigned align)
{
    struct emitter *e = &t->e;
    struct cold *cold;

    emit_memory(e, EMIT_W, 0x2b, ADDRESS, dbt_mirror_field(window, offsetof(struct mirror_window, base)));  /* sub */
    emit_memory(e, EMIT_W, 0x3b, ADDRESS, dbt_mirror_field(window, offsetof(struct mirror_window, limit))); /* cmp */
    cold = dbt_cold(t, COLD_ACCESS, g, emit_jump_if(e, IF_AE));
    emit_memory(e, EMIT_W, 0x03, ADDRESS, dbt_mirror_field(window, offsetof(struct mirror_window, host)));
    cold->mirror = true;
    dbt_finish_access(t, cold, size, access, align);
}

void dbt_emit_look(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size,
                   unsigned access, unsigned align)
{
    if (dbt_uses_mirror(t, g))
        emit_mirrored(t, g, dbt_mirror_guess(t, g, operand), size, access, align);
    else
        dbt_emit_access(t, g, size, access, align);
}

struct cold *dbt_cold_mirrored(struct translator *t, const struct guest_instruction *g, unsigned size)
{
    struct cold *cold = dbt_cold(t, COLD_MIRRORED, g, NULL);

    cold->distances = 0;
    cold->retry = t->e.at;
    cold->mirror = true;
    cold->size = (uint8_t)size;
    cold->save_flags = t->host_flags && !t->memory_flags;
    cold->known = t->known;
    return cold;
}

bool dbt_is_mirrored_at(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand,
                        uint64_t linear)
{
    return g->sharable && operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && dbt_uses_mirror(t, g) && dbt_mirror_window(linear) >= 0;
}

static uint64_t constant_address(const struct translator *t, uint64_t linear)
{
    return (uint64_t)(uintptr_t)dbt_mirror_address(t->v, (unsigned)dbt_mirror_window(linear), linear);
}

int32_t dbt_emit_known_mirrored(struct translator *t, const struct guest_instruction *g, uint64_t linear, unsigned size)
{
    int64_t distance = (int64_t)(linear - t->known);

    if (t->address_holds != ADDRESS_KNOWN || distance != (int32_t)distance) {
        emit_constant(&t->e, ADDRESS, constant_address(t, linear));
        t->address_holds = ADDRESS_KNOWN;
        t->known = linear;
        distance = 0;
    }
    dbt_cold_mirrored(t, g, size);
    return (int32_t)distance;
}

/* --- the cold side --------------------------------------------------------------------------------------------------------- */

/* Nothing has changed since the look. */
void dbt_emit_linear(struct translator *t, const struct guest_instruction *g)
{
    const ZydisDecodedOperand *operand = g->memory;

    if (g->share != 0)
        dbt_emit_offset_at(t, g, operand, g->share_first);
    else
        dbt_emit_address(t, g, operand);
}

void dbt_emit_by_tlb(struct translator *t, struct cold *cold)
{
    struct emitter *e = &t->e;
    uint8_t *miss, *not_aligned = NULL;

    cold->by_tlb = e->at;
    dbt_emit_linear(t, cold->instruction);
    dbt_emit_tlb_entry(e, SCRATCH);
    emit_memory(e, EMIT_W, 0x33, ADDRESS, at_base(SCRATCH, dbt_tag_offset(cold->access)));
    emit_alu_constant(e, EMIT_W, ALU_CMP, ADDRESS, (int32_t)(4096u - cold->size));
    miss = emit_jump_if(e, IF_A);
    if (cold->align != 0) {
        emit_registers(e, EMIT_BYTE, 0xf6, 0, ADDRESS); /* test */
        emit8(e, cold->align);
        not_aligned = emit_jump_if(e, IF_NE);
    }
    emit_memory(e, EMIT_W, 0x03, ADDRESS, at_base(SCRATCH, offsetof(struct tlb_entry, host)));
    emit_jump_to(e, cold->retry);
    emit_patch(miss, e->at);
    if (not_aligned != NULL)
        emit_patch(not_aligned, e->at);
}

/* Where the displacements and the jump's distance stand in what emit_mirrored() writes. */
_Static_assert(offsetof(struct dbt_vcpu, mirror_window) > VCPU_BIAS + 127, "displacements of four bytes");
enum { LOOK_SUB = 4, LOOK_CMP = 12, LOOK_JUMP = 18, LOOK_ADD = 26, LOOK_SIZE = 30 };

static void patch_field(uint8_t *look, unsigned at, unsigned window, size_t field)
{
    int32_t displacement = dbt_mirror_field(window, field).displacement;

    memcpy(look + at, &displacement, sizeof(displacement));
}

void dbt_mirror_look_again(struct dbt_vcpu *v, const struct cold_data *at, uint64_t linear)
{
    struct cold_data *data = dbt_translations_writable(v, at);
    uint8_t *look = (uint8_t *)data + data->retry - LOOK_SIZE;
    int window = dbt_mirror_window(linear);
    int32_t now;

    memcpy(&now, look + LOOK_SUB, sizeof(now));
    if (!v->mirrored || (window >= 0 && now == dbt_mirror_field((unsigned)window, offsetof(struct mirror_window, base)).displacement))
        return;
    if (window < 0 || data->tries == TRIES_MAX) {
        emit_patch(look + LOOK_JUMP, (uint8_t *)data - data->by_tlb);
        return;
    }
    data->tries++;
    patch_field(look, LOOK_SUB, (unsigned)window, offsetof(struct mirror_window, base));
    patch_field(look, LOOK_CMP, (unsigned)window, offsetof(struct mirror_window, limit));
    patch_field(look, LOOK_ADD, (unsigned)window, offsetof(struct mirror_window, host));
}

void dbt_emit_mirrored_address(struct translator *t, const struct cold *cold)
{
    if (cold->address_holds == ADDRESS_KNOWN)
        emit_constant(&t->e, ADDRESS, constant_address(t, cold->known));
    else if (cold->address_holds != 0)
        emit_load(&t->e, ADDRESS, dbt_shared_slot(cold->address_holds));
}
