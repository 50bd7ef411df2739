/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Receiving guest pages. */
#include "migration/pages_in.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/delta.h"
#include "migration/progress.h"

struct incoming {
    uint8_t table[STREAM_RUNS_MAX * STREAM_RUN_SIZE];
    uint64_t contents; /* bytes behind the table, unpacked */
    uint64_t pages;    /* that have contents */
};

/* The region in which a run lies whole, ROM included: it is the machine's as RAM is. */
static const struct memory_region *region_of(const struct memory *memory, uint64_t address, uint64_t size)
{
    const struct memory_region *region = memory_find(memory, address);

    return region != NULL && size <= region->size - (address - region->address) ? region : NULL;
}

static int check_run(const struct memory *memory, const uint8_t *run, bool deltas, struct incoming *in, struct err *err)
{
    uint64_t address = load_le64(run), count = load_le32(run + 8), size;
    uint32_t kind = load_le32(run + 12);
    bool sound = count > 0 && address % MEMORY_PAGE_SIZE == 0 && kind <= RUN_DELTA;

    if (sound && kind == RUN_DELTA)
        sound = deltas && count <= DELTA_SIZE_MAX;
    size = kind == RUN_DELTA ? MEMORY_PAGE_SIZE : count * MEMORY_PAGE_SIZE;
    if (!sound || region_of(memory, address, size) == NULL)
        return err_set(err, -EBADMSG,
                       "PAGES holds %llu bytes at guest address %#llx, which are not pages of this VM's memory",
                       (unsigned long long)size, (unsigned long long)address);
    if (kind == RUN_ZERO)
        return 0;
    in->contents += kind == RUN_DELTA ? count : size;
    in->pages += size / MEMORY_PAGE_SIZE;
    return 0;
}

/* Punching a hole costs no page, unlike writing zeros. */
static void clear(struct memory *memory, uint64_t address, uint64_t size)
{
    const struct memory_region *region = memory_find(memory, address);
    uint64_t offset = address - region->address;

    if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(region->offset + offset),
                  (off_t)size) < 0)
        memset(region->host + offset, 0, size);
}

int pages_receive_contents(struct channel *channel, const struct message *message, size_t head, struct compressor *compressor,
                           uint64_t contents, const uint8_t **ret_data, struct err *err)
{
    const char *name = message_name(message->type);
    size_t size = message->size - head;
    uint8_t *buffer; /* as they come; it is in the caches */
    int r;

    if (contents > STREAM_CONTENTS_MAX)
        return err_set(err, -EBADMSG, "%s has contents of more than %u bytes", name, STREAM_CONTENTS_MAX);
    if (message->flags == PAGES_PLAIN && size != contents)
        return err_set(err, -EBADMSG, "%s has contents of %zu bytes, and needs %llu", name, size, (unsigned long long)contents);
    buffer = compressor_input(compressor, size);
    if (buffer == NULL)
        return err_set(err, -ENOMEM, "no memory for the contents of %s", name);
    r = channel_receive(channel, buffer, size);
    if (r < 0)
        return stream_lost(err, r, "source");
    if (message->flags != PAGES_PLAIN)
        r = compressor_unpack(compressor, message->flags, size, contents, ret_data);
    else
        *ret_data = buffer;
    return r < 0 ? err_set(err, r, "packed %s do not give the %llu bytes that they need", name, (unsigned long long)contents) : 0;
}

/* Whole pages go into the memfd, where they need neither be cleared nor mapped: a copy costs less than a fault. */
static int place_run(struct memory *memory, const uint8_t *run, const uint8_t **data,
                     struct migration_progress *progress, struct err *err)
{
    uint64_t address = load_le64(run), count = load_le32(run + 8), size = count * MEMORY_PAGE_SIZE;
    const struct memory_region *region = memory_find(memory, address);
    uint64_t offset = address - region->address;
    int r = 0;

    switch (load_le32(run + 12)) {
    case RUN_ZERO:
        clear(memory, address, size);
        progress->duplicate += count;
        return 0;
    case RUN_DELTA:
        r = delta_apply(region->host + offset, *data, count);
        *data += count;
        return r < 0 ? err_set(err, r, "PAGES holds a difference for the page at %#llx that is none",
                               (unsigned long long)address)
                     : 0;
    default:
        r = fd_pwrite_all(memory->fd, *data, size, region->offset + offset);
        *data += size;
        return r < 0 ? err_set(err, r, "cannot write the guest's memory: %s", strerror(-r)) : 0;
    }
}

int pages_receive(struct channel *channel, const struct message *message, struct compressor *compressor, bool deltas,
                  struct memory *memory, struct migration_progress *progress, struct err *err)
{
    unsigned runs = message->argument;
    size_t table = (size_t)runs * STREAM_RUN_SIZE;
    const uint8_t *data = NULL;
    struct incoming in;
    int r;

    in.contents = 0;
    in.pages = 0;
    if (runs == 0 || runs > STREAM_RUNS_MAX || message->size < table)
        return err_set(err, -EBADMSG, "PAGES claims %u runs in %u bytes", runs, message->size);
    r = channel_receive(channel, in.table, table);
    if (r < 0)
        return stream_lost(err, r, "source");
    for (unsigned i = 0; r == 0 && i < runs; i++)
        r = check_run(memory, in.table + (size_t)i * STREAM_RUN_SIZE, deltas, &in, err);
    if (r == 0 && (in.contents > 0 || message->size > table))
        r = pages_receive_contents(channel, message, table, compressor, in.contents, &data, err);
    for (unsigned i = 0; r == 0 && i < runs; i++)
        r = place_run(memory, in.table + (size_t)i * STREAM_RUN_SIZE, &data, progress, err);
    if (r < 0)
        return r;
    progress->normal += in.pages;
    progress->transferred += STREAM_HEADER_SIZE + message->size;
    return 0;
}
