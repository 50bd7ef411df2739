/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 16550A serial port: two FIFOs between the guest's registers and a character backend. */
#include "devices/pc/uart.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "backend/character.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/timer.h"

#define FIFO_SIZE 16
#define BAUD_BASE 115200
#define TIMEOUT_BITS 40 /* four characters of ten bits */

/* Register offsets; reading / writing, with DLAB. */
enum { RBR_THR_DLL, IER_DLM, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

enum { IER_RECEIVED = 1, IER_THR_EMPTY = 2, IER_LINE_STATUS = 4, IER_MODEM_STATUS = 8 };
enum { IIR_MODEM_STATUS = 0, IIR_NONE = 1, IIR_THR_EMPTY = 2, IIR_RECEIVED = 4, IIR_LINE_STATUS = 6, IIR_TIMEOUT = 12 };
enum { IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RECEIVE = 2, FCR_CLEAR_TRANSMIT = 4, FCR_STORED = 0xc9 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10, MCR_WRITABLE = 0x1f };
enum { LSR_DATA_READY = 1, LSR_OVERRUN = 2, LSR_THR_EMPTY = 0x20, LSR_TRANSMITTER_EMPTY = 0x40 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

struct uart_state {
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t msr;         /* the lines in the upper half, their changes in the lower */
    uint8_t overrun;
    uint8_t thr_pending; /* a THR-empty interrupt not yet read from IIR */
    uint8_t timeout;     /* a character time-out interrupt */
    uint16_t divisor;
    uint8_t receive_count, transmit_count;
    uint8_t receive[FIFO_SIZE], transmit[FIFO_SIZE];
};

static const struct field uart_fields[] = {
    FIELD(1, struct uart_state, ier),
    FIELD(2, struct uart_state, fcr),
    FIELD(3, struct uart_state, lcr),
    FIELD(4, struct uart_state, mcr),
    FIELD(5, struct uart_state, scr),
    FIELD(6, struct uart_state, msr),
    FIELD(7, struct uart_state, overrun),
    FIELD(8, struct uart_state, thr_pending),
    FIELD(9, struct uart_state, timeout),
    FIELD(10, struct uart_state, divisor),
    FIELD(11, struct uart_state, receive_count),
    FIELD(12, struct uart_state, transmit_count),
    FIELD_ARRAY(13, struct uart_state, receive),
    FIELD_ARRAY(14, struct uart_state, transmit),
    FIELD_END,
};

struct uart {
    struct dev dev;
    struct uart_state s;
    struct irq_line irq;
    struct character *character;
    struct timer timeout;
};

static unsigned fifo_depth(const struct uart_state *s)
{
    return (s->fcr & FCR_ENABLE) != 0 ? FIFO_SIZE : 1;
}

static unsigned receive_trigger(const struct uart_state *s)
{
    static const uint8_t trigger[] = {1, 4, 8, 14};

    return (s->fcr & FCR_ENABLE) != 0 ? trigger[s->fcr >> 6] : 1;
}

/* The most urgent interrupt, as IIR shows it. */
static unsigned pending_interrupt(const struct uart_state *s)
{
    if ((s->ier & IER_LINE_STATUS) != 0 && s->overrun)
        return IIR_LINE_STATUS;
    if ((s->ier & IER_RECEIVED) != 0 && s->receive_count >= receive_trigger(s))
        return IIR_RECEIVED;
    if ((s->ier & IER_RECEIVED) != 0 && s->timeout)
        return IIR_TIMEOUT;
    if ((s->ier & IER_THR_EMPTY) != 0 && s->thr_pending)
        return IIR_THR_EMPTY;
    if ((s->ier & IER_MODEM_STATUS) != 0 && (s->msr & 15) != 0)
        return IIR_MODEM_STATUS;
    return IIR_NONE;
}

static void update(struct uart *uart)
{
    irq_set(&uart->irq, pending_interrupt(&uart->s) != IIR_NONE);
}

/* Fewer bytes than the trigger level make an interrupt only after a pause. */
static void restart_timeout(struct uart *uart)
{
    const struct uart_state *s = &uart->s;
    uint64_t divisor = s->divisor == 0 ? 1 : s->divisor;

    timer_cancel(&uart->timeout);
    if ((s->fcr & FCR_ENABLE) != 0 && s->receive_count != 0 && !s->timeout)
        timer_set(&uart->timeout, clock_now(uart->dev.env->clock) +
                                      (int64_t)(TIMEOUT_BITS * divisor * NANOSECONDS_PER_SECOND / BAUD_BASE));
}

static void timeout_reached(void *ctx)
{
    struct uart *uart = ctx;

    uart->s.timeout = 1;
    update(uart);
}

static size_t receive_bytes(struct uart *uart, const uint8_t *data, size_t size)
{
    struct uart_state *s = &uart->s;
    size_t room = s->receive_count < fifo_depth(s) ? fifo_depth(s) - s->receive_count : 0;
    size_t count = size < room ? size : room;

    if (count == 0)
        return 0;
    memcpy(s->receive + s->receive_count, data, count);
    s->receive_count += count;
    s->timeout = 0;
    restart_timeout(uart);
    update(uart);
    return count;
}

static size_t backend_input(void *device, const uint8_t *data, size_t size)
{
    struct uart *uart = device;

    return (uart->s.mcr & MCR_LOOP) != 0 ? 0 : receive_bytes(uart, data, size);
}

static void ask_for_input(struct uart *uart)
{
    if (uart->character != NULL && uart->character->resume != NULL && (uart->s.mcr & MCR_LOOP) == 0)
        uart->character->resume(uart->character);
}

/* Gives the backend what it takes of the transmit FIFO. */
static void flush(struct uart *uart)
{
    struct uart_state *s = &uart->s;
    size_t done = s->transmit_count;

    if (s->transmit_count == 0)
        return;
    if (uart->character != NULL)
        done = uart->character->write(uart->character, s->transmit, s->transmit_count);
    if (done > s->transmit_count)
        done = s->transmit_count;
    memmove(s->transmit, s->transmit + done, s->transmit_count - done);
    s->transmit_count -= done;
    if (s->transmit_count == 0)
        s->thr_pending = 1;
    update(uart);
}

static void backend_writable(void *device)
{
    flush(device);
}

static void write_thr(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->s;

    s->thr_pending = 0;
    if ((s->mcr & MCR_LOOP) != 0) {
        if (receive_bytes(uart, &value, 1) == 0)
            s->overrun = 1;
        s->thr_pending = 1;
    } else if (s->transmit_count < fifo_depth(s)) {
        s->transmit[s->transmit_count++] = value;
        flush(uart);
    }
    update(uart);
}

static uint8_t read_rbr(struct uart *uart)
{
    struct uart_state *s = &uart->s;
    uint8_t value = s->receive[0];

    if (s->receive_count == 0)
        return 0;
    memmove(s->receive, s->receive + 1, --s->receive_count);
    s->timeout = 0;
    restart_timeout(uart);
    update(uart);
    ask_for_input(uart);
    return value;
}

static uint8_t modem_lines(const struct uart_state *s)
{
    if ((s->mcr & MCR_LOOP) == 0)
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return ((s->mcr & MCR_RTS) != 0 ? MSR_CTS : 0) | ((s->mcr & MCR_DTR) != 0 ? MSR_DSR : 0) |
           ((s->mcr & MCR_OUT1) != 0 ? MSR_RI : 0) | ((s->mcr & MCR_OUT2) != 0 ? MSR_DCD : 0);
}

static void write_mcr(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->s;
    bool loop_before = (s->mcr & MCR_LOOP) != 0;
    uint8_t changed, lines;

    s->mcr = value & MCR_WRITABLE;
    lines = modem_lines(s);
    changed = lines ^ (s->msr & 0xf0);
    if ((lines & MSR_RI) != 0) /* only the end of a ring counts */
        changed &= ~MSR_RI;
    s->msr = lines | (s->msr & 15) | changed >> 4;
    update(uart);
    if (loop_before)
        ask_for_input(uart);
}

static void write_fcr(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->s;
    bool toggled = ((value ^ s->fcr) & FCR_ENABLE) != 0;

    if (toggled || (value & FCR_CLEAR_RECEIVE) != 0) {
        s->receive_count = 0;
        s->timeout = 0;
        timer_cancel(&uart->timeout);
    }
    if ((toggled || (value & FCR_CLEAR_TRANSMIT) != 0) && s->transmit_count != 0) {
        s->transmit_count = 0;
        s->thr_pending = 1;
    }
    s->fcr = (value & FCR_ENABLE) != 0 ? value & FCR_STORED : 0;
    update(uart);
    ask_for_input(uart);
}

static void write_ier(struct uart *uart, uint8_t value)
{
    struct uart_state *s = &uart->s;

    if ((value & ~s->ier & IER_THR_EMPTY) != 0 && s->transmit_count == 0)
        s->thr_pending = 1;
    s->ier = value & 15;
    update(uart);
}

static uint8_t read_iir(struct uart *uart)
{
    struct uart_state *s = &uart->s;
    unsigned pending = pending_interrupt(s);

    if (pending == IIR_THR_EMPTY) {
        s->thr_pending = 0;
        update(uart);
    }
    return pending | ((s->fcr & FCR_ENABLE) != 0 ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *uart)
{
    struct uart_state *s = &uart->s;
    uint8_t value = (s->receive_count != 0 ? LSR_DATA_READY : 0) | (s->overrun ? LSR_OVERRUN : 0) |
                    (s->transmit_count == 0 ? LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY : 0);

    s->overrun = 0;
    update(uart);
    return value;
}

static uint8_t read_msr(struct uart *uart)
{
    uint8_t value = uart->s.msr;

    uart->s.msr &= 0xf0;
    update(uart);
    return value;
}

static uint8_t read_register(struct uart *uart, unsigned offset)
{
    const struct uart_state *s = &uart->s;
    bool dlab = (s->lcr & LCR_DLAB) != 0;

    switch (offset) {
    case RBR_THR_DLL:
        return dlab ? s->divisor & 0xff : read_rbr(uart);
    case IER_DLM:
        return dlab ? s->divisor >> 8 : s->ier;
    case IIR_FCR:
        return read_iir(uart);
    case LCR:
        return s->lcr;
    case MCR:
        return s->mcr;
    case LSR:
        return read_lsr(uart);
    case MSR:
        return read_msr(uart);
    default:
        return s->scr;
    }
}

static void write_register(struct uart *uart, unsigned offset, uint8_t value)
{
    struct uart_state *s = &uart->s;
    bool dlab = (s->lcr & LCR_DLAB) != 0;

    switch (offset) {
    case RBR_THR_DLL:
        if (dlab)
            s->divisor = (s->divisor & 0xff00) | value;
        else
            write_thr(uart, value);
        break;
    case IER_DLM:
        if (dlab)
            s->divisor = value << 8 | (s->divisor & 0xff);
        else
            write_ier(uart, value);
        break;
    case IIR_FCR:
        write_fcr(uart, value);
        break;
    case LCR:
        s->lcr = value;
        break;
    case MCR:
        write_mcr(uart, value);
        break;
    case SCR:
        s->scr = value;
        break;
    }
}

static uint64_t uart_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct uart *uart = CONTAINER_OF(dev, struct uart, dev);
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_register(uart, offset + i) << (8 * i);
    return value;
}

static void uart_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct uart *uart = CONTAINER_OF(dev, struct uart, dev);

