/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The translator's inside: guest instructions in, host code out, one translation at a time.
 *
 * While translated code runs:
 * - RSP points into the vCPU (VCPU_BIAS), all of which is at [rsp + offset]. The one word below it is all the stack there is.
 * - Guest registers live in the host registers of the same number, except RSP, which lives in R9, and R9, R10 and R11, which stay in
 *   memory (v->gpr). R10 and R11 of the host are scratch: ADDRESS and SCRATCH below.
 * - Between translations the six arithmetic flags are in memory (v->flags, v->overflow), or dead: provably overwritten before they are
 *   read. Within one they are in the host's flags, in memory, in both or nowhere, as `host_flags` and `memory_flags` say.
 * - Vector registers are the host's where v->vectors_away is 0; a translation that uses them makes sure at its head.
 * - x87 registers and MXCSR are the host's, as everywhere in this engine (fpu.h).
 *
 * Whatever has no translation is done by the interpreter's handler of the same instruction, called in place: the one semantic
 * source. A memory access that misses the TLB goes to a cold piece behind the translation, which gets the page and tries again, or
 * has the interpreter do the whole instruction (MMIO, two pages, watched pages, faults). */
#ifndef FERRY_ENGINE_DBT_TRANSLATE_H
#define FERRY_ENGINE_DBT_TRANSLATE_H

#include "engine/dbt/alu.h"
#include "engine/dbt/decoded.h"
#include "engine/dbt/emit.h"
#include "engine/dbt/translation.h"

#define ADDRESS HOST_R10 /* linear, then host address of a memory operand */
#define SCRATCH HOST_R11
#define GUEST_RSP HOST_R9
#define IN_MEMORY 0xff   /* host_of[]: a guest register without a host register */

/* All arithmetic flags, as Zydis and RFLAGS number them. */
#define FLAGS_ALL (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF)

struct guest_instruction {
    const ZydisDecodedInstruction *decoded; /* immediates of more than a byte and displacements are not here but in `op` (decoded.h) */
    const ZydisDecodedOperand *operand;
    uint8_t bytes[16];
    struct op op;
    uint64_t next_rip;
    translate_fn *translate; /* NULL: the interpreter's handler is called */
    const ZydisDecodedOperand *memory; /* the explicit operand there; NULL: none. The stack is none */
    struct recipe *recipe;
    bool by_base, by_offset, memory_written; /* as in decoded.h */
    uint16_t written;        /* general registers, by number */
    int8_t condition;        /* of a conditional jump; -1: it is none */
    bool call;               /* a call of any kind */
    bool relative;           /* its first operand is an immediate: of jumps and calls, the distance */
    bool changes_flags;
    uint32_t flags_read, flags_written;
    uint32_t flags_before;   /* those that somebody may still read before it, */
    uint32_t flags_after;    /* and behind it; of a jump: where it is not taken */
    uint32_t flags_taken;    /* of a conditional jump: at its target */
    bool vector;             /* touches vector registers */
    bool sharable;           /* runs on the host with at most one plain memory operand (translate_share.c) */
    uint8_t share;           /* 0, or the slot of the host address that its operand shares with others */
    uint8_t share_last;      /* of the first of them: index of the last; else 0 */
    uint8_t share_until;     /* and of the last that the interpreter does if that look fails */
    uint8_t share_size;      /* bytes of the whole range, from base + share_first on */
    int32_t share_first;
    bool share_writes;       /* of the first: something in it is written to */
    bool label;              /* jumps of the translation lead here (translate_label.c) */
    struct guest_instruction *to; /* of a jump: where it leads, if that is in the translation */
    uint8_t *at;             /* of a label: its code */
};

#define STACK_RUN_MAX 8u /* stack instructions that share one look */

