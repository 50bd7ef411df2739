/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoded instructions, kept by their bytes: the same bytes in the same mode mean the same everywhere.
 *
 * Displacements and immediates of more than a byte, and the distances of jumps, are left out of the comparison where only the op
 * depends on them; those numbers stand in the op, not in what Zydis said. Each vCPU has a cache of its own. */
#ifndef FERRY_ENGINE_DBT_DECODED_H
#define FERRY_ENGINE_DBT_DECODED_H

#include "engine/dbt/op.h"

struct guest_instruction;

#define MEMORY_NONE 0xff

/* Emits one instruction (translate.h). */
typedef void translate_fn(struct translator *t, const struct guest_instruction *g);

/* How a plain instruction is written for the host (translate_integer.c). */
#define IN_NO_REGISTER 0xff
struct recipe {
    uint8_t opcode, reg, rm; /* of ModRM, as host registers */
    uint8_t immediate_at, immediate_size; /* in the instruction's bytes */
    uint8_t access, align;   /* of the memory operand */
    uint8_t in_scratch, in_address; /* guest registers without a host register that stand in SCRATCH and ADDRESS, or IN_NO_REGISTER */
    bool stores_scratch : 1, stores_address : 1; /* and go back from there */
    bool modrm : 1, memory : 1, byte_register : 1, in_opcode : 1;
    bool wide : 1, word : 1; /* 64-bit, 16-bit operands */
    bool escape : 1, escape38 : 1;
};

struct decoded {             /* two cache lines; what Zydis said stands elsewhere, most users do without */
    uint64_t key[2];         /* bytes that were compared */
    uint16_t mode;
    uint8_t displacement_at, displacement_size, immediate_at, immediate_size; /* numbers that were not; size 0: none */
    bool immediate_signed : 1;
    bool whole : 1;          /* the numbers were compared, too */

    /* The translator's notes; it fills them at first use. */
    bool chosen : 1, vector : 1, sharable : 1, peeked : 1, plain : 1, call : 1, relative : 1, changes_flags : 1;
    bool by_base : 1;        /* its memory operand is off a base register, 64 bits wide, and of at most 32 bytes */
    bool by_offset : 1;      /* it is at the immediate: MOV without ModRM */
    bool memory_written : 1;
    uint16_t flags_read, flags_written, flags_tested, flags_overwritten;
    uint16_t written;        /* general registers, by number */
    int8_t condition;        /* of a conditional jump; -1: it is none */
    uint8_t memory;          /* the explicit memory operand; MEMORY_NONE */
    translate_fn *translate;

    const struct zydis *zydis;
    struct op op __attribute__((aligned(64)));
    struct recipe recipe;
};
_Static_assert(sizeof(struct decoded) == 128 && MODE_BITS <= 16, "two cache lines");

struct zydis {
    ZydisDecodedInstruction instruction; /* all zeros where the op raises for want of any */
    uint8_t bytes[16];
    ZydisDecodedOperand operand[];       /* instruction.operand_count of them */
};

int dbt_decoded_new(struct dbt_vcpu *v); /* v->decoded; -ENOMEM */
void dbt_decoded_free(struct dbt_vcpu *v);

/* Decodes the bytes (avail of them are there) as an instruction in the mode: its op, and what is kept of it, which is good until
 * dbt_decoded_clear(). NULL: more bytes are needed than there are, which can't be with 15. */
struct decoded *dbt_decoded(struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, uint32_t mode, struct op *ret_op);

/* Asks for what dbt_decoded() will read for the next few instructions from here on, so that the host's caches have it by then. Returns how
 * many bytes these take. */
unsigned dbt_decoded_prefetch(const struct dbt_vcpu *v, const uint8_t *bytes, unsigned avail, uint32_t mode);

/* Whether less than what one block needs is left: then clear, which also must be done when thunks are cleared. */
bool dbt_decoded_full(const struct dbt_vcpu *v);
void dbt_decoded_make_room(struct dbt_vcpu *v); /* clears if it is full */
void dbt_decoded_clear(struct dbt_vcpu *v);
size_t dbt_decoded_used(const struct dbt_vcpu *v); /* bytes; the most so far */

#endif
