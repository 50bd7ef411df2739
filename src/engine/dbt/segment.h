/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors, segment registers and stacks of other privilege levels: what far transfers, events and system
 * instructions share (SDM vol. 3 ch. 3, 5, 6). Private to the files that execute them. */
#ifndef FERRY_ENGINE_DBT_SEGMENT_H
#define FERRY_ENGINE_DBT_SEGMENT_H

#include "engine/dbt/exception.h"
#include "engine/dbt/softmmu.h"

enum { /* types of system descriptors */
    TYPE_TSS16 = 1, TYPE_LDT = 2, TYPE_TSS16_BUSY = 3, TYPE_CALL_GATE16 = 4, TYPE_TASK_GATE = 5, TYPE_INTERRUPT_GATE16 = 6,
    TYPE_TRAP_GATE16 = 7, TYPE_TSS32 = 9, TYPE_TSS32_BUSY = 11, TYPE_CALL_GATE32 = 12, TYPE_INTERRUPT_GATE32 = 14,
    TYPE_TRAP_GATE32 = 15, /* in long mode the 32-bit types mean the 64-bit ones */
};

enum { TYPE_ACCESSED = 1, TYPE_WRITABLE = 2, TYPE_READABLE = 2, TYPE_EXPAND_DOWN = 4, TYPE_CONFORMING = 4, TYPE_CODE = 8 };

struct descriptor {
    uint64_t address;           /* linear */
    uint64_t raw;               /* its low 8 bytes */
    struct x86_segment segment; /* unpacked; with the selector by which it was found */
};

/* Finds the descriptor of a non-null selector; false: outside of its table. */
bool dbt_descriptor_read(struct dbt_vcpu *v, uint16_t selector, struct descriptor *ret_descriptor);

/* The same for an LDT or TSS, which in long mode has 16 bytes: segment.base is whole then. */
bool dbt_descriptor_read_system(struct dbt_vcpu *v, uint16_t selector, struct descriptor *ret_descriptor);

/* Sets the accessed bit in memory and in the copy. */
void dbt_descriptor_mark_accessed(struct dbt_vcpu *v, struct descriptor *descriptor);

static inline bool selector_null(uint16_t selector)
{
    return (selector & ~3u) == 0;
}

static inline unsigned selector_rpl(uint16_t selector)
{
    return selector & 3u;
}

static inline bool segment_is_code(const struct x86_segment *s)
{
    return s->s && (s->type & TYPE_CODE);
}

static inline bool segment_is_writable_data(const struct x86_segment *s)
{
    return s->s && (s->type & (TYPE_CODE | TYPE_WRITABLE)) == TYPE_WRITABLE;
}

/* What real mode and virtual-8086 mode make of a selector. */
void dbt_segment_real(struct dbt_vcpu *v, unsigned segment, uint16_t selector);

/* MOV, POP and LxS to a segment register other than CS, in every mode. */
void dbt_load_segment(struct dbt_vcpu *v, unsigned segment, uint16_t selector);

/* A protected-mode load of DS, ES, FS or GS, without dbt_update_mode(). vector: #GP, or #TS in a task switch. */
void dbt_load_data_segment(struct dbt_vcpu *v, unsigned segment, uint16_t selector, enum x86_vector vector);

/* Checks a selector for SS at privilege level cpl. vector: #GP or #TS, with the selector (and EXT). */
struct x86_segment dbt_check_stack_segment(struct dbt_vcpu *v, uint16_t selector, unsigned cpl, enum x86_vector vector);

/* An error code: a selector's index and TI, and EXT while an event is being delivered. */
uint32_t dbt_selector_error(const struct dbt_vcpu *v, uint16_t selector);

/* A stack under construction or being read; nothing of the vCPU changes until dbt_stack_commit(). */
struct stack {
    struct x86_segment ss;
    uint64_t sp, mask;
    unsigned cpl;      /* whose rights its memory is accessed with */
    bool flat;         /* 64-bit mode: no base, no limit */
    uint32_t error;    /* of #SS when it is too small */
};

/* The present stack. */
struct stack dbt_stack(const struct dbt_vcpu *v);
void dbt_stack_push(struct dbt_vcpu *v, struct stack *stack, unsigned size, uint64_t value);
uint64_t dbt_stack_pop(struct dbt_vcpu *v, struct stack *stack, unsigned size);
uint64_t dbt_stack_peek(struct dbt_vcpu *v, const struct stack *stack, uint64_t offset, unsigned size);
/* The new RSP: bits above the stack's address size are kept from rsp. */
static inline uint64_t dbt_stack_pointer(const struct stack *stack, uint64_t rsp)
{
    return (rsp & ~stack->mask) | (stack->sp & stack->mask);
}

/* A stack at privilege level cpl in a new SS that is already checked. flat in 64-bit mode. */
struct stack dbt_stack_new(const struct x86_segment *ss, uint64_t sp, unsigned cpl, bool flat);

/* The null SS of 64-bit mode at a privilege level, the flat code and data segments that SYSCALL and the like load. */
struct x86_segment dbt_null_stack_segment(unsigned cpl);
struct x86_segment dbt_flat_code(uint16_t selector, unsigned dpl, bool long_mode);
struct x86_segment dbt_flat_data(uint16_t selector, unsigned dpl);

/* Reads SS:RSP of an inner level from the TSS (legacy), or RSP0..2 or an IST entry (64-bit). */
void dbt_tss_stack(struct dbt_vcpu *v, unsigned level, uint16_t *ret_ss, uint64_t *ret_sp);
uint64_t dbt_tss_stack64(struct dbt_vcpu *v, unsigned level_or_ist, bool ist);

/* A jump target in a new CS: within its limit or canonical, else #GP(0) (with EXT while delivering). */
void dbt_check_target(struct dbt_vcpu *v, const struct x86_segment *cs, uint64_t rip);

/* Segment registers whose privilege is too low for the CPL after a return outward become null. */
void dbt_null_inaccessible_segments(struct dbt_vcpu *v, unsigned cpl);

/* Hardware task switch (legacy protected mode only), in task.c. */
enum task_switch { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_EVENT };
void dbt_task_switch(struct dbt_vcpu *v, uint16_t selector, enum task_switch why, bool has_error, uint32_t error);

#endif
