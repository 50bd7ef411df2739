/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller with a PS/2 keyboard and mouse that answer commands (no keys yet), and the fast A20 and
 * reset port 0x92. Section "i8042". */
#ifndef FERRY_DEVICES_PC_I8042_H
#define FERRY_DEVICES_PC_I8042_H

#include <stdbool.h>

#include "bus/dev.h"

enum {
    I8042_WINDOW_DATA,    /* 1 port: 0x60 */
    I8042_WINDOW_COMMAND, /* 1 port: 0x64 */
    I8042_WINDOW_FAST,    /* 1 port: 0x92 */
};

struct i8042_config {
    struct irq_line keyboard, mouse;
    void *ctx;
    void (*reset)(void *ctx);            /* the guest asks for a machine reset; may be NULL */
    void (*a20)(void *ctx, bool enable); /* may be NULL */
};

extern const struct dev_type i8042_type;

#endif
