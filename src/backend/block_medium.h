/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the block files of this room: what an image lies on, below its format: a file or block device of this host, or a
 * file on an NFS server. */
#ifndef FERRY_BACKEND_BLOCK_MEDIUM_H
#define FERRY_BACKEND_BLOCK_MEDIUM_H

#include "backend/block.h"

enum block_lock_wish { BLOCK_UNLOCK, BLOCK_LOCK_SHARED, BLOCK_LOCK_EXCLUSIVE };

struct block_medium;

struct block_medium_type {
    /* Does the whole request, blocking. Returns its result. From any thread. */
    int (*execute)(struct block_medium *medium, const struct block_request *request);
    /* Begins the request, whose end is told by medium->finished; false: not this kind of request, execute() it. */
    bool (*submit)(struct block_medium *medium, struct block_request *request);
    /* Waits until something that was submitted has finished, and tells of it. False: nothing is under way. */
    bool (*wait)(struct block_medium *medium);
    int (*size)(struct block_medium *medium, uint64_t *ret_size); /* bytes */
    bool (*can_discard)(struct block_medium *medium);
    /* As block_room(). NULL: -ENOTSUP. */
    int (*room)(struct block_medium *medium, struct block_room *ret_room);
    /* As block_find_data(): size is the medium's. NULL: nothing is known of holes. From any thread. */
    void (*find_data)(struct block_medium *medium, uint64_t offset, uint64_t size, uint64_t *ret_start, uint64_t *ret_end);
    /* Locks, by open file description: a later one replaces an earlier one on the same range. -EAGAIN: somebody else's is
     * in the way. look: whether somebody else has any. */
    int (*lock)(struct block_medium *medium, uint64_t start, uint64_t length, enum block_lock_wish wish);
    int (*look)(struct block_medium *medium, uint64_t start, uint64_t length);
    void (*close)(struct block_medium *medium); /* nothing is under way; accepts a half-built one */
};

struct block_medium {
    const struct block_medium_type *type;
    /* In the loop's thread with its lock, or inside submit or wait. result -EAGAIN: not done whole, execute() it. */
    void (*finished)(void *ctx, struct block_request *request, int result);
    void *ctx;
};

/* Opens; size and locks are the caller's business. finished and ctx are filled in before anything is submitted. */
int block_file_open(const struct block_config *config, struct loop *loop, struct block_medium **ret_medium, struct err *err);
int block_nfs_open(const struct block_config *config, struct loop *loop, struct block_medium **ret_medium, struct err *err);

static inline void block_medium_close(struct block_medium *medium)
{
    if (medium != NULL)
        medium->type->close(medium);
}

/* Waits until all that was written is on stable storage. */
static inline int block_medium_flush(struct block_medium *medium)
{
    const struct block_request flush = {.operation = BLOCK_FLUSH};

    return medium->type->execute(medium, &flush);
}

#endif
