/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC: accepting, prioritising and ending interrupts, and messages between local APICs. */
#include <errno.h>

#include "base/err.h"
#include "devices/pc/lapic_internal.h"

#define BASE_RESET UINT64_C(0xfee00000)
#define FIRST_VALID_VECTOR 16
#define TIMER_START_MAX (INT64_MAX / 2)
#define LVT_BITS 0x7f7ffu /* every bit that some LVT entry has */

static bool test_vector(const uint32_t *bitmap, unsigned vector)
{
    return (bitmap[vector / 32] >> (vector % 32) & 1) != 0;
}

static void set_vector(uint32_t *bitmap, unsigned vector, bool value)
{
    uint32_t bit = 1u << (vector % 32);

    bitmap[vector / 32] = value ? bitmap[vector / 32] | bit : bitmap[vector / 32] & ~bit;
}

static int highest_vector(const uint32_t *bitmap)
{
    for (int i = 7; i >= 0; i--) {
        if (bitmap[i] != 0)
            return i * 32 + 31 - __builtin_clz(bitmap[i]);
    }
    return -1;
}

uint8_t lapic_processor_priority(const struct lapic *lapic)
{
    int in_service = highest_vector(lapic->s.isr);
    unsigned class = in_service < 0 ? 0 : in_service & 0xf0;

    return (lapic->s.tpr & 0xf0) >= class ? lapic->s.tpr : class;
}

/* The vector that the CPU may take now, or -1. */
static int deliverable(const struct lapic *lapic)
{
    int vector = lapic_enabled(lapic) ? highest_vector(lapic->s.irr) : -1;

    return (vector & 0xf0) > (lapic_processor_priority(lapic) & 0xf0) ? vector : -1;
}

static unsigned lvt_delivery_mode(uint32_t entry)
{
    return entry >> 8 & 7;
}

static bool extint_requested(const struct lapic *lapic)
{
    uint32_t lint0 = lapic->s.lvt[LAPIC_LVT_LINT0];

    if (!lapic_enabled(lapic))
        return lapic->lint[0];
    return lapic->extint_message || (lapic->lint[0] && (lint0 & LAPIC_LVT_MASKED) == 0 &&
                                     lvt_delivery_mode(lint0) == LAPIC_DELIVERY_EXTINT);
}

static void tell_output(struct lapic *lapic)
{
    lapic->output = extint_requested(lapic) || deliverable(lapic) >= 0;
    lapic->config.set_interrupt(lapic->config.ctx, lapic->dev.instance, lapic->output);
}

void lapic_update(struct lapic *lapic)
{
    bool output = extint_requested(lapic) || deliverable(lapic) >= 0;

    if (output != lapic->output)
        tell_output(lapic);
}

bool lapic_output(const struct dev *dev)
{
    return CONTAINER_OF(dev, struct lapic, dev)->output;
}

static void request(struct lapic *lapic, uint8_t vector, bool level)
{
    set_vector(lapic->s.irr, vector, true);
    set_vector(lapic->s.tmr, vector, level);
    lapic_update(lapic);
}

void lapic_error(struct lapic *lapic, uint32_t bits)
{
    uint32_t entry = lapic->s.lvt[LAPIC_LVT_ERROR];
    bool known = (lapic->s.esr_pending & bits) == bits;

    lapic->s.esr_pending |= bits;
    if (known || (entry & LAPIC_LVT_MASKED) != 0)
        return;
    if ((entry & 0xff) >= FIRST_VALID_VECTOR)
        request(lapic, entry, false);
    else
        lapic->s.esr_pending |= LAPIC_ERROR_RECEIVE_VECTOR;
}

static bool accept_vector(struct lapic *lapic, uint8_t vector, bool level)
{
    if (!lapic_software_enabled(lapic))
        return false;
    if (vector < FIRST_VALID_VECTOR)
        lapic_error(lapic, LAPIC_ERROR_RECEIVE_VECTOR);
    else
        request(lapic, vector, level);
    return true;
}

