/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions on the machine as a whole: CPUID, MSRs, time stamps, random numbers, caches, TLB, hypercalls. */
#include "engine/dbt/exception.h"
#include "engine/dbt/mail.h"
#include "engine/dbt/softmmu.h"
#include "engine/dbt/state.h"
#include "engine/dbt/system.h"

#define GP_ZERO(v) dbt_raise_error((v), X86_GP, 0)

static void cpuid(struct dbt_vcpu *v, const struct op *op)
{
    uint32_t ret[4];

    dbt_cpuid(v, gpr32(v, X86_RAX), gpr32(v, X86_RCX), ret);
    gpr32_set(v, X86_RAX, ret[0]);
    gpr32_set(v, X86_RBX, ret[1]);
    gpr32_set(v, X86_RCX, ret[2]);
    gpr32_set(v, X86_RDX, ret[3]);
}

static void set_pair(struct dbt_vcpu *v, uint64_t value)
{
    gpr32_set(v, X86_RAX, (uint32_t)value);
    gpr32_set(v, X86_RDX, (uint32_t)(value >> 32));
}

static void rdmsr(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value;

    dbt_require_supervisor(v);
    if (dbt_read_msr(v, gpr32(v, X86_RCX), &value) < 0)
        GP_ZERO(v);
    set_pair(v, value);
}

static void wrmsr(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value = gpr32(v, X86_RAX) | (uint64_t)gpr32(v, X86_RDX) << 32;

    dbt_require_supervisor(v);
    if (dbt_write_msr(v, gpr32(v, X86_RCX), value) < 0)
        GP_ZERO(v);
}

static void check_time_stamp(struct dbt_vcpu *v)
{
    if ((v->cr4 & X86_CR4_TSD) && v->cpl != 0)
        GP_ZERO(v);
}

static void rdtsc(struct dbt_vcpu *v, const struct op *op)
{
    check_time_stamp(v);
    set_pair(v, dbt_tsc(v));
}

static void rdtscp(struct dbt_vcpu *v, const struct op *op)
{
    rdtsc(v, op);
    gpr32_set(v, X86_RCX, (uint32_t)v->msr.tsc_aux);
}

static void rdpid(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[op->argument] = v->msr.tsc_aux;
}

/* There is no PMU; AMD's four old counters are part of the architecture and stand at zero. */
static void rdpmc(struct dbt_vcpu *v, const struct op *op)
{
    if (v->cpl != 0 && !(v->cr4 & X86_CR4_PCE))
        GP_ZERO(v);
    if (dbt_vendor_intel(v) || gpr32(v, X86_RCX) > 3)
        GP_ZERO(v);
    set_pair(v, 0);
}

static void set_random(struct dbt_vcpu *v, const struct op *op, uint64_t value, bool ok)
{
    dbt_set_register(v, op->argument, op->size, ok ? value : 0);
    v->flags = (uint8_t)(2 | (ok ? X86_CF : 0));
    v->overflow = 0;
}

static void rdrand(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value;
    bool ok;

    __asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(ok));
    set_random(v, op, value, ok);
}

static void rdseed(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t value;
    bool ok;

    __asm__ volatile("rdseed %0" : "=r"(value), "=@ccc"(ok));
    set_random(v, op, value, ok);
}

/* INVD, WBINVD, WBNOINVD: caches here are always coherent. */
static void cache_flush(struct dbt_vcpu *v, const struct op *op)
{
    dbt_require_supervisor(v);
}

static void invlpg(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t address = dbt_offset(v, op) + v->segment_base[op->address_segment];

    dbt_require_supervisor(v);
    if (!dbt_code64(v))
        address = (uint32_t)address;
    if (dbt_canonical(address))
        dbt_tlb_flush_page(v, address);
}

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_ALL_BUT_GLOBAL };

static void invpcid(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t type = v->gpr[op->argument], address, pcid, linear;

    dbt_require_supervisor(v);
    if (!dbt_code64(v))
        type = (uint32_t)type;
    linear = dbt_address(v, op, 16, ACCESS_READ);
    pcid = dbt_load64(v, linear);
    address = dbt_load64(v, linear + 8);
    if (type > INVPCID_ALL_BUT_GLOBAL || pcid > 0xfff)
        GP_ZERO(v);
    if (type <= INVPCID_CONTEXT && pcid != 0 && !(v->cr4 & X86_CR4_PCIDE))
        GP_ZERO(v);
    if (type == INVPCID_ADDRESS && !dbt_canonical(address))
        GP_ZERO(v);
    switch (type) {
    case INVPCID_ADDRESS:
        dbt_tlb_flush_pcid_page(v, (uint16_t)pcid, address);
        break;
    case INVPCID_CONTEXT:
        dbt_tlb_flush_pcid(v, (uint16_t)pcid);
        break;
    case INVPCID_ALL:
        dbt_tlb_flush_all(v);
        break;
    default:
        dbt_tlb_flush_all_but_global(v);
        break;
    }
}

