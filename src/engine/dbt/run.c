/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run loop: blocks one after the other, and between them whatever wants attention, in the order of SDM vol. 3 table 6-2. */
#include "engine/dbt/run.h"

#include "engine/dbt/block.h"
#include "engine/dbt/entry_check.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/lockstep.h"
#include "engine/dbt/mail.h"
#include "engine/dbt/mirror.h"
#include "engine/dbt/softmmu.h"
#include "engine/dbt/state.h"
#include "engine/dbt/translation.h"

enum { SHADOW_STI = 1, SHADOW_MOV_SS = 2 };
#define DR6_BS BIT(14)

/* Runs ops from `first` to v->block_end, which a handler may pull in. */
static inline void run_ops(struct dbt_vcpu *v, const struct op *first, const struct op *end)
{
    const struct op *op = first;

    v->block_end = end;
    do {
        v->op = op;
        v->gpr[GPR_RIP] += op->length;
        op->execute(v, op);
        op++;
    } while (op < v->block_end);
    v->op = NULL;
}

/* Code that reaches past CS's limit runs up to there, then faults. */
static void check_code_limit(struct dbt_vcpu *v, const struct block *block, const struct op **end)
{
    uint64_t rip = v->gpr[GPR_RIP];
    const struct op *op = block->op;

    if (rip + block->bytes - 1 <= v->segment[X86_CS].limit)
        return;
    while (op < *end && rip + op->length - 1 <= v->segment[X86_CS].limit)
        rip += (op++)->length;
    if (op == block->op)
        dbt_raise_error(v, X86_GP, 0);
    *end = op;
}

static inline void run_block(struct dbt_vcpu *v)
{
    const struct block *block = dbt_block_lookup(v);
    const struct op *end = block->op + block->count;

    if (UNLIKELY(!(v->mode & (MODE_FLAT | MODE_CODE64))))
        check_code_limit(v, block, &end);
    v->statistics[STATISTIC_BLOCKS_RUN]++;
    run_ops(v, block->op, end);
}

static bool instruction_breakpoint(struct dbt_vcpu *v)
{
    uint64_t linear = v->gpr[GPR_RIP] + v->segment_base[X86_CS], hit = 0;

    if (!v->instruction_breakpoints || (v->rflags & X86_RF))
        return false;
    if ((v->interrupt_shadow & SHADOW_MOV_SS) && dbt_vendor_intel(v)) /* AMD breaks there */
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (bit_range(v->dr7, 2 * i + 1, 2 * i) != 0 && bit_range(v->dr7, 17 + 4 * i, 16 + 4 * i) == 0 && v->dr[i] == linear)
            hit |= BIT(i);
    if (hit == 0)
        return false;
    v->rflags |= X86_RF; /* a fault: the frame's RF lets the instruction pass when it is resumed */
    dbt_deliver_debug_trap(v, hit);
    return true;
}

/* One instruction with everything that hangs on its borders: TF, the shadow after STI and MOV SS, breakpoints. */
static void step(struct dbt_vcpu *v)
{
    bool again;
    const struct block *block;
    const struct op *end;

    if (instruction_breakpoint(v))
        return;
    v->interrupt_shadow = 0;
    v->step_trap = (v->rflags & X86_TF) != 0;
    v->rflags &= ~(uint64_t)X86_RF; /* before the instruction: it may be an IRET that sets it for the next */
    block = dbt_block_lookup(v);
    end = block->op + 1;
    if (!(v->mode & (MODE_FLAT | MODE_CODE64)))
        check_code_limit(v, block, &end);
    run_ops(v, block->op, end);
    if (v->step_trap && !(v->interrupt_shadow & SHADOW_MOV_SS))
        v->debug_pending |= DR6_BS;
    again = (v->rflags & X86_TF) || v->interrupt_shadow || v->debug_pending || v->instruction_breakpoints;
    if (again)
        dbt_set_attention(v, ATTENTION_STEP);
    if (v->interrupt_shadow == 0)
        dbt_set_attention(v, ATTENTION_INTERRUPT); /* one may have waited for the shadow to pass */
}

/* Sleeps until something but mail wants attention: that is taken on the way back, and whoever slept must then look at itself again. */
static void sleep_until_attention(struct dbt_vcpu *v)
{
    v->statistics[STATISTIC_HALTS]++;
    dbt_leave_guest(v);
    pthread_mutex_lock(&v->lock);
    while ((atomic_load(&v->attention) & ~(uint32_t)ATTENTION_MAIL) == 0)
        pthread_cond_wait(&v->wake, &v->lock);
    pthread_mutex_unlock(&v->lock);
    dbt_enter_guest(v);
}

static void take_interrupt(struct dbt_vcpu *v)
{
    int vector;

    dbt_leave_guest(v);
    vector = v->hooks->interrupt_acknowledge(v->hooks->ctx, v->id);
    dbt_enter_guest(v);
    if (vector < 0)
        return;
    v->run_state = X86_RUNNABLE;
    v->statistics[STATISTIC_INTERRUPTS]++;
    dbt_mirror_tick(v);
    dbt_deliver_interrupt(v, (uint8_t)vector);
}

