/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MOV to and from control and debug registers, LMSW, SMSW, CLTS (SDM vol. 3 section 2.5, ch. 17). */
#include "engine/dbt/exception.h"
#include "engine/dbt/softmmu.h"
#include "engine/dbt/system.h"
#include "engine/dbt/tlb.h"
#include "memory/memory.h"

#define CR0_DEFINED                                                                                                    \
    (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |           \
     X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR0_TLB (X86_CR0_PE | X86_CR0_WP | X86_CR0_PG)
#define CR4_TLB                                                                                                        \
    (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE | X86_CR4_PKS)
#define CR3_NO_FLUSH BIT(63)

static void fault(struct dbt_vcpu *v)
{
    dbt_raise_error(v, X86_GP, 0);
}

void dbt_require_supervisor(struct dbt_vcpu *v)
{
    if (v->cpl != 0)
        fault(v);
}

/* The four entries that PAE paging loads with CR3 (SDM vol. 3 section 4.4.1). */
static void check_pdptes(struct dbt_vcpu *v, uint64_t cr0, uint64_t cr3, uint64_t cr4)
{
    uint64_t reserved = ~(BIT(v->physical_bits) - 1) | 0x1e6, entry[4];

    if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || dbt_long_mode(v))
        return;
    if (memory_read(v->memory, cr3 & 0xffffffe0, entry, sizeof(entry)) < 0)
        return;
    for (unsigned i = 0; i < 4; i++)
        if ((entry[i] & 1) && (entry[i] & reserved))
            fault(v);
}

static void check_paging_on(struct dbt_vcpu *v)
{
    if (!(v->msr.efer & X86_EFER_LME))
        return;
    if (!(v->cr4 & X86_CR4_PAE) || v->segment[X86_CS].l || !(v->tr.type & 8))
        fault(v);
}

static void check_paging_off(struct dbt_vcpu *v)
{
    if (dbt_code64(v) || (v->cr4 & X86_CR4_PCIDE))
        fault(v);
}

void dbt_write_cr0(struct dbt_vcpu *v, uint64_t value)
{
    uint64_t changed;

    if ((value >> 32) || ((value & X86_CR0_PG) && !(value & X86_CR0_PE)) ||
        ((value & X86_CR0_NW) && !(value & X86_CR0_CD)))
        fault(v);
    value = (value & CR0_DEFINED) | X86_CR0_ET;
    changed = value ^ v->cr0;
    if (changed & value & X86_CR0_PG)
        check_paging_on(v);
    if (changed & v->cr0 & X86_CR0_PG)
        check_paging_off(v);
    if ((changed & X86_CR0_PG) && !(v->msr.efer & X86_EFER_LME))
        check_pdptes(v, value, v->cr3, v->cr4);
    v->cr0 = value;
    if (changed & X86_CR0_PG) {
        bool active = (value & X86_CR0_PG) && (v->msr.efer & X86_EFER_LME);
        v->msr.efer = active ? v->msr.efer | X86_EFER_LMA : v->msr.efer & ~X86_EFER_LMA;
    }
    if (changed & CR0_TLB)
        dbt_tlb_flush_all(v);
    dbt_update_mode(v);
}

static void write_cr3(struct dbt_vcpu *v, uint64_t value)
{
    bool pcid = v->cr4 & X86_CR4_PCIDE;
    uint64_t reserved = ~(BIT(v->physical_bits) - 1) & ~(pcid ? CR3_NO_FLUSH : 0);

    if (dbt_long_mode(v) && (value & reserved))
        fault(v);
    if (!dbt_long_mode(v))
        value = (uint32_t)value;
    check_pdptes(v, v->cr0, value, v->cr4);
    dbt_tlb_set_cr3(v, value);
    v->cr3 = value & ~CR3_NO_FLUSH;
}

