/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination's connections: who joins, and rounds of pages on all of them, up to the message that is something else. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/destination_internal.h"
#include "migration/pages_in.h"
#include "migration/storage_in.h"

/* Lock held. */
static void fail(struct migration_destination *destination, const struct err *err)
{
    if (!destination->failed)
        destination->failure = *err;
    destination->failed = true;
    channel_stop_receiving(destination->arrival[0]->channel); /* it still has to say why */
    for (unsigned i = 1; i < destination->arrivals; i++)
        channel_break(destination->arrival[i]->channel);
    pthread_cond_broadcast(&destination->changed);
}

void destination_wait(struct migration_destination *destination)
{
    host_wait(&destination->changed, &destination->lock, host_monotonic_ns() + NANOSECONDS_PER_SECOND);
}

/* Waits until every channel is at the end of this round: nothing of the next is written before. */
static int barrier(struct migration_destination *destination, struct arrival *own, unsigned round, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&destination->lock);
    if (round != own->round + 1 || round != destination->round + 1)
        r = err_set(err, -EBADMSG, "the source sent ROUND %u behind round %u", round, own->round);
    own->round = round;
    if (r == 0 && ++destination->at_barrier == destination->channels) {
        destination->at_barrier = 0;
        destination->round = round;
        pthread_cond_broadcast(&destination->changed);
    }
    while (r == 0 && destination->round != round) {
        if (destination->failed)
            r = err_set(err, destination->failure.code, "%s", destination->failure.message);
        else if (destination->ending || channel_closed(own->channel))
            r = stream_lost(err, -EPIPE, "source");
        else
            destination_wait(destination);
    }
    pthread_mutex_unlock(&destination->lock);
    return r;
}

int destination_cancelled(struct channel *channel, const struct message *message, struct err *err)
{
    return stream_receive_sentence(channel, message, -ECANCELED, "the source gives up", err);
}

int destination_receive_rounds(struct migration_destination *destination, struct arrival *own, struct message *ret_message,
                               struct err *err)
{
    struct message message;
    int r;

    for (;;) {
        r = stream_receive(own->channel, true, &message, err);
        if (r == 0 && message.type == MESSAGE_PAGES && (destination->hello.flags & SESSION_DRY_RUN) == 0)
            r = pages_receive(own->channel, &message, own->compressor, (destination->hello.flags & SESSION_DELTA) != 0,
                              destination->machine.memory, &destination->progress, err);
        else if (r == 0 && message.type == MESSAGE_PROBE && (destination->hello.flags & SESSION_DRY_RUN) != 0)
            r = stream_skip(own->channel, message.size, err);
        else if (r == 0 && message.type >= MESSAGE_COMPARE && message.type <= MESSAGE_SYNC &&
                 destination->storage != NULL && own == destination->arrival[0])
            r = storage_in_serve(destination->storage, own->channel, &message, own->compressor, err);
        else if (r == 0 && message.type == MESSAGE_ROUND)
            r = barrier(destination, own, message.argument, err);
        else if (r == 0 && message.type == MESSAGE_CANCEL)
            r = destination_cancelled(own->channel, &message, err);
        else if (r == 0) {
            *ret_message = message;
            return 0;
        }
        if (r == 0 && message.type == MESSAGE_ROUND && own == destination->arrival[0] &&
            (r = storage_in_flush(destination->storage, err)) == 0) {
            r = stream_send(own->channel, MESSAGE_ROUND_DONE, message.argument, NULL, 0, NULL);
            destination->progress.rounds = message.argument;
            if (r < 0)
                stream_lost(err, r, "source");
        }
        if (r < 0)
            return r;
    }
}

enum channel_kind destination_join(struct arrival *own)
{
    struct migration_destination *destination = own->destination;
    enum channel_kind kind = CHANNEL_FOREIGN;
    struct hello hello;