static bool accept_message(struct lapic *lapic, unsigned delivery_mode, uint8_t vector, bool level)
{
    const struct lapic_config *c = &lapic->config;
    unsigned cpu = lapic->dev.instance;

    switch (delivery_mode) {
    case LAPIC_DELIVERY_FIXED:
    case LAPIC_DELIVERY_LOWEST:
        return accept_vector(lapic, vector, level);
    case LAPIC_DELIVERY_SMI:
        return true;
    case LAPIC_DELIVERY_NMI:
        c->nmi(c->ctx, cpu);
        return true;
    case LAPIC_DELIVERY_INIT:
        lapic_init(&lapic->dev);
        c->init(c->ctx, cpu);
        return true;
    case LAPIC_DELIVERY_STARTUP:
        c->sipi(c->ctx, cpu, vector);
        return true;
    case LAPIC_DELIVERY_EXTINT:
        lapic->extint_message = true;
        lapic_update(lapic);
        return true;
    }
    return false;
}

void lapic_deliver_local(struct lapic *lapic, unsigned lvt)
{
    uint32_t entry = lapic->s.lvt[lvt];
    bool pin = lvt == LAPIC_LVT_LINT0 || lvt == LAPIC_LVT_LINT1;
    bool has_mode = pin || lvt == LAPIC_LVT_THERMAL || lvt == LAPIC_LVT_PERFORMANCE;
    unsigned mode = has_mode ? lvt_delivery_mode(entry) : LAPIC_DELIVERY_FIXED;

    if (!lapic_enabled(lapic) || (entry & LAPIC_LVT_MASKED) != 0)
        return;
    /* ExtINT follows the pin's level: see extint_requested(). */
    if (mode == LAPIC_DELIVERY_FIXED || mode == LAPIC_DELIVERY_NMI || mode == LAPIC_DELIVERY_INIT)
        accept_message(lapic, mode, entry, false);
}

static bool lint0_is_level(uint32_t entry)
{
    return (entry & LAPIC_LVT_LEVEL) != 0 && lvt_delivery_mode(entry) == LAPIC_DELIVERY_FIXED;
}

void lapic_serve_lint0(struct lapic *lapic)
{
    uint32_t *entry = &lapic->s.lvt[LAPIC_LVT_LINT0];

    if (!lapic->lint[0] || !lint0_is_level(*entry) || (*entry & (LAPIC_LVT_MASKED | LAPIC_LVT_REMOTE_IRR)) != 0)
        return;
    if (accept_vector(lapic, *entry, true) && (*entry & 0xff) >= FIRST_VALID_VECTOR)
        *entry |= LAPIC_LVT_REMOTE_IRR;
}

void lapic_set_lint(struct dev *dev, unsigned pin, bool level)
{
    struct lapic *lapic = lapic_of(dev);
    unsigned lvt = pin == 0 ? LAPIC_LVT_LINT0 : LAPIC_LVT_LINT1;
    bool rise;

    if (pin > 1)
        return;
    rise = level && !lapic->lint[pin];
    lapic->lint[pin] = level;
    if (rise && !lapic_enabled(lapic) && pin == 1)
        lapic->config.nmi(lapic->config.ctx, lapic->dev.instance);
    else if (pin == 0 && lint0_is_level(lapic->s.lvt[lvt]))
        lapic_serve_lint0(lapic);
    else if (rise)
        lapic_deliver_local(lapic, lvt);
    lapic_update(lapic);
}

int lapic_acknowledge(struct dev *dev)
{
    struct lapic *lapic = lapic_of(dev);
    int vector = -1;

    if (extint_requested(lapic)) {
        lapic->extint_message = false;
        vector = lapic->config.extint_acknowledge(lapic->config.ctx);
    }
    if (vector < 0) {
        vector = deliverable(lapic);
        if (vector >= 0) {
            set_vector(lapic->s.irr, vector, false);
            set_vector(lapic->s.isr, vector, true);
        }
    }
    lapic_update(lapic);
    return vector;
}

