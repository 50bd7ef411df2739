/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integer instructions in translations: nearly all are the guest's own, with other registers and a checked memory operand. */
#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"

static void map_register(struct register_map *map, const ZydisDecodedOperand *o, unsigned *scratch)
{
    unsigned guest;

    if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !dbt_thunk_is_gpr(o->reg.value))
        return;
    guest = dbt_thunk_gpr_number(o->reg.value);
    if (dbt_host_of[guest] != IN_MEMORY)
        return;
    if (map->host[guest] == IN_MEMORY)
        map->host[guest] = (uint8_t)(*scratch)--;
    map->loaded |= (uint16_t)(1u << guest); /* even where it is only written: perhaps in part, or not at all */
    if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
        map->stored |= (uint16_t)(1u << guest);
}

bool dbt_map_registers(const struct guest_instruction *g, bool memory, struct register_map *ret_map)
{
    unsigned scratch = SCRATCH;

    *ret_map = (struct register_map){0};
    memcpy(ret_map->host, dbt_host_of, sizeof(ret_map->host));
    for (unsigned i = 0; i < g->decoded->operand_count; i++)
        map_register(ret_map, &g->operand[i], &scratch);
    ret_map->uses_address = scratch < ADDRESS;
    return scratch >= (memory ? ADDRESS : ADDRESS - 1u);
}

void dbt_emit_map_load(struct translator *t, const struct register_map *map)
{
    for (unsigned i = 0; i < 16; i++)
        if (map->loaded & 1u << i)
            emit_load(&t->e, map->host[i], dbt_guest_slot(i));
}

void dbt_emit_map_store(struct translator *t, const struct register_map *map)
{
    for (unsigned i = 0; i < 16; i++)
        if (map->stored & 1u << i)
            emit_store(&t->e, dbt_guest_slot(i), map->host[i]);
}

/* --- encoding ------------------------------------------------------------------------------------------------------------- */

static unsigned host_number(ZydisRegister reg, const struct register_map *map)
{
    unsigned guest = dbt_thunk_gpr_number(reg);

    return dbt_thunk_is_high_byte(reg) ? guest + 4 : map->host[guest];
}

static void place_register(const ZydisDecodedOperand *o, const struct register_map *map, struct recipe *r)
{
    unsigned number;

    if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !dbt_thunk_is_gpr(o->reg.value))
        return;
    number = host_number(o->reg.value, map);
    if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
        r->reg = (uint8_t)number;
    else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
        r->rm = (uint8_t)number;
    else if (o->encoding == ZYDIS_OPERAND_ENCODING_OPCODE) {
        r->rm = (uint8_t)number;
        r->in_opcode = true;
    } else
        return;
    if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_GPR8 && !dbt_thunk_is_high_byte(o->reg.value) && number >= 4)
        r->byte_register = true;
}

static void place_operands(const struct guest_instruction *g, const struct register_map *map, struct recipe *r)
{
    for (unsigned i = 0; i < g->decoded->operand_count; i++) {
        const ZydisDecodedOperand *o = &g->operand[i];

        if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
            r->memory = true;
            r->rm = ADDRESS;
        }
        place_register(o, map, r);
    }
}

