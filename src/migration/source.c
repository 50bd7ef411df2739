/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source of a migration: the five stages, and what it does on every loss (docs/formats/migration.md, "The source").
 *
 * Long because the course and its losses are told in one place, by one thread. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/text.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/convergence.h"
#include "migration/link.h"
#include "migration/migration.h"
#include "migration/pages_out.h"
#include "migration/stream.h"

#define CONNECT_MS 10000
#define SETUP_MS 30000
#define ANSWER_MS 30000
#define TAKE_BACK_MS 10000
#define PROBE_SIZE (1u << 20) /* bytes of one PROBE */
#define PROBE_MAX (128u << 20)
#define PROBE_MS 500
#define OBSERVE_MS 1000

enum settlement { SETTLE_NOTHING, SETTLE_RUN, SETTLE_DISCARD };

struct migration_source {
    struct migration_machine machine;
    struct address address;
    bool dry_run;
    pthread_t thread;
    struct migration_progress progress;

    pthread_mutex_t lock; /* of the members up to `message` */
    pthread_cond_t settled;
    struct migration_parameters parameters;
    enum settlement settlement;
    bool committed;
    struct link *link; /* set once */
    char message[ERR_MESSAGE_MAX + 100];
    _Atomic bool cancel, ending;

    /* The thread's own: */
    char session[STREAM_SESSION_SIZE + 1];
    struct rate rate;
    struct convergence convergence;
    uint64_t *bitmap, *bitmap_late;
    unsigned round;
    bool logging, stopped, running;
    bool offered; /* STATE went out: a copy of the guest may wait on the destination */
};

static void set_stage(struct migration_source *source, enum migration_stage stage)
{
    source->progress.stage = stage;
}

static void set_status(struct migration_source *source, enum migration_status status)
{
    source->progress.status = status;
    source->machine.changed(source->machine.ctx, status);
}

static void set_message(struct migration_source *source, const char *text)
{
    pthread_mutex_lock(&source->lock);
    text_format(source->message, sizeof(source->message), "%s", text);
    pthread_mutex_unlock(&source->lock);
}

/* --- answers --------------------------------------------------------------------------------------------------------------- */

static int refused(struct channel *channel, const struct message *message, struct err *err)
{
    struct buffer text = BUFFER_INIT(STREAM_SENTENCE_MAX);
    int r = stream_receive_body(channel, message, &text, err);

    if (r == 0)
        r = err_set(err, -EREMOTEIO, "the destination refuses: %s", text.data != NULL ? (const char *)text.data : "it says no more");
    buffer_fini(&text);
    return r;
}

/* The next message from the destination, of that type or REFUSE. -EREMOTEIO: refused. */
static int expect(struct migration_source *source, enum message_type type, int timeout_ms, struct message *ret_message, struct err *err)
{
    struct channel *channel = link_first(source->link);
    int r = channel_wait(channel, timeout_ms);

    if (r == -ETIMEDOUT)
        return err_set(err, r, "the destination sent no %s in %d s", message_name(type), timeout_ms / 1000);
    r = stream_receive(channel, false, ret_message, err);
    if (r < 0)
        return r;
    if (ret_message->type == MESSAGE_REFUSE)
        return refused(channel, ret_message, err);
    if (ret_message->type != type)
        return err_set(err, -EBADMSG, "the destination sent %s instead of %s", message_name(ret_message->type), message_name(type));
    return 0;
}

/* A failed send: perhaps the destination said why before it hung up. */
static int explain(struct migration_source *source, int r, struct err *err)
{
    struct message message;

    if (atomic_load(&source->cancel))
        return stream_lost(err, -ECANCELED, "destination");
    if (channel_wait(link_first(source->link), 0) == 0 && expect(source, MESSAGE_REFUSE, 0, &message, err) == -EREMOTEIO)
        return -EREMOTEIO;
    return stream_lost(err, r, "destination");
}

/* --- setup ----------------------------------------------------------------------------------------------------------------- */

