/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI host bridge: function 00:00.0, configuration mechanism #1 and the memory-mapped configuration space.
 *
 * Port window: 8 ports at PLATFORM_PORT_PCI_ADDRESS. It covers the reset control register (PLATFORM_PORT_RESET), which
 * shares the address register's ports and differs by access size alone: a byte write there with bit 2 calls `reset`. */
#ifndef FERRY_DEVICES_PC_PCI_HOST_H
#define FERRY_DEVICES_PC_PCI_HOST_H

#include "bus/dev.h"

struct pci_bus;

enum { PCI_HOST_WINDOW_PORTS, PCI_HOST_WINDOW_ECAM };

struct pci_host_config {
    struct pci_bus *pci;
    void (*reset)(void *ctx); /* the guest asks for a reset of the machine; may be NULL */
    void *reset_ctx;
};

extern const struct dev_type pci_host_type;

#endif
