/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8259A interrupt controller, with its edge/level control register. A PC has two: one device each.
 *
 * Saved as section "pic", instance 0 the primary chip, 1 the secondary one, in the layout of state/irqchip.h.
 * Make the secondary first; the primary connects itself to it (its output drives the primary's pin 2). */
#ifndef FERRY_DEVICES_PC_PIC_H
#define FERRY_DEVICES_PC_PIC_H

#include <stdbool.h>

#include "bus/dev.h"

enum {
    PIC_WINDOW_COMMAND, /* 2 ports: 0x20 or 0xa0 */
    PIC_WINDOW_ELCR,    /* 1 port: 0x4d0 or 0x4d1 */
};

struct pic_config {
    struct irq_line output; /* INT of the primary chip: the CPU's ExtINT. Not looked at in the secondary */
    struct dev *secondary;  /* NULL: this chip is the secondary. Outlives every call but dev_free of this one */
};

extern const struct dev_type pic_type;

/* Drives pin 0..7 of one chip. */
void pic_set_line(struct dev *pic, unsigned pin, bool level);

/* The CPU's INTA cycle at the primary chip: the vector of the highest request of the pair, which goes into service; a
 * spurious one (pin 7 of the secondary) when its request has gone. -1 when INT is low. */
int pic_acknowledge(struct dev *primary);

#endif
