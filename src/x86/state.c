/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The architectural CPU state: its values after RESET and INIT, its field table, and the print for people. */
#include "x86/state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "x86/xsave.h"

#define S struct x86_segment
static const struct field x86_segment_fields[] = {
    FIELD(1, S, base), FIELD(2, S, limit),   FIELD(3, S, selector), FIELD(4, S, type), FIELD(5, S, s), FIELD(6, S, dpl),
    FIELD(7, S, present), FIELD(8, S, avl),  FIELD(9, S, l),        FIELD(10, S, db),  FIELD(11, S, g), FIELD_END,
};
#undef S

static const struct field x86_table_fields[] = {
    FIELD(1, struct x86_table, base),
    FIELD(2, struct x86_table, limit),
    FIELD_END,
};

#define M struct x86_msrs
static const struct field x86_msr_fields[] = {
    FIELD(1, M, efer),
    FIELD(2, M, star),
    FIELD(3, M, lstar),
    FIELD(4, M, cstar),
    FIELD(5, M, sfmask),
    FIELD(6, M, kernel_gs_base),
    FIELD(7, M, sysenter_cs),
    FIELD(8, M, sysenter_esp),
    FIELD(9, M, sysenter_eip),
    FIELD(10, M, pat),
    FIELD(11, M, tsc),
    FIELD(12, M, tsc_aux),
    FIELD(13, M, tsc_adjust),
    FIELD(14, M, misc_enable),
    FIELD(15, M, spec_ctrl),
    FIELD(16, M, virt_spec_ctrl),
    FIELD(17, M, xss),
    FIELD(18, M, pkrs),
    FIELD(19, M, mtrr_def_type),
    FIELD_ARRAY(20, M, mtrr_fixed),
    FIELD_ARRAY(21, M, mtrr_base),
    FIELD_ARRAY(22, M, mtrr_mask),
    FIELD(23, M, mcg_status),
    FIELD(24, M, mcg_ctl),
    FIELD(25, M, kvm_system_time),
    FIELD(26, M, kvm_wall_clock),
    FIELD(27, M, smbase),
    FIELD(28, M, feature_control),
    FIELD(29, M, debugctl),
    FIELD_END,
};
#undef M

#define X struct x86_state
const struct field x86_state_fields[] = {
    FIELD_ARRAY(1, X, gpr),
    FIELD(2, X, rip),
    FIELD(3, X, rflags),
    FIELD_STRUCTS(4, X, segment, x86_segment_fields),
    FIELD_STRUCT(5, X, ldtr, x86_segment_fields),
    FIELD_STRUCT(6, X, tr, x86_segment_fields),
    FIELD_STRUCT(7, X, gdtr, x86_table_fields),
    FIELD_STRUCT(8, X, idtr, x86_table_fields),
    FIELD(9, X, cr0),
    FIELD(10, X, cr2),
    FIELD(11, X, cr3),
    FIELD(12, X, cr4),
    FIELD(13, X, cr8),
    FIELD_ARRAY(14, X, dr),
    FIELD(15, X, dr6),
    FIELD(16, X, dr7),
    FIELD(17, X, xcr0),
    FIELD_STRUCT(18, X, msr, x86_msr_fields),
    FIELD_ARRAY(19, X, xsave),
    FIELD(20, X, run_state),
    FIELD(21, X, exception_pending),
    FIELD(22, X, exception_vector),
    FIELD(23, X, exception_has_error),
    FIELD(24, X, exception_error),
    FIELD(25, X, exception_payload),
    FIELD(26, X, exception_has_payload),
    FIELD(27, X, interrupt_injected),
    FIELD(28, X, interrupt_vector),
    FIELD(29, X, interrupt_soft),
    FIELD(30, X, interrupt_shadow),
    FIELD(31, X, nmi_pending),
    FIELD(32, X, nmi_injected),
    FIELD(33, X, nmi_masked),
    FIELD_END,
};
#undef X

static const struct x86_segment reset_data = {.limit = 0xffff, .type = 3, .s = 1, .present = 1};

/* What RESET and INIT set alike. */
static void reset_core(struct x86_state *state, bool bsp)
{
    memset(state->gpr, 0, sizeof(state->gpr));
    state->gpr[X86_RDX] = 0x600; /* family 6; the model is CPUID's, which this room's caller knows */
    state->rip = 0xfff0;
    state->rflags = 2;
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        state->segment[i] = reset_data;
    state->segment[X86_CS] =
        (struct x86_segment){.base = 0xffff0000, .limit = 0xffff, .selector = 0xf000, .type = 11, .s = 1, .present = 1};
    state->ldtr = (struct x86_segment){.limit = 0xffff, .type = 2, .present = 1};
    state->tr = (struct x86_segment){.limit = 0xffff, .type = 11, .present = 1};
    state->gdtr = state->idtr = (struct x86_table){.limit = 0xffff};
    state->cr2 = state->cr3 = state->cr4 = state->cr8 = 0;
    memset(state->dr, 0, sizeof(state->dr));
    state->dr6 = 0xffff0ff0;
    state->dr7 = 0x400;
    state->msr.efer = 0;
    state->msr.debugctl = 0;
    state->run_state = bsp ? X86_RUNNABLE : X86_WAIT_FOR_SIPI;
    state->exception_pending = state->exception_vector = state->exception_has_error = 0;
    state->exception_error = 0;
    state->exception_payload = 0;
    state->exception_has_payload = 0;
    state->interrupt_injected = state->interrupt_vector = state->interrupt_soft = state->interrupt_shadow = 0;
    state->nmi_pending = state->nmi_injected = state->nmi_masked = 0;
}

