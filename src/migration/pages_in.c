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
#include "migration/progress.h"

struct incoming {
    uint8_t table[STREAM_RUNS_MAX * STREAM_RUN_SIZE];
    struct iovec iov[STREAM_RUNS_MAX];
    uint64_t offset[STREAM_RUNS_MAX]; /* of each iov in the memfd */
    unsigned iov_count;
    uint64_t contents;
};

/* The region in which a run lies whole, ROM included: it is the machine's as RAM is. */
static const struct memory_region *region_of(const struct memory *memory, uint64_t address, uint64_t size)
{
    const struct memory_region *region = memory_find(memory, address);

    return region != NULL && size <= region->size - (address - region->address) ? region : NULL;
}

static int check_run(const struct memory *memory, const uint8_t *run, struct incoming *in, struct err *err)
{
    uint64_t address = load_le64(run), size = (uint64_t)load_le32(run + 8) * MEMORY_PAGE_SIZE;
    uint32_t kind = load_le32(run + 12);
    bool sound = size > 0 && address % MEMORY_PAGE_SIZE == 0 && kind <= RUN_ZERO;
    const struct memory_region *region = sound ? region_of(memory, address, size) : NULL;

    if (region == NULL)
        return err_set(err, -EBADMSG,
                       "PAGES holds %llu bytes at guest address %#llx, which are not pages of this VM's memory",
                       (unsigned long long)size, (unsigned long long)address);
    if (kind == RUN_ZERO)
        return 0;
    in->offset[in->iov_count] = region->offset + (address - region->address);
    in->iov[in->iov_count++] = (struct iovec){region->host + (address - region->address), size};
    in->contents += size;
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

static void clear_runs(struct memory *memory, const struct incoming *in, unsigned runs,
                       struct migration_progress *progress)
{
    for (unsigned i = 0; i < runs; i++) {
        const uint8_t *run = in->table + (size_t)i * STREAM_RUN_SIZE;

        if (load_le32(run + 12) == RUN_ZERO) {
            clear(memory, load_le64(run), (uint64_t)load_le32(run + 8) * MEMORY_PAGE_SIZE);
            progress->duplicate += load_le32(run + 8);
        }
    }
}

/* Through a buffer that is in the caches already into the memfd, whose pages need neither be cleared nor mapped then:
 * the copy costs less than a fault. */
static int receive_plain(struct channel *channel, struct compressor *compressor, int fd, struct incoming *in,
                         size_t size, struct err *err)
{
    uint8_t *buffer;
    int r;

    if (size != in->contents)
        return err_set(err, -EBADMSG, "PAGES has contents of %zu bytes, and its runs need %llu", size,
                       (unsigned long long)in->contents);
    buffer = compressor_input(compressor, size);
    if (buffer == NULL)
        return err_set(err, -ENOMEM, "no memory for pages");
    r = channel_receive(channel, buffer, size);
    if (r < 0)
        return stream_lost(err, r, "source");
    for (unsigned i = 0; r == 0 && i < in->iov_count; i++) {
        r = fd_pwrite_all(fd, buffer, in->iov[i].iov_len, in->offset[i]);
        buffer += in->iov[i].iov_len;
    }
    return r < 0 ? err_set(err, r, "cannot write the guest's memory: %s", strerror(-r)) : 0;
}

static int receive_packed(struct channel *channel, struct compressor *compressor, unsigned flags, struct incoming *in,
                          size_t size, struct err *err)
{
    void *packed = compressor_input(compressor, size);
    int r = packed == NULL ? -ENOMEM : channel_receive(channel, packed, size);

    if (r < 0)
        return r == -ENOMEM ? err_set(err, r, "no memory for packed pages") : stream_lost(err, r, "source");
    r = compressor_unpack(compressor, flags, size, in->iov, in->iov_count, in->contents);
    return r < 0 ? err_set(err, r, "packed PAGES do not give the %llu bytes that their runs need",
                           (unsigned long long)in->contents)
                 : 0;
}

int pages_receive(struct channel *channel, const struct message *message, struct compressor *compressor,
                  struct memory *memory, struct migration_progress *progress, struct err *err)
{
    unsigned runs = message->argument;
    size_t table = (size_t)runs * STREAM_RUN_SIZE;
    struct incoming in;
    int r;

    in.iov_count = 0;
    in.contents = 0;
    if (runs == 0 || runs > STREAM_RUNS_MAX || message->size < table)
        return err_set(err, -EBADMSG, "PAGES claims %u runs in %u bytes", runs, message->size);
    r = channel_receive(channel, in.table, table);
    if (r < 0)
        return stream_lost(err, r, "source");
    for (unsigned i = 0; r == 0 && i < runs; i++)
        r = check_run(memory, in.table + (size_t)i * STREAM_RUN_SIZE, &in, err);
    if (r == 0 && in.contents > STREAM_CONTENTS_MAX)
        r = err_set(err, -EBADMSG, "PAGES has contents of more than %u bytes", STREAM_CONTENTS_MAX);
    if (r == 0 && message->flags == PAGES_PLAIN)
        r = receive_plain(channel, compressor, memory->fd, &in, message->size - table, err);
    else if (r == 0)
        r = receive_packed(channel, compressor, message->flags, &in, message->size - table, err);
    if (r < 0)
        return r;
    clear_runs(memory, &in, runs, progress);
    progress->normal += in.contents / MEMORY_PAGE_SIZE;
    progress->transferred += STREAM_HEADER_SIZE + message->size;
    return 0;
}
