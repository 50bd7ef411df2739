/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What both sides of a copied disk do alike: blocks, and the digests by which they are compared. */
#ifndef FERRY_MIGRATION_STORAGE_H
#define FERRY_MIGRATION_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migration/disks.h"
#include "migration/stream.h"

/* Of a disk of that many bytes. */
static inline uint64_t storage_blocks(uint64_t size)
{
    return size / STREAM_BLOCK_SIZE + (size % STREAM_BLOCK_SIZE != 0);
}

/* Bytes of `count` blocks from `block` on, which the disk has. */
static inline uint64_t storage_bytes(uint64_t size, uint64_t block, uint64_t count)
{
    uint64_t left = size - block * STREAM_BLOCK_SIZE, bytes = count * STREAM_BLOCK_SIZE;

    return bytes < left ? bytes : left;
}

bool storage_is_zero(const uint8_t *data, size_t size);

/* SHA-256, its first half: whoever finds two blocks with the same one has found a guest that harms itself. 0, or -EIO.
 */
int storage_digest(const void *data, size_t size, uint8_t ret_digest[static STREAM_DIGEST_SIZE]);

/* Looks where a disk may hold anything, ahead of whoever goes through its blocks in order. */
struct storage_cursor {
    const struct migration_disks *disks;
    unsigned disk;
    uint64_t start, end; /* bytes of the range found last */
    bool valid;
};

/* Whether blocks [block, block + count) may hold anything but zeros; not before those that were asked for last. */
int storage_may_hold(struct storage_cursor *cursor, uint64_t block, uint64_t count, bool *ret_may);

#endif
