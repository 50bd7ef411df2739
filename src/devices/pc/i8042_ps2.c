/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A PS/2 keyboard and mouse. */
#include "devices/pc/i8042_ps2.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/err.h"

/* Commands and answers that keyboard and mouse share. */
enum {
    PS2_SET_RATE = 0xf3,
    PS2_IDENTIFY = 0xf2,
    PS2_ENABLE = 0xf4,
    PS2_DISABLE = 0xf5,
    PS2_DEFAULTS = 0xf6,
    PS2_RESEND = 0xfe,
    PS2_RESET = 0xff,
    PS2_ACKNOWLEDGE = 0xfa,
    PS2_TEST_PASSED = 0xaa,
};
enum { KEYBOARD_LEDS = 0xed, KEYBOARD_ECHO = 0xee, KEYBOARD_SCANCODE_SET = 0xf0 };
enum { MOUSE_SCALING_1 = 0xe6, MOUSE_SCALING_2, MOUSE_RESOLUTION, MOUSE_STATUS, MOUSE_STREAM, MOUSE_READ, MOUSE_REMOTE = 0xf0 };

const struct field ps2_fields[] = {
    FIELD(1, struct ps2_state, count),
    FIELD_ARRAY(2, struct ps2_state, queue),
    FIELD(3, struct ps2_state, argument_of),
    FIELD(4, struct ps2_state, enabled),
    FIELD(5, struct ps2_state, rate),
    FIELD(6, struct ps2_state, setting),
    FIELD(7, struct ps2_state, flags),
    FIELD_END,
};

static void enqueue(struct ps2_state *p, uint8_t value)
{
    if (p->count < PS2_QUEUE_SIZE)
        p->queue[p->count++] = value;
}

uint8_t ps2_take(struct ps2_state *p)
{
    uint8_t value = p->queue[0];

    memmove(p->queue, p->queue + 1, --p->count);
    return value;
}

static void keyboard_defaults(struct ps2_state *k, bool enabled)
{
    k->enabled = enabled;
    k->rate = 0x2b;
    k->setting = 2;
}

void ps2_reset_keyboard(struct ps2_state *k)
{
    keyboard_defaults(k, true);
}

void ps2_reset_mouse(struct ps2_state *m)
{
    m->enabled = 0;
    m->rate = 100;
    m->setting = 2;
    m->flags = 0;
}

static void keyboard_argument(struct ps2_state *k, uint8_t command, uint8_t value)
{
    enqueue(k, PS2_ACKNOWLEDGE);
    if (command == KEYBOARD_LEDS)
        k->flags = value & 7;
    else if (command == PS2_SET_RATE)
        k->rate = value & 0x7f;
    else if (value == 0)
        enqueue(k, k->setting);
    else if (value <= 3)
        k->setting = value;
}

static void keyboard_command(struct ps2_state *k, uint8_t value)
{
    switch (value) {
    case KEYBOARD_ECHO:
        enqueue(k, KEYBOARD_ECHO);
        return;
    case KEYBOARD_LEDS:
    case KEYBOARD_SCANCODE_SET:
    case PS2_SET_RATE:
        k->argument_of = value;
        break;
    case PS2_IDENTIFY:
        enqueue(k, PS2_ACKNOWLEDGE);
        enqueue(k, 0xab);
        enqueue(k, 0x83);
        return;
    case PS2_ENABLE:
        k->enabled = 1;
        break;
    case PS2_DISABLE:
    case PS2_DEFAULTS:
        keyboard_defaults(k, value == PS2_DEFAULTS);
        break;
    case PS2_RESET:
        keyboard_defaults(k, true);
        k->count = 0;
        enqueue(k, PS2_ACKNOWLEDGE);
        enqueue(k, PS2_TEST_PASSED);
        return;
    default:
        enqueue(k, PS2_RESEND);
        return;
    }
    enqueue(k, PS2_ACKNOWLEDGE);
}

void ps2_write_keyboard(struct ps2_state *k, uint8_t value)
{
    uint8_t command = k->argument_of;

    k->argument_of = 0;
    if (command != 0 && value < 0x80)
        keyboard_argument(k, command, value);
    else
        keyboard_command(k, value);
}

static void mouse_status(struct ps2_state *m)
{
    enqueue(m, PS2_ACKNOWLEDGE);
    enqueue(m, m->flags | m->enabled << 5);
    enqueue(m, m->setting);
    enqueue(m, m->rate);
}

/* A packet: nothing pressed, nothing moved. */
static void mouse_packet(struct ps2_state *m)
{
    enqueue(m, PS2_ACKNOWLEDGE);
    enqueue(m, 0x08);
    enqueue(m, 0);
    enqueue(m, 0);
}

static bool mouse_setting(struct ps2_state *m, uint8_t value)
{
    switch (value) {
    case MOUSE_SCALING_1:
    case MOUSE_SCALING_2:
        m->flags = (m->flags & ~0x10) | (value == MOUSE_SCALING_2 ? 0x10 : 0);
        return true;
    case MOUSE_STREAM:
    case MOUSE_REMOTE:
        m->flags = (m->flags & ~0x40) | (value == MOUSE_REMOTE ? 0x40 : 0);
        return true;
    case MOUSE_RESOLUTION:
    case PS2_SET_RATE:
        m->argument_of = value;
        return true;
    case PS2_ENABLE:
    case PS2_DISABLE:
        m->enabled = value == PS2_ENABLE;
        return true;
    case PS2_DEFAULTS:
        ps2_reset_mouse(m);
        return true;
    }
    return false;
}

static void mouse_command(struct ps2_state *m, uint8_t value)
{
    switch (value) {
    case MOUSE_STATUS:
        mouse_status(m);
        break;
    case MOUSE_READ:
        mouse_packet(m);
        break;
    case PS2_IDENTIFY:
        enqueue(m, PS2_ACKNOWLEDGE);
        enqueue(m, 0);
        break;
    case PS2_RESET:
        ps2_reset_mouse(m);
        m->count = 0;
        enqueue(m, PS2_ACKNOWLEDGE);
        enqueue(m, PS2_TEST_PASSED);
        enqueue(m, 0);
        break;
    default:
        enqueue(m, mouse_setting(m, value) ? PS2_ACKNOWLEDGE : PS2_RESEND);
        break;
    }
}

void ps2_write_mouse(struct ps2_state *m, uint8_t value)
{
    uint8_t command = m->argument_of;

    m->argument_of = 0;
    if (command == 0) {
        mouse_command(m, value);
        return;
    }
    if (command == PS2_SET_RATE)
        m->rate = value;
    else
        m->setting = value & 3;
    enqueue(m, PS2_ACKNOWLEDGE);
}

int ps2_check(const struct ps2_state *p, const char *name, struct err *err)
{
    if (p->count > PS2_QUEUE_SIZE)
        return err_set(err, -EBADMSG, "the %s has %u bytes in a queue for %u", name, p->count, PS2_QUEUE_SIZE);
    if (p->enabled > 1)
        return err_set(err, -EBADMSG, "the %s is neither on nor off", name);
    return 0;
}
