/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes host instructions: the little assembler of the translator.
 *
 * Code is written through the arena's writable view and runs in its executable one; distances are the same in both, so jumps
 * between two places of the arena need no care. Nothing is checked for room here: whoever begins a piece makes sure of it. */
#ifndef FERRY_ENGINE_DBT_EMIT_H
#define FERRY_ENGINE_DBT_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct emitter {
    uint8_t *at; /* in the writable view */
};

enum host_register {
    HOST_RAX, HOST_RCX, HOST_RDX, HOST_RBX, HOST_RSP, HOST_RBP, HOST_RSI, HOST_RDI,
    HOST_R8, HOST_R9, HOST_R10, HOST_R11, HOST_R12, HOST_R13, HOST_R14, HOST_R15,
    HOST_NONE,
};

enum { /* how an opcode is encoded */
    EMIT_W = 1 << 0,    /* 64-bit operands */
    EMIT_66 = 1 << 1,
    EMIT_0F = 1 << 2,   /* two-byte opcode */
    EMIT_BYTE = 1 << 3, /* the register operands are bytes: SPL..DIL need a REX prefix */
    EMIT_LOCK = 1 << 4,
};

#define EMIT_GS_PREFIX 0x65u

enum { /* numbers of the ALU operations: opcode 8 * n + form, and /n of group 1 */
    ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP,
};

enum { /* condition codes */
    IF_O, IF_NO, IF_B, IF_AE, IF_E, IF_NE, IF_BE, IF_A, IF_S, IF_NS, IF_P, IF_NP, IF_L, IF_GE, IF_LE, IF_G,
};

struct host_memory { /* [base + (index << scale) + displacement]; HOST_NONE: without */
    uint8_t base, index, scale;
    bool gs; /* from the GS base on */
    int32_t displacement;
};

static inline struct host_memory at_base(unsigned base, int32_t displacement)
{
    return (struct host_memory){.base = (uint8_t)base, .index = HOST_NONE, .displacement = displacement};
}

static inline void emit8(struct emitter *e, unsigned byte)
{
    *e->at++ = (uint8_t)byte;
}

static inline void emit_bytes(struct emitter *e, const void *bytes, size_t n)
{
    memcpy(e->at, bytes, n);
    e->at += n;
}

static inline void emit32(struct emitter *e, uint32_t value)
{
    emit_bytes(e, &value, 4);
}

static inline void emit64(struct emitter *e, uint64_t value)
{
    emit_bytes(e, &value, 8);
}

/* op reg, rm between registers. For group opcodes reg is the /digit. */
void emit_registers(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, unsigned rm);
/* The same with a memory operand. */
void emit_memory(struct emitter *e, unsigned flags, unsigned opcode, unsigned reg, struct host_memory m);
/* ModRM, SIB and displacement alone. */
void emit_operand(struct emitter *e, unsigned reg, struct host_memory m);

void emit_move(struct emitter *e, unsigned to, unsigned from);                    /* 64 bits; nothing if equal */
void emit_load(struct emitter *e, unsigned to, struct host_memory m);             /* 64 bits */
void emit_store(struct emitter *e, struct host_memory m, unsigned from);          /* 64 bits */
void emit_load32(struct emitter *e, unsigned to, struct host_memory m);
void emit_constant(struct emitter *e, unsigned to, uint64_t value);               /* flags stay; the shortest form */
void emit_lea(struct emitter *e, bool wide, unsigned to, struct host_memory m);
void emit_alu_constant(struct emitter *e, unsigned flags, unsigned alu, unsigned reg, int32_t value);
void emit_alu_memory_constant(struct emitter *e, unsigned flags, unsigned alu, struct host_memory m, int32_t value);
void emit_rotate(struct emitter *e, bool wide, unsigned to, unsigned from, unsigned right); /* RORX: flags stay; BMI2 */
void emit_jump_register(struct emitter *e, unsigned reg);

/* Jumps with a 32-bit distance; the return value is where the distance stands, for emit_patch(). */
uint8_t *emit_jump(struct emitter *e);
uint8_t *emit_jump_if(struct emitter *e, unsigned condition);
void emit_jump_to(struct emitter *e, const uint8_t *target); /* in the writable view */
uint8_t *emit_call_near(struct emitter *e);
void emit_call_to(struct emitter *e, const uint8_t *target);
uint8_t *emit_lea_rip(struct emitter *e, unsigned to);

/* Makes a jump or lea at `distance` reach target; both in the writable view. */
static inline void emit_patch(uint8_t *distance, const uint8_t *target)
{
    int32_t value = (int32_t)(target - (distance + 4));

    memcpy(distance, &value, 4);
}

#endif
