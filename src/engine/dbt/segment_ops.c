/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions on segment registers: MOV, PUSH, POP, LDS and its kin, LAR, LSL, VERR, VERW, ARPL, FS/GS bases, SWAPGS. */
#include "engine/dbt/segment.h"
#include "engine/dbt/system.h"

/* argument: the segment register. Interrupts and debug traps wait for one instruction after a load of SS. */
static void loaded(struct dbt_vcpu *v, unsigned segment)
{
    if (segment != X86_SS)
        return;
    v->interrupt_shadow = 2;
    dbt_set_attention(v, ATTENTION_STEP);
}

static void mov_to_segment(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t selector = op->flags & OP_MEMORY ? dbt_load16(v, dbt_address(v, op, 2, ACCESS_READ))
                                              : (uint16_t)v->gpr[op->argument2];

    dbt_load_segment(v, op->argument, selector);
    loaded(v, op->argument);
}

static void mov_from_segment(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t selector = v->segment[op->argument].selector;

    if (op->flags & OP_MEMORY)
        dbt_store16(v, dbt_address(v, op, 2, ACCESS_WRITE), selector);
    else
        dbt_set_register(v, op->argument2, op->size, selector);
}

static void push_segment(struct dbt_vcpu *v, const struct op *op)
{
    struct stack stack = dbt_stack(v);

    dbt_stack_push(v, &stack, op->size, v->segment[op->argument].selector);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
}

static void pop_segment(struct dbt_vcpu *v, const struct op *op)
{
    struct stack stack = dbt_stack(v);
    uint16_t selector = (uint16_t)dbt_stack_peek(v, &stack, 0, 2);

    stack.sp += op->size;
    dbt_load_segment(v, op->argument, selector);
    v->gpr[X86_RSP] = dbt_stack_pointer(&stack, v->gpr[X86_RSP]);
    loaded(v, op->argument);
}

static void load_far_pointer(struct dbt_vcpu *v, const struct op *op)
{
    unsigned size = op->size + 2u;
    uint64_t address = dbt_address(v, op, size, ACCESS_READ), offset;
    uint8_t bounce[16], *p;
    uint16_t selector;

    p = dbt_access_begin(v, address, size, ACCESS_READ, bounce);
    offset = op->size == 2 ? load_le16(p) : op->size == 4 ? load_le32(p) : load_le64(p);
    selector = load_le16(p + op->size);
    dbt_access_end(v, address, size, ACCESS_READ, p, bounce);
    dbt_load_segment(v, op->argument, selector);
    dbt_set_register(v, op->argument2, op->size, offset);
}

static void set_zero_flag(struct dbt_vcpu *v, bool set)
{
    v->flags = (uint8_t)(set ? v->flags | X86_ZF : v->flags & ~X86_ZF);
}

static uint16_t read_selector(struct dbt_vcpu *v, const struct op *op)
{
    if (!dbt_protected_mode(v))
        dbt_raise(v, X86_UD);
    return op->flags & OP_MEMORY ? dbt_load16(v, dbt_address(v, op, 2, ACCESS_READ)) : (uint16_t)v->gpr[op->argument];
}

/* A descriptor that the present privilege may see; types: one bit for each system type that counts. */
static bool visible(struct dbt_vcpu *v, uint16_t selector, uint32_t types, struct descriptor *ret_descriptor)
{
    struct x86_segment *s = &ret_descriptor->segment;

    if (selector_null(selector) || !dbt_descriptor_read(v, selector, ret_descriptor))
        return false;
    if (!s->s && !(types >> s->type & 1))
        return false;
    if (segment_is_code(s) && (s->type & TYPE_CONFORMING))
        return true;
    return v->cpl <= s->dpl && selector_rpl(selector) <= s->dpl;
}

static void lar(struct dbt_vcpu *v, const struct op *op)
{
    uint32_t types = dbt_long_mode(v) ? 1 << 2 | 1 << 9 | 1 << 11 | 1 << 12 : 0x1a3e;
    struct descriptor d;
    bool ok = visible(v, read_selector(v, op), types, &d);

    if (ok)
        dbt_set_register(v, op->argument2, op->size, d.raw >> 32 & 0x00f0ff00);
    set_zero_flag(v, ok);
}

static void lsl(struct dbt_vcpu *v, const struct op *op)
{
    uint32_t types = dbt_long_mode(v) ? 1 << 2 | 1 << 9 | 1 << 11 : 0x0a0e;
    struct descriptor d;
    bool ok = visible(v, read_selector(v, op), types, &d);

    if (ok)
        dbt_set_register(v, op->argument2, op->size, d.segment.limit);
    set_zero_flag(v, ok);
}

static void verr(struct dbt_vcpu *v, const struct op *op)
{
    struct descriptor d;
    bool ok = visible(v, read_selector(v, op), 0, &d);

    set_zero_flag(v, ok && (!segment_is_code(&d.segment) || (d.segment.type & TYPE_READABLE)));
}

static void verw(struct dbt_vcpu *v, const struct op *op)
{
    struct descriptor d;
    bool ok = visible(v, read_selector(v, op), 0, &d);

    set_zero_flag(v, ok && segment_is_writable_data(&d.segment));
}

static void arpl(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t source = (uint16_t)v->gpr[op->argument2], target = read_selector(v, op), result;

    result = (uint16_t)((target & ~3u) | selector_rpl(source));
    if (selector_rpl(target) < selector_rpl(source)) {
        if (op->flags & OP_MEMORY)
            dbt_store16(v, dbt_address(v, op, 2, ACCESS_WRITE), result);
        else
            *gpr16(v, op->argument) = result;
    }
    set_zero_flag(v, selector_rpl(target) < selector_rpl(source));
}