static int add_channel(struct migration_source *source, struct link *link, unsigned number, struct err *err)
{
    struct hello hello = {.channel = number, .version = STREAM_VERSION, .oldest = STREAM_VERSION_OLDEST,
                          .flags = source->dry_run ? SESSION_DRY_RUN : 0};
    struct channel *channel;
    int fd, r = address_connect(&source->address, CONNECT_MS, &source->cancel, &fd, err);

    if (r < 0)
        return r;
    r = channel_new(fd, &channel);
    memcpy(hello.session, source->session, sizeof(hello.session));
    if (r == 0 && (r = stream_send_hello(channel, &hello)) < 0)
        channel_free(channel);
    if (r == 0)
        r = link_add(link, channel);
    return r < 0 ? stream_lost(err, r, "destination") : 0;
}

static void name_session(struct migration_source *source)
{
    uint8_t bytes[STREAM_SESSION_SIZE / 2];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        store_le64(bytes, (uint64_t)host_monotonic_ns());
    for (unsigned i = 0; i < sizeof(bytes); i++)
        snprintf(source->session + i * 2, 3, "%02x", bytes[i]);
}

static int open_link(struct migration_source *source, struct err *err)
{
    struct link *link;
    int r = link_new(source->machine.memory, &source->progress, &source->cancel, &link);

    if (r < 0)
        return err_set(err, r, "out of memory");
    name_session(source);
    r = add_channel(source, link, 0, err);
    pthread_mutex_lock(&source->lock);
    if (r == 0 && !source->cancel)
        source->link = link;
    pthread_mutex_unlock(&source->lock);
    if (source->link == NULL) {
        link_free(link);
        return r < 0 ? r : err_set(err, -ECANCELED, "it was cancelled");
    }
    return 0;
}

static int greet(struct migration_source *source, struct err *err)
{
    int64_t start = host_monotonic_ns();
    struct message message;
    int r = expect(source, MESSAGE_WELCOME, SETUP_MS, &message, err);

    if (r < 0)
        return r;
    if (message.argument < STREAM_VERSION_OLDEST || message.argument > STREAM_VERSION)
        return err_set(err, -EBADMSG, "the destination chose version %u of the stream; this Ferry speaks %u to %u",
                       message.argument, STREAM_VERSION_OLDEST, STREAM_VERSION);
    source->convergence.round_trip_us = (uint64_t)(host_monotonic_ns() - start) / 1000;
    return 0;
}

/* ret_channels: as many as the destination waits for. */
static int introduce(struct migration_source *source, unsigned wanted, unsigned *ret_channels, struct err *err)
{
    struct buffer description = BUFFER_INIT(STREAM_DESCRIPTION_MAX), other = BUFFER_INIT(STREAM_DESCRIPTION_MAX);
    struct message message;
    int r = source->machine.describe(source->machine.ctx, &description, err);

    if (r == 0) {
        r = stream_send(link_first(source->link), MESSAGE_DESCRIPTION, wanted, description.data, description.size, NULL);
        if (r < 0)
            explain(source, r, err);
    }
    if (r == 0)
        r = expect(source, MESSAGE_ACCEPT, SETUP_MS, &message, err);
    if (r == 0)
        r = stream_receive_body(link_first(source->link), &message, &other, err);
    if (r == 0 && (message.argument < 1 || message.argument > wanted))
        r = err_set(err, -EBADMSG, "the destination wants %u channels instead of at most %u", message.argument, wanted);
    if (r == 0)
        r = source->machine.examine(source->machine.ctx, other.data, other.size, err);
    if (r == 0)
        *ret_channels = message.argument;
    buffer_fini(&description);
    buffer_fini(&other);
    return r;
}

static unsigned channels_wanted(struct migration_source *source)
{
    unsigned channels;

    pthread_mutex_lock(&source->lock);
    channels = source->parameters.multifd ? source->parameters.channels : 1;
    pthread_mutex_unlock(&source->lock);
    return source->address.kind == ADDRESS_FD ? 1 : channels;
}

