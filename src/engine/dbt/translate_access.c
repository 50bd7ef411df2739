/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory operands of translations: the address, and the inlined look-up in the software TLB. */
#include "engine/dbt/translate.h"

const uint8_t dbt_host_of[16] = {
    HOST_RAX, HOST_RCX, HOST_RDX, HOST_RBX, GUEST_RSP, HOST_RBP, HOST_RSI, HOST_RDI,
    HOST_R8, IN_MEMORY, IN_MEMORY, IN_MEMORY, HOST_R12, HOST_R13, HOST_R14, HOST_R15,
};

struct host_memory dbt_guest_slot(unsigned guest)
{
    return dbt_vcpu_at(offsetof(struct dbt_vcpu, gpr) + 8 * guest);
}

unsigned dbt_in_register(struct translator *t, unsigned guest, unsigned scratch)
{
    if (dbt_host_of[guest] != IN_MEMORY)
        return dbt_host_of[guest];
    emit_load(&t->e, scratch, dbt_guest_slot(guest));
    return scratch;
}

static bool is_wide(const struct guest_instruction *g)
{
    return !(g->op.flags & (OP_ADDRESS16 | OP_ADDRESS32));
}

static bool has_segment_base(const struct op *op)
{
    return op->segment == X86_FS || op->segment == X86_GS;
}

bool dbt_can_address(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
    const ZydisDecodedOperandMem *m = &operand->mem;
    ZydisRegisterClass index = ZydisRegisterGetClass(m->index);

    if (m->type != ZYDIS_MEMOP_TYPE_MEM && m->type != ZYDIS_MEMOP_TYPE_AGEN)
        return false;
    if (g->decoded->address_width == 16)
        return false;
    if (m->index != ZYDIS_REGISTER_NONE && index != ZYDIS_REGCLASS_GPR32 && index != ZYDIS_REGCLASS_GPR64)
        return false;
    if (!t->code64 && m->type == ZYDIS_MEMOP_TYPE_MEM &&
        (m->segment == ZYDIS_REGISTER_FS || m->segment == ZYDIS_REGISTER_GS || m->segment == ZYDIS_REGISTER_CS))
        return false;
    return true;
}

static void emit_sum(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, bool wide,
                     int32_t displacement)
{
    struct host_memory h = {.base = HOST_NONE, .index = HOST_NONE};
    const struct op *op = &g->op; /* its displacement has the decoder's quirks seen to */

    wide = wide && is_wide(g);
    if (op->base == GPR_RIP || (op->base == GPR_ZERO && op->index == GPR_ZERO)) {
        uint64_t value = (op->base == GPR_RIP ? g->next_rip : 0) + (uint64_t)(int64_t)op->displacement;

        emit_constant(&t->e, ADDRESS, wide ? value : (uint32_t)value);
        return;
    }
    h.displacement = displacement;
    h.scale = op->scale;
    if (op->base != GPR_ZERO)
        h.base = (uint8_t)dbt_in_register(t, op->base, ADDRESS);
    if (op->index != GPR_ZERO)
        h.index = (uint8_t)dbt_in_register(t, op->index, SCRATCH);
    if (wide && h.index == HOST_NONE && h.displacement == 0)
        emit_move(&t->e, ADDRESS, h.base);
    else
        emit_lea(&t->e, wide, ADDRESS, h);
}

void dbt_emit_offset(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, bool wide)
{
    emit_sum(t, g, operand, wide, g->op.displacement);
}

void dbt_emit_offset_at(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, int32_t displacement)
{
    emit_sum(t, g, operand, true, displacement);
}

void dbt_emit_address(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
    if (g->by_offset)
        emit_constant(&t->e, ADDRESS, is_wide(g) ? g->op.immediate : (uint32_t)g->op.immediate);
    else
        dbt_emit_offset(t, g, operand, true);
    if (has_segment_base(&g->op)) { /* 64-bit code; flags are spared already */
        size_t base = offsetof(struct dbt_vcpu, segment_base) + 8 * (size_t)g->op.segment;

        emit_load(&t->e, SCRATCH, dbt_vcpu_at(base));
        emit_lea(&t->e, true, ADDRESS, (struct host_memory){.base = ADDRESS, .index = SCRATCH});
    }
}

