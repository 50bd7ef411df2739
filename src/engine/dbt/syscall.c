/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYSCALL, SYSRET, SYSENTER, SYSEXIT by the rules of the vendor that CPUID names (SDM vol. 2; APM vol. 3). */
#include "engine/dbt/system.h"

#include "engine/dbt/segment.h"
#include "engine/dbt/state.h"

static void flat(struct x86_segment ret[static 2], uint16_t cs, uint16_t ss, unsigned dpl, bool code64)
{
    ret[0] = dbt_flat_code((uint16_t)((cs & ~3u) | dpl), dpl, code64);
    ret[1] = dbt_flat_data((uint16_t)((ss & ~3u) | dpl), dpl);
}

static void set_code_and_stack(struct dbt_vcpu *v, uint16_t cs, uint16_t ss, unsigned dpl, bool code64)
{
    flat(&v->segment[X86_CS], cs, ss, dpl, code64);
}

void dbt_prepare_fast_call(struct dbt_vcpu *v)
{
    struct dbt_fast_call *c = &v->fast_call;
    uint16_t kernel = (uint16_t)(v->msr.star >> 32), user = (uint16_t)(v->msr.star >> 48);

    flat(c->syscall, kernel & ~3u, (uint16_t)((kernel & ~3u) + 8), 0, true);
    flat(c->sysret, (uint16_t)(user + 16), (uint16_t)(user + 8), 3, true);
    c->star = v->msr.star;
}

/* SYSCALL and SYSRET are there in 64-bit mode; on AMD in every protected mode. */
static void check_enabled(struct dbt_vcpu *v)
{
    if (!(v->msr.efer & X86_EFER_SCE) || !(v->cr0 & X86_CR0_PE) || (!dbt_code64(v) && dbt_vendor_intel(v)))
        dbt_raise(v, X86_UD);
}

/* Unlike elsewhere, TF at the end of the instruction decides whether a trap follows it. */
static void trap_by_new_flag(struct dbt_vcpu *v)
{
    v->step_trap = false;
    if (v->rflags & X86_TF)
        v->debug_pending |= BIT(14); /* DR6.BS */
}

static void syscall_legacy(struct dbt_vcpu *v)
{
    uint16_t cs = (uint16_t)(v->msr.star >> 32);

    v->gpr[X86_RCX] = (uint32_t)v->gpr[GPR_RIP];
    v->gpr[GPR_RIP] = (uint32_t)v->msr.star;
    set_code_and_stack(v, cs & ~3u, (uint16_t)((cs & ~3u) + 8), 0, false);
    dbt_set_rflags(v, dbt_get_rflags(v) & ~(uint64_t)(X86_VM | X86_IF | X86_RF));
}

static void syscall(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t flags = dbt_get_rflags(v);
    uint16_t cs = (uint16_t)(v->msr.star >> 32) & ~3u;

    check_enabled(v);
    if (v->fast_call.star != v->msr.star)
        dbt_prepare_fast_call(v);
    if (!dbt_long_mode(v)) {
        syscall_legacy(v);
    } else {
        v->gpr[X86_RCX] = v->gpr[GPR_RIP];
        v->gpr[X86_R11] = flags & ~(uint64_t)X86_RF;
        v->gpr[GPR_RIP] = dbt_code64(v) ? v->msr.lstar : v->msr.cstar;
        set_code_and_stack(v, cs, (uint16_t)(cs + 8), 0, true);
        dbt_set_rflags(v, flags & ~v->msr.sfmask & ~(uint64_t)X86_RF);
    }
    trap_by_new_flag(v);
    dbt_update_mode(v);
}

