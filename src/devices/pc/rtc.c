/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The MC146818 real-time clock: time computed from the wall clock, flags brought up to date when somebody looks. */
#include "devices/pc/rtc.h"

#include <errno.h>
#include <stdbool.h>
#include <time.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/timer.h"

#define CMOS_SIZE 128
#define DAY_SECONDS 86400
#define UPDATE_IN_PROGRESS_NS 244000 /* UIP rises that long before an update */
#define DIVIDER_PHASE_NS 500000000   /* the first update after the divider chain starts */
#define CRYSTAL_HZ 32768
#define OFFSET_MAX INT64_C(1000000000000) /* seconds: some 30000 years */

enum {
    SECONDS = 0, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, DAY_OF_WEEK, DAY, MONTH, YEAR,
    REGISTER_A, REGISTER_B, REGISTER_C, REGISTER_D,
    MEMORY_BASE = 0x15, MEMORY_EXTENDED = 0x17, MEMORY_EXTENDED_COPY = 0x30,
    MEMORY_ABOVE_16M = 0x34, MEMORY_ABOVE_4G = 0x5b,
};

enum { A_UPDATE_IN_PROGRESS = 0x80, A_DIVIDER_RESET = 0x60, A_RATE = 0x0f };
enum { B_SET = 0x80, B_PERIODIC = 0x40, B_ALARM = 0x20, B_UPDATE = 0x10, B_SQUARE_WAVE = 0x08, B_BINARY = 4, B_24_HOURS = 2 };
enum { C_INTERRUPT = 0x80, C_FLAGS = 0x70 };
enum { D_VALID = 0x80 };

struct rtc_state {
    uint8_t index;
    uint8_t cmos[CMOS_SIZE];  /* the time registers in it count only while the clock is halted */
    int64_t offset;           /* seconds from the wall clock (with phase) to the guest's time */
    uint32_t phase;           /* nanoseconds added to the wall clock: where the guest's seconds begin */
    uint32_t halted_fraction; /* of the second at which the clock was halted */
    int64_t last_second;      /* up to here alarms and updates have been seen */
    uint64_t last_period;     /* likewise periodic interrupts */
};

static const struct field rtc_fields[] = {
    FIELD(1, struct rtc_state, index),
    FIELD_ARRAY(2, struct rtc_state, cmos),
    FIELD(3, struct rtc_state, offset),
    FIELD(4, struct rtc_state, phase),
    FIELD(5, struct rtc_state, halted_fraction),
    FIELD(6, struct rtc_state, last_second),
    FIELD(7, struct rtc_state, last_period),
    FIELD_END,
};

struct rtc {
    struct dev dev;
    struct rtc_state s;
    struct rtc_config config;
    struct timer timer;
};

