/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio tests' guest: see the header. */
#include "virtio_guest.h"

#include "base/fd.h"
#include "state/section.h"

#define QUEUE_AREA 0x10000u

static void set_line(void *ctx, unsigned number, bool level)
{
    struct guest *guest = ctx;
    guest->lines = level ? guest->lines | 1u << number : guest->lines & ~(1u << number);
}

static void send_message(void *ctx, uint64_t address, uint32_t data)
{
    struct guest *guest = ctx;
    guest->messages[data % ARRAY_SIZE(guest->messages)]++;
}

static void set_doorbell(void *ctx, uint64_t address, int fd, bool present)
{
    struct guest *guest = ctx;
    assert_true(fd >= 0);
    if (present)
        guest->doorbell_address[guest->doorbells++ % GUEST_QUEUES] = address;
    else
        guest->doorbells--;
}

struct guest *guest_new(void)
{
    struct guest *guest = calloc(1, sizeof(*guest));
    assert_non_null(guest);
    assert_int_equal(memory_new(&guest->memory, NULL), 0);
    assert_int_equal(memory_add(guest->memory, 0, GUEST_RAM, false, NULL), 0);
    assert_int_equal(loop_new(&guest->loop), 0);
    clock_init_stopped(&guest->clock, 0);
    timer_queue_init(&guest->timers, &guest->clock);
    guest->env = (struct dev_env){.memory = guest->memory,
                                  .clock = &guest->clock,
                                  .timers = &guest->timers,
                                  .loop = guest->loop,
                                  .msi = {.send = send_message, .ctx = guest}};
    pci_bus_init(&guest->pci, &guest->bus, (struct irq_line){.set = set_line, .ctx = guest});
    guest->heap = GUEST_HEAP;
    return guest;
}

void guest_free(struct guest *guest)
{
    dev_free(guest->dev);
    assert_int_equal(guest->doorbells, 0);
    assert_null(guest->pci.function[GUEST_SLOT]);
    loop_free(guest->loop);
    memory_free(guest->memory);
    free(guest);
}

void guest_attach(struct guest *guest, const struct dev_type *type, void *config)
{
    struct err err = ERR_INIT;
    *(struct virtio_place *)config =
        (struct virtio_place){.pci = &guest->pci, .slot = GUEST_SLOT, .doorbells = {set_doorbell, guest}};
    if (dev_new(type, 0, &guest->env, config, &guest->dev, &err) < 0)
        fail_msg("%s", err.message);
}

uint32_t guest_config_read(struct guest *guest, unsigned offset, unsigned size)
{
    return pci_config_read(&guest->pci, 0, GUEST_SLOT, 0, offset, size);
}

void guest_config_write(struct guest *guest, unsigned offset, unsigned size, uint32_t value)
{
    pci_config_write(&guest->pci, 0, GUEST_SLOT, 0, offset, size, value);
}

uint64_t guest_read(struct guest *guest, uint32_t offset, unsigned size)
{
    return bus_read(&guest->bus, BUS_MMIO, guest->bar + offset, size);
}

void guest_write(struct guest *guest, uint32_t offset, unsigned size, uint64_t value)
{
    bus_write(&guest->bus, BUS_MMIO, guest->bar + offset, size, value);
}

uint64_t guest_common(struct guest *guest, unsigned offset, unsigned size)
{
    return guest_read(guest, guest->common + offset, size);
}

void guest_set_common(struct guest *guest, unsigned offset, unsigned size, uint64_t value)
{
    guest_write(guest, guest->common + offset, size, value);
}

uint64_t guest_device_config(struct guest *guest, unsigned offset, unsigned size)
{
    return guest_read(guest, guest->config + offset, size);
}

uint8_t guest_status(struct guest *guest)
{
    return (uint8_t)guest_common(guest, VIRTIO_PCI_COMMON_STATUS, 1);
}

