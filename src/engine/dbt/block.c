/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cache of decoded blocks: look-up, decoding, invalidation. See block.h. */
#include "engine/dbt/block.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/dbt/decoded.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/mail.h"
#include "engine/dbt/thunk.h"
#include "engine/dbt/tlb.h"
#include "engine/dbt/translation.h"
#include "memory/memory.h"

#define HASH_SIZE 32768u
#define PAGE_HASH_SIZE 4096u
#define JUMP_CACHE_SIZE 4096u

struct jump_entry {
    uint64_t address, tag;
    const struct block *block;
};

struct block_cache {
    uint8_t *arena;
    size_t size, used, most_used;
    bool full;
    struct block *hash[HASH_SIZE];
    struct block *page[PAGE_HASH_SIZE]; /* blocks by physical page; the lists of colliding pages are mixed */
    struct jump_entry jump[JUMP_CACHE_SIZE];
};

static unsigned hash_of(uint64_t physical, uint32_t mode)
{
    uint64_t h = (physical ^ ((uint64_t)mode << 40)) * UINT64_C(0x9e3779b97f4a7c15);

    return (unsigned)(h >> 40) & (HASH_SIZE - 1);
}

static unsigned page_hash(uint64_t page)
{
    return (unsigned)(page >> 12) & (PAGE_HASH_SIZE - 1);
}

/* 64 neighbouring slots a page, so that a page can be forgotten without a search. */
static unsigned jump_index(uint64_t address)
{
    unsigned group = (unsigned)((address >> 12) ^ (address >> 18)) & (JUMP_CACHE_SIZE / 64 - 1);

    return group * 64 + ((unsigned)(address ^ (address >> 6)) & 63);
}

static void clear_jump_cache(struct block_cache *cache)
{
    for (unsigned i = 0; i < JUMP_CACHE_SIZE; i++)
        cache->jump[i].block = NULL;
}

int dbt_blocks_new(struct dbt_vcpu *v, size_t arena_size)
{
    struct block_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return -ENOMEM;
    cache->size = arena_size;
    cache->arena = mmap(NULL, arena_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->arena == MAP_FAILED) {
        free(cache);
        return -ENOMEM;
    }
    v->blocks = cache;
    v->own_code = calloc(memory_bitmap_words(v->memory), sizeof(*v->own_code));
    return v->own_code != NULL ? 0 : -ENOMEM;
}

void dbt_blocks_free(struct dbt_vcpu *v)
{
    free(v->own_code);
    v->own_code = NULL;
    if (v->blocks == NULL)
        return;
    munmap(v->blocks->arena, v->blocks->size);
    free(v->blocks);
    v->blocks = NULL;
}

size_t dbt_blocks_used(const struct dbt_vcpu *v)
{
    const struct block_cache *cache = v->blocks;

    return cache->used > cache->most_used ? cache->used : cache->most_used;
}

static void stop_running_block(struct dbt_vcpu *v)
{
    if (v->op != NULL)
        dbt_end_block(v);
}

void dbt_blocks_clear(struct dbt_vcpu *v)
{
    struct block_cache *cache = v->blocks;

    memset(cache->hash, 0, sizeof(cache->hash));
    memset(cache->page, 0, sizeof(cache->page));
    clear_jump_cache(cache);
    memset(v->own_code, 0, memory_bitmap_words(v->memory) * sizeof(*v->own_code));
    cache->full = true; /* the arena itself is reused at the next look-up, when no block runs */
    dbt_translations_clear(v);
    stop_running_block(v);
    v->statistics[STATISTIC_CACHE_DROPS]++;
}

static void unhash(struct block_cache *cache, struct block *block)
{
    struct block **link = &cache->hash[hash_of(block->physical, block->mode)];

    while (*link != NULL && *link != block)
        link = &(*link)->hash_next;
    if (*link != NULL)
        *link = block->hash_next;
}

static void forget_own_code(struct dbt_vcpu *v, uint64_t page)
{
    const struct memory_region *region = memory_find(v->memory, page);

    if (region != NULL)
        v->own_code[memory_page_number(region, page) / 64] &= ~BIT(memory_page_number(region, page) % 64);
}