    for (unsigned i = 0; i < size; i++)
        write_register(uart, offset + i, value >> (8 * i));
}

static int uart_init(struct dev *dev, const void *config, struct err *err)
{
    struct uart *uart = CONTAINER_OF(dev, struct uart, dev);
    const struct uart_config *c = config;

    uart->irq = c->irq;
    uart->character = c->character;
    timer_init(&uart->timeout, dev->env->timers, timeout_reached, uart);
    if (uart->character != NULL) {
        uart->character->device = uart;
        uart->character->input = backend_input;
        uart->character->writable = backend_writable;
    }
    return 0;
}

static void uart_reset(struct dev *dev)
{
    struct uart *uart = CONTAINER_OF(dev, struct uart, dev);

    timer_cancel(&uart->timeout);
    uart->s = (struct uart_state){.divisor = 12};
    uart->s.msr = modem_lines(&uart->s);
    update(uart);
    ask_for_input(uart);
}

static int uart_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct uart_state *s = state;

    if (s->receive_count > fifo_depth(s) || s->transmit_count > fifo_depth(s))
        return err_set(err, -EBADMSG, "its FIFOs hold %u and %u bytes, more than fit", s->receive_count,
                       s->transmit_count);
    if (s->ier > 15 || (s->mcr & ~MCR_WRITABLE) != 0 || (s->fcr & ~FCR_STORED) != 0 || s->overrun > 1 ||
        s->thr_pending > 1 || s->timeout > 1)
        return err_set(err, -EBADMSG, "a register holds bits that it does not have");
    return 0;
}

static void uart_loaded(struct dev *dev)
{
    struct uart *uart = CONTAINER_OF(dev, struct uart, dev);

    restart_timeout(uart);
    flush(uart);
    update(uart);
    ask_for_input(uart);
}

static void uart_fini(struct dev *dev)
{
    struct uart *uart = CONTAINER_OF(dev, struct uart, dev);

    timer_cancel(&uart->timeout);
    if (uart->character == NULL)
        return;
    uart->character->device = NULL;
    uart->character->input = NULL;
    uart->character->writable = NULL;
}

const struct dev_type uart_type = {
    .name = "uart",
    .size = sizeof(struct uart),
    .state_offset = offsetof(struct uart, s),
    .state_size = sizeof(struct uart_state),
    .fields = uart_fields,
    .version = 1,
    .init = uart_init,
    .reset = uart_reset,
    .read = uart_read,
    .write = uart_write,
    .check = uart_check,
    .loaded = uart_loaded,
    .fini = uart_fini,
};
