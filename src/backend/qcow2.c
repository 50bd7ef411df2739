/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 images: the header and what it leads to. */
#include "backend/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2_internal.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"

#define MAGIC 0x514649fbu
#define HEADER_MAX 4096u /* bytes of header, extensions and backing name that are looked at */
#define L1_BYTES_MAX (32u << 20)
#define CACHE_BYTES (8u << 20) /* of each cache */

enum { HEADER_V2 = 72, HEADER_V3 = 104 };
enum { CLUSTER_BITS_MIN = 9, CLUSTER_BITS_MAX = 21 };
enum {
    INCOMPATIBLE_DIRTY = 1 << 0,
    INCOMPATIBLE_CORRUPT = 1 << 1,
    INCOMPATIBLE_DATA_FILE = 1 << 2,
    INCOMPATIBLE_COMPRESSION = 1 << 3,
    INCOMPATIBLE_EXTENDED_L2 = 1 << 4,
};
#define EXTENSION_BACKING_FORMAT 0xe2792acau

struct header {
    uint32_t version, cluster_bits, crypt, l1_entries, refcount_clusters, refcount_order, header_length;
    uint64_t backing_offset, size, l1_offset, refcount_offset, incompatible, autoclear;
    uint32_t backing_size;
    uint8_t compression;
    uint8_t raw[HEADER_MAX];
    size_t raw_size;
};

static uint32_t get32(const uint8_t *p)
{
    return __builtin_bswap32(load_le32(p));
}

static int transfer(struct qcow2 *q, enum block_operation operation, void *data, size_t size, uint64_t offset)
{
    struct block_request request;

    request.operation = operation;
    request.offset = offset;
    request.size = size;
    request.iov[0] = (struct iovec){.iov_base = data, .iov_len = size};
    request.iov_count = 1;
    request.unmap = false;
    return q->medium->type->execute(q->medium, &request);
}

int qcow2_read_medium(struct qcow2 *q, void *data, size_t size, uint64_t offset)
{
    return transfer(q, BLOCK_READ, data, size, offset);
}

int qcow2_write_medium(struct qcow2 *q, const void *data, size_t size, uint64_t offset)
{
    return transfer(q, BLOCK_WRITE, (void *)data, size, offset);
}

static void decode_header(const uint8_t *p, struct header *h)
{
    h->version = get32(p + 4);
    h->backing_offset = qcow2_load(p + 8);
    h->backing_size = get32(p + 16);
    h->cluster_bits = get32(p + 20);
    h->size = qcow2_load(p + 24);
    h->crypt = get32(p + 32);
    h->l1_entries = get32(p + 36);
    h->l1_offset = qcow2_load(p + 40);
    h->refcount_offset = qcow2_load(p + 48);
    h->refcount_clusters = get32(p + 56);
    h->refcount_order = 4;
    h->header_length = HEADER_V2;
    if (h->version < 3)
        return;
    h->incompatible = qcow2_load(p + 72);
    h->autoclear = qcow2_load(p + 88);
    h->refcount_order = get32(p + 96);
    h->header_length = get32(p + 100);
    h->compression = (h->incompatible & INCOMPATIBLE_COMPRESSION) != 0 ? p[104] : 0;
}

static int read_header(struct qcow2 *q, struct header *h, struct err *err)
{
    uint64_t size = 0;
    int r = q->medium->type->size(q->medium, &size);

    h->raw_size = size < HEADER_MAX ? (size_t)size : HEADER_MAX;
    if (r == 0 && h->raw_size < HEADER_V3 + 8)
        return err_set(err, -EINVAL, "disk image %s is too short to be a qcow2 image", q->path);
    if (r == 0)
        r = qcow2_read_medium(q, h->raw, h->raw_size, 0);
    if (r < 0)
        return err_set(err, r, "cannot read the header of disk image %s: %s", q->path, strerror(-r));
    if (get32(h->raw) != MAGIC)
        return err_set(err, -EINVAL, "disk image %s is not a qcow2 image", q->path);
    decode_header(h->raw, h);
    return 0;
}

