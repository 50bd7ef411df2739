/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the guest's clusters to the file's: L1 and L2 tables. */
#include <errno.h>
#include <string.h>

#include "backend/qcow2_internal.h"
#include "base/bits.h"

static uint64_t l2_entries(const struct qcow2 *q)
{
    return q->cluster_size / 8;
}

static int broken(struct qcow2 *q)
{
    q->corrupt = true;
    return -EIO;
}

static bool cluster_valid(const struct qcow2 *q, uint64_t offset)
{
    return offset % q->cluster_size == 0 && offset != 0;
}

static int decode(struct qcow2 *q, uint64_t entry, struct qcow2_mapping *mapping)
{
    *mapping =
        (struct qcow2_mapping){.entry = entry, .offset = entry & QCOW2_OFFSET, .copied = (entry & QCOW2_COPIED) != 0};
    if ((entry & QCOW2_COMPRESSED) != 0) {
        unsigned shift = 62 - (q->cluster_bits - 8);
        uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> shift;

        mapping->kind = QCOW2_IS_COMPRESSED;
        mapping->copied = false;
        mapping->offset = entry & (BIT(shift) - 1);
        mapping->bytes = (sectors + 1) * 512 - mapping->offset % 512;
        return mapping->offset != 0 ? 0 : broken(q);
    }
    if (q->version >= 3 && (entry & QCOW2_ZERO) != 0)
        mapping->kind = QCOW2_IS_ZERO;
    else
        mapping->kind = mapping->offset != 0 ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
    return mapping->offset == 0 || cluster_valid(q, mapping->offset) ? 0 : broken(q);
}

int qcow2_look(struct qcow2 *q, uint64_t index, struct qcow2_mapping *ret_mapping)
{
    uint64_t l1 = q->l1[index / l2_entries(q)];
    struct qcow2_table *table;
    int r;

    if ((l1 & QCOW2_OFFSET) == 0) {
        *ret_mapping = (struct qcow2_mapping){.kind = QCOW2_UNALLOCATED};
        return 0;
    }
    if (!cluster_valid(q, l1 & QCOW2_OFFSET))
        return broken(q);
    r = qcow2_cache_get(q, &q->l2, l1 & QCOW2_OFFSET, false, &table);
    return r < 0 ? r : decode(q, qcow2_load(table->data + index % l2_entries(q) * 8), ret_mapping);
}

/* A table of our own: a new one, or a copy of one that is shared with a snapshot. */
static int own_table(struct qcow2 *q, uint64_t at)
{
    uint64_t old = q->l1[at] & QCOW2_OFFSET, offset, count;
    struct qcow2_table *table, *source;
    int r = qcow2_allocate(q, 1, &offset, &count);

    if (r == 0)
        r = qcow2_cache_get(q, &q->l2, offset, true, &table);
    if (r < 0)
        return r;
    if (old != 0) {
        r = qcow2_cache_get(q, &q->l2, old, false, &source);
        if (r == 0)
            r = qcow2_cache_get(q, &q->l2, offset, false, &table); /* reading the other may have moved it */
        if (r < 0)
            return r;
        memcpy(table->data, source->data, q->cluster_size);
        table->dirty = true;
        qcow2_give_up(q, old, q->cluster_size);
    }
    q->l1[at] = offset | QCOW2_COPIED;
    q->l1_dirty = true;
    return 0;
}

static int get_own_table(struct qcow2 *q, uint64_t index, struct qcow2_table **ret_table)
{
    uint64_t at = index / l2_entries(q);
    int r = 0;

    if ((q->l1[at] & QCOW2_COPIED) == 0)
        r = own_table(q, at);
    if (r == 0 && !cluster_valid(q, q->l1[at] & QCOW2_OFFSET))
        r = broken(q);
    return r < 0 ? r : qcow2_cache_get(q, &q->l2, q->l1[at] & QCOW2_OFFSET, false, ret_table);
}

int qcow2_set(struct qcow2 *q, uint64_t index, uint64_t entry)
{
    struct qcow2_table *table;
    struct qcow2_mapping old;
    int r = get_own_table(q, index, &table);

    if (r == 0)
        r = decode(q, qcow2_load(table->data + index % l2_entries(q) * 8), &old);
    if (r < 0)
        return r;
    qcow2_store(table->data + index % l2_entries(q) * 8, entry);
    table->dirty = true;
    if (old.kind == QCOW2_IS_COMPRESSED)
        return qcow2_give_up(q, old.offset, old.bytes);
    return old.offset != 0 && old.offset != (entry & QCOW2_OFFSET) ? qcow2_give_up(q, old.offset, q->cluster_size) : 0;
}

/* Whether the cluster reads as zeros for want of anything else; *ret_next: the first that has to be looked at behind it. */
static int is_empty(struct qcow2 *q, uint64_t index, bool *ret_empty, uint64_t *ret_next)
{
    struct qcow2_mapping mapping;
    int r;

    *ret_next = index + 1;
    *ret_empty = (q->l1[index / l2_entries(q)] & QCOW2_OFFSET) == 0 && q->backing == NULL;
    if (*ret_empty) {
        *ret_next = (index / l2_entries(q) + 1) * l2_entries(q);
        return 0;
    }
    r = qcow2_look(q, index, &mapping);
    if (r == 0)
        *ret_empty = mapping.kind == QCOW2_IS_ZERO || (mapping.kind == QCOW2_UNALLOCATED && q->backing == NULL);
    return r;
}

#define RUN_MAX 1024 /* clusters that are looked at in one go, with the lock */

int qcow2_find_data(struct qcow2 *q, uint64_t offset, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
    uint64_t first = offset >> q->cluster_bits, limit = (size + q->cluster_size - 1) >> q->cluster_bits, end, next;
    bool empty = true;
    int r = 0;

    pthread_mutex_lock(&q->lock);
    for (next = first; r == 0 && empty && next < limit;) {
        first = next;
        r = is_empty(q, first, &empty, &next);
    }
    if (empty)
        first = limit;
    for (end = first; r == 0 && !empty && end < limit && end - first < RUN_MAX; end++) {
        r = is_empty(q, end, &empty, &next);
        if (empty)
            break;
    }
    pthread_mutex_unlock(&q->lock);
    if (r < 0)
        return r;
    *ret_start = first << q->cluster_bits > offset ? first << q->cluster_bits : offset;
    *ret_end = end << q->cluster_bits;
    if (*ret_start > size)
        *ret_start = size;
    if (*ret_end > size)
        *ret_end = size;
    return 0;
}
