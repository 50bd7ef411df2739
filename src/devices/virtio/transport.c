/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio's registers on PCI (virtio 1.2 section 4.1): capabilities, common configuration, ISR, notify area. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "base/bits.h"
#include "base/err.h"
#include "devices/virtio/virtio.h"

#define VIRTIO_VENDOR 0x1af4
#define VIRTIO_DEVICE_BASE 0x1040
#define VIRTIO_SUBSYSTEM_BASE 0x40 /* section 4.1.2.1: 0x40 or more for devices without the legacy interface */
#define REGION_SIZE 0x1000u        /* of each of the four areas in the BAR */

static uint64_t selected_address(const struct virtqueue_state *queue, unsigned offset)
{
    return offset < VIRTIO_PCI_COMMON_Q_AVAILLO  ? queue->descriptor_table
           : offset < VIRTIO_PCI_COMMON_Q_USEDLO ? queue->available_ring
                                                 : queue->used_ring;
}

/* The selected queue's registers; a queue that isn't there reads as zeros: size 0 says so. */
static void describe_queue(const struct virtio *virtio, uint8_t *common)
{
    unsigned number = virtio->state->queue_select;
    if (number >= virtio->queue_count)
        return;
    const struct virtqueue_state *queue = &virtio->state->queue[number];
    store_le16(common + VIRTIO_PCI_COMMON_Q_SIZE, queue->size);
    store_le16(common + VIRTIO_PCI_COMMON_Q_MSIX, queue->vector);
    store_le16(common + VIRTIO_PCI_COMMON_Q_ENABLE, queue->enabled);
    store_le16(common + VIRTIO_PCI_COMMON_Q_NOFF, (uint16_t)number);
    for (unsigned offset = VIRTIO_PCI_COMMON_Q_DESCLO; offset <= VIRTIO_PCI_COMMON_Q_USEDLO; offset += 8)
        store_le64(common + offset, selected_address(queue, offset));
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select > 1 ? 0 : (uint32_t)(features >> select * 32);
}

static uint64_t common_read(const struct virtio *virtio, unsigned offset, unsigned size)
{
    const struct virtio_state *state = virtio->state;
    uint8_t common[sizeof(struct virtio_pci_common_cfg) + 8] = {0};
    if (offset >= sizeof(struct virtio_pci_common_cfg))
        return 0;
    store_le32(common + VIRTIO_PCI_COMMON_DFSELECT, state->device_feature_select);
    store_le32(common + VIRTIO_PCI_COMMON_DF, feature_word(virtio->features, state->device_feature_select));
    store_le32(common + VIRTIO_PCI_COMMON_GFSELECT, state->driver_feature_select);
    store_le32(common + VIRTIO_PCI_COMMON_GF, feature_word(state->driver_features, state->driver_feature_select));
    store_le16(common + VIRTIO_PCI_COMMON_MSIX, state->config_vector);
    store_le16(common + VIRTIO_PCI_COMMON_NUMQ, (uint16_t)virtio->queue_count);
    common[VIRTIO_PCI_COMMON_STATUS] = state->status;
    common[VIRTIO_PCI_COMMON_CFGGENERATION] = state->config_generation;
    store_le16(common + VIRTIO_PCI_COMMON_Q_SELECT, state->queue_select);
    describe_queue(virtio, common);
    return truncate_to(load_le64(common + offset), size);
}

