/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets of virtio devices share: a machine with one device, and a byte code for a hostile driver.
 *
 * The machine lives through all runs and the device is reset between them. Operations write registers, configuration space
 * and guest memory, set up queues properly, add descriptors, notify, feed the backend, and load a mutated state. */
#ifndef FERRY_TESTS_FUZZ_VIRTIO_FUZZ_H
#define FERRY_TESTS_FUZZ_VIRTIO_FUZZ_H

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "bus/bus.h"
#include "devices/virtio/virtio.h"
#include "event/loop.h"
#include "fuzz.h"
#include "memory/memory.h"
#include "state/section.h"

#define FUZZ_RAM (1u << 20)
#define FUZZ_SLOT 1
#define FUZZ_BAR 0xc0000000u
#define FUZZ_RING(queue) (0x1000u + (queue) * 0x2000u) /* descriptors; available at + 0x800, used at + 0x1000 */
#define FUZZ_QUEUE_SIZE 16
#define FUZZ_QUEUES 4

struct fuzz_machine {
    struct bus bus;
    struct pci_bus pci;
    struct clock clock;
    struct timer_queue timers;
    struct dev_env env;
    struct dev *dev;
    uint16_t available[FUZZ_QUEUES];
};

/* Filled by the target: makes the device (and its backend) at `place`; feed hands bytes to the backend's side. */
static int fuzz_make(struct fuzz_machine *machine, const struct virtio_place *place);
static void fuzz_feed(struct fuzz_machine *machine, const uint8_t *data, size_t size);

static void abort_unless(bool condition)
{
    if (!condition)
        abort();
}

static void fuzz_start(struct fuzz_machine *machine)
{
    abort_unless(memory_new(&machine->env.memory, NULL) == 0);
    abort_unless(memory_add(machine->env.memory, 0, FUZZ_RAM, false, NULL) == 0);
    abort_unless(loop_new(&machine->env.loop) == 0);
    clock_init_stopped(&machine->clock, 0);
    timer_queue_init(&machine->timers, &machine->clock);
    machine->env.clock = &machine->clock;
    machine->env.timers = &machine->timers;
    pci_bus_init(&machine->pci, &machine->bus, (struct irq_line){0});
    abort_unless(fuzz_make(machine, &(struct virtio_place){.pci = &machine->pci, .slot = FUZZ_SLOT}) == 0);
}

struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

static uint64_t fuzz_take(struct fuzz_input *input, unsigned size)
{
    uint64_t value = 0;
    size_t n = size < input->size ? size : input->size;
    memcpy(&value, input->data, n);
    input->data += n;
    input->size -= n;
    return value;
}

static void fuzz_bar_write(struct fuzz_machine *machine, unsigned offset, unsigned size, uint64_t value)
{
    bus_write(&machine->bus, BUS_MMIO, FUZZ_BAR + offset, size, value);
}

static void fuzz_serve(struct fuzz_machine *machine)
{
    loop_step(machine->env.loop, 0);
}

