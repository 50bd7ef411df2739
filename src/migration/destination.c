/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination of a migration: one session from begin to end, and what others may ask of it. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
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
#include "migration/storage_in.h"
#include "migration/tls.h"

#define DRAIN_MS 2000

void destination_set_status(struct migration_destination *destination, enum migration_status status)
{
    destination->progress.status = status;
    destination->machine.changed(destination->machine.ctx, status);
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
    if (destination_negotiate(destination, channel, err) < 0)
        return DESTINATION_AGAIN;
    channel_set_patience(channel, DESTINATION_ANSWER_MS); /* a source on a busy host takes its time to describe itself */
    if (destination_examine(destination, channel, err) < 0)
        return DESTINATION_AGAIN;
    channel_set_patience(channel, 0);
    destination_set_status(destination, MIGRATION_ACTIVE);
    destination->progress.stage = STAGE_TRANSFER_MEMORY;
    if (destination_receive_rounds(destination, destination->arrival[0], &message, err) < 0)
        return (destination->hello.flags & SESSION_DRY_RUN) != 0 ? DESTINATION_AGAIN : DESTINATION_ENDED;
    destination->progress.stage = STAGE_TRANSFER_STATE;
    if (message.type == MESSAGE_POSTCOPY && (destination_begin_postcopy(destination, channel, &message, err) < 0 ||
                                             stream_receive(channel, true, &message, err) < 0))
        return DESTINATION_ENDED;
    if (load_state(destination, channel, &message, &running, err) < 0)
        return DESTINATION_ENDED;
    outcome = destination_hand_over(destination, channel, running, err);
    if (outcome == DESTINATION_RUNS && destination->postcopy != NULL)
        destination_finish_postcopy(destination);
    return outcome;
}

static void refuse(struct channel *channel, const struct err *err)
{
    if (stream_send(channel, MESSAGE_REFUSE, 0, err->message, strnlen(err->message, STREAM_SENTENCE_MAX), NULL) == 0)
        channel_drain(channel, DRAIN_MS);
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
    destination_end_channels(destination);
    if (outcome == DESTINATION_AGAIN)
        destination_set_status(destination, MIGRATION_NONE);
    else if (outcome == DESTINATION_ENDED)
        destination_set_status(destination, MIGRATION_FAILED);
    destination->finished(destination->finished_ctx, outcome, &err);
    return NULL;
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
    r = destination_add_first(destination, fd);
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
