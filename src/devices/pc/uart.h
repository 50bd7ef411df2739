/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A serial port with FIFOs. Section "uart".
 *
 * Bytes leave as fast as the backend takes them; while it takes none they stay in the transmit FIFO and the guest sees
 * it full. The line speed only times the receive FIFO's character time-out. OUT2 does not gate the interrupt. */
#ifndef FERRY_DEVICES_PC_UART_H
#define FERRY_DEVICES_PC_UART_H

#include "bus/dev.h"

struct character;

struct uart_config {
    struct irq_line irq;
    struct character *character; /* NULL: output vanishes, no input. The device takes its callbacks until it is freed */
};

extern const struct dev_type uart_type; /* window 0: 8 ports */

#endif