static int check_features(const struct qcow2 *q, const struct header *h, struct err *err)
{
    const uint64_t known = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT | INCOMPATIBLE_COMPRESSION;

    if (h->version != 2 && h->version != 3)
        return err_set(err, -ENOTSUP, "disk image %s has version %u of qcow2; 2 and 3 are known", q->path, h->version);
    if (h->crypt != 0)
        return err_set(err, -ENOTSUP, "disk image %s is encrypted, which is not supported", q->path);
    if ((h->incompatible & INCOMPATIBLE_DATA_FILE) != 0)
        return err_set(err, -ENOTSUP, "disk image %s has its data in another file, which is not supported", q->path);
    if ((h->incompatible & INCOMPATIBLE_EXTENDED_L2) != 0)
        return err_set(err, -ENOTSUP, "disk image %s has subclusters (extended_l2=on), which are not supported",
                       q->path);
    if ((h->incompatible & ~known) != 0)
        return err_set(err, -ENOTSUP, "disk image %s uses features 0x%llx that are not known", q->path,
                       (unsigned long long)(h->incompatible & ~known));
    if (h->compression > 1)
        return err_set(err, -ENOTSUP, "disk image %s is compressed in a way that is not known (%u)", q->path,
                       h->compression);
    if (q->config.readonly)
        return 0;
    if ((h->incompatible & (INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT)) != 0)
        return err_set(err, -EINVAL,
                       "disk image %s was not closed in order or is damaged; repair it first: qemu-img check -r all %s",
                       q->path, q->path);
    return h->refcount_order < 3
               ? err_set(err, -ENOTSUP, "disk image %s has refcounts of less than 8 bits, so it can only be read",
                         q->path)
               : 0;
}

static bool aligned(const struct header *h, uint64_t offset)
{
    return offset % (UINT64_C(1) << h->cluster_bits) == 0 && (offset & ~QCOW2_OFFSET) == 0;
}

static int check_geometry(const struct qcow2 *q, const struct header *h, struct err *err)
{
    uint64_t cluster, span;

    if (h->cluster_bits < CLUSTER_BITS_MIN || h->cluster_bits > CLUSTER_BITS_MAX || h->refcount_order > 6 ||
        h->header_length < HEADER_V2 || h->header_length > HEADER_MAX || h->header_length % 8 != 0)
        return err_set(err, -EINVAL, "disk image %s has a header that can't be right", q->path);
    cluster = UINT64_C(1) << h->cluster_bits;
    span = cluster * (cluster / 8);
    if (h->size == 0 || h->size > INT64_MAX || h->l1_entries > L1_BYTES_MAX / 8 ||
        h->l1_entries < (h->size - 1) / span + 1 || !aligned(h, h->l1_offset) || h->l1_offset == 0)
        return err_set(err, -EINVAL, "disk image %s has a size or an L1 table that can't be right", q->path);
    if (h->refcount_clusters == 0 || h->refcount_clusters > QCOW2_REFCOUNT_TABLE_MAX / cluster ||
        !aligned(h, h->refcount_offset) || h->refcount_offset == 0)
        return err_set(err, -EINVAL, "disk image %s has a refcount table that can't be right", q->path);
    return 0;
}

/* Tables of eight-byte entries, in host order. */
static int read_entries(struct qcow2 *q, uint64_t offset, uint64_t count, uint64_t **ret_entries, struct err *err)
{
    uint64_t *entries = malloc(count * 8);
    int r = entries == NULL ? -ENOMEM : qcow2_read_medium(q, entries, count * 8, offset);

    if (r < 0) {
        free(entries);
        return err_set(err, r, "cannot read the tables of disk image %s: %s", q->path, strerror(-r));
    }
    for (uint64_t i = 0; i < count; i++)
        entries[i] = __builtin_bswap64(entries[i]);
    free(*ret_entries);
    *ret_entries = entries;
    return 0;
}

static void take_header(struct qcow2 *q, const struct header *h)
{
    q->version = h->version;
    q->cluster_bits = h->cluster_bits;
    q->cluster_size = UINT64_C(1) << h->cluster_bits;
    q->refcount_bits = 1u << h->refcount_order;
    q->size = h->size;
    q->l1_offset = h->l1_offset;
    q->l1_entries = h->l1_entries;
    q->refcount_offset = h->refcount_offset;
    q->refcount_entries = h->refcount_clusters * q->cluster_size / 8;
    q->zstd = h->compression == 1;
}

/* Bits of what others keep in the image (dirty bitmaps): who changes it without knowing them clears them. */
static int clear_autoclear(struct qcow2 *q, const struct header *h, struct err *err)
{
    const uint64_t none = 0;
    int r;

    if (q->config.readonly || h->version < 3 || h->autoclear == 0)
        return 0;
    r = qcow2_write_medium(q, &none, sizeof(none), 88);
    return r < 0 ? err_set(err, r, "cannot write the header of disk image %s: %s", q->path, strerror(-r)) : 0;
}

static int load(struct qcow2 *q, struct header *h, struct err *err)
{
    int r = read_header(q, h, err);

    if (r == 0)
        r = check_features(q, h, err);
    if (r == 0)
        r = check_geometry(q, h, err);
    if (r < 0)
        return r;
    take_header(q, h);
    r = read_entries(q, q->l1_offset, q->l1_entries, &q->l1, err);
    return r < 0 ? r : read_entries(q, q->refcount_offset, q->refcount_entries, &q->refcount_table, err);
}

