/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC's timer: one-shot, periodic and TSC deadline (SDM vol. 3 section 11.5.4).
 *
 * One count before the divider is one nanosecond of the VM clock. */
#include "base/clock.h"
#include "devices/pc/lapic_internal.h"

#define PERIOD_MIN_NS 100000 /* faster periods are one interrupt: no count may keep the host busy */
#define WAIT_MAX_NS NANOSECONDS_PER_SECOND /* a deadline is measured anew that often: the guest may set its TSC */

/* A clock behind the saved start (a state from elsewhere) counts as no time elapsed. */
static uint64_t elapsed_ns(const struct lapic *lapic)
{
    int64_t now = clock_now(lapic->dev.env->clock);

    return now > lapic->s.timer_start ? (uint64_t)now - (uint64_t)lapic->s.timer_start : 0;
}

static unsigned divide_shift(const struct lapic *lapic)
{
    uint32_t divide = lapic->s.timer_divide;

    return ((divide & 3) + (divide >> 1 & 4) + 1) & 7;
}

static uint64_t period_ns(const struct lapic *lapic)
{
    return (uint64_t)lapic->s.timer_initial << divide_shift(lapic);
}

unsigned lapic_timer_mode(const struct lapic *lapic)
{
    return lapic->s.lvt[LAPIC_LVT_TIMER] >> 17 & 3;
}

uint32_t lapic_timer_current(const struct lapic *lapic)
{
    uint64_t elapsed = elapsed_ns(lapic);
    uint64_t period = period_ns(lapic);
    unsigned mode = lapic_timer_mode(lapic);

    if (mode == LAPIC_TIMER_DEADLINE || period == 0 || lapic->timer_stopped)
        return 0;
    if (mode == LAPIC_TIMER_PERIODIC)
        elapsed %= period;
    else if (elapsed >= period)
        return 0;
    return lapic->s.timer_initial - (uint32_t)(elapsed >> divide_shift(lapic));
}

static void arm_count(struct lapic *lapic, int64_t not_before)
{
    uint64_t period = period_ns(lapic);
    int64_t time = lapic->s.timer_start + (int64_t)period;

    if (period == 0 || lapic->timer_stopped)
        return;
    if (lapic_timer_mode(lapic) == LAPIC_TIMER_PERIODIC || elapsed_ns(lapic) < period)
        timer_set(&lapic->timer, time < not_before ? not_before : time);
    else
        lapic->timer_stopped = true;
}

static void fire_deadline(struct lapic *lapic)
{
    lapic->s.tsc_deadline = 0;
    lapic_deliver_local(lapic, LAPIC_LVT_TIMER);
}

static void arm_deadline(struct lapic *lapic)
{
    uint64_t tsc;
    unsigned __int128 wait;

    if (lapic->s.tsc_deadline == 0)
        return;
    tsc = lapic->config.tsc_now(lapic->config.ctx, lapic->dev.instance);
    if (lapic->s.tsc_deadline <= tsc) {
        fire_deadline(lapic);
        return;
    }
    wait = (unsigned __int128)(lapic->s.tsc_deadline - tsc) * 1000000 / lapic->config.tsc_khz + 1;
    if (wait > WAIT_MAX_NS)
        wait = WAIT_MAX_NS;
    timer_set(&lapic->timer, clock_now(lapic->dev.env->clock) + (int64_t)wait);
}

/* From the present state. */
static void rearm(struct lapic *lapic)
{
    timer_cancel(&lapic->timer);
    if (lapic_timer_mode(lapic) == LAPIC_TIMER_DEADLINE)
        arm_deadline(lapic);
    else
        arm_count(lapic, INT64_MIN);
}

void lapic_set_tsc_khz(struct dev *dev, uint32_t khz)
{
    struct lapic *lapic = lapic_of(dev);

    lapic->config.tsc_khz = khz;
    if (lapic_timer_mode(lapic) == LAPIC_TIMER_DEADLINE && lapic->timer.armed)
        rearm(lapic);
}

/* Moves the start of a periodic count into the present period; periods that were missed are not made up for. */
void lapic_timer_bring_up_to_date(struct lapic *lapic)
{
    uint64_t period = period_ns(lapic);

    if (lapic_timer_mode(lapic) == LAPIC_TIMER_PERIODIC && period != 0)
        lapic->s.timer_start += (int64_t)(elapsed_ns(lapic) / period * period);
}

void lapic_timer_expired(void *ctx)
{
    struct lapic *lapic = ctx;

    switch (lapic_timer_mode(lapic)) {
    case LAPIC_TIMER_DEADLINE:
        arm_deadline(lapic);
        return;
    case LAPIC_TIMER_PERIODIC:
        lapic_timer_bring_up_to_date(lapic);
        arm_count(lapic, clock_now(lapic->dev.env->clock) + PERIOD_MIN_NS);
        break;
    default:
        lapic->timer_stopped = true;
        break;
    }
    lapic_deliver_local(lapic, LAPIC_LVT_TIMER);
}

/* Does what the timer's turn in the loop has not come to do yet. */
static void catch_up(struct lapic *lapic)
{
    if (!lapic->timer.armed || lapic->timer.deadline > clock_now(lapic->dev.env->clock))
        return;
    timer_cancel(&lapic->timer);
    lapic_timer_expired(lapic);
}

void lapic_timer_start(struct lapic *lapic)
{
    lapic->s.timer_start = clock_now(lapic->dev.env->clock);
    lapic->timer_stopped = false;
    rearm(lapic);
}

/* The count goes on from where it is, at the new speed. */
void lapic_timer_set_divide(struct lapic *lapic, uint32_t value)
{
    uint32_t current;

    catch_up(lapic);
    current = lapic_timer_current(lapic);
    lapic->s.timer_divide = value & 0xb;
    if (current != 0)
        lapic->s.timer_start = clock_now(lapic->dev.env->clock) -
                               (int64_t)((uint64_t)(lapic->s.timer_initial - current) << divide_shift(lapic));
    rearm(lapic);
}

/* A change into or out of TSC deadline mode disarms; between one-shot and periodic the count goes on. */
void lapic_timer_set_lvt(struct lapic *lapic, uint32_t value)
{
    unsigned before = lapic_timer_mode(lapic);

    catch_up(lapic);
    lapic->s.lvt[LAPIC_LVT_TIMER] = value;
    if (before == lapic_timer_mode(lapic))
        return;
    if (before == LAPIC_TIMER_DEADLINE || lapic_timer_mode(lapic) == LAPIC_TIMER_DEADLINE) {
        lapic->s.timer_initial = 0;
        lapic->s.tsc_deadline = 0;
    }
    rearm(lapic);
}

void lapic_timer_set_deadline(struct lapic *lapic, uint64_t value)
{
    if (lapic_timer_mode(lapic) != LAPIC_TIMER_DEADLINE)
        return;
    lapic->s.tsc_deadline = value;
    rearm(lapic);
}

/* A saved deadline waits for the CPU's TSC to be in place: that is so when the VM runs, at the latest. */
void lapic_timer_loaded(struct lapic *lapic)
{
    lapic->timer_stopped = false;
    if (lapic_timer_mode(lapic) != LAPIC_TIMER_DEADLINE)
        rearm(lapic);
    else
        timer_set(&lapic->timer, clock_now(lapic->dev.env->clock));
}

void lapic_timer_set_running(struct dev *dev, bool running)
{
    struct lapic *lapic = lapic_of(dev);

    if (running && lapic_timer_mode(lapic) == LAPIC_TIMER_DEADLINE)
        rearm(lapic);
}
