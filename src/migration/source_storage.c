/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's part in copying disks: all that differs once, while the guest runs, then what it changes, with the
 * rounds of memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/source_internal.h"
#include "migration/storage.h"

#define BATCH 16u            /* blocks that are sent together */
#define BATCHES_A_SECOND 20  /* under a limit */
#define ZEROS_MAX (1u << 20) /* blocks in one message */
#define PASSES_MAX 20        /* of changed blocks, before memory begins */
#define LITTLE (4u << 20)    /* bytes: what may be left to the rounds of memory */

struct source_storage {
    struct migration_source *source;
    struct migration_disks disks;
    uint64_t *dirty[MIGRATION_DISKS_MAX]; /* blocks that still have to be sent */
    struct compressor *compressor;        /* NULL: contents go as they are */
    uint32_t passes;
    bool tracking;
    struct rate *rate; /* of what is being sent; NULL: no limit */
    int64_t waited_ns; /* for it */
    /* The message under way; contents has room for one block more, which is looked at. */
    unsigned disk;
    struct extent extent;
    uint8_t contents[(BATCH + 1) * STREAM_BLOCK_SIZE];
    uint8_t digest[STREAM_COMPARE_MAX * STREAM_DIGEST_SIZE];
};

/* --- begin and end -------------------------------------------------------------------------------------- */

static size_t words(const struct source_storage *storage, unsigned disk)
{
    return (size_t)((storage_blocks(storage->disks.size[disk]) + 63) / 64);
}

static void storage_free(struct source_storage *storage)
{
    for (unsigned i = 0; i < storage->disks.count; i++)
        free(storage->dirty[i]);
    compressor_free(storage->compressor);
    free(storage);
}

static int prepare(struct source_storage *storage, struct err *err)
{
    struct migration_source *source = storage->source;
    enum migration_compression method = source_parameters(source).compression;
    int r = source->machine.copied_disks(source->machine.ctx, &storage->disks, err);

    for (unsigned i = 0; r == 0 && i < storage->disks.count; i++) {
        source->progress.disk_total += storage->disks.size[i];
        storage->dirty[i] = calloc(words(storage, i), sizeof(uint64_t));
        if (storage->dirty[i] == NULL)
            r = err_set(err, -ENOMEM, "no memory for the map of changed blocks");
    }
    source->progress.disk_remaining = source->progress.disk_total;
    if (r == 0 && method != COMPRESSION_NONE && (r = compressor_new(method, &storage->compressor)) < 0)
        err_set(err, r, "no memory for packing blocks");
    return r;
}

int source_storage_prepare(struct migration_source *source, struct err *err)
{
    struct source_storage *storage;
    int r;

    if (!source_parameters(source).storage)
        return 0;
    storage = calloc(1, sizeof(*storage));
    if (storage == NULL)
        return err_set(err, -ENOMEM, "no memory for copying disks");
    storage->source = source;
    r = prepare(storage, err);
    if (r < 0 || storage->disks.count == 0)
        storage_free(storage);
    else
        source->storage = storage;
    return r;
}

void source_storage_end(struct migration_source *source)
{
    struct source_storage *storage = source->storage;

    if (storage == NULL)
        return;
    if (storage->tracking)
        storage->disks.untrack(storage->disks.ctx);
    storage_free(storage);
    source->storage = NULL;
}

/* --- messages ------------------------------------------------------------------------------------------- */

static int unreadable(const struct source_storage *storage, int r, struct err *err)
{
    return err_set(err, r, "cannot read disk %.200s: %s", storage->disks.name(storage->disks.ctx, storage->disk),
                   strerror(-r));
}

static size_t extent_bytes(const struct source_storage *storage)
{
    return (size_t)storage_bytes(storage->disks.size[storage->disk], storage->extent.block, storage->extent.count);
}

