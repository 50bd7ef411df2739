/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest without an OS for the tests of virtio devices: RAM, a PCI bus, an event loop, and a driver that finds the
 * device's registers through its capabilities and builds split rings by hand. */
#ifndef FERRY_TESTS_DEVICE_VIRTIO_GUEST_H
#define FERRY_TESTS_DEVICE_VIRTIO_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "bus/bus.h"
#include "devices/virtio/virtio.h"
#include "event/loop.h"
#include "memory/memory.h"

#define GUEST_RAM (4u << 20)
#define GUEST_SLOT 3
#define GUEST_QUEUES 8
#define GUEST_HEAP 0x100000u /* below lie the rings: 64 KiB a queue */

struct guest_queue {
    uint64_t descriptors, available, used;
    uint16_t size;
    uint16_t next_descriptor, next_available, seen_used;
};

struct guest {
    struct bus bus;
    struct pci_bus pci;
    struct dev_env env;
    struct clock clock;
    struct timer_queue timers;
    struct memory *memory;
    struct loop *loop;
    struct dev *dev;
    uint64_t bar, msix_bar;
    uint32_t common, notify, isr, config, multiplier; /* offsets in bar */
    uint32_t lines;
    unsigned messages[64];                            /* by MSI data */
    unsigned doorbells;
    uint64_t doorbell_address[GUEST_QUEUES];
    struct guest_queue queue[GUEST_QUEUES];
    uint64_t heap;
    uint64_t features;                                /* agreed */
};

/* place is filled with the guest's bus, slot and doorbells before dev_new() is called with config, which starts with it. */
struct guest *guest_new(void);
void guest_free(struct guest *guest); /* the device too */
void guest_attach(struct guest *guest, const struct dev_type *type, void *config);

uint32_t guest_config_read(struct guest *guest, unsigned offset, unsigned size);
void guest_config_write(struct guest *guest, unsigned offset, unsigned size, uint32_t value);
uint64_t guest_read(struct guest *guest, uint32_t offset, unsigned size); /* in the BAR */
void guest_write(struct guest *guest, uint32_t offset, unsigned size, uint64_t value);
uint64_t guest_common(struct guest *guest, unsigned offset, unsigned size);
void guest_set_common(struct guest *guest, unsigned offset, unsigned size, uint64_t value);
uint64_t guest_device_config(struct guest *guest, unsigned offset, unsigned size);
uint8_t guest_status(struct guest *guest);

/* Finds the registers, turns decoding and bus mastering on, MSI-X with vector n = data n. */
void guest_find(struct guest *guest);
/* Negotiates (offered & wanted) and VERSION_1; sets up queues 0..count-1 and DRIVER_OK. */
void guest_start(struct guest *guest, uint64_t wanted, unsigned queues);
void guest_negotiate(struct guest *guest, uint64_t wanted);
/* size: or the largest that the device allows. */
void guest_setup_queue(struct guest *guest, unsigned number, uint16_t size);

uint64_t guest_allocate(struct guest *guest, uint64_t size);
void *guest_pointer(struct guest *guest, uint64_t address, uint64_t size);

struct guest_buffer {
    uint64_t address;
    uint32_t size;
    bool writable;
};

/* Adds a chain to the available ring (as descriptors of the table) and returns its head. */
uint16_t guest_add(struct guest *guest, unsigned queue, const struct guest_buffer *buffers, unsigned count);
/* The same by an indirect table. */
uint16_t guest_add_indirect(struct guest *guest, unsigned queue, const struct guest_buffer *buffers, unsigned count);
void guest_write_descriptor(struct guest *guest, unsigned queue, uint16_t index, struct vring_desc descriptor);
void guest_offer(struct guest *guest, unsigned queue, uint16_t head); /* index += 1 */
void guest_notify(struct guest *guest, unsigned queue);

/* Serves the loop until the queue has a new used element (at most 5 s); false: none came. */
bool guest_wait(struct guest *guest, unsigned queue, struct vring_used_elem *ret_element);
/* Serves what is ready now. */
void guest_settle(struct guest *guest);

/* One chain there and back. Returns the used length. */
uint32_t guest_transact(struct guest *guest, unsigned queue, const struct guest_buffer *buffers, unsigned count);

/* Saves the device, replaces it by a new one of the same config, loads. */
void guest_migrate(struct guest *guest, const struct dev_type *type, void *config);

#endif
