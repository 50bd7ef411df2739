/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source of a migration: its thread from begin to end, and what others may ask of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/delta.h"
#include "migration/source_internal.h"
#include "migration/tls.h"

#define STEP_MS 500

void source_set_status(struct migration_source *source, enum migration_status status)
{
    source->progress.status = status;
    source->machine.changed(source->machine.ctx, status);
}

void source_set_message(struct migration_source *source, const char *text)
{
    pthread_mutex_lock(&source->lock);
    text_format(source->message, sizeof(source->message), "%s", text);
    pthread_mutex_unlock(&source->lock);
}

struct migration_parameters source_parameters(struct migration_source *source)
{
    struct migration_parameters parameters;

    pthread_mutex_lock(&source->lock);
    parameters = source->parameters;
    pthread_mutex_unlock(&source->lock);
    return parameters;
}

void source_end_part(struct migration_source *source, enum downtime_part part)
{
    int64_t now = host_monotonic_ns();

    source->progress.downtime_part_us[part] = (uint64_t)(now - source->part_ns) / 1000;
    source->part_ns = now;
}

/* --- answers -------------------------------------------------------------------------------------------- */

/* As channel_wait(), but the time begins anew whenever something that was sent gets there. */
static int await_answer(struct migration_source *source, int timeout_ms)
{
    uint64_t before = link_outstanding(source->link), outstanding;
    int r, waited_ms = 0;

    if (timeout_ms <= STEP_MS)
        return channel_wait(link_first(source->link), timeout_ms);
    do {
        r = channel_wait(link_first(source->link), STEP_MS);
        outstanding = link_outstanding(source->link);
        waited_ms = outstanding < before ? 0 : waited_ms + STEP_MS;
        before = outstanding;
    } while (r == -ETIMEDOUT && waited_ms < timeout_ms);
    return r;
}

int source_expect(struct migration_source *source, enum message_type type, int timeout_ms, struct message *ret_message,
                  struct err *err)
{
    struct channel *channel = link_first(source->link);
    int r = await_answer(source, timeout_ms);

    if (r == -ETIMEDOUT)
        return err_set(err, r, "the destination sent no %s in %d s", message_name(type), timeout_ms / 1000);
    r = stream_receive(channel, false, ret_message, err);
    if (r < 0)
        return r;
    if (ret_message->type == MESSAGE_REFUSE)
        return stream_receive_sentence(channel, ret_message, -EREMOTEIO, "the destination refuses", err);
    if (ret_message->type != type)
        return err_set(err, -EBADMSG, "the destination sent %s instead of %s", message_name(ret_message->type),
                       message_name(type));
    return 0;
}

int source_explain(struct migration_source *source, int r, struct err *err)
{
    struct message message;

    if (atomic_load(&source->cancel))
        return stream_lost(err, -ECANCELED, "destination");
    if (channel_wait(link_first(source->link), 0) == 0 &&
        source_expect(source, MESSAGE_REFUSE, 0, &message, err) == -EREMOTEIO)
        return -EREMOTEIO;
    return stream_lost(err, r, "destination");
}

/* --- the whole ------------------------------------------------------------------------------------------ */

/* A destination that lives hears at once that nothing more comes. */
static void hang_up(struct migration_source *source)
{
    if (source->link != NULL)
        link_break(source->link);
}

static void finish_here(struct migration_source *source, const struct err *err)
{
    bool cancelled = source->cancel && err->code == -ECANCELED;
    char text[ERR_MESSAGE_MAX + 100];

    hang_up(source);
    source_postcopy_abandon(source);
    source_storage_end(source);
    if (source->logging)
        source->machine.engine_type->dirty_stop(source->machine.vm);
    source->machine.throttle(source->machine.ctx, 0);
    if (source->stopped)
        source->machine.resume(source->machine.ctx);
    text_format(text, sizeof(text), "in stage %s%s%s; the VM goes on here", migration_stage_name(source->progress.stage),
                cancelled ? "" : ": ", cancelled ? "" : err->message);
    source_set_message(source, text);
    source->progress.end_ns = host_monotonic_ns();
    source_set_status(source, cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED);
}