/* What 64-bit code has no room for: INC and DEC in one byte, a second opcode of group 1, MOV without ModRM. */
static void modernise(const struct guest_instruction *g, struct recipe *r)
{
    if (g->decoded->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        return;
    if (r->opcode >= 0x40 && r->opcode <= 0x4f) {
        r->reg = r->opcode >> 3 & 1;
        r->modrm = true;
        r->in_opcode = false;
        r->opcode = 0xff;
    } else if (r->opcode == 0x82) {
        r->opcode = 0x80;
    } else if (r->opcode >= 0xa0 && r->opcode <= 0xa3) {
        static const uint8_t modern[] = {0x8a, 0x8b, 0x88, 0x89};

        r->opcode = modern[r->opcode - 0xa0];
        r->modrm = r->memory = true;
        r->reg = HOST_RAX;
        r->rm = ADDRESS;
    }
}

static bool has_offset(const struct guest_instruction *g) /* MOV without ModRM: its bytes are no immediate */
{
    return g->operand[0].encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 || g->operand[1].encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64;
}

static void place_scratch(const struct register_map *map, struct recipe *r)
{
    r->in_scratch = r->in_address = IN_NO_REGISTER;
    for (unsigned i = 0; i < 16; i++) {
        bool stored = (map->stored & 1u << i) != 0;

        if (!(map->loaded & 1u << i))
            continue;
        if (map->host[i] == SCRATCH) {
            r->in_scratch = (uint8_t)i;
            r->stores_scratch = stored;
        } else {
            r->in_address = (uint8_t)i;
            r->stores_address = stored;
        }
    }
}

static struct recipe find_recipe(const struct guest_instruction *g, const struct register_map *map)
{
    const ZydisDecodedInstruction *in = g->decoded;
    struct recipe r = {.opcode = in->opcode, .modrm = (in->attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0,
                       .reg = in->raw.modrm.reg, .rm = in->raw.modrm.rm,
                       .wide = in->raw.rex.W != 0, .word = in->operand_width == 16,
                       .escape = in->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT, .escape38 = in->opcode_map == ZYDIS_OPCODE_MAP_0F38,
                       .access = g->memory_written ? ACCESS_WRITE : ACCESS_READ,
                       .align = in->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B ? 15 : 0};

    place_operands(g, map, &r);
    place_scratch(map, &r);
    modernise(g, &r);
    if (!has_offset(g)) {
        r.immediate_at = in->raw.imm[0].offset;
        r.immediate_size = (uint8_t)((in->raw.imm[0].size + in->raw.imm[1].size) / 8);
    }
    return r;
}

static unsigned rex_bits(const struct recipe *r, struct host_memory memory)
{
    unsigned rex = r->wide * 8u | (r->modrm ? r->reg / 8u * 4u : 0);

    if (r->memory)
        return rex | (memory.index != HOST_NONE ? memory.index / 8u * 2u : 0) | (memory.base != HOST_NONE ? memory.base / 8u : 0);
    return rex | (r->modrm || r->in_opcode ? r->rm / 8u : 0);
}

static void emit_guest_instruction(struct emitter *e, const struct guest_instruction *g, const struct recipe *r, struct host_memory memory)
{
    unsigned rex = rex_bits(r, memory);

    if (r->memory && memory.gs)
        emit8(e, EMIT_GS_PREFIX);
    if (g->op.flags & OP_LOCK)
        emit8(e, 0xf0);
    if (r->word)
        emit8(e, 0x66);
    if (rex != 0 || r->byte_register)
        emit8(e, 0x40 | rex);
    if (r->escape)
        emit8(e, 0x0f);
    if (r->escape38)
        emit8(e, 0x38);
    emit8(e, r->in_opcode ? (r->opcode & ~7u) | (r->rm & 7u) : r->opcode);
    if (r->memory)
        emit_operand(e, r->reg, memory);
    else if (r->modrm)
        emit8(e, 0xc0u | (r->reg & 7u) << 3 | (r->rm & 7u));
    emit_bytes(e, g->bytes + r->immediate_at, r->immediate_size);
}

static void translate_plain(struct translator *t, const struct guest_instruction *g)
{
    const struct recipe *r = g->recipe;
    struct host_memory memory = at_base(ADDRESS, 0);

    if (g->memory != NULL)
        memory = dbt_emit_operand(t, g, g->memory, g->op.memory_size, r->access, r->align);
    dbt_flags_provide(t, g);
    if (r->in_scratch != IN_NO_REGISTER)
        emit_load(&t->e, SCRATCH, dbt_guest_slot(r->in_scratch));
    if (r->in_address != IN_NO_REGISTER) {
        emit_load(&t->e, ADDRESS, dbt_guest_slot(r->in_address));
        t->address_holds = 0;
    }
    emit_guest_instruction(&t->e, g, r, memory);
    if (r->stores_scratch)
        emit_store(&t->e, dbt_guest_slot(r->in_scratch), SCRATCH);
    if (r->stores_address)
        emit_store(&t->e, dbt_guest_slot(r->in_address), ADDRESS);
    dbt_flags_done(t, g);
}

/* --- the special ones ------------------------------------------------------------------------------------------------------ */

static void translate_nothing(struct translator *t, const struct guest_instruction *g)
{
    (void)t;
    (void)g;
}

static void translate_as_it_is(struct translator *t, const struct guest_instruction *g)
{
    emit_bytes(&t->e, g->bytes, g->decoded->length);
}

static void translate_lea(struct translator *t, const struct guest_instruction *g)
{
    unsigned guest = g->op.reg[0], to = dbt_host_of[guest];

    dbt_emit_offset(t, g, &g->operand[1], g->op.size == 8);
    if (g->op.size == 2) {
        if (to == IN_MEMORY)
            emit_memory(&t->e, EMIT_66, 0x89, ADDRESS, dbt_guest_slot(guest));
        else
            emit_registers(&t->e, EMIT_66, 0x89, ADDRESS, to);
    } else if (to == IN_MEMORY) {
        emit_store(&t->e, dbt_guest_slot(guest), ADDRESS);
    } else {
        emit_move(&t->e, to, ADDRESS);
    }
}

/* A division that would fault, or that is not plainly safe, is the interpreter's. */
static void translate_divide(struct translator *t, const struct guest_instruction *g)
{
    const ZydisDecodedOperand *memory = g->memory;
    unsigned flags = g->op.size == 8 ? EMIT_W : 0, guest = g->op.reg[0];
    struct emitter *e = &t->e;
    struct cold *cold;

    dbt_flags_spare(t, g);
    if (memory != NULL) {
        emit_memory(e, flags, 0x8b, SCRATCH, dbt_emit_operand(t, g, memory, g->op.memory_size, ACCESS_READ, 0));
    } else if (dbt_host_of[guest] == IN_MEMORY) {
        emit_load(e, SCRATCH, dbt_guest_slot(guest));
    } else {
        emit_registers(e, flags, 0x8b, SCRATCH, dbt_host_of[guest]);
    }
    if (g->decoded->mnemonic == ZYDIS_MNEMONIC_DIV) {
        emit_registers(e, flags, 0x3b, HOST_RDX, SCRATCH);
        cold = dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(e, IF_AE));
        emit_registers(e, flags, 0xf7, 6, SCRATCH);
    } else { /* the dividend is a sign-extended RAX, the divisor neither 0 nor -1 */
        emit_registers(e, flags, 0x8b, ADDRESS, HOST_RAX);
        emit_registers(e, flags, 0xc1, 7, ADDRESS);
        emit8(e, g->op.size == 8 ? 63 : 31);
        emit_registers(e, flags, 0x3b, ADDRESS, HOST_RDX);
        cold = dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(e, IF_NE));
        emit_memory(e, flags, 0x8d, ADDRESS, at_base(SCRATCH, 1));
        emit_alu_constant(e, flags, ALU_CMP, ADDRESS, 1);
        cold->distance[cold->distances++] = emit_jump_if(e, IF_BE);
        emit_registers(e, flags, 0xf7, 7, SCRATCH);
    }
    t->host_flags = false;
    dbt_flags_done(t, g);
}

