/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A vCPU's registers, segments, debug registers and events between KVM and struct x86_state. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "engine/kvm/internal.h"
#include "x86/state.h"

static int call(struct kvm_vcpu *vcpu, unsigned long request, void *argument, const char *what, struct err *err)
{
    int r = kvm_ioctl(vcpu->fd, request, argument);

    if (r < 0)
        return err_set(err, r, "KVM refuses %s of CPU %u: %s", what, vcpu->id, strerror(-r));
    return 0;
}

static void segment_from_kvm(const struct kvm_segment *from, struct x86_segment *to)
{
    *to = (struct x86_segment){.base = from->base,
                               .limit = from->limit,
                               .selector = from->selector,
                               .type = from->type,
                               .s = from->s,
                               .dpl = from->dpl,
                               .present = from->present && !from->unusable,
                               .avl = from->avl,
                               .l = from->l,
                               .db = from->db,
                               .g = from->g};
}

static struct kvm_segment segment_to_kvm(const struct x86_segment *from)
{
    return (struct kvm_segment){.base = from->base,
                                .limit = from->limit,
                                .selector = from->selector,
                                .type = from->type,
                                .present = from->present,
                                .dpl = from->dpl,
                                .db = from->db,
                                .s = from->s,
                                .l = from->l,
                                .g = from->g,
                                .avl = from->avl,
                                .unusable = !from->present};
}

static int get_regs(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    struct kvm_regs regs;
    int r = call(vcpu, KVM_GET_REGS, &regs, "to give the registers", err);

    if (r < 0)
        return r;
    memcpy(state->gpr,
           (uint64_t[]){regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi, regs.r8, regs.r9,
                        regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15},
           sizeof(state->gpr));
    state->rip = regs.rip;
    state->rflags = regs.rflags;
    return 0;
}

static int set_regs(struct kvm_vcpu *vcpu, const struct x86_state *state, struct err *err)
{
    const uint64_t *gpr = state->gpr;
    struct kvm_regs regs = {.rax = gpr[X86_RAX],
                            .rbx = gpr[X86_RBX],
                            .rcx = gpr[X86_RCX],
                            .rdx = gpr[X86_RDX],
                            .rsi = gpr[X86_RSI],
                            .rdi = gpr[X86_RDI],
                            .rsp = gpr[X86_RSP],
                            .rbp = gpr[X86_RBP],
                            .r8 = gpr[X86_R8],
                            .r9 = gpr[X86_R9],
                            .r10 = gpr[X86_R10],
                            .r11 = gpr[X86_R11],
                            .r12 = gpr[X86_R12],
                            .r13 = gpr[X86_R13],
                            .r14 = gpr[X86_R14],
                            .r15 = gpr[X86_R15],
                            .rip = state->rip,
                            .rflags = state->rflags};

    return call(vcpu, KVM_SET_REGS, &regs, "the registers", err);
}

static int get_sregs(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    struct kvm_sregs sregs;
    int r = call(vcpu, KVM_GET_SREGS, &sregs, "to give the segment and control registers", err);

    if (r < 0)
        return r;
    segment_from_kvm(&sregs.es, &state->segment[X86_ES]);
    segment_from_kvm(&sregs.cs, &state->segment[X86_CS]);
    segment_from_kvm(&sregs.ss, &state->segment[X86_SS]);
    segment_from_kvm(&sregs.ds, &state->segment[X86_DS]);
    segment_from_kvm(&sregs.fs, &state->segment[X86_FS]);
    segment_from_kvm(&sregs.gs, &state->segment[X86_GS]);
    segment_from_kvm(&sregs.ldt, &state->ldtr);
    segment_from_kvm(&sregs.tr, &state->tr);
    state->gdtr = (struct x86_table){.base = sregs.gdt.base, .limit = sregs.gdt.limit};
    state->idtr = (struct x86_table){.base = sregs.idt.base, .limit = sregs.idt.limit};
    state->cr0 = sregs.cr0;
    state->cr2 = sregs.cr2;
    state->cr3 = sregs.cr3;
    state->cr4 = sregs.cr4;
    state->cr8 = sregs.cr8;
    state->msr.efer = sregs.efer;
    return 0;
}

