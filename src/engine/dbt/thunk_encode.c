/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes a decoded guest instruction anew for the host: same opcode, other general registers, memory operand [rsi].
 *
 * Everything is built from what the decoder understood, never copied blindly: prefixes that have no meaning for the instruction
 * vanish, and code of 16- and 32-bit guests comes out as 64-bit code of the same effect. */
#include "engine/dbt/thunk.h"

struct fields { /* register numbers for the ModRM and vvvv fields */
    unsigned reg, rm, vvvv;
    unsigned index; /* of a memory operand with one, else 0 */
    bool memory;
    bool byte_register; /* needs a REX prefix to be told from AH and the like */
};

bool dbt_thunk_is_gpr(ZydisRegister reg)
{
    ZydisRegisterClass class = ZydisRegisterGetClass(reg);

    return class >= ZYDIS_REGCLASS_GPR8 && class <= ZYDIS_REGCLASS_GPR64;
}

unsigned dbt_thunk_gpr_number(ZydisRegister reg)
{
    if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
        return (unsigned)(reg - ZYDIS_REGISTER_AL);
    if (dbt_thunk_is_high_byte(reg))
        return (unsigned)(reg - ZYDIS_REGISTER_AH);
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_R15B)
        return (unsigned)(reg - ZYDIS_REGISTER_SPL) + 4;
    return (unsigned)ZydisRegisterGetId(reg) & 15;
}

static unsigned host_number(ZydisRegister reg, const uint8_t gpr[static 16])
{
    if (!dbt_thunk_is_gpr(reg))
        return (unsigned)ZydisRegisterGetId(reg);
    return dbt_thunk_is_high_byte(reg) ? THUNK_HIGH_BYTE : gpr[dbt_thunk_gpr_number(reg)];
}

static void place_operand(const ZydisDecodedOperand *o, const uint8_t gpr[static 16], struct host_memory memory, struct fields *f)
{
    unsigned number;

    if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
        f->memory = true;
        f->rm = memory.base & 15u;
        f->index = memory.index == HOST_NONE ? 0 : memory.index;
    }
    if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return;
    number = host_number(o->reg.value, gpr);
    if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
        f->reg = number;
    else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
        f->rm = number;
    else if (o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
        f->vvvv = number;
    if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_GPR8)
        f->byte_register = true;
}

static struct fields place_operands(const struct decode *d, const uint8_t gpr[static 16], struct host_memory memory)
{
    const ZydisDecodedInstruction *in = d->instruction;
    struct fields f = {.reg = in->raw.modrm.reg, .rm = in->raw.modrm.rm};

    for (unsigned i = 0; i < in->operand_count; i++)
        place_operand(&d->operand[i], gpr, memory, &f);
    return f;
}

/* Outside 64-bit mode W is ignored where it would only choose the size of a general register. */
static bool wide(const struct decode *d, bool w)
{
    const ZydisDecodedInstruction *in = d->instruction;

    if ((d->mode & MODE_CODE_MASK) == MODE_CODE64 || !w)
        return w;
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_VMOVD:
    case ZYDIS_MNEMONIC_VCVTSI2SD:
    case ZYDIS_MNEMONIC_VCVTSI2SS:
    case ZYDIS_MNEMONIC_VCVTUSI2SD:
    case ZYDIS_MNEMONIC_VCVTUSI2SS:
        return false;
    default:
        break;
    }
    for (unsigned i = 0; i < in->operand_count; i++) { /* hidden ones too: VPCMPESTRI's lengths */
        if (d->operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER && dbt_thunk_is_gpr(d->operand[i].reg.value))
            return false;
    }
    return in->meta.isa_set != ZYDIS_ISA_SET_BMI1 && in->meta.isa_set != ZYDIS_ISA_SET_BMI2;
}

/* Whether a 66 prefix chooses the operand size, as opposed to being part of the opcode. */
static bool sized_by_66(const ZydisDecodedInstruction *in)
{
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_POPCNT:
    case ZYDIS_MNEMONIC_LZCNT:
    case ZYDIS_MNEMONIC_TZCNT:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
        return true;
    case ZYDIS_MNEMONIC_CRC32:
        return in->opcode == 0xf1;
    default:
        return false;
    }
}

static bool is_16_bit(const struct decode *d)
{
    const ZydisDecodedInstruction *in = d->instruction;

    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FNSTENV:
        return d->operand[0].size == 14 * 8;
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FNSAVE:
        return d->operand[0].size == 94 * 8;
    default:
        return sized_by_66(in) && in->operand_width == 16;
    }
}

