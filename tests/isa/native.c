/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The native runner. Signal frames do the work: the kernel loads a case's whole state from one, and the exception at
 * its end brings the state back in another; the handler then loads the next case into that same frame. */
#include "isa.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define XSTATE_MAGIC 0x46505853u /* FP_XSTATE_MAGIC1 of the kernel's frame, at byte 464 */
#define FRAME_MAX 16384u
/* Where the engine of the parent may have the guest's memory as the guest has it; the child has nothing of its own there. */
#define LOW_START UINT64_C(0x10000)
#define LOW_SIZE (UINT64_C(0x7fff0000) - LOW_START) /* a sanitizer's shadow follows */

static const struct isa_case *cases;
static struct isa_result *results;
static unsigned count, current;
static bool running;
static ucontext_t harness;
static uint8_t harness_fp[FRAME_MAX];

static const int gpr_index[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint32_t frame_word(const uint8_t *fp, unsigned at)
{
    uint32_t value;

    memcpy(&value, fp + at, 4);
    return value;
}

static unsigned frame_size(const uint8_t *fp)
{
    return frame_word(fp, 464) == XSTATE_MAGIC ? frame_word(fp, 468) : 512;
}

static void store_state(const ucontext_t *uc, struct isa_state *s)
{
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t bv = 0;

    for (unsigned i = 0; i < 16; i++)
        s->gpr[i] = (uint64_t)uc->uc_mcontext.gregs[gpr_index[i]];
    s->rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    s->rflags = (uint64_t)uc->uc_mcontext.gregs[REG_EFL];
    memcpy(s->fxsave, fp, 416);
    if (frame_word(fp, 464) == XSTATE_MAGIC)
        memcpy(&bv, fp + 512, 8);
    if (!(bv & 2))
        memset(s->fxsave + 160, 0, 256);
    if (bv & 4)
        memcpy(s->ymm_high, fp + 576, 256);
    else
        memset(s->ymm_high, 0, 256);
}

static void load_state(ucontext_t *uc, const struct isa_case *c)
{
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t bv;

    for (unsigned i = 0; i < 16; i++)
        uc->uc_mcontext.gregs[gpr_index[i]] = (greg_t)c->state.gpr[i];
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)c->state.rip;
    uc->uc_mcontext.gregs[REG_EFL] = (greg_t)(c->state.rflags | 0x202);
    uc->uc_mcontext.gregs[REG_CSGSFS] =
        (greg_t)((uint64_t)uc->uc_mcontext.gregs[REG_CSGSFS] & ~UINT64_C(0xffff)) | (c->compat ? 0x23 : 0x33);
    memcpy(fp, c->state.fxsave, 28);
    memcpy(fp + 32, c->state.fxsave + 32, 384);
    if (frame_word(fp, 464) == XSTATE_MAGIC) {
        memcpy(&bv, fp + 512, 8);
        bv = (bv & ~UINT64_C(0xe0)) | 7;
        memcpy(fp + 512, &bv, 8);
        memcpy(fp + 576, c->state.ymm_high, 256);
    }
}

static void load_next(ucontext_t *uc)
{
    const struct isa_case *c = &cases[current];
    struct itimerval timer = {
        .it_value = {.tv_usec = 5000}}; /* an interpreter needs a second for what takes 5 ms here */

    if (current == count) {
        uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;

        running = false;
        memcpy(fp, harness_fp, frame_size(harness_fp));
        memcpy(uc->uc_mcontext.gregs, harness.uc_mcontext.gregs, sizeof(harness.uc_mcontext.gregs));
        return;
    }
    memset((void *)(uintptr_t)ISA_CODE, 0xf4, ISA_CODE_SIZE); /* HLT */
    memcpy((void *)(uintptr_t)(ISA_CODE + c->start), c->code, c->code_size);
    memcpy((void *)(uintptr_t)ISA_DATA, c->data, ISA_DATA_SIZE);
    load_state(uc, c);
    setitimer(ITIMER_REAL, &timer, NULL);
}