static void take_nmi(struct dbt_vcpu *v)
{
    v->nmi_pending--;
    v->run_state = X86_RUNNABLE;
    dbt_deliver_nmi(v);
}

static void count_nmis(struct dbt_vcpu *v)
{
    unsigned limit = v->nmi_masked ? 1 : 2, count = v->nmi_pending + atomic_exchange(&v->nmi_sent, 0);

    v->nmi_pending = (uint8_t)(count < limit ? count : limit);
}

static bool may_interrupt(const struct dbt_vcpu *v)
{
    return (v->rflags & X86_IF) && !v->interrupt_shadow && atomic_load(&v->interrupt_line);
}

/* INIT and SIPI; true: the CPU waits for a SIPI and can do nothing else. */
static bool take_apic_messages(struct dbt_vcpu *v, uint32_t *attention)
{
    if (*attention & ATTENTION_INIT) {
        *attention &= ~(uint32_t)(ATTENTION_INIT | ATTENTION_STEP);
        dbt_cpu_init(v);
    }
    if (*attention & ATTENTION_SIPI) {
        *attention &= ~(uint32_t)ATTENTION_SIPI;
        if (v->run_state == X86_WAIT_FOR_SIPI)
            dbt_cpu_sipi(v, v->sipi_vector);
    }
    return v->run_state == X86_WAIT_FOR_SIPI;
}

/* Between two instructions. Returns false when dbt_run() must return EXIT_KICKED. */
static bool attend(struct dbt_vcpu *v)
{
    uint32_t attention = atomic_exchange(&v->attention, 0);

    if (attention & ATTENTION_MAIL) {
        dbt_exclusive_let_pass(v);
        dbt_mail_take(v);
    }
    attention &= ~(uint32_t)ATTENTION_MAIL;
    if (attention & ATTENTION_KICK) {
        dbt_set_attention(v, attention & ~(uint32_t)ATTENTION_KICK);
        return false;
    }
    if (take_apic_messages(v, &attention)) {
        sleep_until_attention(v);
        return true;
    }
    if (v->exception_restored) {
        dbt_set_attention(v, attention);
        dbt_deliver_restored_exception(v);
        return true;
    }
    if (v->interrupt_injected) {
        v->interrupt_injected = false;
        dbt_set_attention(v, attention);
        dbt_deliver_interrupt(v, v->injected_vector);
        return true;
    }
    if (attention & ATTENTION_NMI)
        count_nmis(v);
    /* What follows may leave by longjmp: what is still to be looked at must stand in the flags by then. */
    if (v->debug_pending != 0 && !(v->interrupt_shadow & SHADOW_MOV_SS)) {
        uint64_t bits = v->debug_pending;

        v->debug_pending = 0;
        v->run_state = X86_RUNNABLE;
        dbt_set_attention(v, attention);
        dbt_deliver_debug_trap(v, bits);
    } else if (v->nmi_pending && !v->nmi_masked && !v->interrupt_shadow) {
        dbt_set_attention(v, attention & (ATTENTION_INTERRUPT | ATTENTION_STEP));
        take_nmi(v);
    } else if (may_interrupt(v)) {
        dbt_set_attention(v, attention | ATTENTION_INTERRUPT);
        take_interrupt(v);
    } else if (v->run_state == X86_HALTED) {
        if (attention & ATTENTION_STEP)
            dbt_set_attention(v, ATTENTION_STEP);
        sleep_until_attention(v);
    } else if (attention & ATTENTION_STEP) {
        step(v);
    }
    return true;
}

static void run_until_stop(struct dbt_vcpu *v, struct exit *ret_exit)
{
    for (;;) {
        if (UNLIKELY(v->shutdown)) {
            *ret_exit = (struct exit){.kind = EXIT_SHUTDOWN};
            return;
        }
        if (UNLIKELY(atomic_load_explicit(&v->attention, memory_order_relaxed) != 0)) {
            if (dbt_entry_check_failed(v, ret_exit))
                return;
            if (!attend(v)) {
                *ret_exit = (struct exit){.kind = EXIT_KICKED};
                return;
            }
            continue;
        }
        if (UNLIKELY(v->lockstep != NULL) && dbt_translatable(v)) {
            dbt_lockstep_run(v);
            if (dbt_lockstep_failed(v, ret_exit))
                return;
            continue;
        }
        if (dbt_translatable(v))
            dbt_translations_run(v);
        else
            run_block(v);
    }
}

void dbt_run(struct dbt_vcpu *v, struct exit *ret_exit)
{
    dbt_fpu_enter(v);
    dbt_mirror_enter(v);
    dbt_enter_guest(v);
    dbt_set_attention(v, ATTENTION_INTERRUPT); /* whatever was loaded from outside is looked at once */
    if (sigsetjmp(v->fault_jump, 0) != 0) { /* a fault while this delivers comes back here once more */
        v->statistics[STATISTIC_EXCEPTIONS]++;
        dbt_exception_raised(v);
        v->op = NULL;
    }
    run_until_stop(v, ret_exit);
    dbt_leave_guest(v);
    dbt_mirror_leave();
    dbt_fpu_leave(v);
}