static int setup(struct migration_source *source, struct err *err)
{
    size_t words = memory_bitmap_words(source->machine.memory);
    unsigned channels = 0, wanted = channels_wanted(source);
    int r;

    source->bitmap = calloc(words, sizeof(uint64_t));
    source->bitmap_late = calloc(words, sizeof(uint64_t));
    if (source->bitmap == NULL || source->bitmap_late == NULL)
        return err_set(err, -ENOMEM, "no memory for the map of dirty pages");
    r = open_link(source, err);
    if (r == 0)
        r = greet(source, err);
    if (r == 0)
        r = introduce(source, wanted, &channels, err);
    for (unsigned i = 1; r == 0 && i < channels; i++)
        r = add_channel(source, source->link, i, err);
    return r;
}

/* --- transfer memory ------------------------------------------------------------------------------------------------------- */

static int fetch(struct migration_source *source, uint64_t *bitmap, uint64_t *ret_bytes, struct err *err)
{
    uint64_t pages;
    int r = source->machine.engine_type->dirty_fetch(source->machine.vm, bitmap, &pages, err);

    if (r == 0)
        *ret_bytes = pages * MEMORY_PAGE_SIZE;
    return r;
}

/* Sends a round; behind it everything is on its way, not yet in place. */
static int send_round(struct migration_source *source, uint64_t bytes, bool limited, int64_t *ret_waited_ns, struct err *err)
{
    int r;

    source->progress.remaining = bytes;
    source->progress.rounds = ++source->round;
    source->machine.passed(source->machine.ctx, source->round);
    r = link_round(source->link, source->bitmap, source->round, limited ? &source->rate : NULL, source->round == 1, ret_waited_ns);
    return r < 0 ? explain(source, r, err) : 0;
}

static int await_round(struct migration_source *source, struct err *err)
{
    struct message message;
    int r = expect(source, MESSAGE_ROUND_DONE, -1, &message, err);

    if (r == 0 && message.argument != source->round)
        r = err_set(err, -EBADMSG, "the destination is done with round %u, and this was round %u", message.argument, source->round);
    return r;
}

static int measured_round(struct migration_source *source, uint64_t bytes, struct round *ret_round, struct err *err)
{
    int64_t start = host_monotonic_ns(), waited_ns = 0;
    uint64_t sent = link_sent(source->link), dirty = 0;
    int r = send_round(source, bytes, true, &waited_ns, err);

    if (r == 0)
        r = await_round(source, err);
    if (r == 0)
        r = fetch(source, source->bitmap, &dirty, err);
    if (r < 0)
        return r;
    ret_round->total_us = (uint64_t)(host_monotonic_ns() - start) / 1000;
    ret_round->busy_us = ret_round->total_us - (uint64_t)waited_ns / 1000;
    ret_round->sent = link_sent(source->link) - sent;
    ret_round->dirty = dirty;
    return 0;
}

static enum convergence_step decide(struct migration_source *source, const struct round *round)
{
    struct convergence *c = &source->convergence;
    struct migration_progress *progress = &source->progress;
    struct migration_parameters parameters;
    enum convergence_step step;

    pthread_mutex_lock(&source->lock);
    parameters = source->parameters;
    pthread_mutex_unlock(&source->lock);
    step = convergence_decide(c, round, &parameters);
    progress->remaining = round->dirty;
    progress->bandwidth = c->bandwidth;
    progress->dirty_rate = round->total_us > 0 ? round->dirty / MEMORY_PAGE_SIZE * 1000000 / round->total_us : 0;
    progress->expected_downtime_us = c->expected_us;
    if (progress->throttle != c->throttle) {
        progress->throttle = c->throttle;
        source->machine.throttle(source->machine.ctx, c->throttle);
    }
    return step;
}

