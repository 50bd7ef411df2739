/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's stages transfer memory, stop and transfer state. */
#include <errno.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "memory/memory.h"
#include "migration/source_internal.h"

#define FLUSH_QUICK_NS 3000000
#define LOOK_EVERY_NS 50000000         /* between two looks at the log within a round */
#define LOOK_SHARE 20                  /* of the time at most, for looking */
#define STOPS_MAX 3                    /* behind the last one the guest does not run on here, whatever is left */
#define LOOK_LEAST (UINT64_C(8) << 20) /* bytes still to be sent that make a look worth while */

int source_fetch(struct migration_source *source, uint64_t *bitmap, uint64_t *ret_bytes, struct err *err)
{
    uint64_t pages;
    int r = source->machine.engine_type->dirty_fetch(source->machine.vm, bitmap, &pages, err);

    if (r == 0)
        *ret_bytes = pages * MEMORY_PAGE_SIZE;
    return r;
}

/* What was dirtied and is still to be sent in this round need not be sent again: it is read later than this. */
static int look(void *ctx)
{
    struct migration_source *source = ctx;
    int64_t start = host_monotonic_ns();
    uint64_t bytes;
    size_t done;
    int r;

    if (start < source->look_ns || source->progress.remaining < LOOK_LEAST || source->switching)
        return 0;
    r = source_fetch(source, source->fetched, &bytes, NULL);
    if (r < 0)
        return r;
    done = link_done(source->link);
    for (size_t i = 0; i < memory_bitmap_words(source->machine.memory); i++) {
        source->written[i] |= source->fetched[i];
        source->bitmap_late[i] |= source->fetched[i] & ~(i >= done ? source->bitmap[i] : 0);
    }
    source->look_ns = host_monotonic_ns() + LOOK_EVERY_NS;
    source->look_ns += (host_monotonic_ns() - start) * LOOK_SHARE;
    return 0;
}

/* Sends a round; behind it everything is on its way, not yet in place. */
static int send_round(struct migration_source *source, uint64_t bytes, bool limited, int64_t *ret_waited_ns,
                      struct err *err)
{
    int64_t waited_ns;
    int r;

    source->progress.remaining = bytes;
    source->progress.rounds = ++source->round;
    source->machine.passed(source->machine.ctx, source->round);
    r = source_storage_send(source, limited ? &source->rate : NULL, &waited_ns, err);
    if (r < 0)
        return r;
    source->look_ns = host_monotonic_ns() + LOOK_EVERY_NS;
    r = link_round(source->link, source->bitmap, source->round, limited ? &source->rate : NULL, source->round == 1,
                   limited ? look : NULL, source, ret_waited_ns);
    *ret_waited_ns += waited_ns;
    if (r < 0)
        return source_explain(source, r, err);
    memset(source->bitmap, 0, link_done(source->link) * sizeof(uint64_t)); /* an interrupted one leaves the rest */
    return 0;
}

/* The log's pages become those to be sent next, with those that were found dirtied in between. ret_written: bytes that
 * were dirtied since this was called last. */
static int collect(struct migration_source *source, uint64_t *ret_bytes, uint64_t *ret_written, struct err *err)
{
    uint64_t bytes, written = 0;
    int r = source_fetch(source, source->fetched, &bytes, err);

    if (r < 0)
        return r;
    bytes = 0;
    for (size_t i = 0; i < memory_bitmap_words(source->machine.memory); i++) {
        source->bitmap[i] |= source->bitmap_late[i] | source->fetched[i];
        source->bitmap_late[i] = 0;
        written += (uint64_t)__builtin_popcountll(source->written[i] | source->fetched[i]) * MEMORY_PAGE_SIZE;
        source->written[i] = 0;
        bytes += (uint64_t)__builtin_popcountll(source->bitmap[i]) * MEMORY_PAGE_SIZE;
    }
    *ret_bytes = bytes;
    *ret_written = written;
    return 0;
}

static int await_round(struct migration_source *source, int timeout_ms, struct err *err)
{
    struct message message;
    int r = source_expect(source, MESSAGE_ROUND_DONE, timeout_ms, &message, err);

    if (r == 0 && message.argument != source->round)
        r = err_set(err, -EBADMSG, "the destination is done with round %u, and this was round %u", message.argument,
                    source->round);
    return r;
}

static uint64_t pages_done(const struct migration_progress *progress)
{
    return progress->normal + progress->delta_pages + progress->delta_same;
}

static int measured_round(struct migration_source *source, uint64_t bytes, struct round *ret_round, struct err *err)
{
    int64_t start = host_monotonic_ns(), waited_ns = 0;
    uint64_t sent = link_sent(source->link), pages = pages_done(&source->progress), dirty = 0, written = 0;
    uint64_t disks = source->progress.disk_remaining;
    int r = send_round(source, bytes, true, &waited_ns, err);

    if (r == 0)
        r = await_round(source, -1, err);
    ret_round->plain = disks - source->progress.disk_remaining;
    if (r == 0 && !source->switching)
        r = collect(source, &dirty, &written, err);
    if (r < 0)
        return r;
    ret_round->total_us = (uint64_t)(host_monotonic_ns() - start) / 1000;
    ret_round->busy_us = ret_round->total_us - (uint64_t)waited_ns / 1000;
    ret_round->sent = link_sent(source->link) - sent;
    ret_round->plain += (pages_done(&source->progress) - pages) * MEMORY_PAGE_SIZE;
    ret_round->memory = dirty;
    ret_round->dirty = dirty + (source->switching ? 0 : source_storage_fetch(source));
    ret_round->written = written + (ret_round->dirty - dirty);
    return 0;
}