/* Sends what is under way, if anything is. */
static int flush(struct source_storage *storage, struct err *err)
{
    struct migration_source *source = storage->source;
    struct channel *channel = link_first(source->link);
    struct message message = {.type = MESSAGE_BLOCKS, .argument = storage->disk};
    bool contents = storage->extent.kind == RUN_CONTENTS;
    size_t size = storage->extent.count > 0 && contents ? extent_bytes(storage) : 0;
    uint8_t head[STREAM_HEADER_SIZE + STREAM_EXTENT_SIZE];
    struct iovec iov[2] = {{head, sizeof(head)}, {storage->contents, size}};
    const void *packed;
    int64_t start;
    int r;

    if (storage->extent.count == 0)
        return 0;
    if (channel_wait(channel, 0) == 0) /* it has something to say, and nothing was asked */
        return source_explain(source, -EPIPE, err);
    if (contents && storage->compressor != NULL &&
        compressor_pack(storage->compressor, &iov[1], 1, size, &message.flags, &packed, &size))
        iov[1] = (struct iovec){(void *)packed, size};
    message.size = (uint32_t)(STREAM_EXTENT_SIZE + size);
    message_pack(&message, head);
    extent_pack(&storage->extent, head + STREAM_HEADER_SIZE);
    start = host_monotonic_ns();
    if (storage->rate != NULL)
        storage->waited_ns += rate_wait(storage->rate, sizeof(head) + size, &source->cancel);
    r = source->cancel ? -ECANCELED : channel_send(channel, iov, 2, NULL);
    if (storage->compressor != NULL)
        compressor_sent(storage->compressor, message.size, host_monotonic_ns() - start);
    source->progress.disk_transferred += sizeof(head) + size;
    storage->extent.count = 0;
    return r < 0 ? source_explain(source, r, err) : 0;
}

static uint32_t batch(const struct source_storage *storage)
{
    uint64_t limit = storage->rate != NULL ? storage->rate->limit : 0;
    uint64_t blocks = limit == 0 ? BATCH : limit / BATCHES_A_SECOND / STREAM_BLOCK_SIZE;

    return blocks > BATCH ? BATCH : blocks < 1 ? 1 : (uint32_t)blocks;
}

static uint8_t *room(struct source_storage *storage)
{
    return storage->contents + (storage->extent.kind == RUN_CONTENTS ? storage->extent.count : 0) * STREAM_BLOCK_SIZE;
}

/* Reads a block to where it would continue the message under way; *ret_zero. */
static int look(struct source_storage *storage, uint64_t block, bool *ret_zero, struct err *err)
{
    size_t size = (size_t)storage_bytes(storage->disks.size[storage->disk], block, 1);
    int r = storage->disks.read(storage->disks.ctx, storage->disk, block * STREAM_BLOCK_SIZE, room(storage), size);

    if (r < 0)
        return unreadable(storage, r, err);
    *ret_zero = storage_is_zero(room(storage), size);
    return 0;
}

/* Makes the block part of a message; contents: what look() read last. */
static int put(struct source_storage *storage, uint64_t block, uint32_t kind, struct err *err)
{
    struct extent *extent = &storage->extent;
    uint8_t *data = room(storage);
    int r = 0;

    if (extent->count > 0 && (extent->kind != kind || extent->block + extent->count != block)) {
        r = flush(storage, err);
        if (kind == RUN_CONTENTS)
            memmove(storage->contents, data, STREAM_BLOCK_SIZE);
    }
    if (r < 0)
        return r;
    if (extent->count == 0)
        *extent = (struct extent){.block = block, .kind = kind};
    extent->count++;
    return extent->count >= (kind == RUN_CONTENTS ? batch(storage) : ZEROS_MAX) ? flush(storage, err) : 0;
}

/* --- all that differs ----------------------------------------------------------------------------------- */

/* What the destination has there: *ret_any is false when it has zeros only. */
static int ask(struct source_storage *storage, uint64_t first, uint32_t count, bool *ret_any, struct err *err)
{
    struct migration_source *source = storage->source;
    struct message message;
    uint8_t body[STREAM_COMPARE_SIZE];
    size_t size = (size_t)count * STREAM_DIGEST_SIZE;
    int r;

    store_le64(body, first);
    store_le32(body + 8, count);
    r = stream_send(link_first(source->link), MESSAGE_COMPARE, storage->disk, body, sizeof(body), NULL);
    if (r < 0)
        return source_explain(source, r, err);
    r = source_expect(source, MESSAGE_DIGESTS, -1, &message, err);
    if (r == 0 && (message.argument != storage->disk || (message.size != 0 && message.size != size)))
        r = err_set(err, -EBADMSG, "the destination sent DIGESTS of %u bytes for %u blocks", message.size, count);
    if (r < 0)
        return r;
    *ret_any = message.size > 0;
    r = message.size > 0 ? channel_receive(link_first(source->link), storage->digest, size) : 0;
    return r < 0 ? stream_lost(err, r, "destination") : 0;
}

