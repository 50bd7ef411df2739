/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to qcow2 images: what is allocated is read and written in place, without the lock; what has to be allocated
 * is written first and entered into the tables afterwards, with it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"
#include "base/bits.h"

/* The part [skip, skip + size) of the request's vector. */
static void slice(const struct block_request *request, uint64_t skip, uint64_t size, struct block_request *part)
{
    part->operation = request->operation;
    part->iov_count = 0;
    part->size = size;
    part->unmap = false;
    for (unsigned i = 0; i < request->iov_count && size > 0; i++) {
        uint64_t length = request->iov[i].iov_len, take;

        if (skip >= length) {
            skip -= length;
            continue;
        }
        take = length - skip < size ? length - skip : size;
        part->iov[part->iov_count++] =
            (struct iovec){.iov_base = (uint8_t *)request->iov[i].iov_base + skip, .iov_len = take};
        size -= take;
        skip = 0;
    }
}

static void copy_part(const struct block_request *request, uint64_t skip, uint8_t *data, uint64_t size,
                      bool into_request)
{
    struct block_request part;

    slice(request, skip, size, &part);
    for (unsigned i = 0; i < part.iov_count; i++) {
        if (into_request)
            memcpy(part.iov[i].iov_base, data, part.iov[i].iov_len);
        else
            memcpy(data, part.iov[i].iov_base, part.iov[i].iov_len);
        data += part.iov[i].iov_len;
    }
}

static void zero_part(const struct block_request *request, uint64_t skip, uint64_t size)
{
    struct block_request part;

    slice(request, skip, size, &part);
    for (unsigned i = 0; i < part.iov_count; i++)
        memset(part.iov[i].iov_base, 0, part.iov[i].iov_len);
}

/* Any bytes of one guest cluster, as they are, into data. */
static int read_cluster(struct qcow2 *q, const struct qcow2_mapping *mapping, uint64_t index, uint64_t within,
                        uint8_t *data, size_t size)
{
    uint8_t *cluster;
    int r;

    switch (mapping->kind) {
    case QCOW2_NORMAL:
        return qcow2_read_medium(q, data, size, mapping->offset + within);
    case QCOW2_UNALLOCATED:
        if (q->backing != NULL)
            return qcow2_backing_read(q->backing, data, size, index * q->cluster_size + within);
        memset(data, 0, size);
        return 0;
    case QCOW2_IS_ZERO:
        memset(data, 0, size);
        return 0;
    case QCOW2_IS_COMPRESSED:
        cluster = malloc(q->cluster_size);
        r = cluster == NULL ? -ENOMEM : qcow2_read_compressed(q, mapping, cluster);
        if (r == 0)
            memcpy(data, cluster + within, size);
        free(cluster);
        return r;
    }
    return -EIO;
}

/* A run of guest clusters that are alike, from `index` on: at most `most`, side by side in the file when they are
 * there. */
static int look_at_run(struct qcow2 *q, uint64_t index, uint64_t most, struct qcow2_mapping *first, uint64_t *ret_count)
{
    struct qcow2_mapping next;
    uint64_t count = 1;
    int r;

    pthread_mutex_lock(&q->lock);
    r = qcow2_look(q, index, first);
    while (r == 0 && count < most && first->kind != QCOW2_IS_COMPRESSED && qcow2_look(q, index + count, &next) == 0 &&
           next.kind == first->kind && next.copied == first->copied &&
           (first->kind != QCOW2_NORMAL || next.offset == first->offset + count * q->cluster_size))
        count++;
    pthread_mutex_unlock(&q->lock);
    *ret_count = count;
    return r;
}

/* Reads one run into the request. */
static int read_run(struct qcow2 *q, const struct block_request *request, uint64_t done, uint64_t size,
                    const struct qcow2_mapping *mapping)
{
    uint64_t at = request->offset + done, within = at & (q->cluster_size - 1);
    struct block_request part;
    uint8_t *bytes;
    int r;

    if (mapping->kind == QCOW2_NORMAL) {
        slice(request, done, size, &part);
        part.offset = mapping->offset + within;
        return q->medium->type->execute(q->medium, &part);
    }
    if (mapping->kind == QCOW2_IS_ZERO || (mapping->kind == QCOW2_UNALLOCATED && q->backing == NULL)) {
        zero_part(request, done, size);
        return 0;
    }
    bytes = malloc(size);
    if (bytes == NULL)
        return -ENOMEM;
    if (mapping->kind == QCOW2_UNALLOCATED)
        r = qcow2_backing_read(q->backing, bytes, size, at);
    else
        r = read_cluster(q, mapping, at >> q->cluster_bits, within, bytes, size);
    if (r == 0)
        copy_part(request, done, bytes, size, true);
    free(bytes);
    return r;
}

