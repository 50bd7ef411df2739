/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 8259A interrupt controller: priorities, initialisation sequence, cascade, edge and level pins. */
#include "devices/pc/pic.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "state/irqchip.h"

#define CASCADE_PIN 2
#define NO_PRIORITY 8
#define PRIMARY_ELCR_MASK 0xf8   /* IRQ 0, 1 and 2 are always edge triggered */
#define SECONDARY_ELCR_MASK 0xde /* so are 8 and 13 */

struct pic {
    struct dev dev;
    struct pic_state s;
    struct irq_line output;
    struct pic *secondary;
    struct pic *primary;
    bool level; /* of INT */
};

/* Distance from the top priority of the most urgent bit of mask, or NO_PRIORITY. */
static unsigned highest(const struct pic_state *s, uint8_t mask)
{
    unsigned priority = 0;

    while (priority < NO_PRIORITY && (mask & (1u << ((priority + s->priority_add) & 7))) == 0)
        priority++;
    return priority;
}

/* The pin whose request is to be served now, or -1. */
static int requested_pin(const struct pic *pic)
{
    const struct pic_state *s = &pic->s;
    unsigned request = highest(s, s->irr & ~s->imr);
    uint8_t blocking = s->isr;

    if (s->special_mask)
        blocking &= ~s->imr;
    if (s->special_fully_nested && pic->secondary != NULL)
        blocking &= ~(1u << CASCADE_PIN);
    if (request >= highest(s, blocking))
        return -1;
    return (request + s->priority_add) & 7;
}

static void set_output(struct pic *pic, bool level)
{
    pic->level = level;
    if (pic->primary != NULL)
        pic_set_line(&pic->primary->dev, CASCADE_PIN, level);
    else
        irq_set(&pic->output, level);
}

static void update(struct pic *pic)
{
    bool level = requested_pin(pic) >= 0;

    if (level != pic->level)
        set_output(pic, level);
}

void pic_set_line(struct dev *dev, unsigned pin, bool level)
{
    struct pic *pic = CONTAINER_OF(dev, struct pic, dev);
    struct pic_state *s = &pic->s;
    uint8_t bit = 1u << (pin & 7);

    if (level && ((s->elcr & bit) != 0 || (s->last_lines & bit) == 0))
        s->irr |= bit;
    if (!level && (s->elcr & bit) != 0)
        s->irr &= ~bit;
    s->last_lines = level ? s->last_lines | bit : s->last_lines & ~bit;
    update(pic);
}

static void take_into_service(struct pic *pic, unsigned pin)
{
    struct pic_state *s = &pic->s;

    if (!s->auto_eoi)
        s->isr |= 1u << pin;
    else if (s->rotate_on_auto_eoi)
        s->priority_add = (pin + 1) & 7;
    if ((s->elcr & (1u << pin)) == 0)
        s->irr &= ~(1u << pin);
    /* INT falls during INTA, so that the primary sees an edge for what the secondary still has pending. */
    if (pic->primary != NULL && pic->level)
        set_output(pic, false);
    update(pic);
}

int pic_acknowledge(struct dev *dev)
{
    struct pic *pic = CONTAINER_OF(dev, struct pic, dev);
    int pin = requested_pin(pic);
    int vector;

    if (pin < 0)
        return -1;
    if (pin == CASCADE_PIN && pic->secondary != NULL) {
        int second = requested_pin(pic->secondary);

        vector = pic->secondary->s.vector_base + (second < 0 ? 7 : second);
        /* The primary first: the edge that the secondary may make during its own INTA is a new request. */
        take_into_service(pic, CASCADE_PIN);
        if (second >= 0)
            take_into_service(pic->secondary, second);
    } else {
        vector = pic->s.vector_base + pin;
        take_into_service(pic, pin);
    }
    return vector;
}

static void end_of_interrupt(struct pic_state *s, unsigned pin, bool rotate)
{
    s->isr &= ~(1u << pin);
    if (rotate)
        s->priority_add = (pin + 1) & 7;
}

static void write_ocw2(struct pic_state *s, uint8_t value)
{
    unsigned priority;

    switch (value >> 5) {
    case 0: /* rotate in automatic EOI mode: clear, set */
    case 4:
        s->rotate_on_auto_eoi = value >> 7;
        break;
    case 1: /* non-specific EOI, without and with rotation */
    case 5:
        priority = highest(s, s->special_mask ? s->isr & ~s->imr : s->isr);
        if (priority != NO_PRIORITY)
            end_of_interrupt(s, (priority + s->priority_add) & 7, value >> 7);
        break;
    case 3: /* specific EOI, without and with rotation */
    case 7:
        end_of_interrupt(s, value & 7, value >> 7);
        break;
    case 6: /* set priority */
        s->priority_add = (value + 1) & 7;
        break;
    }
}