static void finish_there(struct migration_source *source, const struct err *err)
{
    struct migration_progress *progress = &source->progress;
    char text[ERR_MESSAGE_MAX + 100];
    struct err trouble = ERR_INIT;

    source_end_part(source, DOWNTIME_TAKEOVER);
    progress->downtime_us = (uint64_t)(source->part_ns - progress->stop_ns) / 1000;
    progress->transferred_gone = progress->transferred;
    source_storage_end(source);
    source->machine.engine_type->dirty_stop(source->machine.vm);
    source->machine.throttle(source->machine.ctx, 0);
    source->machine.gone(source->machine.ctx);
    if (err->code == 0) {
        source->machine.forget(source->machine.ctx, source->session);
    } else {
        text_format(text, sizeof(text), "the VM is the destination's, though behind the handover %s", err->message);
        source_set_message(source, text);
    }
    source->progress.stage = STAGE_CONTINUE;
    if (source->pages_started && source_postcopy_finish(source, &trouble) < 0)
        return;
    progress->end_ns = host_monotonic_ns();
    progress->remaining = 0;
    source_set_status(source, MIGRATION_COMPLETED);
}

static void dry_run(struct migration_source *source)
{
    struct err err = ERR_INIT;
    int r = source_setup(source, &err);

    if (r == 0)
        r = source_predict(source, &err);
    hang_up(source);
    source_storage_end(source);
    if (r < 0)
        source_set_message(source, err.message);
    source->progress.end_ns = host_monotonic_ns();
    source_set_status(source, r == 0 ? MIGRATION_NONE : r == -ECANCELED ? MIGRATION_CANCELLED : MIGRATION_FAILED);
}

static void *source_thread(void *ctx)
{
    struct migration_source *source = ctx;
    struct err err = ERR_INIT;
    enum verdict verdict;
    int r;

    pthread_setname_np(pthread_self(), "migration");
    source_set_status(source, MIGRATION_SETUP);
    if (source->dry_run) {
        dry_run(source);
        return NULL;
    }
    r = source_setup(source, &err);
    source->progress.setup_ns = host_monotonic_ns();
    if (r == 0)
        r = source_transfer(source, &err);
    verdict = r == 0 ? source_hand_over(source, &err) : source_run_on(source, &err);
    if (verdict == VERDICT_NOBODY_KNOWS)
        verdict = source_settle(source, &err);
    if (verdict == VERDICT_HERE)
        finish_here(source, &err);
    else if (verdict == VERDICT_THERE)
        finish_there(source, &err);
    return NULL;
}

int migration_source_start(const struct migration_machine *machine, const struct address *address,
                           const struct migration_parameters *parameters, bool dry_run,
                           struct migration_source **ret_source, struct err *err)
{
    struct migration_source *source = calloc(1, sizeof(*source));
    int r;

    if (source == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    source->machine = *machine;
    source->address = *address;
    source->parameters = *parameters;
    source->dry_run = dry_run;
    source->progress.start_ns = host_monotonic_ns();
    source->progress.ram_total = machine->memory->size;
    source->progress.status = MIGRATION_SETUP;
    pthread_mutex_init(&source->lock, NULL);
    pthread_cond_init(&source->settled, NULL);
    rate_init(&source->rate, parameters->max_bandwidth);
    *ret_source = source;
    r = -pthread_create(&source->thread, NULL, source_thread, source);
    if (r == 0)
        return 0;
    source->thread = 0;
    migration_source_free(source);
    *ret_source = NULL;
    return err_set(err, r, "cannot start a thread for the migration: %s", strerror(-r));
}

void migration_source_free(struct migration_source *source)
{
    if (source == NULL)
        return;
    pthread_mutex_lock(&source->lock);
    source->ending = true;
    source->cancel = true;
    if (source->link != NULL)
        link_break(source->link);
    if (source->pages != NULL)
        channel_break(source->pages);
    pthread_cond_broadcast(&source->settled);
    pthread_mutex_unlock(&source->lock);
    if (source->thread != 0)
        pthread_join(source->thread, NULL);
    source_postcopy_abandon(source);
    source_storage_end(source);
    channel_free(source->pages);
    link_free(source->link);
    delta_cache_free(source->delta);
    tls_free(source->tls);
    rate_fini(&source->rate);
    pthread_cond_destroy(&source->settled);
    pthread_mutex_destroy(&source->lock);
    free(source->bitmap);
    free(source->bitmap_late);
    free(source->fetched);
    free(source->written);
    free(source);
}

int migration_source_cancel(struct migration_source *source, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&source->lock);
    if (source->committed)
        r = err_set(err, -EBUSY, "the handover is under way: it can't be cancelled any more");
    else if (!source->cancel) {
        source->cancel = true;
        if (source->link != NULL)
            link_break(source->link);
    }
    pthread_mutex_unlock(&source->lock);
    return r;
}