/* Every so often the interpreter's, which yields. */
static void translate_pause(struct translator *t, const struct guest_instruction *g)
{
    dbt_flags_spare(t, g);
    emit_alu_memory_constant(&t->e, 0, ALU_SUB, VCPU(pauses_left), 1);
    dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(&t->e, IF_S));
    emit_bytes(&t->e, g->bytes, g->decoded->length);
    t->host_flags = false;
}

/* --- choice ---------------------------------------------------------------------------------------------------------------- */

static bool is_plain_mnemonic(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_ADC: case ZYDIS_MNEMONIC_ADD: case ZYDIS_MNEMONIC_AND: case ZYDIS_MNEMONIC_CMP: case ZYDIS_MNEMONIC_DEC:
    case ZYDIS_MNEMONIC_INC: case ZYDIS_MNEMONIC_NEG: case ZYDIS_MNEMONIC_NOT: case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_SBB:
    case ZYDIS_MNEMONIC_SUB: case ZYDIS_MNEMONIC_TEST: case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_MOV: case ZYDIS_MNEMONIC_MOVZX: case ZYDIS_MNEMONIC_MOVSX: case ZYDIS_MNEMONIC_MOVSXD:
    case ZYDIS_MNEMONIC_MOVBE: case ZYDIS_MNEMONIC_XCHG: case ZYDIS_MNEMONIC_XADD:
    case ZYDIS_MNEMONIC_CMPXCHG: case ZYDIS_MNEMONIC_CMPXCHG8B: case ZYDIS_MNEMONIC_CMPXCHG16B:
    case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR: case ZYDIS_MNEMONIC_SAR: case ZYDIS_MNEMONIC_ROL: case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL: case ZYDIS_MNEMONIC_RCR: case ZYDIS_MNEMONIC_SHLD: case ZYDIS_MNEMONIC_SHRD:
    case ZYDIS_MNEMONIC_BSF: case ZYDIS_MNEMONIC_BSR: case ZYDIS_MNEMONIC_BSWAP: case ZYDIS_MNEMONIC_IMUL: case ZYDIS_MNEMONIC_MUL:
    case ZYDIS_MNEMONIC_CBW: case ZYDIS_MNEMONIC_CWDE: case ZYDIS_MNEMONIC_CDQE: case ZYDIS_MNEMONIC_CWD: case ZYDIS_MNEMONIC_CDQ:
    case ZYDIS_MNEMONIC_CQO: case ZYDIS_MNEMONIC_LAHF: case ZYDIS_MNEMONIC_SAHF: case ZYDIS_MNEMONIC_CLC: case ZYDIS_MNEMONIC_STC:
    case ZYDIS_MNEMONIC_CMC:
        return true;
    default:
        return dbt_set_condition(mnemonic) >= 0 || dbt_move_condition(mnemonic) >= 0;
    }
}

