/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination at and behind the point of decision: docs/formats/migration.md, "The destination". */
#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "migration/channel.h"
#include "migration/destination_internal.h"

#define TAKE_MS 5000

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

enum destination_outcome destination_hand_over(struct migration_destination *destination, struct channel *channel, bool running,
                                               struct err *err)
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
        destination_cancelled(channel, &message, err);
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