static uint64_t cr4_offered(const struct dbt_vcpu *v)
{
    static const struct {
        uint64_t bits;
        uint32_t leaf;
        uint8_t reg, bit;
    } table[] = {
        {X86_CR4_VME | X86_CR4_PVI, 1, CPUID_EDX, 1}, {X86_CR4_TSD, 1, CPUID_EDX, 4},
        {X86_CR4_DE, 1, CPUID_EDX, 2},                {X86_CR4_PSE, 1, CPUID_EDX, 3},
        {X86_CR4_PAE, 1, CPUID_EDX, 6},               {X86_CR4_MCE, 1, CPUID_EDX, 7},
        {X86_CR4_PGE, 1, CPUID_EDX, 13},              {X86_CR4_OSFXSR, 1, CPUID_EDX, 24},
        {X86_CR4_OSXMMEXCPT, 1, CPUID_EDX, 25},       {X86_CR4_PCIDE, 1, CPUID_ECX, 17},
        {X86_CR4_OSXSAVE, 1, CPUID_ECX, 26},          {X86_CR4_FSGSBASE, 7, CPUID_EBX, 0},
        {X86_CR4_SMEP, 7, CPUID_EBX, 7},              {X86_CR4_SMAP, 7, CPUID_EBX, 20},
        {X86_CR4_UMIP, 7, CPUID_ECX, 2},              {X86_CR4_PKE, 7, CPUID_ECX, 3},
        {X86_CR4_LA57, 7, CPUID_ECX, 16},             {X86_CR4_PKS, 7, CPUID_ECX, 31},
    };
    uint64_t offered = X86_CR4_PCE;

    for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
        if (dbt_cpuid_bit(v, table[i].leaf, 0, (enum cpuid_register)table[i].reg, table[i].bit))
            offered |= table[i].bits;
    return offered;
}

static void write_cr4(struct dbt_vcpu *v, uint64_t value)
{
    uint64_t changed = value ^ v->cr4;

    if (value & ~cr4_offered(v))
        fault(v);
    if (dbt_long_mode(v) && (changed & (X86_CR4_LA57 | (v->cr4 & X86_CR4_PAE))))
        fault(v);
    if ((changed & value & X86_CR4_PCIDE) && (!dbt_long_mode(v) || (v->cr3 & 0xfff)))
        fault(v);
    if (changed & (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP))
        check_pdptes(v, v->cr0, v->cr3, value);
    v->cr4 = value;
    if (changed & CR4_TLB) {
        dbt_tlb_flush_all(v);
        dbt_tlb_set_cr3(v, v->cr3);
    }
    dbt_update_mode(v);
}

static void write_cr8(struct dbt_vcpu *v, uint64_t value)
{
    if (value > 15)
        fault(v);
    v->hooks->tpr_write(v->hooks->ctx, v->id, value);
    dbt_set_attention(v, ATTENTION_INTERRUPT);
}

static void mov_to_cr(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value = v->gpr[op->argument2];

    dbt_require_supervisor(v);
    if (!dbt_code64(v))
        value = (uint32_t)value;
    switch (op->argument) {
    case 0:
        dbt_write_cr0(v, value);
        break;
    case 2:
        v->cr2 = value;
        break;
    case 3:
        write_cr3(v, value);
        break;
    case 4:
        write_cr4(v, value);
        break;
    default:
        write_cr8(v, value);
        break;
    }
}

static void mov_from_cr(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value;

    dbt_require_supervisor(v);
    switch (op->argument) {
    case 0:
        value = v->cr0;
        break;
    case 2:
        value = v->cr2;
        break;
    case 3:
        value = v->cr3;
        break;
    case 4:
        value = v->cr4;
        break;
    default:
        value = v->hooks->tpr_read(v->hooks->ctx, v->id);
        break;
    }
    v->gpr[op->argument2] = dbt_code64(v) ? value : (uint32_t)value;
}

#define DR6_WRITABLE UINT64_C(0xe00f)
#define DR6_ONES UINT64_C(0xffff0ff0)
#define DR6_BD BIT(13)
#define DR7_WRITABLE UINT64_C(0xffff23ff)
#define DR7_ONES UINT64_C(0x400)
#define DR7_GD BIT(13)

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE takes them away. */
static unsigned debug_register(struct dbt_vcpu *v, const struct op *op)
{
    unsigned number = op->argument;

    if (number == 4 || number == 5) {
        if (v->cr4 & X86_CR4_DE)
            dbt_raise(v, X86_UD);
        number += 2;
    }
    dbt_require_supervisor(v);
    if (v->dr7 & DR7_GD) {
        v->dr6 = (v->dr6 & ~UINT64_C(0xf)) | DR6_BD;
        dbt_raise(v, X86_DB);
    }
    return number;
}

