/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one saved layout of PIC, PIT, IOAPIC and local APIC, wherever they live (our devices, or the kernel with KVM).
 *
 * It stands in this room because both the engines and the devices speak it, and neither may know the other.
 * Register meanings: Intel SDM vol. 3 ch. 11 (local APIC), 82093AA (IOAPIC), 8259A, 8254 data sheets. */
#ifndef FERRY_STATE_IRQCHIP_H
#define FERRY_STATE_IRQCHIP_H

#include <stdint.h>

#include "state/field.h"

struct pic_state { /* one 8259A */
    uint8_t irr, imr, isr;
    uint8_t last_lines;      /* input levels last seen, for edge detection */
    uint8_t elcr;            /* 1 = level triggered */
    uint8_t vector_base;     /* ICW2, low three bits zero */
    uint8_t init_state;      /* next ICW expected: 0 none, 2, 3, 4 */
    uint8_t icw4_needed;
    uint8_t auto_eoi;
    uint8_t rotate_on_auto_eoi;
    uint8_t special_mask;
    uint8_t special_fully_nested;
    uint8_t priority_add;    /* the IRQ number with the highest priority */
    uint8_t read_isr;        /* OCW3: next read of the command port gives ISR */
    uint8_t poll;
};
extern const struct field pic_state_fields[];

struct pit_channel_state { /* one counter of the 8254 */
    uint32_t count;          /* reload value, 1..65536 */
    uint16_t latched_count;
    uint8_t count_latched;   /* 0, or the access mode with which the latched value is read */
    uint8_t status_latched, status;
    uint8_t read_state, write_state, write_latch;
    uint8_t access_mode;     /* 1 low byte, 2 high byte, 3 low then high */
    uint8_t mode;            /* 0..5; 0xff: not programmed since RESET */
    uint8_t bcd;
    uint8_t gate;
    int64_t count_load_time; /* nanoseconds of the VM clock at which count was loaded */
};
struct pit_state {
    struct pit_channel_state channel[3];
    uint8_t speaker_data_on; /* port 0x61 bit 1 */
};
extern const struct field pit_state_fields[];

#define IOAPIC_PINS 24
struct ioapic_state {
    uint32_t id;             /* bits 27:24 of the ID register, here as a number 0..15 */
    uint32_t select;         /* IOREGSEL */
    uint32_t lines;          /* input levels, one bit a pin */
    uint64_t redirection[IOAPIC_PINS];
};
extern const struct field ioapic_state_fields[];

enum { LAPIC_LVT_TIMER, LAPIC_LVT_THERMAL, LAPIC_LVT_PERFORMANCE, LAPIC_LVT_LINT0, LAPIC_LVT_LINT1, LAPIC_LVT_ERROR,
       LAPIC_LVT_COUNT };
struct lapic_state {
    uint64_t base_msr;       /* IA32_APIC_BASE, with enable (11), x2APIC (10), BSP (8) */
    uint32_t id;             /* the APIC ID as a number: 8 bits in xAPIC mode, 32 in x2APIC mode */
    uint32_t tpr, ldr, dfr, svr, esr;
    uint32_t isr[8], tmr[8], irr[8];
    uint64_t icr;
    uint32_t lvt[LAPIC_LVT_COUNT];
    uint32_t timer_initial;  /* initial count */
    uint32_t timer_divide;   /* divide configuration register as written */
    int64_t timer_start;     /* nanoseconds of the VM clock at which the current period began */
    uint64_t tsc_deadline;   /* IA32_TSC_DEADLINE; 0 = not armed */
    uint32_t esr_pending;    /* errors that the next write to ESR will show */
};
extern const struct field lapic_state_fields[];

#endif