enum cold_kind {
    COLD_ACCESS,    /* a TLB miss */
    COLD_STACK,     /* not in the stack window */
    COLD_SHARED,    /* a TLB miss of a range that several instructions share */
    COLD_KNOWN,     /* a TLB miss at a known address, `target` */
    COLD_MIRRORED,  /* an operand whose page the mirror turns out not to have, and which nothing was asked about before */
    COLD_ELSEWHERE, /* an operand is not where the mirror's distance holds (translate_direct.c) */
    COLD_WORDS,     /* COLD_MIRRORED of words that stack instructions push or pop, `run` of them */
    COLD_ASTRAY,    /* RSP is not where such code may run: to `target` by other code */
    COLD_TOUCHED,   /* or may be: its stack could not be touched */
    COLD_INTERPRET, /* the interpreter does the instruction, then on behind it */
    COLD_EXIT,      /* a side exit */
    COLD_LEAVE,     /* to the run loop, with RIP = `target` */
};

struct cold {
    enum cold_kind kind;
    uint8_t *distance[4]; /* of the jumps that come here */
    unsigned distances;
    const struct guest_instruction *instruction;
    uint8_t *retry, *next;  /* where it goes on */
    uint8_t size, access;
    uint8_t align;
    uint8_t run;            /* COLD_STACK, COLD_SHARED: how many instructions the interpreter does */
    bool host_flags;        /* what the code at `next` expects */
    uint64_t target;        /* COLD_EXIT, COLD_LEAVE, COLD_KNOWN */
    bool save_flags;
    bool mirror;            /* may fault from `retry` to `end` */
    uint8_t where;          /* OPERAND_*, of what faults */
    uint8_t window;         /* COLD_ELSEWHERE: that was compared with */
    int8_t step;            /* COLD_WORDS: RSP from one to the next */
    uint8_t *word[STACK_RUN_MAX]; /* and where the access of each begins */
    const uint8_t *by_tlb;  /* the look in the TLB instead; NULL: none */
    uint8_t *end;
    uint8_t address_holds;  /* at `next`: of the translator's */
    uint64_t known;
};

#define ADDRESS_KNOWN 0xff /* of address_holds: where the mirror has a constant address */
#define LIVENESS_SLOTS 16384u
#define COLD_MAX (BLOCK_OPS_MAX * 4 + 1)

/* What is known of a register's value (translate_direct.c): it is from low to high, or as far from an address in a window. */
struct place {
    enum { PLACE_UNKNOWN, PLACE_NUMBER, PLACE_WINDOW } kind;
    int64_t low, high;
};

struct head {            /* a way into the translation */
    uint64_t linear;
    uint8_t *attention;  /* distances of the jumps to the cold side: somebody wants attention; */
    uint8_t *vectors;    /* vectors are away (NULL: nobody asks) */
    uint8_t *body;
};

struct jump {            /* forward, to a label */
    uint8_t *distance;
    const struct guest_instruction *to;
};

struct call {            /* its host's CALL comes to a piece behind the translation's code, which goes to the target */
    uint8_t *distance;
    const struct guest_instruction *instruction;
};

struct translator {
    struct dbt_vcpu *v;
    struct emitter e;
    struct translation *out;
    bool host_flags, memory_flags;
    bool vector;                     /* some instruction touches vector registers */
    bool code64;
    bool mirror;                     /* the code is for a mirror */
    int8_t window[16];               /* in which window of it a register's value is thought to point, or -1 */
    bool direct;                     /* operands are found by the mirror's distance (translate_direct.c) */
    struct place place[16];
    bool segment_checked[2];         /* FS and GS point into a window */
    struct place sum;                /* and of this base and index, without displacement */
    uint8_t sum_base, sum_index, sum_scale;
    struct cold *words;              /* of the stack instructions at hand */
    int32_t words_offset;            /* from RSP */
    unsigned words_done;
    unsigned count;
    unsigned colds, heads, calls, jumps;
    bool liveness_known;             /* anything in the next */
    uint64_t liveness[LIVENESS_SLOTS]; /* what dbt_flags_live_at() found, until some code changes */
    bool single;                     /* runs of stack instructions are taken apart */
    uint8_t address_holds;           /* ADDRESS has the host address of this slot; 0: of none */
    uint64_t known;                  /* or, if that is ADDRESS_KNOWN, of this linear one */
    unsigned skip;                   /* instructions that the one before has done with itself */
    struct cold cold[COLD_MAX];
    struct head head[BLOCK_OPS_MAX + 1];
    struct call call[BLOCK_OPS_MAX];
    struct jump jump[BLOCK_OPS_MAX];
    struct guest_instruction instruction[BLOCK_OPS_MAX];
};

