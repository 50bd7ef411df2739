/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoding: Zydis takes an instruction apart, this file fills the op's operands, the binders choose the handler. */
#include "engine/dbt/alu.h"

void dbt_op_undefined(struct dbt_vcpu *v, const struct op *op)
{
    dbt_raise(v, X86_UD);
}

void dbt_op_device_not_available(struct dbt_vcpu *v, const struct op *op)
{
    dbt_raise(v, X86_NM);
}

void dbt_op_general_protection(struct dbt_vcpu *v, const struct op *op)
{
    dbt_raise_error(v, X86_GP, 0);
}

op_fn *dbt_bind_integer(const struct decode *d, struct op *op)
{
    static op_fn *(*const families[])(const struct decode *, struct op *) = {
        dbt_bind_move, dbt_bind_alu, dbt_bind_stack, dbt_bind_shift, dbt_bind_bits, dbt_bind_multiply, dbt_bind_exchange,
        dbt_bind_decimal};

    for (unsigned i = 0; i < ARRAY_SIZE(families); i++) {
        op_fn *handler = families[i](d, op);

        if (handler != NULL)
            return handler;
    }
    return NULL;
}

/* Zydis numbers the byte registers AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B ... */
static uint8_t byte_register(ZydisRegister reg)
{
    unsigned n = (unsigned)(reg - ZYDIS_REGISTER_AL);

    if (n < 4)
        return (uint8_t)(n * 8);
    if (n < 8)
        return (uint8_t)((n - 4) * 8 + 1);
    return (uint8_t)((n - 4) * 8);
}

static uint8_t register_number(ZydisRegister reg)
{
    if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR8)
        return byte_register(reg);
    return (uint8_t)ZydisRegisterGetId(reg);
}

static uint8_t address_register(ZydisRegister reg)
{
    if (reg == ZYDIS_REGISTER_NONE)
        return GPR_ZERO;
    if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
        return GPR_RIP;
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64: return (uint8_t)ZydisRegisterGetId(reg);
    default: return GPR_ZERO; /* a vector index: its binder reads the operand itself */
    }
}

/* Zydis 4.0 takes [index + disp32] with a 67 prefix and REX.B for [r13d + index]; no register is meant (SDM vol. 2 table 2-5). */
static void fix_absolute(const struct decode *d, struct op *op)
{
    const ZydisDecodedInstructionRaw *raw = &d->instruction->raw;

    if (d->instruction->address_width == 32 && raw->modrm.mod == 0 && raw->modrm.rm == 4 && raw->sib.base == 5) {
        op->base = GPR_ZERO;
        op->displacement = (int32_t)raw->disp.value;
    }
}

static void fill_memory(const struct decode *d, const ZydisDecodedOperand *operand, struct op *op)
{
    const ZydisDecodedOperandMem *m = &operand->mem;
    bool code64 = (d->mode & MODE_CODE_MASK) == MODE_CODE64;

    op->flags |= OP_MEMORY;
    op->base = address_register(m->base);
    op->index = address_register(m->index);
    op->scale = m->scale > 1 ? (uint8_t)__builtin_ctz(m->scale) : 0;
    op->displacement = m->disp.has_displacement ? (int32_t)m->disp.value : 0;
    fix_absolute(d, op);
    op->segment = (uint8_t)(m->segment - ZYDIS_REGISTER_ES);
    op->address_segment = op->segment;
    op->memory_size = m->type == ZYDIS_MEMOP_TYPE_MEM && operand->size <= 255 * 8 ? (uint8_t)(operand->size / 8) : 0;
    if (d->instruction->address_width == 16)
        op->flags |= OP_ADDRESS_SLOW | OP_ADDRESS16;
    else if (d->instruction->address_width == 32)
        op->flags |= OP_ADDRESS_SLOW | OP_ADDRESS32;
    else if (!code64)
        op->flags |= OP_ADDRESS_SLOW;
}

