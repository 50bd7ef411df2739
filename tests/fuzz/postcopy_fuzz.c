/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: what a hostile source sends in post-copy, while somebody waits for a page. The first byte says which pages are missing and
 * whether magics are put right; the rest is the stream. Pages that were there stay as they were, whatever comes. */
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/fd.h"
#include "fuzz.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/postcopy.h"
#include "migration/progress.h"
#include "migration_stream.h"

#define PAGES 32u
#define KEPT 0x5a /* in every byte of a page that is there */

/* Every n-th page is there. */
static uint64_t missing_of(uint8_t choice)
{
    uint64_t missing = 0;

    for (unsigned i = 0; i < PAGES; i++)
        missing |= i % (2 + (choice >> 5)) != 0 ? BIT(i) : 0;
    return missing;
}

static void *touch(void *ctx)
{
    return (void *)(uintptr_t) * (const volatile uint8_t *)ctx;
}

static void check_kept(const struct memory *memory, uint64_t missing)
{
    static uint8_t page[MEMORY_PAGE_SIZE];

    for (unsigned i = 0; i < PAGES; i++) {
        if ((missing & BIT(i)) != 0)
            continue;
        if (pread(memory->fd, page, sizeof(page), (off_t)i * MEMORY_PAGE_SIZE) != (ssize_t)sizeof(page))
            abort();
        for (unsigned at = 0; at < sizeof(page); at++)
            if (page[at] != KEPT)
                abort();
    }
}

static void receive(struct postcopy *postcopy, const uint8_t *data, size_t size)
{
    struct compressor *compressor = NULL;
    struct channel *channel = NULL;
    struct err err = ERR_INIT;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    if (channel_new(pair[0], &channel) == 0 && compressor_new(COMPRESSION_NONE, &compressor) == 0) {
        send(pair[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        shutdown(pair[1], SHUT_WR);
        if (postcopy_serve(postcopy, channel, compressor, &err) < 0 && err.message[0] == 0)
            abort();
    }
    channel_free(channel);
    compressor_free(compressor);
    close(pair[1]);
}

static void serve(struct memory *memory, uint64_t missing, const uint8_t *data, size_t size)
{
    struct migration_progress progress = {0};
    struct postcopy *postcopy;
    pthread_t toucher;
    bool touches;

    if (postcopy_new(memory, -1, &missing, &progress, &postcopy, NULL) < 0)
        return; /* not this user's */
    touches = pthread_create(&toucher, NULL, touch, memory->region[0].host + MEMORY_PAGE_SIZE) == 0;
    receive(postcopy, data, size);
    if ((*postcopy_missing(postcopy) & ~missing) != 0 || postcopy_complete(postcopy) != (*postcopy_missing(postcopy) == 0))
        abort();
    postcopy_free(postcopy); /* who waits gets a page of zeros */
    if (touches)
        pthread_join(toucher, NULL);
    check_kept(memory, missing);
}

/* All that is missing, in contents and zeros, up to DONE; a run over what is there; a wrong DONE. */
size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static uint8_t pages[STREAM_RUN_SIZE * 2 + MEMORY_PAGE_SIZE];
    size_t at = 1;

    if (index > 2 || max < sizeof(pages) + 100)
        return 0;
    out[0] = 1;
    store_le64(pages, index == 1 ? 0 : MEMORY_PAGE_SIZE);
    store_le32(pages + 8, 1);
    store_le64(pages + STREAM_RUN_SIZE, 2 * MEMORY_PAGE_SIZE);
    store_le32(pages + STREAM_RUN_SIZE + 8, PAGES - 2);
    store_le32(pages + STREAM_RUN_SIZE + 12, RUN_ZERO);
    if (index < 2)
        at = stream_put(out, at, MESSAGE_PAGES, 2, pages, sizeof(pages));
    return stream_put(out, at, MESSAGE_DONE, 0, "", 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory *memory;
    uint8_t *copy;

    if (size < 2 || size > 100000 || memory_new(&memory, NULL) < 0)
        return 0;
    copy = malloc(size);
    if (copy != NULL && memory_add(memory, 0, PAGES * MEMORY_PAGE_SIZE, false, NULL) == 0) {
        memcpy(copy, data, size);
        memset(memory->region[0].host, KEPT, PAGES * MEMORY_PAGE_SIZE);
        if ((copy[0] & 1) != 0)
            stream_repair(copy + 1, size - 1);
        serve(memory, missing_of(copy[0]), copy + 1, size - 1);
    }
    free(copy);
    memory_free(memory);
    return 0;
}