static void mov_to_dr(struct dbt_vcpu *v, const struct op *op)
{
    unsigned number = debug_register(v, op);
    uint64_t value = v->gpr[op->argument2];

    if (!dbt_code64(v))
        value = (uint32_t)value;
    if (number >= 6 && value >> 32)
        fault(v);
    if (number == 6)
        v->dr6 = (value & DR6_WRITABLE) | DR6_ONES;
    else if (number == 7)
        v->dr7 = (value & DR7_WRITABLE) | DR7_ONES;
    else
        v->dr[number] = value;
    if (number != 6)
        dbt_debug_changed(v);
}

static void mov_from_dr(struct dbt_vcpu *v, const struct op *op)
{
    unsigned number = debug_register(v, op);
    uint64_t value = number == 6 ? v->dr6 : number == 7 ? v->dr7 : v->dr[number];

    v->gpr[op->argument2] = dbt_code64(v) ? value : (uint32_t)value;
}

static uint16_t source16(struct dbt_vcpu *v, const struct op *op)
{
    return op->flags & OP_MEMORY ? dbt_load16(v, dbt_address(v, op, 2, ACCESS_READ)) : (uint16_t)v->gpr[op->argument];
}

/* LMSW can set PE, but not clear it. */
static void lmsw(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value;

    dbt_require_supervisor(v);
    value = source16(v, op) & 0xf;
    dbt_write_cr0(v, (v->cr0 & ~UINT64_C(0xe)) | value);
}

static void smsw(struct dbt_vcpu *v, const struct op *op)
{
    if ((v->cr4 & X86_CR4_UMIP) && v->cpl != 0)
        fault(v);
    if (op->flags & OP_MEMORY)
        dbt_store16(v, dbt_address(v, op, 2, ACCESS_WRITE), (uint16_t)v->cr0);
    else
        dbt_set_register(v, op->argument, op->size, v->cr0);
}

static void clts(struct dbt_vcpu *v, const struct op *op)
{
    dbt_require_supervisor(v);
    v->cr0 &= ~X86_CR0_TS;
    dbt_update_mode(v);
}

static op_fn *bind_mov(const struct decode *d, struct op *op)
{
    ZydisRegisterClass to, from;

    if (!dbt_operand_is_register(d, 0) || !dbt_operand_is_register(d, 1))
        return NULL;
    to = ZydisRegisterGetClass(d->operand[0].reg.value);
    from = ZydisRegisterGetClass(d->operand[1].reg.value);
    if (to == ZYDIS_REGCLASS_CONTROL || to == ZYDIS_REGCLASS_DEBUG) {
        op->argument = dbt_register_number(d, 0);
        op->argument2 = dbt_register_number(d, 1);
        op->flags |= OP_END;
        return to == ZYDIS_REGCLASS_CONTROL ? mov_to_cr : mov_to_dr;
    }
    if (from != ZYDIS_REGCLASS_CONTROL && from != ZYDIS_REGCLASS_DEBUG)
        return NULL;
    op->argument = dbt_register_number(d, 1);
    op->argument2 = dbt_register_number(d, 0);
    return from == ZYDIS_REGCLASS_CONTROL ? mov_from_cr : mov_from_dr;
}

op_fn *dbt_bind_control_register(const struct decode *d, struct op *op)
{
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        return bind_mov(d, op);
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_SMSW:
        if (dbt_operand_is_register(d, 0))
            op->argument = dbt_register_number(d, 0);
        if (d->instruction->mnemonic == ZYDIS_MNEMONIC_LMSW) {
            op->flags |= OP_END;
            return lmsw;
        }
        op->size = (uint8_t)(d->instruction->operand_width / 8);
        return smsw;
    case ZYDIS_MNEMONIC_CLTS:
        op->flags |= OP_END;
        return clts;
    default:
        return NULL;
    }
}
