/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables of qcow2 images in memory, and the order in which they go to the disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"

int qcow2_cache_new(struct qcow2 *q, struct qcow2_cache *cache, unsigned count)
{
    cache->table = calloc(count, sizeof(cache->table[0]));
    if (cache->table == NULL)
        return -ENOMEM;
    cache->count = count;
    return 0;
}

void qcow2_cache_free(struct qcow2_cache *cache)
{
    for (unsigned i = 0; i < cache->count; i++)
        free(cache->table[i].data);
    free(cache->table);
    *cache = (struct qcow2_cache){0};
}

void qcow2_cache_clear(struct qcow2_cache *cache)
{
    for (unsigned i = 0; i < cache->count; i++) {
        cache->table[i].offset = 0;
        cache->table[i].dirty = false;
    }
}

static bool is_dirty(const struct qcow2_cache *cache)
{
    for (unsigned i = 0; i < cache->count; i++) {
        if (cache->table[i].dirty)
            return true;
    }
    return false;
}

static int write_cache(struct qcow2 *q, struct qcow2_cache *cache)
{
    for (unsigned i = 0; i < cache->count; i++) {
        struct qcow2_table *table = &cache->table[i];
        int r = table->dirty ? qcow2_write_medium(q, table->data, q->cluster_size, table->offset) : 0;

        if (r < 0)
            return r;
        table->dirty = false;
    }
    return 0;
}

/* The one that was used longest ago; one that is not dirty if there is any. */
static struct qcow2_table *victim(struct qcow2_cache *cache)
{
    struct qcow2_table *best = &cache->table[0];

    for (unsigned i = 1; i < cache->count; i++) {
        struct qcow2_table *table = &cache->table[i];

        if (table->dirty != best->dirty ? best->dirty : table->used < best->used)
            best = table;
    }
    return best;
}

static int make_room(struct qcow2 *q, struct qcow2_cache *cache, struct qcow2_table **ret_table)
{
    struct qcow2_table *table = victim(cache);
    int r = 0;

    if (table->dirty)
        r = qcow2_write_back(q);
    if (r == 0 && table->data == NULL) {
        table->data = malloc(q->cluster_size);
        r = table->data == NULL ? -ENOMEM : 0;
    }
    if (r == 0) {
        table->offset = 0;
        *ret_table = table;
    }
    return r;
}

int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, bool new,
                    struct qcow2_table **ret_table)
{
    struct qcow2_table *table = NULL;
    int r;

    for (unsigned i = 0; i < cache->count && table == NULL; i++) {
        if (cache->table[i].offset == offset)
            table = &cache->table[i];
    }
    if (table == NULL) {
        r = make_room(q, cache, &table);
        if (r == 0 && !new)
            r = qcow2_read_medium(q, table->data, q->cluster_size, offset);
        if (r < 0)
            return r;
        table->offset = offset;
    }
    if (new) {
        memset(table->data, 0, q->cluster_size);
        table->dirty = true;
    }
    table->used = ++cache->clock;
    *ret_table = table;
    return 0;
}

static int write_entries(struct qcow2 *q, const uint64_t *entries, uint64_t count, uint64_t offset)
{
    uint64_t *bytes = malloc(count * 8);
    int r;

    if (bytes == NULL)
        return -ENOMEM;
    for (uint64_t i = 0; i < count; i++)
        bytes[i] = __builtin_bswap64(entries[i]);
    r = qcow2_write_medium(q, bytes, count * 8, offset);
    free(bytes);
    return r;
}

static int write_counts(struct qcow2 *q)
{
    int r = write_cache(q, &q->refcounts);

    if (r == 0)
        r = block_medium_flush(q->medium); /* the clusters' data too */
    if (r < 0 || !q->refcount_table_dirty)
        return r;
    r = write_entries(q, q->refcount_table, q->refcount_entries, q->refcount_offset);
    if (r == 0)
        r = block_medium_flush(q->medium);
    if (r == 0)
        q->refcount_table_dirty = false;
    return r;
}

static int write_maps(struct qcow2 *q)
{
    int r = write_cache(q, &q->l2);

    if (r == 0)
        r = block_medium_flush(q->medium);
    if (r < 0 || !q->l1_dirty)
        return r;
    r = write_entries(q, q->l1, q->l1_entries, q->l1_offset);
    if (r == 0)
        r = block_medium_flush(q->medium);
    if (r == 0)
        q->l1_dirty = false;
    return r;
}

int qcow2_write_back(struct qcow2 *q)
{
    int r = write_counts(q);

    if (r == 0 && (q->l1_dirty || is_dirty(&q->l2)))
        r = write_maps(q);
    return r;
}
