/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vCPUs and other threads tell each other: code was overwritten, a page now holds code, writes must be logged anew.
 *
 * A vCPU takes its mail between blocks and when it comes back from a hook. While it is outside guest code (halted, stopped, in a hook)
 * it counts as having answered: it takes its mail before it touches guest memory again. */
#ifndef FERRY_ENGINE_DBT_MAIL_H
#define FERRY_ENGINE_DBT_MAIL_H

#include "engine/dbt/vcpu.h"

#define MAIL_PAGES_MAX 64

struct dbt_mail { /* guarded by the vCPU's lock */
    unsigned written_count, protect_count;
    uint64_t written[MAIL_PAGES_MAX]; /* physical pages whose cached code is stale */
    uint64_t protect[MAIL_PAGES_MAX]; /* physical pages that stores must reach by the slow path from now on */
    bool all_written, all_protect;    /* the lists were too short: everything */
};

/* Tells every vCPU but `except` (NULL: all) that the page's cached code is stale. Doesn't wait. */
void dbt_mail_code_written(struct dbt_vm *vm, const struct dbt_vcpu *except, uint64_t page);

/* Has every vCPU but `except` send stores to the page down the slow path. Doesn't wait: who is exclusive need not. */
void dbt_mail_protect(struct dbt_vm *vm, const struct dbt_vcpu *except, uint64_t page);

/* The same for all pages and all vCPUs, and waits until they do. Not from a vCPU's thread: two that wait for one another would have to
 * take their mail meanwhile, and that makes both begin again what they wait for. */
void dbt_mail_protect_all(struct dbt_vm *vm);

/* Takes the mail. In the vCPU's own thread. */
void dbt_mail_take(struct dbt_vcpu *v);

/* Between the two no other vCPU runs guest code: for locked accesses that the host can't do in one piece, and for what all of them are
 * to know before they go on (they take their mail first). Others are stopped at the border of an instruction, and sleep. begin may take
 * mail; an exception ends it. */
void dbt_exclusive_begin(struct dbt_vcpu *v);
void dbt_exclusive_end(struct dbt_vcpu *v);
/* Waits, outside of guest code, while another vCPU is between them. */
void dbt_exclusive_let_pass(struct dbt_vcpu *v);

/* Around everything that may block: hooks, sleep. */
void dbt_leave_guest(struct dbt_vcpu *v);
void dbt_enter_guest(struct dbt_vcpu *v);

#endif
