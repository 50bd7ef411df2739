/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local APIC, one device per CPU: instance = CPU number = initial APIC ID. xAPIC, x2APIC, TSC deadline (Intel SDM vol. 3
 * ch. 11). Section "lapic", layout of state/irqchip.h.
 *
 * All local APICs of a VM share one group, through which interrupt messages find their targets. The timer counts at 1 GHz
 * before its divider, as KVM's does. SMIs are dropped: there is no SMM. */
#ifndef FERRY_DEVICES_PC_LAPIC_H
#define FERRY_DEVICES_PC_LAPIC_H

#include <stdbool.h>

#include "bus/dev.h"

#define LAPIC_GROUP_MAX 64

/* Zeroed and owned by the board; outlives the devices, which enter themselves. */
struct lapic_group {
    unsigned count;                     /* highest entry in use + 1 */
    struct dev *lapic[LAPIC_GROUP_MAX]; /* by instance; NULL: none */
    unsigned turn;                      /* where the next lowest-priority arbitration begins */
};

struct lapic_config {
    struct lapic_group *group;
    void *ctx;
    void (*set_interrupt)(void *ctx, unsigned cpu, bool level); /* INTR pin; told of changes only */
    void (*nmi)(void *ctx, unsigned cpu);
    void (*init)(void *ctx, unsigned cpu);          /* INIT: the local APIC has reset itself already */
    void (*sipi)(void *ctx, unsigned cpu, uint8_t vector);
    void (*eoi_broadcast)(void *ctx, uint8_t vector); /* a level-triggered interrupt ended: for the I/O APIC */
    int (*extint_acknowledge)(void *ctx);           /* the vector from the 8259 pair, -1 none */
    uint64_t (*tsc_now)(void *ctx, unsigned cpu);
    uint32_t tsc_khz;
    uint8_t physical_bits; /* MAXPHYADDR: higher bits of IA32_APIC_BASE raise #GP */
    bool x2apic;           /* what CPUID offers; without it the mode can't be entered */
    bool tsc_deadline;     /* likewise; without it MSR 0x6e0 raises #GP */
    bool virtual_wire;     /* reset state as firmware leaves it: on CPU 0 LINT0 = ExtINT; LINT1 = NMI everywhere */
};

extern const struct dev_type lapic_type; /* window 0: the 4 KiB register page */

/* Whether this CPU's register page answers at that guest-physical address now (xAPIC mode, enabled, its base). */
bool lapic_covers(const struct dev *lapic, uint64_t address);

/* IA32_APIC_BASE (0x1b), IA32_TSC_DEADLINE (0x6e0) and 0x800..0x8ff. 0, or -EINVAL for #GP. */
int lapic_msr_read(struct dev *lapic, uint32_t msr, uint64_t *ret_value);
int lapic_msr_write(struct dev *lapic, uint32_t msr, uint64_t value);

/* CR8, 0..15. */
uint64_t lapic_tpr_read(const struct dev *lapic);
void lapic_tpr_write(struct dev *lapic, uint64_t value);

/* The CPU takes an interrupt: its vector, moved from IRR to ISR or fetched from the 8259s; -1 when there is none. */
int lapic_acknowledge(struct dev *lapic);

/* What config.tsc_khz said is no longer so. */
void lapic_set_tsc_khz(struct dev *lapic, uint32_t khz);

/* Level of the INTR pin as last told. */
bool lapic_output(const struct dev *lapic);

/* The local interrupt pins: 0 (the 8259s' INT) and 1 (NMI). */
void lapic_set_lint(struct dev *lapic, unsigned pin, bool level);

/* INIT without telling the CPU (whose reset the caller does). Base, mode and ID stay. */
void lapic_init(struct dev *lapic);

/* One message on the APIC bus, delivery_mode as in the ICR. destination is 8 bits wide unless x2apic addresses are meant:
 * 0xff from an I/O APIC or MSI is the broadcast. True when at least one local APIC took it. */
bool lapic_deliver(struct lapic_group *group, uint32_t destination, bool logical, unsigned delivery_mode, uint8_t vector,
                   bool level_triggered);

/* The same to each CPU of a bitmap whose first bit is that of APIC ID `first`. Returns how many took it. */
unsigned lapic_deliver_many(struct lapic_group *group, const uint64_t bitmap[static 2], uint32_t first, unsigned delivery_mode,
                            uint8_t vector);

/* A write to the MSI range 0xfee00000..0xfeefffff. Others are dropped. */
void lapic_msi(struct lapic_group *group, uint64_t address, uint32_t data);

#endif
