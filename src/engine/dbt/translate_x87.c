/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87 instructions in translations: the guest's own on the host's unit, which holds the guest's registers.
 *
 * Only while the guest has all x87 exceptions masked (no MODE_X87_UNMASKED): then none can be pending, waiting instructions need not
 * look for one, and stores always store. What unmasks them ends the translation. */
#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"
#include "engine/dbt/vector.h"

#define CONTROL_MASKS 0x3f

static bool computes(const struct guest_instruction *g)
{
    return dbt_x87_kind(g->op.execute) == X87_COMPUTE;
}

/* The next instruction writes the pointers anew, and nobody looks in between: it can't fault. */
static bool superseded(const struct translator *t, const struct guest_instruction *g)
{
    const struct guest_instruction *next = g + 1;

    return next < &t->instruction[t->count] && next->translate != NULL && computes(next) && next->memory == NULL;
}

static void emit_store_constant(struct translator *t, struct host_memory to, uint64_t value)
{
    if ((int64_t)value == (int32_t)value) {
        emit_memory(&t->e, EMIT_W, 0xc7, 0, to);
        emit32(&t->e, (uint32_t)value);
    } else {
        emit_constant(&t->e, SCRATCH, value);
        emit_store(&t->e, to, SCRATCH);
    }
}

static void emit_store_opcode(struct translator *t, uint64_t opcode)
{
    emit_memory(&t->e, EMIT_66, 0xc7, 0, VCPU(fpu.opcode));
    emit8(&t->e, (unsigned)opcode & 0xff);
    emit8(&t->e, (unsigned)opcode >> 8);
}

/* FIP, FOP and FDP, behind the instruction, since it may fault. Flags stay. */
static void emit_pointers(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *memory)
{
    if (memory != NULL) {
        dbt_emit_offset(t, g, memory, true);
        emit_store(&t->e, VCPU(fpu.dp), ADDRESS);
    }
    if (superseded(t, g))
        return;
    emit_store_constant(t, VCPU(fpu.ip), g->next_rip - g->op.length);
    emit_store_opcode(t, g->op.immediate);
}

static struct host_memory emit_operand_access(struct translator *t, const struct guest_instruction *g)
{
    return dbt_emit_operand(t, g, g->memory, g->op.memory_size, g->op.argument2, 0);
}

static void translate_x87(struct translator *t, const struct guest_instruction *g)
{
    const ZydisDecodedOperand *memory = g->memory;
    struct decode d = {.v = t->v, .instruction = g->decoded, .operand = g->operand, .bytes = g->bytes, .mode = t->out->mode};
    uint8_t bytes[THUNK_INSTRUCTION_MAX];
    struct host_memory at = memory != NULL ? emit_operand_access(t, g) : at_base(ADDRESS, 0);
    unsigned n = dbt_thunk_encode(&d, dbt_host_of, at, 0, bytes);

    dbt_flags_provide(t, g);
    emit_bytes(&t->e, bytes, n);
    dbt_flags_done(t, g);
    if (computes(g))
        emit_pointers(t, g, memory);
}

/* One that unmasks is the interpreter's. What is tested is what is loaded, whoever writes to the operand meanwhile. */
static void translate_load_control(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;

    dbt_flags_spare(t, g);
    emit_memory(e, EMIT_0F, 0xb7, SCRATCH, emit_operand_access(t, g)); /* movzx */
    emit_memory(e, 0, 0x89, SCRATCH, VCPU(fpu.control));
    emit_registers(e, 0, 0xf7, 2, SCRATCH); /* not */
    emit_registers(e, EMIT_BYTE, 0xf6, 0, SCRATCH); /* test */
    emit8(e, CONTROL_MASKS);
    dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(e, IF_NE));
    emit_memory(e, 0, 0xd9, 5, VCPU(fpu.control)); /* fldcw */
    t->host_flags = false;
}

static void translate_init(struct translator *t, const struct guest_instruction *g)
{
    (void)g;
    emit8(&t->e, 0xdb);
    emit8(&t->e, 0xe3);
    emit_store_constant(t, VCPU(fpu.ip), 0);
    emit_store_constant(t, VCPU(fpu.dp), 0);
    emit_store_opcode(t, 0);
}

static void translate_wait(struct translator *t, const struct guest_instruction *g)
{
    (void)t;
    (void)g;
}

translate_fn *dbt_choose_x87(struct translator *t, struct guest_instruction *g)
{
    const ZydisDecodedOperand *memory = g->memory;
    enum x87_kind kind = dbt_x87_kind(g->op.execute);

    if (kind == X87_NOT_PLAIN || (t->out->mode & MODE_X87_UNMASKED))
        return NULL;
    if (memory != NULL && (!dbt_can_address(t, g, memory) || g->op.memory_size == 0))
        return NULL;
    switch (kind) {
    case X87_LOAD_CONTROL: return translate_load_control;
    case X87_INIT: return translate_init;
    case X87_WAIT: return translate_wait;
    default: return translate_x87;
    }
}