/* Behind the header: extensions (type, length, data padded to eight) up to one of type 0. */
static bool find_extension(const struct header *h, uint32_t type, char *text, size_t size)
{
    size_t at = h->header_length;

    while (at + 8 <= h->raw_size) {
        uint32_t found = get32(h->raw + at), length = get32(h->raw + at + 4);

        if (found == 0 || length > h->raw_size - at - 8)
            return false;
        if (found == type && length < size) {
            memcpy(text, h->raw + at + 8, length);
            text[length] = 0;
            return true;
        }
        at += 8 + (size_t)align_up(length, 8);
    }
    return false;
}

static int open_backing(struct qcow2 *q, const struct header *h, struct err *err)
{
    char name[1024], format[32] = "";
    int r;

    if (h->backing_offset == 0)
        return 0;
    if (h->backing_size == 0 || h->backing_size >= sizeof(name) || h->backing_offset > q->cluster_size)
        return err_set(err, -EINVAL, "disk image %s has a backing image whose name can't be right", q->path);
    r = qcow2_read_medium(q, name, h->backing_size, h->backing_offset);
    if (r < 0)
        return err_set(err, r, "cannot read the header of disk image %s: %s", q->path, strerror(-r));
    name[h->backing_size] = 0;
    if (!find_extension(h, EXTENSION_BACKING_FORMAT, format, sizeof(format)))
        return err_set(
            err, -EINVAL,
            "disk image %s does not say of which format its backing image %s is, and guessing is not safe; tell it: "
            "qemu-img rebase -u -F FORMAT -b %s %s",
            q->path, name, name, q->path);
    return qcow2_backing_open(q, name, format, err);
}

static int new_caches(struct qcow2 *q, struct err *err)
{
    unsigned count = (unsigned)(CACHE_BYTES >> q->cluster_bits);
    int r;

    count = count < 8 ? 8 : count > 512 ? 512 : count;
    r = qcow2_cache_new(q, &q->l2, count);
    if (r == 0)
        r = qcow2_cache_new(q, &q->refcounts, count);
    return r < 0 ? err_set(err, r, "no memory for disk image %s", q->path) : 0;
}

int qcow2_open(struct block_medium *medium, const struct qcow2_config *config, struct qcow2 **ret_qcow2,
               struct err *err)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    struct header *h = calloc(1, sizeof(*h));
    int r = -ENOMEM;

    if (q != NULL) {
        q->medium = medium;
        q->config = *config;
        q->path = strdup(config->path);
        pthread_rwlock_init(&q->clusters, NULL);
        pthread_mutex_init(&q->lock, NULL);
    }
    if (q == NULL || h == NULL || q->path == NULL)
        err_set(err, r, "no memory for disk image %s", config->path);
    else
        r = load(q, h, err);
    if (r == 0)
        r = new_caches(q, err);
    if (r == 0)
        r = clear_autoclear(q, h, err);
    if (r == 0)
        r = open_backing(q, h, err);
    free(h);
    if (r < 0) {
        qcow2_close(q);
        return r;
    }
    *ret_qcow2 = q;
    return 0;
}

void qcow2_close(struct qcow2 *q)
{
    if (q == NULL)
        return;
    qcow2_backing_close(q->backing);
    qcow2_cache_free(&q->l2);
    qcow2_cache_free(&q->refcounts);
    pthread_mutex_destroy(&q->lock);
    pthread_rwlock_destroy(&q->clusters);
    free(q->l1);
    free(q->refcount_table);
    free(q->freed);
    free(q->path);
    free(q);
}

uint64_t qcow2_size(const struct qcow2 *q)
{
    return q->size;
}

int qcow2_reload(struct qcow2 *q, struct err *err)
{
    struct header *h = calloc(1, sizeof(*h));
    unsigned bits = q->cluster_bits;
    int r = h == NULL ? err_set(err, -ENOMEM, "no memory for disk image %s", q->path) : 0;

    pthread_mutex_lock(&q->lock);
    if (r == 0)
        r = load(q, h, err);
    if (r == 0 && q->cluster_bits != bits)
        r = err_set(err, -EINVAL, "disk image %s has been replaced by another one", q->path);
    qcow2_cache_clear(&q->l2);
    qcow2_cache_clear(&q->refcounts);
    q->l1_dirty = q->refcount_table_dirty = false;
    q->free_hint = q->freed_count = 0;
    if (r == 0)
        r = clear_autoclear(q, h, err);
    pthread_mutex_unlock(&q->lock);
    free(h);
    return r;
}
