/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small 64-bit guests for tests of any engine: a VM with page tables, GDT, IDT and a log of what the guest does outside.
 *
 * Guests are pieces of position-independent assembly, defined with GUEST() and copied to GUEST_CODE. They say that they
 * are done by an OUT to GUEST_PORT_DONE, which the port hook answers with a kick. */
#ifndef FERRY_TESTS_KVM_GUEST_H
#define FERRY_TESTS_KVM_GUEST_H

#include "../check.h"

#include "base/err.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/state.h"

#define GUEST_PML4 0x1000
#define GUEST_PDPT 0x2000
#define GUEST_DIRECTORIES 0x3000 /* 4 pages: the first 4 GiB one to one, user-accessible, accessed and dirty bits set */
#define GUEST_AP_CODE 0x8000     /* where a SIPI with vector 8 starts a CPU */
#define GUEST_GDT 0x9000
#define GUEST_IDT 0xa000
#define GUEST_TSS 0xb000
#define GUEST_TSS_LIMIT 0x2068 /* TSS, and an I/O bitmap that allows every port */
#define GUEST_STACK 0x20000        /* top; the second CPU's lies 32 KiB below */
#define GUEST_KERNEL_STACK 0x30000 /* top, for interrupts from CPL 3 */
#define GUEST_CODE 0x100000
#define GUEST_DATA 0x200000
#define GUEST_RAM 0x800000 /* bytes */
#define GUEST_ROM 0xf0000000
#define GUEST_ROM_SIZE 0x10000
#define GUEST_MMIO 0xd0000000
#define GUEST_LAPIC 0xfee00000

#define GUEST_CS0 0x08
#define GUEST_SS0 0x10
#define GUEST_SS3 0x1b
#define GUEST_CS3 0x23
#define GUEST_TR 0x28

#define GUEST_PORT_DONE 0xf4
#define GUEST_ACCESSES_MAX 64

struct guest_access {
    bool port, is_write;
    unsigned cpu, size;
    uint64_t address, value;
};

struct guest {
    const struct engine_type *type;
    struct memory *memory;
    struct engine_vm *vm;
    struct engine_vcpu *vcpu[2];
    unsigned cpus, capabilities;
    struct guest_access access[GUEST_ACCESSES_MAX]; /* all but those of GUEST_PORT_DONE */
    unsigned access_count;
    uint64_t answer;                /* what reads from outside give, cut to their size */
    uint64_t tpr[2];                /* CR8 of engines without irqchip */
    uint16_t kick_port;             /* a write to it is logged and kicks; 0: none */
    uint64_t done_value;            /* what was written to GUEST_PORT_DONE last */
    char notice[8][200];
    unsigned notice_count;
};

/* The engine that the test program runs, set from its arguments by guest_main(). */
extern const struct engine_type *guest_engine;
extern const char *guest_engine_options;

/* Runs the tests with the engine named by argv[1] (and the options in argv[2]); all are skipped (77) with a printed reason
 * when it does not work here. */
int guest_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count);
#define GUEST_MAIN(argc, argv, tests) guest_main(argc, argv, tests, sizeof(tests) / sizeof((tests)[0]))

/* A VM with `cpus` CPUs (1 or 2), RAM, ROM and tables. Skips the test when the engine lacks a capability of `needed`. */
struct guest *guest_new(const struct engine_type *type, unsigned cpus, unsigned needed);
void guest_free(struct guest *guest);

/* Copies code to GUEST_CODE and puts CPU 0 at its start in 64-bit mode, at CPL 0 or 3. At CPL 3 IOPL is 3, and the TSS
 * allows every port too, because not every host keeps IOPL. */
void guest_load(struct guest *guest, const uint8_t *code, const uint8_t *end, unsigned cpl);
void guest_entry_state(struct x86_state *state, unsigned cpl);
void guest_set_state(struct guest *guest, unsigned cpu, const struct x86_state *state);
struct x86_state guest_get_state(struct guest *guest, unsigned cpu);

/* A 64-bit interrupt gate; the address is absolute. */
void guest_set_gate(struct guest *guest, unsigned vector, uint64_t address);

/* Runs CPU 0 and expects it to end so; prints the message and the state when it does not. */
void guest_run(struct guest *guest, enum exit_kind expected);
void guest_expect_access(const struct guest *guest, unsigned index, bool port, bool is_write, uint64_t address, unsigned size,
                         uint64_t value);

uint64_t guest_read64(struct guest *guest, uint64_t address);

/* Value of an eventfd now (0: not signalled), which is reset. */
uint64_t guest_eventfd_take(int fd);

#define GUEST(name, text)                                                                                    \
    __asm__(".pushsection .rodata\n" #name ":\n" text "\n" #name "_end:\n.popsection\n");                    \
    extern const uint8_t name[] __attribute__((visibility("hidden"))), name##_end[] __attribute__((visibility("hidden")))
#define GUEST_DONE "out %al, $0xf4\n"

#endif
