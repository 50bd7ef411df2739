/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of translations: look-up, making, invalidation. See translation.h. */
#include "engine/dbt/translation_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "engine/dbt/decoded.h"
#include "engine/dbt/emit.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/system.h"
#include "engine/dbt/thunk.h"
#include "engine/dbt/mirror.h"
#include "engine/dbt/tlb.h"
#include "engine/dbt/translate.h"

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

bool dbt_translatable(const struct dbt_vcpu *v)
{
    uint32_t flat = MODE_FLAT | MODE_STACK32 | MODE_PROTECTED;

    if (v->translations == NULL || (v->vectors_away & VECTORS_UNMASKED))
        return false;
    return dbt_code64(v) || ((v->mode & MODE_CODE_MASK) == MODE_CODE32 && (v->mode & flat) == flat);
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
    r = dbt_translation_memory_new(cache, code_size);
    if (r == 0)
        r = dbt_jump_tables_new(v);
    if (r < 0) {
        dbt_translations_free(v);
        return r;
    }
    dbt_prepare_fast_call(v);
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
    dbt_translation_memory_free(cache);
    dbt_jump_tables_free(v);
    free(cache);
    v->translations = NULL;
}

const struct trampolines *dbt_translations_trampolines(const struct dbt_vcpu *v)
{
    return &v->translations->trampolines;
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
    dbt_links_forget(v, cache->crossing_space);
    cache->full = true;
}

static void make_room(struct dbt_vcpu *v)
{
    struct translation_cache *cache = v->translations;
    bool no_room = dbt_translation_memory_full(cache);

    if (dbt_thunks_full(v))
        dbt_blocks_reuse(v);
    if (!cache->full && !no_room)
        return;
    if (no_room) {
        v->statistics[STATISTIC_CACHE_DROPS]++;
        dbt_translations_clear(v);
    }
    dbt_translation_memory_clear(cache);
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
    dbt_translation_unlink(v, t);
}

void dbt_translations_drop(struct dbt_vcpu *v, const struct cold_data *data)
{
    uint32_t number = data->in_memory ? dbt_translated_op(v, data)->number : data->number;
    struct translation *t = (struct translation *)(uintptr_t)dbt_translations_numbered(v, number);

    for (struct translation *entry = t; entry != NULL; entry = entry->next_entry)
        if (entry->valid)
            invalidate(v, entry);
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
    dbt_translation_memory_provide(cache);
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

/* Its bytes are a twentieth of what it becomes; few instructions ever need C. */
static void decode_again(struct dbt_vcpu *v, const struct cold_data *data, struct translated_op *op)
{
    const struct translation *t = dbt_translations_numbered(v, data->number);
    uint32_t mode = t->mode & ~(uint32_t)(MODE_USER | MODE_MIRROR);
    uint64_t next;

    dbt_decoded_make_room(v);
    dbt_decoded(v, t->bytes + data->offset, 15, mode, &op->op);
    next = t->linear + data->offset + op->op.length;
    op->next_rip = (mode & MODE_CODE_MASK) == MODE_CODE64 ? next : (uint32_t)next;
}

uint64_t dbt_translated_rip(const struct dbt_vcpu *v, const struct cold_data *data)
{
    const struct translated_op *op = dbt_translations_numbered(v, data->number);
    const struct translation *t = dbt_translations_numbered(v, data->number);

    return data->in_memory ? op->next_rip - op->op.length : t->linear + data->offset;
}

const struct translated_op *dbt_translated_op(struct dbt_vcpu *v, const struct cold_data *data)
{
    struct translation_cache *cache = v->translations;
    struct recent_op *recent = &cache->recent[((uintptr_t)data ^ (uintptr_t)data >> 9) % RECENT_OPS];

    if (data->in_memory)
        return dbt_translations_numbered(v, data->number);
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
    jump = dbt_translations_numbered(v, v->last_indirect);
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

    if (UNLIKELY(v->mirrored && v->cpl == 3 && !dbt_mirror_suits(v)))
        dbt_mirror_astray(v);
    physical = dbt_fetch_page(v, linear, &host) | (linear & 0xfff);
    v->statistics[STATISTIC_JUMP_CACHE_MISS]++;
    if (v->translations->full)
        make_room(v);
    t = find(v, linear, physical);
    if (t == NULL)
        t = add(v, linear, physical, host);
    if (v->lockstep == NULL)
        dbt_jump_table_enter(v, t, v->space->tlb[v->tlb_mode].translation[TLB_INDEX(linear)].global);
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
            dbt_translation_link(v, link, t);
        v->statistics[STATISTIC_TRANSLATIONS_ENTERED]++;
        link = cache->enter(v, executable(cache, t->direct));
        check_target(v); /* before anything else can happen: an interrupt would forget the jump */
    } while (atomic_load_explicit(&v->attention, memory_order_relaxed) == 0 && dbt_translatable(v) && !v->shutdown);
}