void lapic_end_of_interrupt(struct lapic *lapic)
{
    uint32_t *lint0 = &lapic->s.lvt[LAPIC_LVT_LINT0];
    int vector = highest_vector(lapic->s.isr);

    if (vector < 0)
        return;
    set_vector(lapic->s.isr, vector, false);
    if (test_vector(lapic->s.tmr, vector)) {
        if ((*lint0 & 0xff) == (unsigned)vector)
            *lint0 &= ~LAPIC_LVT_REMOTE_IRR;
        lapic_serve_lint0(lapic);
        lapic->config.eoi_broadcast(lapic->config.ctx, vector);
    }
    lapic_update(lapic);
}

/* Whether a message's destination names this local APIC. */
static bool addressed(const struct lapic *lapic, uint32_t destination, bool logical)
{
    const struct lapic_state *s = &lapic->s;
    uint32_t ldr;

    if (destination == LAPIC_BROADCAST)
        return true;
    if (!logical)
        return destination == s->id;
    if (lapic_is_x2apic(lapic)) {
        ldr = lapic_x2apic_ldr(s->id);
        return destination >> 16 == ldr >> 16 && (destination & ldr & 0xffff) != 0;
    }
    ldr = s->ldr >> 24;
    if (destination > 0xff)
        return false;
    if (s->dfr >> 28 == 0xf)
        return (destination & ldr) != 0;
    return s->dfr >> 28 == 0 && destination >> 4 == ldr >> 4 && (destination & ldr & 0xf) != 0;
}

static struct lapic *member(const struct lapic_group *group, unsigned index)
{
    struct dev *dev = group->lapic[index];

    return dev != NULL && lapic_enabled(lapic_of(dev)) ? lapic_of(dev) : NULL;
}

static bool deliver_lowest(struct lapic_group *group, uint32_t destination, bool logical, uint8_t vector, bool level)
{
    struct lapic *best = NULL;

    for (unsigned i = 0; i < group->count; i++) {
        struct lapic *lapic = member(group, (group->turn + i) % group->count);

        if (lapic == NULL || !lapic_software_enabled(lapic) || !addressed(lapic, destination, logical))
            continue;
        if (best == NULL || lapic_processor_priority(lapic) < lapic_processor_priority(best))
            best = lapic;
    }
    if (best == NULL)
        return false;
    group->turn = (best->dev.instance + 1) % group->count;
    return accept_vector(best, vector, level);
}

static bool deliver(struct lapic_group *group, uint32_t destination, bool logical, unsigned delivery_mode,
                    uint8_t vector, bool level, const struct lapic *except)
{
    bool taken = false;

    if (delivery_mode == LAPIC_DELIVERY_LOWEST && except == NULL)
        return deliver_lowest(group, destination, logical, vector, level);
    for (unsigned i = 0; i < group->count; i++) {
        struct lapic *lapic = member(group, i);

        if (lapic != NULL && lapic != except && addressed(lapic, destination, logical))
            taken |= accept_message(lapic, delivery_mode, vector, level);
    }
    return taken;
}

/* An 8-bit destination of all ones is the broadcast, whatever mode the targets are in. */
static uint32_t widen_destination(uint8_t destination)
{
    return destination == 0xff ? LAPIC_BROADCAST : destination;
}

bool lapic_deliver(struct lapic_group *group, uint32_t destination, bool logical, unsigned delivery_mode, uint8_t vector,
                   bool level_triggered)
{
    uint32_t wide = destination <= 0xff ? widen_destination(destination) : destination;

    return deliver(group, wide, logical, delivery_mode, vector, level_triggered, NULL);
}

unsigned lapic_deliver_many(struct lapic_group *group, const uint64_t bitmap[static 2], uint32_t first, unsigned delivery_mode,
                            uint8_t vector)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < 128 && first + (uint64_t)i < LAPIC_GROUP_MAX; i++)
        if (bitmap[i / 64] & BIT(i % 64))
            taken += lapic_deliver(group, first + i, false, delivery_mode, vector, false);
    return taken;
}