static void fill_operands(const struct decode *d, struct op *op)
{
    unsigned registers = 0;

    op->base = op->index = GPR_ZERO;
    op->segment = X86_DS;
    for (unsigned i = 0; i < d->instruction->operand_count_visible; i++) {
        const ZydisDecodedOperand *operand = &d->operand[i];

        if (operand->type == ZYDIS_OPERAND_TYPE_REGISTER && registers < ARRAY_SIZE(op->reg))
            op->reg[registers++] = register_number(operand->reg.value);
        else if (operand->type == ZYDIS_OPERAND_TYPE_MEMORY)
            fill_memory(d, operand, op);
        else if (operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
            op->immediate = operand->imm.value.u;
    }
}

static void fill_prefixes(const ZydisDecodedInstruction *instruction, struct op *op)
{
    op->length = instruction->length;
    op->size = (uint8_t)(instruction->operand_width / 8);
    if (op->size == 0)
        op->size = 1;
    if (instruction->attributes & ZYDIS_ATTRIB_HAS_LOCK)
        op->flags |= OP_LOCK;
    if (instruction->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
        op->flags |= OP_REP;
    if (instruction->attributes & ZYDIS_ATTRIB_HAS_REPNE)
        op->flags |= OP_REPNE;
}

static void init_decoder(ZydisDecoder *decoder, uint32_t mode)
{
    switch (mode & MODE_CODE_MASK) {
    case MODE_CODE64: ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64); break;
    case MODE_CODE32: ZydisDecoderInit(decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32); break;
    default:
        ZydisDecoderInit(decoder, (mode & MODE_PROTECTED) ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_REAL_16,
                         ZYDIS_STACK_WIDTH_16);
        break;
    }
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE); /* not offered: its opcodes are NOPs */
}

static op_fn *bind(const struct decode *d, struct op *op)
{
    static op_fn *(*const binders[])(const struct decode *, struct op *) = {
        dbt_bind_integer, dbt_bind_control, dbt_bind_string, dbt_bind_vector, dbt_bind_system};

    for (unsigned i = 0; i < ARRAY_SIZE(binders); i++) {
        op_fn *handler = binders[i](d, op);

        if (handler != NULL)
            return handler;
    }
    return dbt_op_undefined;
}

static void make_fault(struct op *op, ZydisDecodedInstruction *instruction, op_fn *handler)
{
    *instruction = (ZydisDecodedInstruction){0};
    *op = (struct op){.execute = handler, .length = 1, .size = 1, .base = GPR_ZERO, .index = GPR_ZERO, .segment = X86_DS,
                      .flags = OP_END};
}

int dbt_decode_all(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, uint32_t mode, struct op *ret_op,
                   ZydisDecodedInstruction *ret_instruction, ZydisDecodedOperand ret_operands[static ZYDIS_MAX_OPERAND_COUNT])
{
    ZydisDecoder decoder;
    struct decode d = {.v = v, .instruction = ret_instruction, .operand = ret_operands, .bytes = bytes, .mode = mode};
    ZyanStatus status;

    init_decoder(&decoder, mode);
    status = ZydisDecoderDecodeFull(&decoder, bytes, avail, ret_instruction, ret_operands);
    if (status == ZYDIS_STATUS_NO_MORE_DATA && avail < 15)
        return 0;
    if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
        make_fault(ret_op, ret_instruction, dbt_op_general_protection);
        return 1;
    }
    if (ZYAN_FAILED(status)) {
        make_fault(ret_op, ret_instruction, dbt_op_undefined);
        return 1;
    }
    *ret_op = (struct op){0};
    fill_prefixes(ret_instruction, ret_op);
    fill_operands(&d, ret_op);
    ret_op->execute = bind(&d, ret_op);
    if (ret_op->execute == dbt_op_undefined)
        ret_op->flags |= OP_END;
    return 1;
}
