/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions in translations that fit nowhere else: bit strings in memory, PUSH of memory, segment registers and their bases,
 * reads of control registers. */
#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"

/* A general register = SCRATCH, which is zero beyond `size`. */
static void emit_result(struct translator *t, unsigned guest, unsigned size)
{
    unsigned host = dbt_host_of[guest];

    if (size == 2 && host == IN_MEMORY)
        emit_memory(&t->e, EMIT_66, 0x89, SCRATCH, dbt_guest_slot(guest));
    else if (size == 2)
        emit_registers(&t->e, EMIT_66, 0x89, SCRATCH, host);
    else if (host == IN_MEMORY)
        emit_store(&t->e, dbt_guest_slot(guest), SCRATCH);
    else
        emit_move(&t->e, host, SCRATCH);
}

/* --- bit strings ----------------------------------------------------------------------------------------------------------- */

/* SCRATCH = the bit number, sign-extended, in whole operands. */
static void emit_operand_number(struct translator *t, const struct guest_instruction *g)
{
    unsigned guest = dbt_thunk_gpr_number(g->operand[1].reg.value), host = dbt_host_of[guest];
    unsigned opcode = g->op.size == 8 ? 0x8b : 0x63; /* mov or movsxd */

    if (host == IN_MEMORY)
        emit_memory(&t->e, EMIT_W, opcode, SCRATCH, dbt_guest_slot(guest));
    else
        emit_registers(&t->e, EMIT_W, opcode, SCRATCH, host);
    emit_registers(&t->e, EMIT_W, 0xc1, 7, SCRATCH); /* sar */
    emit8(&t->e, g->op.size == 8 ? 6 : 5);
}

static void emit_move_address(struct translator *t, const struct guest_instruction *g)
{
    uint8_t scale = g->op.size == 8 ? 3 : 2;

    emit_lea(&t->e, true, ADDRESS, (struct host_memory){.base = ADDRESS, .index = SCRATCH, .scale = scale});
}

/* The access is that of the operand that the bit lies in. The host's instruction goes the same way there, from an address as far
 * before it. */
static void translate_bit_string(struct translator *t, const struct guest_instruction *g)
{
    unsigned guest = dbt_thunk_gpr_number(g->operand[1].reg.value), host = dbt_host_of[guest];
    bool writes = g->decoded->mnemonic != ZYDIS_MNEMONIC_BT;

    dbt_flags_spare(t, g);
    dbt_emit_address(t, g, &g->operand[0]);
    emit_operand_number(t, g);
    emit_move_address(t, g);
    dbt_emit_access(t, g, g->op.size, writes ? ACCESS_WRITE : ACCESS_READ, 0);
    emit_operand_number(t, g);
    emit_registers(&t->e, EMIT_W, 0xf7, 3, SCRATCH); /* neg */
    emit_move_address(t, g);
    dbt_flags_provide(t, g);
    if (host == IN_MEMORY) {
        host = SCRATCH;
        emit_load(&t->e, host, dbt_guest_slot(guest));
    }
    emit_memory(&t->e, EMIT_0F | (g->op.size == 8 ? EMIT_W : 0) | (g->op.flags & OP_LOCK ? EMIT_LOCK : 0), g->decoded->opcode, host,
                at_base(ADDRESS, 0));
    dbt_flags_done(t, g);
}

static translate_fn *choose_bit_string(struct translator *t, const struct guest_instruction *g)
{
    if (g->operand[0].type != ZYDIS_OPERAND_TYPE_MEMORY || g->operand[1].type != ZYDIS_OPERAND_TYPE_REGISTER || g->op.size < 4 ||
        !t->code64 || g->decoded->address_width != 64 || !dbt_can_address(t, g, &g->operand[0]))
        return NULL;
    return translate_bit_string;
}

/* --- the stack ------------------------------------------------------------------------------------------------------------- */

static void translate_push_memory(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;

    if (t->direct) {
        emit_load(e, SCRATCH, dbt_emit_operand(t, g, &g->operand[0], 8, ACCESS_READ, 0));
        dbt_direct_words(t, g, 1, -8, true);
        emit_store(e, dbt_direct_next_word(t, 0), SCRATCH);
        emit_lea(e, true, GUEST_RSP, at_base(GUEST_RSP, -8));
        return;
    }
    dbt_flags_spare(t, g);
    dbt_emit_address(t, g, &g->operand[0]);
    dbt_emit_access(t, g, 8, ACCESS_READ, 0);
    emit_load(e, SCRATCH, at_base(ADDRESS, 0));
    emit_store(e, VCPU(jump_target), SCRATCH);
    emit_lea(e, true, ADDRESS, at_base(GUEST_RSP, -8));
    dbt_emit_access(t, g, 8, ACCESS_WRITE, 0);
    emit_load(e, SCRATCH, VCPU(jump_target));
    emit_store(e, at_base(ADDRESS, 0), SCRATCH);
    emit_lea(e, true, GUEST_RSP, at_base(GUEST_RSP, -8));
}

/* --- segments -------------------------------------------------------------------------------------------------------------- */