/* SET, or the divider chain in reset: the time stands and may be written. */
static bool halted(const struct rtc_state *s)
{
    return (s->cmos[REGISTER_B] & B_SET) != 0 || (s->cmos[REGISTER_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

/* Wall clock with phase: nanoseconds; its whole seconds plus offset are the guest's time. */
static int64_t phased_now(const struct rtc *rtc)
{
    int64_t now = rtc->config.wall_clock(rtc->config.ctx);

    return (now < 0 ? 0 : now) + rtc->s.phase;
}

static int64_t guest_second(const struct rtc *rtc)
{
    return phased_now(rtc) / NANOSECONDS_PER_SECOND + rtc->s.offset;
}

static uint8_t encode(const struct rtc_state *s, unsigned value)
{
    return (s->cmos[REGISTER_B] & B_BINARY) != 0 ? value : (value / 10 % 10) << 4 | value % 10;
}

static unsigned decode(const struct rtc_state *s, uint8_t value)
{
    return (s->cmos[REGISTER_B] & B_BINARY) != 0 ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t encode_hour(const struct rtc_state *s, unsigned hour)
{
    if ((s->cmos[REGISTER_B] & B_24_HOURS) != 0)
        return encode(s, hour);
    return encode(s, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const struct rtc_state *s, uint8_t value)
{
    if ((s->cmos[REGISTER_B] & B_24_HOURS) != 0)
        return decode(s, value);
    return decode(s, value & 0x7f) % 12 + ((value & 0x80) != 0 ? 12 : 0);
}

static void time_to_registers(struct rtc_state *s, int64_t second)
{
    time_t t = second;
    struct tm tm = {0};

    gmtime_r(&t, &tm);
    s->cmos[SECONDS] = encode(s, tm.tm_sec);
    s->cmos[MINUTES] = encode(s, tm.tm_min);
    s->cmos[HOURS] = encode_hour(s, tm.tm_hour);
    s->cmos[DAY_OF_WEEK] = tm.tm_wday + 1;
    s->cmos[DAY] = encode(s, tm.tm_mday);
    s->cmos[MONTH] = encode(s, tm.tm_mon + 1);
    s->cmos[YEAR] = encode(s, (unsigned)(tm.tm_year + 1900) % 100);
    s->cmos[RTC_CENTURY] = encode(s, (unsigned)(tm.tm_year + 1900) / 100 % 100);
}

static int64_t time_from_registers(const struct rtc_state *s)
{
    struct tm tm = {
        .tm_sec = decode(s, s->cmos[SECONDS]),
        .tm_min = decode(s, s->cmos[MINUTES]),
        .tm_hour = decode_hour(s, s->cmos[HOURS]),
        .tm_mday = decode(s, s->cmos[DAY]),
        .tm_mon = (int)decode(s, s->cmos[MONTH]) - 1,
        .tm_year = (int)(decode(s, s->cmos[RTC_CENTURY]) * 100 + decode(s, s->cmos[YEAR])) - 1900,
    };

    return timegm(&tm);
}

/* The guest's time becomes what the registers say, that fraction of a second in. */
static void take_registers(struct rtc *rtc, uint32_t fraction)
{
    struct rtc_state *s = &rtc->s;
    int64_t wall = phased_now(rtc) - s->phase;
    int64_t wall_fraction = wall % NANOSECONDS_PER_SECOND;

    s->phase = (fraction + NANOSECONDS_PER_SECOND - wall_fraction) % NANOSECONDS_PER_SECOND;
    s->offset = time_from_registers(s) - (wall + s->phase) / NANOSECONDS_PER_SECOND;
    s->last_second = guest_second(rtc);
}

static bool alarm_matches(const struct rtc_state *s, int64_t second)
{
    unsigned time = (unsigned)((second % DAY_SECONDS + DAY_SECONDS) % DAY_SECONDS);
    uint8_t want_second = s->cmos[SECONDS_ALARM], want_minute = s->cmos[MINUTES_ALARM], want_hour = s->cmos[HOURS_ALARM];

    return (want_second >= 0xc0 || want_second == encode(s, time % 60)) &&
           (want_minute >= 0xc0 || want_minute == encode(s, time / 60 % 60)) &&
           (want_hour >= 0xc0 || want_hour == encode_hour(s, time / 3600));
}

/* Crystal periods between periodic interrupts; 0: off. */
static unsigned periodic_divisor(const struct rtc_state *s)
{
    unsigned rate = s->cmos[REGISTER_A] & A_RATE;

    if (rate == 0)
        return 0;
    return 1u << ((rate <= 2 ? rate + 7 : rate) - 1);
}

static uint64_t periods_passed(const struct rtc *rtc)
{
    unsigned divisor = periodic_divisor(&rtc->s);

    if (divisor == 0)
        return 0;
    return (unsigned __int128)phased_now(rtc) * CRYSTAL_HZ / NANOSECONDS_PER_SECOND / divisor;
}

/* Sets the flags for what has happened since the last look. */
static void bring_up_to_date(struct rtc *rtc)
{
    struct rtc_state *s = &rtc->s;
    int64_t second = guest_second(rtc);
    uint64_t periods = periods_passed(rtc);

    if (periods != s->last_period)
        s->cmos[REGISTER_C] |= B_PERIODIC;
    s->last_period = periods;
    if (halted(s) || second == s->last_second)
        return;
    s->cmos[REGISTER_C] |= B_UPDATE;
    if (s->last_second < second - DAY_SECONDS || s->last_second > second)
        s->last_second = second - DAY_SECONDS;
    while (s->last_second < second && (s->cmos[REGISTER_C] & B_ALARM) == 0) {
        if (alarm_matches(s, ++s->last_second))
            s->cmos[REGISTER_C] |= B_ALARM;
    }
    s->last_second = second;
}

/* Nanoseconds to the next event that would interrupt, or 0 when none can. */
static int64_t next_event(const struct rtc *rtc)
{
    const struct rtc_state *s = &rtc->s;
    int64_t now = phased_now(rtc);
    int64_t wait = 0;
    unsigned divisor = periodic_divisor(s);

    if ((s->cmos[REGISTER_B] & (B_ALARM | B_UPDATE)) != 0 && !halted(s))
        wait = NANOSECONDS_PER_SECOND - now % NANOSECONDS_PER_SECOND;
    if ((s->cmos[REGISTER_B] & B_PERIODIC) != 0 && divisor != 0) {
        unsigned __int128 crystal = (unsigned __int128)(periods_passed(rtc) + 1) * divisor;
        int64_t until = (int64_t)((crystal * NANOSECONDS_PER_SECOND + CRYSTAL_HZ - 1) / CRYSTAL_HZ) - now;

        wait = wait == 0 || until < wait ? until : wait;
    }
    return wait;
}

static void update(struct rtc *rtc)
{
    struct rtc_state *s = &rtc->s;
    int64_t wait = next_event(rtc);
    bool pending = (s->cmos[REGISTER_B] & s->cmos[REGISTER_C] & C_FLAGS) != 0;

    s->cmos[REGISTER_C] = (s->cmos[REGISTER_C] & C_FLAGS) | (pending ? C_INTERRUPT : 0);
    irq_set(&rtc->config.irq, pending);
    timer_cancel(&rtc->timer);
    if (wait > 0)
        timer_set(&rtc->timer, clock_now(rtc->dev.env->clock) + wait);
}

static void timer_reached(void *ctx)
{
    struct rtc *rtc = ctx;

    bring_up_to_date(rtc);
    update(rtc);
}

static bool is_time_register(unsigned index)
{
    return index == SECONDS || index == MINUTES || index == HOURS || (index >= DAY_OF_WEEK && index <= YEAR) ||
           index == RTC_CENTURY;
}

static uint8_t read_register_a(const struct rtc *rtc)
{
    int64_t fraction = phased_now(rtc) % NANOSECONDS_PER_SECOND;
    bool soon = !halted(&rtc->s) && fraction >= NANOSECONDS_PER_SECOND - UPDATE_IN_PROGRESS_NS;

    return rtc->s.cmos[REGISTER_A] | (soon ? A_UPDATE_IN_PROGRESS : 0);
}

static uint8_t read_register_c(struct rtc *rtc)
{
    uint8_t value;

    bring_up_to_date(rtc);
    update(rtc);
    value = rtc->s.cmos[REGISTER_C];
    rtc->s.cmos[REGISTER_C] = 0;
    update(rtc);
    return value;
}

static uint8_t read_cmos(struct rtc *rtc, unsigned index)
{
    struct rtc_state *s = &rtc->s;

    if (is_time_register(index) && !halted(s))
        time_to_registers(s, guest_second(rtc));
    if (index == REGISTER_A)
        return read_register_a(rtc);
    if (index == REGISTER_C)
        return read_register_c(rtc);
    return s->cmos[index];
}

static void write_time(struct rtc *rtc, unsigned index, uint8_t value)
{
    struct rtc_state *s = &rtc->s;

    if (halted(s)) {
        s->cmos[index] = value;
        return;
    }
    time_to_registers(s, guest_second(rtc));
    s->cmos[index] = value;
    take_registers(rtc, phased_now(rtc) % NANOSECONDS_PER_SECOND);
}

/* Registers A and B decide whether the clock runs. */
static void write_control(struct rtc *rtc, unsigned index, uint8_t value)
{
    struct rtc_state *s = &rtc->s;
    bool was_halted = halted(s);
    bool divider_was_reset = (s->cmos[REGISTER_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;

    if (!was_halted) {
        time_to_registers(s, guest_second(rtc));
        s->halted_fraction = phased_now(rtc) % NANOSECONDS_PER_SECOND;
    }
    if (index == REGISTER_A)
        value &= ~A_UPDATE_IN_PROGRESS;
    else if ((value & B_SET) != 0)
        value &= ~B_UPDATE;
    s->cmos[index] = value;
    if (divider_was_reset && (s->cmos[REGISTER_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET)
        s->halted_fraction = DIVIDER_PHASE_NS;
    if (was_halted && !halted(s))
        take_registers(rtc, s->halted_fraction);
    s->last_period = periods_passed(rtc);
}

static void write_cmos(struct rtc *rtc, unsigned index, uint8_t value)
{
    bring_up_to_date(rtc);
    if (is_time_register(index))
        write_time(rtc, index, value);
    else if (index == REGISTER_A || index == REGISTER_B)
        write_control(rtc, index, value);
    else if (index != REGISTER_C && index != REGISTER_D)
        rtc->s.cmos[index] = value;
    update(rtc);
}

static uint64_t rtc_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct rtc *rtc = CONTAINER_OF(dev, struct rtc, dev);
    uint64_t value = offset == 0 ? 0xff : read_cmos(rtc, rtc->s.index);

    if (offset == 0 && size >= 2)
        value |= (uint64_t)read_cmos(rtc, rtc->s.index) << 8;
    return value;
}

static void rtc_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct rtc *rtc = CONTAINER_OF(dev, struct rtc, dev);

    if (offset == 0)
        rtc->s.index = value & (CMOS_SIZE - 1); /* bit 7, which masks NMI on a PC, masks nothing here */
    if (offset + size >= 2)
        write_cmos(rtc, rtc->s.index, offset == 0 ? value >> 8 : value);
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

/* What a PC's firmware would have found: KiB below and above 1 MiB, 64 KiB units above 16 MiB and 4 GiB. */
static void describe_memory(struct rtc *rtc)
{
    uint8_t *cmos = rtc->s.cmos;
    uint64_t low = rtc->config.memory_low, high = rtc->config.memory_high;
    uint64_t extended = low > MIB(1) ? at_most((low - MIB(1)) / KIB(1), 65535) : 0;
    uint64_t above_16m = low > MIB(16) ? at_most((low - MIB(16)) / KIB(64), 65535) : 0;
    uint64_t above_4g = at_most(high / KIB(64), 0xffffff);

    store_le16(&cmos[MEMORY_BASE], (uint16_t)at_most(low / KIB(1), 640));
    store_le16(&cmos[MEMORY_EXTENDED], (uint16_t)extended);
    store_le16(&cmos[MEMORY_EXTENDED_COPY], (uint16_t)extended);
    store_le16(&cmos[MEMORY_ABOVE_16M], (uint16_t)above_16m);
    store_le16(&cmos[MEMORY_ABOVE_4G], (uint16_t)above_4g);
    cmos[MEMORY_ABOVE_4G + 2] = above_4g >> 16;
}

static int rtc_init(struct dev *dev, const void *config, struct err *err)
{
    struct rtc *rtc = CONTAINER_OF(dev, struct rtc, dev);

    rtc->config = *(const struct rtc_config *)config;
    timer_init(&rtc->timer, dev->env->timers, timer_reached, rtc);
    rtc->s.cmos[REGISTER_A] = 0x26;
    rtc->s.cmos[REGISTER_B] = B_24_HOURS;
    rtc->s.cmos[REGISTER_D] = D_VALID;
    rtc->s.last_second = guest_second(rtc);
    rtc->s.last_period = periods_passed(rtc);
    describe_memory(rtc);
    return 0;
}

/* The battery keeps the time and the memory. */
static void rtc_reset(struct dev *dev)
{
    struct rtc *rtc = CONTAINER_OF(dev, struct rtc, dev);

    rtc->s.index = 0;
    rtc->s.cmos[REGISTER_B] &= ~(B_PERIODIC | B_ALARM | B_UPDATE | B_SQUARE_WAVE);
    rtc->s.cmos[REGISTER_C] = 0;
    update(rtc);
}

static int rtc_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct rtc_state *s = state;

    if (s->index >= CMOS_SIZE || (s->cmos[REGISTER_A] & A_UPDATE_IN_PROGRESS) != 0 ||
        (s->cmos[REGISTER_C] & ~(C_FLAGS | C_INTERRUPT)) != 0 || s->cmos[REGISTER_D] != D_VALID)
        return err_set(err, -EBADMSG, "a register holds a value that the chip can't have");
    if (s->offset > OFFSET_MAX || s->offset < -OFFSET_MAX || s->last_second > OFFSET_MAX || s->last_second < -OFFSET_MAX ||
        s->phase >= NANOSECONDS_PER_SECOND || s->halted_fraction >= NANOSECONDS_PER_SECOND)
        return err_set(err, -EBADMSG, "its time is no time of this calendar");
    return 0;
}

/* When the state leaves, and when it has come. */
static void rtc_refresh(struct dev *dev)
{
    timer_reached(CONTAINER_OF(dev, struct rtc, dev));
}

static void rtc_fini(struct dev *dev)
{
    timer_cancel(&CONTAINER_OF(dev, struct rtc, dev)->timer);
}

const struct dev_type rtc_type = {
    .name = "rtc",
    .size = sizeof(struct rtc),
    .state_offset = offsetof(struct rtc, s),
    .state_size = sizeof(struct rtc_state),
    .fields = rtc_fields,
    .version = 1,
    .init = rtc_init,
    .reset = rtc_reset,
    .read = rtc_read,
    .write = rtc_write,
    .saving = rtc_refresh,
    .check = rtc_check,
    .loaded = rtc_refresh,
    .fini = rtc_fini,
};
