/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of translations: look-up, links, jump tables, invalidation. See translation.h.
 * Long because all of this works on one structure, which nobody else sees. */
#include "engine/dbt/translation.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/dbt/arena.h"
#include "engine/dbt/decoded.h"
#include "engine/dbt/emit.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/thunk.h"
#include "engine/dbt/tlb.h"
#include "engine/dbt/translate.h"

#define HASH_SIZE 262144u
#define TABLE_LIST_MAX 2048u
#define START_PAGES 2048u /* power of two */
#define PAGE_HASH_SIZE 4096u
#define RESERVE_PAGES 4096u /* power of two */
#define POPULATE KIB(256)
#define CHUNK_MAX KIB(512)
#define TABLE_EXIT_MAX 64u /* of dbt_emit_through_table(), and to align it */
#define SITE_CODE_MIN 96u /* bytes of host code for each place that may fault in a mirror, hot and cold together */
#define RESERVE KIB(64) /* no translation takes more, of code or of memory */
#define ALIGNMENT 8u     /* of what is allocated */
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
    /* A bit for each place where there may be a translation: it answers "no" at once. Pages stand together, as they are read. */
    uint64_t start[START_PAGES][4096 / 64];
    struct translation *hash[HASH_SIZE];
    struct translation *page[PAGE_HASH_SIZE];
    struct recent_op recent[RECENT_OPS]; /* what instructions C was called for of late */
};

static uint64_t mix(uint64_t physical, uint64_t linear)
{
    return ((physical ^ (linear << 20)) * UINT64_C(0x9e3779b97f4a7c15)) >> 40;
}

static unsigned hash_of(uint64_t physical, uint64_t linear)
{
    return (unsigned)mix(physical, linear) & (HASH_SIZE - 1);
}

static uint64_t *start_bit(struct translation_cache *cache, uint64_t physical, uint64_t linear, uint64_t *ret_mask)
{
    uint64_t page = mix(TLB_PAGE(physical), TLB_PAGE(linear)) & (START_PAGES - 1), offset = linear & 0xfff;

    *ret_mask = BIT(offset % 64);
    return &cache->start[page][offset / 64];
}

static unsigned page_hash(uint64_t page)
{
    return (unsigned)(page >> 12) & (PAGE_HASH_SIZE - 1);
}

static const uint8_t *executable(const struct translation_cache *cache, const uint8_t *writable)
{
    return cache->arena->execute + (writable - cache->arena->write);
}

/* --- places that may fault ------------------------------------------------------------------------------------------------- */

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

/* --- jump tables ----------------------------------------------------------------------------------------------------------- */

/* Nobody is at CPL 1 or 2 with a generation that an entry has. */
static void clear_reserve(struct dbt_vcpu *v, unsigned user)
{
    struct translation_cache *cache = v->translations;

    if (cache->last_generation == UINT32_MAX - 1) {
        memset(v->jump_reserve, 0, JUMP_RESERVE_SLOTS * sizeof(*v->jump_reserve));
        cache->last_generation = 0;
        v->jump_generation[user ? 0 : 3] = ++cache->last_generation;
    }
    v->jump_generation[user ? 3 : 0] = ++cache->last_generation;
    v->jump_generation[1] = v->jump_generation[2] = UINT32_MAX;
    memset(cache->reserve_pages[user], 0, sizeof(cache->reserve_pages[user]));
}

static struct jump_reserve *reserve_slot(const struct dbt_vcpu *v, uint64_t linear)
{
    return &v->jump_reserve[((uint32_t)linear ^ (uint32_t)(linear >> JUMP_RESERVE_SHIFT)) & (JUMP_RESERVE_SLOTS - 1)];
}

static uint64_t *reserve_page(struct translation_cache *cache, unsigned user, uint64_t linear, uint64_t *ret_mask)
{
    uint64_t bit = linear >> 12 & (RESERVE_PAGES - 1);

    *ret_mask = BIT(bit % 64);
    return &cache->reserve_pages[user][bit / 64];
}

