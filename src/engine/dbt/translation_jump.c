/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ways from one translation to another: jump tables and their reserve, links. See translation.h. */
#include "engine/dbt/translation_cache.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/dbt/emit.h"
#include "engine/dbt/tlb.h"

#define TABLE_EXIT_MAX 64u /* of dbt_emit_through_table(), and to align it */

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

void dbt_jump_table_enter(struct dbt_vcpu *v, const struct translation *t, bool global)
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

static void forget_crossings(struct translation_cache *cache);

/* Whoever begins to run in a mirror comes here: it may be another space's from now on. */
void dbt_jump_tables_forget(struct dbt_vcpu *v, bool global_too)
{
    if (v->translations == NULL)
        return;
    if (v->mirrored && v->translations->crossing_space != v->space)
        forget_crossings(v->translations);
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

void dbt_translation_enter_by(struct dbt_vcpu *v, struct translation *t, uint8_t *checked)
{
    const void **slot = &v->jump_table[t->mode & MODE_USER ? 1 : 0][dbt_jump_slot(t->linear)];

    if (*slot == executable(v->translations, t->checked))
        *slot = executable(v->translations, checked);
    if (reserve_slot(v, t->linear)->linear == t->linear)
        reserve_slot(v, t->linear)->generation = 0; /* it leads in by the other way */
    t->checked = checked;
}

int dbt_jump_tables_new(struct dbt_vcpu *v)
{
    void *memory = mmap(NULL, JUMP_RESERVE_SLOTS * sizeof(*v->jump_reserve), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return -ENOMEM;
    v->jump_reserve = memory;
    return 0;
}

void dbt_jump_tables_free(struct dbt_vcpu *v)
{
    if (v->jump_reserve != NULL)
        munmap(v->jump_reserve, JUMP_RESERVE_SLOTS * sizeof(*v->jump_reserve));
    v->jump_reserve = NULL;
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

static bool crosses(const struct link *link)
{
    return TLB_PAGE(link->target) != TLB_PAGE(link->from->linear);
}

static uint64_t *crossing_page(struct translation_cache *cache, uint64_t linear, uint64_t *ret_mask)
{
    uint64_t bit = linear >> 12 & (RESERVE_PAGES - 1);

    *ret_mask = BIT(bit % 64);
    return &cache->crossing_pages[bit / 64];
}

static void list_crossing(struct dbt_vcpu *v, struct link *link)
{
    struct translation_cache *cache = v->translations;
    uint64_t mask, *pages = crossing_page(cache, link->target, &mask);

    if (cache->crossing_space != v->space)
        forget_crossings(cache);
    cache->crossing_space = v->space;
    *pages |= mask;
    if (link->listed)
        return;
    link->listed = true;
    link->next_crossing = cache->crossing;
    cache->crossing = link;
}

void dbt_translation_link(struct dbt_vcpu *v, struct link *link, struct translation *to)
{
    if (link->to != NULL || to->linear != link->target || to->mode != link->from->mode ||
        (!crosses(link) && TLB_PAGE(to->physical) != TLB_PAGE(link->from->physical)))
        return;
    v->statistics[STATISTIC_LINKS]++;
    if (to->second_page != NO_PAGE) {
        link_by_table(v, link);
        return;
    }
    if (crosses(link))
        list_crossing(v, link);
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

static void undo(struct link *link)
{
    struct link **place;

    if (link->to == NULL)
        return;
    place = &link->to->incoming;
    while (*place != NULL && *place != link)
        place = &(*place)->next;
    if (*place != NULL)
        *place = link->next;
    set_link(link, link->unlinked);
    link->to = NULL;
}

static void unlink_outgoing(struct translation *t)
{
    for (struct link *link = t->outgoing; link != NULL; link = link->next_out)
        undo(link);
}

static void forget_crossings(struct translation_cache *cache)
{
    for (struct link *link = cache->crossing; link != NULL; link = link->next_crossing) {
        undo(link);
        link->listed = false;
    }
    cache->crossing = NULL;
    memset(cache->crossing_pages, 0, sizeof(cache->crossing_pages));
}

void dbt_links_forget(struct dbt_vcpu *v, const struct address_space *space)
{
    if (v->translations != NULL && v->translations->crossing_space == space)
        forget_crossings(v->translations);
}

void dbt_links_forget_page(struct dbt_vcpu *v, uint64_t linear)
{
    struct translation_cache *cache = v->translations;
    uint64_t mask;

    if (cache == NULL || !(*crossing_page(cache, linear, &mask) & mask))
        return;
    for (struct link *link = cache->crossing; link != NULL; link = link->next_crossing)
        if (TLB_PAGE(link->target) == TLB_PAGE(linear))
            undo(link);
}

void dbt_translation_unlink(struct dbt_vcpu *v, struct translation *t)
{
    unlink_incoming(t);
    unlink_outgoing(t);
    forget_slot(v, t);
}