static int compare_block(struct source_storage *storage, uint64_t block, bool holds, const uint8_t *theirs,
                         struct err *err)
{
    static const uint8_t nothing[STREAM_DIGEST_SIZE];
    size_t size = (size_t)storage_bytes(storage->disks.size[storage->disk], block, 1);
    bool empty_there = theirs == NULL || memcmp(theirs, nothing, sizeof(nothing)) == 0, zero = true;
    uint8_t ours[STREAM_DIGEST_SIZE];
    int r = holds ? look(storage, block, &zero, err) : 0;

    if (r < 0)
        return r;
    if (zero)
        return empty_there ? 0 : put(storage, block, RUN_ZERO, err);
    if (!empty_there) {
        r = storage_digest(room(storage), size, ours);
        if (r < 0)
            return unreadable(storage, r, err);
        if (memcmp(ours, theirs, sizeof(ours)) == 0)
            return 0;
    }
    return put(storage, block, RUN_CONTENTS, err);
}

static int compare_window(struct source_storage *storage, struct storage_cursor *cursor, uint64_t first, uint32_t count,
                          struct err *err)
{
    struct migration_progress *progress = &storage->source->progress;
    uint64_t size = storage->disks.size[storage->disk];
    bool any = false, may = false;
    int r = ask(storage, first, count, &any, err);

    if (r == 0 && (r = storage_may_hold(cursor, first, count, &may)) < 0)
        return unreadable(storage, r, err);
    if (r == 0 && !any && !may)
        progress->disk_remaining -= storage_bytes(size, first, count);
    for (uint32_t i = 0; r == 0 && (any || may) && i < count; i++) {
        bool holds;

        r = storage_may_hold(cursor, first + i, 1, &holds);
        if (r < 0)
            return unreadable(storage, r, err);
        r = compare_block(storage, first + i, holds, any ? storage->digest + (size_t)i * STREAM_DIGEST_SIZE : NULL,
                          err);
        progress->disk_remaining -= storage_bytes(size, first + i, 1);
    }
    return r == 0 ? flush(storage, err) : r;
}

static int compare_disk(struct source_storage *storage, unsigned disk, struct err *err)
{
    struct storage_cursor cursor = {.disks = &storage->disks, .disk = disk};
    uint64_t blocks = storage_blocks(storage->disks.size[disk]);
    int r = 0;

    storage->disk = disk;
    for (uint64_t first = 0; r == 0 && first < blocks; first += STREAM_COMPARE_MAX) {
        uint64_t left = blocks - first;

        r = storage->source->cancel
                ? stream_lost(err, -ECANCELED, "destination")
                : compare_window(storage, &cursor, first,
                                 left < STREAM_COMPARE_MAX ? (uint32_t)left : STREAM_COMPARE_MAX, err);
    }
    return r;
}

/* --- what changes --------------------------------------------------------------------------------------- */

static uint64_t dirty_bytes(const struct source_storage *storage, unsigned disk)
{
    uint64_t size = storage->disks.size[disk], last = storage_blocks(size) - 1, bytes = 0;

    for (size_t i = 0; i < words(storage, disk); i++)
        bytes += (uint64_t)__builtin_popcountll(storage->dirty[disk][i]) * STREAM_BLOCK_SIZE;
    if ((storage->dirty[disk][last / 64] & BIT(last % 64)) != 0)
        bytes -= STREAM_BLOCK_SIZE - storage_bytes(size, last, 1);
    return bytes;
}