/* Hypercalls of KVM (Linux Documentation/virt/kvm/x86/hypercalls.rst). */
enum { KVM_HYPERCALL_KICK_CPU = 5, KVM_HYPERCALL_SEND_IPI = 10 };
#define KVM_HYPERCALL_EPERM 1
#define KVM_HYPERCALL_EINVAL 22
#define KVM_HYPERCALL_ENOSYS 1000
#define ICR_LOGICAL BIT(11)
#define ICR_SHORTHAND (BIT(18) | BIT(19))

/* Offered as KVM does it: CPUID does not tell of it where the CPU model does not, and it works all the same. */
static int64_t send_ipi(struct dbt_vcpu *v, bool wide)
{
    uint64_t bitmap[2] = {v->gpr[X86_RBX], v->gpr[X86_RCX]}, icr = v->gpr[X86_RSI];
    unsigned taken;

    if (!wide) { /* 32 CPUs a word */
        bitmap[0] = (uint32_t)bitmap[0] | bitmap[1] << 32;
        bitmap[1] = 0;
    }
    if (icr & (ICR_LOGICAL | ICR_SHORTHAND))
        return -KVM_HYPERCALL_EINVAL;
    dbt_leave_guest(v);
    taken = v->hooks->apic_send(v->hooks->ctx, bitmap, gpr32(v, X86_RDX), icr);
    dbt_enter_guest(v);
    return taken;
}

static void hypercall(struct dbt_vcpu *v, const struct op *op)
{
    bool wide = dbt_code64(v);
    uint64_t number = wide ? v->gpr[X86_RAX] : gpr32(v, X86_RAX);
    int64_t result = -KVM_HYPERCALL_ENOSYS;

    if (v->cpl != 0)
        result = -KVM_HYPERCALL_EPERM;
    else if (number == KVM_HYPERCALL_KICK_CPU)
        result = 0; /* who waits in HLT is woken by interrupts alone */
    else if (number == KVM_HYPERCALL_SEND_IPI && v->hooks->apic_send != NULL)
        result = send_ipi(v, wide);
    v->gpr[X86_RAX] = wide ? (uint64_t)result : (uint32_t)result;
}

static op_fn *bind_random(const struct decode *d, struct op *op, uint32_t leaf, enum cpuid_register reg, unsigned bit,
                          op_fn *execute)
{
    op->argument = dbt_register_number(d, 0);
    op->size = (uint8_t)(d->operand[0].size / 8);
    return dbt_cpuid_bit(d->v, leaf, 0, reg, bit) ? execute : dbt_op_undefined;
}

static op_fn *bind_tlb(const struct decode *d, struct op *op)
{
    op->flags |= OP_END;
    if (d->instruction->mnemonic == ZYDIS_MNEMONIC_INVLPG)
        return op->flags & OP_MEMORY ? invlpg : dbt_op_undefined;
    op->argument = dbt_register_number(d, 0);
    return dbt_cpuid_bit(d->v, 7, 0, CPUID_EBX, 10) ? invpcid : dbt_op_undefined;
}

op_fn *dbt_bind_machine(const struct decode *d, struct op *op)
{
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_CPUID:
        return cpuid;
    case ZYDIS_MNEMONIC_RDMSR:
        return rdmsr;
    case ZYDIS_MNEMONIC_WRMSR:
        op->flags |= OP_END;
        return wrmsr;
    case ZYDIS_MNEMONIC_RDTSC:
        return rdtsc;
    case ZYDIS_MNEMONIC_RDTSCP:
        return dbt_cpuid_bit(d->v, 0x80000001, 0, CPUID_EDX, 27) ? rdtscp : dbt_op_undefined;
    case ZYDIS_MNEMONIC_RDPMC:
        return rdpmc;
    case ZYDIS_MNEMONIC_RDPID:
        return bind_random(d, op, 7, CPUID_ECX, 22, rdpid);
    case ZYDIS_MNEMONIC_RDRAND:
        return bind_random(d, op, 1, CPUID_ECX, 30, rdrand);
    case ZYDIS_MNEMONIC_RDSEED:
        return bind_random(d, op, 7, CPUID_EBX, 18, rdseed);
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_WBINVD:
        return cache_flush;
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_INVPCID:
        return bind_tlb(d, op);
    case ZYDIS_MNEMONIC_VMCALL:
    case ZYDIS_MNEMONIC_VMMCALL:
        return hypercall;
    default:
        return NULL;
    }
}
