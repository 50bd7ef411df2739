/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A round of pages on several channels at once. */
#include "migration/link.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/pages_out.h"
#include "migration/stream.h"

#define CHUNK 64 /* words of the bitmap that a channel takes at a time: 16 MiB of RAM */

struct link_channel {
    struct link *link;
    struct page_sender sender;
    pthread_t thread;
    bool started;
    unsigned round; /* the last one that this thread has done */
};

struct link {
    const struct memory *memory;
    struct migration_progress *progress;
    const _Atomic bool *cancel;
    enum migration_compression compression;
    struct delta_cache *delta;
    struct link_channel *channel[STREAM_CHANNELS_MAX];
    unsigned count;

    pthread_mutex_t lock;
    pthread_cond_t begun, done;
    bool ending;
    unsigned round, unfinished; /* number of the round under way; threads still at it */
    const uint64_t *bitmap;
    struct rate *rate;
    bool skip_zero;
    link_between_fn *between;
    void *between_ctx;
    int result;
    _Atomic size_t next; /* word that nobody has taken */
    _Atomic bool interrupted;
};

int link_new(const struct memory *memory, struct migration_progress *progress, const _Atomic bool *cancel,
             enum migration_compression compression, struct link **ret_link)
{
    struct link *link = calloc(1, sizeof(*link));

    if (link == NULL)
        return -ENOMEM;
    link->memory = memory;
    link->progress = progress;
    link->cancel = cancel;
    link->compression = compression;
    pthread_mutex_init(&link->lock, NULL);
    pthread_cond_init(&link->begun, NULL);
    pthread_cond_init(&link->done, NULL);
    *ret_link = link;
    return 0;
}

void link_use_delta(struct link *link, struct delta_cache *cache)
{
    link->delta = cache;
}

/* What there is left of the round, by this channel. */
static int do_share(struct link_channel *own, unsigned round)
{
    struct link *link = own->link;
    size_t words = memory_bitmap_words(link->memory), at;
    int r = 0;

    own->sender.rate = link->rate;
    own->sender.skip_zero = link->skip_zero;
    own->sender.waited_ns = 0;
    own->sender.round = round;
    while (r == 0 && !link->interrupted && (at = atomic_fetch_add(&link->next, CHUNK)) < words) {
        if (own == link->channel[0] && channel_wait(own->sender.channel, 0) == 0)
            return -EREMOTEIO;
        r = page_sender_send(&own->sender, link->bitmap, at, at + CHUNK < words ? at + CHUNK : words);
        if (r == 0 && own == link->channel[0] && link->between != NULL)
            r = link->between(link->between_ctx);
    }
    return r == 0 ? stream_send(own->sender.channel, MESSAGE_ROUND, round, NULL, 0, NULL) : r;
}

static void break_from(struct link *link, unsigned first)
{
    pthread_mutex_lock(&link->lock);
    for (unsigned i = first; i < link->count; i++)
        channel_break(link->channel[i]->sender.channel);
    pthread_mutex_unlock(&link->lock);
}

static void *link_thread(void *ctx)
{
    struct link_channel *own = ctx;
    struct link *link = own->link;

    pthread_setname_np(pthread_self(), "migration-out");
    pthread_mutex_lock(&link->lock);
    for (;;) {
        unsigned round;
        int r;

        while (!link->ending && own->round == link->round)
            pthread_cond_wait(&link->begun, &link->lock);
        if (link->ending)
            break;
        round = link->round;
        pthread_mutex_unlock(&link->lock);
        r = do_share(own, round);
        if (r < 0)
            break_from(link, 1); /* the others might wait for ever for a peer that has given up */
        pthread_mutex_lock(&link->lock);
        own->round = round;
        if (r < 0 && link->result == 0)
            link->result = r;
        if (--link->unfinished == 0)
            pthread_cond_signal(&link->done);
    }
    pthread_mutex_unlock(&link->lock);
    return NULL;
}

