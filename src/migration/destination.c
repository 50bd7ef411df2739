/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination of a migration: one session, and what it does on every loss (docs/formats/migration.md, "The
 * destination"). */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/destination_internal.h"
#include "migration/pages_in.h"
#include "migration/postcopy.h"
#include "migration/storage_in.h"
#include "migration/tls.h"

#define TAKE_MS 5000
#define DRAIN_MS 2000

void destination_set_status(struct migration_destination *destination, enum migration_status status)
{
    destination->progress.status = status;
    destination->machine.changed(destination->machine.ctx, status);
}

/* --- several channels ----------------------------------------------------------------------------------- */

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
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_cond_timedwait(&destination->changed, &destination->lock, &until);
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

static int cancelled_by_source(struct channel *channel, const struct message *message, struct err *err)
{
    struct buffer text = BUFFER_INIT(STREAM_SENTENCE_MAX);
    int r = stream_receive_body(channel, message, &text, err);

    if (r == 0)
        r = err_set(err, -ECANCELED, "the source gives up: %s",
                    text.data != NULL ? (const char *)text.data : "it says no more");
    buffer_fini(&text);
    return r;
}

/* Messages of pages up to one of another kind, which is returned. */
static int receive_rounds(struct migration_destination *destination, struct arrival *own, struct message *ret_message,
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
            r = cancelled_by_source(own->channel, &message, err);
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
    if (receive_rounds(destination, own, &message, &err) == 0)
        err_set(&err, -EBADMSG, "the source sent %s on a channel for pages", message_name(message.type));
    pthread_mutex_lock(&destination->lock);
    if (err.code != -EPIPE) /* what closing means, the first channel knows */
        fail(destination, &err);
    pthread_mutex_unlock(&destination->lock);
    return NULL;
}

/* --- the session ---------------------------------------------------------------------------------------- */

static int negotiate(struct migration_destination *destination, struct channel *channel, struct err *err)
{
    struct hello *hello = &destination->hello;
    int r = stream_receive_hello(channel, hello, err);

    if (r < 0)
        return r;
    if (hello->channel != 0)
        return err_set(err, -EBADMSG, "channel %u came before channel 0", hello->channel);
    if (hello->version < STREAM_VERSION_OLDEST || hello->oldest > STREAM_VERSION)
        return err_set(err, -EPROTO,
                       "the source speaks versions %u to %u of the migration stream, and this Ferry %u to %u",
                       hello->oldest, hello->version, STREAM_VERSION_OLDEST, STREAM_VERSION);
    r = stream_send(channel, MESSAGE_WELCOME, hello->version < STREAM_VERSION ? hello->version : STREAM_VERSION, NULL,
                    0, NULL);
    return r < 0 ? stream_lost(err, r, "source") : 0;
}

static int send_acceptance(struct migration_destination *destination, struct channel *channel, unsigned channels,
                           struct err *err)
{
    struct buffer own = BUFFER_INIT(STREAM_DESCRIPTION_MAX);
    int r = destination->machine.describe(destination->machine.ctx, &own, err);

    pthread_mutex_lock(&destination->lock);
    destination->channels = channels < destination->channels_max ? channels : destination->channels_max;
    if (destination->channels < 1)
        destination->channels = 1;
    /* Before the source can know. */
    destination->open = destination->channels > 1 || (destination->hello.flags & SESSION_POSTCOPY) != 0;
    pthread_mutex_unlock(&destination->lock);
    if (r == 0) {
        r = stream_send(channel, MESSAGE_ACCEPT, destination->channels, own.data, own.size, NULL);
        if (r < 0)
            stream_lost(err, r, "source");
    }
    buffer_fini(&own);
    return r;
}

static int open_storage(struct migration_destination *destination, struct err *err)
{
    int r = destination->machine.copied_disks(destination->machine.ctx, &destination->disks, err);

    if (r == 0 && destination->disks.count > 0)
        r = storage_in_new(&destination->disks, &destination->progress, &destination->storage, err);
    return r;
}

static int examine(struct migration_destination *destination, struct channel *channel, struct err *err)
{
    struct buffer description = BUFFER_INIT(STREAM_DESCRIPTION_MAX);
    struct message message;
    int r = stream_receive(channel, true, &message, err);

    if (r == 0 && message.type != MESSAGE_DESCRIPTION)
        r = err_set(err, -EBADMSG, "the source sent %s instead of DESCRIPTION", message_name(message.type));
    if (r == 0)
        r = stream_receive_body(channel, &message, &description, err);
    if (r == 0 && (destination->hello.flags & SESSION_POSTCOPY) != 0)
        r = postcopy_check(destination->machine.userfault_device, err);
    if (r == 0)
        r = destination->machine.check(destination->machine.ctx, description.data, description.size, err);
    if (r == 0 && (destination->hello.flags & (SESSION_STORAGE | SESSION_DRY_RUN)) == SESSION_STORAGE)
        r = open_storage(destination, err);
    buffer_fini(&description);
    return r < 0 ? r : send_acceptance(destination, channel, message.argument, err);
}

static int load_state(struct migration_destination *destination, struct channel *channel, const struct message *message,
                      bool *ret_running, struct err *err)
{
    struct buffer state = BUFFER_INIT(STREAM_STATE_MAX);
    int r = 0;

    if (message->type != MESSAGE_STATE || message->argument > 1 ||
        (destination->round == 0 && destination->postcopy == NULL))
        return err_set(err, -EBADMSG, "the source sent %s where STATE was to come", message_name(message->type));
    destination_set_status(destination, MIGRATION_DEVICE);
    r = stream_receive_body(channel, message, &state, err);
    if (r == 0)
        r = destination->machine.load(destination->machine.ctx, state.data, state.size, err);
    buffer_fini(&state);
    if (r == 0)
        r = storage_in_flush(destination->storage, err);
    if (r == 0)
        *ret_running = message->argument == 1;
    return r;
}

/* The source may be a moment behind in letting go. */
static int take_disks(struct migration_destination *destination, struct err *err)
{
    int64_t deadline = host_monotonic_ns() + TAKE_MS * INT64_C(1000000);
    int r;

    while ((r = destination->machine.take_disks(destination->machine.ctx, err)) == -EBUSY &&
           host_monotonic_ns() < deadline)
        usleep(20000);
    return r;
}

static int take_guest(struct migration_destination *destination, struct err *err)
{
    bool mine = true;
    int r = take_disks(destination, err);

    if (r < 0)
        return r;
    r = destination->machine.decide(destination->machine.ctx, destination->hello.session, &mine, err);
    if (r == -ENOENT) /* no arbiter: COMMIT suffices */
        return 0;
    if (r == 0 && !mine)
        r = err_set(err, -ESTALE, "the source has taken the VM back");
    if (r < 0)
        destination->machine.release_disks(destination->machine.ctx, NULL);
    return r;
}

/* The point of decision. On failure the guest is not here. */
static int decide(struct migration_destination *destination, struct err *err)
{
    bool go;
    int r;

    pthread_mutex_lock(&destination->lock);
    go = destination->deciding = !destination->abandoned;
    pthread_mutex_unlock(&destination->lock);
    r = go ? take_guest(destination, err) : err_set(err, -ECANCELED, "it was discarded here");
    pthread_mutex_lock(&destination->lock);
    destination->deciding = r == 0;
    pthread_mutex_unlock(&destination->lock);
    return r;
}

static void run(struct migration_destination *destination, bool running)
{
    destination->machine.run(destination->machine.ctx, running);
    destination->progress.stage = STAGE_CONTINUE;
    destination->progress.end_ns = host_monotonic_ns();
    destination_set_status(destination, destination->postcopy != NULL ? MIGRATION_POSTCOPY : MIGRATION_COMPLETED);
}

static enum destination_outcome await_settlement(struct migration_destination *destination, bool running,
                                                 struct err *err)
{
    enum destination_outcome outcome = DESTINATION_AGAIN;
    bool run_here, ending;

    while (outcome == DESTINATION_AGAIN) {
        pthread_mutex_lock(&destination->lock);
        text_format(destination->message, sizeof(destination->message),
                    "%s; the VM is complete here and stays paused: if the source "
                    "does not run it any more, x-ferry-migrate-settle with outcome run, else discard",
                    err->message);
        destination->unsettled = true;
        pthread_mutex_unlock(&destination->lock);
        destination_set_status(destination, MIGRATION_UNSETTLED);
        pthread_mutex_lock(&destination->lock);
        while (!destination->settled && !destination->ending)
            pthread_cond_wait(&destination->changed, &destination->lock);
        run_here = destination->run_here;
        ending = destination->ending;
        destination->settled = false;
        destination->unsettled = false;
        destination->message[0] = 0;
        pthread_mutex_unlock(&destination->lock);
        if (!ending && run_here && decide(destination, err) == 0) {
            run(destination, running);
            outcome = DESTINATION_RUNS;
        } else if (ending || !run_here || err->code == -ESTALE) {
            destination->machine.forget(destination->machine.ctx,
                                        destination->hello.session); /* this copy never runs now */
            outcome = DESTINATION_ENDED;
        }
    }
    return outcome;
}

/* State is in place and checked. */
static enum destination_outcome hand_over(struct migration_destination *destination, struct channel *channel,
                                          bool running, struct err *err)
{
    struct message message;
    bool untouched = false;
    int r = stream_send(channel, MESSAGE_READY, 0, NULL, 0, &untouched);

    if (r < 0)
        stream_lost(err, r, "source");
    if (r < 0 && untouched) /* without READY no COMMIT */
        return DESTINATION_ENDED;
    if (r == 0)
        r = stream_receive(channel, true, &message, err);
    if (r == 0 && message.type == MESSAGE_CANCEL) {
        cancelled_by_source(channel, &message, err);
        return DESTINATION_ENDED;
    }
    if (r == 0 && message.type != MESSAGE_COMMIT)
        r = err_set(err, -EBADMSG, "the source sent %s instead of COMMIT", message_name(message.type));
    if (r < 0 && destination->postcopy != NULL) /* without the source this copy is worth nothing */
        return DESTINATION_ENDED;
    if (r < 0)
        return await_settlement(destination, running, err);
    if (decide(destination, err) < 0)
        return DESTINATION_ENDED;
    /* The guest is here, whether the source hears of it or not. */
    stream_send(channel, MESSAGE_TAKEN, 0, NULL, 0, NULL);
    run(destination, running);
    return DESTINATION_RUNS;
}

static enum destination_outcome serve(struct migration_destination *destination, struct channel *channel,
                                      struct err *err)
{
    enum destination_outcome outcome;
    struct message message;
    bool running = false;

    destination_set_status(destination, MIGRATION_SETUP);
    if (destination->use_tls && (tls_new(destination->machine.tls_directory, true, &destination->tls, err) < 0 ||
                                 channel_start_tls(channel, destination->tls, NULL, DESTINATION_SETUP_MS, err) < 0))
        return DESTINATION_AGAIN;
    channel_set_patience(channel, DESTINATION_SETUP_MS); /* others wait behind who says nothing */
    if (negotiate(destination, channel, err) < 0)
        return DESTINATION_AGAIN;
    channel_set_patience(channel, DESTINATION_ANSWER_MS); /* a source on a busy host takes its time to describe itself */
    if (examine(destination, channel, err) < 0)
        return DESTINATION_AGAIN;
    channel_set_patience(channel, 0);
    destination_set_status(destination, MIGRATION_ACTIVE);
    destination->progress.stage = STAGE_TRANSFER_MEMORY;
    if (receive_rounds(destination, destination->arrival[0], &message, err) < 0)
        return (destination->hello.flags & SESSION_DRY_RUN) != 0 ? DESTINATION_AGAIN : DESTINATION_ENDED;
    destination->progress.stage = STAGE_TRANSFER_STATE;
    if (message.type == MESSAGE_POSTCOPY && (destination_begin_postcopy(destination, channel, &message, err) < 0 ||
                                             stream_receive(channel, true, &message, err) < 0))
        return DESTINATION_ENDED;
    if (load_state(destination, channel, &message, &running, err) < 0)
        return DESTINATION_ENDED;
    outcome = hand_over(destination, channel, running, err);
    if (outcome == DESTINATION_RUNS && destination->postcopy != NULL)
        destination_finish_postcopy(destination);
    return outcome;
}

static void refuse(struct channel *channel, const struct err *err)
{
    if (stream_send(channel, MESSAGE_REFUSE, 0, err->message, strnlen(err->message, STREAM_SENTENCE_MAX), NULL) == 0)
        channel_drain(channel, DRAIN_MS);
}

static void end_channels(struct migration_destination *destination)
{
    pthread_mutex_lock(&destination->lock);
    destination->open = false;
    fail(destination, &(struct err){.code = -ECANCELED, .message = "the session is over"});
    pthread_mutex_unlock(&destination->lock);
    for (unsigned i = 1; i < destination->arrivals; i++)
        pthread_join(destination->arrival[i]->thread, NULL);
}

static void *destination_thread(void *ctx)
{
    struct migration_destination *destination = ctx;
    struct channel *channel = destination->arrival[0]->channel;
    struct err err = ERR_INIT;
    enum destination_outcome outcome;

    pthread_setname_np(pthread_self(), "migration");
    outcome = serve(destination, channel, &err);
    pthread_mutex_lock(&destination->lock);
    if (destination->failed && outcome != DESTINATION_RUNS)
        err = destination->failure; /* another channel's, which ended this one */
    pthread_mutex_unlock(&destination->lock);
    if (outcome == DESTINATION_AGAIN) /* disks that were to be copied */
        destination->machine.release_disks(destination->machine.ctx, NULL);
    if (outcome != DESTINATION_RUNS)
        refuse(channel, &err);
    channel_break(channel);
    end_channels(destination);
    if (outcome == DESTINATION_AGAIN)
        destination_set_status(destination, MIGRATION_NONE);
    else if (outcome == DESTINATION_ENDED)
        destination_set_status(destination, MIGRATION_FAILED);
    destination->finished(destination->finished_ctx, outcome, &err);
    return NULL;
}

static int add_first(struct migration_destination *destination, int fd)
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

int migration_destination_start(const struct migration_machine *machine, int fd, bool use_tls, unsigned channels_max,
                                migration_finished_fn *finished, void *finished_ctx,
                                struct migration_destination **ret_destination, struct err *err)
{
    struct migration_destination *destination = calloc(1, sizeof(*destination));
    int r;

    if (destination == NULL) {
        close(fd);
        return err_set(err, -ENOMEM, "out of memory");
    }
    destination->machine = *machine;
    destination->finished = finished;
    destination->finished_ctx = finished_ctx;
    destination->use_tls = use_tls;
    destination->channels_max = channels_max < STREAM_CHANNELS_MAX ? channels_max : STREAM_CHANNELS_MAX;
    destination->progress.start_ns = host_monotonic_ns();
    destination->progress.ram_total = machine->memory->size;
    pthread_mutex_init(&destination->lock, NULL);
    pthread_cond_init(&destination->changed, NULL);
    r = add_first(destination, fd);
    *ret_destination = destination;
    if (r == 0)
        r = -pthread_create(&destination->thread, NULL, destination_thread, destination);
    if (r == 0)
        return 0;
    destination->thread = 0;
    migration_destination_free(destination);
    *ret_destination = NULL;
    return err_set(err, r, "cannot start a thread for the migration: %s", strerror(-r));
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

/* Lock held. From now on it is certain that the guest does not run here. */
static void abandon(struct migration_destination *destination)
{
    destination->abandoned = destination->settled = true;
    destination->run_here = false;
    for (unsigned i = 0; i < destination->arrivals; i++)
        channel_break(destination->arrival[i]->channel);
    pthread_cond_broadcast(&destination->changed);
}

int migration_destination_settle(struct migration_destination *destination, bool run_here, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&destination->lock);
    if (!run_here && !destination->deciding) {
        abandon(destination);
    } else if (!run_here) {
        r = err_set(err, -EBUSY, "the VM is being taken over here, or has been");
    } else if (!destination->unsettled || destination->settled) {
        r = err_set(err, -EINVAL, "there is nothing to settle: the migration is %s",
                    migration_status_name(destination->progress.status));
    } else {
        destination->settled = destination->run_here = true;
        pthread_cond_broadcast(&destination->changed);
    }
    pthread_mutex_unlock(&destination->lock);
    return r;
}

void migration_destination_free(struct migration_destination *destination)
{
    if (destination == NULL)
        return;
    pthread_mutex_lock(&destination->lock);
    destination->ending = true;
    pthread_cond_broadcast(&destination->changed);
    for (unsigned i = 0; i < destination->arrivals; i++)
        if (destination->arrival[i]->channel != NULL)
            channel_break(destination->arrival[i]->channel);
    if (destination->recovering != NULL)
        channel_break(destination->recovering);
    pthread_mutex_unlock(&destination->lock);
    if (destination->thread != 0)
        pthread_join(destination->thread, NULL);
    for (unsigned i = 0; i < destination->arrivals; i++) {
        channel_free(destination->arrival[i]->channel);
        compressor_free(destination->arrival[i]->compressor);
        free(destination->arrival[i]);
    }
    postcopy_free(destination->postcopy);
    storage_in_free(destination->storage);
    tls_free(destination->tls);
    pthread_cond_destroy(&destination->changed);
    pthread_mutex_destroy(&destination->lock);
    free(destination);
}

void migration_destination_message(struct migration_destination *destination, char *ret_text, size_t size)
{
    pthread_mutex_lock(&destination->lock);
    text_format(ret_text, size, "%s", destination->message);
    pthread_mutex_unlock(&destination->lock);
}

const struct migration_progress *migration_destination_progress(const struct migration_destination *destination)
{
    return &destination->progress;
}