static void sysret_long(struct dbt_vcpu *v, unsigned size)
{
    uint16_t base = (uint16_t)(v->msr.star >> 48);
    bool wide = size == 8;
    uint64_t rip = wide ? v->gpr[X86_RCX] : (uint32_t)v->gpr[X86_RCX];

    if (wide && dbt_vendor_intel(v) && !dbt_canonical(rip))
        dbt_raise_error(v, X86_GP, 0);
    set_code_and_stack(v, (uint16_t)(base + (wide ? 16 : 0)), (uint16_t)(base + 8), 3, wide);
    v->gpr[GPR_RIP] = rip;
    dbt_set_rflags(v, v->gpr[X86_R11] & 0x3c7fd7);
}

static void sysret(struct dbt_vcpu *v, const struct op *op)
{
    check_enabled(v);
    if (v->cpl != 0)
        dbt_raise_error(v, X86_GP, 0);
    if (dbt_long_mode(v)) {
        sysret_long(v, op->size);
    } else {
        uint16_t base = (uint16_t)(v->msr.star >> 48);

        set_code_and_stack(v, base, (uint16_t)(base + 8), 3, false);
        v->gpr[GPR_RIP] = (uint32_t)v->gpr[X86_RCX];
        dbt_set_rflags(v, dbt_get_rflags(v) | X86_IF);
    }
    trap_by_new_flag(v);
    dbt_update_mode(v);
}

/* AMD has neither of the two in long mode. */
static void check_sysenter(struct dbt_vcpu *v)
{
    if (dbt_long_mode(v) && !dbt_vendor_intel(v))
        dbt_raise(v, X86_UD);
    if (!(v->cr0 & X86_CR0_PE) || (v->msr.sysenter_cs & 0xfffc) == 0)
        dbt_raise_error(v, X86_GP, 0);
}

static void sysenter(struct dbt_vcpu *v, const struct op *op)
{
    bool wide = dbt_long_mode(v);
    uint16_t cs = v->msr.sysenter_cs & 0xfffc;

    check_sysenter(v);
    set_code_and_stack(v, cs, (uint16_t)(cs + 8), 0, wide);
    v->gpr[X86_RSP] = wide ? v->msr.sysenter_esp : (uint32_t)v->msr.sysenter_esp;
    v->gpr[GPR_RIP] = wide ? v->msr.sysenter_eip : (uint32_t)v->msr.sysenter_eip;
    dbt_set_rflags(v, dbt_get_rflags(v) & ~(uint64_t)(X86_VM | X86_IF | X86_RF));
    dbt_update_mode(v);
}

static void sysexit(struct dbt_vcpu *v, const struct op *op)
{
    uint16_t cs = v->msr.sysenter_cs & 0xfffc;
    bool wide = op->size == 8;
    uint64_t rip = v->gpr[X86_RDX], rsp = v->gpr[X86_RCX];

    check_sysenter(v);
    if (v->cpl != 0 || (v->rflags & X86_VM) || (wide && (!dbt_canonical(rip) || !dbt_canonical(rsp))))
        dbt_raise_error(v, X86_GP, 0);
    set_code_and_stack(v, (uint16_t)(cs + (wide ? 32 : 16)), (uint16_t)(cs + (wide ? 40 : 24)), 3, wide);
    v->gpr[GPR_RIP] = wide ? rip : (uint32_t)rip;
    v->gpr[X86_RSP] = wide ? rsp : (uint32_t)rsp;
    dbt_update_mode(v);
}

op_fn *dbt_bind_syscall(const struct decode *d, struct op *op)
{
    bool wide = (d->mode & MODE_CODE_MASK) == MODE_CODE64 && (d->instruction->attributes & ZYDIS_ATTRIB_HAS_REX) &&
                d->instruction->raw.rex.W;
    op_fn *execute;

    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_SYSCALL:
        execute = syscall;
        break;
    case ZYDIS_MNEMONIC_SYSRET:
        execute = sysret;
        break;
    case ZYDIS_MNEMONIC_SYSENTER:
        execute = sysenter;
        break;
    case ZYDIS_MNEMONIC_SYSEXIT:
        execute = sysexit;
        break;
    default:
        return NULL;
    }
    op->size = wide ? 8 : 4;
    op->flags |= OP_END;
    return execute;
}