static void found_vendor_capability(struct guest *guest, unsigned at)
{
    uint32_t offset = guest_config_read(guest, at + VIRTIO_PCI_CAP_OFFSET, 4);
    switch (guest_config_read(guest, at + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
    case VIRTIO_PCI_CAP_COMMON_CFG:
        guest->common = offset;
        guest->bar = guest_config_read(guest, PCI_BASE_ADDRESS_0 + 4 * guest_config_read(guest, at + 4, 1), 4) & ~0xfu;
        break;
    case VIRTIO_PCI_CAP_NOTIFY_CFG:
        guest->notify = offset;
        guest->multiplier = guest_config_read(guest, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
        break;
    case VIRTIO_PCI_CAP_ISR_CFG:
        guest->isr = offset;
        break;
    case VIRTIO_PCI_CAP_DEVICE_CFG:
        guest->config = offset;
        break;
    }
}

static void enable_msix(struct guest *guest, unsigned at)
{
    uint32_t table = guest_config_read(guest, at + PCI_MSIX_TABLE, 4);
    unsigned vectors = (guest_config_read(guest, at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
    guest->msix_bar = guest_config_read(guest, PCI_BASE_ADDRESS_0 + 4 * (table & 7), 4) & ~0xfu;
    guest_config_write(guest, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    for (unsigned i = 0; i < vectors; i++) {
        uint64_t entry = guest->msix_bar + i * PCI_MSIX_ENTRY_SIZE;
        bus_write(&guest->bus, BUS_MMIO, entry, 4, 0xfee00000);
        bus_write(&guest->bus, BUS_MMIO, entry + PCI_MSIX_ENTRY_DATA, 4, i);
        bus_write(&guest->bus, BUS_MMIO, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, 0);
    }
}

void guest_find(struct guest *guest)
{
    unsigned msix = 0;
    guest_config_write(guest, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    for (unsigned at = guest_config_read(guest, PCI_CAPABILITY_LIST, 1); at != 0;
         at = guest_config_read(guest, at + PCI_CAP_LIST_NEXT, 1)) {
        uint32_t id = guest_config_read(guest, at, 1);
        if (id == PCI_CAP_ID_VNDR)
            found_vendor_capability(guest, at);
        else if (id == PCI_CAP_ID_MSIX)
            msix = at;
    }
    assert_int_not_equal(msix, 0);
    enable_msix(guest, msix);
}

void guest_negotiate(struct guest *guest, uint64_t wanted)
{
    uint64_t offered = 0;
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (unsigned i = 0; i < 2; i++) {
        guest_set_common(guest, VIRTIO_PCI_COMMON_DFSELECT, 4, i);
        offered |= guest_common(guest, VIRTIO_PCI_COMMON_DF, 4) << i * 32;
    }
    guest->features = offered & (wanted | BIT(VIRTIO_F_VERSION_1));
    for (unsigned i = 0; i < 2; i++) {
        guest_set_common(guest, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        guest_set_common(guest, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(guest->features >> i * 32));
    }
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, guest_status(guest) | VIRTIO_CONFIG_S_FEATURES_OK);
    assert_true(guest_status(guest) & VIRTIO_CONFIG_S_FEATURES_OK);
}

static void set_address(struct guest *guest, unsigned offset, uint64_t address)
{
    guest_set_common(guest, offset, 4, (uint32_t)address);
    guest_set_common(guest, offset + 4, 4, address >> 32);
}

void guest_setup_queue(struct guest *guest, unsigned number, uint16_t size)
{
    struct guest_queue *queue = &guest->queue[number];
    uint64_t base = (number + 1) * QUEUE_AREA;
    guest_set_common(guest, VIRTIO_PCI_COMMON_Q_SELECT, 2, number);
    uint16_t most = (uint16_t)guest_common(guest, VIRTIO_PCI_COMMON_Q_SIZE, 2);
    size = size < most ? size : most;
    *queue = (struct guest_queue){
        .descriptors = base, .available = base + 0x4000, .used = base + 0x8000, .size = size};
    memset(guest_pointer(guest, base, QUEUE_AREA), 0, QUEUE_AREA);
    guest_set_common(guest, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
    guest_set_common(guest, VIRTIO_PCI_COMMON_Q_MSIX, 2, number + 1);
    set_address(guest, VIRTIO_PCI_COMMON_Q_DESCLO, queue->descriptors);
    set_address(guest, VIRTIO_PCI_COMMON_Q_AVAILLO, queue->available);
    set_address(guest, VIRTIO_PCI_COMMON_Q_USEDLO, queue->used);
    guest_set_common(guest, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

void guest_start(struct guest *guest, uint64_t wanted, unsigned queues)
{
    guest_find(guest);
    guest_negotiate(guest, wanted);
    guest_set_common(guest, VIRTIO_PCI_COMMON_MSIX, 2, 0);
    for (unsigned i = 0; i < queues; i++)
        guest_setup_queue(guest, i, 64);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, guest_status(guest) | VIRTIO_CONFIG_S_DRIVER_OK);
}

uint64_t guest_allocate(struct guest *guest, uint64_t size)
{
    uint64_t address = guest->heap;
    guest->heap = align_up(guest->heap + size, 64);
    assert_true(guest->heap <= GUEST_RAM);
    return address;
}

void *guest_pointer(struct guest *guest, uint64_t address, uint64_t size)
{
    void *pointer = memory_pointer(guest->memory, address, size);
    assert_non_null(pointer);
    return pointer;
}

void guest_write_descriptor(struct guest *guest, unsigned queue, uint16_t index, struct vring_desc descriptor)
{
    uint64_t address = guest->queue[queue].descriptors + index * sizeof(descriptor);
    memcpy(guest_pointer(guest, address, sizeof(descriptor)), &descriptor, sizeof(descriptor));
}

void guest_offer(struct guest *guest, unsigned queue, uint16_t head)
{
    struct guest_queue *q = &guest->queue[queue];
    uint8_t *available = guest_pointer(guest, q->available, 4 + q->size * 2u);
    store_le16(available + 4 + q->next_available % q->size * 2, head);
    q->next_available++;
    store_le16(available + 2, q->next_available);
}

static struct vring_desc describe(const struct guest_buffer *buffer)
{
    return (struct vring_desc){
        .addr = buffer->address, .len = buffer->size, .flags = buffer->writable ? VRING_DESC_F_WRITE : 0};
}

uint16_t guest_add(struct guest *guest, unsigned queue, const struct guest_buffer *buffers, unsigned count)
{
    struct guest_queue *q = &guest->queue[queue];
    uint16_t head = q->next_descriptor % q->size;
    for (unsigned i = 0; i < count; i++) {
        uint16_t index = q->next_descriptor++ % q->size;
        struct vring_desc descriptor = describe(&buffers[i]);
        if (i + 1 < count) {
            descriptor.flags |= VRING_DESC_F_NEXT;
            descriptor.next = q->next_descriptor % q->size;
        }
        guest_write_descriptor(guest, queue, index, descriptor);
    }
    guest_offer(guest, queue, head);
    return head;
}

uint16_t guest_add_indirect(struct guest *guest, unsigned queue, const struct guest_buffer *buffers, unsigned count)
{
    struct guest_queue *q = &guest->queue[queue];
    uint64_t table = guest_allocate(guest, count * sizeof(struct vring_desc));
    for (unsigned i = 0; i < count; i++) {
        struct vring_desc descriptor = describe(&buffers[i]);
        if (i + 1 < count) {
            descriptor.flags |= VRING_DESC_F_NEXT;
            descriptor.next = (uint16_t)(i + 1);
        }
        memcpy(guest_pointer(guest, table + i * sizeof(descriptor), sizeof(descriptor)), &descriptor, sizeof(descriptor));
    }
    uint16_t head = q->next_descriptor++ % q->size;
    guest_write_descriptor(guest, queue, head,
                           (struct vring_desc){.addr = table,
                                               .len = count * (uint32_t)sizeof(struct vring_desc),
                                               .flags = VRING_DESC_F_INDIRECT});
    guest_offer(guest, queue, head);
    return head;
}

void guest_notify(struct guest *guest, unsigned queue)
{
    guest_write(guest, guest->notify + queue * guest->multiplier, 2, queue);
}

void guest_settle(struct guest *guest)
{
    for (unsigned i = 0; i < 4; i++)
        loop_step(guest->loop, 0);
}

bool guest_wait(struct guest *guest, unsigned queue, struct vring_used_elem *ret_element)
{
    struct guest_queue *q = &guest->queue[queue];
    const uint8_t *used = guest_pointer(guest, q->used, 4 + q->size * sizeof(*ret_element));
    int64_t end = host_monotonic_ns() + 5 * NANOSECONDS_PER_SECOND;
    while (load_le16(used + 2) == q->seen_used && host_monotonic_ns() < end)
        loop_step(guest->loop, 10);
    if (load_le16(used + 2) == q->seen_used)
        return false;
    memcpy(ret_element, used + 4 + q->seen_used++ % q->size * sizeof(*ret_element), sizeof(*ret_element));
    return true;
}

uint32_t guest_transact(struct guest *guest, unsigned queue, const struct guest_buffer *buffers, unsigned count)
{
    struct vring_used_elem element = {0};
    uint16_t head = guest_add(guest, queue, buffers, count);
    guest_notify(guest, queue);
    assert_true(guest_wait(guest, queue, &element));
    assert_int_equal(element.id, head);
    return element.len;
}

void guest_migrate(struct guest *guest, const struct dev_type *type, void *config)
{
    struct buffer out = BUFFER_INIT(1 << 20);
    struct section_reader reader;
    struct section section;
    struct err err = ERR_INIT;
    dev_set_running(guest->dev, false);
    assert_int_equal(dev_save(guest->dev, &out), 0);
    dev_free(guest->dev);
    guest->dev = NULL;
    guest_attach(guest, type, config);
    dev_set_running(guest->dev, false);
    section_reader_init(&reader, out.data, out.size);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    if (dev_load(guest->dev, &section, &err) < 0)
        fail_msg("%s", err.message);
    dev_set_running(guest->dev, true);
    buffer_fini(&out);
}
