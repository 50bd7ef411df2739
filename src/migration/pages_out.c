/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs of pages gathered into messages, and the bandwidth limit. */
#include "migration/pages_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/delta.h"
#include "migration/progress.h"

#define BATCH (1u << 20) /* bytes of contents that are sent together */
#define BATCH_LEAST (64u << 10)
#define BATCHES_A_SECOND 20 /* under a limit: short pauses, not long ones */
#define BURST_NS 20000000   /* unused time that may be made up for */
#define LOOK_AGAIN_NS 50000000
#define STAGING (BATCH + MEMORY_PAGE_SIZE)
#define DELTA_GUESS_NS 500000 /* what differences take for a MiB of pages, before it is measured */
#define DELTA_SHARE 2         /* differences are made while they take at most one part in so many of the way's time */
#define WEIGHT 4              /* of the past in what is measured */
#define MEASURABLE KIB(64)    /* of less, overhead is all there is to measure */
#define TRY_EVERY 64          /* a message the other way, so that it is measured */

void rate_init(struct rate *rate, uint64_t limit)
{
    *rate = (struct rate){.limit = limit};
    pthread_mutex_init(&rate->lock, NULL);
}

void rate_fini(struct rate *rate)
{
    pthread_mutex_destroy(&rate->lock);
}

static void sleep_ns(int64_t ns)
{
    const struct timespec span = {.tv_sec = ns / NANOSECONDS_PER_SECOND, .tv_nsec = ns % NANOSECONDS_PER_SECOND};

    nanosleep(&span, NULL);
}

/* When the next bytes may go. */
static int64_t free_at(struct rate *rate, int64_t now)
{
    return rate->free_ns > now - BURST_NS ? rate->free_ns : now - BURST_NS;
}

int64_t rate_wait(struct rate *rate, size_t size, const _Atomic bool *cancel)
{
    int64_t start = host_monotonic_ns(), now = start;

    pthread_mutex_lock(&rate->lock);
    while (rate->limit != 0 && free_at(rate, now) > now && !atomic_load(cancel)) {
        int64_t left = free_at(rate, now) - now;

        pthread_mutex_unlock(&rate->lock);
        sleep_ns(left < LOOK_AGAIN_NS ? left : LOOK_AGAIN_NS);
        pthread_mutex_lock(&rate->lock);
        now = host_monotonic_ns();
    }
    if (rate->limit != 0)
        rate->free_ns = free_at(rate, now) + (int64_t)((unsigned __int128)size * NANOSECONDS_PER_SECOND / rate->limit);
    pthread_mutex_unlock(&rate->lock);
    return now - start;
}

static size_t batch_size(const struct rate *rate)
{
    uint64_t limit = rate != NULL ? rate->limit : 0;
    uint64_t size = limit == 0 ? BATCH : limit / BATCHES_A_SECOND;

    return size > BATCH ? BATCH : size < BATCH_LEAST ? BATCH_LEAST : size;
}

/* The pages' contents smaller, if that is worth it: then one piece instead of theirs. */
static void pack(struct page_sender *sender, struct message *message)
{
    const void *data;
    size_t size;

    if (sender->compressor == NULL || !compressor_pack(sender->compressor, sender->iov + 1, sender->iov_count,
                                                       sender->contents, &message->flags, &data, &size))
        return;
    sender->iov[1] = (struct iovec){(void *)data, size};
    sender->iov_count = 1;
    sender->contents = size;
}

static int64_t mixed(int64_t past, int64_t ns, size_t size)
{
    int64_t now = (int64_t)((__int128)ns * MIB(1) / (int64_t)size);

    return past == 0 ? now : past + (now - past) / WEIGHT;
}

/* Of the CPU alone: whoever else uses it does not make differences dearer. */
static int64_t cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec;
}

/* A message that held so many bytes of pages, size when packed: ns on the way, pack_ns for packing them. */
static void measure(struct page_sender *sender, size_t plain, size_t size, int64_t ns, int64_t pack_ns)
{
    size_t staged = (size_t)sender->staged_pages * MEMORY_PAGE_SIZE;

    if (staged == 0 && plain >= MEASURABLE)
        sender->whole_ns = mixed(sender->whole_ns, ns + pack_ns, plain);
    if (staged >= MEASURABLE)
        sender->delta_ns = mixed(sender->delta_ns, sender->staging_ns, staged);
    if (sender->compressor != NULL)
        compressor_sent(sender->compressor, size, ns);
}