static struct host_memory segment_field(unsigned segment, size_t field)
{
    return dbt_vcpu_at(offsetof(struct dbt_vcpu, segment) + segment * sizeof(struct x86_segment) + field);
}

static struct host_memory segment_base(unsigned segment)
{
    return dbt_vcpu_at(offsetof(struct dbt_vcpu, segment_base) + 8u * segment);
}

static void translate_from_segment(struct translator *t, const struct guest_instruction *g)
{
    struct host_memory selector = segment_field(g->op.argument, offsetof(struct x86_segment, selector));

    if (!(g->op.flags & OP_MEMORY)) {
        emit_memory(&t->e, EMIT_0F, 0xb7, SCRATCH, selector); /* movzx */
        emit_result(t, g->op.argument2, g->op.size);
        return;
    }
    dbt_flags_spare(t, g);
    dbt_emit_address(t, g, &g->operand[0]);
    dbt_emit_access(t, g, 2, ACCESS_WRITE, 0);
    emit_memory(&t->e, EMIT_0F, 0xb7, SCRATCH, selector);
    emit_memory(&t->e, EMIT_66, 0x89, SCRATCH, at_base(ADDRESS, 0));
}

static struct cold *emit_base_access(struct translator *t, const struct guest_instruction *g)
{
    dbt_flags_spare(t, g);
    emit_memory(&t->e, 0, 0xf7, 0, VCPU(cr4)); /* test */
    emit32(&t->e, X86_CR4_FSGSBASE);
    t->host_flags = false;
    return dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(&t->e, IF_E));
}

static void translate_read_base(struct translator *t, const struct guest_instruction *g)
{
    emit_base_access(t, g);
    emit_memory(&t->e, g->op.size == 8 ? EMIT_W : 0, 0x8b, SCRATCH, segment_base(g->op.argument));
    emit_result(t, g->op.argument2, g->op.size);
}

static void translate_write_base(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;
    struct cold *cold = emit_base_access(t, g);
    unsigned host = dbt_host_of[g->op.argument2], width = g->op.size == 8 ? EMIT_W : 0;

    if (host == IN_MEMORY)
        emit_memory(e, width, 0x8b, SCRATCH, dbt_guest_slot(g->op.argument2));
    else
        emit_registers(e, width, 0x8b, SCRATCH, host);
    if (g->op.size == 8) { /* canonical? */
        emit_move(e, ADDRESS, SCRATCH);
        emit_registers(e, EMIT_W, 0xc1, 4, ADDRESS); /* shl */
        emit8(e, 16);
        emit_registers(e, EMIT_W, 0xc1, 7, ADDRESS); /* sar */
        emit8(e, 16);
        emit_registers(e, EMIT_W, 0x3b, ADDRESS, SCRATCH);
        cold->distance[cold->distances++] = emit_jump_if(e, IF_NE);
    }
    emit_store(e, segment_base(g->op.argument), SCRATCH);
    emit_store(e, segment_field(g->op.argument, offsetof(struct x86_segment, base)), SCRATCH);
}

/* --- control registers ----------------------------------------------------------------------------------------------------- */

static struct host_memory control_register(ZydisRegister reg)
{
    switch (reg) {
    case ZYDIS_REGISTER_CR0: return VCPU(cr0);
    case ZYDIS_REGISTER_CR2: return VCPU(cr2);
    case ZYDIS_REGISTER_CR3: return VCPU(cr3);
    default: return VCPU(cr4);
    }
}

static void translate_from_control(struct translator *t, const struct guest_instruction *g)
{
    dbt_flags_spare(t, g);
    emit_alu_memory_constant(&t->e, EMIT_BYTE, ALU_CMP, VCPU(cpl), 0);
    t->host_flags = false;
    dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(&t->e, IF_NE));
    emit_load(&t->e, SCRATCH, control_register(g->operand[1].reg.value));
    emit_result(t, dbt_thunk_gpr_number(g->operand[0].reg.value), 8);
}

/* --- choice ---------------------------------------------------------------------------------------------------------------- */

static translate_fn *choose_move(struct translator *t, const struct guest_instruction *g)
{
    bool default_map = g->decoded->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;

    if (default_map && g->decoded->opcode == 0x8c)
        return !(g->op.flags & OP_MEMORY) || dbt_can_address(t, g, &g->operand[0]) ? translate_from_segment : NULL;
    if (default_map || g->decoded->opcode != 0x20 || !t->code64 || (g->op.flags & OP_LOCK) ||
        g->operand[1].reg.value > ZYDIS_REGISTER_CR4)
        return NULL;
    return translate_from_control;
}

translate_fn *dbt_choose_special(struct translator *t, struct guest_instruction *g)
{
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        return choose_bit_string(t, g);
    case ZYDIS_MNEMONIC_PUSH:
        return t->code64 && g->op.size == 8 && g->operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY && dbt_can_address(t, g, &g->operand[0])
                   ? translate_push_memory
                   : NULL;
    case ZYDIS_MNEMONIC_MOV:
        return choose_move(t, g);
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_RDGSBASE:
        return t->code64 ? translate_read_base : NULL;
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE:
        return t->code64 ? translate_write_base : NULL;
    default:
        return NULL;
    }
}
