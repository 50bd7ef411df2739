/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vCPU's state as a whole: derived mode, RFLAGS, INIT and SIPI, and the exchange with struct x86_state. */
#include <errno.h>
#include <string.h>
#include <x86intrin.h>

#include "engine/dbt/clock.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/softmmu.h"
#include "engine/dbt/state.h"
#include "engine/dbt/tlb.h"
#include "x86/xsave.h"


static unsigned current_cpl(const struct dbt_vcpu *v)
{
    if (!(v->cr0 & X86_CR0_PE))
        return 0;
    return v->rflags & X86_VM ? 3 : v->segment[X86_SS].dpl;
}

static bool segment_flat(const struct x86_segment *s, unsigned rights)
{
    return s->present && s->base == 0 && s->limit == UINT32_MAX && (s->type & rights) == rights &&
           ((s->type & 8) || !(s->type & 4));
}

static uint32_t code_mode(const struct dbt_vcpu *v)
{
    const struct x86_segment *segment = v->segment;
    uint32_t mode;

    if (dbt_long_mode(v) && segment[X86_CS].l)
        return MODE_CODE64;
    mode = segment[X86_CS].db ? MODE_CODE32 : MODE_CODE16;
    if (segment[X86_SS].db)
        mode |= MODE_STACK32;
    if (segment_flat(&segment[X86_CS], 2 | 8) && segment_flat(&segment[X86_SS], 2) &&
        segment_flat(&segment[X86_DS], 2) && segment_flat(&segment[X86_ES], 2) &&
        !((segment[X86_DS].type | segment[X86_ES].type) & 8))
        mode |= MODE_FLAT;
    return mode;
}

static uint32_t vector_mode(const struct dbt_vcpu *v, bool protected_mode)
{
    uint32_t mode = 0;

    mode |= v->cr0 & X86_CR0_EM ? MODE_EM : 0;
    mode |= v->cr0 & X86_CR0_TS ? MODE_TS : 0;
    mode |= v->cr0 & X86_CR0_MP ? MODE_MP : 0;
    mode |= v->cr4 & X86_CR4_OSFXSR ? MODE_SSE : 0;
    if (!(v->cr4 & X86_CR4_OSXSAVE))
        return mode;
    mode |= MODE_XSAVE;
    if (protected_mode && !(~v->xcr0 & (X86_XSTATE_SSE | X86_XSTATE_AVX))) {
        mode |= MODE_AVX;
        if (!(~v->xcr0 & X86_XSTATE_AVX512))
            mode |= MODE_AVX512;
    }
    return mode;
}

void dbt_update_tlb_mode(struct dbt_vcpu *v)
{
    if (v->cpl == 3)
        v->tlb_mode = (v->rflags & X86_AC) && (v->cr0 & X86_CR0_AM) ? TLB_USER_ALIGNED : TLB_USER;
    else
        v->tlb_mode = (v->rflags & X86_AC) && (v->cr4 & X86_CR4_SMAP) ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
    if (v->space != NULL)
        dbt_tlb_choose(v);
}

void dbt_update_mode(struct dbt_vcpu *v)
{
    bool protected_mode = (v->cr0 & X86_CR0_PE) && !(v->rflags & X86_VM);
    bool code64;

    v->cpl = (uint8_t)current_cpl(v);
    v->mode = code_mode(v) | vector_mode(v, protected_mode) | (protected_mode ? MODE_PROTECTED : 0) | v->fpu.x87_mode;
    code64 = dbt_code64(v);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        v->segment_base[i] = code64 && i < X86_FS ? 0 : v->segment[i].base;
    v->segment_base[SEGMENT_NONE] = 0;
    dbt_update_tlb_mode(v);
}

uint64_t dbt_get_rflags(const struct dbt_vcpu *v)
{
    return v->rflags | (v->flags & ARITHMETIC_FLAGS) | (v->overflow ? X86_OF : 0) | 2;
}