static void write_driver_features(struct virtio_state *state, uint32_t value)
{
    if (state->driver_feature_select > 1 || (state->status & VIRTIO_CONFIG_S_FEATURES_OK))
        return;
    unsigned shift = state->driver_feature_select * 32;
    state->driver_features = (state->driver_features & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;
}

/* A vector that doesn't exist reads back as "none", which tells the driver (section 4.1.5.1.2.1). */
static uint16_t existing_vector(const struct virtio *virtio, uint64_t vector)
{
    return vector < virtio->function.msix_vectors ? (uint16_t)vector : VIRTIO_MSI_NO_VECTOR;
}

static void write_address(struct virtqueue_state *queue, unsigned offset, uint32_t value)
{
    uint64_t *address = offset < VIRTIO_PCI_COMMON_Q_AVAILLO  ? &queue->descriptor_table
                        : offset < VIRTIO_PCI_COMMON_Q_USEDLO ? &queue->available_ring
                                                              : &queue->used_ring;
    unsigned shift = offset & 4 ? 32 : 0;
    *address = (*address & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;
}

/* Size and addresses are frozen while the queue is enabled; it is disabled by reset alone. */
static void queue_write(struct virtio *virtio, unsigned offset, unsigned size, uint64_t value)
{
    unsigned number = virtio->state->queue_select;
    if (number >= virtio->queue_count)
        return;
    struct virtqueue_state *queue = &virtio->state->queue[number];
    if (size == 4 && offset >= VIRTIO_PCI_COMMON_Q_DESCLO && offset <= VIRTIO_PCI_COMMON_Q_USEDHI) {
        if (!queue->enabled)
            write_address(queue, offset, (uint32_t)value);
    } else if (size == 2 && offset == VIRTIO_PCI_COMMON_Q_SIZE) {
        if (!queue->enabled)
            queue->size = (uint16_t)value;
    } else if (size == 2 && offset == VIRTIO_PCI_COMMON_Q_MSIX) {
        queue->vector = existing_vector(virtio, value);
    } else if (size == 2 && offset == VIRTIO_PCI_COMMON_Q_ENABLE && value == 1) {
        virtio_enable_queue(virtio, number);
    }
}

/* Fields are written by their own size alone (section 4.1.3.1); anything else is dropped. */
static void common_write(struct virtio *virtio, unsigned offset, unsigned size, uint64_t value)
{
    struct virtio_state *state = virtio->state;
    if (offset % size != 0)
        return;
    if (size == 4 && offset == VIRTIO_PCI_COMMON_DFSELECT)
        state->device_feature_select = (uint32_t)value;
    else if (size == 4 && offset == VIRTIO_PCI_COMMON_GFSELECT)
        state->driver_feature_select = (uint32_t)value;
    else if (size == 4 && offset == VIRTIO_PCI_COMMON_GF)
        write_driver_features(state, (uint32_t)value);
    else if (size == 2 && offset == VIRTIO_PCI_COMMON_MSIX)
        state->config_vector = existing_vector(virtio, value);
    else if (size == 1 && offset == VIRTIO_PCI_COMMON_STATUS && value == 0)
        virtio_device_reset(virtio);
    else if (size == 1 && offset == VIRTIO_PCI_COMMON_STATUS)
        virtio_set_status(virtio, (uint8_t)value);
    else if (size == 2 && offset == VIRTIO_PCI_COMMON_Q_SELECT)
        state->queue_select = (uint16_t)value;
    else
        queue_write(virtio, offset, size, value);
}

/* Reading the ISR clears it and lowers the line. */
static uint64_t isr_read(struct virtio *virtio)
{
    uint8_t isr = virtio->state->isr;
    virtio->state->isr = 0;
    pci_set_intx(&virtio->function, false);
    return isr;
}

static uint64_t config_read(struct virtio *virtio, unsigned offset, unsigned size)
{
    uint64_t value = 0;
    if (offset < virtio->type->config_size) {
        unsigned left = virtio->type->config_size - offset;
        virtio->type->config_read(virtio, offset, &value, size < left ? size : left);
    }
    return value;
}

static void config_write(struct virtio *virtio, unsigned offset, unsigned size, uint64_t value)
{
    if (virtio->type->config_write != NULL && size <= virtio->type->config_size &&
        offset <= virtio->type->config_size - size)
        virtio->type->config_write(virtio, offset, &value, size);
}

static uint64_t bar_read(struct virtio *virtio, uint64_t offset, unsigned size)
{
    unsigned inside = offset % REGION_SIZE;
    switch (align_down(offset, REGION_SIZE)) {
    case VIRTIO_COMMON:
        return common_read(virtio, inside, size);
    case VIRTIO_ISR:
        return inside == 0 ? isr_read(virtio) : 0;
    case VIRTIO_CONFIG:
        return config_read(virtio, inside, size);
    default:
        return 0;
    }
}

static void bar_write(struct virtio *virtio, uint64_t offset, unsigned size, uint64_t value)
{
    unsigned inside = offset % REGION_SIZE;
    switch (align_down(offset, REGION_SIZE)) {
    case VIRTIO_COMMON:
        common_write(virtio, inside, size, value);
        break;
    case VIRTIO_CONFIG:
        config_write(virtio, inside, size, value);
        break;
    case VIRTIO_NOTIFY:
        if (inside % VIRTIO_NOTIFY_STRIDE == 0 && inside / VIRTIO_NOTIFY_STRIDE < virtio->queue_count)
            virtio_kick(virtio, inside / VIRTIO_NOTIFY_STRIDE);
        break;
    }
}

uint64_t virtio_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct virtio *virtio = CONTAINER_OF(dev, struct virtio, dev);
    return window == VIRTIO_BAR_MSIX ? pci_msix_read(&virtio->function, offset, size) : bar_read(virtio, offset, size);
}

void virtio_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio *virtio = CONTAINER_OF(dev, struct virtio, dev);
    if (window == VIRTIO_BAR_MSIX)
        pci_msix_write(&virtio->function, offset, size, value);
    else
        bar_write(virtio, offset, size, value);
}

