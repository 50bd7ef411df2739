/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GDTR, IDTR, LDTR and TR: LGDT, SGDT, LIDT, SIDT, LLDT, SLDT, LTR, STR (SDM vol. 3 section 2.4, vol. 2). */
#include "engine/dbt/segment.h"
#include "engine/dbt/system.h"

static void check_user_mode_prevention(struct dbt_vcpu *v)
{
    if ((v->cr4 & X86_CR4_UMIP) && v->cpl != 0)
        dbt_raise_error(v, X86_GP, 0);
}

static struct x86_table read_table(struct dbt_vcpu *v, const struct op *op)
{
    unsigned size = dbt_code64(v) ? 10 : 6;
    uint64_t address = dbt_address(v, op, size, ACCESS_READ);
    uint8_t bounce[16], *p;
    struct x86_table table;

    p = dbt_access_begin(v, address, size, ACCESS_READ, bounce);
    table.limit = load_le16(p);
    table.base = size == 10 ? load_le64(p + 2) : load_le32(p + 2);
    dbt_access_end(v, address, size, ACCESS_READ, p, bounce);
    if (size == 6 && op->size == 2)
        table.base &= 0xffffff;
    if (!dbt_canonical(table.base))
        dbt_raise_error(v, X86_GP, 0);
    return table;
}

static void write_table(struct dbt_vcpu *v, const struct op *op, const struct x86_table *table)
{
    unsigned size = dbt_code64(v) ? 10 : 6;
    uint64_t address;
    uint8_t bounce[16], *p;

    check_user_mode_prevention(v);
    address = dbt_address(v, op, size, ACCESS_WRITE);
    p = dbt_access_begin(v, address, size, ACCESS_WRITE, bounce);
    store_le16(p, table->limit);
    if (size == 10)
        store_le64(p + 2, table->base);
    else
        store_le32(p + 2, (uint32_t)table->base);
    dbt_access_end(v, address, size, ACCESS_WRITE, p, bounce);
}

static void lgdt(struct dbt_vcpu *v, const struct op *op)
{
    dbt_require_supervisor(v);
    v->gdtr = read_table(v, op);
}

static void lidt(struct dbt_vcpu *v, const struct op *op)
{
    dbt_require_supervisor(v);
    v->idtr = read_table(v, op);
}

static void sgdt(struct dbt_vcpu *v, const struct op *op)
{
    write_table(v, op, &v->gdtr);
}

static void sidt(struct dbt_vcpu *v, const struct op *op)
{
    write_table(v, op, &v->idtr);
}

static uint16_t read_selector(struct dbt_vcpu *v, const struct op *op)
{
    if (!dbt_protected_mode(v))
        dbt_raise(v, X86_UD);
    dbt_require_supervisor(v);
    return op->flags & OP_MEMORY ? dbt_load16(v, dbt_address(v, op, 2, ACCESS_READ)) : (uint16_t)v->gpr[op->argument];
}

static void check_system_base(struct dbt_vcpu *v, const struct descriptor *d, uint32_t error)
{
    if (dbt_long_mode(v) && !dbt_canonical(d->segment.base))
        dbt_raise_error(v, X86_GP, error);
}

static void lldt(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t selector = read_selector(v, op);
    uint32_t error = dbt_selector_error(v, selector);
    struct descriptor d;

    if (selector_null(selector)) {
        v->ldtr = (struct x86_segment){.selector = selector};
        return;
    }
    if ((selector & 4) || !dbt_descriptor_read_system(v, selector, &d) || d.segment.s || d.segment.type != TYPE_LDT)
        dbt_raise_error(v, X86_GP, error);
    check_system_base(v, &d, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_NP, error);
    v->ldtr = d.segment;
}

static void ltr(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t selector = read_selector(v, op);
    uint32_t error = dbt_selector_error(v, selector);
    struct descriptor d;
    bool available;

    if (selector_null(selector) || (selector & 4) || !dbt_descriptor_read_system(v, selector, &d))
        dbt_raise_error(v, X86_GP, error);
    available = d.segment.type == TYPE_TSS32 || (d.segment.type == TYPE_TSS16 && !dbt_long_mode(v));
    if (d.segment.s || !available)
        dbt_raise_error(v, X86_GP, error);
    check_system_base(v, &d, error);
    if (!d.segment.present)
        dbt_raise_error(v, X86_NP, error);
    d.segment.type |= 2; /* busy */
    dbt_store_system(v, d.address + 5, 1, (d.raw >> 40 & 0xff) | 2);
    v->tr = d.segment;
}

static void store_selector(struct dbt_vcpu *v, const struct op *op, uint16_t selector)
{
    if (!dbt_protected_mode(v))
        dbt_raise(v, X86_UD);
    check_user_mode_prevention(v);
    if (op->flags & OP_MEMORY)
        dbt_store16(v, dbt_address(v, op, 2, ACCESS_WRITE), selector);
    else
        dbt_set_register(v, op->argument, op->size, selector);
}

static void sldt(struct dbt_vcpu *v, const struct op *op)
{
    store_selector(v, op, v->ldtr.selector);
}

static void str(struct dbt_vcpu *v, const struct op *op)
{
    store_selector(v, op, v->tr.selector);
}

op_fn *dbt_bind_table(const struct decode *d, struct op *op)
{
    op_fn *execute;

    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_LGDT:
        execute = lgdt;
        break;
    case ZYDIS_MNEMONIC_LIDT:
        execute = lidt;
        break;
    case ZYDIS_MNEMONIC_SGDT:
        execute = sgdt;
        break;
    case ZYDIS_MNEMONIC_SIDT:
        execute = sidt;
        break;
    case ZYDIS_MNEMONIC_LLDT:
        execute = lldt;
        break;
    case ZYDIS_MNEMONIC_LTR:
        execute = ltr;
        break;
    case ZYDIS_MNEMONIC_SLDT:
        execute = sldt;
        break;
    case ZYDIS_MNEMONIC_STR:
        execute = str;
        break;
    default:
        return NULL;
    }
    op->size = (uint8_t)(d->instruction->operand_width / 8);
    if (dbt_operand_is_register(d, 0))
        op->argument = dbt_register_number(d, 0);
    return execute;
}
