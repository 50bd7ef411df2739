/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254 interval timer: counters computed from the clock, one timer for the edges of counter 0. */
#include "devices/pc/pit.h"

#include <errno.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/timer.h"
#include "state/irqchip.h"

#define PIT_HZ 1193182
#define REFRESH_NS 15085 /* half a period of the memory refresh toggle in port 0x61 */
#define MODE_IDLE 0xff   /* no control word yet */
#define PERIOD_MIN_NS 100000 /* faster edges are one: no count may keep the host busy */
#define LOAD_TIME_MAX (INT64_MAX / 2)

enum { ACCESS_LOW = 1, ACCESS_HIGH, ACCESS_WORD, ACCESS_WORD_SECOND };

struct pit {
    struct dev dev;
    struct pit_state s;
    struct irq_line irq;
    struct timer timer;
};

static uint64_t elapsed_ticks(const struct pit *pit, const struct pit_channel_state *c)
{
    int64_t now = clock_now(pit->dev.env->clock);
    uint64_t elapsed = now > c->count_load_time ? (uint64_t)now - (uint64_t)c->count_load_time : 0;

    return (unsigned __int128)elapsed * PIT_HZ / NANOSECONDS_PER_SECOND;
}

/* The first instant at which `ticks` have elapsed. */
static int64_t tick_time(const struct pit_channel_state *c, uint64_t ticks)
{
    unsigned __int128 ns = ((unsigned __int128)ticks * NANOSECONDS_PER_SECOND + PIT_HZ - 1) / PIT_HZ;

    return c->count_load_time + (int64_t)ns;
}

static uint64_t half_period(const struct pit_channel_state *c)
{
    return (c->count + 1) / 2;
}

static bool output_level(const struct pit *pit, const struct pit_channel_state *c)
{
    uint64_t ticks = elapsed_ticks(pit, c);

    switch (c->mode) {
    case 0:
    case 1:
        return ticks >= c->count;
    case 2:
        return ticks % c->count != c->count - 1;
    case 3:
        return ticks % c->count < half_period(c);
    case 4:
    case 5:
        return ticks != c->count;
    default:
        return false;
    }
}

static unsigned counter_modulus(const struct pit_channel_state *c)
{
    return c->bcd ? 10000 : 65536;
}

static uint16_t to_bcd(unsigned value)
{
    return value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 % 10 << 12;
}

static unsigned from_bcd(uint16_t value)
{
    return (value & 15) + (value >> 4 & 15) * 10 + (value >> 8 & 15) * 100 + (value >> 12) * 1000;
}

static uint16_t counter_value(const struct pit *pit, const struct pit_channel_state *c)
{
    unsigned modulus = counter_modulus(c);
    uint64_t ticks = elapsed_ticks(pit, c);
    unsigned value;

    if (c->mode == 2)
        value = c->count - ticks % c->count;
    else if (c->mode == 3)
        value = c->count - 2 * ticks % c->count;
    else
        value = c->count + modulus - ticks % modulus;
    value %= modulus;
    return c->bcd ? to_bcd(value) : value;
}

/* Ticks at which counter 0's output changes next (modes 2, 4 and 5: ends its short low pulse), or 0 if it never does. */
static uint64_t next_edge(const struct pit *pit, const struct pit_channel_state *c)
{
    uint64_t ticks = elapsed_ticks(pit, c);
    uint64_t period_start = ticks / c->count * c->count;

    switch (c->mode) {
    case 2:
        return period_start + c->count;
    case 3:
        return ticks < period_start + half_period(c) ? period_start + half_period(c) : period_start + c->count;
    case 0:
    case 1:
    case 4:
    case 5:
        return ticks < c->count ? c->count : 0;
    default:
        return 0;
    }
}

static void arm(struct pit *pit, int64_t not_before)
{
    const struct pit_channel_state *c = &pit->s.channel[0];
    uint64_t edge = next_edge(pit, c);
    int64_t time = tick_time(c, edge);

    timer_cancel(&pit->timer);
    if (edge != 0)
        timer_set(&pit->timer, time < not_before ? not_before : time);
}

/* After a write: the line follows the output, without the pulses that only time brings. */
static void restart_output(struct pit *pit)
{
    irq_set(&pit->irq, output_level(pit, &pit->s.channel[0]));
    arm(pit, INT64_MIN);
}