/* Whether the next message's pages are compared with what was sent before. */
static bool choose_delta(struct page_sender *sender)
{
    int64_t cost = sender->delta_ns != 0 ? sender->delta_ns : DELTA_GUESS_NS;
    bool other = ++sender->messages % TRY_EVERY == 0;

    if (sender->delta == NULL || sender->skip_zero || (sender->whole_ns >= cost * DELTA_SHARE) == other)
        return false;
    if (sender->staging == NULL)
        sender->staging = malloc(STAGING);
    return sender->staging != NULL;
}

static int flush(struct page_sender *sender)
{
    struct message message = {.type = MESSAGE_PAGES, .argument = sender->runs};
    size_t table = (size_t)sender->runs * STREAM_RUN_SIZE, plain = sender->contents;
    int64_t start = host_monotonic_ns(), pack_ns;
    int r;

    if (sender->runs == 0)
        return 0;
    pack(sender, &message);
    pack_ns = host_monotonic_ns() - start;
    message.size = (uint32_t)(table + sender->contents);
    message_pack(&message, sender->head);
    sender->iov[0] = (struct iovec){sender->head, STREAM_HEADER_SIZE + table};
    start = host_monotonic_ns();
    if (sender->rate != NULL)
        sender->waited_ns += rate_wait(sender->rate, STREAM_HEADER_SIZE + message.size, sender->cancel);
    r = atomic_load(sender->cancel) ? -ECANCELED
                                    : channel_send(sender->channel, sender->iov, 1 + sender->iov_count, NULL);
    measure(sender, plain, message.size, host_monotonic_ns() - start, pack_ns);
    sender->progress->transferred += STREAM_HEADER_SIZE + message.size;
    sender->runs = 0;
    sender->iov_count = 0;
    sender->contents = 0;
    sender->staged = 0;
    sender->staged_pages = 0;
    sender->staging_ns = 0;
    sender->by_delta = choose_delta(sender);
    return r;
}

void page_sender_fini(struct page_sender *sender)
{
    free(sender->staging);
    sender->staging = NULL;
}

/* The page that the memory room numbers so. */
static const uint8_t *page_at(const struct memory *memory, uint64_t number, uint64_t *ret_address)
{
    for (unsigned i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->region[i];
        uint64_t offset = (number - region->page) << MEMORY_PAGE_SHIFT;

        if (number >= region->page && offset < region->size) {
            *ret_address = region->address + offset;
            return region->host + offset;
        }
    }
    return NULL;
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, MEMORY_PAGE_SIZE - 1) == 0;
}

/* Whether the page makes the last run longer. */
static bool extend(struct page_sender *sender, uint64_t address, const uint8_t *page, uint32_t kind)
{
    uint8_t *run = sender->head + STREAM_HEADER_SIZE + (size_t)(sender->runs - 1) * STREAM_RUN_SIZE;
    struct iovec *iov = &sender->iov[sender->iov_count];
    uint32_t pages;

    if (sender->runs == 0 || load_le32(run + 12) != kind)
        return false;
    pages = load_le32(run + 8);
    if (load_le64(run) + (uint64_t)pages * MEMORY_PAGE_SIZE != address ||
        (kind == RUN_CONTENTS && (const uint8_t *)iov->iov_base + iov->iov_len != page))
        return false;
    store_le32(run + 8, pages + 1);
    if (kind == RUN_CONTENTS)
        iov->iov_len += MEMORY_PAGE_SIZE;
    return true;
}

/* count: of pages, or of a difference's bytes. */
static void begin_run(struct page_sender *sender, uint64_t address, const uint8_t *data, uint32_t count, uint32_t kind)
{
    uint8_t *run = sender->head + STREAM_HEADER_SIZE + (size_t)sender->runs * STREAM_RUN_SIZE;

    store_le64(run, address);
    store_le32(run + 8, count);
    store_le32(run + 12, kind);
    sender->runs++;
    if (kind != RUN_ZERO)
        sender->iov[++sender->iov_count] =
            (struct iovec){(void *)data, kind == RUN_DELTA ? count : count * MEMORY_PAGE_SIZE};
}

/* Adds what the page has become since it was sent last, or the page as it is, copied; the guest goes on writing to it.
 */