/* What sigreturn leaves as it finds it must not stay as a case left it: the flags ID and NT, and the data segments,
 * which are null selectors in 64-bit programs but must not be for 32-bit code. */
static void clean_up_behind_case(void)
{
    __asm__ volatile("sub $128, %%rsp\n\tpushfq\n\tandl $~0x204000, (%%rsp)\n\tpopfq\n\tadd $128, %%rsp\n\t"
                     "mov %0, %%ds\n\tmov %0, %%es"
                     :
                     : "r"(0x2b)
                     : "cc", "memory");
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    struct isa_result *r = &results[current];

    (void)info;
    clean_up_behind_case();
    if (number == SIGUSR1) {
        harness = *uc;
        memcpy(harness_fp, uc->uc_mcontext.fpregs, frame_size((uint8_t *)uc->uc_mcontext.fpregs));
        running = true;
        load_next(uc);
        return;
    }
    if (!running && number == SIGALRM)
        return; /* the last case's time ran out while it was being left */
    if (!running)
        _exit(1);
    r->vector = number == SIGALRM ? -1 : (int)uc->uc_mcontext.gregs[REG_TRAPNO];
    r->address = r->vector == 14 ? (uint64_t)uc->uc_mcontext.gregs[REG_CR2] : 0;
    store_state(uc, &r->state);
    memcpy(r->data, (const void *)(uintptr_t)ISA_DATA, ISA_DATA_SIZE);
    memcpy(r->code, (const void *)(uintptr_t)(ISA_CODE + cases[current].start), cases[current].code_size);
    current++;
    load_next(uc);
}

static bool map_at(uint64_t address, size_t size, int protection)
{
    void *p =
        mmap((void *)(uintptr_t)address, size, protection, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

    return p == (void *)(uintptr_t)address;
}

/* The same memory once more. */
static bool map_again(uint64_t address, size_t size, uint64_t at)
{
    void *p = mremap((void *)(uintptr_t)address, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)(uintptr_t)at);

    return p == (void *)(uintptr_t)at;
}

static void child(void)
{
    static const int signals[] = {SIGUSR1, SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGALRM};
    stack_t stack = {.ss_size = 1 << 17};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap((void *)LOW_START, LOW_SIZE);
    if (!map_at(ISA_CODE, ISA_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC) ||
        !map_at(ISA_DATA, ISA_DATA_SIZE, PROT_READ | PROT_WRITE) ||
        !map_again(ISA_DATA, ISA_DATA_SIZE, ISA_UPPER_STACK + ISA_DATA) ||
        !map_again(ISA_CODE, ISA_CODE_SIZE, ISA_UPPER_STACK + ISA_CODE) ||
        !map_again(ISA_DATA, ISA_DATA_SIZE, ISA_UPPER_DATA + ISA_DATA) ||
        !map_again(ISA_CODE, ISA_CODE_SIZE, ISA_UPPER_DATA + ISA_CODE))
        _exit(2);
    sigaltstack(&stack, NULL);
    sigfillset(&action.sa_mask);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
    raise(SIGUSR1);
    _exit(current == count ? 0 : 3);
}

static struct isa_result *shared_results(unsigned n)
{
    void *p = mmap(NULL, n * sizeof(struct isa_result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

int isa_native_run(const struct isa_case *run_cases, unsigned run_count, struct isa_result *ret_results)
{
    int status = -1;
    pid_t pid;

    results = shared_results(run_count);
    if (results == NULL)
        return -1;
    cases = run_cases;
    count = run_count;
    current = 0;
    pid = fork();
    if (pid == 0)
        child();
    if (pid > 0)
        waitpid(pid, &status, 0);
    memcpy(ret_results, results, run_count * sizeof(*results));
    munmap(results, run_count * sizeof(*results));
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}
