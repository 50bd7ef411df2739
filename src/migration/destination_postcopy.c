/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Post-copy on the destination: its beginning, the connections by which pages come, and what is done when one is lost.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/text.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/destination_internal.h"
#include "migration/postcopy.h"

#define LOOK_MS 50

/* From when post-copy begins; NULL: it does not. */
static struct postcopy *await_postcopy(struct arrival *own)
{
    struct migration_destination *destination = own->destination;
    struct postcopy *postcopy;

    pthread_mutex_lock(&destination->lock);
    while (!own->resume && destination->postcopy == NULL && !destination->failed && !destination->ending)
        pthread_cond_wait(&destination->changed, &destination->lock);
    postcopy = destination->postcopy;
    if (own->resume && destination->pages_result >= 0) /* nothing was lost */
        postcopy = NULL;
    else
        destination->pages_result = 0;
    pthread_mutex_unlock(&destination->lock);
    return postcopy;
}

void destination_serve_pages(struct arrival *own)
{
    struct migration_destination *destination = own->destination;
    size_t size = memory_bitmap_words(destination->machine.memory) * sizeof(uint64_t);
    struct postcopy *postcopy = await_postcopy(own);
    struct err err = ERR_INIT;
    int r = 0;

    if (postcopy == NULL)
        return;
    if (own->resume) {
        r = stream_send(own->channel, MESSAGE_MISSING, 0, postcopy_missing(postcopy), size, NULL);
        if (r < 0)
            stream_lost(&err, r, "source");
    }
    if (r == 0)
        r = postcopy_serve(postcopy, own->channel, own->compressor, &err);
    if (r < 0 && postcopy_complete(postcopy)) /* only the source does not know it */
        r = 0;
    if (r < 0)
        channel_break(own->channel); /* a source that fell silent and wakes up shall notice */
    pthread_mutex_lock(&destination->lock);
    destination->pages_result = r == 0 ? 1 : r;
    destination->pages_error = err;
    pthread_cond_broadcast(&destination->changed);
    pthread_mutex_unlock(&destination->lock);
}

/* The source opened it long ago, but its thread may be behind. */
static int await_pages_channel(struct migration_destination *destination, struct err *err)
{
    int64_t deadline = host_monotonic_ns() + DESTINATION_SETUP_MS * INT64_C(1000000);
    bool joined;

    pthread_mutex_lock(&destination->lock);
    while (!destination->pages_joined && !destination->ending && destination->arrivals > 1 &&
           host_monotonic_ns() < deadline)
        destination_wait(destination);
    joined = destination->pages_joined;
    pthread_mutex_unlock(&destination->lock);
    return joined ? 0 : err_set(err, -EBADMSG, "the source sent POSTCOPY and has no connection for its pages");
}

int destination_begin_postcopy(struct migration_destination *destination, struct channel *channel,
                               const struct message *message, struct err *err)
{
    const struct memory *memory = destination->machine.memory;
    uint64_t pages = memory->size >> MEMORY_PAGE_SHIFT;
    struct buffer missing = BUFFER_INIT(STREAM_BITMAP_MAX);
    struct postcopy *postcopy = NULL;
    int r = 0;

    if (message->size != memory_bitmap_words(memory) * sizeof(uint64_t) ||
        (destination->hello.flags & SESSION_POSTCOPY) == 0)
        return err_set(err, -EBADMSG, "the source sent a POSTCOPY of %u bytes for %llu pages", message->size,
                       (unsigned long long)pages);
    r = stream_receive_body(channel, message, &missing, err);
    if (r == 0)
        r = await_pages_channel(destination, err);
    if (r == 0 && pages % 64 != 0 && (((uint64_t *)missing.data)[pages / 64] >> (pages % 64)) != 0)
        r = err_set(err, -EBADMSG, "the source's POSTCOPY names pages behind the end of memory");
    if (r == 0)
        r = postcopy_new(destination->machine.memory, destination->machine.userfault_device, (const uint64_t *)missing.data,
                         &destination->progress, &postcopy, err);
    buffer_fini(&missing);
    pthread_mutex_lock(&destination->lock);
    destination->postcopy = postcopy;
    pthread_cond_broadcast(&destination->changed);
    pthread_mutex_unlock(&destination->lock);
    return r;
}

