/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Post-copy on the source: the guest runs on the destination, and what it lacks is sent from here, what it waits for
 * first. */
#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/text.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/source_internal.h"

#define AHEAD 16      /* pages that go with one that is waited for: the guest will touch its neighbours */
#define PIECE_WORDS 2 /* of the bitmap, sent between two looks at what is waited for: 512 KiB */
#define LOOK_MS 100   /* at a limit that may have changed */

static int answer_want(struct migration_source *source, struct channel *channel, struct page_sender *sender,
                       const struct message *message, size_t *cursor, struct err *err)
{
    uint64_t pages = source->machine.memory->size >> MEMORY_PAGE_SHIFT, number;
    uint8_t body[8];
    int r = message->size != sizeof(body) ? -EBADMSG : channel_receive(channel, body, sizeof(body));

    if (r < 0)
        return r == -EBADMSG ? err_set(err, r, "the destination sent a WANT of %u bytes", message->size)
                             : stream_lost(err, r, "destination");
    number = load_le64(body);
    if (number >= pages)
        return err_set(err, -EBADMSG, "the destination wants page %llu of %llu", (unsigned long long)number,
                       (unsigned long long)pages);
    source->progress.requests++;
    r = page_sender_take(sender, source->bitmap, number, number + AHEAD < pages ? number + AHEAD : pages);
    *cursor = number / 64;
    return r < 0 ? stream_lost(err, r, "destination") : 0;
}

/* The next pages from the cursor on, around the end. 0: there are none. */
static int push_some(struct migration_source *source, struct page_sender *sender, size_t *cursor, struct err *err)
{
    size_t words = memory_bitmap_words(source->machine.memory);

    for (size_t i = 0; i < words; i++) {
        size_t word = (*cursor + i) % words, end = word + PIECE_WORDS < words ? word + PIECE_WORDS : words;
        int r;

        if (source->bitmap[word] == 0)
            continue;
        *cursor = end;
        r = page_sender_take(sender, source->bitmap, (uint64_t)word * 64, (uint64_t)end * 64);
        return r < 0 ? stream_lost(err, r, "destination") : 1;
    }
    return 0;
}

/* What nobody waits for goes within the limit, or at once where there is none; what somebody does is not counted. */
struct pace {
    int64_t free_ns; /* host_monotonic_ns() at which the next piece may go */
};

static void pace_sent(struct pace *pace, uint64_t bytes, uint64_t limit)
{
    int64_t now = host_monotonic_ns();

    if (pace->free_ns < now)
        pace->free_ns = now;
    if (limit != 0)
        pace->free_ns += (int64_t)((unsigned __int128)bytes * NANOSECONDS_PER_SECOND / limit);
}

/* How long the next piece has to wait, in milliseconds; looked at again soon, since limits change. */
static int pace_wait(const struct pace *pace, uint64_t limit)
{
    int64_t left_ms = limit != 0 ? (pace->free_ns - host_monotonic_ns() + 999999) / 1000000 : 0;

    return left_ms <= 0 ? 0 : left_ms < LOOK_MS ? (int)left_ms : LOOK_MS;
}

static int push(struct migration_source *source, struct channel *channel, struct page_sender *sender, struct err *err)
{
    struct pace pace = {0};
    size_t cursor = 0;
    bool done = false;
    struct message message;

    for (;;) {
        uint64_t limit = source->progress.remaining > 0 ? source_parameters(source).postcopy_bandwidth : 0;
        uint64_t sent = channel_sent(channel);
        int r = channel_wait(channel, done ? -1 : pace_wait(&pace, limit));

        if (r == 0) {
            r = stream_receive(channel, false, &message, err);
            if (r == 0 && message.type == MESSAGE_ALL && done)
                return 0;
            if (r == 0)
                r = message.type == MESSAGE_WANT
                        ? answer_want(source, channel, sender, &message, &cursor, err)
                        : err_set(err, -EBADMSG, "the destination sent %s in post-copy", message_name(message.type));
        } else if (r == -ETIMEDOUT && pace_wait(&pace, limit) > 0) {
            r = 0;
        } else if (r == -ETIMEDOUT) {
            r = push_some(source, sender, &cursor, err);
            pace_sent(&pace, channel_sent(channel) - sent, limit);
            if (r == 0) {
                done = true;
                r = stream_send(channel, MESSAGE_DONE, 0, NULL, 0, NULL);
                if (r < 0)
                    stream_lost(err, r, "destination");
            }
        }
        if (r < 0)
            return r;
    }
}

static int serve(struct migration_source *source, struct err *err)
{
    enum migration_compression compression = source_parameters(source).compression;
    struct page_sender *sender = calloc(1, sizeof(*sender));
    int r = sender == NULL ? -ENOMEM : 0;

    if (r == 0 && compression != COMPRESSION_NONE)
        r = compressor_new(compression, &sender->compressor);
    if (r < 0) {
        free(sender);
        return err_set(err, r, "no memory for post-copy");
    }
    sender->channel = source->pages;
    sender->memory = source->machine.memory;
    sender->progress = &source->progress;
    sender->cancel = &source->ending;
    r = push(source, source->pages, sender, err);
    compressor_free(sender->compressor);
    free(sender);
    return r;
}

