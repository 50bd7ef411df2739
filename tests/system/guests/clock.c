/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks at its clocks all the time; with the word "deadlines" on its command line it waits for deadlines of the local APIC's timer
 * besides, half of them in HLT.
 *
 * A key makes it print the letter of its next turn, a to z. What is wrong makes it print a sentence and end: a time stamp counter or a
 * kvmclock that goes back, a time page that is not valid or not stable, a time of its start that changes and was not asked for anew, a
 * deadline that comes early, twice or not at all. */
#include <stdbool.h>
#include <stdint.h>

__asm__(".section .text.start, \"ax\"\n"
        ".code32\n"
        ".align 4\n"
        ".long 0x1badb002, 0, -0x1badb002\n"
        ".globl _start\n"
        "_start: mov $0x300000, %esp\n"
        "push %ebx\n"
        "call guest_main\n"
        ".text\n");

enum { COM1 = 0x3f8, PM1A_CONTROL = 0x604, PIC_MASK = 0x21, PIC2_MASK = 0xa1, VECTOR = 0x40 };
enum { MSR_TSC_DEADLINE = 0x6e0, MSR_WALL_CLOCK = 0x4b564d00, MSR_SYSTEM_TIME = 0x4b564d01, LAPIC_TIMER_DEADLINE = 2 << 17 };
enum { LAPIC_EOI = 0xb0, LAPIC_SVR = 0xf0, LAPIC_LVT_TIMER = 0x320 };
#define LAPIC 0xfee00000u
#define LOST_TICKS (UINT64_C(1) << 37) /* behind its deadline: half a minute and more */

static struct { /* pvclock_vcpu_time_info */
    volatile uint32_t version;
    uint32_t pad;
    uint64_t tsc, ns;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
} page __attribute__((aligned(64)));

static volatile struct { /* pvclock_wall_clock: the time of day at kvmclock's 0 */
    uint32_t version, seconds, ns;
} start;
static uint32_t started, start_version;

static volatile uint64_t fired_at; /* what the handler has read */
static volatile uint32_t fired;
static uint64_t gdt[3] = {0, 0x00cf9a000000ffff, 0x00cf92000000ffff}, idt[VECTOR + 1];
static uint64_t last_tsc, last_ns;

/* Returns without IRET, which some hosts' KVM can't emulate: only one interrupt can come. */
uint32_t return_to;
void handler(void);
__asm__("handler:\n"
        "pusha\n"
        "rdtsc\n"
        "mov %eax, fired_at\n"
        "mov %edx, fired_at + 4\n"
        "incl fired\n"
        "movl $0, 0xfee000b0\n"
        "popa\n"
        "popl return_to\n"
        "add $4, %esp\n"
        "popf\n"
        "jmp *return_to\n");

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "d"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "d"(port));
    return value;
}

static inline uint64_t rdtsc(void)
{
    uint64_t value;

    __asm__ volatile("rdtsc" : "=A"(value));
    return value;
}

static inline void wrmsr(uint32_t number, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(number), "A"(value) : "memory");
}

static inline uint64_t rdmsr(uint32_t number)
{
    uint64_t value;

    __asm__ volatile("rdmsr" : "=A"(value) : "c"(number));
    return value;
}

static inline void lapic_write(uint32_t at, uint32_t value)
{
    *(volatile uint32_t *)(LAPIC + at) = value;
}

static void print_number(uint64_t value)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        out8(COM1, (uint8_t)"0123456789abcdef"[value >> shift & 15]);
}

static void __attribute__((noreturn)) wrong(const char *what, uint64_t a, uint64_t b)
{
    out8(COM1, '!');
    while (*what != 0)
        out8(COM1, (uint8_t)*what++);
    out8(COM1, ' ');
    print_number(a);
    out8(COM1, ' ');
    print_number(b);
    out8(COM1, '\n');
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)(5 << 10 | 1 << 13)), "d"((uint16_t)PM1A_CONTROL));
    for (;;)
        __asm__ volatile("hlt");
}