uint64_t source_storage_fetch(struct migration_source *source)
{
    struct source_storage *storage = source->storage;
    uint64_t bytes = 0;

    for (unsigned i = 0; storage != NULL && i < storage->disks.count; i++) {
        storage->disks.take_dirty(storage->disks.ctx, i, storage->dirty[i]);
        bytes += dirty_bytes(storage, i);
    }
    source->progress.disk_remaining = bytes;
    return bytes;
}

static int send_word(struct source_storage *storage, size_t word, struct err *err)
{
    uint64_t *bits = &storage->dirty[storage->disk][word];
    int r = 0;

    for (; r == 0 && *bits != 0; *bits &= *bits - 1) {
        uint64_t block = word * 64 + (unsigned)__builtin_ctzll(*bits);
        bool zero = false;

        r = look(storage, block, &zero, err);
        if (r == 0)
            r = put(storage, block, zero ? RUN_ZERO : RUN_CONTENTS, err);
        storage->source->progress.disk_remaining -= storage_bytes(storage->disks.size[storage->disk], block, 1);
    }
    return r;
}

int source_storage_send(struct migration_source *source, struct rate *rate, int64_t *ret_waited_ns, struct err *err)
{
    struct source_storage *storage = source->storage;
    int r = 0;

    *ret_waited_ns = 0;
    if (storage == NULL)
        return 0;
    storage->rate = rate;
    storage->waited_ns = 0;
    for (unsigned i = 0; r == 0 && i < storage->disks.count; i++) {
        storage->disk = i;
        for (size_t word = 0; r == 0 && word < words(storage, i); word++)
            r = send_word(storage, word, err);
        if (r == 0)
            r = flush(storage, err);
    }
    *ret_waited_ns = storage->waited_ns;
    return r;
}

/* --- while memory waits --------------------------------------------------------------------------------- */

/* All that was sent is on stable storage there. */
static int sync_disks(struct source_storage *storage, struct err *err)
{
    struct migration_source *source = storage->source;
    struct message message;
    int r = stream_send(link_first(source->link), MESSAGE_SYNC, ++storage->passes, NULL, 0, NULL);

    if (r < 0)
        return source_explain(source, r, err);
    r = source_expect(source, MESSAGE_SYNCED, -1, &message, err);
    if (r == 0 && message.argument != storage->passes)
        r = err_set(err, -EBADMSG, "the destination has written out pass %u of the disks, and this was pass %u",
                    message.argument, storage->passes);
    return r;
}

static int first_pass(struct source_storage *storage, struct err *err)
{
    int r = storage->disks.track(storage->disks.ctx, err);

    if (r < 0)
        return r;
    storage->tracking = true;
    storage->rate = &storage->source->rate;
    for (unsigned i = 0; r == 0 && i < storage->disks.count; i++)
        r = compare_disk(storage, i, err);
    return r == 0 ? sync_disks(storage, err) : r;
}

int source_storage_copy(struct migration_source *source, struct err *err)
{
    uint64_t left, before = UINT64_MAX;
    int64_t waited_ns;
    int r = source->storage == NULL ? 0 : first_pass(source->storage, err);

    for (unsigned i = 0; r == 0 && source->storage != NULL && i < PASSES_MAX; i++) {
        left = source_storage_fetch(source);
        if (left <= LITTLE || left > before / 2)
            break;
        before = left;
        r = source_storage_send(source, &source->rate, &waited_ns, err);
        if (r == 0)
            r = sync_disks(source->storage, err);
    }
    return r;
}

int source_storage_measure(struct migration_source *source, uint64_t *ret_bytes, struct err *err)
{
    const struct migration_disks *disks = source->storage != NULL ? &source->storage->disks : NULL;
    uint64_t bytes = 0;

    for (unsigned i = 0; disks != NULL && i < disks->count; i++) {
        for (uint64_t at = 0, start, end; at < disks->size[i]; at = end) {
            int r = disks->find_data(disks->ctx, i, at, &start, &end);

            if (r < 0)
                return err_set(err, r, "cannot read disk %.200s: %s", disks->name(disks->ctx, i), strerror(-r));
            bytes += end - start;
            if (start >= disks->size[i])
                break;
        }
    }
    *ret_bytes = bytes;
    return 0;
}
