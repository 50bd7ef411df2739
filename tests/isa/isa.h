/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The silicon as oracle: a short instruction sequence runs natively in a child process and in a guest of an engine, both at CPL 3
 * from the same state, and every register and byte of memory must come out equal.
 *
 * Address space of both: one page of code, two of data; nothing around them. A sequence ends with an exception: HLT behind it
 * (#GP) if nothing earlier raised one. */
#ifndef FERRY_TESTS_ISA_ISA_H
#define FERRY_TESTS_ISA_ISA_H

#include <stdbool.h>
#include <stdint.h>

#include <Zydis/Zydis.h>

#define ISA_CODE UINT64_C(0x20000000)
#define ISA_DATA UINT64_C(0x20010000)
#define ISA_DATA_SIZE 8192u
#define ISA_CODE_MAX 128u
#define ISA_STACK (ISA_DATA + 0x1800) /* initial RSP */

struct isa_state {
    uint64_t gpr[16];
    uint64_t rip, rflags;
    uint8_t fxsave[512] __attribute__((aligned(16))); /* FXSAVE64 image: x87, MXCSR, XMM */
    uint8_t ymm_high[16][16];
};

struct isa_case {
    bool compat; /* 32-bit code */
    unsigned code_size;
    uint8_t code[ISA_CODE_MAX];
    struct isa_state state;
    uint8_t data[ISA_DATA_SIZE];
};

struct isa_result {
    int vector; /* exception that ended it; -1: it did not end */
    uint64_t address; /* CR2 of a page fault */
    struct isa_state state;
    uint8_t data[ISA_DATA_SIZE];
};

/* Native runner: runs all cases in one child. 0, or -1 if the child failed. */
int isa_native_run(const struct isa_case *cases, unsigned count, struct isa_result *ret_results);

/* Guest runner, on the engine of that name. new returns NULL when the engine can't be had. */
struct isa_guest;
struct isa_guest *isa_guest_new(const char *engine);
void isa_guest_free(struct isa_guest *guest);
void isa_guest_run(struct isa_guest *guest, const struct isa_case *c, struct isa_result *ret_result);
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
/* Flags that an instruction of the basic set leaves undefined. They are not compared, and no instruction is generated behind it that
 * might read them. Extensions run on the same silicon in both worlds, so theirs are compared. */
uint32_t isa_undefined_flags(const ZydisDecodedInstruction *instruction);

/* A case of `instructions` random ones. first: index of the first's mnemonic; the others are random. */
void isa_generate(struct isa_generator *g, struct isa_random *r, unsigned first, unsigned instructions, struct isa_case *ret_case);

/* Compares; prints what differs, with the code, when it does. Returns whether equal. */
bool isa_compare(const struct isa_case *c, const struct isa_result *native, const struct isa_result *guest, const char *title);

#endif
