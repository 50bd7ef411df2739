/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI: one root bus, the configuration space of its functions, base addresses, INTx and MSI-X.
 *
 * A PCI device embeds a struct pci_function, and a struct pci_state in its saved state. Its init describes the function
 * (identity, base addresses, capabilities); its reset, check, loaded and fini call the function of the same name here.
 * Accesses to base address register N reach the device as window N, at the offset in that BAR, for as long as the
 * command register says so and wherever the guest has put it.
 *
 * Base addresses are assigned here at init (there may be no firmware that would do so) out of two windows, and the
 * guest may move them (the windows and the interrupt routing stand in platform.h). One function a slot (function 0),
 * bus 0 only. PCI Local Bus 3.0 ch. 6; all calls under the machine lock.
 *
 * How a board makes PCI devices:
 *
 *     struct pci_bus pci;                               // outlives its devices
 *     pci_bus_init(&pci, &bus, (struct irq_line){.set = board_set_gsi, .ctx = board});
 *     dev_new(&pci_host_type, 0, &env, &(struct pci_host_config){.pci = &pci}, &host, err);
 *     bus_add(&bus, BUS_PORT, PLATFORM_PORT_PCI_ADDRESS, 8, host, PCI_HOST_WINDOW_PORTS);
 *     bus_add(&bus, BUS_MMIO, PLATFORM_ECAM, PLATFORM_ECAM_SIZE, host, PCI_HOST_WINDOW_ECAM);
 *     dev_new(&virtio_blk_type, 0, &env, &(struct virtio_blk_device_config){...}, &disk, err);  // maps itself
 */
#ifndef FERRY_BUS_PCI_H
#define FERRY_BUS_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/irq.h"
#include "bus/platform.h"
#include "state/field.h"

struct bus;
struct dev;
struct err;
struct pci_bus;
struct pci_function;

#define PCI_SLOTS 32
#define PCI_BARS 6
#define PCI_CONFIG_SIZE 4096u
#define PCI_MSIX_MAX 64

struct pci_msix_entry {
    uint64_t address;
    uint32_t data;
    uint32_t control; /* bit 0: masked */
};

struct pci_state { /* saved */
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t interrupt;                       /* the device asks for INTx, whether or not it is let through */
    struct pci_msix_entry msix[PCI_MSIX_MAX];
    uint64_t msix_pending;                   /* one bit a vector */
};
extern const struct field pci_state_fields[];

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_MEMORY, PCI_BAR_IO };

struct pci_bar {
    enum pci_bar_kind kind;
    uint32_t size;    /* bytes, a power of two */
    bool mapped;      /* a window of the bus shows it, at address */
    uint64_t address;
};

/* What a device may want to know of its own configuration space; each may be NULL. */
struct pci_hooks {
    void (*config_reading)(struct pci_function *function, unsigned offset, unsigned size);
    void (*config_written)(struct pci_function *function, unsigned offset, unsigned size);
    /* Called after the BAR has appeared (address) or gone. */
    void (*bar_mapped)(struct pci_function *function, unsigned bar, uint64_t address);
    void (*bar_unmapped)(struct pci_function *function, unsigned bar);
};

struct pci_identity {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_code;     /* 24 bits: class, subclass, programming interface */
    uint8_t revision;
    uint8_t interrupt_pin;   /* 0: none, 1: INTA .. 4: INTD */
};

struct pci_function {
    struct pci_bus *pci; /* NULL until pci_function_init() has succeeded */
    struct dev *dev;
    struct pci_state *state;
    const struct pci_hooks *hooks;
    unsigned slot;
    bool withdrawn;                    /* by pci_withdraw() */
    struct pci_bar bar[PCI_BARS];
    unsigned capabilities_end;         /* where the next capability goes */
    unsigned msix_capability;          /* offset; 0: no MSI-X */
    unsigned msix_vectors, msix_bar;
    uint8_t initial[PCI_CONFIG_SIZE];  /* power-on contents */
    uint8_t mask[PCI_CONFIG_SIZE];     /* 1: the guest can write the bit */
};

