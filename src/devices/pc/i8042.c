/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keyboard controller; what is behind it is in i8042_ps2.c. */
#include "devices/pc/i8042.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "devices/pc/i8042_ps2.h"

enum { STATUS_OUTPUT = 0x01, STATUS_SYSTEM = 0x04, STATUS_COMMAND = 0x08, STATUS_UNLOCKED = 0x10, STATUS_MOUSE = 0x20 };
enum { MODE_KEYBOARD_IRQ = 0x01, MODE_MOUSE_IRQ = 0x02, MODE_SYSTEM = 0x04, MODE_KEYBOARD_OFF = 0x10, MODE_MOUSE_OFF = 0x20 };
enum { OUTPUT_NO_RESET = 0x01, OUTPUT_A20 = 0x02, OUTPUT_KEYBOARD = 0x10, OUTPUT_MOUSE = 0x20 };
enum { FAST_RESET = 0x01, FAST_A20 = 0x02 };

enum {
    COMMAND_READ_MODE = 0x20,
    COMMAND_WRITE_MODE = 0x60,
    COMMAND_MOUSE_DISABLE = 0xa7,
    COMMAND_MOUSE_ENABLE = 0xa8,
    COMMAND_MOUSE_TEST = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_KEYBOARD_TEST = 0xab,
    COMMAND_KEYBOARD_DISABLE = 0xad,
    COMMAND_KEYBOARD_ENABLE = 0xae,
    COMMAND_READ_INPUT = 0xc0,
    COMMAND_READ_OUTPUT = 0xd0,
    COMMAND_WRITE_OUTPUT = 0xd1,
    COMMAND_KEYBOARD_BUFFER = 0xd2,
    COMMAND_MOUSE_BUFFER = 0xd3,
    COMMAND_MOUSE_WRITE = 0xd4,
    COMMAND_A20_OFF = 0xdd,
    COMMAND_A20_ON = 0xdf,
    COMMAND_PULSE = 0xf0, /* to 0xff: the lines whose bit is 0 */
};

struct i8042_state {
    uint8_t mode;             /* the "command byte" */
    uint8_t status;           /* of STATUS_*: SYSTEM and COMMAND; the others are computed */
    uint8_t argument_of;      /* controller command whose data byte is awaited; 0: none */
    uint8_t output;           /* the output buffer */
    uint8_t output_from;      /* 0 empty, 1 keyboard or controller, 2 mouse */
    uint8_t a20;
    struct ps2_state keyboard, mouse;
};

static const struct field i8042_fields[] = {
    FIELD(1, struct i8042_state, mode),
    FIELD(2, struct i8042_state, status),
    FIELD(3, struct i8042_state, argument_of),
    FIELD(4, struct i8042_state, output),
    FIELD(5, struct i8042_state, output_from),
    FIELD(6, struct i8042_state, a20),
    FIELD_STRUCT(7, struct i8042_state, keyboard, ps2_fields),
    FIELD_STRUCT(8, struct i8042_state, mouse, ps2_fields),
    FIELD_END,
};

enum { FROM_NOBODY, FROM_KEYBOARD, FROM_MOUSE };

struct i8042 {
    struct dev dev;
    struct i8042_state s;
    struct i8042_config config;
};

static void put_output(struct i8042 *c, uint8_t value, uint8_t from)
{
    c->s.output = value;
    c->s.output_from = from;
}

/* Moves the next byte of a device whose clock runs into the free output buffer, and drives the lines. */
static void update(struct i8042 *c)
{
    struct i8042_state *s = &c->s;

    if (s->output_from == FROM_NOBODY) {
        if (s->keyboard.count != 0 && (s->mode & MODE_KEYBOARD_OFF) == 0)
            put_output(c, ps2_take(&s->keyboard), FROM_KEYBOARD);
        else if (s->mouse.count != 0 && (s->mode & MODE_MOUSE_OFF) == 0)
            put_output(c, ps2_take(&s->mouse), FROM_MOUSE);
    }
    irq_set(&c->config.keyboard, s->output_from == FROM_KEYBOARD && (s->mode & MODE_KEYBOARD_IRQ) != 0);
    irq_set(&c->config.mouse, s->output_from == FROM_MOUSE && (s->mode & MODE_MOUSE_IRQ) != 0);
}

