/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rounds of announcements on the host's clock. */
#include "vmm/announce.h"

#include <errno.h>

#include "base/err.h"
#include "event/loop.h"
#include "vmm/board.h"
#include "vmm/machine.h"

#define TIME_MAX_MS 100000u
#define ROUNDS_MAX 1000u
#define MILLISECOND INT64_C(1000000)

static unsigned wait_ms(const struct announce *announce)
{
    const struct announce_parameters *p = &announce->parameters;
    uint64_t wait = p->initial_ms + (uint64_t)(announce->done - 1) * p->step_ms;

    return wait < p->max_ms ? (unsigned)wait : p->max_ms;
}

static void next_round(void *ctx)
{
    struct machine *machine = ctx;
    struct announce *announce = &machine->announce;
    int64_t now = clock_now(loop_timers(machine->loop)->clock);

    if (machine->status != MACHINE_RUNNING)
        return; /* it may be somewhere else again */
    board_announce(machine->board);
    if (++announce->done < announce->parameters.rounds)
        timer_set(&announce->timer, now + wait_ms(announce) * MILLISECOND);
}

int machine_announce(struct machine *machine, const struct announce_parameters *parameters, struct err *err)
{
    const struct {
        const char *name;
        unsigned value, min, max;
    } checks[] = {
        {"initial", parameters->initial_ms, 0, TIME_MAX_MS},
        {"max", parameters->max_ms, 0, TIME_MAX_MS},
        {"rounds", parameters->rounds, 1, ROUNDS_MAX},
        {"step", parameters->step_ms, 0, TIME_MAX_MS},
    };

    for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        if (checks[i].value < checks[i].min || checks[i].value > checks[i].max)
            return err_set(err, -EINVAL, "'%s' of an announcement must be from %u to %u, not %u", checks[i].name,
                           checks[i].min, checks[i].max, checks[i].value);
    }
    timer_cancel(&machine->announce.timer);
    machine->announce = (struct announce){.parameters = *parameters};
    timer_init(&machine->announce.timer, loop_timers(machine->loop), next_round, machine);
    next_round(machine);
    return 0;
}
