/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translations: host code for a run of guest code, kept by physical and linear address, mode and privilege.
 *
 * The second tier's counterpart of block.h, with the same rules: each vCPU has its own, pages are watched, one arena is emptied as a
 * whole. What is new are the ways from one to the next without coming back here: links (direct jumps within a page, patched) and
 * jump tables (indirect ones, and direct ones into other pages). A link leads to code of the same page and holds as long as that code;
 * in a mirror it may lead into another page. Such a link, and an entry of a jump table, also depend on how the address is mapped and go
 * when that may have changed. */
#ifndef FERRY_ENGINE_DBT_TRANSLATION_H
#define FERRY_ENGINE_DBT_TRANSLATION_H

#include "engine/dbt/block.h"

struct lockstep_code;

#define MODE_USER (1u << MODE_BITS) /* CPL 3: part of a translation's mode, not of v->mode */
#define MODE_MIRROR (2u << MODE_BITS) /* user code that runs in a mirror (mirror.h) */
#define NO_PAGE UINT64_MAX

/* Which entry of a jump table an address has. */
#define JUMP_SLOT_FACTOR 0x9e3779b1u
#define JUMP_SLOT_SHIFT 17 /* 32 less the bits of a slot's number */
static inline unsigned dbt_jump_slot(uint64_t linear)
{
    return ((uint32_t)linear * JUMP_SLOT_FACTOR) >> JUMP_SLOT_SHIFT;
}
_Static_assert(JUMP_SLOTS == 1u << (32 - JUMP_SLOT_SHIFT), "every slot is some address's");

/* 64-bit code for a mirror that has a distance takes it for granted that RSP points into one of its upper windows. */
static inline bool dbt_mirror_suits(const struct dbt_vcpu *v)
{
    uint64_t number = v->gpr[X86_RSP] >> MIRROR_WINDOW_SHIFT;

    return !v->mirror_direct || !dbt_code64(v) || number == MIRROR_PROGRAMS || number == MIRROR_LIBRARIES;
}

static inline uint32_t dbt_translation_mode(const struct dbt_vcpu *v)
{
    return v->mode | (v->cpl == 3 ? MODE_USER | (v->mirrored && dbt_mirror_suits(v) ? MODE_MIRROR : 0) : 0);
}

struct link {                 /* an exit to a known address */
    struct translation *from;
    struct translation *to;   /* NULL: not linked */
    bool by_table;            /* it can't be, and goes through the jump table */
    bool listed;              /* as one that leads into another page */
    uint64_t target;          /* linear address */
    uint8_t *distance;        /* of its jump, in the writable view */
    uint8_t *unlinked;        /* where the jump goes while not linked */
    struct link *next;        /* in to->incoming, or in the list of the same `from` (see next_out) */
    struct link *next_out;
    struct link *next_crossing;
};

struct translation {          /* what a look-up reads is one cache line */
    uint64_t linear, physical, second_page;
    uint32_t mode;
    bool valid;
    struct translation *hash_next;
    uint8_t *direct;          /* writable view: entry for those who know it is the right one */
    uint8_t *checked;         /* entry that compares ADDRESS with its own linear address */
    struct link *incoming;
    uint64_t call;            /* of code behind a call: that instruction's linear address, else NO_PAGE */
    uint8_t *host_call;       /* and its CALL, which `checked` follows, so that the host's return stack predicts */
    struct translation *page_next[2];
    struct translation *next_entry; /* another way into the same code, behind a call in it */
    struct link *outgoing;
    const uint8_t *bytes;     /* of its instructions, as they were */
    struct lockstep_code *lockstep; /* lockstep.h; NULL: off */
};

struct translated_op {        /* what C needs of an instruction */
    struct op op;
    uint32_t number;          /* of its translation, where the op is in memory */
    uint64_t next_rip;
};

/* Numbers for what dbt_translations_allocate() gave: translations in cold data, ops in v->last_indirect. Never 0. */
uint32_t dbt_translations_number(const struct dbt_vcpu *v, const void *p);
const void *dbt_translations_numbered(const struct dbt_vcpu *v, uint32_t number);

/* The instruction that cold data belongs to; good until the next call. */
struct cold_data;
const struct translated_op *dbt_translated_op(struct dbt_vcpu *v, const struct cold_data *data);
/* Its own address. */
uint64_t dbt_translated_rip(const struct dbt_vcpu *v, const struct cold_data *data);

