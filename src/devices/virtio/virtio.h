/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio 1.2 over PCI (modern only): what every virtio device shares, from the capabilities to the queues' doorbells.
 *
 * A device embeds struct virtio as its first member and struct virtio_state as the first member of its state, describes
 * itself by a const struct virtio_type, and uses virtio_read, virtio_write, virtio_reset and so on as its dev_type's.
 * The transport owns registers, feature negotiation, interrupts and notifications; the device gets `process` calls, in
 * the event loop's thread, for queues that may hold buffers.
 *
 * A guest that breaks the rules of a queue gets DEVICE_NEEDS_RESET and a configuration interrupt; nothing is processed
 * until it resets the device (section 2.1.1).
 *
 * Notifications: each queue has an eventfd in the event loop. The board may connect it to the notify address in the
 * engine (struct virtio_doorbells); a write that arrives as MMIO signals the same eventfd. Without a loop (device tests)
 * a notification is processed inside the write. */
#ifndef FERRY_DEVICES_VIRTIO_VIRTIO_H
#define FERRY_DEVICES_VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "bus/dev.h"
#include "bus/pci.h"
#include "devices/virtio/queue.h"

struct virtio;

#define VIRTIO_QUEUES_MAX 17 /* so many that a disk has 16 */

/* Tells the board that a write of two bytes to the MMIO address is to signal fd, or (not present) no longer so. */
struct virtio_doorbells {
    void (*set)(void *ctx, uint64_t address, int fd, bool present); /* NULL: not wanted */
    void *ctx;
};

/* First member of every virtio device's config: where it sits. */
struct virtio_place {
    struct pci_bus *pci;
    unsigned slot;
    struct virtio_doorbells doorbells;
};

struct virtio_state { /* saved */
    struct pci_state pci;
    uint64_t driver_features;
    uint32_t device_feature_select, driver_feature_select;
    uint16_t config_vector;
    uint16_t queue_select;
    uint8_t status;
    uint8_t isr;
    uint8_t config_generation;
    struct virtqueue_state queue[VIRTIO_QUEUES_MAX];
};
extern const struct field virtio_state_fields[];

struct virtio_type {
    uint16_t device_id;      /* virtio's number; PCI device 0x1040 + it */
    uint32_t class_code;     /* PCI class */
    unsigned config_size;    /* bytes of device configuration; 0: none */
    /* Device configuration space: any size at any offset inside config_size. write may be NULL. */
    void (*config_read)(struct virtio *virtio, unsigned offset, void *data, unsigned size);
    void (*config_write)(struct virtio *virtio, unsigned offset, const void *data, unsigned size);
    /* The queue may hold buffers. Only while the driver is ready (DRIVER_OK), the VM runs and the guest lets us do DMA. At
     * most the queue's size of buffers a call; true: there may be more, call again soon. */
    bool (*process)(struct virtio *virtio, unsigned queue);
    /* The driver has become ready, or a state with a ready driver was loaded. May be NULL. */
    void (*driver_ready)(struct virtio *virtio);
    /* The guest has reset the device, or the machine is: give up everything in flight. May be NULL. */
    void (*reset)(struct virtio *virtio);
    /* The VM stops or goes on: finish everything in flight. May be NULL. */
    void (*set_running)(struct virtio *virtio, bool running);
};

struct virtio_notifier {
    struct virtio *virtio;
    struct loop_source *source;
    int fd;
};

struct virtio {
    struct dev dev;
    struct pci_function function;
    const struct virtio_type *type;
    struct virtio_state *state;
    struct virtio_doorbells doorbells;
    uint64_t features;       /* offered */
    unsigned queue_count;
    struct virtqueue queue[VIRTIO_QUEUES_MAX];
    struct virtio_notifier notifier[VIRTIO_QUEUES_MAX];
    bool stopped;            /* the VM stands still */
    unsigned window_capability; /* offset of the configuration access capability */
};

/* Called by the device's init. features: device-specific bits; the transport adds its own. queue_size: largest size, a
 * power of two. On failure and after success alike virtio_fini() is to be called. */
int virtio_init(struct virtio *virtio, const struct virtio_type *type, struct virtio_state *state,
                const struct virtio_place *place, uint64_t features, unsigned queue_count, uint16_t queue_size,
                struct err *err);
void virtio_fini(struct virtio *virtio);

/* Whether the guest has accepted feature bit number `bit`. */
static inline bool virtio_has_feature(const struct virtio *virtio, unsigned bit)
{
    return virtio->state->driver_features >> bit & 1;
}

/* Whether queues may be touched now. */
bool virtio_ready(const struct virtio *virtio);

/* Shows the driver what was pushed to the queue, and interrupts it if it wants that. */
void virtio_complete(struct virtio *virtio, unsigned queue);

/* Does with one chain what the device is for, and returns how many bytes it wrote to it; -EAGAIN: not now, the chain waits for
 * virtio_kick(); -EBADMSG: it is none that a driver may give. */
typedef int virtio_serve_fn(struct virtio *virtio, const struct virtqueue *queue, const struct virtqueue_chain *chain);
/* For `process` of devices that are done with a chain at once: serves those that are there, in their order, and gives them back. */
bool virtio_serve(struct virtio *virtio, unsigned queue, virtio_serve_fn *serve);

/* The device saw something forbidden in a queue or a request's frame. */
void virtio_broken(struct virtio *virtio);

/* The device's configuration has changed: new generation, configuration interrupt. */
void virtio_config_changed(struct virtio *virtio);

/* Has the queue processed soon, from the event loop. */
void virtio_kick(struct virtio *virtio, unsigned queue);

/* Contract calls for the device's dev_type. */
void virtio_reset(struct dev *dev);
uint64_t virtio_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size);
void virtio_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value);
int virtio_check(const struct dev *dev, const void *state, struct err *err);
void virtio_loaded(struct dev *dev);
void virtio_set_running(struct dev *dev, bool running);

/* Between virtio.c (the device's life) and transport.c (its registers). */
int virtio_transport_init(struct virtio *virtio, const struct virtio_place *place, struct err *err);
void virtio_device_reset(struct virtio *virtio);               /* by the status register: PCI is left alone */
void virtio_set_status(struct virtio *virtio, uint8_t status); /* as the driver writes it, not 0 */
void virtio_enable_queue(struct virtio *virtio, unsigned queue);
void virtio_kick_all(struct virtio *virtio);

/* Where things are in BAR 0, and which BAR has MSI-X. */
enum {
    VIRTIO_BAR = 0,
    VIRTIO_BAR_MSIX = 1,
    VIRTIO_BAR_SIZE = 0x4000,
    VIRTIO_COMMON = 0x0000,
    VIRTIO_ISR = 0x1000,
    VIRTIO_CONFIG = 0x2000,
    VIRTIO_NOTIFY = 0x3000,
    VIRTIO_NOTIFY_STRIDE = 4,
};

#endif