/* SDM vol. 3 section 11.11. The redirection hint without lowest priority means the same as no hint for one target. */
void lapic_msi(struct lapic_group *group, uint64_t address, uint32_t data)
{
    bool level = (data & BIT(15)) != 0;

    if ((address & ~UINT64_C(0xfffff)) != BASE_RESET || (level && (data & BIT(14)) == 0))
        return;
    lapic_deliver(group, bit_range(address, 19, 12), (address & BIT(2)) != 0, bit_range(data, 10, 8), data, level);
}

void lapic_send_self(struct lapic *lapic, uint8_t vector)
{
    if (vector < FIRST_VALID_VECTOR)
        lapic_error(lapic, LAPIC_ERROR_SEND_VECTOR);
    else
        accept_vector(lapic, vector, false);
}

void lapic_send(struct lapic *lapic)
{
    struct lapic_group *group = lapic->config.group;
    uint64_t icr = lapic->s.icr;
    unsigned mode = bit_range(icr, 10, 8);
    bool logical = (icr & BIT(11)) != 0;
    uint32_t destination = lapic_is_x2apic(lapic) ? icr >> 32 : widen_destination(icr >> 56);
    uint8_t vector = icr;

    /* INIT level de-assert only ever set arbitration IDs. */
    if (mode == LAPIC_DELIVERY_INIT && (icr & BIT(15)) != 0 && (icr & BIT(14)) == 0)
        return;
    if (mode <= LAPIC_DELIVERY_LOWEST && vector < FIRST_VALID_VECTOR) {
        lapic_error(lapic, LAPIC_ERROR_SEND_VECTOR);
        return;
    }
    switch (bit_range(icr, 19, 18)) {
    case 0:
        deliver(group, destination, logical, mode, vector, false, NULL);
        break;
    case 1:
        accept_message(lapic, mode, vector, false);
        break;
    case 2:
        deliver(group, LAPIC_BROADCAST, false, mode, vector, false, NULL);
        break;
    case 3:
        deliver(group, LAPIC_BROADCAST, false, mode, vector, false, lapic);
        break;
    }
}

/* What both INIT and power-on do. */
static void reset_registers(struct lapic *lapic, uint64_t base_msr, uint32_t id)
{
    timer_cancel(&lapic->timer);
    lapic->timer_stopped = false;
    lapic->extint_message = false;
    lapic->s = (struct lapic_state){.base_msr = base_msr, .id = id, .dfr = UINT32_MAX, .svr = 0xff};
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++)
        lapic->s.lvt[i] = LAPIC_LVT_MASKED;
}

void lapic_init(struct dev *dev)
{
    struct lapic *lapic = lapic_of(dev);

    reset_registers(lapic, lapic->s.base_msr, lapic->s.id);
    lapic_update(lapic);
}

static void lapic_reset(struct dev *dev)
{
    struct lapic *lapic = lapic_of(dev);

    reset_registers(lapic, BASE_RESET | LAPIC_BASE_ENABLE | (dev->instance == 0 ? LAPIC_BASE_BSP : 0), dev->instance);
    if (lapic->config.virtual_wire) {
        lapic->s.lvt[LAPIC_LVT_LINT1] = LAPIC_DELIVERY_NMI << 8;
        if (dev->instance == 0)
            lapic->s.lvt[LAPIC_LVT_LINT0] = LAPIC_DELIVERY_EXTINT << 8;
    }
    tell_output(lapic);
}