/* Bytes from `at` on that the next `count` clusters have of what is left. */
static uint64_t span(const struct qcow2 *q, uint64_t at, uint64_t left, uint64_t count)
{
    uint64_t size = count * q->cluster_size - (at & (q->cluster_size - 1));

    return size < left ? size : left;
}

/* Clusters that [at, at + left) touches. */
static uint64_t touched(const struct qcow2 *q, uint64_t at, uint64_t left)
{
    return ((at + left - 1) >> q->cluster_bits) - (at >> q->cluster_bits) + 1;
}

static int do_read(struct qcow2 *q, const struct block_request *request)
{
    int r = 0;

    for (uint64_t done = 0; r == 0 && done < request->size;) {
        uint64_t at = request->offset + done, left = request->size - done, count, size;
        struct qcow2_mapping mapping;

        r = look_at_run(q, at >> q->cluster_bits, touched(q, at, left), &mapping, &count);
        if (r < 0)
            break;
        size = span(q, at, left, count);
        r = read_run(q, request, done, size, &mapping);
        done += size;
    }
    return r;
}

/* Writing where nothing of ours is yet: lock held. */

/* A cluster of which only a part is written: the rest is what was there. */
static int fill_cluster(struct qcow2 *q, const struct block_request *request, uint64_t done, uint64_t size,
                        uint64_t target, const struct qcow2_mapping *mapping)
{
    uint64_t at = request->offset + done, within = at & (q->cluster_size - 1);
    uint8_t *cluster = malloc(q->cluster_size);
    int r = cluster == NULL ? -ENOMEM : read_cluster(q, mapping, at >> q->cluster_bits, 0, cluster, q->cluster_size);

    if (r == 0) {
        copy_part(request, done, cluster + within, size, false);
        r = qcow2_write_medium(q, cluster, q->cluster_size, target);
    }
    free(cluster);
    return r;
}

/* Whole clusters. */
static int fill_clusters(struct qcow2 *q, const struct block_request *request, uint64_t done, uint64_t size,
                         uint64_t target)
{
    struct block_request part;

    slice(request, done, size, &part);
    part.offset = target;
    return q->medium->type->execute(q->medium, &part);
}

/* How many clusters from `at` on are written whole and have to be allocated; 0: the first is not written whole. */
static int count_whole(struct qcow2 *q, uint64_t at, uint64_t left, uint64_t *ret_count)
{
    uint64_t count = 0, most = at % q->cluster_size == 0 ? left >> q->cluster_bits : 0;
    struct qcow2_mapping mapping;
    int r = 0;

    while (count < most) {
        r = qcow2_look(q, (at >> q->cluster_bits) + count, &mapping);
        if (r < 0 || (mapping.kind == QCOW2_NORMAL && mapping.copied))
            break;
        count++;
    }
    *ret_count = count;
    return r;
}

static int allocate_run(struct qcow2 *q, const struct block_request *request, uint64_t done,
                        const struct qcow2_mapping *mapping, uint64_t *ret_size)
{
    uint64_t at = request->offset + done, left = request->size - done, whole, target, count;
    int r = count_whole(q, at, left, &whole);

    if (r == 0)
        r = qcow2_allocate(q, whole > 0 ? whole : 1, &target, &count);
    if (r < 0)
        return r;
    *ret_size = span(q, at, left, count);
    r = whole > 0 ? fill_clusters(q, request, done, *ret_size, target)
                  : fill_cluster(q, request, done, *ret_size, target, mapping);
    for (uint64_t i = 0; r == 0 && i < count; i++)
        r = qcow2_set(q, (at >> q->cluster_bits) + i, (target + i * q->cluster_size) | QCOW2_COPIED);
    return r;
}

/* Writes what can be written in place, without the lock; else allocates. *ret_size: bytes that are done. */
static int write_some(struct qcow2 *q, const struct block_request *request, uint64_t done, uint64_t *ret_size)
{
    uint64_t at = request->offset + done, left = request->size - done, count;
    struct qcow2_mapping mapping;
    struct block_request part;
    int r = look_at_run(q, at >> q->cluster_bits, touched(q, at, left), &mapping, &count);

    if (r < 0)
        return r;
    if (mapping.kind == QCOW2_NORMAL && mapping.copied) {
        *ret_size = span(q, at, left, count);
        slice(request, done, *ret_size, &part);
        part.offset = mapping.offset + (at & (q->cluster_size - 1));
        return q->medium->type->execute(q->medium, &part);
    }
    pthread_mutex_lock(&q->lock);
    r = qcow2_look(q, at >> q->cluster_bits, &mapping); /* somebody else may have been faster */
    if (r == 0 && mapping.kind == QCOW2_NORMAL && mapping.copied)
        *ret_size = 0;
    else if (r == 0)
        r = q->corrupt ? -EIO : allocate_run(q, request, done, &mapping, ret_size);
    pthread_mutex_unlock(&q->lock);
    return r;
}

