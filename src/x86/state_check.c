/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether a loaded CPU state could be that of a CPU: refuses what hardware can never hold, so that no engine meets it. */
#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "x86/state.h"
#include "x86/xsave.h"

const struct x86_xstate_component x86_xstate_components[X86_XSTATE_COMPONENTS] = {
    [2] = {576, 256}, [3] = {960, 64}, [4] = {1024, 64}, [5] = {1088, 64}, [6] = {1152, 512}, [7] = {1664, 1024},
    [9] = {2688, 8},
};

#define CR0_ALL                                                                                                        \
    (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM |           \
     X86_CR0_NW | X86_CR0_CD | X86_CR0_PG)
#define CR4_ALL                                                                                                        \
    (X86_CR4_VME | X86_CR4_PVI | X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE | X86_CR4_PGE |    \
     X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_UMIP | X86_CR4_LA57 | X86_CR4_FSGSBASE |              \
     X86_CR4_PCIDE | X86_CR4_OSXSAVE | X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_PKE | X86_CR4_PKS)
/* SCE, LME, LMA, NXE, SVME (never offered, refused), LMSLE, FFXSR, TCE, AutoIBRS. */
#define EFER_ALL (X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | BIT(14) | BIT(15) | BIT(21))
#define RFLAGS_RESERVED (~UINT64_C(0x3f7fd5) & ~UINT64_C(2))

static int refuse(struct err *err, const char *name, uint64_t value, const char *why)
{
    return err_set(err, -EINVAL, "saved CPU state is impossible: %s is %#llx, %s", name, (unsigned long long)value, why);
}

static bool canonical(const struct x86_state *state, uint64_t address)
{
    unsigned shift = state->cr4 & X86_CR4_LA57 ? 7 : 16;

    return (uint64_t)((int64_t)(address << shift) >> shift) == address;
}

static int check_modes(const struct x86_state *state, struct err *err)
{
    uint64_t cr0 = state->cr0, cr4 = state->cr4, efer = state->msr.efer;
    bool long_mode = efer & X86_EFER_LMA;

    if (cr0 & ~CR0_ALL)
        return refuse(err, "CR0", cr0, "which has reserved bits set");
    if ((cr0 & X86_CR0_PG) && !(cr0 & X86_CR0_PE))
        return refuse(err, "CR0", cr0, "which has paging without protection");
    if ((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD))
        return refuse(err, "CR0", cr0, "which has NW without CD");
    if (cr4 & ~CR4_ALL)
        return refuse(err, "CR4", cr4, "which has bits set that no CPU here has");
    if (efer & ~EFER_ALL)
        return refuse(err, "EFER", efer, "which has bits set that no CPU here has");
    if (long_mode != ((efer & X86_EFER_LME) && (cr0 & X86_CR0_PG)))
        return refuse(err, "EFER", efer, "whose LMA disagrees with LME and CR0.PG");
    if (long_mode && !(cr4 & X86_CR4_PAE))
        return refuse(err, "CR4", cr4, "which lacks PAE in long mode");
    if ((cr4 & X86_CR4_PCIDE) && !long_mode)
        return refuse(err, "CR4", cr4, "which has PCIDE outside long mode");
    if (state->cr3 & ~(BIT(52) - 1))
        return refuse(err, "CR3", state->cr3, "which is above the physical address space");
    if (state->cr8 > 15)
        return refuse(err, "CR8", state->cr8, "more than 15");
    return 0;
}

static int check_flags(const struct x86_state *state, struct err *err)
{
    if ((state->rflags & RFLAGS_RESERVED) || !(state->rflags & 2))
        return refuse(err, "RFLAGS", state->rflags, "whose reserved bits are wrong");
    if ((state->rflags & X86_VM) && ((state->msr.efer & X86_EFER_LMA) || !(state->cr0 & X86_CR0_PE)))
        return refuse(err, "RFLAGS", state->rflags, "virtual-8086 mode outside legacy protected mode");
    if (state->dr6 >> 32)
        return refuse(err, "DR6", state->dr6, "more than 32 bits");
    if (state->dr7 >> 32)
        return refuse(err, "DR7", state->dr7, "more than 32 bits");
    return 0;
}

static int check_segment(const struct x86_segment *segment, const char *name, struct err *err)
{
    if (segment->type > 15)
        return refuse(err, name, segment->type, "a type of more than 4 bits");
    if (segment->dpl > 3)
        return refuse(err, name, segment->dpl, "a privilege level above 3");
    if (segment->s > 1 || segment->present > 1 || segment->avl > 1 || segment->l > 1 || segment->db > 1 ||
        segment->g > 1)
        return refuse(err, name, segment->selector, "whose one-bit attributes exceed 1");
    return 0;
}