/* Makes and frees v->translations, of at most code_size bytes of host code. -ENOMEM, or why executable memory can't be had. */
int dbt_translations_new(struct dbt_vcpu *v, size_t code_size);
void dbt_translations_free(struct dbt_vcpu *v); /* accepts a vCPU without */

/* Whether the present mode has translations. */
bool dbt_translatable(const struct dbt_vcpu *v);

/* Runs from RIP on until something needs the run loop. v->op is NULL. Raises the fetch's faults. */
void dbt_translations_run(struct dbt_vcpu *v);

/* For the lock-step mode: the translation at RIP, found or made, without links to it and from it; and a run of it alone. */
struct translation *dbt_translations_find(struct dbt_vcpu *v);
void dbt_translations_enter(struct dbt_vcpu *v, const struct translation *t);

/* As dbt_blocks_...: drops those of a physical page, or all. */
void dbt_translations_invalidate_page(struct dbt_vcpu *v, uint64_t page);
void dbt_translations_clear(struct dbt_vcpu *v);

/* Mappings changed: jump tables forget one linear page; or everything that is not global; or all. */
void dbt_jump_tables_forget_page(struct dbt_vcpu *v, uint64_t linear);
void dbt_jump_tables_forget(struct dbt_vcpu *v, bool global_too);
/* The same for links into other pages, which one space has at a time, the one that is mirrored: all of that space; those into a page,
 * whosever they are. They stay while other spaces run. */
struct address_space;
void dbt_links_forget(struct dbt_vcpu *v, const struct address_space *space);
void dbt_links_forget_page(struct dbt_vcpu *v, uint64_t linear);

/* Bytes that they have taken so far, at most: of host code, and of private memory. */
size_t dbt_translations_code_used(const struct dbt_vcpu *v);
size_t dbt_translations_memory_used(const struct dbt_vcpu *v);

/* Translates at the present RIP; NULL never, room has been made. In translate.c. */
struct translation *dbt_translate(struct dbt_vcpu *v, uint64_t linear, uint64_t physical, const uint8_t *page_bytes);
int dbt_translator_new(struct dbt_vcpu *v); /* v->translator; -ENOMEM */
void dbt_translator_code_changed(struct dbt_vcpu *v); /* what it has seen of code is no longer true */
void dbt_translator_free(struct dbt_vcpu *v);
/* How much RSP has to be moved to take a near call's or return's step back. In control.c. */
int64_t dbt_stack_effect(const struct op *op);
struct emitter;
/* A jump to a known address by way of the jump table. In translate_control.c. */
void dbt_emit_through_table(struct emitter *e, const struct translation *from, uint64_t target);
/* Where the next translation's code goes, in the writable view, and how far it went. */
uint8_t *dbt_translations_code(const struct dbt_vcpu *v);
void dbt_translations_commit(struct dbt_vcpu *v, const uint8_t *end);
const uint8_t *dbt_translations_start(const struct dbt_vcpu *v); /* of the arena, in the writable view */
uint8_t *dbt_translations_cold_code(const struct dbt_vcpu *v); /* the same of what seldom runs */
void dbt_translations_commit_cold(struct dbt_vcpu *v, const uint8_t *end);

/* Drops the one that this is the data of. */
void dbt_translations_drop(struct dbt_vcpu *v, const struct cold_data *data);

/* The translation of the code at both addresses, in this mode; NULL: none yet. */
struct translation *dbt_translation_at(const struct dbt_vcpu *v, uint64_t linear, uint64_t physical, uint32_t mode);

/* Another way in for those who may be wrong: what jump tables lead to. */
void dbt_translation_enter_by(struct dbt_vcpu *v, struct translation *t, uint8_t *checked);

/* For the translator: memory that lives as long as the translations; there is always enough for one translation. */
void *dbt_translations_allocate(struct dbt_vcpu *v, size_t size);
struct translation *dbt_translations_allocate_one(struct dbt_vcpu *v);

/* Host code from `first` up to `end` (writable view) may fault in a mirror, and goes on at `cold` then. Later sites have higher
 * addresses. Without room for it: false. */