static int lapic_dev_init(struct dev *dev, const void *config, struct err *err)
{
    struct lapic *lapic = lapic_of(dev);
    struct lapic_group *group;

    lapic->config = *(const struct lapic_config *)config;
    group = lapic->config.group;
    timer_init(&lapic->timer, dev->env->timers, lapic_timer_expired, lapic);
    if (dev->instance >= LAPIC_GROUP_MAX || group->lapic[dev->instance] != NULL) {
        lapic->config.group = NULL;
        return err_set(err, -EINVAL, "there can't be a CPU with APIC ID %u: at most %u, each once", dev->instance,
                       LAPIC_GROUP_MAX);
    }
    if (lapic->config.physical_bits < 32 || lapic->config.physical_bits > 52 || lapic->config.tsc_khz == 0) {
        lapic->config.group = NULL;
        return err_set(err, -EINVAL, "a local APIC needs 32 to 52 physical address bits and a TSC that runs, not %u bits and %u kHz",
                       lapic->config.physical_bits, lapic->config.tsc_khz);
    }
    group->lapic[dev->instance] = dev;
    if (group->count <= dev->instance)
        group->count = dev->instance + 1;
    return 0;
}

static void lapic_fini(struct dev *dev)
{
    struct lapic *lapic = lapic_of(dev);

    timer_cancel(&lapic->timer);
    if (lapic->config.group != NULL)
        lapic->config.group->lapic[dev->instance] = NULL;
}

static void lapic_saving(struct dev *dev)
{
    lapic_timer_bring_up_to_date(lapic_of(dev));
}

bool lapic_base_is_possible(const struct lapic *lapic, uint64_t base)
{
    uint64_t known = align_down(UINT64_MAX >> (64 - lapic->config.physical_bits), 4096) | LAPIC_BASE_BSP |
                     LAPIC_BASE_ENABLE | (lapic->config.x2apic ? LAPIC_BASE_X2APIC : 0);

    return (base & ~known) == 0 && ((base & LAPIC_BASE_X2APIC) == 0 || (base & LAPIC_BASE_ENABLE) != 0);
}

static int lapic_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct lapic *lapic = CONTAINER_OF(dev, struct lapic, dev);
    const struct lapic_state *s = state;
    bool x2apic = (s->base_msr & LAPIC_BASE_X2APIC) != 0;

    if (!lapic_base_is_possible(lapic, s->base_msr))
        return err_set(err, -EBADMSG, "IA32_APIC_BASE 0x%llx is not possible on this CPU model",
                       (unsigned long long)s->base_msr);
    if (x2apic ? s->id != dev->instance : s->id > 0xff)
        return err_set(err, -EBADMSG, "APIC ID %u does not belong to this CPU", s->id);
    if (s->timer_start > TIMER_START_MAX || s->timer_start < -TIMER_START_MAX)
        return err_set(err, -EBADMSG, "the timer started centuries away from now");
    if (s->tpr > 0xff || (s->timer_divide & ~0xbu) != 0 || ((s->isr[0] | s->irr[0]) & 0xffff) != 0)
        return err_set(err, -EBADMSG, "a register holds bits that it does not have");
    for (unsigned i = 0; i < LAPIC_LVT_COUNT; i++) {
        if ((s->lvt[i] & ~LVT_BITS) != 0)
            return err_set(err, -EBADMSG, "local vector table entry %u sets reserved bits", i);
    }
    if ((s->lvt[LAPIC_LVT_TIMER] >> 17 & 3) == LAPIC_TIMER_DEADLINE && !lapic->config.tsc_deadline)
        return err_set(err, -EBADMSG, "the timer is in TSC deadline mode, which this CPU model does not have");
    return 0;
}

static void lapic_loaded(struct dev *dev)
{
    struct lapic *lapic = lapic_of(dev);

    lapic_timer_loaded(lapic);
    tell_output(lapic);
}

const struct dev_type lapic_type = {
    .name = "lapic",
    .size = sizeof(struct lapic),
    .state_offset = offsetof(struct lapic, s),
    .state_size = sizeof(struct lapic_state),
    .fields = lapic_state_fields,
    .version = 1,
    .init = lapic_dev_init,
    .reset = lapic_reset,
    .read = lapic_mmio_read,
    .write = lapic_mmio_write,
    .saving = lapic_saving,
    .check = lapic_check,
    .loaded = lapic_loaded,
    .set_running = lapic_timer_set_running,
    .fini = lapic_fini,
};