static void *pages_thread(void *ctx)
{
    struct migration_source *source = ctx;

    pthread_setname_np(pthread_self(), "migration-out");
    source->pages_result = serve(source, &source->pages_error);
    return NULL;
}

int source_postcopy_begin(struct migration_source *source, struct err *err)
{
    size_t size = memory_bitmap_words(source->machine.memory) * sizeof(uint64_t);
    int r = stream_send(link_first(source->link), MESSAGE_POSTCOPY, 0, source->bitmap, size, NULL);

    if (r < 0)
        return source_explain(source, r, err);
    r = -pthread_create(&source->pages_thread, NULL, pages_thread, source);
    source->pages_started = r == 0;
    return r < 0 ? err_set(err, r, "cannot start a thread for post-copy: %s", strerror(-r)) : 0;
}

void source_postcopy_abandon(struct migration_source *source)
{
    if (source->pages != NULL)
        channel_break(source->pages);
    if (source->pages_started)
        pthread_join(source->pages_thread, NULL);
    source->pages_started = false;
}

enum way_on { WAY_RESUME, WAY_DISCARD, WAY_END };

/* Waits for an address at which the destination can be reached again, or the word that it lacks nothing. */
static enum way_on await_way_on(struct migration_source *source)
{
    enum way_on way = WAY_END;

    pthread_mutex_lock(&source->lock);
    while (!source->resume && source->settlement == SETTLE_NOTHING && !source->ending)
        pthread_cond_wait(&source->settled, &source->lock);
    if (!source->ending)
        way = source->resume ? WAY_RESUME : WAY_DISCARD;
    if (way == WAY_RESUME)
        source->address = source->resume_address;
    source->resume = false;
    source->settlement = SETTLE_NOTHING;
    pthread_mutex_unlock(&source->lock);
    return way;
}

static uint64_t bytes_in(const uint64_t *bitmap, size_t words)
{
    uint64_t pages = 0;

    for (size_t i = 0; i < words; i++)
        pages += (uint64_t)__builtin_popcountll(bitmap[i]);
    return pages * MEMORY_PAGE_SIZE;
}

/* What the destination lacks is what counts: what was on its way when the connection broke is lost. */
static int reconnect(struct migration_source *source, struct err *err)
{
    struct buffer missing = BUFFER_INIT(STREAM_BITMAP_MAX);
    size_t size = memory_bitmap_words(source->machine.memory) * sizeof(uint64_t);
    struct channel *channel;
    struct message message;
    int r;

    r = source_open_channel(source, STREAM_PAGES_CHANNEL, SESSION_RESUME, &channel, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&source->lock); /* against who breaks it */
    channel_free(source->pages);
    source->pages = channel;
    pthread_mutex_unlock(&source->lock);
    channel_set_patience(channel, SOURCE_ANSWER_MS);
    r = stream_receive(channel, false, &message, err);
    if (r == 0 && (message.type != MESSAGE_MISSING || message.size != size))
        r = err_set(err, -EBADMSG, "the destination sent %s of %u bytes instead of MISSING", message_name(message.type),
                    message.size);
    if (r == 0)
        r = stream_receive_body(channel, &message, &missing, err);
    channel_set_patience(channel, 0);
    if (r == 0) {
        memcpy(source->bitmap, missing.data, size);
        source->progress.remaining = bytes_in(source->bitmap, size / sizeof(uint64_t));
    }
    buffer_fini(&missing);
    return r;
}

static int recover(struct migration_source *source, struct err *err)
{
    int r;

    *err = ERR_INIT;
    source_set_status(source, MIGRATION_POSTCOPY_RECOVER);
    r = reconnect(source, err);
    if (r < 0)
        return r;
    source_set_message(source, "");
    source_set_status(source, MIGRATION_POSTCOPY);
    return serve(source, err);
}

static void pause_here(struct migration_source *source, const struct err *err)
{
    char text[ERR_MESSAGE_MAX + 500];

    channel_break(source->pages); /* the other side may not have noticed */
    text_format(
        text, sizeof(text),
        "in post-copy: %s; the VM runs on the destination and lacks memory that is here: when the way is there again, "
        "migrate with resume; neither process must end. If the destination's migration is completed, it lacks nothing, "
        "and if the VM has ended there, it needs nothing: x-ferry-migrate-settle with outcome discard",
        err->message);
    source_set_message(source, text);
    source_set_status(source, MIGRATION_POSTCOPY_PAUSED);
}

int source_postcopy_finish(struct migration_source *source, struct err *err)
{
    enum way_on way = WAY_RESUME;
    int r;

    source_set_status(source, MIGRATION_POSTCOPY);
    pthread_join(source->pages_thread, NULL);
    source->pages_started = false;
    r = source->pages_result;
    *err = source->pages_error;
    while (r < 0 && way == WAY_RESUME) {
        pause_here(source, err);
        way = await_way_on(source);
        if (way == WAY_RESUME)
            r = recover(source, err);
    }
    if (way == WAY_DISCARD)
        source_set_message(source, "");
    return way == WAY_END ? r : 0;
}