static int transfer_memory(struct migration_source *source, struct err *err)
{
    const struct migration_machine *machine = &source->machine;
    uint64_t total = machine->memory->size >> MEMORY_PAGE_SHIFT, bytes;
    enum convergence_step step = CONVERGENCE_ITERATE;
    bool flushed = false;
    int r = machine->engine_type->dirty_start(machine->vm, err);

    if (r < 0)
        return r;
    source->logging = true;
    /* Behind the start of the log: a page that comes into use from now on is in it. */
    bytes = pages_in_use(machine->memory, source->bitmap) * MEMORY_PAGE_SIZE;
    source->progress.duplicate = total - bytes / MEMORY_PAGE_SIZE;
    while (r == 0 && step == CONVERGENCE_ITERATE) {
        struct round round;

        r = measured_round(source, bytes, &round, err);
        if (r == 0) {
            step = decide(source, &round);
            bytes = round.dirty;
        }
        if (r == 0 && step == CONVERGENCE_STOP && !flushed) { /* memory goes on changing meanwhile: one more round */
            machine->flush_disks(machine->ctx);
            flushed = true;
            step = CONVERGENCE_ITERATE;
        }
    }
    return r;
}

/* --- stop, transfer state -------------------------------------------------------------------------------------------------- */

static int stop(struct migration_source *source, struct err *err)
{
    uint64_t bytes, late;
    int r;

    source->progress.stop_ns = host_monotonic_ns();
    r = source->machine.stop(source->machine.ctx, &source->running, err);
    if (r < 0)
        return r;
    source->stopped = true;
    r = fetch(source, source->bitmap_late, &late, err);
    if (r < 0)
        return r;
    bytes = 0;
    for (size_t i = 0; i < memory_bitmap_words(source->machine.memory); i++) {
        source->bitmap[i] |= source->bitmap_late[i];
        bytes += (uint64_t)__builtin_popcountll(source->bitmap[i]) * MEMORY_PAGE_SIZE;
    }
    source->progress.remaining = bytes;
    return 0;
}

static int transfer_state(struct migration_source *source, struct err *err)
{
    struct buffer state = BUFFER_INIT(STREAM_STATE_MAX);
    struct message message;
    int64_t waited_ns;
    int r = send_round(source, source->progress.remaining, false, &waited_ns, err);

    if (r == 0)
        r = source->machine.save(source->machine.ctx, &state, err);
    if (r == 0) {
        source->offered = true;
        r = stream_send(link_first(source->link), MESSAGE_STATE, source->running, state.data, state.size, NULL);
        if (r < 0)
            explain(source, r, err);
    }
    buffer_fini(&state);
    if (r == 0)
        r = await_round(source, err);
    return r < 0 ? r : expect(source, MESSAGE_READY, ANSWER_MS, &message, err);
}

/* --- the handover ---------------------------------------------------------------------------------------------------------- */

/* The other side may be a moment behind in letting go. */
static int take_disks_back(struct migration_source *source, struct err *err)
{
    int64_t deadline = host_monotonic_ns() + TAKE_BACK_MS * INT64_C(1000000);
    int r;

    while ((r = source->machine.take_disks(source->machine.ctx, err)) == -EBUSY && host_monotonic_ns() < deadline && !source->ending)
        usleep(100000);
    return r;
}

enum verdict { VERDICT_HERE, VERDICT_THERE, VERDICT_NOBODY_KNOWS };

/* Before the guest runs here again, without an answer to COMMIT being owed. The decision is for the copy that may wait on the
 * destination: when this process dies later, nothing else tells that the disks have gone on without it. */
static enum verdict run_on(struct migration_source *source, struct err *err)
{
    struct err trouble = ERR_INIT;
    char text[ERR_MESSAGE_MAX];
    bool mine = true;
    int r = source->offered ? source->machine.decide(source->machine.ctx, source->session, &mine, &trouble) : 0;

    if (r == 0 && !mine)
        return VERDICT_THERE; /* somebody settled it there meanwhile */
    if (r < 0 && r != -ENOENT) {
        text_format(text, sizeof(text), "%s", err->message);
        err_set(err, err->code, "%s; %s, so a copy that waits on the destination must not be told to run", text, trouble.message);
    }
    return take_disks_back(source, err) == 0 ? VERDICT_HERE : VERDICT_NOBODY_KNOWS;
}