    channel_set_patience(own->channel, DESTINATION_SETUP_MS);
    if (destination->tls != NULL &&
        channel_start_tls(own->channel, destination->tls, NULL, DESTINATION_SETUP_MS, NULL) < 0)
        return CHANNEL_FOREIGN;
    if (stream_receive_hello(own->channel, &hello, NULL) < 0)
        return CHANNEL_FOREIGN;
    channel_set_patience(own->channel, 0);
    pthread_mutex_lock(&destination->lock);
    if (text_equal(hello.session, destination->hello.session)) {
        if (hello.channel == STREAM_PAGES_CHANNEL && (destination->hello.flags & SESSION_POSTCOPY) != 0) {
            kind = CHANNEL_PAGES;
            destination->pages_joined = true;
            pthread_cond_broadcast(&destination->changed);
            own->resume = (hello.flags & SESSION_RESUME) != 0;
        } else if (destination->joined < destination->channels) {
            destination->joined++;
            kind = CHANNEL_ROUNDS;
        }
    }
    pthread_mutex_unlock(&destination->lock);
    return kind;
}

static void *arrival_thread(void *ctx)
{
    struct arrival *own = ctx;
    struct migration_destination *destination = own->destination;
    struct message message;
    struct err err = ERR_INIT;
    enum channel_kind kind;

    pthread_setname_np(pthread_self(), "migration-in");
    kind = destination_join(own);
    if (kind == CHANNEL_FOREIGN)
        channel_break(own->channel);
    if (kind == CHANNEL_PAGES)
        destination_serve_pages(own);
    if (kind != CHANNEL_ROUNDS)
        return NULL;
    if (destination_receive_rounds(destination, own, &message, &err) == 0)
        err_set(&err, -EBADMSG, "the source sent %s on a channel for pages", message_name(message.type));
    pthread_mutex_lock(&destination->lock);
    if (err.code != -EPIPE) /* what closing means, the first channel knows */
        fail(destination, &err);
    pthread_mutex_unlock(&destination->lock);
    return NULL;
}

int destination_add_first(struct migration_destination *destination, int fd)
{
    struct arrival *first = calloc(1, sizeof(*first));
    int r;

    if (first == NULL) {
        close(fd);
        return -ENOMEM;
    }
    first->destination = destination;
    r = channel_new(fd, &first->channel);
    if (r == 0)
        r = compressor_new(COMPRESSION_NONE, &first->compressor);
    destination->arrival[0] = first;
    destination->arrivals = destination->joined = 1;
    return r;
}

/* Lock held. Takes fd over. */
static void add_arrival(struct migration_destination *destination, int fd)
{
    struct arrival *own = calloc(1, sizeof(*own));

    if (own == NULL)
        fd_close(&fd);
    if (own == NULL || channel_new(fd, &own->channel) < 0) {
        free(own);
        return;
    }
    own->destination = destination;
    if (compressor_new(COMPRESSION_NONE, &own->compressor) == 0 &&
        pthread_create(&own->thread, NULL, arrival_thread, own) == 0) {
        destination->arrival[destination->arrivals++] = own;
        return;
    }
    channel_free(own->channel);
    compressor_free(own->compressor);
    free(own);
}

bool migration_destination_add(struct migration_destination *destination, int fd)
{
    bool taken;

    pthread_mutex_lock(&destination->lock);
    taken = destination->open && destination->arrivals < ARRIVALS_MAX;
    if (taken)
        add_arrival(destination, fd);
    pthread_mutex_unlock(&destination->lock);
    return taken;
}

void destination_end_channels(struct migration_destination *destination)
{
    pthread_mutex_lock(&destination->lock);
    destination->open = false;
    fail(destination, &(struct err){.code = -ECANCELED, .message = "the session is over"});
    pthread_mutex_unlock(&destination->lock);
    for (unsigned i = 1; i < destination->arrivals; i++)
        pthread_join(destination->arrival[i]->thread, NULL);
}
