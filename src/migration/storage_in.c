/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks of disks, received. */
#include "migration/storage_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migration/channel.h"
#include "migration/pages_in.h"
#include "migration/progress.h"
#include "migration/storage.h"

struct storage_in {
    const struct migration_disks *disks;
    struct migration_progress *progress;
    bool written[MIGRATION_DISKS_MAX]; /* since it was last flushed */
    uint8_t block[STREAM_BLOCK_SIZE];
    uint8_t digest[STREAM_COMPARE_MAX * STREAM_DIGEST_SIZE];
};

int storage_in_new(const struct migration_disks *disks, struct migration_progress *progress,
                   struct storage_in **ret_storage, struct err *err)
{
    struct storage_in *storage = calloc(1, sizeof(*storage));

    if (storage == NULL)
        return err_set(err, -ENOMEM, "no memory for copying disks");
    storage->disks = disks;
    storage->progress = progress;
    for (unsigned i = 0; i < disks->count; i++)
        progress->disk_total += disks->size[i];
    *ret_storage = storage;
    return 0;
}

void storage_in_free(struct storage_in *storage)
{
    free(storage);
}

static int trouble(const struct storage_in *storage, unsigned disk, int r, const char *what, struct err *err)
{
    return err_set(err, r, "cannot %s disk %.200s on the destination: %s", what,
                   storage->disks->name(storage->disks->ctx, disk), strerror(-r));
}

static bool extent_fits(const struct storage_in *storage, unsigned disk, uint64_t block, uint64_t count)
{
    uint64_t blocks = disk < storage->disks->count ? storage_blocks(storage->disks->size[disk]) : 0;

    return count > 0 && block < blocks && count <= blocks - block;
}

/* What is in the way of an empty answer: blocks that hold something. */
static int digest_blocks(struct storage_in *storage, unsigned disk, uint64_t first, uint32_t count, bool *ret_any)
{
    const struct migration_disks *disks = storage->disks;
    struct storage_cursor cursor = {.disks = disks, .disk = disk};

    memset(storage->digest, 0, (size_t)count * STREAM_DIGEST_SIZE);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = storage_bytes(disks->size[disk], first + i, 1);
        bool may;
        int r = storage_may_hold(&cursor, first + i, 1, &may);

        if (r == 0 && may)
            r = disks->read(disks->ctx, disk, (first + i) * STREAM_BLOCK_SIZE, storage->block, size);
        if (r == 0 && may && !storage_is_zero(storage->block, size)) {
            r = storage_digest(storage->block, size, storage->digest + (size_t)i * STREAM_DIGEST_SIZE);
            *ret_any = true;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

static int compare(struct storage_in *storage, struct channel *channel, const struct message *message, struct err *err)
{
    uint8_t body[STREAM_COMPARE_SIZE];
    bool any = false;
    uint64_t first;
    uint32_t count;
    int r = message->size != sizeof(body) ? -EBADMSG : channel_receive(channel, body, sizeof(body));

    if (r < 0)
        return r == -EBADMSG ? err_set(err, r, "the source sent a COMPARE of %u bytes", message->size)
                             : stream_lost(err, r, "source");
    first = load_le64(body);
    count = load_le32(body + 8);
    if (count > STREAM_COMPARE_MAX || !extent_fits(storage, message->argument, first, count))
        return err_set(err, -EBADMSG, "COMPARE asks for %u blocks from %llu on of disk %u, which are not there", count,
                       (unsigned long long)first, message->argument);
    r = digest_blocks(storage, message->argument, first, count, &any);
    if (r < 0)
        return trouble(storage, message->argument, r, "read", err);
    r = stream_send(channel, MESSAGE_DIGESTS, message->argument, storage->digest,
                    any ? (size_t)count * STREAM_DIGEST_SIZE : 0, NULL);
    return r < 0 ? stream_lost(err, r, "source") : 0;
}

static int write_blocks(struct storage_in *storage, struct channel *channel, const struct message *message,
                        struct compressor *compressor, struct err *err)
{
    const struct migration_disks *disks = storage->disks;
    uint8_t head[STREAM_EXTENT_SIZE];
    unsigned disk = message->argument;
    const uint8_t *data = NULL;
    struct extent extent;
    uint64_t bytes;
    int r = message->size < sizeof(head) ? -EBADMSG : channel_receive(channel, head, sizeof(head));

    if (r < 0)
        return r == -EBADMSG ? err_set(err, r, "the source sent BLOCKS of %u bytes", message->size)
                             : stream_lost(err, r, "source");
    extent = extent_unpack(head);
    if (!extent_fits(storage, disk, extent.block, extent.count) || extent.kind > RUN_ZERO ||
        (extent.kind == RUN_CONTENTS && extent.count > STREAM_EXTENT_MAX) ||
        (extent.kind == RUN_ZERO && message->size != sizeof(head)))
        return err_set(err, -EBADMSG, "BLOCKS holds %u blocks from %llu on of disk %u, which can't be", extent.count,
                       (unsigned long long)extent.block, disk);
    bytes = storage_bytes(disks->size[disk], extent.block, extent.count);
    if (extent.kind == RUN_CONTENTS)
        r = pages_receive_contents(channel, message, sizeof(head), compressor, bytes, &data, err);
    if (r < 0)
        return r;
    storage->written[disk] = true;
    storage->progress->disk_transferred += STREAM_HEADER_SIZE + message->size;
    r = disks->write(disks->ctx, disk, extent.block * STREAM_BLOCK_SIZE, data, bytes);
    return r < 0 ? trouble(storage, disk, r, "write", err) : 0;
}

int storage_in_flush(struct storage_in *storage, struct err *err)
{
    for (unsigned i = 0; storage != NULL && i < storage->disks->count; i++) {
        int r = storage->written[i] ? storage->disks->flush(storage->disks->ctx, i) : 0;

        if (r < 0)
            return trouble(storage, i, r, "write out", err);
        storage->written[i] = false;
    }
    return 0;
}

static int sync_disks(struct storage_in *storage, struct channel *channel, const struct message *message,
                      struct err *err)
{
    int r = storage_in_flush(storage, err);

    if (r < 0)
        return r;
    r = stream_send(channel, MESSAGE_SYNCED, message->argument, NULL, 0, NULL);
    return r < 0 ? stream_lost(err, r, "source") : 0;
}

int storage_in_serve(struct storage_in *storage, struct channel *channel, const struct message *message,
                     struct compressor *compressor, struct err *err)
{
    switch (message->type) {
    case MESSAGE_COMPARE:
        return compare(storage, channel, message, err);
    case MESSAGE_BLOCKS:
        return write_blocks(storage, channel, message, compressor, err);
    default:
        return sync_disks(storage, channel, message, err);
    }
}
