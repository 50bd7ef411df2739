/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The architectural state of one x86-64 CPU: what both engines load, run and give back, and what a saved state holds.
 *
 * Facts of the hardware only (Intel SDM vol. 3 ch. 2 and 13, AMD APM vol. 2). The local APIC is apart
 * (state/irqchip.h). */
#ifndef FERRY_X86_STATE_H
#define FERRY_X86_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "state/field.h"

enum x86_gpr { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI,
               X86_R8, X86_R9, X86_R10, X86_R11, X86_R12, X86_R13, X86_R14, X86_R15, X86_GPR_COUNT };

/* In the order of the encoding in instructions. */
enum x86_segment_register { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_SEGMENT_COUNT };

/* A segment register with its hidden part. limit is in bytes (granularity applied). */
struct x86_segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint8_t type;    /* 4 bits; for code and data the accessed bit included */
    uint8_t s;       /* 1 = code or data */
    uint8_t dpl;
    uint8_t present; /* 0 = unusable (a null selector) */
    uint8_t avl, l, db, g;
};

struct x86_table { /* GDTR, IDTR */
    uint64_t base;
    uint16_t limit;
};

enum x86_run_state { /* what the CPU does when it is run */
    X86_RUNNABLE,
    X86_HALTED,
    X86_WAIT_FOR_SIPI, /* after INIT; APs start so */
};

#define X86_XSAVE_MAX 4096 /* bytes */

/* Model-specific registers that are state of the CPU (APIC base, x2APIC and TSC deadline are the APIC's). */
struct x86_msrs {
    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc, tsc_aux, tsc_adjust;
    uint64_t misc_enable, spec_ctrl, virt_spec_ctrl, xss, pkrs;
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t mcg_status, mcg_ctl;
    uint64_t kvm_system_time, kvm_wall_clock; /* kvmclock: MSR 0x4b564d01, 0x4b564d00 */
    uint64_t smbase, feature_control, debugctl;
};

struct x86_state {
    uint64_t gpr[X86_GPR_COUNT];
    uint64_t rip, rflags;
    struct x86_segment segment[X86_SEGMENT_COUNT], ldtr, tr;
    struct x86_table gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4;
    uint64_t cr8; /* a copy of the local APIC's TPR, which is the APIC's state: an engine without an irqchip leaves it 0 */
    uint64_t dr[4], dr6, dr7;
    uint64_t xcr0;
    struct x86_msrs msr;
    uint8_t xsave[X86_XSAVE_MAX]; /* standard (not compacted) XSAVE format; offsets of AVX and above as Intel's: 576, ... */
    /* Events on the way in. */
    uint8_t run_state;                /* enum x86_run_state */
    uint8_t exception_pending;        /* an exception to deliver before the next instruction */
    uint8_t exception_vector;
    uint8_t exception_has_error;
    uint32_t exception_error;
    uint64_t exception_payload;       /* CR2 or DR6 bits; meaningful with exception_has_payload */
    uint8_t exception_has_payload;
    uint8_t interrupt_injected;       /* an interrupt already acknowledged at the controller, delivery under way */
    uint8_t interrupt_vector;
    uint8_t interrupt_soft;           /* it stems from INT n */
    uint8_t interrupt_shadow;         /* bit 0: by STI, bit 1: by MOV/POP SS */
    uint8_t nmi_pending, nmi_injected, nmi_masked;
};

extern const struct field x86_state_fields[];

enum { /* RFLAGS */
    X86_CF = 1 << 0, X86_PF = 1 << 2, X86_AF = 1 << 4, X86_ZF = 1 << 6, X86_SF = 1 << 7, X86_TF = 1 << 8,
    X86_IF = 1 << 9, X86_DF = 1 << 10, X86_OF = 1 << 11, X86_IOPL = 3 << 12, X86_NT = 1 << 14, X86_RF = 1 << 16,
    X86_VM = 1 << 17, X86_AC = 1 << 18, X86_VIF = 1 << 19, X86_VIP = 1 << 20, X86_ID = 1 << 21,
};

#define X86_CR0_PE UINT64_C(0x1)
#define X86_CR0_MP UINT64_C(0x2)
#define X86_CR0_EM UINT64_C(0x4)
#define X86_CR0_TS UINT64_C(0x8)
#define X86_CR0_ET UINT64_C(0x10)
#define X86_CR0_NE UINT64_C(0x20)
#define X86_CR0_WP UINT64_C(0x10000)
#define X86_CR0_AM UINT64_C(0x40000)
#define X86_CR0_NW UINT64_C(0x20000000)
#define X86_CR0_CD UINT64_C(0x40000000)
#define X86_CR0_PG UINT64_C(0x80000000)

#define X86_CR4_VME UINT64_C(0x1)
#define X86_CR4_PVI UINT64_C(0x2)
#define X86_CR4_TSD UINT64_C(0x4)
#define X86_CR4_DE UINT64_C(0x8)
#define X86_CR4_PSE UINT64_C(0x10)
#define X86_CR4_PAE UINT64_C(0x20)
#define X86_CR4_MCE UINT64_C(0x40)
#define X86_CR4_PGE UINT64_C(0x80)
#define X86_CR4_PCE UINT64_C(0x100)
#define X86_CR4_OSFXSR UINT64_C(0x200)
#define X86_CR4_OSXMMEXCPT UINT64_C(0x400)
#define X86_CR4_UMIP UINT64_C(0x800)
#define X86_CR4_LA57 UINT64_C(0x1000)
#define X86_CR4_FSGSBASE UINT64_C(0x10000)
#define X86_CR4_PCIDE UINT64_C(0x20000)
#define X86_CR4_OSXSAVE UINT64_C(0x40000)
#define X86_CR4_SMEP UINT64_C(0x100000)
#define X86_CR4_SMAP UINT64_C(0x200000)
#define X86_CR4_PKE UINT64_C(0x400000)
#define X86_CR4_PKS UINT64_C(0x1000000)

#define X86_EFER_SCE UINT64_C(0x1)
#define X86_EFER_LME UINT64_C(0x100)
#define X86_EFER_LMA UINT64_C(0x400)
#define X86_EFER_NXE UINT64_C(0x800)

enum x86_vector {
    X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF_TRAP = 4, X86_BR = 5, X86_UD = 6, X86_NM = 7, X86_DF_FAULT = 8,
    X86_TS = 10, X86_NP = 11, X86_SS_FAULT = 12, X86_GP = 13, X86_PF_FAULT = 14, X86_MF = 16, X86_AC_FAULT = 17,
    X86_MC = 18, X86_XM = 19,
};

/* State after power-on or RESET (SDM vol. 3 table 10-1). bsp: false leaves the CPU waiting for a SIPI. */
void x86_state_reset(struct x86_state *state, bool bsp);

/* What INIT leaves: like reset, but x87/SSE/AVX, MTRRs, TSC and most MSRs keep their values. */
void x86_state_init(struct x86_state *state, bool bsp);

/* Whether a loaded state could be that of a CPU: 0, or -EINVAL with a sentence in err. For hostile streams. */
struct err;
int x86_state_check(const struct x86_state *state, struct err *err);

/* A register dump of about 25 lines for people; cut to fit. */
void x86_state_print(const struct x86_state *state, char *out, unsigned size);

#endif
