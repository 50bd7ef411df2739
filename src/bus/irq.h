/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt lines and message-signalled interrupts as devices see them: where to send, nothing about who listens. */
#ifndef FERRY_BUS_IRQ_H
#define FERRY_BUS_IRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct irq_line {
    void (*set)(void *ctx, unsigned number, bool level);
    void *ctx;
    unsigned number; /* GSI */
};

/* A line without a listener is fine. */
static inline void irq_set(const struct irq_line *line, bool level)
{
    if (line->set != NULL)
        line->set(line->ctx, line->number, level);
}

struct msi_target {
    void (*send)(void *ctx, uint64_t address, uint32_t data);
    void *ctx;
};

static inline void msi_send(const struct msi_target *target, uint64_t address, uint32_t data)
{
    if (target->send != NULL)
        target->send(target->ctx, address, data);
}

#endif
