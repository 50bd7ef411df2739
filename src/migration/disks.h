/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disks whose contents a migration moves, as it sees them: numbered alike on both sides, in blocks of
 * STREAM_BLOCK_SIZE. */
#ifndef FERRY_MIGRATION_DISKS_H
#define FERRY_MIGRATION_DISKS_H

#include <stddef.h>
#include <stdint.h>

#define MIGRATION_DISKS_MAX 64

struct err;

/* Called by one thread at a time, with no lock held; they wait. Ranges lie within the disk. 0 or -errno. */
struct migration_disks {
    void *ctx;
    unsigned count;
    uint64_t size[MIGRATION_DISKS_MAX]; /* bytes */
    const char *(*name)(void *ctx, unsigned disk);
    int (*read)(void *ctx, unsigned disk, uint64_t offset, void *data, size_t size);
    /* Where something else than zeros may be, at or behind offset; *ret_start is the disk's size when there is nothing.
     */
    int (*find_data)(void *ctx, unsigned disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end);

    /* The source's: track remembers from now on which blocks the guest changes; take adds them to a bitmap and forgets
     * them. */
    int (*track)(void *ctx, struct err *err);
    void (*untrack)(void *ctx);
    void (*take_dirty)(void *ctx, unsigned disk, uint64_t *bitmap);

    /* The destination's; data NULL: zeros. */
    int (*write)(void *ctx, unsigned disk, uint64_t offset, const void *data, uint64_t size);
    int (*flush)(void *ctx, unsigned disk);
};

#endif
