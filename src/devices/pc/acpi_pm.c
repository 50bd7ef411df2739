/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI fixed hardware: the events that make an SCI, the sleep register, and the PM timer. */
#include "devices/pc/acpi_pm.h"

#include <errno.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/timer.h"

#define PM_TIMER_HZ 3579545

enum { STATUS_TIMER = BIT(0), STATUS_POWER_BUTTON = BIT(8) };
#define STATUS_BITS 0x8731 /* timer, bus master, global, power and sleep button, RTC, wake */
#define ENABLE_BITS 0x0721 /* timer, global, power and sleep button, RTC */
enum { CONTROL_SCI_ENABLE = BIT(0), CONTROL_SLEEP_ENABLE = BIT(13) };
#define CONTROL_KEPT 0x1c02 /* bus master reload, SLP_TYP */

struct acpi_pm_state {
    uint16_t status, enable, control;
    uint16_t gpe_status, gpe_enable;
    uint8_t smi_command, smi_status;
    uint64_t timer_half; /* half periods of the PM timer that have been accounted for in STATUS_TIMER */
};

static const struct field acpi_pm_fields[] = {
    FIELD(1, struct acpi_pm_state, status),
    FIELD(2, struct acpi_pm_state, enable),
    FIELD(3, struct acpi_pm_state, control),
    FIELD(4, struct acpi_pm_state, gpe_status),
    FIELD(5, struct acpi_pm_state, gpe_enable),
    FIELD(6, struct acpi_pm_state, smi_command),
    FIELD(7, struct acpi_pm_state, smi_status),
    FIELD(8, struct acpi_pm_state, timer_half),
    FIELD_END,
};

struct acpi_pm {
    struct dev dev;
    struct acpi_pm_state s;
    struct acpi_pm_config config;
    struct timer timer;
};

static uint64_t timer_count(const struct acpi_pm *pm)
{
    return (unsigned __int128)(uint64_t)clock_now(pm->dev.env->clock) * PM_TIMER_HZ / NANOSECONDS_PER_SECOND;
}

/* The top bit of the counter: its every change sets STATUS_TIMER. */
static unsigned top_bit(const struct acpi_pm *pm)
{
    return pm->config.timer_32bit ? 31 : 23;
}

static void account_timer(struct acpi_pm *pm)
{
    uint64_t half = timer_count(pm) >> top_bit(pm);

    if (half != pm->s.timer_half)
        pm->s.status |= STATUS_TIMER;
    pm->s.timer_half = half;
}

