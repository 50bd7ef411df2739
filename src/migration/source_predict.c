/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a migration would take: the way and the guest are measured, nothing moves. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "memory/memory.h"
#include "migration/channel.h"
#include "migration/source_internal.h"

#define PROBE_SIZE (1u << 20) /* bytes of one PROBE, */
#define PROBE_LEAST 1024      /* less under a limit, so that it does not wait for long */
#define PROBE_MAX (128u << 20)
#define PROBE_MS 500
#define OBSERVE_MS 1000
#define LOOK_MS 50

static size_t probe_size(struct migration_source *source)
{
    uint64_t limit = source_parameters(source).max_bandwidth, quarter = limit / 4; /* of a second's */

    if (limit == 0 || quarter > PROBE_SIZE)
        return PROBE_SIZE;
    return quarter > PROBE_LEAST ? quarter : PROBE_LEAST;
}

/* How fast the way is. */
static int probe(struct migration_source *source, uint64_t *ret_bandwidth, struct err *err)
{
    struct channel *channel = link_first(source->link);
    int64_t start = host_monotonic_ns(), waited_ns = 0, spent_ns;
    uint8_t *bytes = calloc(1, PROBE_SIZE);
    struct message message;
    size_t size = probe_size(source);
    uint64_t sent = 0;
    int r = bytes == NULL ? -ENOMEM : 0;

    while (r == 0 && sent < PROBE_MAX && host_monotonic_ns() - start < PROBE_MS * INT64_C(1000000)) {
        waited_ns += rate_wait(&source->rate, size, &source->cancel);
        r = stream_send(channel, MESSAGE_PROBE, 0, bytes, size, NULL);
        sent += size;
    }
    free(bytes);
    if (r == 0)
        r = stream_send(channel, MESSAGE_ROUND, ++source->round, NULL, 0, NULL);
    if (r < 0)
        return source_explain(source, r, err);
    r = source_expect(source, MESSAGE_ROUND_DONE, SOURCE_ANSWER_MS, &message, err);
    spent_ns = host_monotonic_ns() - start - waited_ns;
    if (r == 0)
        *ret_bandwidth = sent * 1000000 / ((uint64_t)(spent_ns > 1000 ? spent_ns : 1000) / 1000);
    return r;
}

/* How fast the guest dirties memory. */
static int observe(struct migration_source *source, struct dirtying *ret_dirtying, struct err *err)
{
    const struct migration_machine *machine = &source->machine;
    int64_t start = host_monotonic_ns(), spent_ns;
    uint64_t all = 0, different = 0, bytes;
    int r = machine->engine_type->dirty_start(machine->vm, err);

    if (r < 0)
        return r;
    for (unsigned i = 0; r == 0 && i < OBSERVE_MS / LOOK_MS && !source->cancel; i++) {
        usleep(LOOK_MS * 1000);
        r = source_fetch(source, source->fetched, &bytes, err);
        if (r < 0)
            break;
        all += bytes;
        for (size_t k = 0; k < memory_bitmap_words(machine->memory); k++)
            source->written[k] |= source->fetched[k];
    }
    spent_ns = host_monotonic_ns() - start;
    machine->engine_type->dirty_stop(machine->vm);
    for (size_t k = 0; k < memory_bitmap_words(machine->memory); k++)
        different += (uint64_t)__builtin_popcountll(source->written[k]) * MEMORY_PAGE_SIZE;
    ret_dirtying->at_once = (uint64_t)((unsigned __int128)all * NANOSECONDS_PER_SECOND / (uint64_t)spent_ns);
    ret_dirtying->in_second = (uint64_t)((unsigned __int128)different * NANOSECONDS_PER_SECOND / (uint64_t)spent_ns);
    return r;
}

/* Nothing is known of what the destination has already: as if it had nothing. */
static uint64_t disk_ms(uint64_t bytes, uint64_t bandwidth, const struct migration_parameters *parameters)
{
    uint64_t limit = parameters->max_bandwidth, rate = limit != 0 && limit < bandwidth ? limit : bandwidth;

    return rate > 0 ? (uint64_t)((unsigned __int128)bytes * 1000 / rate) : 0;
}

int source_predict(struct migration_source *source, struct err *err)
{
    struct migration_progress *progress = &source->progress;
    struct migration_parameters parameters = source_parameters(source);
    int64_t setup_ns = host_monotonic_ns() - progress->start_ns;
    struct prediction prediction;
    struct dirtying dirtying = {0};
    uint64_t bandwidth = 0, disk = 0;
    int r = probe(source, &bandwidth, err);

    if (r == 0)
        r = observe(source, &dirtying, err);
    if (r == 0)
        r = source_storage_measure(source, &disk, err);
    if (r == 0 && source->cancel)
        r = stream_lost(err, -ECANCELED, "destination");
    if (r < 0)
        return r;
    progress->remaining = pages_in_use(source->machine.memory, source->bitmap) * MEMORY_PAGE_SIZE;
    convergence_predict(progress->remaining, bandwidth, source->convergence.round_trip_us, &dirtying, &parameters, &prediction);
    progress->bandwidth = bandwidth;
    progress->dirty_rate = dirtying.in_second / MEMORY_PAGE_SIZE;
    progress->predicted_disk = disk;
    progress->predicted_ms = (uint64_t)setup_ns / 1000000 + prediction.total_ms + disk_ms(disk, bandwidth, &parameters);
    progress->predicted_rounds = prediction.rounds;
    progress->predicted_throttle = prediction.throttle;
    progress->predicted_downtime_ms = prediction.downtime_ms;
    progress->predicted = true;
    return 0;
}
