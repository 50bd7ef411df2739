/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How often each cluster of a qcow2 image is used: taking and giving up clusters, and the tables of counts themselves.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"
#include "base/bits.h"

#define HEADER_REFCOUNT_TABLE 48u /* offset of the table's offset and its size in clusters */

static uint64_t per_block(const struct qcow2 *q)
{
    return q->cluster_size * 8 / q->refcount_bits;
}

static uint64_t get_count(const struct qcow2 *q, const uint8_t *block, uint64_t at)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < q->refcount_bits / 8; i++)
        value = value << 8 | block[at * (q->refcount_bits / 8) + i];
    return value;
}

static void put_count(const struct qcow2 *q, uint8_t *block, uint64_t at, uint64_t value)
{
    unsigned bytes = q->refcount_bits / 8;

    for (unsigned i = 0; i < bytes; i++)
        block[at * bytes + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

/* The block that has the cluster's count; -ENOENT: there is none yet, so the cluster is free. */
static int find_block(struct qcow2 *q, uint64_t index, struct qcow2_table **ret_block)
{
    uint64_t at = index / per_block(q), offset = at < q->refcount_entries ? q->refcount_table[at] : 0;

    if (offset == 0)
        return -ENOENT;
    if ((offset & ~QCOW2_OFFSET) != 0 || offset % q->cluster_size != 0) {
        q->corrupt = true;
        return -EIO;
    }
    return qcow2_cache_get(q, &q->refcounts, offset, false, ret_block);
}

/* A larger table of blocks, behind everything that the present one covers, with the blocks that count the new clusters.
 * The header changes last. */
struct growth {
    uint64_t base;     /* the first new cluster: the table's */
    uint64_t entries;  /* of the new table */
    uint64_t clusters; /* of the new table */
    uint64_t blocks;   /* new ones, behind the table */
};

static struct growth plan_growth(const struct qcow2 *q, uint64_t index)
{
    uint64_t covered = q->refcount_entries * per_block(q);
    struct growth g = {.base = index > covered ? index : covered};

    g.clusters = align_up(2 * q->refcount_entries * 8, q->cluster_size) / q->cluster_size;
    do { /* more blocks may take another block to count them */
        g.blocks++;
        g.entries = g.clusters * q->cluster_size / 8;
        while (g.entries < (g.base + g.clusters + g.blocks) / per_block(q) + 1) {
            g.clusters++;
            g.entries = g.clusters * q->cluster_size / 8;
        }
    } while ((g.base + g.clusters + g.blocks - 1) / per_block(q) - g.base / per_block(q) + 1 > g.blocks);
    return g;
}

/* The new blocks: consecutive in the table from the one that counts the base on. */
static int write_new_blocks(struct qcow2 *q, const struct growth *g, uint64_t *table)
{
    uint64_t first = g->base / per_block(q), used_end = g->base + g->clusters + g->blocks;
    uint8_t *block = malloc(q->cluster_size);
    int r = block == NULL ? -ENOMEM : 0;

    for (uint64_t i = 0; r == 0 && i < g->blocks; i++) {
        uint64_t begin = (first + i) * per_block(q), offset = (g->base + g->clusters + i) * q->cluster_size;

        memset(block, 0, q->cluster_size);
        for (uint64_t c = begin; c < begin + per_block(q) && c < used_end; c++) {
            if (c >= g->base)
                put_count(q, block, c - begin, 1);
        }
        r = qcow2_write_medium(q, block, q->cluster_size, offset);
        table[first + i] = offset;
    }
    free(block);
    return r;
}

static int write_new_table(struct qcow2 *q, const struct growth *g, const uint64_t *table)
{
    uint8_t header[12];
    uint64_t *bytes = malloc(g->entries * 8);
    int r = bytes == NULL ? -ENOMEM : 0;

    for (uint64_t i = 0; r == 0 && i < g->entries; i++)
        bytes[i] = __builtin_bswap64(table[i]);
    if (r == 0)
        r = qcow2_write_medium(q, bytes, g->entries * 8, g->base * q->cluster_size);
    if (r == 0)
        r = block_medium_flush(q->medium);
    qcow2_store(header, g->base * q->cluster_size);
    store_le32(header + 8, __builtin_bswap32((uint32_t)g->clusters));
    if (r == 0)
        r = qcow2_write_medium(q, header, sizeof(header), HEADER_REFCOUNT_TABLE);
    if (r == 0)
        r = block_medium_flush(q->medium);
    free(bytes);
    return r;
}

static int grow_table(struct qcow2 *q, uint64_t index)
{
    struct growth g = plan_growth(q, index);
    uint64_t old_offset = q->refcount_offset, old_entries = q->refcount_entries;
    uint64_t *table = g.entries * 8 > QCOW2_REFCOUNT_TABLE_MAX ? NULL : calloc(g.entries, 8);
    int r = table == NULL ? -ENOSPC : qcow2_write_back(q); /* the table on the disk is as the one here */

    if (r == 0) {
        memcpy(table, q->refcount_table, q->refcount_entries * 8);
        r = write_new_blocks(q, &g, table);
    }
    if (r == 0)
        r = write_new_table(q, &g, table);
    if (r < 0) {
        free(table);
        return r;
    }
    free(q->refcount_table);
    q->refcount_table = table;
    q->refcount_entries = g.entries;
    q->refcount_offset = g.base * q->cluster_size;
    return qcow2_give_up(q, old_offset, old_entries * 8);
}

/* Where there is no block yet, all clusters that it would count are free: it takes the one that is asked for. */
static int new_block(struct qcow2 *q, uint64_t index)
{
    struct qcow2_table *block;
    int r = 0;

    if (index / per_block(q) >= q->refcount_entries)
        return grow_table(q, index);
    r = qcow2_cache_get(q, &q->refcounts, index * q->cluster_size, true, &block);
    if (r < 0)
        return r;
    put_count(q, block->data, index % per_block(q), 1);
    q->refcount_table[index / per_block(q)] = index * q->cluster_size;
    q->refcount_table_dirty = true;
    return 0;
}

static bool overlaps(const struct qcow2 *q, uint64_t index, uint64_t offset, uint64_t bytes)
{
    return index >= offset >> q->cluster_bits && index <= (offset + bytes - 1) >> q->cluster_bits;
}

/* The header and the tables that every image has: when their clusters seem to be free, the counts lie. */
static bool is_vital(const struct qcow2 *q, uint64_t index)
{
    return index == 0 || overlaps(q, index, q->l1_offset, q->l1_entries * 8) ||
           overlaps(q, index, q->refcount_offset, q->refcount_entries * 8);
}

/* Takes the cluster if it is free: 1, or 0. */
static int take(struct qcow2 *q, uint64_t index)
{
    struct qcow2_table *block;
    int r = find_block(q, index, &block);

    if (is_vital(q, index) && (r == -ENOENT || (r == 0 && get_count(q, block->data, index % per_block(q)) == 0))) {
        q->corrupt = true;
        return -EIO;
    }
    if (r == -ENOENT) {
        r = new_block(q, index);
        return r < 0 ? r : take(q, index);
    }
    if (r < 0 || get_count(q, block->data, index % per_block(q)) != 0)
        return r;
    put_count(q, block->data, index % per_block(q), 1);
    block->dirty = true;
    return 1;
}

int qcow2_allocate(struct qcow2 *q, uint64_t wanted, uint64_t *ret_offset, uint64_t *ret_count)
{
    uint64_t index = q->free_hint, count = 0;
    int r = 0;

    while (count == 0 || (r == 1 && count < wanted)) {
        if (index >= (QCOW2_OFFSET + 1) >> q->cluster_bits)
            return -ENOSPC;
        r = take(q, index);
        if (r < 0)
            return r;
        count += (unsigned)r;
        index++;
    }
    if (r == 0)
        index--; /* the one that was in the way */
    q->free_hint = index;
    *ret_count = count;
    *ret_offset = (index - count) * q->cluster_size;
    return 0;
}

int qcow2_give_up(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> q->cluster_bits, last = (offset + bytes - 1) >> q->cluster_bits;

    for (uint64_t index = first; index <= last; index++) {
        if (q->freed_count == q->freed_capacity) {
            size_t capacity = q->freed_capacity == 0 ? 64 : q->freed_capacity * 2;
            struct qcow2_freed *freed = realloc(q->freed, capacity * sizeof(*freed));

            if (freed == NULL)
                return 0; /* the cluster is lost until somebody checks the image, no more */
            q->freed = freed;
            q->freed_capacity = capacity;
        }
        q->freed[q->freed_count++].index = index;
    }
    return 0;
}

static void punch(struct qcow2 *q, uint64_t index)
{
    struct block_request request;

    request.operation = BLOCK_DISCARD;
    request.offset = index * q->cluster_size;
    request.size = q->cluster_size;
    request.iov_count = 0;
    request.unmap = true;
    q->medium->type->execute(q->medium, &request);
}

static int lower(struct qcow2 *q, uint64_t index)
{
    struct qcow2_table *block;
    int r = find_block(q, index, &block);
    uint64_t count;

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    count = get_count(q, block->data, index % per_block(q));
    if (count == 0)
        return 0;
    put_count(q, block->data, index % per_block(q), count - 1);
    block->dirty = true;
    if (count > 1)
        return 0;
    if (index < q->free_hint)
        q->free_hint = index;
    punch(q, index);
    return 0;
}

int qcow2_apply_freed(struct qcow2 *q)
{
    int r = 0;

    while (r == 0 && q->freed_count > 0)
        r = lower(q, q->freed[--q->freed_count].index);
    return r;
}