static void write_ocw3(struct pic_state *s, uint8_t value)
{
    if (value & 0x04)
        s->poll = 1;
    if (value & 0x02)
        s->read_isr = value & 1;
    if (value & 0x40)
        s->special_mask = (value >> 5) & 1;
}

/* The edge detectors are cleared: a pin that is high needs a new rise. */
static void write_icw1(struct pic_state *s, uint8_t value)
{
    *s = (struct pic_state){
        .irr = s->irr & s->elcr,
        .last_lines = s->last_lines,
        .elcr = s->elcr,
        .vector_base = s->vector_base,
        .init_state = 2,
        .icw4_needed = value & 1,
    };
}

static void write_data(struct pic_state *s, uint8_t value)
{
    switch (s->init_state) {
    case 0:
        s->imr = value;
        break;
    case 2:
        s->vector_base = value & 0xf8;
        s->init_state = 3;
        break;
    case 3: /* how the chips are wired is fixed */
        s->init_state = s->icw4_needed ? 4 : 0;
        break;
    case 4:
        s->special_fully_nested = (value >> 4) & 1;
        s->auto_eoi = (value >> 1) & 1;
        s->init_state = 0;
        break;
    }
}

static void write_port(struct pic *pic, unsigned port, uint8_t value)
{
    if (port == 1)
        write_data(&pic->s, value);
    else if (value & 0x10)
        write_icw1(&pic->s, value);
    else if (value & 0x08)
        write_ocw3(&pic->s, value);
    else
        write_ocw2(&pic->s, value);
    update(pic);
}

static uint8_t read_port(struct pic *pic, unsigned port)
{
    struct pic_state *s = &pic->s;
    int pin;

    if (s->poll) {
        s->poll = 0;
        pin = requested_pin(pic);
        if (pin < 0)
            return 0;
        take_into_service(pic, pin);
        return 0x80 | pin;
    }
    if (port == 1)
        return s->imr;
    return s->read_isr ? s->isr : s->irr;
}

static uint8_t elcr_mask(const struct pic *pic)
{
    return pic->secondary != NULL ? PRIMARY_ELCR_MASK : SECONDARY_ELCR_MASK;
}

static uint64_t pic_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct pic *pic = CONTAINER_OF(dev, struct pic, dev);
    uint64_t value = 0;

    if (window == PIC_WINDOW_ELCR)
        return pic->s.elcr;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_port(pic, (offset + i) & 1) << (8 * i);
    return value;
}

static void pic_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct pic *pic = CONTAINER_OF(dev, struct pic, dev);

    if (window == PIC_WINDOW_ELCR) {
        pic->s.elcr = value & elcr_mask(pic);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        write_port(pic, (offset + i) & 1, value >> (8 * i));
}

static int pic_init(struct dev *dev, const void *config, struct err *err)
{
    struct pic *pic = CONTAINER_OF(dev, struct pic, dev);
    const struct pic_config *c = config;

    if (c == NULL || c->secondary == NULL)
        return 0;
    pic->output = c->output;
    pic->secondary = CONTAINER_OF(c->secondary, struct pic, dev);
    pic->secondary->primary = pic;
    return 0;
}

static void pic_reset(struct dev *dev)
{
    struct pic *pic = CONTAINER_OF(dev, struct pic, dev);

    pic->s = (struct pic_state){.last_lines = pic->s.last_lines};
    set_output(pic, false);
}

static int pic_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct pic *pic = CONTAINER_OF(dev, struct pic, dev);
    const struct pic_state *s = state;
    uint8_t flags = s->icw4_needed | s->auto_eoi | s->rotate_on_auto_eoi | s->special_mask | s->special_fully_nested |
                    s->read_isr | s->poll;

    if (s->init_state == 1 || s->init_state > 4)
        return err_set(err, -EBADMSG, "the initialisation step %u does not exist", s->init_state);
    if ((s->vector_base & 7) != 0 || s->priority_add > 7 || flags > 1)
        return err_set(err, -EBADMSG, "a register holds a value that the chip can't have");
    if ((s->elcr & ~elcr_mask(pic)) != 0)
        return err_set(err, -EBADMSG, "ELCR 0x%02x makes a pin level triggered that is always edge", s->elcr);
    return 0;
}

static void pic_loaded(struct dev *dev)
{
    struct pic *pic = CONTAINER_OF(dev, struct pic, dev);

    set_output(pic, requested_pin(pic) >= 0);
}

const struct dev_type pic_type = {
    .name = "pic",
    .size = sizeof(struct pic),
    .state_offset = offsetof(struct pic, s),
    .state_size = sizeof(struct pic_state),
    .fields = pic_state_fields,
    .version = 1,
    .init = pic_init,
    .reset = pic_reset,
    .read = pic_read,
    .write = pic_write,
    .check = pic_check,
    .loaded = pic_loaded,
};