void dbt_blocks_invalidate_page(struct dbt_vcpu *v, uint64_t page)
{
    struct block_cache *cache = v->blocks;
    struct block **link = &cache->page[page_hash(page)];
    bool found = false;

    dbt_translations_invalidate_page(v, page);
    forget_own_code(v, page);
    while (*link != NULL) {
        struct block *block = *link;
        /* The list mixes pages of one hash: each block goes on by the link of the page that put it here. */
        bool by_second = block->second_page != NO_PAGE && page_hash(block->second_page) == page_hash(page) &&
                         page_hash(TLB_PAGE(block->physical)) != page_hash(page);
        struct block **next = &block->page_next[by_second];

        if (block->valid && (TLB_PAGE(block->physical) == page || block->second_page == page)) {
            block->valid = false;
            unhash(cache, block);
            found = true;
        }
        if (!block->valid)
            *link = *next;
        else
            link = next;
    }
    if (found) {
        clear_jump_cache(cache);
        v->statistics[STATISTIC_CODE_INVALIDATIONS]++;
    }
    stop_running_block(v);
}

void dbt_jump_cache_forget_page(struct dbt_vcpu *v, uint64_t linear)
{
    struct block_cache *cache = v->blocks;

    dbt_jump_tables_forget_page(v, linear);
    /* The page before may hold an instruction that reaches into this one. */
    for (uint64_t page = TLB_PAGE(linear) - 4096, i = 0; i < 2; i++, page += 4096) {
        unsigned group = jump_index(page) & ~63u;

        for (unsigned n = 0; n < 64; n++)
            cache->jump[group + n].block = NULL;
    }
}

/* Physical page of code at a linear address, and its bytes in the host (an instruction fetch outside of RAM reads ones). */
uint64_t dbt_fetch_page(struct dbt_vcpu *v, uint64_t linear, const uint8_t **ret_host)
{
    static const uint8_t no_memory[MEMORY_PAGE_SIZE] = {[0 ... MEMORY_PAGE_SIZE - 1] = 0xff};
    const struct tlb_translation *t = dbt_tlb_translate(v, v->tlb_mode, linear, ACCESS_EXECUTE);
    const uint8_t *host = memory_pointer(v->memory, t->physical, MEMORY_PAGE_SIZE);

    *ret_host = host != NULL ? host : no_memory;
    return t->physical;
}

/* This vCPU's own stores to the page go down the slow path. */
static void watch_own(struct dbt_vcpu *v, uint64_t page, uint64_t number)
{
    if (!dbt_has_own_code(v, number))
        dbt_tlb_protect_page(v, page);
    v->own_code[number / 64] |= BIT(number % 64);
}

/* From here on every store to the page is noticed: by flag for whoever looks, by letter for those who hold write tags. The flag says so
 * only when nobody will use one any more, so the others stand meanwhile. That takes mail, which may take this vCPU's own mark away. */
void dbt_watch_page(struct dbt_vcpu *v, uint64_t page)
{
    const struct memory_region *region = memory_find(v->memory, page);
    _Atomic uint8_t *watched;
    uint64_t number;

    if (region == NULL)
        return;
    number = memory_page_number(region, page);
    watched = &v->memory->code_pages[number];
    if (atomic_load(watched) == 0) {
        dbt_exclusive_begin(v);
        if (atomic_exchange(watched, 1) == 0)
            dbt_mail_protect(v->vm, v, page);
        dbt_exclusive_end(v);
    }
    watch_own(v, page, number);
}

struct source { /* where instructions are decoded from */
    uint64_t linear;
    const uint8_t *bytes; /* at linear, to the end of the page */
    unsigned avail;
    uint64_t second_page;
};

/* An instruction that crosses into the next page: assembled from both. */
static void decode_crossing(struct dbt_vcpu *v, struct source *source, uint32_t mode, struct op *op)
{
    uint8_t joined[16];
    const uint8_t *second;
    uint64_t next = source->linear + source->avail;

    memcpy(joined, source->bytes, source->avail);
    if (!dbt_long_mode(v))
        next &= UINT32_MAX;
    source->second_page = dbt_fetch_page(v, next, &second);
    dbt_watch_page(v, source->second_page);
    memcpy(joined + source->avail, second, 15 - source->avail);
    dbt_decoded(v, joined, 15, mode, op);
}

/* Decodes up to the end of the page, of the block, or of the arena's room for one. */
static unsigned decode_ops(struct dbt_vcpu *v, struct source *source, uint32_t mode, struct block *block)
{
    unsigned count = 0;

    while (count < BLOCK_OPS_MAX && source->avail > 0) {
        struct op *op = &block->op[count];

        if (dbt_decoded(v, source->bytes, source->avail, mode, op) == NULL) {
            if (count > 0)
                break; /* it becomes a block of its own */
            decode_crossing(v, source, mode, op);
            block->bytes = op->length;
            return 1;
        }
        count++;
        block->bytes = (uint16_t)(block->bytes + op->length);
        source->bytes += op->length;
        source->linear += op->length;
        source->avail -= op->length;
        if (op->flags & OP_END)
            break;
    }
    return count;
}

