/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest pages out to a channel: PAGES messages straight from guest RAM, no copies, but where differences are sent. */
#ifndef FERRY_MIGRATION_PAGES_OUT_H
#define FERRY_MIGRATION_PAGES_OUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migration/stream.h"

struct delta_cache;
struct memory;
struct migration_progress;

/* A bandwidth limit that several senders share and anybody may change. */
struct rate {
    pthread_mutex_t lock;
    _Atomic uint64_t limit; /* bytes a second; 0: none */
    int64_t free_ns;        /* host_monotonic_ns() at which what was let through so far has had its time */
};

void rate_init(struct rate *rate, uint64_t limit);
void rate_fini(struct rate *rate);

/* Waits until so many bytes may go; soon back when *cancel becomes true. Returns how long it waited, in nanoseconds. */
int64_t rate_wait(struct rate *rate, size_t size, const _Atomic bool *cancel);

struct page_sender {
    struct channel *channel;
    const struct memory *memory;
    struct migration_progress *progress;
    struct rate *rate; /* NULL: no limit */
    const _Atomic bool *cancel;
    struct compressor *compressor; /* NULL: contents go as they are */
    struct delta_cache *delta;     /* of what was sent, for all channels; NULL: pages go whole */
    unsigned round;                /* for it */
    bool skip_zero;                /* the other side's memory is zero where nothing was sent */
    int64_t waited_ns;             /* for the limit, since it was last set to 0 */
    /* Measured, nanoseconds a MiB of pages: sending them whole; the CPU's time for making differences. */
    int64_t whole_ns, delta_ns;
    unsigned messages;  /* sent with whole pages or differences as these two say */
    bool by_delta;      /* the message under way may hold differences: the way is slow enough */
    uint8_t *staging;   /* pages as they are sent, where they may be; NULL: not needed yet */
    size_t staged;      /* bytes */
    int64_t staging_ns; /* the CPU's time spent on this message's differences */
    unsigned staged_pages;
    /* The message under way: */
    unsigned runs, iov_count;
    size_t contents;
    uint8_t head[STREAM_HEADER_SIZE + STREAM_RUNS_MAX * STREAM_RUN_SIZE];
    struct iovec iov[1 + STREAM_RUNS_MAX];
};

/* Frees what the sender has made for itself. */
void page_sender_fini(struct page_sender *sender);

/* Sends the pages whose bits are set in words [first, end) of the bitmap, and nothing is left under way. -errno of the
 * channel. */
int page_sender_send(struct page_sender *sender, const uint64_t *bitmap, size_t first, size_t end);

/* The same with pages [first, end), whose bits are cleared. */
int page_sender_take(struct page_sender *sender, uint64_t *bitmap, uint64_t first, uint64_t end);

/* Sets the bits of all pages that were ever touched (memory_bitmap_words() words), and returns their number. The others
 * are zero. */
uint64_t pages_in_use(const struct memory *memory, uint64_t *ret_bitmap);

#endif