void dbt_set_rflags(struct dbt_vcpu *v, uint64_t value)
{
    uint64_t before = v->rflags;

    v->flags = (uint8_t)((value & ARITHMETIC_FLAGS) | 2);
    v->overflow = value & X86_OF ? 1 : 0;
    v->rflags = (value & RFLAGS_WRITABLE & ~(uint64_t)(ARITHMETIC_FLAGS | X86_OF)) | 2;
    if ((v->rflags & X86_TF) || ((v->rflags & X86_RF) && v->instruction_breakpoints))
        dbt_set_attention(v, ATTENTION_STEP);
    else
        v->rflags &= ~(uint64_t)X86_RF; /* it passes with the next instruction, and there is no breakpoint that it could pass */
    if ((~before & v->rflags & X86_IF) && atomic_load(&v->interrupt_line)) /* one that comes from now on asks for attention itself */
        dbt_set_attention(v, ATTENTION_INTERRUPT);
    if ((before ^ v->rflags) & (X86_VM | X86_AC))
        dbt_update_mode(v);
}

bool dbt_cpuid_bit(const struct dbt_vcpu *v, uint32_t leaf, uint32_t subleaf, enum cpuid_register reg, unsigned bit)
{
    const struct cpuid_entry *e = cpuid_find(&v->cpuid, leaf, subleaf);
    uint32_t value;

    if (e == NULL)
        return false;
    value = reg == CPUID_EAX ? e->eax : reg == CPUID_EBX ? e->ebx : reg == CPUID_ECX ? e->ecx : e->edx;
    return value >> bit & 1;
}

bool dbt_vendor_intel(const struct dbt_vcpu *v)
{
    const struct cpuid_entry *e = cpuid_find(&v->cpuid, 0, 0);

    return e != NULL && e->ebx == 0x756e6547; /* "Genu" */
}

uint64_t dbt_tsc(const struct dbt_vcpu *v)
{
    return dbt_tsc_scale(v->vm, __rdtsc()) + v->tsc_offset;
}

static void clear_events(struct dbt_vcpu *v)
{
    v->delivering = false;
    v->interrupt_shadow = 0;
    v->debug_pending = 0;
    v->nmi_pending = 0;
    v->nmi_masked = false;
    atomic_store(&v->nmi_sent, 0);
    v->interrupt_injected = false;
    v->exception_restored = false;
    v->shutdown = false;
}

static void load_core(struct dbt_vcpu *v, const struct x86_state *s)
{
    memcpy(v->gpr, s->gpr, sizeof(s->gpr));
    v->gpr[GPR_ZERO] = 0;
    v->gpr[GPR_RIP] = s->rip;
    memcpy(v->segment, s->segment, sizeof(v->segment));
    v->ldtr = s->ldtr;
    v->tr = s->tr;
    v->gdtr = s->gdtr;
    v->idtr = s->idtr;
    v->cr0 = s->cr0;
    v->cr2 = s->cr2;
    v->cr4 = s->cr4;
    v->xcr0 = s->xcr0;
    memcpy(v->dr, s->dr, sizeof(v->dr));
    v->dr6 = s->dr6;
    v->dr7 = s->dr7;
    v->msr = s->msr;
    v->run_state = (enum x86_run_state)s->run_state;
    v->op = NULL;
    clear_events(v);
    dbt_tlb_flush_all(v);
    dbt_tlb_set_cr3(v, s->cr3);
    dbt_tlb_flush_all(v);
    dbt_set_rflags(v, s->rflags);
    dbt_update_mode(v);
    dbt_debug_changed(v);
    dbt_set_attention(v, ATTENTION_INTERRUPT);
}

