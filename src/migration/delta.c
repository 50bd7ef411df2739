/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Differences between pages, and a cache of pages with one place for each. */
#include "migration/delta.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/memory.h"
#include "migration/progress.h"

#define GAP 3          /* equal bytes that end a piece: its head costs two or more */
#define FRESH_ROUNDS 2 /* a page that was sent in these does not make room for another */
#define LOCKS 64

/* --- differences ---------------------------------------------------------------------------------------- */

/* Seven bits a byte, low ones first, the highest bit says that another byte follows; two bytes at most. */
static size_t put_number(uint8_t *out, size_t number)
{
    if (number < 0x80) {
        out[0] = (uint8_t)number;
        return 1;
    }
    out[0] = (uint8_t)(number | 0x80);
    out[1] = (uint8_t)(number >> 7);
    return 2;
}

/* false: there is none, or not in its shortest form. */
static bool get_number(const uint8_t **at, const uint8_t *end, size_t *ret_number)
{
    size_t low, high = 0;

    if (*at == end)
        return false;
    low = *(*at)++;
    if (low >= 0x80) {
        if (*at == end || **at == 0 || **at >= 0x80)
            return false;
        high = *(*at)++;
    }
    *ret_number = (low & 0x7f) | high << 7;
    return true;
}

/* The first byte from `at` on in which they differ; MEMORY_PAGE_SIZE: none. */
static size_t first_difference(const uint8_t *from, const uint8_t *to, size_t at)
{
    uint64_t a, b;

    for (; at % sizeof(a) != 0; at++)
        if (from[at] != to[at])
            return at;
    for (; at < MEMORY_PAGE_SIZE; at += sizeof(a)) {
        memcpy(&a, from + at, sizeof(a));
        memcpy(&b, to + at, sizeof(b));
        if (a != b)
            return at + (size_t)__builtin_ctzll(a ^ b) / 8;
    }
    return MEMORY_PAGE_SIZE;
}

/* Behind the last byte of the piece that begins at `at`. */
static size_t piece_end(const uint8_t *from, const uint8_t *to, size_t at)
{
    size_t end = at + 1;

    for (at = end; at < MEMORY_PAGE_SIZE && at < end + GAP; at++)
        if (from[at] != to[at])
            end = at + 1;
    return end;
}

int delta_encode(const uint8_t *from, const uint8_t *to, uint8_t *ret_delta)
{
    size_t size = 0, done = 0, at;

    while ((at = first_difference(from, to, done)) < MEMORY_PAGE_SIZE) {
        size_t end = piece_end(from, to, at);

        if (size + 4 + (end - at) > DELTA_SIZE_MAX)
            return -EOVERFLOW;
        size += put_number(ret_delta + size, at - done);
        size += put_number(ret_delta + size, end - at);
        memcpy(ret_delta + size, to + at, end - at);
        size += end - at;
        done = end;
    }
    return (int)size;
}

/* The next piece: where in the page, and how many bytes, which are at *at then. */
static bool next_piece(const uint8_t **at, const uint8_t *end, size_t *offset, size_t *ret_count)
{
    size_t skip, count;

    if (!get_number(at, end, &skip) || !get_number(at, end, &count) || count == 0 || (skip == 0 && *offset != 0) ||
        count > (size_t)(end - *at) || *offset + skip + count > MEMORY_PAGE_SIZE)
        return false;
    *offset += skip;
    *ret_count = count;
    return true;
}

int delta_apply(uint8_t *page, const uint8_t *delta, size_t size)
{
    const uint8_t *end = delta + size;
    size_t offset = 0, count;

    if (size == 0 || size > DELTA_SIZE_MAX)
        return -EBADMSG;
    for (const uint8_t *at = delta; at < end; at += count, offset += count)
        if (!next_piece(&at, end, &offset, &count))
            return -EBADMSG;
    offset = 0;
    for (const uint8_t *at = delta; at < end && next_piece(&at, end, &offset, &count); at += count, offset += count)
        memcpy(page + offset, at, count);
    return 0;
}

/* --- the cache ------------------------------------------------------------------------------------------ */

struct place {
    uint64_t next_number; /* of the page, plus 1; 0: none */
    unsigned round;       /* in which it was sent last */
};

struct delta_cache {
    struct migration_progress *progress;
    uint64_t places;
    struct place *place;
    uint8_t *pages;
    pthread_mutex_t lock[LOCKS]; /* of the places whose index has this remainder */
};

int delta_cache_new(uint64_t size, struct migration_progress *progress, struct delta_cache **ret_cache)
{
    struct delta_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        return -ENOMEM;
    cache->progress = progress;
    cache->places = size / MEMORY_PAGE_SIZE > 0 ? size / MEMORY_PAGE_SIZE : 1;
    cache->place = calloc(cache->places, sizeof(*cache->place));
    cache->pages = mmap(NULL, cache->places * MEMORY_PAGE_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->place == NULL || cache->pages == MAP_FAILED) {
        if (cache->pages != MAP_FAILED)
            munmap(cache->pages, cache->places * MEMORY_PAGE_SIZE);
        free(cache->place);
        free(cache);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_init(&cache->lock[i], NULL);
    *ret_cache = cache;
    return 0;
}

void delta_cache_free(struct delta_cache *cache)
{
    if (cache == NULL)
        return;
    for (unsigned i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&cache->lock[i]);
    munmap(cache->pages, cache->places * MEMORY_PAGE_SIZE);
    free(cache->place);
    free(cache);
}

/* The place is this page's, and held by its lock. */
static int update(struct delta_cache *cache, uint64_t index, unsigned round, const uint8_t *page, uint8_t *ret_delta)
{
    uint8_t *old = cache->pages + index * MEMORY_PAGE_SIZE;
    int size = delta_encode(old, page, ret_delta);

    cache->place[index].round = round;
    if (size == -EOVERFLOW)
        cache->progress->delta_overflows++;
    if (size == -EOVERFLOW)
        memcpy(old, page, MEMORY_PAGE_SIZE);
    else if (size > 0)
        delta_apply(old, ret_delta, (size_t)size);
    return size;
}

int delta_cache_update(struct delta_cache *cache, uint64_t number, unsigned round, const uint8_t *page,
                       uint8_t *ret_delta)
{
    uint64_t index = number % cache->places;
    struct place *place = &cache->place[index];
    int size = -ENOENT;

    pthread_mutex_lock(&cache->lock[index % LOCKS]);
    if (place->next_number == number + 1) {
        size = update(cache, index, round, page, ret_delta);
    } else {
        cache->progress->delta_misses++;
        if (place->next_number == 0 || place->round + FRESH_ROUNDS <= round) {
            *place = (struct place){number + 1, round};
            memcpy(cache->pages + index * MEMORY_PAGE_SIZE, page, MEMORY_PAGE_SIZE);
        }
    }
    pthread_mutex_unlock(&cache->lock[index % LOCKS]);
    return size;
}

void delta_cache_drop(struct delta_cache *cache, uint64_t number)
{
    uint64_t index = number % cache->places;

    pthread_mutex_lock(&cache->lock[index % LOCKS]);
    if (cache->place[index].next_number == number + 1)
        cache->place[index].next_number = 0;
    pthread_mutex_unlock(&cache->lock[index % LOCKS]);
}