static void ask_reset(struct i8042 *c)
{
    if (c->config.reset != NULL)
        c->config.reset(c->config.ctx);
}

static void set_a20(struct i8042 *c, bool enable)
{
    c->s.a20 = enable;
    if (c->config.a20 != NULL)
        c->config.a20(c->config.ctx, enable);
}

static uint8_t output_port(const struct i8042_state *s)
{
    return OUTPUT_NO_RESET | (s->a20 ? OUTPUT_A20 : 0) | (s->output_from == FROM_KEYBOARD ? OUTPUT_KEYBOARD : 0) |
           (s->output_from == FROM_MOUSE ? OUTPUT_MOUSE : 0);
}

static void self_test(struct i8042 *c)
{
    c->s.status |= STATUS_SYSTEM;
    put_output(c, 0x55, FROM_KEYBOARD);
}

static void write_command(struct i8042 *c, uint8_t value)
{
    struct i8042_state *s = &c->s;

    s->status |= STATUS_COMMAND;
    s->argument_of = 0;
    switch (value) {
    case COMMAND_READ_MODE:
        put_output(c, s->mode, FROM_KEYBOARD);
        break;
    case COMMAND_WRITE_MODE:
    case COMMAND_WRITE_OUTPUT:
    case COMMAND_KEYBOARD_BUFFER:
    case COMMAND_MOUSE_BUFFER:
    case COMMAND_MOUSE_WRITE:
        s->argument_of = value;
        break;
    case COMMAND_MOUSE_DISABLE:
        s->mode |= MODE_MOUSE_OFF;
        break;
    case COMMAND_MOUSE_ENABLE:
        s->mode &= ~MODE_MOUSE_OFF;
        break;
    case COMMAND_KEYBOARD_DISABLE:
        s->mode |= MODE_KEYBOARD_OFF;
        break;
    case COMMAND_KEYBOARD_ENABLE:
        s->mode &= ~MODE_KEYBOARD_OFF;
        break;
    case COMMAND_SELF_TEST:
        self_test(c);
        break;
    case COMMAND_MOUSE_TEST:
    case COMMAND_KEYBOARD_TEST:
        put_output(c, 0, FROM_KEYBOARD);
        break;
    case COMMAND_READ_INPUT:
        put_output(c, 0x80, FROM_KEYBOARD); /* keyboard not locked */
        break;
    case COMMAND_READ_OUTPUT:
        put_output(c, output_port(s), FROM_KEYBOARD);
        break;
    case COMMAND_A20_OFF:
    case COMMAND_A20_ON:
        set_a20(c, value == COMMAND_A20_ON);
        break;
    default:
        if (value >= COMMAND_PULSE && (value & OUTPUT_NO_RESET) == 0)
            ask_reset(c);
        break;
    }
    update(c);
}

static void write_data(struct i8042 *c, uint8_t value)
{
    struct i8042_state *s = &c->s;
    uint8_t command = s->argument_of;

    s->status &= ~STATUS_COMMAND;
    s->argument_of = 0;
    switch (command) {
    case COMMAND_WRITE_MODE:
        s->mode = value;
        s->status = (s->status & ~STATUS_SYSTEM) | (value & MODE_SYSTEM);
        break;
    case COMMAND_WRITE_OUTPUT:
        set_a20(c, (value & OUTPUT_A20) != 0);
        if ((value & OUTPUT_NO_RESET) == 0)
            ask_reset(c);
        break;
    case COMMAND_KEYBOARD_BUFFER:
        put_output(c, value, FROM_KEYBOARD);
        break;
    case COMMAND_MOUSE_BUFFER:
        put_output(c, value, FROM_MOUSE);
        break;
    case COMMAND_MOUSE_WRITE:
        s->mode &= ~MODE_MOUSE_OFF;
        ps2_write_mouse(&s->mouse, value);
        break;
    default:
        s->mode &= ~MODE_KEYBOARD_OFF;
        ps2_write_keyboard(&s->keyboard, value);
        break;
    }
    update(c);
}