static int check_segments(const struct x86_state *state, struct err *err)
{
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    const struct x86_segment *cs = &state->segment[X86_CS];
    int r;

    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++) {
        r = check_segment(&state->segment[i], names[i], err);
        if (r < 0)
            return r;
    }
    r = check_segment(&state->ldtr, "LDTR", err);
    if (r == 0)
        r = check_segment(&state->tr, "TR", err);
    if (r < 0)
        return r;
    if ((state->msr.efer & X86_EFER_LMA) && cs->l && cs->db)
        return refuse(err, "CS", cs->selector, "with both L and D set in long mode");
    return 0;
}

static int check_addresses(const struct x86_state *state, struct err *err)
{
    const struct {
        const char *name;
        uint64_t address;
    } list[] = {
        {"FS base", state->segment[X86_FS].base},
        {"GS base", state->segment[X86_GS].base},
        {"LDTR base", state->ldtr.base},
        {"TR base", state->tr.base},
        {"GDTR base", state->gdtr.base},
        {"IDTR base", state->idtr.base},
        {"kernel GS base", state->msr.kernel_gs_base},
        {"LSTAR", state->msr.lstar},
        {"CSTAR", state->msr.cstar},
        {"SYSENTER_ESP", state->msr.sysenter_esp},
        {"SYSENTER_EIP", state->msr.sysenter_eip},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
        if (!canonical(state, list[i].address))
            return refuse(err, list[i].name, list[i].address, "which is not a canonical address");
    return 0;
}

static int check_msrs(const struct x86_state *state, struct err *err)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = (state->msr.pat >> (8 * i)) & 0xff;
        if (type > 7 || type == 2 || type == 3)
            return refuse(err, "PAT", state->msr.pat, "which has a reserved memory type");
    }
    if (state->msr.tsc_aux >> 32)
        return refuse(err, "TSC_AUX", state->msr.tsc_aux, "more than 32 bits");
    return 0;
}

static int check_xsave(const struct x86_state *state, struct err *err)
{
    uint64_t xcr0 = state->xcr0, xstate_bv = load_le64(state->xsave + X86_XSAVE_XSTATE_BV);
    uint32_t mxcsr = load_le32(state->xsave + X86_XSAVE_MXCSR);

    if (!(xcr0 & X86_XSTATE_X87) || (xcr0 & ~X86_XSTATE_ALL))
        return refuse(err, "XCR0", xcr0, "which lacks x87 or has components that no CPU here has");
    if ((xcr0 & X86_XSTATE_AVX) && !(xcr0 & X86_XSTATE_SSE))
        return refuse(err, "XCR0", xcr0, "which has AVX without SSE");
    if ((xcr0 & X86_XSTATE_AVX512) && (~xcr0 & (X86_XSTATE_AVX512 | X86_XSTATE_AVX)))
        return refuse(err, "XCR0", xcr0, "which has only a part of AVX-512");
    if ((xcr0 & X86_XSTATE_MPX) && (~xcr0 & X86_XSTATE_MPX))
        return refuse(err, "XCR0", xcr0, "which has only a part of MPX");
    if (xstate_bv & ~X86_XSTATE_ALL)
        return refuse(err, "XSTATE_BV", xstate_bv, "which has components that no CPU here has");
    for (unsigned i = X86_XSAVE_XCOMP_BV; i < X86_XSAVE_HEADER_END; i++)
        if (state->xsave[i] != 0)
            return refuse(err, "the XSAVE header", state->xsave[i], "not zero where it must be");
    if (mxcsr & 0xffff0000)
        return refuse(err, "MXCSR", mxcsr, "which has reserved bits set");
    return 0;
}

static int check_events(const struct x86_state *state, struct err *err)
{
    if (state->run_state > X86_WAIT_FOR_SIPI)
        return refuse(err, "the run state", state->run_state, "which is none");
    if (state->exception_pending > 1 || state->exception_has_error > 1 || state->exception_has_payload > 1 ||
        state->interrupt_injected > 1 || state->interrupt_soft > 1 || state->nmi_pending > 1 ||
        state->nmi_injected > 1 || state->nmi_masked > 1)
        return refuse(err, "an event's flag", 2, "or more, where only 0 and 1 exist");
    if (state->exception_vector > 31 || (state->exception_pending && state->exception_vector == X86_NMI))
        return refuse(err, "the pending exception", state->exception_vector, "which is no exception's vector");
    if (state->interrupt_shadow > 3)
        return refuse(err, "the interrupt shadow", state->interrupt_shadow, "more than 2 bits");
    return 0;
}

int x86_state_check(const struct x86_state *state, struct err *err)
{
    static int (*const checks[])(const struct x86_state *, struct err *) = {
        check_modes, check_flags, check_segments, check_addresses, check_msrs, check_xsave, check_events,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) {
        int r = checks[i](state, err);
        if (r < 0)
            return r;
    }
    return 0;
}
