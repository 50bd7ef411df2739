/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory of translations: host code in chunks, hot and cold apart, what belongs to it, and the list of places that may fault. */
#include "engine/dbt/translation_cache.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bits.h"

#define POPULATE KIB(256)
#define CHUNK_MAX KIB(512)
#define SITE_CODE_MIN 96u /* bytes of host code for each place that may fault in a mirror, hot and cold together */
#define RESERVE KIB(64) /* no translation takes more, of code or of memory */
#define CACHE_LINE 64u
#define ALIGNMENT 8u     /* of what is allocated */

int dbt_translation_memory_new(struct translation_cache *cache, size_t code_size)
{
    int r = code_arena_new(code_size, &cache->arena);

    if (r < 0)
        return r;
    cache->memory_size = code_size;
    cache->chunk_size = code_size / 16 < CHUNK_MAX ? code_size / 16 : CHUNK_MAX;
    if (cache->chunk_size < 2 * RESERVE)
        cache->chunk_size = 2 * RESERVE;
    cache->memory = mmap(NULL, code_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->memory == MAP_FAILED) {
        cache->memory = NULL;
        return -ENOMEM;
    }
    cache->sites_max = code_size / SITE_CODE_MIN;
    cache->site = mmap(NULL, cache->sites_max * sizeof(*cache->site), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->site == MAP_FAILED) {
        cache->site = NULL;
        return -ENOMEM;
    }
    return 0;
}