/* With a bit number in a register the operand's address depends on it. */
static bool is_plain_bit_test(const struct guest_instruction *g)
{
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        return g->memory == NULL || g->operand[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
    default:
        return false;
    }
}

/* AH and its like can't stand next to a REX prefix. */
static bool high_bytes_fit(const struct guest_instruction *g)
{
    bool high = false, rex = g->memory != NULL;

    for (unsigned i = 0; i < g->decoded->operand_count; i++) {
        ZydisRegister reg = g->operand[i].reg.value;

        if (g->operand[i].type != ZYDIS_OPERAND_TYPE_REGISTER || !dbt_thunk_is_gpr(reg))
            continue;
        if (dbt_thunk_is_high_byte(reg))
            high = true;
        else if (dbt_host_of[dbt_thunk_gpr_number(reg)] >= 8)
            rex = true;
    }
    return !high || !rex;
}

static bool general_registers_only(const struct guest_instruction *g)
{
    for (unsigned i = 0; i < g->decoded->operand_count; i++) {
        const ZydisDecodedOperand *o = &g->operand[i];

        if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && !dbt_thunk_is_gpr(o->reg.value) &&
            ZydisRegisterGetClass(o->reg.value) != ZYDIS_REGCLASS_FLAGS)
            return false;
    }
    return true;
}

static translate_fn *choose_special(struct translator *t, const struct guest_instruction *g)
{
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_PREFETCHNTA:
    case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1:
    case ZYDIS_MNEMONIC_PREFETCHT2:
    case ZYDIS_MNEMONIC_PREFETCHW:
        return translate_nothing;
    case ZYDIS_MNEMONIC_PAUSE:
        return g->decoded->raw.rex.B ? NULL : translate_pause; /* with REX.B: see vector_special.c */
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
        return translate_as_it_is;
    case ZYDIS_MNEMONIC_LEA:
        return dbt_can_address(t, g, &g->operand[1]) ? translate_lea : NULL;
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
        return g->op.size >= 4 ? translate_divide : NULL;
    default:
        return NULL;
    }
}

translate_fn *dbt_choose_integer(struct translator *t, struct guest_instruction *g)
{
    const ZydisDecodedOperand *memory = g->memory;
    translate_fn *special;
    struct register_map map;

    if (memory != NULL && !dbt_can_address(t, g, memory) && g->decoded->mnemonic != ZYDIS_MNEMONIC_NOP)
        return NULL;
    special = choose_special(t, g);
    if (special != NULL)
        return special;
    if (!is_plain_mnemonic(g->decoded->mnemonic) && !is_plain_bit_test(g))
        return NULL;
    if (g->decoded->mnemonic == ZYDIS_MNEMONIC_BSWAP && g->op.size == 2)
        return NULL;
    if (!general_registers_only(g) || !high_bytes_fit(g) || !dbt_map_registers(g, memory != NULL, &map))
        return NULL;
    g->sharable = g->decoded->mnemonic != ZYDIS_MNEMONIC_CMPXCHG16B && !(g->op.flags & OP_LOCK) &&
                  g->decoded->mnemonic != ZYDIS_MNEMONIC_XCHG;
    *g->recipe = find_recipe(g, &map);
    return translate_plain;
}
