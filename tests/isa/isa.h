/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The silicon as oracle: an instruction sequence runs natively in a child process and in a guest of an engine, both at
 * CPL 3 from the same state, and every register and byte of memory must come out equal.
 *
 * Address space of both: two pages of code, two of data, all writable; nothing around them. In the guest the pages of
 * each pair are not neighbours in physical memory. A sequence ends with an exception: HLT behind it (#GP) if nothing
 * earlier raised one. */
#ifndef FERRY_TESTS_ISA_ISA_H
#define FERRY_TESTS_ISA_ISA_H

#include <stdbool.h>
#include <stdint.h>

#include <Zydis/Zydis.h>

#define ISA_CODE UINT64_C(0x20000000)
#define ISA_DATA UINT64_C(0x20010000)
#define ISA_DATA_SIZE 8192u
#define ISA_CODE_SIZE 8192u
#define ISA_CODE_MAX 1024u /* of a case */
#define ISA_MARKS_MAX 192u
#define ISA_REGIONS_MAX 96u
/* 64-bit cases may find the data pages there as well, where Linux has a program's stack and data. */
#define ISA_UPPER_STACK UINT64_C(0x7e0000000000)
#define ISA_UPPER_DATA UINT64_C(0x540000000000)
#define ISA_STACK (ISA_DATA + 0x1800) /* initial RSP */

struct isa_state {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    uint8_t fxsave[512] __attribute__((aligned(16))); /* FXSAVE64 image: x87, MXCSR, XMM */
    uint8_t ymm_high[16][16];
};

/* Where an instruction begins, and what is known there. */
struct isa_mark {
    uint16_t at; /* offset in the code */
    uint8_t length;
    bool removable;     /* the case stays sound with NOPs instead */
    uint32_t undefined; /* flags that may hold anything when it begins */
};

/* A loop, a call or another structure as a whole: the case stays sound with NOPs instead. */
struct isa_region {
    uint16_t at, length;
};

struct isa_case {
    bool compat;    /* 32-bit code */
    unsigned start; /* offset in the code pages */
    unsigned code_size;
    uint8_t code[ISA_CODE_MAX];
    unsigned marks; /* of sequences with control flow only; else 0 */
    struct isa_mark mark[ISA_MARKS_MAX];
    unsigned regions;
    struct isa_region region[ISA_REGIONS_MAX];
    struct isa_state state;
    uint8_t data[ISA_DATA_SIZE];
};

struct isa_result {
    int vector;       /* exception that ended it; -1: it did not end */
    uint64_t address; /* CR2 of a page fault */
    struct isa_state state;
    uint8_t data[ISA_DATA_SIZE];
    uint8_t code[ISA_CODE_MAX]; /* what has become of it */
};

/* Native runner: runs all cases in one child. 0, or -1 if the child failed. */
int isa_native_run(const struct isa_case *cases, unsigned count, struct isa_result *ret_results);

/* Guest runner, on the engine of that name, like "dbt" or "dbt,tier=interp". new returns NULL when it can't be had, and
 * has printed why. again: the same case as before; if it has not changed its code, what the engine made of it is used once
 * more. */
struct isa_guest;
struct isa_guest *isa_guest_new(const char *engine);
/* Whether that engine leaves flags that are dead at a fault unspecified (docs/decisions); isa_guest_new sets it, isa_compare
 * minds it. */
extern bool isa_dead_flags;
void isa_guest_free(struct isa_guest *guest);
void isa_guest_run(struct isa_guest *guest, const struct isa_case *c, bool again, struct isa_result *ret_result);
/* Whether the guest was offered a CPUID bit; reg: 0..3 = EAX..EDX. */
bool isa_guest_cpuid(const struct isa_guest *guest, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit);

/* Random numbers: the same for the same seed everywhere. */
struct isa_random {
    uint64_t s;
};
uint64_t isa_random(struct isa_random *r);
unsigned isa_random_below(struct isa_random *r, unsigned limit);

/* The generator knows every instruction of the sets that guest programs may use at CPL 3. */
struct isa_generator;
typedef bool isa_filter_fn(const ZydisDecodedInstruction *instruction, void *ctx); /* true: wanted */
struct isa_generator *isa_generator_new(bool compat, isa_filter_fn *filter, void *ctx);
void isa_generator_free(struct isa_generator *g);
unsigned isa_generator_mnemonics(const struct isa_generator *g);
ZydisMnemonic isa_generator_mnemonic(const struct isa_generator *g, unsigned index);
/* A filter: what engines must do as this silicon does. */
bool isa_wanted(const ZydisDecodedInstruction *instruction, void *ctx);
/* Not comparable: what does not end, INT1 hit by a jump (hypervisors under us get it wrong), AMD's misaligned SSE mode
 * (never offered). */
bool isa_comparable(const struct isa_result *native);
/* AddressSanitizer's shadow lies where a case expects no memory, so that the native side reaches it: from 0x7fff8000
 * up. */
bool isa_reached_shadow(const struct isa_result *engine);
/* Flags that an instruction of the basic set leaves undefined. They are not compared, and no instruction is generated
 * behind it that might read them. Extensions run on the same silicon in both worlds, so theirs are compared. */
uint32_t isa_undefined_flags(const ZydisDecodedInstruction *instruction);

/* One random instruction of the mnemonic with that index, of at most 15 bytes; false when none came. */
bool isa_generator_pick(struct isa_generator *g, struct isa_random *r, unsigned index, uint8_t bytes[static 16],
                        ZydisDecodedInstruction *in, ZydisDecodedOperand *operand);
bool isa_generator_decode(const struct isa_generator *g, const uint8_t *bytes, ZydisDecodedInstruction *in,
                          ZydisDecodedOperand *operand);
bool isa_generator_compat(const struct isa_generator *g);
/* Random registers, flags and data for the case. */
void isa_random_state(struct isa_random *r, struct isa_case *c);
/* Now and then pointers to data go to where that is once more. */
void isa_random_places(struct isa_random *r, struct isa_case *c);
uint64_t isa_random_target(struct isa_random *r, unsigned size); /* of a memory operand of that size */

/* A case of `instructions` random ones. first: index of the first's mnemonic; the others are random. */
void isa_generate(struct isa_generator *g, struct isa_random *r, unsigned first, unsigned instructions,
                  struct isa_case *ret_case);

/* A case with control flow: about `instructions` random ones, among them loops, jumps, calls, pushes, string
 * instructions and stores into the code ahead. Most memory operands hit the data pages, and most cases reach their end.
 */
void isa_generate_sequence(struct isa_generator *g, struct isa_random *r, unsigned instructions,
                           struct isa_case *ret_case);

/* Prints the code. */
void isa_print(const struct isa_case *c);
/* Compares; prints what differs, with the code, when it does and there is a title. Returns whether equal. */
bool isa_compare(const struct isa_case *c, const struct isa_result *native, const struct isa_result *guest,
                 const char *title);

#endif
