/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unmasked SIMD exceptions: the host's unit takes them for the guest.
 *
 * Which results trap depends on the masks in ways that cannot be told afterwards (underflow, flush to zero), so the thunk runs with
 * the guest's own MXCSR and the host's trap tells the answer. Only then is SIGFPE possible; the handler leaves the thunk
 * before it has stored anything, and the flags are in MXCSR as silicon set them. The x87 unit needs none of this: it reports at the
 * next waiting instruction, before which dbt_x87_check() looks. */
#include <signal.h>
#include <ucontext.h>

#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"

static _Thread_local volatile bool armed, trapped;
static struct sigaction previous;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* A thunk has nothing on the stack but its return address. */
void dbt_fpu_trap_return(void);
__asm__(".text\n.type dbt_fpu_trap_return, @function\ndbt_fpu_trap_return:\n\tret\n"
        ".size dbt_fpu_trap_return, . - dbt_fpu_trap_return\n");

static void on_sigfpe(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    (void)number;
    (void)info;
    if (!armed) { /* not ours: let it happen again under whatever was there before */
        sigaction(SIGFPE, &previous, NULL);
        return;
    }
    trapped = true;
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)dbt_fpu_trap_return;
}

static void install(void)
{
    struct sigaction action = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigaction(SIGFPE, &action, &previous);
}

void dbt_fpu_trap_prepare(void)
{
    pthread_once(&once, install);
}

void dbt_fpu_run_unmasked(struct dbt_vcpu *v, void (*thunk)(struct dbt_vcpu *v, void *memory), void *memory)
{
    trapped = false;
    armed = true;
    dbt_fpu_set_live_mxcsr(dbt_fpu_mxcsr(v));
    thunk(v, memory);
    dbt_fpu_set_live_mxcsr(dbt_fpu_live_mxcsr() | MXCSR_MASKS);
    armed = false;
    if (trapped)
        dbt_raise(v, v->cr4 & X86_CR4_OSXMMEXCPT ? X86_XM : X86_UD);
}
