/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks: runs of decoded instructions, cached by the physical address and mode they were decoded from.
 *
 * Each vCPU has a cache of its own, so nothing is locked. A page that a block lies in is marked in memory->code_pages, which sends
 * stores to it down the slow path; that invalidates the blocks in every vCPU (mail.h). Blocks live in one arena that is emptied as
 * a whole when full; an invalid block keeps its memory until then, so the running one never vanishes under its own feet. */
#ifndef FERRY_ENGINE_DBT_BLOCK_H
#define FERRY_ENGINE_DBT_BLOCK_H

#include "engine/dbt/op.h"

#define BLOCK_OPS_MAX 48

struct block {
    uint64_t physical;       /* of its first byte */
    uint64_t second_page;    /* physical page of the tail of an instruction that crosses; UINT64_MAX: none */
    uint32_t mode;
    uint16_t count;          /* ops */
    uint16_t bytes;
    bool valid;
    struct block *hash_next;
    struct block *page_next[2]; /* in the list of its first and of its second page */
    struct op op[];
};

int dbt_blocks_new(struct dbt_vcpu *v, size_t arena_size);
void dbt_blocks_free(struct dbt_vcpu *v);

/* The block at the present RIP, decoded if needed. Raises the fetch's faults. v->op must be NULL. */
const struct block *dbt_block_lookup(struct dbt_vcpu *v);

/* Drops the blocks of one physical page, or all; ends the running block behind the present instruction. */
void dbt_blocks_invalidate_page(struct dbt_vcpu *v, uint64_t page);
void dbt_blocks_clear(struct dbt_vcpu *v);

/* Physical page of code at a linear address, and its bytes in the host. Raises the fetch's faults. */
uint64_t dbt_fetch_page(struct dbt_vcpu *v, uint64_t linear, const uint8_t **ret_host);
/* Whether this vCPU may have blocks of the page with that number. */
static inline bool dbt_has_own_code(const struct dbt_vcpu *v, uint64_t number)
{
    return (v->own_code[number / 64] & BIT(number % 64)) != 0;
}
/* From here on every store to the page is noticed. May take mail. */
void dbt_watch_page(struct dbt_vcpu *v, uint64_t page);
/* Empties everything and the thunks with it; nothing runs. */
void dbt_blocks_reuse(struct dbt_vcpu *v);

/* The mapping of a linear page changed: look its blocks up by physical address again. */
void dbt_jump_cache_forget_page(struct dbt_vcpu *v, uint64_t linear);

/* The most bytes that cached code has taken so far: what of the arena is resident. For the statistics. */
size_t dbt_blocks_used(const struct dbt_vcpu *v);

#endif