static void add_difference(struct page_sender *sender, uint64_t number, uint64_t address, const uint8_t *page)
{
    uint8_t *staged = sender->staging + sender->staged, delta[DELTA_SIZE_MAX];
    int64_t start = cpu_ns();
    int size;

    memcpy(staged, page, MEMORY_PAGE_SIZE);
    size = delta_cache_update(sender->delta, number, sender->round, staged, delta);
    if (size > 0) {
        memcpy(staged, delta, (size_t)size);
        begin_run(sender, address, staged, (uint32_t)size, RUN_DELTA);
        sender->progress->delta_pages++;
        sender->progress->delta_bytes += (uint64_t)size;
    } else if (size < 0) {
        size = MEMORY_PAGE_SIZE;
        if (!extend(sender, address, staged, RUN_CONTENTS))
            begin_run(sender, address, staged, 1, RUN_CONTENTS);
        sender->progress->normal++;
    } else {
        sender->progress->delta_same++;
    }
    sender->staged += (size_t)size;
    sender->contents += (size_t)size;
    sender->staged_pages++;
    sender->staging_ns += cpu_ns() - start;
}

static void add_whole(struct page_sender *sender, uint64_t number, uint64_t address, const uint8_t *page, bool zero)
{
    uint32_t kind = zero ? RUN_ZERO : RUN_CONTENTS;

    if (sender->delta != NULL)
        delta_cache_drop(sender->delta, number);
    if (zero)
        sender->progress->duplicate++;
    else
        sender->progress->normal++;
    if (zero && sender->skip_zero)
        return;
    if (!extend(sender, address, page, kind))
        begin_run(sender, address, page, 1, kind);
    if (!zero)
        sender->contents += MEMORY_PAGE_SIZE;
}

static int add_page(struct page_sender *sender, uint64_t number, size_t batch)
{
    uint64_t address = 0;
    const uint8_t *page = page_at(sender->memory, number, &address);
    bool zero = page != NULL && is_zero(page);

    if (page == NULL)
        return 0;
    if (!zero && sender->by_delta)
        add_difference(sender, number, address, page);
    else
        add_whole(sender, number, address, page, zero);
    return sender->contents >= batch || sender->runs == STREAM_RUNS_MAX ? flush(sender) : 0;
}

int page_sender_send(struct page_sender *sender, const uint64_t *bitmap, size_t first, size_t end)
{
    int r = 0;

    sender->by_delta = choose_delta(sender);
    for (size_t word = first; r == 0 && word < end; word++) {
        size_t batch;

        if (bitmap[word] == 0)
            continue;
        batch = batch_size(sender->rate);
        for (uint64_t bits = bitmap[word]; r == 0 && bits != 0; bits &= bits - 1)
            r = add_page(sender, word * 64 + (unsigned)__builtin_ctzll(bits), batch);
        sender->progress->remaining -= (uint64_t)__builtin_popcountll(bitmap[word]) * MEMORY_PAGE_SIZE;
    }
    return r == 0 ? flush(sender) : r;
}

int page_sender_take(struct page_sender *sender, uint64_t *bitmap, uint64_t first, uint64_t end)
{
    int r = 0;

    for (uint64_t number = first; r == 0 && number < end; number++) {
        if ((bitmap[number / 64] & BIT(number % 64)) == 0)
            continue;
        bitmap[number / 64] &= ~BIT(number % 64);
        sender->progress->remaining -= MEMORY_PAGE_SIZE;
        r = add_page(sender, number, BATCH);
    }
    return r == 0 ? flush(sender) : r;
}

/* The number of a page is its place in the memfd, which knows what was ever touched. */
uint64_t pages_in_use(const struct memory *memory, uint64_t *ret_bitmap)
{
    off_t size = (off_t)memory->size, at = 0, data, hole;
    uint64_t pages = 0;

    memset(ret_bitmap, 0, memory_bitmap_words(memory) * sizeof(uint64_t));
    while (at < size && (data = lseek(memory->fd, at, SEEK_DATA)) >= 0 && data < size) {
        hole = lseek(memory->fd, data, SEEK_HOLE);
        at = hole > data && hole < size ? hole : size;
        for (uint64_t page = (uint64_t)data >> MEMORY_PAGE_SHIFT; page < (uint64_t)at >> MEMORY_PAGE_SHIFT;
             page++, pages++)
            ret_bitmap[page / 64] |= BIT(page % 64);
    }
    return pages;
}
