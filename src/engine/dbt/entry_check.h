/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry checks (checks=on): whenever a translation is entered, by whatever way, C looks whether it is the right one.
 *
 * Links, jump tables and entries behind calls lead from one translation to the next without anybody looking up what is right, as long
 * as nothing takes them away. Whether all that should have was taken away is what is checked here: the translation is valid, made for the
 * present mode, its linear address is mapped to the physical one that it was made from and may be executed, and the bytes there are
 * those that were translated. Off, translations have no trace of it.
 *
 * As on a processor, a mapping may be older than the page tables until it is flushed: page tables count only where the TLB has no
 * entry, and a flush has come since the mapping was last seen in them. Others' stores count once they have been announced (mail.h). */
#ifndef FERRY_ENGINE_DBT_ENTRY_CHECK_H
#define FERRY_ENGINE_DBT_ENTRY_CHECK_H

#include "engine/dbt/vcpu.h"

struct translation;
struct translator;

/* v->entry_check. -ENOMEM. */
int dbt_entry_check_new(struct dbt_vcpu *v);
void dbt_entry_check_free(struct dbt_vcpu *v); /* accepts a vCPU without */

/* For the translator: the code behind a head that leads into `entry`, which has its final addresses and whose code is in the present
 * translation. Flags must be in memory or dead. Does nothing where checks are off. */
void dbt_emit_entry_check(struct translator *t, const struct translation *entry);

/* For the TLB: what the present space has at a linear page, or all of it (NO_PAGE), has been flushed. */
void dbt_entry_check_flush(struct dbt_vcpu *v, uint64_t page);
static inline void dbt_entry_check_flushed(struct dbt_vcpu *v, uint64_t page)
{
    if (UNLIKELY(v->entry_check != NULL))
        dbt_entry_check_flush(v, page);
}

/* Whether a wrong translation was entered: then ret_exit says which, and has gone to the hook `notice`. */
bool dbt_entry_check_failed(const struct dbt_vcpu *v, struct exit *ret_exit);

/* How many entries have been checked. */
uint64_t dbt_entry_check_count(const struct dbt_vcpu *v);

/* Called by the trampoline; `data` is what dbt_emit_entry_check() put behind the call. */
uint64_t dbt_translated_entered(struct dbt_vcpu *v, const void *data);

#endif