/* The window in configuration space through which a driver without MMIO reaches the BAR (section 4.1.4.9). */
struct access {
    uint32_t offset, size;
};

static bool window_access(const struct virtio *virtio, unsigned offset, unsigned size, struct access *ret_access)
{
    const uint8_t *capability = virtio->function.state->config + virtio->window_capability;
    unsigned data = virtio->window_capability + sizeof(struct virtio_pci_cap);
    struct access access = {load_le32(capability + VIRTIO_PCI_CAP_OFFSET), load_le32(capability + VIRTIO_PCI_CAP_LENGTH)};
    if (offset >= data + 4 || offset + size <= data || capability[VIRTIO_PCI_CAP_BAR] != VIRTIO_BAR)
        return false;
    if ((access.size != 1 && access.size != 2 && access.size != 4) || access.offset % access.size != 0 ||
        access.offset > VIRTIO_BAR_SIZE - access.size)
        return false;
    *ret_access = access;
    return true;
}

static void config_reading(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio *virtio = CONTAINER_OF(function, struct virtio, function);
    struct access access;
    if (window_access(virtio, offset, size, &access))
        store_le32(function->state->config + virtio->window_capability + sizeof(struct virtio_pci_cap),
                   (uint32_t)bar_read(virtio, access.offset, access.size));
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio *virtio = CONTAINER_OF(function, struct virtio, function);
    const uint8_t *data = function->state->config + virtio->window_capability + sizeof(struct virtio_pci_cap);
    struct access access;
    if (window_access(virtio, offset, size, &access))
        bar_write(virtio, access.offset, access.size, truncate_to(load_le32(data), access.size));
    if (offset < PCI_COMMAND + 2 && offset + size > PCI_COMMAND)
        virtio_kick_all(virtio); /* the guest may have let us do DMA just now */
}

static void tell_doorbells(struct virtio *virtio, uint64_t bar_address, bool present)
{
    for (unsigned i = 0; i < virtio->queue_count && virtio->doorbells.set != NULL; i++)
        if (virtio->notifier[i].fd >= 0)
            virtio->doorbells.set(virtio->doorbells.ctx, bar_address + VIRTIO_NOTIFY + i * VIRTIO_NOTIFY_STRIDE,
                                  virtio->notifier[i].fd, present);
}

