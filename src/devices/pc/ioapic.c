/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The I/O APIC: 24 pins, each with a redirection entry that turns its edges or level into interrupt messages. */
#include "devices/pc/ioapic.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "state/irqchip.h"

/* Registers of the page. */
enum { IOREGSEL = 0x00, IOWIN = 0x10, EOI = 0x40 };
/* Registers behind IOREGSEL. */
enum { REGISTER_ID = 0, REGISTER_VERSION = 1, REGISTER_ARBITRATION = 2, REGISTER_REDIRECTION = 0x10 };

#define VERSION_WITH_EOI 0x20

#define ENTRY_LOGICAL BIT(11)
#define ENTRY_DELIVERY_STATUS BIT(12)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL BIT(15)
#define ENTRY_MASKED BIT(16)
#define ENTRY_WRITABLE (UINT64_C(0xff000000000000ff) | 0x700 | ENTRY_LOGICAL | BIT(13) | ENTRY_LEVEL | ENTRY_MASKED)

enum { DELIVERY_FIXED, DELIVERY_LOWEST, DELIVERY_SMI, DELIVERY_NMI = 4, DELIVERY_INIT, DELIVERY_EXTINT = 7 };

struct ioapic {
    struct dev dev;
    struct ioapic_state s;
    struct ioapic_config config;
};

static bool is_level(uint64_t entry)
{
    return (entry & ENTRY_LEVEL) != 0;
}

static unsigned delivery_mode(uint64_t entry)
{
    return bit_range(entry, 10, 8);
}

/* NMI, SMI, INIT and ExtINT have no EOI: only fixed and lowest priority can be level triggered. */
static bool has_remote_irr(uint64_t entry)
{
    return is_level(entry) && delivery_mode(entry) <= DELIVERY_LOWEST;
}

static void send(struct ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->s.redirection[pin];
    bool level = has_remote_irr(entry);

    /* Before the message: its target may end the interrupt within the call. */
    if (level)
        ioapic->s.redirection[pin] |= ENTRY_REMOTE_IRR;
    if (!ioapic->config.deliver(ioapic->config.ctx, bit_range(entry, 63, 56), (entry & ENTRY_LOGICAL) != 0,
                                delivery_mode(entry), entry, level) &&
        level)
        ioapic->s.redirection[pin] &= ~ENTRY_REMOTE_IRR;
}

/* Sends when a level-triggered pin asks for it. */
static void serve_level(struct ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->s.redirection[pin];

    if (has_remote_irr(entry) && (entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) == 0 &&
        (ioapic->s.lines & BIT(pin)) != 0)
        send(ioapic, pin);
}

void ioapic_set_line(struct dev *dev, unsigned pin, bool level)
{
    struct ioapic *ioapic = CONTAINER_OF(dev, struct ioapic, dev);
    bool before;
    uint64_t entry;

    if (pin >= IOAPIC_PINS)
        return;
    before = (ioapic->s.lines & BIT(pin)) != 0;
    entry = ioapic->s.redirection[pin];
    ioapic->s.lines = level ? ioapic->s.lines | BIT(pin) : ioapic->s.lines & ~BIT(pin);
    if (has_remote_irr(entry))
        serve_level(ioapic, pin);
    else if (level && !before && (entry & ENTRY_MASKED) == 0)
        send(ioapic, pin);
}

void ioapic_end_of_interrupt(struct dev *dev, uint8_t vector)
{
    struct ioapic *ioapic = CONTAINER_OF(dev, struct ioapic, dev);

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t *entry = &ioapic->s.redirection[pin];

        if ((uint8_t)*entry != vector || !is_level(*entry) || (*entry & ENTRY_REMOTE_IRR) == 0)
            continue;
        *entry &= ~ENTRY_REMOTE_IRR;
        serve_level(ioapic, pin);
    }
}