static uint64_t kvmclock(void)
{
    uint32_t version;
    uint64_t delta, ns;

    do {
        version = page.version & ~1u;
        __asm__ volatile("" : : : "memory");
        delta = rdtsc() - page.tsc;
        delta = page.shift < 0 ? delta >> -page.shift : delta << page.shift;
        ns = page.ns + (delta >> 32) * page.mul + ((delta & UINT32_MAX) * page.mul >> 32);
        __asm__ volatile("" : : : "memory");
    } while (version != page.version);
    return ns;
}

static void look(void)
{
    uint64_t tsc = rdtsc(), ns = kvmclock();

    if (tsc < last_tsc)
        wrong("TSC goes back", tsc, last_tsc);
    if (ns < last_ns)
        wrong("kvmclock goes back", ns, last_ns);
    if (page.mul == 0 || (page.flags & 1) == 0)
        wrong("time page", page.mul, page.flags);
    if (start.seconds != started || start.version != start_version)
        wrong("time of the start", start.seconds, started);
    last_tsc = tsc;
    last_ns = ns;
}

static void serve_keys(void)
{
    static char letter = 'a';

    if ((in8(COM1 + 5) & 1) == 0)
        return;
    in8(COM1);
    out8(COM1, (uint8_t)letter);
    letter = letter == 'z' ? 'a' : (char)(letter + 1);
}

/* Nothing can happen between STI and HLT. */
static void wait(bool halted)
{
    if (halted)
        __asm__ volatile("cli; cmpl $0, fired; jne 1f; sti; hlt; 1: sti" : : : "memory", "cc");
    look();
}

static void meet_deadline(uint32_t ticks, bool halted)
{
    uint64_t deadline = rdtsc() + ticks;

    fired = 0;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    while (fired == 0) {
        wait(halted);
        if (last_tsc > deadline + LOST_TICKS)
            wrong("deadline lost", last_tsc, deadline);
    }
    if (fired_at < deadline)
        wrong("deadline early", fired_at, deadline);
    if (rdmsr(MSR_TSC_DEADLINE) != 0)
        wrong("deadline stays", rdmsr(MSR_TSC_DEADLINE), deadline);
    for (unsigned i = 0; i < 20; i++)
        look();
    if (fired != 1)
        wrong("deadline twice", fired, deadline);
}

static void set_up(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (uint32_t)gdt}, idtr = {sizeof(idt) - 1, (uint32_t)idt};

    idt[VECTOR] = (uint64_t)((uint32_t)handler & 0xffff0000) << 32 | UINT64_C(0x8e00) << 32 | 8 << 16 | ((uint32_t)handler & 0xffff);
    __asm__ volatile("lgdt %0; lidt %1; ljmp $8, $1f; 1: mov $16, %%eax; mov %%eax, %%ds; mov %%eax, %%es; mov %%eax, %%ss"
                     : : "m"(gdtr), "m"(idtr) : "eax", "memory");
    out8(PIC_MASK, 0xff);
    out8(PIC2_MASK, 0xff);
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_TIMER, LAPIC_TIMER_DEADLINE | VECTOR);
    __asm__ volatile("mfence" : : : "memory");
    wrmsr(MSR_SYSTEM_TIME, (uint32_t)&page | 1);
    wrmsr(MSR_WALL_CLOCK, (uint32_t)&start);
    started = start.seconds;
    start_version = start.version;
    if (started < 1700000000)
        wrong("time of day", started, start_version);
    __asm__ volatile("sti");
}

struct multiboot {
    uint32_t flags, memory[2], boot_device;
    const char *command_line; /* with bit 2 of flags */
};

static bool has_word(const char *text, const char *word)
{
    for (; *text != 0; text++) {
        unsigned i = 0;

        while (word[i] != 0 && text[i] == word[i])
            i++;
        if (word[i] == 0)
            return true;
    }
    return false;
}

void __attribute__((noreturn)) guest_main(const struct multiboot *multiboot)
{
    bool deadlines = (multiboot->flags & 4) != 0 && has_word(multiboot->command_line, "deadlines");
    uint32_t seed = 1;

    set_up();
    for (;;) {
        seed = seed * 1664525 + 1013904223;
        if (deadlines)
            meet_deadline(seed >> (8 + seed % 5), seed >> 31);
        else
            look();
        serve_keys();
    }
}
