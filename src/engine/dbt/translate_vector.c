/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vector instructions, and those of BMI and the like, in translations: the guest's own on the host's registers. */
#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"
#include "engine/dbt/vector.h"

static bool is_vector_register(ZydisRegister reg)
{
    ZydisRegisterClass class = ZydisRegisterGetClass(reg);

    return class == ZYDIS_REGCLASS_XMM || class == ZYDIS_REGCLASS_YMM || reg == ZYDIS_REGISTER_MXCSR;
}

static bool is_mmx(ZydisRegister reg)
{
    return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_MMX || ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_X87 ||
           reg == ZYDIS_REGISTER_X87TAG;
}

/* MMX registers are the x87 unit's, whose pending exceptions are the interpreter's (translate_x87.c). */
static bool runs_as_it_is(const struct translator *t, op_fn *execute)
{
    return dbt_is_vector_handler(execute) || (dbt_is_mmx_handler(execute) && !(t->out->mode & MODE_X87_UNMASKED));
}

static bool registers_fit(const struct guest_instruction *g, bool *ret_vector)
{
    *ret_vector = false;
    for (unsigned i = 0; i < g->decoded->operand_count; i++) {
        const ZydisDecodedOperand *o = &g->operand[i];

        if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        if (is_vector_register(o->reg.value))
            *ret_vector = true;
        else if (dbt_thunk_is_gpr(o->reg.value) ? dbt_thunk_is_high_byte(o->reg.value)
                                                : ZydisRegisterGetClass(o->reg.value) != ZYDIS_REGCLASS_FLAGS &&
                                                      !is_mmx(o->reg.value))
            return false;
    }
    return true;
}

static void translate_vector(struct translator *t, const struct guest_instruction *g)
{
    const ZydisDecodedOperand *memory = g->memory;
    struct decode d = {.v = t->v, .instruction = g->decoded, .operand = g->operand, .bytes = g->bytes, .mode = t->out->mode};
    uint8_t bytes[THUNK_INSTRUCTION_MAX];
    struct register_map map;
    struct host_memory at = at_base(ADDRESS, 0);
    unsigned n;

    dbt_map_registers(g, memory != NULL, &map);
    if (memory != NULL)
        at = dbt_emit_operand(t, g, memory, g->op.memory_size, g->op.argument2, g->op.argument);
    if (map.uses_address)
        t->address_holds = 0;
    dbt_flags_provide(t, g);
    dbt_emit_map_load(t, &map);
    n = dbt_thunk_encode(&d, map.host, at, 0, bytes);
    emit_bytes(&t->e, bytes, n);
    dbt_emit_map_store(t, &map);
    dbt_flags_done(t, g);
}

static void translate_zero_upper(struct translator *t, const struct guest_instruction *g)
{
    emit8(&t->e, 0xc5);
    emit8(&t->e, g->decoded->mnemonic == ZYDIS_MNEMONIC_VZEROALL ? 0xfc : 0xf8);
    emit8(&t->e, 0x77);
}

translate_fn *dbt_choose_vector(struct translator *t, struct guest_instruction *g)
{
    const ZydisDecodedOperand *memory = g->memory;
    struct register_map map;

    if (g->decoded->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER || g->decoded->mnemonic == ZYDIS_MNEMONIC_VZEROALL) {
        if (!t->code64) /* which leaves the upper eight registers alone */
            return NULL;
        g->vector = true;
        return translate_zero_upper;
    }
    if (!runs_as_it_is(t, g->op.execute) || g->decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
        return NULL;
    if (!registers_fit(g, &g->vector) || !dbt_map_registers(g, memory != NULL, &map))
        return NULL;
    if (memory != NULL && (!dbt_can_address(t, g, memory) || g->op.memory_size == 0))
        return NULL;
    g->sharable = g->op.argument == 0; /* one whose alignment counts looks for itself */
    return translate_vector;
}