static enum verdict arbitrate(struct migration_source *source, struct err *err)
{
    struct err trouble = ERR_INIT;
    bool mine = false;
    int r = source->machine.decide(source->machine.ctx, source->session, &mine, &trouble);

    if (r == 0 && !mine)
        return VERDICT_THERE;
    if (r == 0 && take_disks_back(source, &trouble) == 0)
        return VERDICT_HERE;
    if (r != -ENOENT) {
        char text[ERR_MESSAGE_MAX];

        text_format(text, sizeof(text), "%s", err->message);
        err_set(err, err->code, "%s, and %s", text, trouble.message);
    }
    return VERDICT_NOBODY_KNOWS;
}

/* COMMIT is out, or part of it. */
static enum verdict await_taken(struct migration_source *source, struct err *err)
{
    struct message message;
    int r = expect(source, MESSAGE_TAKEN, ANSWER_MS, &message, err);

    if (r == 0)
        return VERDICT_THERE;
    if (r == -EREMOTEIO)
        return run_on(source, err);
    link_break(source->link); /* an answer that comes too late must not be believed */
    return arbitrate(source, err);
}

static bool begin_commit(struct migration_source *source)
{
    bool go;

    pthread_mutex_lock(&source->lock);
    go = !source->cancel && !source->ending;
    source->committed = go;
    pthread_mutex_unlock(&source->lock);
    return go;
}

/* Sends COMMIT; from there on the guest stands here until it is known that it is not the destination's. */
static enum verdict hand_over(struct migration_source *source, struct err *err)
{
    bool untouched = false;
    int r = source->machine.release_disks(source->machine.ctx, err);

    if (r < 0) {
        stream_send(link_first(source->link), MESSAGE_CANCEL, 0, err->message, strnlen(err->message, STREAM_SENTENCE_MAX), NULL);
        return run_on(source, err);
    }
    if (!begin_commit(source)) {
        stream_lost(err, -ECANCELED, "destination");
        return run_on(source, err);
    }
    r = stream_send(link_first(source->link), MESSAGE_COMMIT, 0, NULL, 0, &untouched);
    if (r == 0)
        return await_taken(source, err);
    stream_lost(err, r, "destination");
    link_break(source->link);
    if (untouched)
        return run_on(source, err);
    return arbitrate(source, err);
}

static enum settlement await_settlement(struct migration_source *source)
{
    enum settlement settlement;

    pthread_mutex_lock(&source->lock);
    while (source->settlement == SETTLE_NOTHING && !source->ending)
        pthread_cond_wait(&source->settled, &source->lock);
    settlement = source->settlement;
    source->settlement = SETTLE_NOTHING;
    pthread_mutex_unlock(&source->lock);
    return settlement;
}

static enum verdict settle(struct migration_source *source, struct err *err)
{
    char text[ERR_MESSAGE_MAX + 100];

    for (;;) {
        text_format(text, sizeof(text), "%s; whether the VM runs on the destination can't be told from here, so it stays paused: look "
                    "there, then x-ferry-migrate-settle with outcome run (it does not) or discard (it does)", err->message);
        set_message(source, text);
        set_status(source, MIGRATION_UNSETTLED);
        switch (await_settlement(source)) {
        case SETTLE_RUN:
            if (take_disks_back(source, err) == 0)
                return VERDICT_HERE;
            break;
        case SETTLE_DISCARD:
            return VERDICT_THERE;
        default:
            return VERDICT_NOBODY_KNOWS; /* the process ends */
        }
    }
}

/* --- a dry run --------------------------------------------------------------------------------------------------------------- */