/* Where fields of the vCPU are. */
static inline struct host_memory dbt_vcpu_at(size_t offset)
{
    return at_base(HOST_RSP, (int32_t)offset - (int32_t)VCPU_BIAS);
}
#define VCPU(member) dbt_vcpu_at(offsetof(struct dbt_vcpu, member))
struct host_memory dbt_guest_slot(unsigned guest); /* v->gpr[guest] */
extern const uint8_t dbt_host_of[16];

/* --- translate.c --- */

/* The entry for jumps that may be wrong, and the one for those that can't be; both then see that vectors are where they should be. */
void dbt_emit_head(struct translator *t, struct translation *entry);

/* --- flags: translate_flags.c --- */

/* Reads what Zydis knows of the instruction's flags: all but flags_after and flags_taken. */
void dbt_describe_flags(struct guest_instruction *g);
/* Backwards over the whole translation. */
void dbt_flags_liveness(struct translator *t);
/* Which flags the code at a linear address may read before it overwrites them. */
uint32_t dbt_flags_live_at(struct translator *t, uint64_t linear);
void dbt_flags_forget(struct translator *t); /* code has changed */
/* The flags needed from before the instruction. */
uint32_t dbt_flags_needed(const struct guest_instruction *g);
/* Before anything that clobbers the host's flags while the instruction is yet to come. Uses SCRATCH. */
void dbt_flags_spare(struct translator *t, const struct guest_instruction *g);
/* Before the instruction itself: what it reads or keeps is in the host's flags. Uses SCRATCH. */
void dbt_flags_provide(struct translator *t, const struct guest_instruction *g);
/* After it ran on the host. */
void dbt_flags_done(struct translator *t, const struct guest_instruction *g);
/* The host's flags into memory if they are the only ones. Uses SCRATCH. */
void dbt_flags_to_memory(struct translator *t);
void dbt_emit_save_flags(struct emitter *e);
void dbt_emit_restore_flags(struct emitter *e);

/* --- memory: translate_access.c --- */

/* The linear address of the instruction's memory operand into ADDRESS; may use SCRATCH. Flags stay. */
void dbt_emit_address(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand);
/* The same without segment base: LEA. */
void dbt_emit_offset(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, bool wide);
/* ADDRESS: from linear to host address, checked for `size` bytes; misses go to the cold side. Clobbers SCRATCH and the host's flags.
 * align: mask of address bits that must be clear. */
void dbt_emit_access(struct translator *t, const struct guest_instruction *g, unsigned size, unsigned access, unsigned align);
/* The TLB entry of the linear address in ADDRESS, into a register; where an access finds its tag in it. Clobbers the host's flags. */
void dbt_emit_tlb_entry(struct emitter *e, unsigned entry);
int32_t dbt_tag_offset(unsigned access);
/* The same through the stack window; run: instructions that share it (else 1). */
void dbt_emit_stack_access(struct translator *t, const struct guest_instruction *g, unsigned size, unsigned access, unsigned align,
                           unsigned run);
/* Address and access of a memory operand, which then is where the return value says. May clobber ADDRESS and SCRATCH; the host's
 * flags only where t->host_flags is false then, and spared. */
struct host_memory dbt_emit_operand(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand,
                                    unsigned size, unsigned access, unsigned align);
/* The host register that holds a guest register, loaded into `scratch` if it lives in memory. */
unsigned dbt_in_register(struct translator *t, unsigned guest, unsigned scratch);
bool dbt_is_on_stack(const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size);
/* The end of every look: ADDRESS is the host's address now. */
void dbt_finish_access(struct translator *t, struct cold *cold, unsigned size, unsigned access, unsigned align);
/* dbt_emit_offset() of a wide address with another displacement. */
void dbt_emit_offset_at(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, int32_t displacement);
struct host_memory dbt_shared_slot(unsigned slot); /* translate_share.c */
void dbt_share_operands(struct translator *t); /* translate_share.c */
int32_t dbt_emit_shared(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand);
/* Whether an operand's address can be made at all (no gather, no segment with limits). */
bool dbt_can_address(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand);