static void enter_in_reserve(struct dbt_vcpu *v, const struct translation *t)
{
    unsigned user = t->mode & MODE_USER ? 1 : 0;
    uint64_t mask, *pages = reserve_page(v->translations, user, t->linear, &mask);

    *pages |= mask;
    *reserve_slot(v, t->linear) = (struct jump_reserve){.linear = t->linear, .generation = v->jump_generation[user ? 3 : 0],
                                                        .code = (uint32_t)(t->checked - v->translations->arena->write)};
}

static bool reserve_may_have(struct dbt_vcpu *v, unsigned user, uint64_t linear)
{
    uint64_t mask, *pages = reserve_page(v->translations, user, linear, &mask);

    return (*pages & mask) != 0;
}

static void clear_table(struct dbt_vcpu *v, unsigned user)
{
    struct translation_cache *cache = v->translations;
    const void *miss = executable(cache, cache->trampolines.exit_to_address);
    unsigned count = cache->table_count[user];

    if (count <= TABLE_LIST_MAX)
        for (unsigned i = 0; i < count; i++)
            v->jump_table[user][cache->table_list[user][i]] = miss;
    else
        for (unsigned i = 0; i < JUMP_SLOTS; i++)
            v->jump_table[user][i] = miss;
    cache->table_count[user] = 0;
    clear_reserve(v, user);
    if (!user)
        cache->supervisor_not_global = false;
}

static void enter_in_table(struct dbt_vcpu *v, const struct translation *t, bool global)
{
    struct translation_cache *cache = v->translations;
    unsigned user = t->mode & MODE_USER ? 1 : 0, slot = dbt_jump_slot(t->linear);

    if (v->jump_table_mode[user] != t->mode) { /* what is in there was translated for other code */
        clear_table(v, user);
        v->jump_table_mode[user] = t->mode;
    }
    if (v->jump_table[user][slot] == executable(cache, cache->trampolines.exit_to_address)) {
        if (cache->table_count[user] < TABLE_LIST_MAX)
            cache->table_list[user][cache->table_count[user]] = (uint16_t)slot;
        if (cache->table_count[user] <= TABLE_LIST_MAX)
            cache->table_count[user]++;
    }
    v->jump_table[user][slot] = executable(cache, t->checked);
    v->jump_page[user][slot] = (uint32_t)(t->linear >> 12);
    enter_in_reserve(v, t);
    if (!user && !global)
        cache->supervisor_not_global = true;
}

static void forget_slot(struct dbt_vcpu *v, const struct translation *t)
{
    struct translation_cache *cache = v->translations;
    const void **slot = &v->jump_table[t->mode & MODE_USER ? 1 : 0][dbt_jump_slot(t->linear)];

    if (*slot == executable(cache, t->checked))
        *slot = executable(cache, cache->trampolines.exit_to_address);
    if (reserve_slot(v, t->linear)->linear == t->linear)
        reserve_slot(v, t->linear)->generation = 0;
}

void dbt_jump_tables_forget(struct dbt_vcpu *v, bool global_too)
{
    if (v->translations == NULL)
        return;
    clear_table(v, 1);
    if (global_too || v->translations->supervisor_not_global)
        clear_table(v, 0);
}

static void forget_slot_of_page(struct dbt_vcpu *v, unsigned user, unsigned slot, uint64_t page)
{
    struct translation_cache *cache = v->translations;
    uint32_t own = v->jump_page[user][slot], number = (uint32_t)(page >> 12);

    /* The page before may hold an instruction that reaches into this one. */
    if (own == number || own == number - 1)
        v->jump_table[user][slot] = executable(cache, cache->trampolines.exit_to_address);
}

void dbt_jump_tables_forget_page(struct dbt_vcpu *v, uint64_t linear)
{
    struct translation_cache *cache = v->translations;

    if (cache == NULL)
        return;
    for (unsigned user = 0; user < 2; user++) {
        unsigned count = cache->table_count[user];

        for (unsigned i = 0; i < count && count <= TABLE_LIST_MAX; i++)
            forget_slot_of_page(v, user, cache->table_list[user][i], TLB_PAGE(linear));
        for (unsigned i = 0; i < JUMP_SLOTS && count > TABLE_LIST_MAX; i++)
            forget_slot_of_page(v, user, i, TLB_PAGE(linear));
        if (reserve_may_have(v, user, linear) || reserve_may_have(v, user, linear - 4096))
            clear_reserve(v, user);
    }
}

