/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lock-step: the interpreter runs the guest, and each translation is tried against it first, on copies of the pages that it writes to.
 *
 * A trial runs the translation, alone, from the present state; then the interpreter runs the same instructions from that state; then
 * everything that a guest can see is compared. Trials change nothing: state is put back, stores go to copies, and the first
 * instruction that would reach a device, the clock or system registers ends both. Only then does the interpreter do the instructions
 * for good, which is all that devices and other CPUs see. Somebody else may write between two halves of a trial, so only what
 * differs several times over is a fault. Links and jump tables are not used: every translation comes back.
 *
 * Flags that a translation leaves other than the interpreter does are a fault only when an instruction reads them, since flags that
 * nobody reads are not kept (decision 0009); with flags=exact at once. */
#ifndef FERRY_ENGINE_DBT_LOCKSTEP_H
#define FERRY_ENGINE_DBT_LOCKSTEP_H

#include "engine/dbt/op.h"

struct guest_instruction;
struct lockstep_code;
struct translator;

#define LOCKSTEP_ALWAYS UINT32_MAX

/* v->lockstep. limit: how many executions of each translation are tried; the others are only interpreted. -ENOMEM. */
int dbt_lockstep_new(struct dbt_vcpu *v, uint32_t limit);
void dbt_lockstep_free(struct dbt_vcpu *v); /* accepts a vCPU without */

/* Instead of dbt_translations_run(). */
void dbt_lockstep_run(struct dbt_vcpu *v);
/* Whether a difference was found: then ret_exit says so. The whole report has gone to the hook `notice`. */
bool dbt_lockstep_failed(const struct dbt_vcpu *v, struct exit *ret_exit);

/* For the translator: whether an instruction is never tried, so that it needs no translation; and what the instructions of a translation
 * were, in memory that lives as long as the translation. code_end: where its host code ends, in the writable view. */
bool dbt_lockstep_excludes(const struct guest_instruction *g);
struct lockstep_code *dbt_lockstep_describe(const struct translator *t, const uint8_t *code_end);

/* While v->trying: the instruction is not to be done; it and what is behind it are left out of the trial. */
_Noreturn void dbt_lockstep_stop_trial(struct dbt_vcpu *v);
/* The same if the instruction that ends at next_rip is excluded. */
void dbt_lockstep_check_instruction(struct dbt_vcpu *v, uint64_t next_rip);
static inline void dbt_lockstep_before_device(struct dbt_vcpu *v)
{
    if (UNLIKELY(v->trying))
        dbt_lockstep_stop_trial(v);
}

/* The copy of a physical page, NULL: there is none; and the same, made if need be from the page at `real`. */
uint8_t *dbt_lockstep_present_copy(const struct dbt_vcpu *v, uint64_t page);
static inline uint8_t *dbt_lockstep_find_copy(const struct dbt_vcpu *v, uint64_t page)
{
    return UNLIKELY(v->trying) ? dbt_lockstep_present_copy(v, page) : NULL;
}
uint8_t *dbt_lockstep_copy(struct dbt_vcpu *v, uint64_t page, uint8_t *real);

#endif