void dbt_translation_memory_free(struct translation_cache *cache)
{
    code_arena_free(cache->arena);
    if (cache->memory != NULL)
        munmap(cache->memory, cache->memory_size);
    if (cache->site != NULL)
        munmap(cache->site, cache->sites_max * sizeof(*cache->site));
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

void *dbt_translations_allocate(struct dbt_vcpu *v, size_t size)
{
    struct translation_cache *cache = v->translations;
    void *p = cache->memory + cache->memory_used;

    cache->memory_used += align_up(size, ALIGNMENT);
    return p;
}

struct translation *dbt_translations_allocate_one(struct dbt_vcpu *v)
{
    v->translations->memory_used = align_up(v->translations->memory_used, CACHE_LINE);
    return dbt_translations_allocate(v, sizeof(struct translation));
}

uint8_t *dbt_translations_code(const struct dbt_vcpu *v)
{
    return v->translations->arena->write + align_up(v->translations->hot.at, 16);
}

void dbt_translations_commit(struct dbt_vcpu *v, const uint8_t *end)
{
    v->translations->hot.at = (size_t)(end - v->translations->arena->write);
}

const uint8_t *dbt_translations_start(const struct dbt_vcpu *v)
{
    return v->translations->arena->write;
}

uint8_t *dbt_translations_cold_code(const struct dbt_vcpu *v)
{
    return v->translations->arena->write + v->translations->cold.at;
}

void dbt_translations_commit_cold(struct dbt_vcpu *v, const uint8_t *end)
{
    v->translations->cold.at = (size_t)(end - v->translations->arena->write);
}

/* There is one: make_room() has seen to it. */
static void continue_chunk(struct translation_cache *cache, struct chunk *chunk)
{
    if (chunk->end - chunk->at >= RESERVE)
        return;
    chunk->at = cache->arena->used;
    cache->arena->used += cache->chunk_size;
    chunk->end = cache->arena->used;
}

uint32_t dbt_translations_number(const struct dbt_vcpu *v, const void *p)
{
    return (uint32_t)(((const uint8_t *)p - v->translations->memory) / ALIGNMENT) + 1;
}

const void *dbt_translations_numbered(const struct dbt_vcpu *v, uint32_t number)
{
    return v->translations->memory + ((size_t)number - 1) * ALIGNMENT;
}

/* The kernel is asked for pages by the dozen, not by a fault for each. Where it can't do that (before Linux 5.14) faults bring them. */
static void make_present(uint8_t *start, size_t size, size_t needed, size_t *present, int advice)
{
    while (*present < needed && *present < size) {
        size_t step = size - *present < POPULATE ? size - *present : POPULATE;

        madvise(start + *present, step, advice);
        *present += step;
    }
}

static void make_room_present(struct translation_cache *cache)
{
    size_t before = cache->code_present, code = cache->arena->used;

    make_present(cache->memory, cache->memory_size, cache->memory_used + RESERVE, &cache->memory_present, MADV_POPULATE_WRITE);
    make_present(cache->arena->write, cache->arena->size, code, &cache->code_present, MADV_POPULATE_WRITE);
    make_present(cache->arena->execute, cache->arena->size, code, &before, MADV_POPULATE_READ);
}

bool dbt_translation_memory_full(const struct translation_cache *cache)
{
    return cache->memory_size - cache->memory_used < RESERVE || cache->arena->size - cache->arena->used < 2 * cache->chunk_size;
}

void dbt_translation_memory_provide(struct translation_cache *cache)
{
    continue_chunk(cache, &cache->hot);
    continue_chunk(cache, &cache->cold);
    make_room_present(cache);
}

void dbt_translation_memory_clear(struct translation_cache *cache)
{
    cache->most_code_used = larger(cache->arena->used, cache->most_code_used);
    cache->most_memory_used = larger(cache->memory_used, cache->most_memory_used);
    cache->most_sites = larger(cache->sites, cache->most_sites);
    cache->memory_used = cache->sites = 0;
    cache->arena->used = cache->code_start;
    cache->hot = cache->cold = (struct chunk){0, 0};
}

size_t dbt_translations_code_used(const struct dbt_vcpu *v)
{
    const struct translation_cache *cache = v->translations;

    return cache != NULL ? larger(cache->arena->used, cache->most_code_used) : 0;
}

/* Tables by which they are found: each translation may have touched a page of each. */
static size_t index_used(const struct dbt_vcpu *v)
{
    const struct translation_cache *cache = v->translations;
    size_t size = sizeof(cache->hash) + sizeof(cache->start) + sizeof(v->jump_page) + sizeof(v->jump_table) +
                  JUMP_RESERVE_SLOTS * sizeof(*v->jump_reserve);
    size_t touched = v->statistics[STATISTIC_TRANSLATIONS] * 4096;

    return touched < size ? touched : size;
}

size_t dbt_translations_memory_used(const struct dbt_vcpu *v)
{
    const struct translation_cache *cache = v->translations;

    if (cache == NULL)
        return 0;
    return larger(cache->memory_used, cache->most_memory_used) + larger(cache->sites, cache->most_sites) * sizeof(*cache->site) +
           index_used(v);
}

bool dbt_translations_may_fault(struct dbt_vcpu *v, const uint8_t *first, const uint8_t *end, const uint8_t *cold)
{
    struct translation_cache *cache = v->translations;
    const uint8_t *start = cache->arena->write;

    if (cache->sites == cache->sites_max)
        return false;
    cache->site[cache->sites++] =
        (struct fault_site){(uint32_t)(first - start), (uint32_t)(end - start), (uint32_t)(cold - start)};
    return true;
}

struct cold_data *dbt_translations_writable(const struct dbt_vcpu *v, const struct cold_data *data)
{
    const struct code_arena *arena = v->translations->arena;

    return (struct cold_data *)(void *)(arena->write + ((const uint8_t *)data - arena->execute));
}

const uint8_t *dbt_translations_fault(const struct dbt_vcpu *v, uintptr_t pc)
{
    const struct translation_cache *cache = v->translations;
    size_t low = 0, high = cache != NULL ? cache->sites : 0;
    uintptr_t at = cache != NULL ? pc - (uintptr_t)cache->arena->execute : 0;

    while (low < high) { /* the last that begins at or before it */
        size_t middle = (low + high) / 2;

        if (cache->site[middle].first <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && at < cache->site[low - 1].end ? cache->arena->execute + cache->site[low - 1].cold : NULL;
}