static enum convergence_step decide(struct migration_source *source, const struct round *round)
{
    struct convergence *c = &source->convergence;
    struct migration_progress *progress = &source->progress;
    struct migration_parameters parameters = source_parameters(source);
    enum convergence_step step;

    step = convergence_decide(c, round, &parameters);
    progress->remaining = round->memory;
    progress->bandwidth = c->bandwidth;
    progress->dirty_rate = round->total_us > 0 ? round->written / MEMORY_PAGE_SIZE * 1000000 / round->total_us : 0;
    progress->expected_downtime_us = c->expected_us;
    if (progress->throttle != c->throttle) {
        progress->throttle = c->throttle;
        source->machine.throttle(source->machine.ctx, c->throttle);
    }
    return step;
}

/* ret_bytes: of the first round. */
static int begin_memory(struct migration_source *source, uint64_t *ret_bytes, struct err *err)
{
    const struct migration_machine *machine = &source->machine;
    uint64_t total = machine->memory->size >> MEMORY_PAGE_SHIFT;
    int r = source_storage_copy(source, err);

    if (r == 0)
        r = machine->engine_type->dirty_start(machine->vm, err);
    if (r < 0)
        return r;
    source->logging = true;
    /* Behind the start of the log: a page that comes into use from now on is in it. */
    *ret_bytes = pages_in_use(machine->memory, source->bitmap) * MEMORY_PAGE_SIZE;
    source->progress.duplicate = total - *ret_bytes / MEMORY_PAGE_SIZE;
    return 0;
}

static int transfer_memory(struct migration_source *source, uint64_t bytes, struct err *err)
{
    enum convergence_step step = CONVERGENCE_ITERATE;
    bool flushed = false;
    int r = 0;

    source->progress.stage = STAGE_TRANSFER_MEMORY;
    while (r == 0 && step == CONVERGENCE_ITERATE && !source->switching) {
        struct round round;

        r = measured_round(source, bytes, &round, err);
        if (r == 0 && !source->switching) {
            step = decide(source, &round);
            bytes = round.memory;
        }
        if (r == 0 && step == CONVERGENCE_STOP && !flushed && !source->switching) {
            int64_t start = host_monotonic_ns();

            source->machine.flush_disks(source->machine.ctx);
            flushed = true;
            if (host_monotonic_ns() - start > FLUSH_QUICK_NS) /* memory went on changing: one more round */
                step = CONVERGENCE_ITERATE;
        }
    }
    return r;
}

/* ret_overruns: what was dirtied until all CPUs stood, which takes its time where others use the processors, is too much. */
static int stop(struct migration_source *source, bool *ret_overruns, struct err *err)
{
    struct migration_parameters parameters = source_parameters(source);
    uint64_t bytes, written;
    int r;

    source->progress.stage = STAGE_STOP;
    source->progress.stop_ns = source->part_ns = host_monotonic_ns();
    source->progress.transferred_stop = source->progress.transferred;
    r = source->machine.stop(source->machine.ctx, &source->running, err);
    if (r < 0)
        return r;
    source->stopped = true;
    source_end_part(source, DOWNTIME_CPUS);
    r = collect(source, &bytes, &written, err);
    if (r < 0)
        return r;
    source->progress.remaining = bytes;
    bytes += source_storage_fetch(source);
    *ret_overruns = source->running && !source->switching && convergence_overruns(&source->convergence, bytes, &parameters);
    return 0;
}

static void run_on(struct migration_source *source)
{
    source->machine.resume(source->machine.ctx);
    source->stopped = false;
}

static int begin_postcopy(struct migration_source *source, struct err *err)
{
    int64_t waited_ns;
    int r = source_storage_send(source, NULL, &waited_ns, err);

    return r == 0 ? source_postcopy_begin(source, err) : r;
}

static int transfer_state(struct migration_source *source, struct err *err)
{
    struct buffer state = BUFFER_INIT(STREAM_STATE_MAX);
    struct message message;
    int64_t waited_ns;
    bool late = source->switching;
    int r = late ? begin_postcopy(source, err) : send_round(source, source->progress.remaining, false, &waited_ns, err);

    source_end_part(source, DOWNTIME_MEMORY);
    if (r == 0)
        r = source->machine.save(source->machine.ctx, &state, err);
    if (r == 0) {
        source->state_sent = true;
        r = stream_send(link_first(source->link), MESSAGE_STATE, source->running, state.data, state.size, NULL);
        if (r < 0)
            source_explain(source, r, err);
    }
    buffer_fini(&state);
    source_end_part(source, DOWNTIME_STATE);
    if (r == 0 && !late)
        r = await_round(source, SOURCE_ANSWER_MS, err);
    if (r == 0)
        r = source_expect(source, MESSAGE_READY, SOURCE_ANSWER_MS, &message, err);
    source_end_part(source, DOWNTIME_DESTINATION);
    return r;
}

int source_transfer(struct migration_source *source, struct err *err)
{
    uint64_t bytes = 0;
    bool overruns = true;
    int r;

    source->progress.stage = STAGE_TRANSFER_MEMORY;
    source_set_status(source, MIGRATION_ACTIVE);
    r = begin_memory(source, &bytes, err);
    for (unsigned stops = 1; r == 0 && overruns; stops++) {
        if (stops > 1) {
            run_on(source);
            bytes = source->progress.remaining;
        }
        r = transfer_memory(source, bytes, err);
        if (r == 0)
            r = stop(source, &overruns, err);
        overruns = overruns && stops < STOPS_MAX;
    }
    if (r < 0)
        return r;
    source_set_status(source, MIGRATION_DEVICE);
    source->progress.stage = STAGE_TRANSFER_STATE;
    return transfer_state(source, err);
}
