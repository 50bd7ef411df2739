/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moves under a mask and gathers: element by element, so that elements masked out cause no fault. */
#include "engine/dbt/vector.h"

#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/softmmu.h"

/* What the handlers find in the op:
 * reg[]: the explicit vector registers in order; argument: bytes of a data element; argument2: address size in bits;
 * memory_size: bytes of the whole vector; size: bytes of an index element (gathers). */

static unsigned segment_number(const ZydisDecodedOperand *memory)
{
    return (unsigned)(memory->mem.segment - ZYDIS_REGISTER_ES);
}

static bool element_selected(const uint8_t *mask, unsigned element, unsigned bytes)
{
    return mask[(element + 1) * bytes - 1] & 0x80;
}

static uint64_t load_element(struct dbt_vcpu *v, uint64_t linear, unsigned bytes)
{
    return bytes == 4 ? dbt_load32(v, linear) : dbt_load64(v, linear);
}

/* VEX writes zero what lies above the vector length. */
static void set_vector(struct dbt_vcpu *v, unsigned number, const uint8_t *value, unsigned bytes)
{
    memcpy(v->vector[number], value, bytes);
    memset(v->vector[number] + bytes, 0, sizeof(v->vector[number]) - bytes);
}

/* MASKMOVQ, MASKMOVDQU: bytes to segment:rDI. reg[0] holds data, reg[1] the mask. Faults of bytes masked out are left to the
 * implementation by the SDM; silicon here takes them. */
static void store_bytes(struct dbt_vcpu *v, const struct op *op, const uint8_t *data, const uint8_t *mask, unsigned bytes)
{
    uint64_t offset = truncate_to(v->gpr[X86_RDI], op->argument2 / 8u);
    uint64_t linear = dbt_segment_address(v, op->segment, offset, bytes, ACCESS_WRITE);

    dbt_probe(v, linear, bytes, ACCESS_WRITE);
    for (unsigned i = 0; i < bytes; i++) {
        if (element_selected(mask, i, 1))
            dbt_store8(v, linear + i, data[i]);
    }
}

static void op_maskmovdqu(struct dbt_vcpu *v, const struct op *op)
{
    store_bytes(v, op, v->vector[op->reg[0]], v->vector[op->reg[1]], 16);
}

static void op_maskmovq(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t image[512];
    uint32_t transition;

    dbt_x87_check(v);
    /* Reading MM registers is an x87 to MMX transition: TOP becomes 0 and all tags valid. */
    __asm__ volatile("movd %%mm0, %0" : "=r"(transition));
    dbt_fpu_read(v, image);
    store_bytes(v, op, image + 32 + 16 * op->reg[0], image + 32 + 16 * op->reg[1], 8);
}

/* The address of an element; segment limits are checked for those that are moved only. */
static uint64_t element_address(struct dbt_vcpu *v, const struct op *op, unsigned element, unsigned access)
{
    uint64_t offset = dbt_offset(v, op) + element * op->argument;

    return dbt_segment_address(v, op->segment, dbt_code64(v) ? offset : (uint32_t)offset, op->argument, access);
}

static void op_masked_load(struct dbt_vcpu *v, const struct op *op)
{
    const uint8_t *mask = v->vector[op->reg[1]];
    unsigned bytes = op->argument;
    uint8_t result[32] = {0};

    for (unsigned i = 0; i < op->memory_size / bytes; i++) {
        uint64_t value;

        if (!element_selected(mask, i, bytes))
            continue;
        value = load_element(v, element_address(v, op, i, ACCESS_READ), bytes);
        memcpy(result + i * bytes, &value, bytes);
    }
    set_vector(v, op->reg[0], result, op->memory_size);
}

static void op_masked_store(struct dbt_vcpu *v, const struct op *op)
{
    const uint8_t *mask = v->vector[op->reg[0]], *data = v->vector[op->reg[1]];
    unsigned bytes = op->argument;

    for (unsigned i = 0; i < op->memory_size / bytes; i++) {
        if (element_selected(mask, i, bytes))
            dbt_probe(v, element_address(v, op, i, ACCESS_WRITE), bytes, ACCESS_WRITE);
    }
    for (unsigned i = 0; i < op->memory_size / bytes; i++) {
        if (!element_selected(mask, i, bytes))
            continue;
        if (bytes == 4)
            dbt_store32(v, element_address(v, op, i, ACCESS_WRITE), load_le32(data + i * bytes));
        else
            dbt_store64(v, element_address(v, op, i, ACCESS_WRITE), load_le64(data + i * bytes));
    }
}