int link_add(struct link *link, struct channel *channel)
{
    struct link_channel *own = link->count < STREAM_CHANNELS_MAX ? calloc(1, sizeof(*own)) : NULL;
    int r = own == NULL ? -ENOMEM : 0;

    if (r == 0) {
        own->link = link;
        own->round = link->round;
        own->sender.channel = channel;
        own->sender.memory = link->memory;
        own->sender.progress = link->progress;
        own->sender.cancel = link->cancel;
        own->sender.delta = link->delta;
    }
    if (r == 0 && link->compression != COMPRESSION_NONE)
        r = compressor_new(link->compression, &own->sender.compressor);
    if (r == 0 && link->count > 0)
        r = -pthread_create(&own->thread, NULL, link_thread, own);
    if (r < 0) {
        channel_free(channel);
        if (own != NULL)
            compressor_free(own->sender.compressor);
        free(own);
        return r;
    }
    own->started = link->count > 0;
    pthread_mutex_lock(&link->lock); /* against link_break() */
    link->channel[link->count++] = own;
    pthread_mutex_unlock(&link->lock);
    return 0;
}

struct channel *link_first(const struct link *link)
{
    return link->channel[0]->sender.channel;
}

void link_break(struct link *link)
{
    break_from(link, 0);
}

void link_free(struct link *link)
{
    if (link == NULL)
        return;
    link_break(link);
    pthread_mutex_lock(&link->lock);
    link->ending = true;
    pthread_cond_broadcast(&link->begun);
    pthread_mutex_unlock(&link->lock);
    for (unsigned i = 0; i < link->count; i++) {
        if (link->channel[i]->started)
            pthread_join(link->channel[i]->thread, NULL);
        channel_free(link->channel[i]->sender.channel);
        compressor_free(link->channel[i]->sender.compressor);
        page_sender_fini(&link->channel[i]->sender);
        free(link->channel[i]);
    }
    pthread_cond_destroy(&link->begun);
    pthread_cond_destroy(&link->done);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

static void begin(struct link *link, const uint64_t *bitmap, unsigned number, struct rate *rate, bool skip_zero)
{
    pthread_mutex_lock(&link->lock);
    link->bitmap = bitmap;
    link->rate = rate;
    link->skip_zero = skip_zero;
    link->next = 0;
    link->result = 0;
    link->round = number;
    link->unfinished = link->count - 1;
    pthread_cond_broadcast(&link->begun);
    pthread_mutex_unlock(&link->lock);
}

static int finish(struct link *link, int r)
{
    if (r < 0)
        break_from(link, 1); /* the first one may still hold the other side's reason */
    pthread_mutex_lock(&link->lock);
    while (link->unfinished > 0)
        pthread_cond_wait(&link->done, &link->lock);
    if (r == 0)
        r = link->result;
    pthread_mutex_unlock(&link->lock);
    return r;
}

int link_round(struct link *link, const uint64_t *bitmap, unsigned number, struct rate *rate, bool skip_zero,
               link_between_fn *between, void *between_ctx, int64_t *ret_waited_ns)
{
    int r;

    link->between = between;
    link->between_ctx = between_ctx;
    begin(link, bitmap, number, rate, skip_zero);
    r = finish(link, do_share(link->channel[0], number));
    *ret_waited_ns = link->channel[0]->sender.waited_ns;
    return r;
}

void link_interrupt(struct link *link)
{
    link->interrupted = true;
}

size_t link_done(const struct link *link)
{
    size_t words = memory_bitmap_words(link->memory), next = link->next;

    return next < words ? next : words;
}

uint64_t link_sent(const struct link *link)
{
    uint64_t sent = 0;

    for (unsigned i = 0; i < link->count; i++)
        sent += channel_sent(link->channel[i]->sender.channel);
    return sent;
}

uint64_t link_outstanding(const struct link *link)
{
    uint64_t outstanding = 0;

    for (unsigned i = 0; i < link->count; i++)
        outstanding += channel_outstanding(link->channel[i]->sender.channel);
    return outstanding;
}