/* How fast the way is. */
static int probe(struct migration_source *source, uint64_t *ret_bandwidth, struct err *err)
{
    struct channel *channel = link_first(source->link);
    int64_t start = host_monotonic_ns(), waited_ns = 0, spent_ns;
    uint8_t *bytes = calloc(1, PROBE_SIZE);
    struct message message;
    uint64_t sent = 0;
    int r = bytes == NULL ? -ENOMEM : 0;

    while (r == 0 && sent < PROBE_MAX && host_monotonic_ns() - start < PROBE_MS * INT64_C(1000000)) {
        waited_ns += rate_wait(&source->rate, PROBE_SIZE, &source->cancel);
        r = stream_send(channel, MESSAGE_PROBE, 0, bytes, PROBE_SIZE, NULL);
        sent += PROBE_SIZE;
    }
    free(bytes);
    if (r == 0)
        r = stream_send(channel, MESSAGE_ROUND, ++source->round, NULL, 0, NULL);
    if (r < 0)
        return explain(source, r, err);
    r = expect(source, MESSAGE_ROUND_DONE, SETUP_MS, &message, err);
    spent_ns = host_monotonic_ns() - start - waited_ns;
    if (r == 0)
        *ret_bandwidth = sent * 1000000 / ((uint64_t)(spent_ns > 1000 ? spent_ns : 1000) / 1000);
    return r;
}

/* How fast the guest dirties memory: bytes a second. */
static int observe(struct migration_source *source, uint64_t *ret_rate, struct err *err)
{
    const struct migration_machine *machine = &source->machine;
    int64_t start = host_monotonic_ns();
    uint64_t bytes = 0;
    int r = machine->engine_type->dirty_start(machine->vm, err);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < OBSERVE_MS / 50 && !source->cancel; i++)
        usleep(50000);
    r = fetch(source, source->bitmap_late, &bytes, err);
    machine->engine_type->dirty_stop(machine->vm);
    *ret_rate = (uint64_t)((unsigned __int128)bytes * NANOSECONDS_PER_SECOND / (uint64_t)(host_monotonic_ns() - start));
    return r;
}

static int predict(struct migration_source *source, struct err *err)
{
    struct migration_progress *progress = &source->progress;
    struct migration_parameters parameters;
    struct prediction prediction;
    uint64_t bandwidth = 0, dirty_rate = 0;
    int r = probe(source, &bandwidth, err);

    if (r == 0)
        r = observe(source, &dirty_rate, err);
    if (r == 0 && source->cancel)
        r = stream_lost(err, -ECANCELED, "destination");
    if (r < 0)
        return r;
    pthread_mutex_lock(&source->lock);
    parameters = source->parameters;
    pthread_mutex_unlock(&source->lock);
    progress->remaining = pages_in_use(source->machine.memory, source->bitmap) * MEMORY_PAGE_SIZE;
    convergence_predict(progress->remaining, bandwidth, dirty_rate, &parameters, &prediction);
    progress->bandwidth = bandwidth;
    progress->dirty_rate = dirty_rate / MEMORY_PAGE_SIZE;
    progress->predicted_ms = prediction.total_ms;
    progress->predicted_rounds = prediction.rounds;
    progress->predicted_downtime_ms = prediction.downtime_ms;
    progress->predicted = true;
    return 0;
}

