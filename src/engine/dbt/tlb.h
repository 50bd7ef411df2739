/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inner side of the software TLB: filling entries, and taking rights away from them. */
#ifndef FERRY_ENGINE_DBT_TLB_H
#define FERRY_ENGINE_DBT_TLB_H

#include "engine/dbt/softmmu.h"

/* The translation of the page for this access by tlb_mode's rights, walked if needed; raises the fault if it isn't
 * allowed. The pointer is good until the next call. For a write the dirty bit is set. */
const struct tlb_translation *dbt_tlb_translate(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned access);

/* Whether there is one that allows the access, without a walk. */
bool dbt_tlb_find(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned access);

/* ACCESS_READ and ACCESS_WRITE as user code may do them to a page of the present space at once, by a walk of its own: without a
 * fault, and without a place in the TLB. 0 where there is no memory. */
unsigned dbt_tlb_peek(struct dbt_vcpu *v, uint64_t page, uint64_t *ret_physical);

/* x86_walk() for this access, without a trace: no accessed bit, no fault, no place in the TLB. */
struct x86_translation;
uint32_t dbt_tlb_look(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear, unsigned access, struct x86_translation *ret);

/* Chooses the fast tags of one entry anew from its translation, code pages, dirty log and breakpoints. */
void dbt_tlb_retag(struct dbt_vcpu *v, enum tlb_mode mode, uint64_t linear);

/* The same of all entries of the present address space that a physical page has. */
void dbt_tlb_retag_page(struct dbt_vcpu *v, uint64_t physical_page);

/* Take away the write tags of a physical page, or of all. */
void dbt_tlb_protect_page(struct dbt_vcpu *v, uint64_t physical_page);
void dbt_tlb_protect_all(struct dbt_vcpu *v);

/* Points v->tlb to the TLB of the present address space and tlb_mode. */
void dbt_tlb_choose(struct dbt_vcpu *v);

/* A fresh, empty set of address spaces; -ENOMEM. */
int dbt_tlb_new(struct dbt_vcpu *v);
void dbt_tlb_free(struct dbt_vcpu *v);

/* DR7 changed: which breakpoints are on, and pages with data breakpoints lose their fast tags. */
void dbt_debug_changed(struct dbt_vcpu *v);

#endif
