/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the keyboard controller: the PS/2 keyboard and mouse behind it, which answer every command at once. */
#ifndef FERRY_DEVICES_PC_I8042_PS2_H
#define FERRY_DEVICES_PC_I8042_PS2_H

#include <stdint.h>

#include "state/field.h"

struct err;

#define PS2_QUEUE_SIZE 16

struct ps2_state {
    uint8_t count;            /* bytes waiting in the device */
    uint8_t queue[PS2_QUEUE_SIZE];
    uint8_t argument_of;      /* command whose argument byte is awaited; 0: none */
    uint8_t enabled;
    uint8_t rate;             /* keyboard: typematic; mouse: samples a second */
    uint8_t setting;          /* keyboard: scan code set; mouse: resolution */
    uint8_t flags;            /* keyboard: LEDs; mouse: bit 4 scaling 2:1, bit 6 remote mode */
};

extern const struct field ps2_fields[];

void ps2_reset_keyboard(struct ps2_state *keyboard);
void ps2_reset_mouse(struct ps2_state *mouse);

/* A byte of the guest's to the device; what it answers is in its queue. */
void ps2_write_keyboard(struct ps2_state *keyboard, uint8_t value);
void ps2_write_mouse(struct ps2_state *mouse, uint8_t value);

/* The next byte for the guest: count is not 0. */
uint8_t ps2_take(struct ps2_state *device);

/* Whether a loaded state is one. name: for the sentence; -EBADMSG. */
int ps2_check(const struct ps2_state *device, const char *name, struct err *err);

#endif