int migration_source_start_postcopy(struct migration_source *source, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&source->lock);
    if (source->pages == NULL || source->progress.status != MIGRATION_ACTIVE)
        r = err_set(err, -EINVAL,
                    "post-copy can begin in a migration that is active and was begun with the capability postcopy-ram");
    else {
        source->switching = true;
        link_interrupt(source->link);
        source->rate.limit = 0; /* what is under way goes as fast as it can */
    }
    pthread_mutex_unlock(&source->lock);
    return r;
}

int migration_source_pause(struct migration_source *source, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&source->lock);
    if (source->progress.status != MIGRATION_POSTCOPY || source->pages == NULL)
        r = err_set(err, -EINVAL, "only post-copy can be paused, and the migration is %s",
                    migration_status_name(source->progress.status));
    else
        channel_break(source->pages);
    pthread_mutex_unlock(&source->lock);
    return r;
}

int migration_source_resume(struct migration_source *source, const struct address *address, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&source->lock);
    if (source->progress.status != MIGRATION_POSTCOPY_PAUSED || source->resume)
        r = err_set(err, -EINVAL, "there is nothing to resume: the migration is %s",
                    migration_status_name(source->progress.status));
    else {
        source->resume = true;
        source->resume_address = *address;
        pthread_cond_broadcast(&source->settled);
    }
    pthread_mutex_unlock(&source->lock);
    return r;
}

int migration_source_settle(struct migration_source *source, bool run_here, struct err *err)
{
    enum migration_status status;
    int r = 0;

    pthread_mutex_lock(&source->lock);
    status = source->progress.status;
    if (status == MIGRATION_POSTCOPY_PAUSED && run_here)
        r = err_set(err, -EINVAL, "the VM runs on the destination, and memory that it has written since is there");
    else if ((status != MIGRATION_UNSETTLED && status != MIGRATION_POSTCOPY_PAUSED) ||
             source->settlement != SETTLE_NOTHING || source->resume)
        r = err_set(err, -EINVAL, "there is nothing to settle: the migration is %s", migration_status_name(status));
    else
        source->settlement = run_here ? SETTLE_RUN : SETTLE_DISCARD;
    pthread_cond_signal(&source->settled);
    pthread_mutex_unlock(&source->lock);
    return r;
}

void migration_source_set_parameters(struct migration_source *source, const struct migration_parameters *parameters)
{
    bool storage;

    pthread_mutex_lock(&source->lock);
    storage = source->parameters.storage; /* it was begun with it, or without */
    source->parameters = *parameters;
    source->parameters.storage = storage;
    source->rate.limit = parameters->max_bandwidth;
    pthread_mutex_unlock(&source->lock);
}

const struct migration_progress *migration_source_progress(const struct migration_source *source)
{
    return &source->progress;
}

void migration_source_message(struct migration_source *source, char *ret_text, size_t size)
{
    pthread_mutex_lock(&source->lock);
    text_format(ret_text, size, "%s", source->message);
    pthread_mutex_unlock(&source->lock);
}