static void edge_reached(void *ctx)
{
    struct pit *pit = ctx;
    bool level = output_level(pit, &pit->s.channel[0]);

    /* A late call finds the line high again: what rose in between is still an edge. In modes 2, 4 and 5 it always is so. */
    if (level || pit->s.channel[0].mode >= 2)
        irq_set(&pit->irq, false);
    if (level || pit->s.channel[0].mode != 3)
        irq_set(&pit->irq, true);
    arm(pit, clock_now(pit->dev.env->clock) + PERIOD_MIN_NS);
}

static void load_count(struct pit *pit, unsigned channel, uint16_t written)
{
    struct pit_channel_state *c = &pit->s.channel[channel];
    unsigned count = c->bcd ? from_bcd(written) % 10000 : written;

    c->count = count == 0 ? counter_modulus(c) : count;
    c->count_load_time = clock_now(pit->dev.env->clock);
    if (channel == 0)
        restart_output(pit);
}

static void latch_count(struct pit *pit, struct pit_channel_state *c)
{
    if (c->count_latched)
        return;
    c->latched_count = counter_value(pit, c);
    c->count_latched = c->access_mode;
}

static void latch_status(struct pit *pit, struct pit_channel_state *c)
{
    if (c->status_latched)
        return;
    c->status = output_level(pit, c) << 7 | c->access_mode << 4 | (c->mode & 7) << 1 | c->bcd;
    c->status_latched = 1;
}

static void read_back(struct pit *pit, uint8_t value)
{
    for (unsigned i = 0; i < 3; i++) {
        if ((value & (2u << i)) == 0)
            continue;
        if ((value & 0x20) == 0)
            latch_count(pit, &pit->s.channel[i]);
        if ((value & 0x10) == 0)
            latch_status(pit, &pit->s.channel[i]);
    }
}

static void set_mode(struct pit *pit, unsigned channel, uint8_t value)
{
    struct pit_channel_state *c = &pit->s.channel[channel];
    unsigned mode = value >> 1 & 7;

    c->access_mode = value >> 4 & 3;
    c->read_state = c->write_state = c->access_mode;
    c->count_latched = c->status_latched = 0;
    c->mode = mode > 5 ? mode - 4 : mode;
    c->bcd = value & 1;
    if (c->count > counter_modulus(c))
        c->count = counter_modulus(c);
    c->count_load_time = clock_now(pit->dev.env->clock);
    if (channel == 0)
        restart_output(pit);
}

static void write_control(struct pit *pit, uint8_t value)
{
    unsigned channel = value >> 6;

    if (channel == 3)
        read_back(pit, value);
    else if ((value & 0x30) == 0)
        latch_count(pit, &pit->s.channel[channel]);
    else
        set_mode(pit, channel, value);
}

static void write_counter(struct pit *pit, unsigned channel, uint8_t value)
{
    struct pit_channel_state *c = &pit->s.channel[channel];

    switch (c->write_state) {
    case ACCESS_LOW:
        load_count(pit, channel, value);
        break;
    case ACCESS_HIGH:
        load_count(pit, channel, value << 8);
        break;
    case ACCESS_WORD:
        c->write_latch = value;
        c->write_state = ACCESS_WORD_SECOND;
        break;
    case ACCESS_WORD_SECOND:
        c->write_state = ACCESS_WORD;
        load_count(pit, channel, c->write_latch | value << 8);
        break;
    }
}

static uint8_t read_latched(struct pit_channel_state *c)
{
    unsigned access = c->count_latched;

    c->count_latched = access == ACCESS_WORD ? ACCESS_HIGH : 0;
    return access == ACCESS_HIGH ? c->latched_count >> 8 : c->latched_count;
}

static uint8_t read_counter(struct pit *pit, unsigned channel)
{
    struct pit_channel_state *c = &pit->s.channel[channel];
    uint16_t value;

    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    if (c->count_latched)
        return read_latched(c);
    value = counter_value(pit, c);
    switch (c->read_state) {
    case ACCESS_HIGH:
        return value >> 8;
    case ACCESS_WORD:
        c->read_state = ACCESS_WORD_SECOND;
        return value;
    case ACCESS_WORD_SECOND:
        c->read_state = ACCESS_WORD;
        return value >> 8;
    default:
        return value;
    }
}

