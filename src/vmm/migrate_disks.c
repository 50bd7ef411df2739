/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's disks as a migration copies them. What waits for a disk is done in the migration's own thread. */
#include <errno.h>

#include "backend/block.h"
#include "base/bits.h"
#include "base/err.h"
#include "migration/stream.h"
#include "vmm/board.h"
#include "vmm/migrate_internal.h"
#include "vmm/plug.h"

_Static_assert(BLOCK_DIRTY_SIZE == STREAM_BLOCK_SIZE, "what is tracked is what is sent");
_Static_assert(PLUG_BACKENDS_MAX <= MIGRATION_DISKS_MAX, "every disk can be copied");

static const char *name(void *ctx, unsigned disk)
{
    const struct migrate_disks *disks = ctx;

    return block_path(disks->image[disk]);
}

static int transfer(const struct migrate_disks *disks, unsigned disk, enum block_operation operation, uint64_t offset,
                    void *data, uint64_t size)
{
    struct block_request request;

    request.operation = operation;
    request.offset = offset;
    request.size = size;
    request.unmap = true;
    request.iov_count = data != NULL;
    request.iov[0] = (struct iovec){.iov_base = data, .iov_len = size};
    return block_execute(disks->image[disk], &request);
}

static int read_disk(void *ctx, unsigned disk, uint64_t offset, void *data, size_t size)
{
    return transfer(ctx, disk, BLOCK_READ, offset, data, size);
}

static int write_disk(void *ctx, unsigned disk, uint64_t offset, const void *data, uint64_t size)
{
    return transfer(ctx, disk, data != NULL ? BLOCK_WRITE : BLOCK_WRITE_ZEROES, offset, (void *)data, size);
}

static int flush_disk(void *ctx, unsigned disk)
{
    return transfer(ctx, disk, BLOCK_FLUSH, 0, NULL, 0);
}

static int find_data(void *ctx, unsigned disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end)
{
    const struct migrate_disks *disks = ctx;

    return block_find_data(disks->image[disk], offset, ret_start, ret_end);
}

static int track_work(struct migrate *migrate, void *argument, struct err *err)
{
    const struct migrate_disks *disks = argument;

    for (unsigned i = 0; i < disks->count; i++) {
        int r = block_track(disks->image[i]);

        if (r < 0)
            return err_set(err, r, "no memory for the map of changed blocks of disk %.200s",
                           block_path(disks->image[i]));
    }
    return 0;
}

static int track(void *ctx, struct err *err)
{
    const struct migrate_disks *disks = ctx;

    return migrate_in_loop(disks->migrate, track_work, ctx, err);
}

static int untrack_work(struct migrate *migrate, void *argument, struct err *err)
{
    const struct migrate_disks *disks = argument;

    for (unsigned i = 0; i < disks->count; i++)
        block_untrack(disks->image[i]);
    return 0;
}

static void untrack(void *ctx)
{
    const struct migrate_disks *disks = ctx;

    migrate_in_loop(disks->migrate, untrack_work, ctx, NULL);
}

struct take {
    struct block_image *image;
    uint64_t *bitmap;
};

static int take_work(struct migrate *migrate, void *argument, struct err *err)
{
    const struct take *take = argument;

    block_take_dirty(take->image, take->bitmap);
    return 0;
}

static void take_dirty(void *ctx, unsigned disk, uint64_t *bitmap)
{
    const struct migrate_disks *disks = ctx;
    struct take take = {disks->image[disk], bitmap};

    migrate_in_loop(disks->migrate, take_work, &take, NULL);
}

int migrate_disks_open(struct migrate_disks *disks, struct migrate *migrate, struct board *board, bool destination,
                       struct migration_disks *ret_interface, struct err *err)
{
    const struct plug_card *card;

    *disks = (struct migrate_disks){.migrate = migrate};
    for (unsigned i = 0; (card = plug_disk(board, i)) != NULL; i++) {
        struct block_image *image = card->backend->image;
        int r = card->backend->copied && destination ? block_activate(image, err) : 0;

        if (r < 0)
            return r;
        if (card->backend->copied)
            disks->image[disks->count++] = image;
    }
    *ret_interface = (struct migration_disks){
        .ctx = disks,
        .count = disks->count,
        .name = name,
        .read = read_disk,
        .find_data = find_data,
        .track = track,
        .untrack = untrack,
        .take_dirty = take_dirty,
        .write = write_disk,
        .flush = flush_disk,
    };
    for (unsigned i = 0; i < disks->count; i++)
        ret_interface->size[i] = block_size(disks->image[i]);
    return 0;
}