int32_t dbt_tag_offset(unsigned access)
{
    return (int32_t)(access & ACCESS_WRITE ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read));
}

void dbt_emit_tlb_entry(struct emitter *e, unsigned entry)
{
    if (__builtin_cpu_supports("bmi2")) { /* page number times the size of an entry */
        emit_rotate(e, false, entry, ADDRESS, 12 - TLB_ENTRY_SHIFT);
    } else {
        emit_registers(e, 0, 0x8b, entry, ADDRESS);
        emit_registers(e, 0, 0xc1, 5, entry);
        emit8(e, 12 - TLB_ENTRY_SHIFT);
    }
    emit_alu_constant(e, 0, ALU_AND, entry, (TLB_ENTRIES - 1) << TLB_ENTRY_SHIFT);
    emit_memory(e, EMIT_W, 0x03, entry, VCPU(tlb));
}

/* ADDRESS is an offset in the page. */
static void emit_align_check(struct emitter *e, struct cold *cold, unsigned align)
{
    if (align == 0)
        return;
    emit_registers(e, EMIT_BYTE, 0xf6, 0, ADDRESS); /* test */
    emit8(e, align);
    cold->distance[cold->distances++] = emit_jump_if(e, IF_NE);
}

/* ADDRESS is the host's address now. */
void dbt_finish_access(struct translator *t, struct cold *cold, unsigned size, unsigned access, unsigned align)
{
    cold->retry = t->e.at;
    cold->size = (uint8_t)size;
    cold->access = (uint8_t)access;
    cold->align = (uint8_t)align;
    t->host_flags = false;
}

static struct host_memory stack_limit(unsigned size)
{
    return dbt_vcpu_at(offsetof(struct dbt_vcpu, stack_limit) + (size > 8 ? 8 : 0));
}

void dbt_emit_stack_access(struct translator *t, const struct guest_instruction *g, unsigned size, unsigned access, unsigned align,
                           unsigned run)
{
    struct emitter *e = &t->e;
    struct cold *cold;

    emit_memory(e, EMIT_W, 0x2b, ADDRESS, VCPU(stack_base)); /* sub */
    emit_memory(e, EMIT_W, 0x3b, ADDRESS, stack_limit(run > 1 ? 8 : size)); /* cmp */
    cold = dbt_cold(t, COLD_STACK, g, emit_jump_if(e, IF_AE));
    if (run > 1) {
        emit_lea(e, true, SCRATCH, at_base(ADDRESS, (int32_t)size - 8));
        emit_memory(e, EMIT_W, 0x3b, SCRATCH, stack_limit(8));
        cold->distance[cold->distances++] = emit_jump_if(e, IF_AE);
    }
    emit_align_check(e, cold, align);
    emit_memory(e, EMIT_W, 0x03, ADDRESS, VCPU(stack_host));
    cold->run = (uint8_t)run;
    dbt_finish_access(t, cold, size, access, align);
}

/* By RSP, or below RBP as a frame pointer has it. A wrong guess costs time only. */
bool dbt_is_on_stack(const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size)
{
    const struct op *op = &g->op;

    if (size > 32 || op->index != GPR_ZERO || has_segment_base(op))
        return false;
    return op->base == X86_RSP || (op->base == X86_RBP && op->displacement < 0);
}

