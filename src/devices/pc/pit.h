/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8254 interval timer and the port 0x61 bits around it. Section "pit", layout of state/irqchip.h.
 *
 * Counters run on the VM's clock at 1193182 Hz. Interrupts that come too late to be seen apart are one interrupt. A low
 * gate does not hold counters in modes 0 and 4; a rising gate restarts modes 1, 2, 3 and 5. */
#ifndef FERRY_DEVICES_PC_PIT_H
#define FERRY_DEVICES_PC_PIT_H

#include "bus/dev.h"

enum {
    PIT_WINDOW_COUNTERS, /* 4 ports: 0x40 */
    PIT_WINDOW_SPEAKER,  /* 1 port: 0x61 */
};

struct pit_config {
    struct irq_line irq; /* output of counter 0 */
};

extern const struct dev_type pit_type;

#endif
