/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model-specific registers: which exist, and what may be written (SDM vol. 4; APM vol. 2 appendix A; KVM's own). */
#include <errno.h>

#include "engine/dbt/clock.h"
#include "engine/dbt/softmmu.h"
#include "engine/dbt/state.h"
#include "engine/dbt/system.h"
#include "x86/xsave.h"

enum msr_number {
    MSR_TSC = 0x10, MSR_KVM_WALL_CLOCK_OLD = 0x11, MSR_KVM_SYSTEM_TIME_OLD = 0x12, MSR_PLATFORM_ID = 0x17, MSR_APIC_BASE = 0x1b,
    MSR_FEATURE_CONTROL = 0x3a, MSR_TSC_ADJUST = 0x3b, MSR_SPEC_CTRL = 0x48, MSR_PRED_CMD = 0x49, MSR_MICROCODE_LOAD = 0x79,
    MSR_MICROCODE_VERSION = 0x8b, MSR_MTRRCAP = 0xfe, MSR_ARCH_CAPABILITIES = 0x10a, MSR_FLUSH_CMD = 0x10b,
    MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176, MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a,
    MSR_MISC_ENABLE = 0x1a0, MSR_DEBUGCTL = 0x1d9, MSR_MTRR_VARIABLE = 0x200, MSR_MTRR_VARIABLE_LAST = 0x20f,
    MSR_PAT = 0x277, MSR_MTRR_DEF_TYPE = 0x2ff, MSR_TSC_DEADLINE = 0x6e0, MSR_PKRS = 0x6e1, MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff, MSR_XSS = 0xda0, MSR_KVM_WALL_CLOCK = 0x4b564d00, MSR_KVM_SYSTEM_TIME = 0x4b564d01,
    MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_CSTAR = 0xc0000083, MSR_SFMASK = 0xc0000084,
    MSR_FS_BASE = 0xc0000100, MSR_GS_BASE = 0xc0000101, MSR_KERNEL_GS_BASE = 0xc0000102, MSR_TSC_AUX = 0xc0000103,
    MSR_K7_PERFORMANCE = 0xc0010000, MSR_K7_PERFORMANCE_LAST = 0xc0010007,
    MSR_SYSCFG = 0xc0010010, MSR_HWCR = 0xc0010015, MSR_NB_CFG = 0xc001001f, MSR_INT_PENDING = 0xc0010055,
    MSR_OSVW_LENGTH = 0xc0010140, MSR_OSVW_STATUS = 0xc0010141, MSR_DE_CFG = 0xc0011029,
};

#define MTRRCAP_VALUE 0x508u /* 8 variable ranges, fixed ranges, write combining */
#define MISC_ENABLE_READ_ONLY UINT64_C(0x1880)
#define MISC_ENABLE_NO_BTS_PEBS UINT64_C(0x1800)
/* RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, GDS_NO, RFDS_NO:
 * an interpreter does not speculate with a guest's data, and a guest's mitigations would only cost. */
#define ARCH_CAPABILITIES_VALUE                                                                                        \
    (BIT(0) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(14) | BIT(15) | BIT(20) | BIT(26) | BIT(27))
#define DE_CFG_LFENCE_SERIALIZES 2u

static const uint16_t fixed_mtrrs[11] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

/* Registers that are 64 bits of state: NULL if msr is none of them. */
static uint64_t *plain(struct dbt_vcpu *v, uint32_t msr)
{
    struct x86_msrs *m = &v->msr;

    for (unsigned i = 0; i < ARRAY_SIZE(fixed_mtrrs); i++)
        if (fixed_mtrrs[i] == msr)
            return &m->mtrr_fixed[i];
    if (msr >= MSR_MTRR_VARIABLE && msr <= MSR_MTRR_VARIABLE_LAST)
        return msr & 1 ? &m->mtrr_mask[(msr - MSR_MTRR_VARIABLE) / 2] : &m->mtrr_base[(msr - MSR_MTRR_VARIABLE) / 2];
    switch (msr) {
    case MSR_SYSENTER_CS:
        return &m->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &m->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &m->sysenter_eip;
    case MSR_MISC_ENABLE:
        return &m->misc_enable;
    case MSR_DEBUGCTL:
        return &m->debugctl;
    case MSR_PAT:
        return &m->pat;
    case MSR_MTRR_DEF_TYPE:
        return &m->mtrr_def_type;
    case MSR_MCG_STATUS:
        return &m->mcg_status;
    case MSR_EFER:
        return &m->efer;
    case MSR_STAR:
        return &m->star;
    case MSR_LSTAR:
        return &m->lstar;
    case MSR_CSTAR:
        return &m->cstar;
    case MSR_SFMASK:
        return &m->sfmask;
    case MSR_FS_BASE:
        return &v->segment[X86_FS].base;
    case MSR_GS_BASE:
        return &v->segment[X86_GS].base;
    case MSR_KERNEL_GS_BASE:
        return &m->kernel_gs_base;
    case MSR_TSC_AUX:
        return &m->tsc_aux;
    case MSR_TSC_ADJUST:
        return &m->tsc_adjust;
    case MSR_SPEC_CTRL:
        return &m->spec_ctrl;
    case MSR_PKRS:
        return &m->pkrs;
    case MSR_XSS:
        return &m->xss;
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_OLD:
        return &m->kvm_system_time;
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_OLD:
        return &m->kvm_wall_clock;
    default:
        return NULL;
    }
}

static bool offered(const struct dbt_vcpu *v, uint32_t leaf, enum cpuid_register reg, unsigned bit)
{
    return dbt_cpuid_bit(v, leaf, 0, reg, bit);
}

static bool has_long_mode(const struct dbt_vcpu *v)
{
    return offered(v, 0x80000001, CPUID_EDX, 29);
}

static uint64_t spec_ctrl_bits(const struct dbt_vcpu *v)
{
    bool ibrs = offered(v, 7, CPUID_EDX, 26) || offered(v, 0x80000008, CPUID_EBX, 14);
    bool stibp = offered(v, 7, CPUID_EDX, 27) || offered(v, 0x80000008, CPUID_EBX, 15);
    bool ssbd = offered(v, 7, CPUID_EDX, 31) || offered(v, 0x80000008, CPUID_EBX, 24);

    return (ibrs ? 1 : 0) | (stibp ? 2 : 0) | (ssbd ? 4 : 0);
}

/* Selects and counters of events. No CPUID bit tells of these four pairs: every AMD CPU has them. Ours count nothing. */
static bool is_performance(const struct dbt_vcpu *v, uint32_t msr)
{
    return !dbt_vendor_intel(v) && msr >= MSR_K7_PERFORMANCE && msr <= MSR_K7_PERFORMANCE_LAST;
}

/* Whether this CPU model has the register at all. */
static bool exists(const struct dbt_vcpu *v, uint32_t msr)
{
    switch (msr) {
    case MSR_LSTAR: case MSR_CSTAR: case MSR_SFMASK: case MSR_FS_BASE: case MSR_GS_BASE: case MSR_KERNEL_GS_BASE:
        return has_long_mode(v);
    case MSR_STAR: case MSR_EFER:
        return has_long_mode(v) || offered(v, 0x80000001, CPUID_EDX, 20);
    case MSR_TSC_AUX:
        return offered(v, 0x80000001, CPUID_EDX, 27) || offered(v, 7, CPUID_ECX, 22);
    case MSR_TSC_ADJUST:
        return offered(v, 7, CPUID_EBX, 1);
    case MSR_SPEC_CTRL:
        return spec_ctrl_bits(v) != 0;
    case MSR_PRED_CMD:
        return offered(v, 7, CPUID_EDX, 26) || offered(v, 0x80000008, CPUID_EBX, 12);
    case MSR_FLUSH_CMD:
        return offered(v, 7, CPUID_EDX, 28);
    case MSR_ARCH_CAPABILITIES:
        return offered(v, 7, CPUID_EDX, 29);
    case MSR_PKRS:
        return offered(v, 7, CPUID_ECX, 31);
    case MSR_XSS:
        return dbt_cpuid_bit(v, 0xd, 1, CPUID_EAX, 3);
    case MSR_TSC_DEADLINE:
        return offered(v, 1, CPUID_ECX, 24);
    case MSR_KVM_SYSTEM_TIME: case MSR_KVM_WALL_CLOCK:
        return offered(v, 0x40000001, CPUID_EAX, 3);
    case MSR_KVM_SYSTEM_TIME_OLD: case MSR_KVM_WALL_CLOCK_OLD:
        return offered(v, 0x40000001, CPUID_EAX, 0);
    case MSR_SYSCFG: case MSR_HWCR: case MSR_NB_CFG: case MSR_DE_CFG: case MSR_INT_PENDING:
        return !dbt_vendor_intel(v);
    case MSR_OSVW_LENGTH: case MSR_OSVW_STATUS:
        return offered(v, 0x80000001, CPUID_ECX, 9);
    default:
        return true;
    }
}

static bool apic_register(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE || (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

int dbt_read_msr(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret_value)
{
    const uint64_t *p;

    if (!exists(v, msr))
        return -EINVAL;
    if (apic_register(msr))
        return v->hooks->apic_msr_read(v->hooks->ctx, v->id, msr, ret_value);
    p = plain(v, msr);
    if (p != NULL) {
        *ret_value = *p | (msr == MSR_MISC_ENABLE ? MISC_ENABLE_NO_BTS_PEBS : 0);
        return 0;
    }
    switch (msr) {
    case MSR_TSC:
        *ret_value = dbt_tsc(v);
        return 0;
    case MSR_MTRRCAP:
        *ret_value = MTRRCAP_VALUE;
        return 0;
    case MSR_ARCH_CAPABILITIES:
        *ret_value = ARCH_CAPABILITIES_VALUE;
        return 0;
    case MSR_MICROCODE_VERSION: /* a version that no update is newer than; AMD: the patch level */
        *ret_value = dbt_vendor_intel(v) ? UINT64_C(0x100000000) : 0x01000065;
        return 0;
    case MSR_FEATURE_CONTROL:
        *ret_value = 1; /* locked: nothing to enable */
        return 0;
    case MSR_DE_CFG:
        *ret_value = DE_CFG_LFENCE_SERIALIZES;
        return 0;
    case MSR_HWCR:
        *ret_value = BIT(24); /* the TSC runs at the P0 frequency */
        return 0;
    case MSR_PLATFORM_ID: case MSR_MCG_CAP: /* no banks */
    case MSR_SYSCFG: case MSR_NB_CFG: case MSR_INT_PENDING: case MSR_OSVW_LENGTH: case MSR_OSVW_STATUS:
        *ret_value = 0;
        return 0;
    default:
        if (!is_performance(v, msr))
            return -EINVAL;
        *ret_value = 0;
        return 0;
    }
}

static int write_efer(struct dbt_vcpu *v, uint64_t value)
{
    uint64_t allowed = X86_EFER_LMA;

    allowed |= offered(v, 0x80000001, CPUID_EDX, 11) ? X86_EFER_SCE : 0;
    allowed |= has_long_mode(v) ? X86_EFER_LME : 0;
    allowed |= offered(v, 0x80000001, CPUID_EDX, 20) ? X86_EFER_NXE : 0;
    allowed |= offered(v, 0x80000001, CPUID_EDX, 25) ? BIT(14) : 0; /* FFXSR */
    value = (value & ~X86_EFER_LMA) | (v->msr.efer & X86_EFER_LMA); /* writes of LMA are ignored */
    if (value & ~allowed)
        return -EINVAL;
    if (((value ^ v->msr.efer) & X86_EFER_LME) && (v->cr0 & X86_CR0_PG))
        return -EINVAL;
    if ((value ^ v->msr.efer) & X86_EFER_NXE)
        dbt_tlb_flush_all(v);
    v->msr.efer = value;
    dbt_update_mode(v);
    return 0;
}

static bool memory_type_valid(unsigned type)
{
    return type <= 6 && type != 2 && type != 3;
}

static bool memory_types_valid(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = (unsigned)(value >> (8 * i)) & 0xff;
        if (!memory_type_valid(type) && !(pat && type == 7))
            return false;
    }
    return true;
}

static bool mtrr_valid(const struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
    uint64_t beyond = ~(BIT(v->physical_bits) - 1);

    if (msr == MSR_MTRR_DEF_TYPE)
        return !(value & ~UINT64_C(0xcff)) && memory_type_valid(value & 0xff);
    if (msr < MSR_MTRR_VARIABLE || msr > MSR_MTRR_VARIABLE_LAST)
        return memory_types_valid(value, false);
    return msr & 1 ? !(value & (beyond | 0x7ff)) : !(value & (beyond | 0xf00)) && memory_type_valid(value & 0xff);
}

static bool is_mtrr(uint32_t msr)
{
    return msr == MSR_MTRR_DEF_TYPE || (msr >= MSR_MTRR_VARIABLE && msr < MSR_PAT);
}

/* Whether a plain register may take the value. */
static bool plain_valid(const struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
    switch (msr) {
    case MSR_SYSENTER_ESP: case MSR_SYSENTER_EIP: case MSR_LSTAR: case MSR_CSTAR: case MSR_FS_BASE: case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE:
        return dbt_canonical(value);
    case MSR_SYSENTER_CS:
        return true;
    case MSR_PAT:
        return memory_types_valid(value, true);
    case MSR_SFMASK: case MSR_TSC_AUX: case MSR_PKRS:
        return value >> 32 == 0;
    case MSR_SPEC_CTRL:
        return !(value & ~spec_ctrl_bits(v));
    case MSR_XSS:
        return value == 0;
    case MSR_DEBUGCTL: /* LBR and BTF are not there, but AMD's reset code and Linux write zero */
        return value == 0;
    case MSR_MCG_STATUS:
        return value == 0;
    default:
        return !is_mtrr(msr) || mtrr_valid(v, msr, value);
    }
}

static int write_plain(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
    if (!plain_valid(v, msr, value))
        return -EINVAL;
    if (msr == MSR_MISC_ENABLE)
        value = (value & ~MISC_ENABLE_READ_ONLY) | (v->msr.misc_enable & MISC_ENABLE_READ_ONLY);
    if (msr == MSR_SYSENTER_CS)
        value = (uint32_t)value;
    *plain(v, msr) = value;
    switch (msr) {
    case MSR_FS_BASE:
        v->segment_base[X86_FS] = value;
        break;
    case MSR_GS_BASE:
        v->segment_base[X86_GS] = value;
        break;
    case MSR_PKRS:
        dbt_tlb_flush_all(v);
        break;
    case MSR_KVM_SYSTEM_TIME: case MSR_KVM_SYSTEM_TIME_OLD:
        dbt_clock_update(v);
        break;
    case MSR_KVM_WALL_CLOCK: case MSR_KVM_WALL_CLOCK_OLD:
        dbt_clock_write_wall(v, value);
        break;
    default:
        break;
    }
    return 0;
}

static int write_tsc(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
    uint64_t shift = value - (msr == MSR_TSC ? dbt_tsc(v) : v->msr.tsc_adjust);

    v->tsc_offset += shift;
    v->msr.tsc_adjust += shift;
    dbt_clock_update(v);
    return 0;
}

int dbt_write_msr(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
    if (!exists(v, msr))
        return -EINVAL;
    if (apic_register(msr)) {
        dbt_set_attention(v, ATTENTION_INTERRUPT);
        return v->hooks->apic_msr_write(v->hooks->ctx, v->id, msr, value);
    }
    if (msr == MSR_EFER)
        return write_efer(v, value);
    if (msr == MSR_TSC || msr == MSR_TSC_ADJUST)
        return write_tsc(v, msr, value);
    if (plain(v, msr) != NULL)
        return write_plain(v, msr, value);
    switch (msr) {
    case MSR_PRED_CMD: case MSR_FLUSH_CMD: /* barriers for which there is nothing to do */
        return value & ~UINT64_C(1) ? -EINVAL : 0;
    case MSR_MICROCODE_LOAD:
        return dbt_vendor_intel(v) ? 0 : -EINVAL;
    case MSR_MICROCODE_VERSION: case MSR_SYSCFG: case MSR_NB_CFG: case MSR_DE_CFG: case MSR_HWCR:
    case MSR_INT_PENDING:
        return 0; /* written by Linux as a matter of course; without effect */
    default:
        return is_performance(v, msr) ? 0 : -EINVAL;
    }
}
