/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers by which ACPI's methods (src/boot/dsdt.c) learn that a PCI slot was filled or is to be emptied, and by which
 * the guest lets a device go. Section "pci-hotplug".
 *
 * Our own interface, one bit a slot, read and written as double words:
 *   0x0 plugged    slots filled since the last read, which clears it
 *   0x4 to unplug  slots whose device the guest is asked to let go; the bit stays until it has
 *   0x8 eject      write: the guest has let these devices go; reads as 0
 *   0xc removable  slots whose device can be unplugged at all
 * A change of the first two is told by a general-purpose event. What the slots hold is the board's business. */
#ifndef FERRY_DEVICES_PC_PCI_HOTPLUG_H
#define FERRY_DEVICES_PC_PCI_HOTPLUG_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/dev.h"

enum { PCI_HOTPLUG_PLUGGED = 0x0, PCI_HOTPLUG_TO_UNPLUG = 0x4, PCI_HOTPLUG_EJECT = 0x8, PCI_HOTPLUG_REMOVABLE = 0xc };
#define PCI_HOTPLUG_SIZE 0x10u /* ports of window 0 */

struct pci_hotplug_config {
    void *ctx;
    void (*event)(void *ctx);               /* raises the general-purpose event */
    void (*eject)(void *ctx, unsigned slot); /* for slots that are removable only */
    uint32_t (*removable)(void *ctx);
};

extern const struct dev_type pci_hotplug_type;

/* The slot has just been filled: tells the guest. */
void pci_hotplug_plugged(struct dev *dev, unsigned slot);

/* Asks the guest to let the slot's device go; asked again it asks again. */
void pci_hotplug_unplug(struct dev *dev, unsigned slot);

/* The slot is empty: nothing of it waits any more. */
void pci_hotplug_emptied(struct dev *dev, unsigned slot);

/* One bit for each slot whose device the guest was asked to let go, and has not. */
uint32_t pci_hotplug_waiting(const struct dev *dev);

#endif