/* --- links ----------------------------------------------------------------------------------------------------------------- */

static void set_link(struct link *link, const uint8_t *code)
{
    int32_t distance = (int32_t)(code - (link->distance + 4));

    memcpy(link->distance, &distance, sizeof(distance));
}

/* A translation of an instruction that reaches into another page depends on that one's mapping, too. */
static void link_by_table(struct dbt_vcpu *v, struct link *link)
{
    const struct chunk *hot = &v->translations->hot;
    struct emitter e = {.at = dbt_translations_code(v)};

    if (link->by_table || hot->end - hot->at < TABLE_EXIT_MAX)
        return;
    set_link(link, e.at);
    dbt_emit_through_table(&e, link->from, link->target);
    dbt_translations_commit(v, e.at);
    link->by_table = true;
}

static void link_to(struct dbt_vcpu *v, struct link *link, struct translation *to)
{
    if (link->to != NULL || to->linear != link->target || to->mode != link->from->mode ||
        TLB_PAGE(to->physical) != TLB_PAGE(link->from->physical))
        return;
    v->statistics[STATISTIC_LINKS]++;
    if (to->second_page != NO_PAGE) {
        link_by_table(v, link);
        return;
    }
    link->to = to;
    link->next = to->incoming;
    to->incoming = link;
    set_link(link, to->direct);
}

static void unlink_incoming(struct translation *t)
{
    for (struct link *link = t->incoming; link != NULL; link = link->next) {
        set_link(link, link->unlinked);
        link->to = NULL;
    }
    t->incoming = NULL;
}

static void unlink_outgoing(struct translation *t)
{
    for (struct link *link = t->outgoing; link != NULL; link = link->next_out) {
        struct link **place;

        if (link->to == NULL)
            continue;
        place = &link->to->incoming;
        while (*place != NULL && *place != link)
            place = &(*place)->next;
        if (*place != NULL)
            *place = link->next;
        link->to = NULL;
    }
}

/* --- the cache ------------------------------------------------------------------------------------------------------------- */

bool dbt_translatable(const struct dbt_vcpu *v)
{
    uint32_t flat = MODE_FLAT | MODE_STACK32 | MODE_PROTECTED;

    if (v->translations == NULL || (v->vectors_away & VECTORS_UNMASKED))
        return false;
    return dbt_code64(v) || ((v->mode & MODE_CODE_MASK) == MODE_CODE32 && (v->mode & flat) == flat);
}

static int make_cache(struct translation_cache *cache, size_t code_size)
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