/* --- in a mirror: translate_mirror.c --- */

void dbt_mirror_begin(struct translator *t);
void dbt_mirror_follow(struct translator *t, const struct guest_instruction *g); /* behind each instruction */
/* dbt_emit_access(), or the same in a mirror; `operand`: of an instruction that accesses it once, by a plain host instruction. */
void dbt_emit_look(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size,
                   unsigned access, unsigned align);
/* What follows, to the end of the instruction, may find that the mirror has not the page. */
struct cold *dbt_cold_mirrored(struct translator *t, const struct guest_instruction *g, unsigned size);
/* An operand at a known place is at a constant address there. Returns its distance from ADDRESS. */
bool dbt_is_mirrored_at(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand,
                        uint64_t linear);
int32_t dbt_emit_known_mirrored(struct translator *t, const struct guest_instruction *g, uint64_t linear, unsigned size);
struct host_memory dbt_mirror_field(unsigned window, size_t field);
/* The linear address of an operand that was looked for, once more. */
void dbt_emit_linear(struct translator *t, const struct guest_instruction *g);
/* The look in the TLB that stands in where the mirror is no use. Goes on behind itself if that misses, too. */
void dbt_emit_by_tlb(struct translator *t, struct cold *cold);
/* An operand was not where it was looked for: the look is patched to its window, or, once and for all, to the TLB. */
void dbt_mirror_look_again(struct dbt_vcpu *v, const struct cold_data *at, uint64_t linear);
/* ADDRESS as the code at cold->next expects it. */
void dbt_emit_mirrored_address(struct translator *t, const struct cold *cold);

/* Which window an operand is thought to lie in. */
unsigned dbt_mirror_guess(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand);
/* Whether the mirror serves the instruction's operand at all. */
bool dbt_uses_mirror(const struct translator *t, const struct guest_instruction *g);

/* --- by the mirror's distance: translate_direct.c --- */

void dbt_direct_begin(struct translator *t);
/* Most of them are: there is no use in sharing looks. */
bool dbt_operands_are_direct(const struct translator *t);
/* Operands off the registers that are known, or are compared here, to lie where the distance holds. false: by other ways. */
bool dbt_emit_direct(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size,
                     struct host_memory *ret_memory);
/* Words of the stack, from RSP + offset on, that `run` instructions from g on push or pop. */
void dbt_direct_words(struct translator *t, const struct guest_instruction *g, unsigned run, int32_t offset, bool push);
/* The next of them, `offset` behind where they begin: to be accessed at once. */
struct host_memory dbt_direct_next_word(struct translator *t, int32_t offset);
/* Makes RBP + displacement a direct operand for LEAVE; false: it can't be. */
bool dbt_emit_direct_frame(struct translator *t, const struct guest_instruction *g);
/* Before the translation is left: RSP must be where whoever is next takes it to be. rip: of what comes next. */
void dbt_direct_settle(struct translator *t, uint64_t rip);
/* Somebody else comes here. */
void dbt_direct_forget(struct translator *t);
/* Before and behind each instruction. */
void dbt_direct_precede(struct translator *t, const struct guest_instruction *g);
void dbt_direct_follow(struct translator *t, const struct guest_instruction *g);
/* The cold side. */
void dbt_emit_elsewhere(struct translator *t, const struct cold *cold);
void dbt_emit_astray(struct translator *t, const struct cold *cold);
void dbt_emit_touched(struct translator *t, const struct cold *cold);

/* --- translate_cold.c --- */

