/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exceptions in the midst of code: for each snippet the signal, error code, address, instruction pointer, flags, registers and memory
 * as they were when it came, and for single steps each place where it stopped. What is printed is compared with the bare machine's. */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include "report.h"

#define PAGE 4096u
#define CODE UINT64_C(0x70000000)      /* a page to run, then one that may not be */
#ifdef UPPER /* where Linux has stacks and programs */
#define DATA UINT64_C(0x7e0070010000)
#define READ_ONLY UINT64_C(0x540070020000)
#else
#define DATA UINT64_C(0x70010000)      /* two pages, then nothing */
#define READ_ONLY UINT64_C(0x70020000) /* a page */
#endif
#define LOW_STACK UINT64_C(0x71000000) /* a page */
#define FLAGS 0xcd5u /* that are shown: those of arithmetic and DF */

/* Pages at places where a translator may think that something begins or ends: stacks go there. */
static const struct {
    uint64_t address;
    unsigned pages;
} edges[] = {{UINT64_C(0x53fffffff000), 2}, {UINT64_C(0x57fffffff000), 1}, {UINT64_C(0x7bfffffff000), 2}, {UINT64_C(0x7e0000000000), 1}};

struct snippet {
    const char *name;
    const uint8_t *begin, *end;
};
extern const struct snippet __start_snippets[], __stop_snippets[];

/* A snippet runs at CODE with: rbx = DATA, rsi = DATA + 64, rdi = end of data - 8, rbp = READ_ONLY, rsp = DATA + 0x800, r8 = no canonical
 * address, r9 = CODE, r10 = border of the data pages - 4, r11 = end of data - 4, rcx = 20. HLT ends it. */
#define SNIPPET(name, text)                                                                                              \
    __asm__(".pushsection .rodata\n771: .string \"" name "\"\n772: " text "\n\thlt\n773:\n.popsection\n"                 \
            ".pushsection snippets, \"a\"\n.quad 771b, 772b, 773b\n.popsection\n")

SNIPPET("store across the end", "mov %rax, (%r11)");
SNIPPET("store across the end, vector", "movdqu %xmm1, -4(%rdi)");
SNIPPET("load across the end", "inc %edx; add (%r11), %rax");
SNIPPET("across pages", "mov %rax, (%r10); add %rax, (%r10); lock xadd %rax, 1(%r10)");
SNIPPET("add to read-only", "stc; mov $1, %eax; add %rax, (%rbp)");
SNIPPET("adc to read-only", "stc; adc %rax, (%rbp)");
SNIPPET("xchg with read-only", "xchg %rax, 8(%rbp)");
SNIPPET("cmpxchg with read-only, equal", "xor %eax, %eax; lock cmpxchg %rcx, (%rbp)");
SNIPPET("cmpxchg with read-only, not equal", "cmpxchg %rcx, (%rbp)");
SNIPPET("cmpxchg16b unaligned", "cmpxchg16b 8(%rbx)");
SNIPPET("shift of read-only by 0", "xor %ecx, %ecx; shlq %cl, (%rbp)");
SNIPPET("push off the page", "lea 4(%rbx), %rsp; push %rax; push %rcx");
SNIPPET("call off the page", "mov %rbx, %rsp; call 1f; 1: nop");
SNIPPET("pop into read-only", "popq (%rbp)");
SNIPPET("pop into rsp-relative", "push $3; push $4; popq 8(%rsp); pop %rax");
SNIPPET("pushes off the page", "lea 20(%rbx), %rsp; push %rax; push %rcx; push %rdx; push %rsi");
SNIPPET("pops over the end", "lea -8(%rdi), %rsp; pop %rax; pop %rcx; pop %rdx; pop %rsi; ret");
SNIPPET("leave over the end", "lea 4(%rdi), %rbp; leave");
SNIPPET("leave to a number", "mov $0x12345, %ebp; leave");
SNIPPET("leave and go on", "lea 64(%rbx), %rbp; leave; push %rax; pop %rdx");
SNIPPET("stack walks by pages", "mov $2000, %ecx; 1: sub $4096, %rsp; dec %ecx; jnz 1b; push %rax");
SNIPPET("stack walks far", "mov $6000, %ecx; 1: sub $0x40000000, %rsp; dec %ecx; jnz 1b; push %rax");
SNIPPET("stack walks and comes back", "mov $6000, %ecx; 1: sub $0x40000000, %rsp; dec %ecx; jnz 1b; mov $6000, %ecx; "
        "1: add $0x40000000, %rsp; dec %ecx; jnz 1b; push %rax; pop %rdx");
