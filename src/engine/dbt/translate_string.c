/* SPDX-License-Identifier: GPL-2.0-or-later */
/* REP MOVS and REP STOS in translations: the host's own, as long as they go upwards and stay in one page.
 *
 * Nothing can fault or wait in between then. The interpreter has all others. */
#include "engine/dbt/translate.h"

static unsigned size_shift(const struct guest_instruction *g)
{
    return (unsigned)__builtin_ctz(g->op.size);
}

/* Goes to the interpreter unless RCX is 1 .. what a page holds, and DF is clear: a count of 0 accesses nothing. */
static struct cold *emit_count_check(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;
    struct cold *cold;

    dbt_flags_spare(t, g);
    emit_memory(e, EMIT_W, 0x8d, ADDRESS, at_base(HOST_RCX, -1));
    emit_alu_constant(e, EMIT_W, ALU_CMP, ADDRESS, (int32_t)(4096u / g->op.size));
    cold = dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(e, IF_AE));
    emit_memory(e, 0, 0xf7, 0, VCPU(rflags)); /* test */
    emit32(e, X86_DF);
    cold->distance[cold->distances++] = emit_jump_if(e, IF_NE);
    return cold;
}

/* ADDRESS = the host's address of the elements from `reg` on. */
static void emit_elements(struct translator *t, const struct guest_instruction *g, unsigned reg, unsigned access, struct cold *cold)
{
    struct emitter *e = &t->e;

    emit_move(e, ADDRESS, reg);
    dbt_emit_access(t, g, g->op.size, access, 0);
    emit_registers(e, 0, 0x8b, SCRATCH, ADDRESS);
    emit_alu_constant(e, 0, ALU_AND, SCRATCH, 0xfff);
    emit_lea(e, true, SCRATCH, (struct host_memory){.base = SCRATCH, .index = HOST_RCX, .scale = (uint8_t)size_shift(g)});
    emit_alu_constant(e, 0, ALU_CMP, SCRATCH, 4096);
    cold->distance[cold->distances++] = emit_jump_if(e, IF_A);
}

static void emit_repeated(struct translator *t, const struct guest_instruction *g, unsigned opcode)
{
    emit8(&t->e, 0xf3);
    if (g->op.size == 2)
        emit8(&t->e, 0x66);
    if (g->op.size == 8)
        emit8(&t->e, 0x48);
    emit8(&t->e, opcode | (g->op.size > 1));
}

/* reg = from + ADDRESS elements. */
static void emit_advance(struct translator *t, const struct guest_instruction *g, unsigned reg, unsigned from)
{
    emit_lea(&t->e, true, reg, (struct host_memory){.base = (uint8_t)from, .index = ADDRESS, .scale = (uint8_t)size_shift(g)});
}

static void translate_stos(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;
    struct cold *cold = emit_count_check(t, g);

    emit_elements(t, g, HOST_RDI, ACCESS_WRITE, cold);
    emit_move(e, SCRATCH, HOST_RDI);
    emit_move(e, HOST_RDI, ADDRESS);
    emit_move(e, ADDRESS, HOST_RCX);
    emit_repeated(t, g, 0xaa);
    emit_advance(t, g, HOST_RDI, SCRATCH);
    t->host_flags = false;
}

static void translate_movs(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;
    struct cold *cold = emit_count_check(t, g);

    emit_elements(t, g, HOST_RSI, ACCESS_READ, cold);
    emit_store(e, VCPU(string_scratch), ADDRESS);
    emit_elements(t, g, HOST_RDI, ACCESS_WRITE, cold);
    emit_move(e, SCRATCH, HOST_RSI);
    emit_load(e, HOST_RSI, VCPU(string_scratch));
    emit_store(e, VCPU(string_scratch), HOST_RDI);
    emit_move(e, HOST_RDI, ADDRESS);
    emit_move(e, ADDRESS, HOST_RCX);
    emit_repeated(t, g, 0xa4);
    emit_advance(t, g, HOST_RSI, SCRATCH);
    emit_load(e, HOST_RDI, VCPU(string_scratch));
    emit_advance(t, g, HOST_RDI, HOST_RDI);
    t->host_flags = false;
}

translate_fn *dbt_choose_string(struct translator *t, struct guest_instruction *g)
{
    if (!t->code64 || g->decoded->address_width != 64 || !(g->op.flags & (OP_REP | OP_REPNE)) || g->op.segment >= X86_FS)
        return NULL;
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
        return translate_stos;
    case ZYDIS_MNEMONIC_MOVSD:
        return g->decoded->meta.isa_set == ZYDIS_ISA_SET_SSE2 ? NULL : translate_movs;
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSQ:
        return translate_movs;
    default:
        return NULL;
    }
}