struct cold *dbt_cold(struct translator *t, enum cold_kind kind, const struct guest_instruction *g, uint8_t *distance);
/* Calls the interpreter's handler, then goes on (or leaves, if that stopped the block). */
void dbt_emit_interpret(struct translator *t, const struct guest_instruction *g);
/* By a trampoline that knows the instruction's common case. */
void dbt_emit_interpret_by(struct translator *t, const struct guest_instruction *g, uint8_t *trampoline);
void dbt_emit_cold(struct translator *t);
/* The way to a trampoline that calls C, with the data that follows. Not by the host's CALL, which would want a RET: without one the host's
 * return stack is one off and the guest's next returns go wrong; with one each of these is predicted to go on here. */
void dbt_emit_call_c(struct translator *t, const uint8_t *trampoline);

/* --- control flow: translate_control.c --- */

/* Leaves to a known address; flags are in memory or dead. poll: looks for attention first. */
void dbt_emit_exit(struct translator *t, uint64_t target, bool poll);
/* Leaves to the run loop. */
void dbt_emit_leave_to(struct translator *t, uint64_t target);
/* Leaves to the address in ADDRESS; returns: as the host's return stack predicts. */
void dbt_emit_exit_indirect(struct translator *t, const struct guest_instruction *g, bool returns);
/* Clobbers the host's flags. */
void dbt_emit_jump_slot(struct emitter *e);
/* A translated near call. */
bool dbt_is_call(const struct guest_instruction *g);
/* Behind the translation's code: where its calls go on to their targets. */
void dbt_emit_calls(struct translator *t);
/* The same where a conditional jump at `distance` comes to. */
void dbt_emit_side_exit(struct translator *t, uint64_t target, uint8_t *distance);
bool dbt_is_relative(const struct guest_instruction *g);
uint64_t dbt_relative_target(const struct guest_instruction *g);
translate_fn *dbt_choose_control(struct translator *t, struct guest_instruction *g);

/* A jump, conditional or not, to an address in itself, that has a translation. */
bool dbt_is_plain_jump(const struct guest_instruction *g);

/* --- translate_label.c --- */

/* Once all is decoded: which instructions may be labels, and where jumps lead. */
void dbt_labels_find(struct translator *t);
/* Once it is known where flags live and what is shared: which are. */
void dbt_labels_choose(struct translator *t);
/* Here is g, which is one. */
void dbt_emit_label(struct translator *t, struct guest_instruction *g);
bool dbt_leads_to_label(const struct guest_instruction *g);
/* Back to one; flags are in memory or dead. */
void dbt_emit_jump_to_label(struct translator *t, const struct guest_instruction *g);
/* Forward to one. */
void dbt_emit_jump_to_label_if(struct translator *t, const struct guest_instruction *g, unsigned condition);
/* Where they lead is known now. */
void dbt_labels_patch(struct translator *t);

/* --- instructions --- */

translate_fn *dbt_choose_integer(struct translator *t, struct guest_instruction *g); /* translate_integer.c */
translate_fn *dbt_choose_vector(struct translator *t, struct guest_instruction *g);  /* translate_vector.c */
translate_fn *dbt_choose_x87(struct translator *t, struct guest_instruction *g);     /* translate_x87.c */
translate_fn *dbt_choose_string(struct translator *t, struct guest_instruction *g);  /* translate_string.c */
translate_fn *dbt_choose_special(struct translator *t, struct guest_instruction *g); /* translate_special.c */

translate_fn *dbt_choose_system(struct translator *t, struct guest_instruction *g);  /* translate_system.c */
bool dbt_is_sti(const struct guest_instruction *g); /* and has a translation, which something must follow */

/* Registers of an instruction as the host sees them: map[guest] for encoding, with registers that live in memory in scratch ones. */
struct register_map {
    uint8_t host[16];
    bool uses_address;       /* ADDRESS holds one */
    uint16_t loaded, stored; /* guest registers in memory that must come and go */
};
/* false: more of them than there are scratch registers. memory: ADDRESS is taken. */
bool dbt_map_registers(const struct guest_instruction *g, bool memory, struct register_map *ret_map);
void dbt_emit_map_load(struct translator *t, const struct register_map *map);
void dbt_emit_map_store(struct translator *t, const struct register_map *map);

#endif