static void check_base_access(struct dbt_vcpu *v)
{
    if (!dbt_code64(v) || !(v->cr4 & X86_CR4_FSGSBASE))
        dbt_raise(v, X86_UD);
}

static void read_base(struct dbt_vcpu *v, const struct op *op)
{
    check_base_access(v);
    dbt_set_register(v, op->argument2, op->size, v->segment[op->argument].base);
}

static void write_base(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t base = truncate_to(v->gpr[op->argument2], op->size);

    check_base_access(v);
    if (!dbt_canonical(base))
        dbt_raise_error(v, X86_GP, 0);
    v->segment[op->argument].base = v->segment_base[op->argument] = base;
}

static void swapgs(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t base = v->segment[X86_GS].base;

    if (!dbt_code64(v))
        dbt_raise(v, X86_UD);
    dbt_require_supervisor(v);
    v->segment[X86_GS].base = v->segment_base[X86_GS] = v->msr.kernel_gs_base;
    v->msr.kernel_gs_base = base;
}

static bool is_segment(const struct decode *d, unsigned operand)
{
    return dbt_operand_is_register(d, operand) &&
           ZydisRegisterGetClass(d->operand[operand].reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

static op_fn *bind_load(const struct decode *d, struct op *op, unsigned segment, op_fn *execute)
{
    op->argument = (uint8_t)segment;
    if (segment == X86_CS)
        return dbt_op_undefined;
    if (segment == X86_SS || ((d->mode & MODE_CODE_MASK) != MODE_CODE64 && segment < X86_FS))
        op->flags |= OP_END;
    return execute;
}

static op_fn *bind_mov(const struct decode *d, struct op *op)
{
    unsigned other = is_segment(d, 0) ? 1 : 0;

    if (!is_segment(d, 0) && !is_segment(d, 1))
        return NULL;
    if (dbt_operand_is_register(d, other))
        op->argument2 = dbt_register_number(d, other);
    if (other == 1)
        return bind_load(d, op, dbt_register_number(d, 0), mov_to_segment);
    op->argument = dbt_register_number(d, 1);
    op->size = (uint8_t)(d->operand[0].size / 8);
    return mov_from_segment;
}

static op_fn *bind_far_pointer(const struct decode *d, struct op *op, unsigned segment)
{
    op->argument2 = dbt_register_number(d, 0);
    return bind_load(d, op, segment, load_far_pointer);
}

/* argument: the selector operand if it is a register; argument2: the other register. */
static op_fn *bind_query(const struct decode *d, struct op *op, unsigned selector_operand, op_fn *execute)
{
    unsigned other = 1 - selector_operand;

    if (dbt_operand_is_register(d, selector_operand))
        op->argument = dbt_register_number(d, selector_operand);
    if (dbt_operand_is_register(d, other))
        op->argument2 = dbt_register_number(d, other);
    return execute;
}

static op_fn *bind_base(const struct decode *d, struct op *op, unsigned segment, op_fn *execute)
{
    if (!dbt_cpuid_bit(d->v, 7, 0, CPUID_EBX, 0))
        return dbt_op_undefined;
    op->argument = (uint8_t)segment;
    op->argument2 = dbt_register_number(d, 0);
    return execute;
}

op_fn *dbt_bind_segment(const struct decode *d, struct op *op)
{
    ZydisMnemonic mnemonic = d->instruction->mnemonic;

    if (mnemonic == ZYDIS_MNEMONIC_MOV)
        return bind_mov(d, op);
    op->size = (uint8_t)(d->instruction->operand_width / 8);
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
        op->argument = is_segment(d, 0) ? dbt_register_number(d, 0) : 0;
        return is_segment(d, 0) ? push_segment : NULL;
    case ZYDIS_MNEMONIC_POP:
        return is_segment(d, 0) ? bind_load(d, op, dbt_register_number(d, 0), pop_segment) : NULL;
    case ZYDIS_MNEMONIC_LDS:
        return bind_far_pointer(d, op, X86_DS);
    case ZYDIS_MNEMONIC_LES:
        return bind_far_pointer(d, op, X86_ES);
    case ZYDIS_MNEMONIC_LSS:
        return bind_far_pointer(d, op, X86_SS);
    case ZYDIS_MNEMONIC_LFS:
        return bind_far_pointer(d, op, X86_FS);
    case ZYDIS_MNEMONIC_LGS:
        return bind_far_pointer(d, op, X86_GS);
    case ZYDIS_MNEMONIC_LAR:
        return bind_query(d, op, 1, lar);
    case ZYDIS_MNEMONIC_LSL:
        return bind_query(d, op, 1, lsl);
    case ZYDIS_MNEMONIC_VERR:
        return bind_query(d, op, 0, verr);
    case ZYDIS_MNEMONIC_VERW:
        return bind_query(d, op, 0, verw);
    case ZYDIS_MNEMONIC_ARPL:
        return bind_query(d, op, 0, arpl);
    case ZYDIS_MNEMONIC_RDFSBASE:
        return bind_base(d, op, X86_FS, read_base);
    case ZYDIS_MNEMONIC_RDGSBASE:
        return bind_base(d, op, X86_GS, read_base);
    case ZYDIS_MNEMONIC_WRFSBASE:
        return bind_base(d, op, X86_FS, write_base);
    case ZYDIS_MNEMONIC_WRGSBASE:
        return bind_base(d, op, X86_GS, write_base);
    case ZYDIS_MNEMONIC_SWAPGS:
        return swapgs;
    default:
        return NULL;
    }
}