/* A well-behaved driver's start: all offered features, queues in their places. */
static void fuzz_init_device(struct fuzz_machine *machine, uint64_t refused_features)
{
    const struct virtio *virtio = (const struct virtio *)machine->dev;
    uint64_t features = virtio->features & ~(refused_features & ~BIT(VIRTIO_F_VERSION_1));
    pci_config_write(&machine->pci, 0, FUZZ_SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    fuzz_bar_write(machine, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    fuzz_bar_write(machine, VIRTIO_PCI_COMMON_STATUS, 1, 3);
    for (unsigned i = 0; i < 2; i++) {
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> i * 32));
    }
    fuzz_bar_write(machine, VIRTIO_PCI_COMMON_STATUS, 1, 11);
    for (unsigned i = 0; i < FUZZ_QUEUES; i++) {
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_Q_SIZE, 2, FUZZ_QUEUE_SIZE);
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_Q_DESCLO, 4, FUZZ_RING(i));
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, FUZZ_RING(i) + 0x800);
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_Q_USEDLO, 4, FUZZ_RING(i) + 0x1000);
        fuzz_bar_write(machine, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
        machine->available[i] = 0;
        memset(memory_pointer(machine->env.memory, FUZZ_RING(i), 0x2000), 0, 0x2000);
    }
    fuzz_bar_write(machine, VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

/* One descriptor of 8 bytes of input: queue and flags, index, next, address in pages of 256 bytes, size. */
static void fuzz_descriptor(struct fuzz_machine *machine, struct fuzz_input *input)
{
    uint64_t raw = fuzz_take(input, 8);
    struct vring_desc descriptor = {.addr = (raw >> 24 & 0xffff) << 8,
                                    .len = (uint32_t)(raw >> 40 & 0xffff),
                                    .flags = raw >> 2 & 7,
                                    .next = (uint16_t)(raw >> 16 & 0x1f)};
    uint64_t address = FUZZ_RING(raw & 3) + (raw >> 8 & 0xf) * sizeof(descriptor);
    memory_write(machine->env.memory, address, &descriptor, sizeof(descriptor));
}

static void fuzz_offer(struct fuzz_machine *machine, unsigned queue, uint16_t head)
{
    uint64_t available = FUZZ_RING(queue) + 0x800;
    memory_write(machine->env.memory, available + 4 + machine->available[queue] % FUZZ_QUEUE_SIZE * 2, &head, 2);
    machine->available[queue]++;
    memory_write(machine->env.memory, available + 2, &machine->available[queue], 2);
}

/* Saves, puts bytes of the input somewhere into the body, loads. */
static void fuzz_load(struct fuzz_machine *machine, struct fuzz_input *input)
{
    struct buffer out = BUFFER_INIT(1 << 18);
    struct section_reader reader;
    struct section section;
    struct err err = ERR_INIT;
    unsigned at = (unsigned)fuzz_take(input, 2);
    uint32_t value = (uint32_t)fuzz_take(input, 4);
    if (dev_save(machine->dev, &out) == 0) {
        section_reader_init(&reader, out.data, out.size);
        if (section_next(&reader, &section, NULL) == 1 && section.size > 4) {
            uint8_t *body = (uint8_t *)(uintptr_t)section.body;
            memcpy(body + at % (section.size - 4), &value, sizeof(value));
            dev_load(machine->dev, &section, &err); /* after the checksum was looked at: only contents differ */
        }
    }
    buffer_fini(&out);
}

static void fuzz_operation(struct fuzz_machine *machine, struct fuzz_input *input)
{
    unsigned operation = (unsigned)fuzz_take(input, 1), argument = operation >> 4;
    unsigned size = 1u << (argument & 3);
    uint8_t piece[64];
    switch (operation & 15) {
    case 0:
    case 1:
        fuzz_init_device(machine, operation & 1 ? fuzz_take(input, 8) : 0);
        break;
    case 2:
        bus_write(&machine->bus, BUS_MMIO, FUZZ_BAR + (fuzz_take(input, 2) & 0x7fff), size, fuzz_take(input, size));
        break;
    case 3:
        bus_read(&machine->bus, BUS_MMIO, FUZZ_BAR + (fuzz_take(input, 2) & 0x7fff), size);
        break;
    case 4:
        pci_config_write(&machine->pci, 0, FUZZ_SLOT, 0, (unsigned)fuzz_take(input, 1), size, (uint32_t)fuzz_take(input, 4));
        break;
    case 5:
        pci_config_read(&machine->pci, 0, FUZZ_SLOT, 0, (unsigned)fuzz_take(input, 1), size);
        break;
    case 6:
    case 7:
    case 8:
        fuzz_descriptor(machine, input);
        break;
    case 9:
    case 10:
        fuzz_offer(machine, argument & 3, (uint16_t)fuzz_take(input, 1));
        fuzz_bar_write(machine, VIRTIO_NOTIFY + (argument & 3) * VIRTIO_NOTIFY_STRIDE, 2, 0);
        fuzz_serve(machine);
        break;
    case 11: {
        uint64_t address = fuzz_take(input, 2) << 4, value = fuzz_take(input, 8);
        memory_write(machine->env.memory, address, &value, sizeof(value));
        break;
    }
    case 12: {
        size_t n = (size_t)fuzz_take(input, 1) % sizeof(piece);
        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)fuzz_take(input, 1);
        fuzz_feed(machine, piece, n);
        break;
    }
    case 13:
        fuzz_load(machine, input);
        break;
    case 14:
        dev_set_running(machine->dev, argument & 1);
        break;
    default:
        fuzz_serve(machine);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_machine machine;
    struct fuzz_input input = {data, size};
    if (machine.dev == NULL)
        fuzz_start(&machine);
    while (input.size > 0)
        fuzz_operation(&machine, &input);
    dev_set_running(machine.dev, true);
    dev_reset(machine.dev);
    fuzz_serve(&machine);
    return 0;
}

/* Init, then a chain on each queue: readable 256 bytes at 0x10000 that start with `header`, writable 256 bytes. */
static size_t fuzz_chain_seed(uint8_t *out, size_t max, unsigned queue, uint64_t header)
{
    static const uint8_t first = 0;
    struct buffer seed = BUFFER_INIT(max);
    uint64_t readable = queue | 1 << 2 | UINT64_C(1) << 16 | UINT64_C(0x100) << 24 | UINT64_C(0x100) << 40;
    uint64_t writable = queue | 2 << 2 | UINT64_C(1) << 8 | UINT64_C(0x110) << 24 | UINT64_C(0x201) << 40;
    buffer_append(&seed, &first, 1);
    buffer_append(&seed, "\x0b\x00\x10", 3);
    buffer_append(&seed, &header, 8);
    buffer_append(&seed, "\x06", 1);
    buffer_append(&seed, &readable, 8);
    buffer_append(&seed, "\x06", 1);
    buffer_append(&seed, &writable, 8);
    buffer_append(&seed, (uint8_t[]){(uint8_t)(9 | queue << 4), 0}, 2);
    buffer_append(&seed, "\x0c\x10 a frame, bytes \x0d\x10\x00\x01\x02\x03\x04\x0f", 26);
    size_t size = seed.size;
    memcpy(out, seed.data, size);
    buffer_fini(&seed);
    return size;
}

#endif