/* The message and the state that both sides are in; error: why no pages come any more, NULL: they do. */
static void set_paused(struct migration_destination *destination, const struct err *error)
{
    pthread_mutex_lock(&destination->lock);
    destination->message[0] = 0;
    if (error != NULL)
        text_format(destination->message, sizeof(destination->message),
                    "in post-copy: %s; the VM lacks memory that is on the source: migrate with resume there",
                    error->message);
    pthread_mutex_unlock(&destination->lock);
    destination_set_status(destination, error != NULL ? MIGRATION_POSTCOPY_PAUSED : MIGRATION_POSTCOPY);
}

/* What is under way on it is broken off when the session is to end. */
static void set_recovering(struct migration_destination *destination, struct channel *channel)
{
    pthread_mutex_lock(&destination->lock);
    destination->recovering = channel;
    if (destination->ending && channel != NULL)
        channel_break(channel);
    pthread_mutex_unlock(&destination->lock);
}

/* Somebody has connected: the source again, perhaps. Whether it was. */
static bool recover(struct migration_destination *destination, int fd)
{
    struct arrival own = {.destination = destination};
    bool served = false;

    if (channel_new(fd, &own.channel) < 0)
        return false;
    if (compressor_new(COMPRESSION_NONE, &own.compressor) < 0) {
        channel_free(own.channel);
        return false;
    }
    set_recovering(destination, own.channel);
    if (destination_join(&own) == CHANNEL_PAGES && own.resume) {
        set_paused(destination, NULL);
        destination_serve_pages(&own);
        served = true;
    }
    set_recovering(destination, NULL);
    channel_free(own.channel);
    compressor_free(own.compressor);
    return served;
}

static void await_recovery(struct migration_destination *destination)
{
    bool served = false;

    while (!served && !destination->ending) {
        int fd = destination->machine.accept(destination->machine.ctx);

        if (fd >= 0)
            served = recover(destination, fd);
        else
            usleep(LOOK_MS * 1000);
    }
}

/* As destination->pages_result, when it is no longer 0. */
static int await_pages(struct migration_destination *destination, struct err *err)
{
    int result;

    pthread_mutex_lock(&destination->lock);
    while (destination->pages_result == 0 && !destination->ending)
        pthread_cond_wait(&destination->changed, &destination->lock);
    result = destination->ending ? 1 : destination->pages_result;
    *err = destination->pages_error;
    pthread_mutex_unlock(&destination->lock);
    return result;
}

/* The machine's loop may wait for a page, whatever the connection does, so this thread looks after its duties. */
static void *stand_in_thread(void *ctx)
{
    struct migration_destination *destination = ctx;

    pthread_setname_np(pthread_self(), "migration-watch");
    while (!destination->postcopy_over && !destination->ending) {
        destination->machine.stalled(destination->machine.ctx);
        usleep(LOOK_MS * 1000);
    }
    return NULL;
}

/* The guest runs here. Until all of its memory is here, whoever touches what is missing waits. */
void destination_finish_postcopy(struct migration_destination *destination)
{
    pthread_t stand_in;
    bool stands_in = pthread_create(&stand_in, NULL, stand_in_thread, destination) == 0;
    struct err err;

    while (await_pages(destination, &err) < 0) {
        set_paused(destination, &err);
        await_recovery(destination);
    }
    destination->postcopy_over = true;
    if (stands_in)
        pthread_join(stand_in, NULL);
    destination->progress.end_ns = host_monotonic_ns();
    if (!destination->ending)
        destination_set_status(destination, MIGRATION_COMPLETED);
}