static uint64_t gather_address(struct dbt_vcpu *v, const struct op *op, unsigned element)
{
    const uint8_t *index = v->vector[op->index] + (size_t)element * op->size;
    int64_t value = op->size == 4 ? (int32_t)load_le32(index) : (int64_t)load_le64(index);
    uint64_t offset = v->gpr[op->base] + ((uint64_t)value << op->scale) + (uint64_t)(int64_t)op->displacement;

    return dbt_segment_address(v, op->segment, truncate_to(offset, op->argument2 / 8u), op->argument, ACCESS_READ);
}

/* Each element done is taken out of the mask, so that a fault in the midst can be continued: the SDM's own contract. */
static void op_gather(struct dbt_vcpu *v, const struct op *op)
{
    unsigned bytes = op->argument, wider = op->size > bytes ? op->size : bytes;
    unsigned count = op->memory_size / wider;
    uint8_t *target = v->vector[op->reg[0]], *mask = v->vector[op->reg[2]];

    for (unsigned i = 0; i < count; i++) {
        uint64_t value;

        if (!element_selected(mask, i, bytes))
            continue;
        value = load_element(v, gather_address(v, op, i), bytes);
        memcpy(target + i * bytes, &value, bytes);
        memset(mask + i * bytes, 0, bytes);
    }
    memset(target + count * bytes, 0, sizeof(v->vector[0]) - count * bytes);
    memset(mask, 0, sizeof(v->vector[0]));
}

static unsigned vector_number(const ZydisDecodedOperand *o)
{
    return (unsigned)ZydisRegisterGetId(o->reg.value) & 31;
}

static op_fn *bind_maskmov(const struct decode *d, struct op *op, op_fn *execute)
{
    op->reg[0] = (uint8_t)vector_number(&d->operand[0]);
    op->reg[1] = (uint8_t)vector_number(&d->operand[1]);
    op->segment = (uint8_t)segment_number(&d->operand[2]);
    op->argument2 = d->instruction->address_width;
    return execute;
}

static op_fn *bind_masked_move(const struct decode *d, struct op *op, unsigned bytes)
{
    bool store = d->operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY;

    op->argument = (uint8_t)bytes;
    op->reg[0] = (uint8_t)vector_number(&d->operand[store ? 1 : 0]);
    op->reg[1] = (uint8_t)vector_number(&d->operand[store ? 2 : 1]);
    return store ? op_masked_store : op_masked_load;
}

static uint8_t base_slot(ZydisRegister base)
{
    return base == ZYDIS_REGISTER_NONE ? GPR_ZERO : (uint8_t)(ZydisRegisterGetId(base) & 15);
}

static op_fn *bind_gather(const struct decode *d, struct op *op, unsigned index_bytes, unsigned bytes)
{
    const ZydisDecodedOperand *memory = &d->operand[1];
    unsigned target = vector_number(&d->operand[0]), mask = vector_number(&d->operand[2]);
    unsigned index = (unsigned)ZydisRegisterGetId(memory->mem.index) & 31;

    if (target == mask || target == index || mask == index)
        return dbt_op_undefined;
    op->reg[0] = (uint8_t)target;
    op->reg[2] = (uint8_t)mask;
    op->index = (uint8_t)index;
    op->base = base_slot(memory->mem.base);
    op->scale = (uint8_t)__builtin_ctz(memory->mem.scale | 16u);
    op->displacement = (int32_t)memory->mem.disp.value;
    op->segment = (uint8_t)segment_number(memory);
    op->size = (uint8_t)index_bytes;
    op->argument = (uint8_t)bytes;
    op->argument2 = d->instruction->address_width;
    op->memory_size = d->instruction->raw.vex.L ? 32 : 16;
    return op_gather;
}

op_fn *dbt_bind_vector_masked(const struct decode *d, struct op *op)
{
    if (d->instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
        return NULL;
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_MASKMOVQ:
        return bind_maskmov(d, op, op_maskmovq);
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        return bind_maskmov(d, op, op_maskmovdqu);
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
        return bind_masked_move(d, op, 4);
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        return bind_masked_move(d, op, 8);
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VPGATHERDD:
        return bind_gather(d, op, 4, 4);
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
        return bind_gather(d, op, 4, 8);
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD:
        return bind_gather(d, op, 8, 4);
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
        return bind_gather(d, op, 8, 8);
    default:
        return NULL;
    }
}