bool dbt_translations_may_fault(struct dbt_vcpu *v, const uint8_t *first, const uint8_t *end, const uint8_t *cold);
/* The same data in the writable view. */
struct cold_data *dbt_translations_writable(const struct dbt_vcpu *v, const struct cold_data *data);
/* Where it goes on after a fault at pc, in the executable view; NULL: no fault is meant there. For a signal handler. */
const uint8_t *dbt_translations_fault(const struct dbt_vcpu *v, uintptr_t pc);

struct code_arena;
struct trampolines { /* in the writable view */
    uint8_t *exit;           /* everything in host registers; SCRATCH: the link, or 0; v->gpr[GPR_RIP] is set */
    uint8_t *exit_to_address; /* the same with RIP in ADDRESS and no link */
    /* Jumped to, with the offset of the cold data in the arena pushed: it stands behind the jump. */
    uint8_t *interpret;
    uint8_t *access;         /* ADDRESS: linear */
    uint8_t *syscall, *sysret; /* as `interpret`, for these in 64-bit code; the former at CPL 3, with the next address in ADDRESS */
    uint8_t *shared;         /* ADDRESS: linear address of the range */
    uint8_t *stack;          /* the same, and opens the stack window there if it can */
    uint8_t *missed[2], *missed_shared[2]; /* for reading and writing; ADDRESS and SCRATCH as the look-up has left them; of an operand,
                                            * and of a range that several share */
    uint8_t *exchange_stacks; /* a function: the two stack windows change places; uses SCRATCH */
    uint8_t *entered;        /* of entry_check.h */
    uint8_t *elsewhere;      /* an operand is not where the instruction's code takes it to be; nothing has been done */
    uint8_t *load_vectors;   /* SCRATCH: where to go on (executable view) */
};
typedef struct link *enter_fn(struct dbt_vcpu *v, const void *code);

enum { /* where an operand is that the mirror has not */
    OPERAND_EXPLICIT, OPERAND_PUSHED, OPERAND_POPPED, OPERAND_FRAME,
};

/* What stands behind a jump to `interpret` and the like. There are more of these than of anything else in the arena: they are small. */
struct cold_data {
    int32_t retry, next;  /* where the code goes on, as distances from here: with the access, or behind the instruction */
    uint32_t number;      /* of the translation, or where `in_memory` of a translated_op */
    uint16_t offset;      /* of the instruction in the translation's bytes */
    uint8_t size, access, align;
    uint8_t by_tlb;       /* of a look in a mirror: distance back to what stands in for it where it is no use; else 0 */
    bool in_memory : 1;
    bool falls_through : 1; /* a conditional jump that ends nothing */
    bool host_flags : 1;    /* the code at `next` wants the flags in the host's */
    bool jumps : 1;         /* OP_END */
    bool mirror : 1;        /* the mirror wants the page, too */
    bool direct : 1;        /* its operand was to lie in a window */
    unsigned tries : 2;     /* windows that a look was patched to */
    unsigned where : 2;     /* OPERAND_* */
} __attribute__((packed));

const struct trampolines *dbt_translations_trampolines(const struct dbt_vcpu *v);

struct emitter;
/* Those of SYSCALL and SYSRET; `interpret` is there. In trampoline_syscall.c. */
void dbt_emit_syscall_trampolines(struct emitter *e, struct trampolines *trampolines);
enter_fn *dbt_emit_trampolines(struct dbt_vcpu *v, struct code_arena *arena, struct trampolines *ret_trampolines);

/* Called by trampolines. What they return, if it isn't the host address to try again with: */
enum {
    CALL_NEXT,       /* the instruction is done; the code goes on at v->resume */
    CALL_NEXT_FLAGS, /* the same, and wants the flags in the host's */
    CALL_LEAVE,      /* done, and back to the run loop */
    CALL_JUMP,       /* done, and RIP is set: v->resume is the code to try */
};
uint64_t dbt_translated_access(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear);
uint64_t dbt_translated_shared(struct dbt_vcpu *v, const struct cold_data *data, uint64_t linear);
uint64_t dbt_translated_elsewhere(struct dbt_vcpu *v, const struct cold_data *data);
uint64_t dbt_translated_interpret(struct dbt_vcpu *v, const struct cold_data *data);

#endif