static uint8_t read_speaker(const struct pit *pit)
{
    const struct pit_channel_state *c = &pit->s.channel[2];
    unsigned refresh = (uint64_t)clock_now(pit->dev.env->clock) / REFRESH_NS & 1;

    return c->gate | pit->s.speaker_data_on << 1 | refresh << 4 | output_level(pit, c) << 5;
}

static void write_speaker(struct pit *pit, uint8_t value)
{
    struct pit_channel_state *c = &pit->s.channel[2];
    bool rise = (value & 1) != 0 && !c->gate;

    c->gate = value & 1;
    pit->s.speaker_data_on = value >> 1 & 1;
    if (rise && c->mode != 0 && c->mode != 4)
        c->count_load_time = clock_now(pit->dev.env->clock);
}

static uint64_t pit_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct pit *pit = CONTAINER_OF(dev, struct pit, dev);
    uint64_t value = 0;

    if (window == PIT_WINDOW_SPEAKER)
        return read_speaker(pit);
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = offset + i < 3 ? read_counter(pit, offset + i) : 0xff;

        value |= (uint64_t)byte << (8 * i);
    }
    return value;
}

static void pit_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct pit *pit = CONTAINER_OF(dev, struct pit, dev);

    if (window == PIT_WINDOW_SPEAKER) {
        write_speaker(pit, value);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        if (offset + i < 3)
            write_counter(pit, offset + i, value >> (8 * i));
        else
            write_control(pit, value >> (8 * i));
    }
}

static int pit_init(struct dev *dev, const void *config, struct err *err)
{
    struct pit *pit = CONTAINER_OF(dev, struct pit, dev);

    pit->irq = ((const struct pit_config *)config)->irq;
    timer_init(&pit->timer, dev->env->timers, edge_reached, pit);
    return 0;
}

static void pit_reset(struct dev *dev)
{
    struct pit *pit = CONTAINER_OF(dev, struct pit, dev);

    pit->s = (struct pit_state){0};
    for (unsigned i = 0; i < 3; i++) {
        pit->s.channel[i] = (struct pit_channel_state){
            .count = 65536,
            .mode = MODE_IDLE,
            .gate = i != 2,
            .count_load_time = clock_now(dev->env->clock),
        };
    }
    restart_output(pit);
}

static int check_channel(const struct pit_channel_state *c, unsigned number, struct err *err)
{
    uint8_t flags = c->status_latched | c->bcd | c->gate;

    if (c->count < 1 || c->count > 65536)
        return err_set(err, -EBADMSG, "counter %u can't count from %u", number, c->count);
    if ((c->mode > 5 && c->mode != MODE_IDLE) || c->access_mode > ACCESS_WORD || c->count_latched > ACCESS_WORD)
        return err_set(err, -EBADMSG, "counter %u is in a mode that does not exist", number);
    if (c->read_state > ACCESS_WORD_SECOND || c->write_state > ACCESS_WORD_SECOND || flags > 1)
        return err_set(err, -EBADMSG, "counter %u is in a state that does not exist", number);
    if (c->count_load_time > LOAD_TIME_MAX || c->count_load_time < -LOAD_TIME_MAX)
        return err_set(err, -EBADMSG, "counter %u was loaded centuries away from now", number);
    return 0;
}

static int pit_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct pit_state *s = state;
    int r = 0;

    for (unsigned i = 0; i < 3 && r == 0; i++)
        r = check_channel(&s->channel[i], i, err);
    if (r == 0 && s->speaker_data_on > 1)
        r = err_set(err, -EBADMSG, "the speaker bit has only one bit");
    return r;
}

static void pit_loaded(struct dev *dev)
{
    restart_output(CONTAINER_OF(dev, struct pit, dev));
}

static void pit_fini(struct dev *dev)
{
    timer_cancel(&CONTAINER_OF(dev, struct pit, dev)->timer);
}

const struct dev_type pit_type = {
    .name = "pit",
    .size = sizeof(struct pit),
    .state_offset = offsetof(struct pit, s),
    .state_size = sizeof(struct pit_state),
    .fields = pit_state_fields,
    .version = 1,
    .init = pit_init,
    .reset = pit_reset,
    .read = pit_read,
    .write = pit_write,
    .check = pit_check,
    .loaded = pit_loaded,
    .fini = pit_fini,
};
