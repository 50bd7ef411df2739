/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the cache of translations share: the cache itself. Nobody else sees it. */
#ifndef FERRY_ENGINE_DBT_TRANSLATION_CACHE_H
#define FERRY_ENGINE_DBT_TRANSLATION_CACHE_H

#include "engine/dbt/arena.h"
#include "engine/dbt/translation.h"

#define HASH_SIZE 262144u
#define TABLE_LIST_MAX 2048u
#define START_PAGES 2048u /* power of two */
#define PAGE_HASH_SIZE 4096u
#define RESERVE_PAGES 4096u /* power of two */
#define RECENT_OPS 256u  /* power of two */

struct chunk { /* of the arena, being filled: offsets */
    size_t at, end;
};

struct recent_op {
    const struct cold_data *data; /* NULL: none */
    struct translated_op op;
};

struct fault_site { /* distances from the start of the arena */
    uint32_t first, end, cold;
};

struct translation_cache {
    struct chunk hot, cold; /* what runs and what seldom runs stand apart: the former fits the host's caches better */
    size_t chunk_size;
    struct code_arena *arena;
    struct trampolines trampolines;
    enter_fn *enter;
    size_t code_start;       /* behind the trampolines */
    uint8_t *memory;         /* translations, links, ops */
    size_t memory_size, memory_used;
    size_t memory_present, code_present; /* how far pages have been asked for */
    size_t most_memory_used, most_code_used; /* before it was emptied */
    struct fault_site *site; /* by address */
    size_t sites, most_sites, sites_max;
    bool full;
    uint64_t reuses;         /* how often all of it was forgotten: links of before are gone */
    bool supervisor_not_global; /* the jump table of CPL 0 has entries that a flush takes away */
    unsigned table_count[2];    /* entries of the jump tables are listed, as long as they find room */
    uint16_t table_list[2][TABLE_LIST_MAX];
    uint64_t reserve_pages[2][RESERVE_PAGES / 64]; /* a bit for each linear page that may have entries in the reserve */
    uint32_t last_generation;
    const struct address_space *crossing_space; /* whose the links into other pages are */
    struct link *crossing;                      /* the list of them */
    uint64_t crossing_pages[RESERVE_PAGES / 64]; /* a bit for each linear page that they may lead into */
    /* A bit for each place where there may be a translation: it answers "no" at once. Pages stand together, as they are read. */
    uint64_t start[START_PAGES][4096 / 64];
    struct translation *hash[HASH_SIZE];
    struct translation *page[PAGE_HASH_SIZE];
    struct recent_op recent[RECENT_OPS]; /* what instructions C was called for of late */
};

static inline const uint8_t *executable(const struct translation_cache *cache, const uint8_t *writable)
{
    return cache->arena->execute + (writable - cache->arena->write);
}

/* --- their memory: translation_memory.c ------------------------------------------------------------------------------------- */

/* Host code, and memory of as many bytes; what has been made is freed by dbt_translation_memory_free() on failure, too. */
int dbt_translation_memory_new(struct translation_cache *cache, size_t code_size);
void dbt_translation_memory_free(struct translation_cache *cache);
/* Whether one more translation may not fit. */
bool dbt_translation_memory_full(const struct translation_cache *cache);
/* Room for one translation, where it isn't full. */
void dbt_translation_memory_provide(struct translation_cache *cache);
/* All of it is free again. */
void dbt_translation_memory_clear(struct translation_cache *cache);

/* --- ways from one to another: translation_jump.c ------------------------------------------------------------------------------ */

int dbt_jump_tables_new(struct dbt_vcpu *v); /* -ENOMEM */
void dbt_jump_tables_free(struct dbt_vcpu *v);
/* The table of t's mode leads to it. */
void dbt_jump_table_enter(struct dbt_vcpu *v, const struct translation *t, bool global);
/* No way leads to it or from it any more. */
void dbt_translation_unlink(struct dbt_vcpu *v, struct translation *t);
/* If `to` is where the link may lead. */
void dbt_translation_link(struct dbt_vcpu *v, struct link *link, struct translation *to);

#endif