static uint32_t read_register(const struct ioapic *ioapic)
{
    unsigned select = ioapic->s.select;
    unsigned half = select - REGISTER_REDIRECTION;

    switch (select) {
    case REGISTER_ID:
    case REGISTER_ARBITRATION:
        return ioapic->s.id << 24;
    case REGISTER_VERSION:
        return (IOAPIC_PINS - 1) << 16 | ioapic->config.version;
    }
    if (select < REGISTER_REDIRECTION || half >= 2 * IOAPIC_PINS)
        return 0;
    return ioapic->s.redirection[half / 2] >> (half % 2 * 32);
}

static void write_entry(struct ioapic *ioapic, unsigned half, uint32_t value)
{
    unsigned pin = half / 2;
    uint64_t *entry = &ioapic->s.redirection[pin];
    uint64_t writable = ENTRY_WRITABLE & (half % 2 != 0 ? ~UINT64_C(0xffffffff) : UINT64_C(0xffffffff));

    *entry = (*entry & ~writable) | ((uint64_t)value << (half % 2 * 32) & writable);
    /* Linux ends an interrupt on chips without EOI register by a turn to edge and back. */
    if (!has_remote_irr(*entry))
        *entry &= ~ENTRY_REMOTE_IRR;
    serve_level(ioapic, pin);
}

static void write_register(struct ioapic *ioapic, uint32_t value)
{
    unsigned half = ioapic->s.select - REGISTER_REDIRECTION;

    if (ioapic->s.select == REGISTER_ID)
        ioapic->s.id = bit_range(value, 27, 24);
    else if (ioapic->s.select >= REGISTER_REDIRECTION && half < 2 * IOAPIC_PINS)
        write_entry(ioapic, half, value);
}

/* The registers are 32 bits wide at 16-byte steps. Narrower and wider accesses get the low bytes of the register or zeroes
 * above it; a narrow write counts as zero-extended. */
static uint64_t ioapic_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct ioapic *ioapic = CONTAINER_OF(dev, struct ioapic, dev);
    unsigned within = offset & 3;
    uint32_t value = 0;

    switch (offset & 0xfc) {
    case IOREGSEL:
        value = ioapic->s.select;
        break;
    case IOWIN:
        value = read_register(ioapic);
        break;
    }
    return truncate_to(value >> (8 * within), size);
}

static void ioapic_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct ioapic *ioapic = CONTAINER_OF(dev, struct ioapic, dev);

    switch (offset & 0xff) {
    case IOREGSEL:
        ioapic->s.select = value & 0xff;
        break;
    case IOWIN:
        write_register(ioapic, value);
        break;
    case EOI:
        if (ioapic->config.version >= VERSION_WITH_EOI)
            ioapic_end_of_interrupt(dev, value);
        break;
    }
}

static int ioapic_init(struct dev *dev, const void *config, struct err *err)
{
    struct ioapic *ioapic = CONTAINER_OF(dev, struct ioapic, dev);

    ioapic->config = *(const struct ioapic_config *)config;
    return 0;
}

static void ioapic_reset(struct dev *dev)
{
    struct ioapic *ioapic = CONTAINER_OF(dev, struct ioapic, dev);

    ioapic->s = (struct ioapic_state){.lines = ioapic->s.lines};
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->s.redirection[pin] = ENTRY_MASKED;
}

static int ioapic_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct ioapic_state *s = state;

    if (s->id > 15 || s->select > 0xff || s->lines >> IOAPIC_PINS != 0)
        return err_set(err, -EBADMSG, "a register holds more bits than it has");
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if ((s->redirection[pin] & ~(ENTRY_WRITABLE | ENTRY_REMOTE_IRR | ENTRY_DELIVERY_STATUS)) != 0)
            return err_set(err, -EBADMSG, "the redirection entry of pin %u sets reserved bits", pin);
    }
    return 0;
}

const struct dev_type ioapic_type = {
    .name = "ioapic",
    .size = sizeof(struct ioapic),
    .state_offset = offsetof(struct ioapic, s),
    .state_size = sizeof(struct ioapic_state),
    .fields = ioapic_state_fields,
    .version = 1,
    .init = ioapic_init,
    .reset = ioapic_reset,
    .read = ioapic_read,
    .write = ioapic_write,
    .check = ioapic_check,
};