void x86_state_reset(struct x86_state *state, bool bsp)
{
    memset(state, 0, sizeof(*state));
    reset_core(state, bsp);
    state->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
    state->xcr0 = X86_XSTATE_X87;
    state->msr.pat = 0x0007040600070406;
    state->msr.misc_enable = 1; /* fast strings */
    state->msr.smbase = 0x30000;
    /* All eight x87 registers valid and +0.0 (tag word 0x5555), unlike what FNINIT leaves, so x87 is not in its XSAVE
     * initial configuration and its XSTATE_BV bit is set. */
    store_le16(state->xsave + X86_XSAVE_FCW, 0x40);
    state->xsave[X86_XSAVE_FTW] = 0xff;
    store_le32(state->xsave + X86_XSAVE_MXCSR, 0x1f80);
    store_le64(state->xsave + X86_XSAVE_XSTATE_BV, X86_XSTATE_X87);
}

void x86_state_init(struct x86_state *state, bool bsp)
{
    uint64_t kept = state->cr0 & (X86_CR0_CD | X86_CR0_NW);

    reset_core(state, bsp);
    state->cr0 = kept | X86_CR0_ET;
}

/* Appends to out; `used` never passes size - 1. */
__attribute__((format(printf, 4, 5))) static void print(char *out, unsigned size, unsigned *used, const char *format, ...)
{
    va_list arguments;
    int n;

    if (*used + 1 >= size)
        return;
    va_start(arguments, format);
    n = vsnprintf(out + *used, size - *used, format, arguments);
    va_end(arguments);
    if (n > 0)
        *used = (unsigned)n < size - *used ? *used + (unsigned)n : size - 1;
}

static void print_segment(char *out, unsigned size, unsigned *used, const char *name, const struct x86_segment *segment)
{
    print(out, size, used, "%-4s %04x base %016llx limit %08x type %x%s dpl %u%s%s%s%s%s\n", name, segment->selector,
          (unsigned long long)segment->base, segment->limit, segment->type, segment->s ? " s" : "", segment->dpl,
          segment->present ? " p" : " unusable", segment->l ? " l" : "", segment->db ? " db" : "",
          segment->g ? " g" : "", segment->avl ? " avl" : "");
}

static void print_events(const struct x86_state *state, char *out, unsigned size, unsigned *used)
{
    static const char *const run_states[] = {"running", "halted", "waiting for SIPI"};

    print(out, size, used, "%s", state->run_state < ARRAY_SIZE(run_states) ? run_states[state->run_state] : "?");
    if (state->exception_pending)
        print(out, size, used, ", exception %u (error %x)", state->exception_vector, state->exception_error);
    if (state->interrupt_injected)
        print(out, size, used, ", interrupt %u", state->interrupt_vector);
    if (state->interrupt_shadow)
        print(out, size, used, ", interrupt shadow %u", state->interrupt_shadow);
    if (state->nmi_pending || state->nmi_injected || state->nmi_masked)
        print(out, size, used, ", nmi%s%s%s", state->nmi_pending ? " pending" : "",
              state->nmi_injected ? " injected" : "", state->nmi_masked ? " masked" : "");
    print(out, size, used, "\n");
}

void x86_state_print(const struct x86_state *state, char *out, unsigned size)
{
    static const char *const gpr_names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                            "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const segment_names[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    unsigned used = 0;

    if (size == 0)
        return;
    out[0] = 0;
    print(out, size, &used, "rip %016llx rflags %08llx\n", (unsigned long long)state->rip,
          (unsigned long long)state->rflags);
    for (unsigned i = 0; i < X86_GPR_COUNT; i++)
        print(out, size, &used, "%-3s %016llx%s", gpr_names[i], (unsigned long long)state->gpr[i],
              i % 4 == 3 ? "\n" : " ");
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        print_segment(out, size, &used, segment_names[i], &state->segment[i]);
    print_segment(out, size, &used, "ldtr", &state->ldtr);
    print_segment(out, size, &used, "tr", &state->tr);
    print(out, size, &used, "gdtr base %016llx limit %04x\nidtr base %016llx limit %04x\n",
          (unsigned long long)state->gdtr.base, state->gdtr.limit, (unsigned long long)state->idtr.base,
          state->idtr.limit);
    print(out, size, &used, "cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx cr8 %llx\n", (unsigned long long)state->cr0,
          (unsigned long long)state->cr2, (unsigned long long)state->cr3, (unsigned long long)state->cr4,
          (unsigned long long)state->cr8);
    print(out, size, &used, "dr0 %016llx dr1 %016llx dr2 %016llx dr3 %016llx dr6 %08llx dr7 %08llx\n",
          (unsigned long long)state->dr[0], (unsigned long long)state->dr[1], (unsigned long long)state->dr[2],
          (unsigned long long)state->dr[3], (unsigned long long)state->dr6, (unsigned long long)state->dr7);
    print(out, size, &used, "efer %04llx xcr0 %llx pat %016llx tsc %016llx\n", (unsigned long long)state->msr.efer,
          (unsigned long long)state->xcr0, (unsigned long long)state->msr.pat, (unsigned long long)state->msr.tsc);
    print(out, size, &used, "star %016llx lstar %016llx sfmask %08llx kernel_gs_base %016llx\n",
          (unsigned long long)state->msr.star, (unsigned long long)state->msr.lstar,
          (unsigned long long)state->msr.sfmask, (unsigned long long)state->msr.kernel_gs_base);
    print_events(state, out, size, &used);
}