static unsigned legacy_prefixes(const struct decode *d, unsigned flags, uint8_t *out)
{
    const ZydisDecodedInstruction *in = d->instruction;
    bool operand_size = is_16_bit(d);
    uint8_t repeat = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < in->raw.prefix_count; i++) {
        if (in->raw.prefixes[i].type != ZYDIS_PREFIX_TYPE_MANDATORY)
            continue;
        if (in->raw.prefixes[i].value == 0x66)
            operand_size = true;
        else
            repeat = in->raw.prefixes[i].value;
    }
    if (operand_size)
        out[n++] = 0x66;
    if (repeat != 0 && !(flags & THUNK_WITHOUT_REP))
        out[n++] = repeat;
    return n;
}

static unsigned legacy_opcode(const struct decode *d, const struct fields *f, unsigned flags, uint8_t *out)
{
    const ZydisDecodedInstruction *in = d->instruction;
    unsigned n = legacy_prefixes(d, flags, out);
    unsigned rex = (unsigned)(in->raw.rex.W << 3) | (f->reg >> 3 << 2) | f->index >> 3 << 1 | f->rm >> 3;

    if (rex != 0 || f->byte_register)
        out[n++] = (uint8_t)(0x40 | rex);
    if (in->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        out[n++] = 0x0f;
    if (in->opcode_map == ZYDIS_OPCODE_MAP_0F38)
        out[n++] = 0x38;
    else if (in->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
        out[n++] = 0x3a;
    out[n++] = in->opcode;
    return n;
}

static unsigned vex_opcode(const struct decode *d, const struct fields *f, uint8_t *out)
{
    const ZydisDecodedInstruction *in = d->instruction;

    out[0] = 0xc4;
    out[1] = (uint8_t)((f->reg & 8 ? 0 : 0x80) | (f->index & 8 ? 0 : 0x40) | (f->rm & 8 ? 0 : 0x20) | in->raw.vex.m_mmmm);
    out[2] = (uint8_t)(wide(d, in->raw.vex.W) << 7 | (~f->vvvv & 15) << 3 | in->raw.vex.L << 2 | in->raw.vex.pp);
    out[3] = in->opcode;
    return 4;
}

static unsigned evex_opcode(const struct decode *d, const struct fields *f, uint8_t *out)
{
    const ZydisDecodedInstruction *in = d->instruction;
    const ZydisDecodedInstructionRawEvex *e = &in->raw.evex;

    out[0] = 0x62;
    out[1] = (uint8_t)((f->reg & 8 ? 0 : 0x80) | (f->rm & 16 ? 0 : 0x40) | (f->rm & 8 ? 0 : 0x20) |
                       (f->reg & 16 ? 0 : 0x10) | e->mmm);
    out[2] = (uint8_t)(wide(d, e->W) << 7 | (~f->vvvv & 15) << 3 | 4 | e->pp);
    out[3] = (uint8_t)(e->z << 7 | e->L2 << 6 | e->L << 5 | e->b << 4 | (f->vvvv & 16 ? 0 : 8) | e->aaa);
    out[4] = in->opcode;
    return 5;
}

/* The fourth register operand sits in the immediate's upper half, of which other modes than 64-bit ignore the top bit. */
static unsigned immediates(const struct decode *d, uint8_t *out)
{
    const ZydisDecodedInstruction *in = d->instruction;
    unsigned n = 0;

    for (unsigned i = 0; i < in->operand_count_visible; i++) {
        if (d->operand[i].encoding == ZYDIS_OPERAND_ENCODING_IS4) {
            out[0] = d->bytes[in->length - 1];
            if ((d->mode & MODE_CODE_MASK) != MODE_CODE64)
                out[0] &= 0x7f;
            return 1;
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned j = 0; j < in->raw.imm[i].size / 8u; j++)
            out[n++] = d->bytes[in->raw.imm[i].offset + j];
    }
    return n;
}

unsigned dbt_thunk_encode(const struct decode *d, const uint8_t gpr[static 16], struct host_memory memory, unsigned flags,
                          uint8_t ret_bytes[static THUNK_INSTRUCTION_MAX])
{
    const ZydisDecodedInstruction *in = d->instruction;
    struct fields f = place_operands(d, gpr, memory);
    unsigned n = 0;

    if (f.memory && memory.gs)
        ret_bytes[n++] = EMIT_GS_PREFIX;
    if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        n += vex_opcode(d, &f, ret_bytes + n);
    else if (in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
        n += evex_opcode(d, &f, ret_bytes + n);
    else
        n += legacy_opcode(d, &f, flags, ret_bytes + n);
    if (f.memory) {
        struct emitter e = {.at = ret_bytes + n};

        emit_operand(&e, f.reg, memory);
        n = (unsigned)(e.at - ret_bytes);
    } else if (in->attributes & ZYDIS_ATTRIB_HAS_MODRM) {
        ret_bytes[n++] = (uint8_t)(0xc0 | (f.reg & 7) << 3 | (f.rm & 7));
    }
    return n + immediates(d, ret_bytes + n);
}
