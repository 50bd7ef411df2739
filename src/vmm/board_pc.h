/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC board's inside, shared by board_pc.c (which devices), board_irq.c (interrupts, hooks) and board_state.c. */
#ifndef FERRY_VMM_BOARD_PC_H
#define FERRY_VMM_BOARD_PC_H

#include "bus/dev.h"
#include "bus/irq.h"
#include "bus/pci.h"
#include "devices/pc/lapic.h"
#include "devices/virtio/virtio.h"
#include "engine/engine.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/plug.h"

#define BOARD_DEVICES_MAX (ENGINE_CPUS_MAX + 64)

struct board {
    struct machine *machine;
    struct dev_env env;
    struct pci_bus pci;
    struct dev *device[BOARD_DEVICES_MAX]; /* in boot order */
    unsigned device_count;
    struct dev *acpi_pm, *balloon, *pci_hotplug;
    struct plug plug;
    struct character *serial, *console;

    /* Interrupt controllers: either ours, */
    struct lapic_group lapics;
    struct dev *pic[2], *ioapic; /* primary, secondary */
    /* or the engine's: their power-on state, and what a load is gathering. */
    struct irqchip_state irqchip_initial, irqchip_loading;
    struct lapic_state lapic_initial[ENGINE_CPUS_MAX], lapic_loading[ENGINE_CPUS_MAX];
};

static inline bool board_irqchip_in_engine(const struct board *board)
{
    return (board->machine->capabilities & ENGINE_IRQCHIP) != 0;
}

/* Makes a device and appends it to the list; ret_dev may be NULL. */
int board_add(struct board *board, const struct dev_type *type, uint32_t instance, const void *config,
              struct dev **ret_dev, struct err *err);

/* Takes a device out of the list and frees it. */
void board_remove(struct board *board, struct dev *dev);

/* Where a virtio device in that PCI slot is. */
struct virtio_place board_virtio_place(struct board *board, unsigned slot);

/* Shows window `number` of a device. */
int board_place(struct board *board, struct dev *dev, unsigned number, enum bus_space space, uint64_t base,
                uint64_t size, struct err *err);

/* The line of a GSI. */
struct irq_line board_line(struct board *board, unsigned gsi);
void board_set_gsi(void *ctx, unsigned gsi, bool level);
struct msi_target board_msi(struct board *board);

/* Local APICs, PICs, IOAPIC and PIT where the engine has none; else notes the engine's power-on state. */
int board_add_interrupt_controllers(struct board *board, struct err *err);

#endif