/* An operand at a known place: its entry is known, too, and that it lies in one page. */
static bool has_known_address(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand,
                              uint64_t *ret_linear)
{
    if (has_segment_base(&g->op))
        return false;
    if (g->by_offset)
        *ret_linear = g->op.immediate;
    else if (g->op.base == GPR_RIP || (g->op.base == GPR_ZERO && g->op.index == GPR_ZERO))
        *ret_linear = (g->op.base == GPR_RIP ? g->next_rip : 0) + (uint64_t)(int64_t)g->op.displacement;
    else
        return false;
    if (!t->code64 || !is_wide(g))
        *ret_linear = (uint32_t)*ret_linear;
    return true;
}

static void emit_known_access(struct translator *t, const struct guest_instruction *g, uint64_t linear, unsigned size, unsigned access)
{
    struct emitter *e = &t->e;
    int32_t entry = (int32_t)(TLB_INDEX(linear) << TLB_ENTRY_SHIFT);
    uint64_t page = TLB_PAGE(linear);
    struct cold *cold;

    emit_load(e, SCRATCH, VCPU(tlb));
    if ((int64_t)page == (int32_t)page) {
        emit_memory(e, EMIT_W, 0x81, ALU_CMP, at_base(SCRATCH, entry + dbt_tag_offset(access)));
        emit32(e, (uint32_t)page);
    } else {
        emit_constant(e, ADDRESS, page);
        emit_memory(e, EMIT_W, 0x3b, ADDRESS, at_base(SCRATCH, entry + dbt_tag_offset(access)));
    }
    cold = dbt_cold(t, COLD_KNOWN, g, emit_jump_if(e, IF_NE));
    emit_load(e, ADDRESS, at_base(SCRATCH, entry + (int32_t)offsetof(struct tlb_entry, host)));
    if ((linear & 0xfff) != 0)
        emit_lea(e, true, ADDRESS, at_base(ADDRESS, (int32_t)(linear & 0xfff)));
    cold->target = linear;
    dbt_finish_access(t, cold, size, access, 0);
}

struct host_memory dbt_emit_operand(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand,
                                    unsigned size, unsigned access, unsigned align)
{
    struct host_memory direct;
    uint64_t linear;
    bool known;

    if (g->share != 0)
        return at_base(ADDRESS, dbt_emit_shared(t, g, operand));
    if (t->direct && dbt_emit_direct(t, g, operand, size, &direct))
        return direct;
    known = has_known_address(t, g, operand, &linear);
    if (known && dbt_is_mirrored_at(t, g, operand, linear))
        return at_base(ADDRESS, dbt_emit_known_mirrored(t, g, linear, size));
    dbt_flags_spare(t, g);
    t->address_holds = 0;
    if (known && (linear & 0xfff) <= 4096 - size && !(linear & align)) {
        emit_known_access(t, g, linear, size, access);
        return at_base(ADDRESS, 0);
    }
    dbt_emit_address(t, g, operand);
    if (dbt_is_on_stack(g, operand, size))
        dbt_emit_stack_access(t, g, size, access, align, 1);
    else
        dbt_emit_look(t, g, operand, size, access, align);
    return at_base(ADDRESS, 0);
}

/* SCRATCH: the entry; ADDRESS: the offset in the page if the tag is right, else something large. An operand that reaches into the
 * next page is caught by the same comparison. */
void dbt_emit_access(struct translator *t, const struct guest_instruction *g, unsigned size, unsigned access, unsigned align)
{
    struct emitter *e = &t->e;
    struct cold *cold;

    dbt_emit_tlb_entry(e, SCRATCH);
    emit_memory(e, EMIT_W, 0x33, ADDRESS, at_base(SCRATCH, dbt_tag_offset(access))); /* xor */
    emit_alu_constant(e, EMIT_W, ALU_CMP, ADDRESS, (int32_t)(4096 - size));
    cold = dbt_cold(t, COLD_ACCESS, g, emit_jump_if(e, IF_A));
    emit_align_check(e, cold, align);
    emit_memory(e, EMIT_W, 0x03, ADDRESS, at_base(SCRATCH, offsetof(struct tlb_entry, host)));
    dbt_finish_access(t, cold, size, access, align);
}
