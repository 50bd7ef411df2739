/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the qcow2_*.c: the image in memory. */
#ifndef FERRY_BACKEND_QCOW2_INTERNAL_H
#define FERRY_BACKEND_QCOW2_INTERNAL_H

#include <pthread.h>

#include "backend/qcow2.h"

/* Bits of L1 and L2 entries. */
#define QCOW2_COPIED (UINT64_C(1) << 63)     /* counted once: may be written in place */
#define QCOW2_COMPRESSED (UINT64_C(1) << 62) /* L2 */
#define QCOW2_ZERO UINT64_C(1)               /* L2, version 3 */
#define QCOW2_OFFSET UINT64_C(0x00fffffffffffe00)

#define QCOW2_REFCOUNT_TABLE_MAX (8u << 20) /* bytes */

struct qcow2_table { /* a cluster of entries in memory */
    uint64_t offset; /* 0: the place is free */
    uint8_t *data;
    bool dirty;
    uint64_t used;   /* for eviction */
};

struct qcow2_cache {
    struct qcow2_table *table;
    unsigned count;
    uint64_t clock;
};

struct qcow2_freed { /* a cluster whose refcount is to fall when the tables on the disk have forgotten it */
    uint64_t index;
};

struct qcow2 {
    struct block_medium *medium;
    struct qcow2_config config;
    char *path;

    /* From the header. */
    unsigned version, cluster_bits, refcount_bits; /* refcount_bits: of one count */
    uint64_t cluster_size, size;
    uint64_t l1_offset, l1_entries;
    uint64_t refcount_offset, refcount_entries; /* of the table */
    bool zstd;

    struct qcow2_backing *backing; /* NULL: none */

    /* Held by every request while it uses clusters, exclusively to let go of some. */
    pthread_rwlock_t clusters;

    pthread_mutex_t lock; /* of all below */
    uint64_t *l1;         /* in host order */
    bool l1_dirty;
    uint64_t *refcount_table;
    bool refcount_table_dirty;
    struct qcow2_cache l2, refcounts;
    uint64_t free_hint;   /* no cluster below it is free */
    struct qcow2_freed *freed;
    size_t freed_count, freed_capacity;
    bool corrupt;         /* a table says what can't be: nothing is written any more */
};

/* Bytes of the medium; from any thread. */
int qcow2_read_medium(struct qcow2 *q, void *data, size_t size, uint64_t offset);
int qcow2_write_medium(struct qcow2 *q, const void *data, size_t size, uint64_t offset);

/* qcow2_cache.c, lock held. The table at offset, read if need be; new: all zeros, dirty. Valid until the next call on the same
 * cache. */
int qcow2_cache_new(struct qcow2 *q, struct qcow2_cache *cache, unsigned count);
void qcow2_cache_free(struct qcow2_cache *cache);
void qcow2_cache_clear(struct qcow2_cache *cache);
int qcow2_cache_get(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset, bool new, struct qcow2_table **ret_table);
/* Everything in memory to the disk, in order. */
int qcow2_write_back(struct qcow2 *q);

/* qcow2_refcount.c, lock held. Clusters are numbered from the file's start. */
/* Takes up to `wanted` clusters that lie side by side. */
int qcow2_allocate(struct qcow2 *q, uint64_t wanted, uint64_t *ret_offset, uint64_t *ret_count);
/* One reference less, once the tables on the disk have forgotten it. */
int qcow2_give_up(struct qcow2 *q, uint64_t offset, uint64_t bytes);
/* The tables on the disk are up to date. */
int qcow2_apply_freed(struct qcow2 *q);

/* qcow2_map.c, lock held. */
enum qcow2_kind { QCOW2_UNALLOCATED, QCOW2_IS_ZERO, QCOW2_NORMAL, QCOW2_IS_COMPRESSED };
struct qcow2_mapping {
    enum qcow2_kind kind;
    uint64_t entry;
    uint64_t offset; /* of the cluster in the file; of compressed data */
    uint64_t bytes;  /* of compressed data at most */
    bool copied;     /* may be written in place */
};
/* What lies at the guest's cluster number `index`. -EIO: a table says what can't be. */
int qcow2_look(struct qcow2 *q, uint64_t index, struct qcow2_mapping *ret_mapping);
/* Sets the entry; what the old one referred to is given up unless it is the same cluster. */
int qcow2_set(struct qcow2 *q, uint64_t index, uint64_t entry);

/* qcow2_compressed.c: any thread. Into a whole cluster. */
int qcow2_read_compressed(struct qcow2 *q, const struct qcow2_mapping *mapping, uint8_t *cluster);

/* qcow2_backing.c */
int qcow2_backing_open(struct qcow2 *q, const char *name, const char *format, struct err *err);
void qcow2_backing_close(struct qcow2_backing *backing);
/* Zeros past its end. */
int qcow2_backing_read(struct qcow2_backing *backing, void *data, size_t size, uint64_t offset);

static inline uint64_t qcow2_load(const void *p)
{
    uint64_t value;

    __builtin_memcpy(&value, p, sizeof(value));
    return __builtin_bswap64(value);
}

static inline void qcow2_store(void *p, uint64_t value)
{
    value = __builtin_bswap64(value);
    __builtin_memcpy(p, &value, sizeof(value));
}

#endif