static int make_reserve(struct dbt_vcpu *v)
{
    void *memory = mmap(NULL, JUMP_RESERVE_SLOTS * sizeof(*v->jump_reserve), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return -ENOMEM;
    v->jump_reserve = memory;
    return 0;
}

int dbt_translations_new(struct dbt_vcpu *v, size_t code_size)
{
    struct translation_cache *cache = calloc(1, sizeof(*cache));
    int r = cache != NULL ? dbt_translator_new(v) : -ENOMEM;

    if (r < 0) {
        free(cache);
        return r;
    }
    v->translations = cache;
    r = make_cache(cache, code_size);
    if (r == 0)
        r = make_reserve(v);
    if (r < 0) {
        dbt_translations_free(v);
        return r;
    }
    cache->enter = dbt_emit_trampolines(v, cache->arena, &cache->trampolines);
    cache->code_start = cache->arena->used;
    cache->table_count[0] = cache->table_count[1] = TABLE_LIST_MAX + 1;
    dbt_jump_tables_forget(v, true);
    return 0;
}

void dbt_translations_free(struct dbt_vcpu *v)
{
    struct translation_cache *cache = v->translations;

    dbt_translator_free(v);
    if (cache == NULL)
        return;
    code_arena_free(cache->arena);
    if (cache->memory != NULL)
        munmap(cache->memory, cache->memory_size);
    if (v->jump_reserve != NULL)
        munmap(v->jump_reserve, JUMP_RESERVE_SLOTS * sizeof(*v->jump_reserve));
    v->jump_reserve = NULL;
    if (cache->site != NULL)
        munmap(cache->site, cache->sites_max * sizeof(*cache->site));
    free(cache);
    v->translations = NULL;
}

const struct trampolines *dbt_translations_trampolines(const struct dbt_vcpu *v)
{
    return &v->translations->trampolines;
}

void *dbt_translations_allocate(struct dbt_vcpu *v, size_t size)
{
    struct translation_cache *cache = v->translations;
    void *p = cache->memory + cache->memory_used;

    cache->memory_used += align_up(size, ALIGNMENT);
    return p;
}

uint8_t *dbt_translations_code(const struct dbt_vcpu *v)
{
    return v->translations->arena->write + align_up(v->translations->hot.at, 16);
}

void dbt_translations_commit(struct dbt_vcpu *v, const uint8_t *end)
{
    v->translations->hot.at = (size_t)(end - v->translations->arena->write);
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

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
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

/* What runs now may run on to its end; its memory is reused at the next look-up. */
void dbt_translations_clear(struct dbt_vcpu *v)
{
    struct translation_cache *cache = v->translations;

    if (cache == NULL)
        return;
    memset(cache->start, 0, sizeof(cache->start));
    memset(cache->hash, 0, sizeof(cache->hash));
    memset(cache->page, 0, sizeof(cache->page));
    dbt_translator_code_changed(v);
    dbt_jump_tables_forget(v, true);
    cache->full = true;
}

static void make_room(struct dbt_vcpu *v)
{
    struct translation_cache *cache = v->translations;
    bool no_room = cache->memory_size - cache->memory_used < RESERVE || cache->arena->size - cache->arena->used < 2 * cache->chunk_size;

    if (dbt_thunks_full(v))
        dbt_blocks_reuse(v);
    if (dbt_decoded_full(v))
        dbt_decoded_clear(v);
    if (!cache->full && !no_room)
        return;
    if (no_room) {
        v->statistics[STATISTIC_CACHE_DROPS]++;
        dbt_translations_clear(v);
    }
    cache->most_code_used = dbt_translations_code_used(v);
    cache->most_memory_used = larger(cache->memory_used, cache->most_memory_used);
    cache->memory_used = 0;
    cache->most_sites = larger(cache->sites, cache->most_sites);
    cache->sites = 0;
    cache->arena->used = cache->code_start;
    cache->hot = cache->cold = (struct chunk){0, 0};
    cache->full = false;
    cache->reuses++;
    for (unsigned i = 0; i < RECENT_OPS; i++)
        cache->recent[i].data = NULL;
}

static void unhash(struct translation_cache *cache, const struct translation *t)
{
    struct translation **place = &cache->hash[hash_of(t->physical, t->linear)];

    while (*place != NULL && *place != t)
        place = &(*place)->hash_next;
    if (*place != NULL)
        *place = t->hash_next;
}

static void invalidate(struct dbt_vcpu *v, struct translation *t)
{
    t->valid = false;
    unhash(v->translations, t);
    unlink_incoming(t);
    unlink_outgoing(t);
    forget_slot(v, t);
}

void dbt_translations_invalidate_page(struct dbt_vcpu *v, uint64_t page)
{
    struct translation_cache *cache = v->translations;
    struct translation **place;

    if (cache == NULL)
        return;
    dbt_translator_code_changed(v);
    place = &cache->page[page_hash(page)];
    while (*place != NULL) {
        struct translation *t = *place;
        /* The list mixes pages of one hash: each goes on by the link of the page that put it here. */
        bool by_second = t->second_page != NO_PAGE && page_hash(t->second_page) == page_hash(page) &&
                         page_hash(TLB_PAGE(t->physical)) != page_hash(page);

        if (t->valid && (TLB_PAGE(t->physical) == page || t->second_page == page))
            invalidate(v, t);
        if (!t->valid)
            *place = t->page_next[by_second];
        else
            place = &t->page_next[by_second];
    }
}

static void link_to_page(struct translation_cache *cache, struct translation *t, unsigned which, uint64_t page)
{
    t->page_next[which] = cache->page[page_hash(page)];
    cache->page[page_hash(page)] = t;
}

static struct translation *find_in_hash(const struct translation_cache *cache, uint64_t linear, uint64_t physical, uint32_t mode)
{
    struct translation *t = cache->hash[hash_of(physical, linear)];

    while (t != NULL && !(t->physical == physical && t->linear == linear && t->mode == mode))
        t = t->hash_next;
    return t;
}

struct translation *dbt_translation_at(const struct dbt_vcpu *v, uint64_t linear, uint64_t physical, uint32_t mode)
{
    uint64_t mask, *bits = start_bit(v->translations, physical, linear, &mask);

    return *bits & mask ? find_in_hash(v->translations, linear, physical, mode) : NULL;
}

void dbt_translation_enter_by(struct dbt_vcpu *v, struct translation *t, uint8_t *checked)
{
    const void **slot = &v->jump_table[t->mode & MODE_USER ? 1 : 0][dbt_jump_slot(t->linear)];

    if (*slot == executable(v->translations, t->checked))
        *slot = executable(v->translations, checked);
    if (reserve_slot(v, t->linear)->linear == t->linear)
        reserve_slot(v, t->linear)->generation = 0; /* it leads in by the other way */
    t->checked = checked;
}

static void name_for_perf(const struct dbt_vcpu *v, const struct translation *t)
{
    const struct code_arena *arena = v->translations->arena;
    char line[80];
    size_t size = (size_t)(arena->write + v->translations->hot.at - t->checked);

    text_format(line, sizeof(line), "%llx %zx guest%s:%llx\n", (unsigned long long)(uintptr_t)executable(v->translations, t->checked),
                size, t->mode & MODE_USER ? "-user" : "", (unsigned long long)t->linear);
    if (write(v->vm->perf_map, line, strlen(line)) < 0)
        return; /* a help for the eye, no more */
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

static void enter_in_cache(struct translation_cache *cache, struct translation *t)
{
    unsigned hash = hash_of(t->physical, t->linear);
    uint64_t start, *start_bits = start_bit(cache, t->physical, t->linear, &start);

    *start_bits |= start;
    t->hash_next = cache->hash[hash];
    cache->hash[hash] = t;
    link_to_page(cache, t, 0, TLB_PAGE(t->physical));
    if (t->second_page != NO_PAGE && page_hash(t->second_page) != page_hash(TLB_PAGE(t->physical)))
        link_to_page(cache, t, 1, t->second_page);
}

static struct translation *add(struct dbt_vcpu *v, uint64_t linear, uint64_t physical, const uint8_t *page_bytes)
{
    struct translation_cache *cache = v->translations;
    struct translation *t;

    make_room(v);
    continue_chunk(cache, &cache->hot);
    continue_chunk(cache, &cache->cold);
    make_room_present(cache);
    t = dbt_translate(v, linear, physical, page_bytes);
    if (UNLIKELY(v->vm->perf_map >= 0))
        name_for_perf(v, t);
    for (struct translation *entry = t; entry != NULL; entry = entry->next_entry)
        enter_in_cache(cache, entry);
    return t;
}

static struct translation *find(struct dbt_vcpu *v, uint64_t linear, uint64_t physical)
{
    struct translation *t = find_in_hash(v->translations, linear, physical, dbt_translation_mode(v));

    if (t != NULL && t->second_page != NO_PAGE) {
        const uint8_t *host;
        uint64_t next = TLB_PAGE(linear) + 4096;

        /* The same first page may be followed by another second one here. */
        if (dbt_fetch_page(v, dbt_code64(v) ? next : (uint32_t)next, &host) != t->second_page) {
            dbt_translations_invalidate_page(v, TLB_PAGE(physical));
            return NULL;
        }
    }
    return t;
}

uint32_t dbt_translations_number(const struct dbt_vcpu *v, const void *p)
{
    return (uint32_t)(((const uint8_t *)p - v->translations->memory) / ALIGNMENT) + 1;
}

static const void *numbered(const struct translation_cache *cache, uint32_t number)
{
    return cache->memory + ((size_t)number - 1) * ALIGNMENT;
}

/* Its bytes are a twentieth of what it becomes; few instructions ever need C. */
static void decode_again(struct dbt_vcpu *v, const struct cold_data *data, struct translated_op *op)
{
    const struct translation *t = numbered(v->translations, data->number);
    uint32_t mode = t->mode & ~(uint32_t)(MODE_USER | MODE_MIRROR);
    uint64_t next;

    if (dbt_decoded_full(v))
        dbt_decoded_clear(v);
    dbt_decoded(v, t->bytes + data->offset, 15, mode, &op->op);
    next = t->linear + data->offset + op->op.length;
    op->next_rip = (mode & MODE_CODE_MASK) == MODE_CODE64 ? next : (uint32_t)next;
}

uint64_t dbt_translated_rip(const struct dbt_vcpu *v, const struct cold_data *data)
{
    const struct translated_op *op = numbered(v->translations, data->number);
    const struct translation *t = numbered(v->translations, data->number);

    return data->in_memory ? op->next_rip - op->op.length : t->linear + data->offset;
}

const struct translated_op *dbt_translated_op(struct dbt_vcpu *v, const struct cold_data *data)
{
    struct translation_cache *cache = v->translations;
    struct recent_op *recent = &cache->recent[((uintptr_t)data ^ (uintptr_t)data >> 9) % RECENT_OPS];

    if (data->in_memory)
        return numbered(cache, data->number);
    if (recent->data != data) {
        recent->data = data;
        decode_again(v, data, &recent->op);
    }
    return &recent->op;
}

/* An indirect jump to an address that is not canonical: the fault is the jump's, which has done nothing yet. */
static void check_target(struct dbt_vcpu *v)
{
    const struct translated_op *jump;
    int64_t pushed;

    if (LIKELY(!dbt_code64(v) || dbt_canonical(v->gpr[GPR_RIP])) || v->last_indirect == 0)
        return;
    jump = numbered(v->translations, v->last_indirect);
    pushed = dbt_stack_effect(&jump->op);
    v->gpr[X86_RSP] += (uint64_t)pushed;
    v->gpr[GPR_RIP] = jump->next_rip;
    v->op = &jump->op;
    dbt_raise_error(v, X86_GP, 0);
}

static struct translation *look_up(struct dbt_vcpu *v)
{
    uint64_t linear = v->gpr[GPR_RIP], physical;
    const uint8_t *host;
    struct translation *t;

    check_target(v);
    physical = dbt_fetch_page(v, linear, &host) | (linear & 0xfff);
    v->statistics[STATISTIC_JUMP_CACHE_MISS]++;
    if (v->translations->full)
        make_room(v);
    t = find(v, linear, physical);
    if (t == NULL)
        t = add(v, linear, physical, host);
    if (v->lockstep == NULL)
        enter_in_table(v, t, v->space->tlb[v->tlb_mode].translation[TLB_INDEX(linear)].global);
    return t;
}

struct translation *dbt_translations_find(struct dbt_vcpu *v)
{
    v->last_indirect = 0;
    return look_up(v);
}

void dbt_translations_enter(struct dbt_vcpu *v, const struct translation *t)
{
    v->last_indirect = 0;
    v->statistics[STATISTIC_TRANSLATIONS_ENTERED]++;
    v->translations->enter(v, executable(v->translations, t->direct));
    check_target(v);
}

void dbt_translations_run(struct dbt_vcpu *v)
{
    struct translation_cache *cache = v->translations;
    struct link *link = NULL;

    v->last_indirect = 0;
    do {
        uint64_t reuses = cache->reuses;
        struct translation *t = look_up(v);

        if (link != NULL && reuses == cache->reuses && link->from->valid)
            link_to(v, link, t);
        v->statistics[STATISTIC_TRANSLATIONS_ENTERED]++;
        link = cache->enter(v, executable(cache, t->direct));
    } while (atomic_load_explicit(&v->attention, memory_order_relaxed) == 0 && dbt_translatable(v) && !v->shutdown);
}