static void dry_run(struct migration_source *source)
{
    struct err err = ERR_INIT;
    int r = setup(source, &err);

    if (r == 0)
        r = predict(source, &err);
    if (r < 0)
        set_message(source, err.message);
    source->progress.end_ns = host_monotonic_ns();
    set_status(source, r == 0 ? MIGRATION_NONE : r == -ECANCELED ? MIGRATION_CANCELLED : MIGRATION_FAILED);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------- */

static void finish_here(struct migration_source *source, const struct err *err)
{
    bool cancelled = source->cancel && err->code == -ECANCELED;
    char text[ERR_MESSAGE_MAX + 100];

    if (source->logging)
        source->machine.engine_type->dirty_stop(source->machine.vm);
    source->machine.throttle(source->machine.ctx, 0);
    if (source->stopped)
        source->machine.resume(source->machine.ctx);
    if (source->offered && err->code == -EREMOTEIO)
        source->machine.forget(source->machine.ctx, source->session); /* the destination has given its copy up */
    text_format(text, sizeof(text), "in stage %s: %s; the VM goes on here", migration_stage_name(source->progress.stage), err->message);
    set_message(source, text);
    source->progress.end_ns = host_monotonic_ns();
    set_status(source, cancelled ? MIGRATION_CANCELLED : MIGRATION_FAILED);
}

static void finish_there(struct migration_source *source, const struct err *err)
{
    struct migration_progress *progress = &source->progress;
    char text[ERR_MESSAGE_MAX + 100];

    progress->end_ns = host_monotonic_ns();
    progress->downtime_us = (uint64_t)(progress->end_ns - progress->stop_ns) / 1000;
    progress->remaining = 0;
    source->machine.engine_type->dirty_stop(source->machine.vm);
    source->machine.throttle(source->machine.ctx, 0);
    source->machine.gone(source->machine.ctx);
    if (err->code == 0) {
        source->machine.forget(source->machine.ctx, source->session);
    } else {
        text_format(text, sizeof(text), "the VM is the destination's, though behind the handover %s", err->message);
        set_message(source, text);
    }
    set_stage(source, STAGE_CONTINUE);
    set_status(source, MIGRATION_COMPLETED);
}

static int up_to_ready(struct migration_source *source, struct err *err)
{
    int r = setup(source, err);

    source->progress.setup_ns = host_monotonic_ns();
    if (r < 0)
        return r;
    set_stage(source, STAGE_TRANSFER_MEMORY);
    set_status(source, MIGRATION_ACTIVE);
    r = transfer_memory(source, err);
    if (r < 0)
        return r;
    set_stage(source, STAGE_STOP);
    set_status(source, MIGRATION_DEVICE);
    r = stop(source, err);
    if (r < 0)
        return r;
    set_stage(source, STAGE_TRANSFER_STATE);
    return transfer_state(source, err);
}

static void *source_thread(void *ctx)
{
    struct migration_source *source = ctx;
    struct err err = ERR_INIT;
    enum verdict verdict = VERDICT_HERE;

    pthread_setname_np(pthread_self(), "migration");
    set_status(source, MIGRATION_SETUP);
    if (source->dry_run) {
        dry_run(source);
        return NULL;
    }
    if (up_to_ready(source, &err) == 0)
        verdict = hand_over(source, &err);
    else if (source->stopped)
        verdict = run_on(source, &err);
    if (verdict == VERDICT_NOBODY_KNOWS)
        verdict = settle(source, &err);
    if (verdict == VERDICT_HERE)
        finish_here(source, &err);
    else if (verdict == VERDICT_THERE)
        finish_there(source, &err);
    return NULL;
}

int migration_source_start(const struct migration_machine *machine, const struct address *address,
                           const struct migration_parameters *parameters, bool dry_run, struct migration_source **ret_source,
                           struct err *err)
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
    pthread_cond_broadcast(&source->settled);
    pthread_mutex_unlock(&source->lock);
    if (source->thread != 0)
        pthread_join(source->thread, NULL);
    link_free(source->link);
    rate_fini(&source->rate);
    pthread_cond_destroy(&source->settled);
    pthread_mutex_destroy(&source->lock);
    free(source->bitmap);
    free(source->bitmap_late);
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

int migration_source_settle(struct migration_source *source, bool run_here, struct err *err)
{
    int r = 0;

    pthread_mutex_lock(&source->lock);
    if (source->progress.status != MIGRATION_UNSETTLED || source->settlement != SETTLE_NOTHING)
        r = err_set(err, -EINVAL, "there is nothing to settle: the migration is %s", migration_status_name(source->progress.status));
    else
        source->settlement = run_here ? SETTLE_RUN : SETTLE_DISCARD;
    pthread_cond_signal(&source->settled);
    pthread_mutex_unlock(&source->lock);
    return r;
}

void migration_source_set_parameters(struct migration_source *source, const struct migration_parameters *parameters)
{
    pthread_mutex_lock(&source->lock);
    source->parameters = *parameters;
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