SNIPPET("stack pointer as a number", "mov %rsp, %r12; mov $5, %esp; add %rsp, %rsp; lea 3(%rsp), %rsp; mov %rsp, %rdx; "
        "xchg %rsp, %r12; push %rdx; pop %rax; mov $7, %esp; push %rax");
SNIPPET("stack elsewhere and back", "mov %rsp, %r12; mov $0x71000800, %esp; push %rax; call 1f; 1: pop %rdx; sub $40, %rsp; "
        "mov %rdx, (%rsp); add $40, %rsp; pop %rcx; mov %r12, %rsp; push %rdx; pop %rcx");
SNIPPET("stack aligned and variable", "mov %rsp, %rbp; and $-64, %rsp; mov $48, %eax; sub %rax, %rsp; mov %rbx, (%rsp); pop %rdx; "
        "mov %rbp, %rsp; push %rdx");
SNIPPET("base walks far", "mov $1000, %ecx; 1: add $0x40000000, %rbx; dec %ecx; jnz 1b; mov (%rbx), %rax");
SNIPPET("index of 32 bits", "mov $-1, %eax; cltq; mov 16(%rbx,%rax,8), %rdx; mov $-1, %eax; mov (%rbx,%rax,8), %rdx");
SNIPPET("pointer as an index", "xor %eax, %eax; mov 8(%rax,%rbx), %rdx; add 8(%rbx), %rdx; mov (%rax,%rbx,2), %rcx");
SNIPPET("ret to no canonical address", "push %r8; ret");
SNIPPET("jump to no canonical address", "jmp *%r8");
SNIPPET("call no canonical address", "call *%r8");
SNIPPET("load from no canonical address", "mov 8(%r8), %rax");
SNIPPET("stack at no canonical address", "mov %r8, %rbp; mov (%rbp), %rax");
SNIPPET("jump to data", "jmp *%rbx");
SNIPPET("run off the page", "lea 4096(%r9), %rax; movw $0x9090, -2(%rax); lea -2(%rax), %rdx; jmp *%rdx");
SNIPPET("run into an instruction cut off", "lea 4096(%r9), %rax; movl $0x0000b890, -3(%rax); lea -3(%rax), %rdx; jmp *%rdx");
SNIPPET("rep movsb over the end", "rep movsb");
SNIPPET("rep movsq over the end", "rep movsq");
SNIPPET("rep movsb backwards", "std; lea 3(%rbx), %rdi; rep movsb");
SNIPPET("rep stosl over the end", "rep stosl");
SNIPPET("repe cmpsb over the end", "mov %rdi, %rsi; repe cmpsb");
SNIPPET("rep movsb from read-only", "mov %rbp, %rsi; mov %rbx, %rdi; rep movsb");
SNIPPET("rep movsb of nothing to nowhere", "xor %ecx, %ecx; mov %r8, %rdi; rep movsb");
SNIPPET("division by zero", "xor %ecx, %ecx; div %rcx");
SNIPPET("division that overflows", "mov $1, %ecx; mov $2, %edx; div %ecx");
SNIPPET("idiv of the smallest by -1", "mov $0x80000000, %eax; cltd; mov $-1, %ecx; idiv %ecx");
SNIPPET("aligned vector, unaligned address", "movaps 8(%rbx), %xmm0");
SNIPPET("ALU with unaligned vector", "paddd 8(%rbx), %xmm0");
SNIPPET("VEX with unaligned vector", "vpaddd 8(%rbx), %xmm0, %xmm2; vmovdqa 8(%rbx), %ymm3");
SNIPPET("ud2", "nop; ud2");
SNIPPET("lock where there is none", ".byte 0xf0, 0x01, 0xc8");
SNIPPET("fifteen bytes", ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90");
SNIPPET("sixteen bytes", ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90");
SNIPPET("int3", "inc %eax; int3; inc %eax");
SNIPPET("privileged", "cli");
SNIPPET("privileged register", "mov %cr3, %rax");
SNIPPET("port", "out %al, $0x80");
SNIPPET("interrupt gate of the kernel", "int $0x21");
SNIPPET("wrmsr", "wrmsr");
SNIPPET("x87 division by zero", "fninit; pushq $0x37b; fldcw (%rsp); fldz; fld1; fdivp; nop; fwait; nop");
SNIPPET("x87 stack underflow", "fninit; pushq $0x37e; fldcw (%rsp); fadd %st(1); nop; fld1");
SNIPPET("x87 error and no wait", "fninit; pushq $0x37b; fldcw (%rsp); fldz; fld1; fdivp; fnstsw %ax; fnclex; nop");
SNIPPET("SIMD division by zero",
        "pushq $0x1d80; ldmxcsr (%rsp); xorps %xmm1, %xmm1; mov $1, %eax; cvtsi2sd %eax, %xmm0; "
        "cvtsi2sd %eax, %xmm2; divsd %xmm1, %xmm0");
SNIPPET("SIMD invalid in memory operand",
        "pushq $0x1f00; ldmxcsr (%rsp); pcmpeqd %xmm1, %xmm1; movupd %xmm1, (%rbx); sqrtpd (%rbx), %xmm2; addpd (%rbx), %xmm1; "
        "psrlq $1, %xmm1; psllq $53, %xmm1; mulpd %xmm1, %xmm1; divpd %xmm1, %xmm1");
SNIPPET("mxcsr with reserved bits", "pushq $0x7fffffff; ldmxcsr (%rsp)");
SNIPPET("maskmov over the end, masked", "vpxor %xmm0, %xmm0, %xmm0; vpcmpeqd %xmm1, %xmm1, %xmm1; vpsrldq $8, %xmm1, %xmm1; "
        "vpmaskmovd %xmm2, %xmm1, (%rdi); vpmaskmovd (%rdi), %xmm1, %xmm3; vpcmpeqd %xmm1, %xmm1, %xmm1; "
        "vpmaskmovd %xmm2, %xmm1, (%rdi)");
SNIPPET("alignment check", "pushf; orl $0x40000, (%rsp); popf; mov 8(%rbx), %rax; mov %rax, 1(%rbx)");
SNIPPET("alignment check, aligned",
        "pushf; orl $0x40000, (%rsp); popf; mov %rax, (%rbx); pushf; andl $~0x40000, (%rsp); popf; mov %rax, 1(%rbx)");
SNIPPET("steps", "pushf; orl $0x100, (%rsp); popf; nop; inc %eax; jmp 1f; nop; 1: call 2f; jmp 3f; "
        "2: push %rax; pop %rdx; ret; 3: nop");
SNIPPET("steps through a loop", "mov $5, %ecx; pushf; orl $0x100, (%rsp); popf; 1: add %rcx, %rax; dec %ecx; jnz 1b; nop");
SNIPPET("steps through repetition", "mov $4, %ecx; mov %rbx, %rdi; pushf; orl $0x100, (%rsp); popf; rep movsb; nop; rep stosq; nop");
SNIPPET("steps turned off", "pushf; orl $0x100, (%rsp); popf; inc %eax; pushf; andl $~0x100, (%rsp); popf; inc %eax; inc %eax");
SNIPPET("steps and system call", "pushf; orl $0x100, (%rsp); popf; mov $39, %eax; syscall; mov $1, %eax; nop");
SNIPPET("system calls and flags",
        "mov $4, %r12d; xor %r13d, %r13d; 1: mov $39, %eax; cmp $2, %r12d; std; syscall; pushf; adc %r11, %r13; pop %rdx; "
        "add %rdx, %r13; cld; dec %r12d; jnz 1b; mov $1, %eax; ud2");
SNIPPET("system call and alignment check",
        "mov $39, %eax; syscall; pushf; orl $0x40000, (%rsp); popf; mov $39, %eax; syscall; mov $1, %eax; "
        "mov %rax, 8(%rbx); mov %rax, 1(%rbx)");
SNIPPET("steps and a fault", "pushf; orl $0x100, (%rsp); popf; mov %rax, %rdx; mov %rax, (%rbp)");
SNIPPET("flags of a fault in a loop", "xor %eax, %eax; 1: add $0x7f, %al; adc %rax, (%rbx); sbb %rdx, %rdx; "
        "lea 512(%rbx), %rbx; jmp 1b");
SNIPPET("read and modify across the end", "lock incq (%r11)");
SNIPPET("fxsave unaligned", "fxsave 8(%rbx)");
SNIPPET("leave to read-only", "leave; pop %rax; push %rax");
SNIPPET("xlat off the page", "mov %rdi, %rbx; mov $200, %al; xlat");
SNIPPET("bit string over the end", "mov $64, %ecx; bts %rcx, (%rdi)");
SNIPPET("gather over the end",
        "mov $8, %ecx; vmovd %ecx, %xmm1; vpslldq $4, %xmm1, %xmm1; vpcmpeqd %xmm2, %xmm2, %xmm2; "
        "vpgatherdd %xmm2, (%rdi,%xmm1,1), %xmm3");
SNIPPET("stack at the first word of a mapping", "movabs $0x7e0000000008, %rsp; push %rax; push %rcx");
SNIPPET("stack at the last word of a mapping", "movabs $0x57fffffffff8, %rsp; pop %rax; pop %rcx");
SNIPPET("pushes and pops over 0x540000000000",
        "movabs $0x540000000010, %rsp; push %rax; push %rbx; push %rcx; push %rdx; mov 8(%rsp), %r12; "
        "pop %rdx; pop %rsi; pop %rdi; pop %r13");
SNIPPET("pushes and pops over 0x7c0000000000",
        "movabs $0x7c0000000010, %rsp; push %rax; push %rbx; push %rcx; push %rdx; mov 8(%rsp), %r12; "
        "pop %rdx; pop %rsi; pop %rdi; pop %r13");
SNIPPET("words that lie over a border", "movabs $0x7c0000000004, %rsp; push %rax; pop %rdx; movabs $0x540000000003, %rsp; push %rcx; "
        "addq $1, (%rsp); lock incq (%rsp); pop %rsi");
SNIPPET("calls over a border", "movabs $0x7c0000000008, %rsp; call 1f; jmp 2f; 1: call 3f; ret; "
        "3: mov (%rsp), %r12; ret; 2: mov %rsp, %r13");
SNIPPET("frames over a border", "movabs $0x540000000008, %rsp; push %rbp; mov %rsp, %rbp; sub $64, %rsp; movups %xmm0, -16(%rbp); "
        "mov %rcx, -24(%rbp); mov -24(%rbp), %rdx; mov %rdx, 8(%rbp); leave; mov %rsp, %r12");
SNIPPET("a stack that moves between places", "mov %rsp, %r12; movabs $0x7c0000000100, %r13; mov $20, %ecx; "
        "1: push %rcx; xchg %rsp, %r13; push %rax; add %rcx, %rax; dec %ecx; jnz 1b; pop %rdx; xchg %rsp, %r13; pop %rsi");
SNIPPET("a stack that grows out of its mapping", "movabs $0x7e0000000040, %rsp; 1: push %rcx; inc %ecx; jmp 1b");
SNIPPET("a stack that shrinks out of its mapping", "movabs $0x57ffffffffb0, %rsp; 1: pop %rdx; add %rdx, %rax; inc %ecx; jmp 1b");
SNIPPET("a stack nowhere", "mov $0x123, %esp; push %rax");
SNIPPET("pop at no canonical address", "movabs $0x800000000000, %rsp; pop %rax");
SNIPPET("pop over the top of addresses", "movabs $0x7ffffffffffc, %rsp; pop %rax");
SNIPPET("push at no canonical address", "mov %r8, %rsp; sub $-64, %rsp; push %rax");
SNIPPET("call at no canonical address", "mov %r8, %rsp; sub $-64, %rsp; call 1f; 1: nop");
SNIPPET("leave to no canonical address", "mov %r8, %rbp; leave; nop");
SNIPPET("operands that wrap around", "movabs $0x7c0000000000, %rax; mov $-8, %rdx; mov (%rax,%rdx), %rcx; mov -8(%rax,%rdx,2), %rsi; "
        "movabs $0xffff800000000000, %rdi; mov %rdi, %r12; neg %r12; mov (%rax,%r12), %r13");
SNIPPET("jumps into the midst with flags", "mov $40, %ecx; lea 2f(%rip), %r12; xor %edx, %edx; "
        "1: add %rax, %rdx; sbb $3, %rax; 2: adc %rcx, %rax; "
        "setc %dl; rcl $1, %rdx; dec %ecx; jz 3f; test $3, %cl; jz 1b; bt $5, %rax; jmp *%r12; 3: nop");
SNIPPET("calls into the midst with flags", "mov $30, %ecx; lea 2f(%rip), %r12; 1: cmp %rax, %rdx; "
        "2: adc %rcx, %rdx; lea -1(%rcx), %rcx; jrcxz 3f; "
        "rol $3, %rax; call *%r12; jmp 1b; 3: cmc; sbb %rsi, %rsi");

static const struct snippet *current = __start_snippets;
static unsigned steps;
static uint64_t trace;

static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static void start(ucontext_t *uc)
{
    greg_t *r = uc->uc_mcontext.gregs;
    uint32_t mxcsr = 0x1f80;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;

    if (current == __stop_snippets)
        _exit(0);
    steps = 0;
    trace = 0;
    for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
        memset((void *)edges[i].address, (int)i + 1, edges[i].pages * PAGE);
    memset((void *)CODE, 0x90, PAGE);
    memcpy((void *)CODE, current->begin, (size_t)(current->end - current->begin));
    for (unsigned i = 0; i < 2 * PAGE; i++)
        ((uint8_t *)DATA)[i] = (uint8_t)(i * 7 + (i >> 8));
    for (unsigned i = 0; i < 16; i++)
        r[i] = (greg_t)(UINT64_C(0x1122334455667788) * (i + 1));
    r[REG_RBX] = (greg_t)DATA;
    r[REG_RSI] = (greg_t)DATA + 64;
    r[REG_RDI] = (greg_t)(DATA + 2 * PAGE - 8);
    r[REG_RBP] = (greg_t)READ_ONLY;
    r[REG_RSP] = (greg_t)DATA + 0x800;
    r[REG_R8] = (greg_t)0x800000000000;
    r[REG_R9] = (greg_t)CODE;
    r[REG_R10] = (greg_t)(DATA + PAGE - 4);
    r[REG_R11] = (greg_t)(DATA + 2 * PAGE - 4);
    r[REG_RCX] = 20;
    r[REG_RIP] = (greg_t)CODE;
    r[REG_EFL] = 0x202;
    memset(fp, 0, 24);
    memset(fp + 32, 0, 384);
    memcpy(fp, (const uint16_t[]){0x37f}, 2);
    memcpy(fp + 24, &mxcsr, 4);
}

/* What one of them left, in a line. */
static void tell(int number, const siginfo_t *info, const ucontext_t *uc)
{
    const greg_t *r = uc->uc_mcontext.gregs;
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t registers = 0, memory = mix(0, (const void *)DATA, 2 * PAGE);
    uint16_t fsw, fcw;
    uint32_t mxcsr;

    for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
        memory = mix(memory, (const void *)edges[i].address, edges[i].pages * PAGE);
    for (unsigned i = 0; i < 16; i++)
        registers = mix(registers, &r[i], 8);
    memcpy(&fcw, fp, 2);
    memcpy(&fsw, fp + 2, 2);
    memcpy(&mxcsr, fp + 24, 4);
    registers = mix(registers, fp + 32, 384);
    printf("%s: signal %d code %d trap %d error %#llx address %#llx at %#llx flags %#llx registers %016llx memory %016llx "
           "fcw %#x fsw %#x mxcsr %#x steps %u %016llx\n",
           current->name, number, info->si_code, (int)r[REG_TRAPNO], (unsigned long long)r[REG_ERR],
           (unsigned long long)(r[REG_TRAPNO] == 14 ? r[REG_CR2] : 0), (unsigned long long)r[REG_RIP],
           (unsigned long long)r[REG_EFL] & FLAGS, (unsigned long long)registers, (unsigned long long)memory, fcw, fsw, mxcsr, steps,
           (unsigned long long)trace);
    fflush(stdout);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *r = uc->uc_mcontext.gregs;

    /* AC stays set in a handler. */
    __asm__ volatile("sub $128, %%rsp\n\tpushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq\n\tadd $128, %%rsp" ::: "cc", "memory");
    if (number != SIGUSR1 && r[REG_TRAPNO] == 1 && steps++ < 1000) {
        trace = mix(mix(trace, &r[REG_RIP], 8), &r[REG_RCX], 8);
        return;
    }
    if (number != SIGUSR1) {
        tell(number, info, uc);
        current++;
    }
    start(uc);
}

static void map_at(uint64_t address, size_t size, int protection)
{
    need(mmap((void *)address, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == (void *)address,
         "memory at a fixed address");
}

int main(void)
{
    static const int signals[] = {SIGUSR1, SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP};
    static uint8_t stack[1 << 17];
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    map_at(CODE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
    map_at(CODE + PAGE, PAGE, PROT_READ | PROT_WRITE);
    map_at(DATA, 2 * PAGE, PROT_READ | PROT_WRITE);
    map_at(READ_ONLY, PAGE, PROT_READ);
    for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
        map_at(edges[i].address, edges[i].pages * PAGE, PROT_READ | PROT_WRITE);
    map_at(LOW_STACK, PAGE, PROT_READ | PROT_WRITE);
    need(*(volatile uint8_t *)READ_ONLY == 0, "page of zeros"); /* present from now on */
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof(stack)}, NULL);
    sigfillset(&action.sa_mask);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
    raise(SIGUSR1);
    return 1;
}