static int do_write(struct qcow2 *q, const struct block_request *request)
{
    int r = 0;

    for (uint64_t done = 0, size; r == 0 && done < request->size; done += size) {
        size = 0;
        r = write_some(q, request, done, &size);
    }
    return r;
}

/* Zeros and discards: whole clusters by the tables, the rest by writing zeros. */

static int write_zeros(struct qcow2 *q, uint64_t offset, uint64_t size)
{
    uint8_t *zeros = calloc(1, q->cluster_size);
    struct block_request request;
    int r = zeros == NULL ? -ENOMEM : 0;

    request.operation = BLOCK_WRITE;
    request.iov_count = 1;
    request.unmap = false;
    while (r == 0 && size > 0) {
        request.offset = offset;
        request.size = size < q->cluster_size ? size : q->cluster_size;
        request.iov[0] = (struct iovec){.iov_base = zeros, .iov_len = request.size};
        r = do_write(q, &request);
        offset += request.size;
        size -= request.size;
    }
    free(zeros);
    return r;
}

/* One whole cluster shall read as zeros; unmap: and take no space. Version 2 has no entry for that over a backing
 * image. */
static int zero_cluster(struct qcow2 *q, uint64_t index, bool unmap, bool *ret_by_hand)
{
    struct qcow2_mapping mapping;
    int r = qcow2_look(q, index, &mapping);

    if (r < 0)
        return r;
    if (mapping.kind == QCOW2_IS_ZERO || (mapping.kind == QCOW2_UNALLOCATED && q->backing == NULL))
        return 0;
    if (q->version < 3 && (q->backing != NULL || !unmap)) {
        *ret_by_hand = true;
        return 0;
    }
    if (!unmap && mapping.kind == QCOW2_NORMAL && mapping.copied)
        return qcow2_set(q, index, mapping.entry | QCOW2_ZERO);
    return qcow2_set(q, index, q->version >= 3 ? QCOW2_ZERO : 0);
}

static int zero_clusters(struct qcow2 *q, uint64_t first, uint64_t count, bool unmap)
{
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < count; i++) {
        bool by_hand = false;

        pthread_mutex_lock(&q->lock);
        r = q->corrupt ? -EIO : zero_cluster(q, first + i, unmap, &by_hand);
        pthread_mutex_unlock(&q->lock);
        if (r == 0 && by_hand)
            r = write_zeros(q, (first + i) * q->cluster_size, q->cluster_size);
    }
    return r;
}

/* A discard is a hint: parts of clusters are left alone, and what the image below has stays hidden. */
static int do_zero(struct qcow2 *q, const struct block_request *request)
{
    bool discard = request->operation == BLOCK_DISCARD;
    uint64_t end = request->offset + request->size;
    uint64_t first = align_up(request->offset, q->cluster_size);
    uint64_t last = end == q->size ? align_up(end, q->cluster_size) : align_down(end, q->cluster_size);
    int r = 0;

    if (first >= last)
        return discard ? 0 : write_zeros(q, request->offset, request->size);
    if (!discard && first > request->offset)
        r = write_zeros(q, request->offset, first - request->offset);
    if (r == 0)
        r = zero_clusters(q, first >> q->cluster_bits, (last - first) >> q->cluster_bits, discard || request->unmap);
    if (r == 0 && !discard && end > last)
        r = write_zeros(q, last, end - last);
    return r;
}

static int do_flush(struct qcow2 *q)
{
    int r;

    pthread_mutex_lock(&q->lock);
    r = q->corrupt || q->config.readonly ? block_medium_flush(q->medium) : qcow2_write_back(q);
    pthread_mutex_unlock(&q->lock);
    return r;
}

/* After a flush, what was given up is free, once nobody is in the middle of using it. */
static void let_go(struct qcow2 *q)
{
    if (pthread_rwlock_trywrlock(&q->clusters) != 0)
        return;
    pthread_mutex_lock(&q->lock);
    if (q->freed_count > 0 && !q->corrupt && qcow2_write_back(q) == 0)
        qcow2_apply_freed(q);
    pthread_mutex_unlock(&q->lock);
    pthread_rwlock_unlock(&q->clusters);
}

static int perform(struct qcow2 *q, const struct block_request *request)
{
    switch (request->operation) {
    case BLOCK_READ:
        return do_read(q, request);
    case BLOCK_WRITE:
        return do_write(q, request);
    case BLOCK_FLUSH:
        return do_flush(q);
    case BLOCK_DISCARD:
    case BLOCK_WRITE_ZEROES:
        return request->size == 0 ? 0 : do_zero(q, request);
    }
    return -EINVAL;
}

int qcow2_execute(struct qcow2 *q, const struct block_request *request)
{
    int r;

    pthread_rwlock_rdlock(&q->clusters);
    r = perform(q, request);
    pthread_rwlock_unlock(&q->clusters);
    if (r == 0 && request->operation == BLOCK_FLUSH)
        let_go(q);
    return r;
}