static int set_sregs(struct kvm_vcpu *vcpu, const struct x86_state *state, uint64_t cr2, struct err *err)
{
    struct kvm_sregs sregs;
    int r = call(vcpu, KVM_GET_SREGS, &sregs, "to give the APIC base", err); /* which stays as it is */

    if (r < 0)
        return r;
    sregs.es = segment_to_kvm(&state->segment[X86_ES]);
    sregs.cs = segment_to_kvm(&state->segment[X86_CS]);
    sregs.ss = segment_to_kvm(&state->segment[X86_SS]);
    sregs.ds = segment_to_kvm(&state->segment[X86_DS]);
    sregs.fs = segment_to_kvm(&state->segment[X86_FS]);
    sregs.gs = segment_to_kvm(&state->segment[X86_GS]);
    sregs.ldt = segment_to_kvm(&state->ldtr);
    sregs.tr = segment_to_kvm(&state->tr);
    sregs.gdt = (struct kvm_dtable){.base = state->gdtr.base, .limit = state->gdtr.limit};
    sregs.idt = (struct kvm_dtable){.base = state->idtr.base, .limit = state->idtr.limit};
    sregs.cr0 = state->cr0;
    sregs.cr2 = cr2;
    sregs.cr3 = state->cr3;
    sregs.cr4 = state->cr4;
    sregs.cr8 = state->cr8;
    sregs.efer = state->msr.efer;
    memset(sregs.interrupt_bitmap, 0, sizeof(sregs.interrupt_bitmap)); /* set with the other events */
    return call(vcpu, KVM_SET_SREGS, &sregs, "the segment and control registers", err);
}

static int get_debug(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    struct kvm_debugregs debug;
    int r = call(vcpu, KVM_GET_DEBUGREGS, &debug, "to give the debug registers", err);

    if (r < 0)
        return r;
    memcpy(state->dr, debug.db, sizeof(state->dr));
    state->dr6 = debug.dr6;
    state->dr7 = debug.dr7;
    return 0;
}

static int set_debug(struct kvm_vcpu *vcpu, const struct x86_state *state, uint64_t dr6, struct err *err)
{
    struct kvm_debugregs debug = {.dr6 = dr6, .dr7 = state->dr7};

    memcpy(debug.db, state->dr, sizeof(debug.db));
    return call(vcpu, KVM_SET_DEBUGREGS, &debug, "the debug registers", err);
}

static int get_xcr0(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    struct kvm_xcrs xcrs;
    int r = call(vcpu, KVM_GET_XCRS, &xcrs, "to give XCR0", err);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < xcrs.nr_xcrs && i < ARRAY_SIZE(xcrs.xcrs); i++)
        if (xcrs.xcrs[i].xcr == 0)
            state->xcr0 = xcrs.xcrs[i].value;
    return 0;
}

static int set_xcr0(struct kvm_vcpu *vcpu, const struct x86_state *state, struct err *err)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = state->xcr0}}};

    return call(vcpu, KVM_SET_XCRS, &xcrs, "XCR0", err);
}

/* KVM_CAP_EXCEPTION_PAYLOAD stays off: then KVM itself puts a pending exception's payload into CR2 or DR6 when asked for
 * the events, which therefore comes before those two are read. */
static int get_events(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    struct kvm_vcpu_events events;
    int r = call(vcpu, KVM_GET_VCPU_EVENTS, &events, "to give the pending events", err);

    if (r < 0)
        return r;
    state->exception_pending = events.exception.injected || events.exception.pending;
    state->exception_vector = state->exception_pending ? events.exception.nr : 0;
    state->exception_has_error = state->exception_pending && events.exception.has_error_code;
    state->exception_error = state->exception_has_error ? events.exception.error_code : 0;
    state->exception_payload = 0;
    state->exception_has_payload = 0;
    state->interrupt_injected = events.interrupt.injected != 0;
    state->interrupt_vector = state->interrupt_injected ? events.interrupt.nr : 0;
    state->interrupt_soft = state->interrupt_injected && events.interrupt.soft;
    state->interrupt_shadow = (events.interrupt.shadow & KVM_X86_SHADOW_INT_STI ? 1 : 0) |
                              (events.interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS ? 2 : 0);
    state->nmi_pending = events.nmi.pending != 0;
    state->nmi_injected = events.nmi.injected != 0;
    state->nmi_masked = events.nmi.masked != 0;
    return 0;
}

