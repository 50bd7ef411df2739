/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices that kvm-unit-tests expects (--testdev): a latch, a page flush, interrupt lines, memory reached as MMIO, and
 * the exit port. Section "testdev". */
#ifndef FERRY_DEVICES_PC_TESTDEV_H
#define FERRY_DEVICES_PC_TESTDEV_H

#include <stdbool.h>

#include "bus/dev.h"

enum {
    TESTDEV_WINDOW_LATCH,  /* 4 ports: 0xe0, a 32-bit register in bytes */
    TESTDEV_WINDOW_FLUSH,  /* 4 ports: 0xe4, a guest-physical address; nothing to flush here */
    TESTDEV_WINDOW_BYTE,   /* 1 port: 0xe8 */
    TESTDEV_WINDOW_EXIT,   /* 4 ports: 0xf4 */
    TESTDEV_WINDOW_IRQ,    /* 24 ports: 0x2000, one a GSI; bit 0 is the level */
    TESTDEV_WINDOW_MEMORY, /* 64 KiB MMIO: 0xff000000 */
};

struct testdev_config {
    void *ctx;
    void (*set_line)(void *ctx, unsigned gsi, bool level);
    void (*exit)(void *ctx, uint32_t status); /* the process's exit status is to be (value written << 1) | 1 */
};

extern const struct dev_type testdev_type;

#endif