struct pci_bus {
    struct bus *bus;
    struct irq_line line;              /* its number is replaced by the GSI */
    struct pci_function *function[PCI_SLOTS];
    uint32_t asserted[PLATFORM_GSI_PCI_COUNT]; /* one bit a slot, for each of the GSIs of platform_pci_gsi() */
};

void pci_bus_init(struct pci_bus *pci, struct bus *bus, struct irq_line line);

/* Configuration space of a function by its number on the wire; a function that isn't there reads as all ones.
 * size is 1, 2 or 4 and offset is a multiple of it, below PCI_CONFIG_SIZE. */
uint32_t pci_config_read(struct pci_bus *pci, unsigned bus, unsigned slot, unsigned function, unsigned offset,
                         unsigned size);
void pci_config_write(struct pci_bus *pci, unsigned bus, unsigned slot, unsigned function, unsigned offset,
                      unsigned size, uint32_t value);

/* Takes a slot. hooks may be NULL. -EINVAL, -EBUSY (slot taken). */
int pci_function_init(struct pci_function *function, struct dev *dev, struct pci_state *state, struct pci_bus *pci,
                      unsigned slot, const struct pci_identity *identity, const struct pci_hooks *hooks,
                      struct err *err);

/* Gives the slot and all windows back. Accepts a zeroed or half-built function. */
void pci_function_fini(struct pci_function *function);

/* The guest has let the function go: its slot reads as empty, its windows are gone, it does no DMA and interrupts nobody.
 * The slot stays taken until pci_function_fini(). */
void pci_withdraw(struct pci_function *function);

/* Describes BAR `number`: size bytes (a power of two, at least 16). -EINVAL, -ENOSPC (the window is full). */
int pci_add_bar(struct pci_function *function, unsigned number, enum pci_bar_kind kind, uint32_t size,
                struct err *err);

/* Appends a capability of size bytes (header included), zeroed and read-only but for what the caller sets in
 * initial[] and mask[]. Returns its offset, or 0 when it does not fit. */
unsigned pci_add_capability(struct pci_function *function, uint8_t id, unsigned size);

/* MSI-X with its table at the start of an already described memory BAR and its pending bits behind at 0x800. The device
 * hands its accesses to that BAR to pci_msix_read() and pci_msix_write(). -EINVAL, -ENOSPC. */
int pci_add_msix(struct pci_function *function, unsigned bar, unsigned vectors, struct err *err);
#define PCI_MSIX_BAR_SIZE 4096u
#define PCI_MSIX_PENDING_OFFSET 0x800u

uint64_t pci_msix_read(struct pci_function *function, uint64_t offset, unsigned size);
void pci_msix_write(struct pci_function *function, uint64_t offset, unsigned size, uint64_t value);
bool pci_msix_enabled(const struct pci_function *function);

/* Sends the message of a vector, or marks it pending while it is masked. Vectors that don't exist are ignored. */
void pci_msix_signal(struct pci_function *function, unsigned vector);

/* Level of the function's INTx pin. It reaches the line unless disabled by the command register or by MSI-X. */
void pci_set_intx(struct pci_function *function, bool level);

/* Whether the guest lets the function do DMA (bus master enable). */
bool pci_bus_master(const struct pci_function *function);

/* The device's contract calls. */
void pci_reset(struct pci_function *function);
/* A loaded state is acceptable when it differs from power-on contents in writable bits only. */
int pci_check(const struct pci_function *function, const struct pci_state *state, struct err *err);
void pci_loaded(struct pci_function *function);

/* Between pci.c and msix.c. */
void pci_msix_deliver(struct pci_function *function); /* sends what is pending and no longer masked */
void pci_msix_reset(struct pci_function *function);
int pci_msix_check(const struct pci_function *function, const struct pci_state *state, struct err *err);

#endif