static void load_events(struct dbt_vcpu *v, const struct x86_state *s)
{
    v->interrupt_shadow = s->interrupt_shadow;
    v->nmi_pending = s->nmi_pending || s->nmi_injected;
    v->nmi_masked = s->nmi_masked && !s->nmi_injected;
    /* A software interrupt under way is executed again: RIP is still at its instruction. */
    v->interrupt_injected = s->interrupt_injected && !s->interrupt_soft;
    v->injected_vector = s->interrupt_vector;
    if (s->exception_pending) {
        v->exception_restored = true;
        v->raised = (struct dbt_exception){s->exception_vector, s->exception_has_error, s->exception_error};
        if (s->exception_has_payload && s->exception_vector == X86_PF_FAULT)
            v->cr2 = s->exception_payload;
        if (s->exception_has_payload && s->exception_vector == X86_DB)
            v->dr6 = (v->dr6 & ~UINT64_C(0xf)) | s->exception_payload;
    }
    if (v->interrupt_shadow != 0 || v->exception_restored)
        dbt_set_attention(v, ATTENTION_STEP);
    if (v->nmi_pending)
        dbt_set_attention(v, ATTENTION_NMI);
}

int dbt_set_state(struct dbt_vcpu *v, const struct x86_state *state, struct err *err)
{
    int r = x86_state_check(state, err);

    if (r < 0)
        return r;
    r = dbt_fpu_set_xsave(v, state->xsave);
    if (r < 0)
        return err_set(err, r, "saved CPU state holds vector or x87 registers that this CPU model does not have");
    load_core(v, state);
    load_events(v, state);
    v->tsc_offset = state->msr.tsc - dbt_tsc_scale(v->vm, __rdtsc());
    dbt_clock_update(v);
    return 0;
}

void dbt_get_state(const struct dbt_vcpu *v, struct x86_state *ret_state)
{
    struct x86_state *s = ret_state;

    memset(s, 0, sizeof(*s));
    memcpy(s->gpr, v->gpr, sizeof(s->gpr));
    s->rip = v->gpr[GPR_RIP];
    s->rflags = dbt_get_rflags(v);
    memcpy(s->segment, v->segment, sizeof(s->segment));
    s->ldtr = v->ldtr;
    s->tr = v->tr;
    s->gdtr = v->gdtr;
    s->idtr = v->idtr;
    s->cr0 = v->cr0;
    s->cr2 = v->cr2;
    s->cr3 = v->cr3;
    s->cr4 = v->cr4;
    memcpy(s->dr, v->dr, sizeof(s->dr));
    s->dr6 = v->dr6;
    s->dr7 = v->dr7;
    s->xcr0 = v->xcr0;
    s->msr = v->msr;
    s->msr.tsc = dbt_tsc(v);
    dbt_fpu_get_xsave(v, s->xsave);
    s->run_state = (uint8_t)v->run_state;
    s->interrupt_injected = v->interrupt_injected;
    s->interrupt_vector = v->injected_vector;
    s->interrupt_shadow = v->interrupt_shadow;
    s->nmi_pending = v->nmi_pending != 0 || atomic_load(&v->nmi_sent) != 0;
    s->nmi_masked = v->nmi_masked;
    if (v->exception_restored || v->debug_pending) {
        s->exception_pending = 1;
        s->exception_vector = v->exception_restored ? v->raised.vector : X86_DB;
        s->exception_has_error = v->exception_restored && v->raised.has_error;
        s->exception_error = v->exception_restored ? v->raised.error : 0;
        s->exception_has_payload = !v->exception_restored;
        s->exception_payload = v->exception_restored ? 0 : v->debug_pending;
    }
}

void dbt_cpu_init(struct dbt_vcpu *v)
{
    const struct cpuid_entry *signature = cpuid_find(&v->cpuid, 1, 0);
    struct x86_state s = {.cr0 = v->cr0, .xcr0 = v->xcr0, .msr = v->msr};

    x86_state_init(&s, v->id == 0);
    if (signature != NULL)
        s.gpr[X86_RDX] = signature->eax;
    load_core(v, &s);
}

void dbt_cpu_sipi(struct dbt_vcpu *v, uint8_t vector)
{
    if (v->run_state != X86_WAIT_FOR_SIPI)
        return;
    v->segment[X86_CS].selector = (uint16_t)(vector << 8);
    v->segment[X86_CS].base = (uint64_t)vector << 12;
    v->gpr[GPR_RIP] = 0;
    v->run_state = X86_RUNNABLE;
    dbt_update_mode(v);
}
