/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mirrors: the user space of one process, laid out in the host's own address space as the guest has it.
 *
 * Where the user TLB lets the guest at a page, that page of guest RAM is mapped once more, at the linear address plus a constant,
 * with the same rights. Translations for a mirrored space (MODE_MIRROR) find an operand by the guest's own registers and a GS
 * prefix (translate_direct.c), or by one comparison and one addition; what is not mapped there is found out by the host's MMU. A SIGSEGV
 * then leads from the instruction to its cold piece, which asks C for the page as after any TLB miss, and C maps it. So a mirror is a
 * large TLB filled on demand, and whatever takes rights from the user TLB takes the page out of it.
 *
 * User space is mirrored in three windows, since it is as large as the host's own: programs at fixed addresses, programs at random ones,
 * and libraries, mappings and the stack, as Linux has them. What lies elsewhere goes by the TLB. The upper two are at one distance
 * from the host's addresses, where room is found for that: the GS base holds it while the vCPU's thread runs, and MIRROR_REACH around them
 * nothing else is mapped. The lower one is at the guest's own addresses, for the first vCPU that asks.
 *
 * Mapping a page costs thousands of accesses. So one space at a time is mirrored, one that interrupts keep meeting at work, and one that
 * asks for new pages all the time loses its mirror for a while.
 *
 * All functions are the vCPU's own thread's. */
#ifndef FERRY_ENGINE_DBT_MIRROR_H
#define FERRY_ENGINE_DBT_MIRROR_H

#include "engine/dbt/vcpu.h"

#define MIRROR_SLACK 8192u /* an operand that begins in a window may reach so far; ends of windows are left out */
#define MIRROR_REACH_BITS 38
#define MIRROR_REACH (INT64_C(1) << MIRROR_REACH_BITS) /* bytes around windows at a distance where nothing else is mapped */

/* v->mirror_window[] of the address if it lies in one, else -1; constant. */
int dbt_mirror_window(uint64_t linear);
/* Where an address of window `number` is mirrored; the space that is mirrored may not let the guest there, or be no more. */
const uint8_t *dbt_mirror_address(const struct dbt_vcpu *v, unsigned number, uint64_t linear);

/* The thread begins and ends to run guest code. */
void dbt_mirror_enter(struct dbt_vcpu *v);
void dbt_mirror_leave(void);

/* An interrupt came while the guest ran user code: perhaps its space is worth a mirror. */
void dbt_mirror_tick(struct dbt_vcpu *v);

/* The TLB or its mode was chosen anew: v->mirrored is set. */
void dbt_mirror_choose(struct dbt_vcpu *v);

/* An access to that many bytes has been granted by the user TLB, which has the pages still: mirrors them. */
void dbt_mirror_fill(struct dbt_vcpu *v, uint64_t linear, unsigned size);

/* The instruction at that address has had an operand where the distance of direct operands does not hold (translate_direct.c): it
 * is to be translated otherwise from now on. Now and then all are forgotten. */
void dbt_mirror_distrust(struct dbt_vcpu *v, uint64_t linear);
bool dbt_mirror_distrusts(const struct dbt_vcpu *v, uint64_t linear);

/* The guest's RSP is not where code for the mirror may run. */
void dbt_mirror_astray(struct dbt_vcpu *v);

/* The space's mappings may have changed: all of its pages go. over: it is another process now, perhaps. */
void dbt_mirror_forget(struct dbt_vcpu *v, const struct address_space *space, bool over);
void dbt_mirror_forget_page(struct dbt_vcpu *v, const struct address_space *space, uint64_t linear);
/* Nothing may be written to a physical page for now. */
void dbt_mirror_protect_page(struct dbt_vcpu *v, uint64_t physical);
/* All pages go, whosever they are. */
void dbt_mirror_forget_all(struct dbt_vcpu *v);

void dbt_mirror_prepare(void); /* takes SIGSEGV, once for the process */
void dbt_mirror_free(struct dbt_vcpu *v);

#endif