static uint8_t read_data(struct i8042 *c)
{
    uint8_t value = c->s.output;

    if (c->s.output_from == FROM_NOBODY)
        return value;
    c->s.output_from = FROM_NOBODY;
    /* The line falls before the next byte raises it: each byte is an edge. */
    irq_set(&c->config.keyboard, false);
    irq_set(&c->config.mouse, false);
    update(c);
    return value;
}

static uint8_t read_status(const struct i8042_state *s)
{
    return s->status | STATUS_UNLOCKED | (s->output_from != FROM_NOBODY ? STATUS_OUTPUT : 0) |
           (s->output_from == FROM_MOUSE ? STATUS_MOUSE : 0);
}

static uint64_t i8042_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct i8042 *c = CONTAINER_OF(dev, struct i8042, dev);

    switch (window) {
    case I8042_WINDOW_DATA:
        return read_data(c);
    case I8042_WINDOW_COMMAND:
        return read_status(&c->s);
    default:
        return c->s.a20 ? FAST_A20 : 0;
    }
}

static void i8042_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct i8042 *c = CONTAINER_OF(dev, struct i8042, dev);

    switch (window) {
    case I8042_WINDOW_DATA:
        write_data(c, value);
        break;
    case I8042_WINDOW_COMMAND:
        write_command(c, value);
        break;
    default:
        set_a20(c, (value & FAST_A20) != 0);
        if ((value & FAST_RESET) != 0)
            ask_reset(c);
        break;
    }
}

static int i8042_init(struct dev *dev, const void *config, struct err *err)
{
    CONTAINER_OF(dev, struct i8042, dev)->config = *(const struct i8042_config *)config;
    return 0;
}

/* As firmware leaves it: self test passed, A20 open, both devices there. */
static void i8042_reset(struct dev *dev)
{
    struct i8042 *c = CONTAINER_OF(dev, struct i8042, dev);

    c->s = (struct i8042_state){.mode = MODE_KEYBOARD_IRQ | MODE_MOUSE_IRQ | MODE_SYSTEM, .status = STATUS_SYSTEM};
    ps2_reset_keyboard(&c->s.keyboard);
    ps2_reset_mouse(&c->s.mouse);
    set_a20(c, true);
    update(c);
}

static int i8042_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct i8042_state *s = state;
    int r = ps2_check(&s->keyboard, "keyboard", err);

    if (r == 0)
        r = ps2_check(&s->mouse, "mouse", err);
    if (r == 0 && (s->output_from > FROM_MOUSE || s->a20 > 1 || (s->status & ~(STATUS_SYSTEM | STATUS_COMMAND)) != 0))
        r = err_set(err, -EBADMSG, "a register holds a value that the controller can't have");
    return r;
}

static void i8042_loaded(struct dev *dev)
{
    struct i8042 *c = CONTAINER_OF(dev, struct i8042, dev);

    set_a20(c, c->s.a20);
    update(c);
}

const struct dev_type i8042_type = {
    .name = "i8042",
    .size = sizeof(struct i8042),
    .state_offset = offsetof(struct i8042, s),
    .state_size = sizeof(struct i8042_state),
    .fields = i8042_fields,
    .version = 1,
    .init = i8042_init,
    .reset = i8042_reset,
    .read = i8042_read,
    .write = i8042_write,
    .check = i8042_check,
    .loaded = i8042_loaded,
};