static int set_events(struct kvm_vcpu *vcpu, const struct x86_state *state, struct err *err)
{
    struct kvm_vcpu_events events = {
        .exception = {.injected = state->exception_pending,
                      .nr = state->exception_vector,
                      .has_error_code = state->exception_has_error,
                      .error_code = state->exception_error},
        .interrupt = {.injected = state->interrupt_injected,
                      .nr = state->interrupt_vector,
                      .soft = state->interrupt_soft,
                      .shadow = (state->interrupt_shadow & 1 ? KVM_X86_SHADOW_INT_STI : 0) |
                                (state->interrupt_shadow & 2 ? KVM_X86_SHADOW_INT_MOV_SS : 0)},
        .nmi = {.injected = state->nmi_injected, .pending = state->nmi_pending, .masked = state->nmi_masked},
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
    };

    return call(vcpu, KVM_SET_VCPU_EVENTS, &events, "the pending events", err);
}

static int get_run_state(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    struct kvm_mp_state mp_state;
    int r = call(vcpu, KVM_GET_MP_STATE, &mp_state, "to give the run state", err);

    if (r < 0)
        return r;
    if (mp_state.mp_state == KVM_MP_STATE_UNINITIALIZED || mp_state.mp_state == KVM_MP_STATE_INIT_RECEIVED)
        state->run_state = X86_WAIT_FOR_SIPI;
    else
        state->run_state = mp_state.mp_state == KVM_MP_STATE_HALTED ? X86_HALTED : X86_RUNNABLE;
    return 0;
}

static int set_run_state(struct kvm_vcpu *vcpu, const struct x86_state *state, struct err *err)
{
    static const uint32_t states[] = {[X86_RUNNABLE] = KVM_MP_STATE_RUNNABLE,
                                      [X86_HALTED] = KVM_MP_STATE_HALTED,
                                      [X86_WAIT_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED};
    struct kvm_mp_state mp_state = {.mp_state = states[state->run_state]};

    return call(vcpu, KVM_SET_MP_STATE, &mp_state, "the run state", err);
}

static int get_msrs(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err)
{
    return kvm_get_msrs(vcpu, &state->msr, err);
}

int kvm_vcpu_get_state(struct engine_vcpu *base, struct x86_state *ret_state, struct err *err)
{
    /* The run state first: asking for it makes KVM act upon a waiting INIT or SIPI, which changes the rest. */
    static int (*const steps[])(struct kvm_vcpu *, struct x86_state *, struct err *) = {
        get_run_state, get_events, get_regs, get_sregs, get_debug, get_xcr0, kvm_get_xsave, get_msrs,
    };
    struct x86_state state;

    memset(&state, 0, sizeof(state));
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        int r = steps[i](kvm_vcpu_of(base), &state, err);
        if (r < 0)
            return r;
    }
    *ret_state = state;
    return 0;
}

/* What the payload of an exception that is yet to be delivered makes of CR2 and DR6 (DR6: B0..B3, BD, BS, BT). */
static void apply_payload(const struct x86_state *state, uint64_t *cr2, uint64_t *dr6)
{
    if (!state->exception_pending || !state->exception_has_payload)
        return;
    if (state->exception_vector == X86_PF_FAULT)
        *cr2 = state->exception_payload;
    if (state->exception_vector == X86_DB)
        *dr6 = (*dr6 & ~UINT64_C(0xf)) | (state->exception_payload & 0xe00f);
}

int kvm_vcpu_set_state(struct engine_vcpu *base, const struct x86_state *state, struct err *err)
{
    struct kvm_vcpu *vcpu = kvm_vcpu_of(base);
    uint64_t cr2 = state->cr2, dr6 = state->dr6;
    int r = x86_state_check(state, err);

    if (r < 0)
        return r;
    apply_payload(state, &cr2, &dr6);
    if ((r = set_sregs(vcpu, state, cr2, err)) < 0 || (r = set_regs(vcpu, state, err)) < 0 ||
        (r = kvm_set_xsave(vcpu, state, err)) < 0 || (r = set_xcr0(vcpu, state, err)) < 0 ||
        (r = kvm_set_msrs(vcpu, &state->msr, err)) < 0 || (r = set_debug(vcpu, state, dr6, err)) < 0 ||
        (r = set_events(vcpu, state, err)) < 0)
        return r;
    return set_run_state(vcpu, state, err);
}
