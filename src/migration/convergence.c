/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The decisions between two rounds. */
#include "migration/convergence.h"

#include "migration/parameters.h"

#define HANDOVER_US 3000        /* state, loading, waking: what is not memory */
#define NEGLIGIBLE_US 6000      /* below, another round is not worth it */
#define SHORT_US 40000          /* above, some more rounds are, even if they don't halve it */
#define IDLE_MAX 2              /* of those that bring hardly anything */
#define OVERRUN_SHARE 4         /* of the limit */
#define MEASURABLE (256u << 10) /* bytes: a shorter round tells nothing of the bandwidth */
#define ROUNDS_PREDICTED_MAX 200

static uint64_t time_us(uint64_t bytes, uint64_t bandwidth)
{
    return bandwidth == 0 ? UINT64_MAX / 4 : (uint64_t)((unsigned __int128)bytes * 1000000 / bandwidth);
}

static uint64_t expect(uint64_t dirty, uint64_t bandwidth, uint64_t round_trip_us)
{
    return time_us(dirty, bandwidth) + 2 * round_trip_us + HANDOVER_US;
}

/* What another round can't make shorter may take up half of the limit at most, or a slow way would never do. */
static bool fits(uint64_t dirty, uint64_t bandwidth, uint64_t round_trip_us,
                 const struct migration_parameters *parameters)
{
    uint64_t limit_us = parameters->downtime_limit_ms * 1000, fixed_us = expect(0, bandwidth, round_trip_us);

    return time_us(dirty, bandwidth) <= limit_us - (fixed_us < limit_us / 2 ? fixed_us : limit_us / 2);
}

/* Bytes of pages and blocks a second while the guest runs. */
static uint64_t limited_pace(const struct convergence *c, const struct migration_parameters *parameters)
{
    return parameters->max_bandwidth != 0 && parameters->max_bandwidth < c->bandwidth
               ? (uint64_t)((unsigned __int128)c->pace * parameters->max_bandwidth / c->bandwidth)
               : c->pace;
}

/* Aims at a third of the bandwidth, then adds. */
static unsigned next_throttle(const struct convergence *c, const struct round *round,
                              const struct migration_parameters *parameters)
{
    uint64_t limit = limited_pace(c, parameters);
    uint64_t rate =
        round->total_us == 0 ? 0 : (uint64_t)((unsigned __int128)round->written * 1000000 / round->total_us);
    unsigned wanted, aimed;

    wanted = c->throttle == 0 ? parameters->throttle_initial : c->throttle + parameters->throttle_increment;
    aimed = rate > limit / 3 && rate > 0 ? (unsigned)(100 - (limit / 3) * (100 - c->throttle) / rate) : 0;

    wanted = wanted > aimed ? wanted : aimed;
    return wanted < parameters->throttle_max ? wanted : parameters->throttle_max;
}

/* A round in which more than two thirds of what it sent were dirtied does not pay. */
static void judge(struct convergence *c, const struct round *round, const struct migration_parameters *parameters)
{
    bool failed = round->written > round->plain / 3 * 2;

    c->failures = failed ? c->failures + 1 : 0;
    if (parameters->auto_converge && c->failures >= 2) {
        c->throttle = next_throttle(c, round, parameters);
        c->failures = 1;
    }
}

static void measure(struct convergence *c, const struct round *round)
{
    uint64_t us = round->busy_us > 0 ? round->busy_us : 1;

    if (c->bandwidth == 0 || round->sent >= MEASURABLE)
        c->bandwidth = round->sent * 1000000 / us;
    if (c->pace == 0 || round->plain >= MEASURABLE)
        c->pace = (round->plain > round->sent ? round->plain : round->sent) * 1000000 / us;
    if (round->sent < MEASURABLE && round->busy_us < c->round_trip_us)
        c->round_trip_us = round->busy_us;
}

/* It fits the limit. Rounds that at least halve what remains are cheap for what they save; others only as long as what
 * remains is long and a bandwidth limit does not make them much longer, and only a few of them. */
static bool another_pays(struct convergence *c, uint64_t dirty, const struct migration_parameters *parameters)
{
    if (c->previous_us != 0 && c->expected_us > c->previous_us / 8 * 7)
        c->idle++;
    if (c->expected_us <= NEGLIGIBLE_US)
        return false;
    if (c->previous_us == 0 || c->expected_us <= c->previous_us / 2)
        return true;
    return time_us(dirty, c->pace) > SHORT_US && c->idle < IDLE_MAX &&
           time_us(dirty, limited_pace(c, parameters)) <= 2 * c->expected_us;
}

enum convergence_step convergence_decide(struct convergence *c, const struct round *round,
                                         const struct migration_parameters *parameters)
{
    measure(c, round);
    c->previous_us = c->expected_us;
    c->expected_us = expect(round->dirty, c->pace, c->round_trip_us);
    if (!fits(round->dirty, c->pace, c->round_trip_us, parameters)) {
        judge(c, round, parameters);
        return CONVERGENCE_ITERATE;
    }
    return another_pays(c, round->dirty, parameters) ? CONVERGENCE_ITERATE : CONVERGENCE_STOP;
}

bool convergence_overruns(const struct convergence *c, uint64_t dirty, const struct migration_parameters *parameters)
{
    uint64_t limit_us = parameters->downtime_limit_ms * 1000;

    return time_us(dirty, c->pace) > limit_us + limit_us / OVERRUN_SHARE;
}

static uint64_t dirtied(const struct dirtying *dirtying, uint64_t us, unsigned throttle)
{
    uint64_t running_us = us * (100 - throttle) / 100;
    uint64_t once = (uint64_t)((unsigned __int128)dirtying->at_once * running_us / 1000000);
    uint64_t later = running_us > 1000000 ? (uint64_t)((unsigned __int128)dirtying->in_second * running_us / 1000000)
                                          : dirtying->in_second;

    return once < later ? once : later;
}

void convergence_predict(uint64_t memory, uint64_t bandwidth, uint64_t round_trip_us, const struct dirtying *dirtying,
                         const struct migration_parameters *parameters, struct prediction *ret_prediction)
{
    struct convergence c = {.bandwidth = bandwidth, .pace = bandwidth, .round_trip_us = round_trip_us};
    uint64_t left = memory, total_us = 0, limit = parameters->max_bandwidth;
    uint64_t rate = limit != 0 && limit < bandwidth ? limit : bandwidth;
    enum convergence_step step = CONVERGENCE_ITERATE;
    unsigned rounds = 0;

    while (step == CONVERGENCE_ITERATE && rounds < ROUNDS_PREDICTED_MAX) {
        struct round round = {.sent = left, .plain = left, .busy_us = time_us(left, bandwidth)};

        round.total_us = time_us(left, rate) + round_trip_us;
        left = dirtied(dirtying, round.total_us, c.throttle);
        left = left < memory ? left : memory;
        round.written = round.dirty = round.memory = left;
        step = convergence_decide(&c, &round, parameters);
        total_us += round.total_us;
        rounds++;
    }
    *ret_prediction = (struct prediction){
        .rounds = step == CONVERGENCE_STOP ? rounds + 1 : 0,
        .total_ms = (total_us + c.expected_us) / 1000,
        .downtime_ms = c.expected_us / 1000,
        .throttle = c.throttle,
    };
}