static void bar_mapped(struct pci_function *function, unsigned bar, uint64_t address)
{
    if (bar == VIRTIO_BAR)
        tell_doorbells(CONTAINER_OF(function, struct virtio, function), address, true);
}

static void bar_unmapped(struct pci_function *function, unsigned bar)
{
    if (bar == VIRTIO_BAR)
        tell_doorbells(CONTAINER_OF(function, struct virtio, function), function->bar[bar].address, false);
}

static const struct pci_hooks hooks = {
    .config_reading = config_reading,
    .config_written = config_written,
    .bar_mapped = bar_mapped,
    .bar_unmapped = bar_unmapped,
};

static unsigned add_capability(struct pci_function *function, uint8_t type, uint32_t offset, uint32_t length, unsigned extra)
{
    unsigned size = sizeof(struct virtio_pci_cap) + extra;
    unsigned at = pci_add_capability(function, PCI_CAP_ID_VNDR, size);
    if (at == 0)
        return 0;
    uint8_t *capability = function->initial + at;
    capability[VIRTIO_PCI_CAP_LEN] = (uint8_t)size;
    capability[VIRTIO_PCI_CAP_CFG_TYPE] = type;
    capability[VIRTIO_PCI_CAP_BAR] = VIRTIO_BAR;
    store_le32(capability + VIRTIO_PCI_CAP_OFFSET, offset);
    store_le32(capability + VIRTIO_PCI_CAP_LENGTH, length);
    return at;
}

/* They all fit below 0x100 by construction: 5 capabilities of at most 20 bytes, and MSI-X. */
static void add_capabilities(struct virtio *virtio)
{
    struct pci_function *function = &virtio->function;
    unsigned window = add_capability(function, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4);
    function->mask[window + VIRTIO_PCI_CAP_BAR] = 0xff;
    memset(function->mask + window + VIRTIO_PCI_CAP_OFFSET, 0xff, 12); /* offset, length, data */
    virtio->window_capability = window;
    if (virtio->type->config_size > 0)
        add_capability(function, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_CONFIG, virtio->type->config_size, 0);
    add_capability(function, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_ISR, 1, 0);
    unsigned notify = add_capability(function, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_NOTIFY,
                                     virtio->queue_count * VIRTIO_NOTIFY_STRIDE, 4);
    store_le32(function->initial + notify + VIRTIO_PCI_NOTIFY_CAP_MULT, VIRTIO_NOTIFY_STRIDE);
    add_capability(function, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_COMMON, sizeof(struct virtio_pci_common_cfg), 0);
}

int virtio_transport_init(struct virtio *virtio, const struct virtio_place *place, struct err *err)
{
    struct pci_function *function = &virtio->function;
    struct pci_identity identity = {
        .vendor = VIRTIO_VENDOR,
        .device = (uint16_t)(VIRTIO_DEVICE_BASE + virtio->type->device_id),
        .subsystem_vendor = VIRTIO_VENDOR,
        .subsystem = (uint16_t)(VIRTIO_SUBSYSTEM_BASE + virtio->type->device_id),
        .class_code = virtio->type->class_code,
        .revision = 1,
        .interrupt_pin = 1,
    };
    int r = pci_function_init(function, &virtio->dev, &virtio->state->pci, place->pci, place->slot, &identity, &hooks, err);
    if (r == 0)
        r = pci_add_bar(function, VIRTIO_BAR, PCI_BAR_MEMORY, VIRTIO_BAR_SIZE, err);
    if (r == 0)
        r = pci_add_bar(function, VIRTIO_BAR_MSIX, PCI_BAR_MEMORY, PCI_MSIX_BAR_SIZE, err);
    if (r < 0)
        return r;
    add_capabilities(virtio);
    return pci_add_msix(function, VIRTIO_BAR_MSIX, virtio->queue_count + 1, err);
}