static void arm_timer(struct acpi_pm *pm)
{
    unsigned __int128 count = (unsigned __int128)((timer_count(pm) >> top_bit(pm)) + 1) << top_bit(pm);

    timer_cancel(&pm->timer);
    if ((pm->s.enable & STATUS_TIMER) != 0 && (pm->s.status & STATUS_TIMER) == 0)
        timer_set(&pm->timer, (int64_t)((count * NANOSECONDS_PER_SECOND + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
}

static void update(struct acpi_pm *pm)
{
    const struct acpi_pm_state *s = &pm->s;
    bool event = (s->status & s->enable) != 0 || (s->gpe_status & s->gpe_enable) != 0;

    irq_set(&pm->config.sci, event && (s->control & CONTROL_SCI_ENABLE) != 0);
    arm_timer(pm);
}

static void timer_reached(void *ctx)
{
    struct acpi_pm *pm = ctx;

    account_timer(pm);
    update(pm);
}

void acpi_pm_power_button(struct dev *dev)
{
    struct acpi_pm *pm = CONTAINER_OF(dev, struct acpi_pm, dev);

    pm->s.status |= STATUS_POWER_BUTTON;
    update(pm);
}

void acpi_pm_event(struct dev *dev, unsigned number)
{
    struct acpi_pm *pm = CONTAINER_OF(dev, struct acpi_pm, dev);

    if (number > 15)
        return;
    pm->s.gpe_status |= BIT(number);
    update(pm);
}

static void write_control(struct acpi_pm *pm, uint16_t value)
{
    pm->s.control = (pm->s.control & CONTROL_SCI_ENABLE) | (value & CONTROL_KEPT);
    if ((value & CONTROL_SLEEP_ENABLE) != 0 && bit_range(value, 12, 10) == pm->config.s5_sleep_type)
        pm->config.power_off(pm->config.ctx);
}

static void write_smi(struct acpi_pm *pm, uint16_t value, uint16_t mask)
{
    if ((mask & 0xff00) != 0)
        pm->s.smi_status = value >> 8;
    if ((mask & 0xff) == 0)
        return;
    pm->s.smi_command = value;
    if (pm->s.smi_command == pm->config.acpi_enable)
        pm->s.control |= CONTROL_SCI_ENABLE;
    else if (pm->s.smi_command == pm->config.acpi_disable)
        pm->s.control &= ~CONTROL_SCI_ENABLE;
}

static uint32_t read_window(struct acpi_pm *pm, unsigned window)
{
    const struct acpi_pm_state *s = &pm->s;

    switch (window) {
    case ACPI_PM_WINDOW_EVENT:
        account_timer(pm);
        update(pm);
        return s->status | (uint32_t)s->enable << 16;
    case ACPI_PM_WINDOW_CONTROL:
        return s->control;
    case ACPI_PM_WINDOW_TIMER:
        return timer_count(pm) & (BIT(top_bit(pm) + 1) - 1);
    case ACPI_PM_WINDOW_GPE0:
        return s->gpe_status | (uint32_t)s->gpe_enable << 16;
    case ACPI_PM_WINDOW_SMI:
        return s->smi_command | s->smi_status << 8;
    default:
        return UINT32_MAX;
    }
}

/* A status half that is cleared by ones, and an enable half. */
static void write_event_pair(uint16_t *status, uint16_t *enable, uint32_t value, uint32_t mask)
{
    *status &= ~(value & mask);
    *enable = (*enable & ~(mask >> 16)) | (value & mask) >> 16;
}

/* mask: the bits of the window's 32 that the guest wrote. */
static void write_window(struct acpi_pm *pm, unsigned window, uint32_t value, uint32_t mask)
{
    struct acpi_pm_state *s = &pm->s;

    switch (window) {
    case ACPI_PM_WINDOW_EVENT:
        account_timer(pm);
        write_event_pair(&s->status, &s->enable, value, mask);
        s->enable &= ENABLE_BITS;
        break;
    case ACPI_PM_WINDOW_CONTROL:
        write_control(pm, (s->control & ~mask) | (value & mask));
        break;
    case ACPI_PM_WINDOW_GPE0:
        write_event_pair(&s->gpe_status, &s->gpe_enable, value, mask);
        break;
    case ACPI_PM_WINDOW_SMI:
        write_smi(pm, value, mask);
        break;
    }
    update(pm);
}

static uint64_t acpi_pm_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct acpi_pm *pm = CONTAINER_OF(dev, struct acpi_pm, dev);

    return offset > 3 ? 0 : truncate_to(read_window(pm, window) >> (8 * offset), size);
}

static void acpi_pm_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct acpi_pm *pm = CONTAINER_OF(dev, struct acpi_pm, dev);

    if (offset <= 3)
        write_window(pm, window, value << (8 * offset), truncate_to(UINT64_MAX, size) << (8 * offset));
}

static int acpi_pm_init(struct dev *dev, const void *config, struct err *err)
{
    struct acpi_pm *pm = CONTAINER_OF(dev, struct acpi_pm, dev);

    pm->config = *(const struct acpi_pm_config *)config;
    timer_init(&pm->timer, dev->env->timers, timer_reached, pm);
    return 0;
}

static void acpi_pm_reset(struct dev *dev)
{
    struct acpi_pm *pm = CONTAINER_OF(dev, struct acpi_pm, dev);

    pm->s = (struct acpi_pm_state){.timer_half = timer_count(pm) >> top_bit(pm)};
    /* Without an SMI command port there is no legacy mode to start in. */
    if (pm->config.acpi_enable == pm->config.acpi_disable)
        pm->s.control = CONTROL_SCI_ENABLE;
    update(pm);
}

static int acpi_pm_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct acpi_pm_state *s = state;

    if ((s->status & ~STATUS_BITS) != 0 || (s->enable & ~ENABLE_BITS) != 0 ||
        (s->control & ~(CONTROL_KEPT | CONTROL_SCI_ENABLE)) != 0)
        return err_set(err, -EBADMSG, "a register holds bits that it does not have");
    return 0;
}

static void acpi_pm_loaded(struct dev *dev)
{
    update(CONTAINER_OF(dev, struct acpi_pm, dev));
}

static void acpi_pm_fini(struct dev *dev)
{
    timer_cancel(&CONTAINER_OF(dev, struct acpi_pm, dev)->timer);
}

const struct dev_type acpi_pm_type = {
    .name = "acpi-pm",
    .size = sizeof(struct acpi_pm),
    .state_offset = offsetof(struct acpi_pm, s),
    .state_size = sizeof(struct acpi_pm_state),
    .fields = acpi_pm_fields,
    .version = 1,
    .init = acpi_pm_init,
    .reset = acpi_pm_reset,
    .read = acpi_pm_read,
    .write = acpi_pm_write,
    .check = acpi_pm_check,
    .loaded = acpi_pm_loaded,
    .fini = acpi_pm_fini,
};
