/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O APIC: 82093AA with 24 pins; version 0x20 adds the EOI register. Section "ioapic", layout of state/irqchip.h.
 *
 * A pin's level is what devices assert: the polarity bit is kept and not looked at, as in KVM. */
#ifndef FERRY_DEVICES_PC_IOAPIC_H
#define FERRY_DEVICES_PC_IOAPIC_H

#include <stdbool.h>

#include "bus/dev.h"

struct ioapic_config {
    void *ctx;
    /* Sends one interrupt message to the local APICs; delivery_mode as in the redirection entry (0 fixed, 1 lowest
     * priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT). True when somebody took it. */
    bool (*deliver)(void *ctx, uint8_t destination, bool logical, unsigned delivery_mode, uint8_t vector,
                    bool level_triggered);
    uint8_t version; /* 0x11 or 0x20 */
};

extern const struct dev_type ioapic_type; /* window 0: 4 KiB */

/* Drives pin 0..23. */
void ioapic_set_line(struct dev *ioapic, unsigned pin, bool level);

/* A local APIC ended a level-triggered interrupt. */
void ioapic_end_of_interrupt(struct dev *ioapic, uint8_t vector);

#endif
