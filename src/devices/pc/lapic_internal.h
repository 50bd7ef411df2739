/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the three files of the local APIC share: the device itself, and the steps that register writes set off. */
#ifndef FERRY_DEVICES_PC_LAPIC_INTERNAL_H
#define FERRY_DEVICES_PC_LAPIC_INTERNAL_H

#include "devices/pc/lapic.h"

#include "base/bits.h"
#include "event/timer.h"
#include "state/irqchip.h"

#define LAPIC_BASE_BSP BIT(8)
#define LAPIC_BASE_X2APIC BIT(10)
#define LAPIC_BASE_ENABLE BIT(11)

#define LAPIC_SVR_ENABLE BIT(8)

#define LAPIC_LVT_REMOTE_IRR BIT(14)
#define LAPIC_LVT_LEVEL BIT(15)
#define LAPIC_LVT_MASKED BIT(16)

enum {
    LAPIC_DELIVERY_FIXED,
    LAPIC_DELIVERY_LOWEST,
    LAPIC_DELIVERY_SMI,
    LAPIC_DELIVERY_NMI = 4,
    LAPIC_DELIVERY_INIT,
    LAPIC_DELIVERY_STARTUP,
    LAPIC_DELIVERY_EXTINT,
};

enum { LAPIC_TIMER_ONE_SHOT, LAPIC_TIMER_PERIODIC, LAPIC_TIMER_DEADLINE };

/* Bits of the error status register. */
enum {
    LAPIC_ERROR_SEND_VECTOR = 1 << 5,
    LAPIC_ERROR_RECEIVE_VECTOR = 1 << 6,
    LAPIC_ERROR_REGISTER = 1 << 7,
};

#define LAPIC_BROADCAST UINT32_MAX

struct lapic {
    struct dev dev;
    struct lapic_state s;
    struct lapic_config config;
    struct timer timer;
    bool timer_stopped;  /* ran out as one-shot, and a change to periodic does not start it again */
    bool lint[2];        /* pin levels */
    bool extint_message; /* an ExtINT came as a message */
    bool output;         /* level of INTR as last told */
};

static inline struct lapic *lapic_of(struct dev *dev)
{
    return CONTAINER_OF(dev, struct lapic, dev);
}

static inline bool lapic_enabled(const struct lapic *lapic)
{
    return (lapic->s.base_msr & LAPIC_BASE_ENABLE) != 0;
}

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
    return (lapic->s.base_msr & LAPIC_BASE_X2APIC) != 0;
}

static inline bool lapic_software_enabled(const struct lapic *lapic)
{
    return lapic_enabled(lapic) && (lapic->s.svr & LAPIC_SVR_ENABLE) != 0;
}

static inline uint32_t lapic_x2apic_ldr(uint32_t id)
{
    return (id >> 4) << 16 | 1u << (id & 15);
}

/* lapic.c */
bool lapic_base_is_possible(const struct lapic *lapic, uint64_t base); /* reserved bits, and mode bits */
uint8_t lapic_processor_priority(const struct lapic *lapic);
void lapic_update(struct lapic *lapic); /* recomputes INTR */
void lapic_error(struct lapic *lapic, uint32_t bits);
void lapic_end_of_interrupt(struct lapic *lapic);
void lapic_deliver_local(struct lapic *lapic, unsigned lvt);
void lapic_serve_lint0(struct lapic *lapic); /* a level-triggered fixed LINT0 */
void lapic_send(struct lapic *lapic);        /* the IPI that the ICR describes */
void lapic_send_self(struct lapic *lapic, uint8_t vector);

/* lapic_timer.c */
void lapic_timer_expired(void *ctx);
void lapic_timer_start(struct lapic *lapic);   /* initial count was written */
void lapic_timer_set_divide(struct lapic *lapic, uint32_t value);
void lapic_timer_set_lvt(struct lapic *lapic, uint32_t value);
void lapic_timer_loaded(struct lapic *lapic);
void lapic_timer_set_running(struct dev *dev, bool running);
void lapic_timer_bring_up_to_date(struct lapic *lapic);
void lapic_timer_set_deadline(struct lapic *lapic, uint64_t value);
unsigned lapic_timer_mode(const struct lapic *lapic);
uint32_t lapic_timer_current(const struct lapic *lapic);

/* lapic_registers.c */
uint64_t lapic_mmio_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size);
void lapic_mmio_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value);

#endif