static void link_to_page(struct block_cache *cache, struct block *block, unsigned which, uint64_t page)
{
    struct block **head = &cache->page[page_hash(page)];

    block->page_next[which] = *head;
    *head = block;
}

void dbt_blocks_reuse(struct dbt_vcpu *v)
{
    struct block_cache *cache = v->blocks;

    dbt_blocks_clear(v);
    dbt_thunks_clear(v);
    dbt_decoded_clear(v);
    cache->most_used = dbt_blocks_used(v);
    cache->used = 0;
    cache->full = false;
}

/* Decoding may take mail (watch_page): what that says about the pages just read can't be applied to a block that isn't
 * linked yet, so it is read again. */
static struct block *decode_stable(struct dbt_vcpu *v, uint64_t linear, uint64_t physical, const uint8_t *page_bytes)
{
    struct block *block;
    uint64_t mail;

    do {
        unsigned offset = (unsigned)(linear & 0xfff);
        struct source source = {.linear = linear, .bytes = page_bytes + offset, .avail = 4096 - offset, .second_page = NO_PAGE};

        dbt_decoded_make_room(v); /* each turn may add to it */
        dbt_watch_page(v, TLB_PAGE(physical));
        mail = atomic_load(&v->mail_done);
        block = (struct block *)(void *)(v->blocks->arena + v->blocks->used);
        *block = (struct block){.physical = physical, .mode = v->mode, .valid = true};
        block->count = (uint16_t)decode_ops(v, &source, v->mode, block);
        block->second_page = source.second_page;
    } while (mail != atomic_load(&v->mail_done));
    return block;
}

static struct block *decode_block(struct dbt_vcpu *v, uint64_t linear, uint64_t physical, const uint8_t *page_bytes)
{
    struct block_cache *cache = v->blocks;
    size_t largest = sizeof(struct block) + BLOCK_OPS_MAX * sizeof(struct op);
    struct block *block;

    if (cache->full || cache->used + largest > cache->size || dbt_thunks_full(v))
        dbt_blocks_reuse(v);
    block = decode_stable(v, linear, physical, page_bytes);
    cache->used += align_up(sizeof(*block) + block->count * sizeof(struct op), 16);

    block->hash_next = cache->hash[hash_of(physical, v->mode)];
    cache->hash[hash_of(physical, v->mode)] = block;
    link_to_page(cache, block, 0, TLB_PAGE(physical));
    if (block->second_page != NO_PAGE && page_hash(block->second_page) != page_hash(TLB_PAGE(physical)))
        link_to_page(cache, block, 1, block->second_page);
    v->statistics[STATISTIC_BLOCKS_DECODED]++;
    v->statistics[STATISTIC_OPS_DECODED] += block->count;
    return block;
}

static const struct block *find_block(struct dbt_vcpu *v, uint64_t linear, uint64_t physical)
{
    const struct block *block = v->blocks->hash[hash_of(physical, v->mode)];

    while (block != NULL && !(block->physical == physical && block->mode == v->mode))
        block = block->hash_next;
    if (block != NULL && block->second_page != NO_PAGE) {
        const uint8_t *host;
        uint64_t next = TLB_PAGE(linear) + 4096;

        /* The same first page may be followed by another second one here. */
        if (dbt_fetch_page(v, dbt_long_mode(v) ? next : next & UINT32_MAX, &host) != block->second_page) {
            dbt_blocks_invalidate_page(v, TLB_PAGE(physical));
            return NULL;
        }
    }
    return block;
}

static const struct block *lookup_slow(struct dbt_vcpu *v, uint64_t linear, struct jump_entry *entry, uint64_t tag)
{
    const uint8_t *host;
    uint64_t physical = dbt_fetch_page(v, linear, &host) | (linear & 0xfff);
    const struct block *block = find_block(v, linear, physical);

    v->statistics[STATISTIC_JUMP_CACHE_MISS]++;
    if (block == NULL)
        block = decode_block(v, linear, physical, host);
    *entry = (struct jump_entry){.address = linear, .tag = tag, .block = block};
    return block;
}

const struct block *dbt_block_lookup(struct dbt_vcpu *v)
{
    uint64_t tag = v->space->generation << (MODE_BITS + 2) | (uint64_t)v->mode << 2 | v->tlb_mode;
    uint64_t linear = v->gpr[GPR_RIP];
    struct jump_entry *entry;

    if (!dbt_code64(v))
        linear = (uint32_t)(linear + v->segment_base[X86_CS]);
    entry = &v->blocks->jump[jump_index(linear)];
    if (LIKELY(entry->address == linear && entry->tag == tag && entry->block != NULL))
        return entry->block;
    return lookup_slow(v, linear, entry, tag);
}
