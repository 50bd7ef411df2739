/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt lines, MSIs and their routes, and the eventfds on both ways: irqfd into the guest, doorbells out of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "engine/kvm/internal.h"

#define PIC_LINES 16
#define CASCADE 2 /* the second PIC's line on the first: no device's */
#define ROUTE_GSI_FIRST IOAPIC_PINS
#define LINE_ROUTES_MAX (PIC_LINES + IOAPIC_PINS + 1)

static void add_pin(struct kvm_irq_routing *table, unsigned gsi, unsigned chip, unsigned pin)
{
    table->entries[table->nr++] = (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

/* The wiring of a PC: an ISA line goes to its PIC and to the IOAPIC pin of its number, but line 0 to pin 2. KVM's PIT
 * drives line 0. */
static void add_lines(struct kvm_irq_routing *table)
{
    for (unsigned i = 0; i < PIC_LINES; i++)
        if (i != CASCADE)
            add_pin(table, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i % 8);
    for (unsigned i = 0; i < IOAPIC_PINS; i++)
        add_pin(table, i, KVM_IRQCHIP_IOAPIC, i == 0 ? 2 : i);
}

int kvm_routing_update(struct kvm_vm *vm)
{
    struct kvm_irq_routing *table =
        calloc(1, sizeof(*table) + (LINE_ROUTES_MAX + vm->route_count) * sizeof(table->entries[0]));
    int r;

    if (table == NULL)
        return -ENOMEM;
    add_lines(table);
    for (unsigned i = 0; i < vm->route_count; i++) {
        const struct kvm_route *route = &vm->route[i];
        if (route->fd >= 0)
            table->entries[table->nr++] =
                (struct kvm_irq_routing_entry){.gsi = ROUTE_GSI_FIRST + i,
                                               .type = KVM_IRQ_ROUTING_MSI,
                                               .u.msi = {.address_lo = (uint32_t)route->address,
                                                         .address_hi = (uint32_t)(route->address >> 32),
                                                         .data = route->data}};
    }
    r = kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, table);
    free(table);
    return r < 0 ? r : 0;
}

int kvm_irq_line(struct engine_vm *base, unsigned gsi, bool level)
{
    struct kvm_irq_level line = {.irq = gsi, .level = level};

    if (gsi >= IOAPIC_PINS)
        return -EINVAL;
    return kvm_ioctl(kvm_vm_of(base)->fd, KVM_IRQ_LINE, &line);
}

int kvm_msi(struct engine_vm *base, uint64_t address, uint32_t data)
{
    struct kvm_msi msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};
    int r = kvm_ioctl(kvm_vm_of(base)->fd, KVM_SIGNAL_MSI, &msi);

    return r < 0 ? r : 0; /* 0 and more: how many CPUs took it */
}

static int irqfd(struct kvm_vm *vm, unsigned route, int fd, uint32_t flags)
{
    struct kvm_irqfd request = {.fd = (uint32_t)fd, .gsi = ROUTE_GSI_FIRST + route, .flags = flags};

    return kvm_ioctl(vm->fd, KVM_IRQFD, &request);
}

static int grow_routes(struct kvm_vm *vm, unsigned count)
{
    struct kvm_route *grown;

    if (count > vm->routes_max)
        return -ENOSPC;
    if (count <= vm->route_count)
        return 0;
    grown = realloc(vm->route, count * sizeof(*grown));
    if (grown == NULL)
        return -ENOMEM;
    vm->route = grown;
    while (vm->route_count < count)
        vm->route[vm->route_count++].fd = -1;
    return 0;
}

static int remove_route(struct kvm_vm *vm, unsigned number)
{
    int r;

    if (number >= vm->route_count || vm->route[number].fd < 0)
        return -ENOENT;
    r = irqfd(vm, number, vm->route[number].fd, KVM_IRQFD_FLAG_DEASSIGN);
    if (r < 0)
        return r;
    vm->route[number].fd = -1;
    return kvm_routing_update(vm);
}

static int set_route(struct kvm_vm *vm, unsigned number, int fd, uint64_t address, uint32_t data)
{
    struct kvm_route old, new = {.fd = fd, .address = address, .data = data};
    int r = grow_routes(vm, number + 1);

    if (r < 0)
        return r;
    old = vm->route[number];
    if (old.fd >= 0 && old.fd != fd)
        irqfd(vm, number, old.fd, KVM_IRQFD_FLAG_DEASSIGN);
    vm->route[number] = new;
    r = kvm_routing_update(vm);
    if (r == 0 && old.fd != fd)
        r = irqfd(vm, number, fd, 0);
    if (r < 0) {
        vm->route[number].fd = -1;
        kvm_routing_update(vm);
    }
    return r;
}

int kvm_irqfd_msi(struct engine_vm *base, unsigned route, int fd, uint64_t address, uint32_t data)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    int r;

    if (!(vm->capabilities & ENGINE_IRQFD))
        return -ENOTSUP;
    pthread_mutex_lock(&vm->lock);
    r = fd < 0 ? remove_route(vm, route) : set_route(vm, route, fd, address, data);
    pthread_mutex_unlock(&vm->lock);
    return r;
}

static int doorbell(struct engine_vm *base, const struct engine_doorbell *doorbell, uint32_t flags)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    struct kvm_ioeventfd request = {.datamatch = doorbell->match ? doorbell->value : 0,
                                    .addr = doorbell->address,
                                    .len = doorbell->size,
                                    .fd = doorbell->fd,
                                    .flags = flags | (doorbell->port ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                                             (doorbell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0)};

    if (!(vm->capabilities & ENGINE_IOEVENTFD))
        return -ENOTSUP;
    if (doorbell->match && doorbell->size == 0)
        return -EINVAL;
    return kvm_ioctl(vm->fd, KVM_IOEVENTFD, &request);
}

int kvm_doorbell_add(struct engine_vm *base, const struct engine_doorbell *bell)
{
    return doorbell(base, bell, 0);
}

int kvm_doorbell_remove(struct engine_vm *base, const struct engine_doorbell *bell)
{
    return doorbell(base, bell, KVM_IOEVENTFD_FLAG_DEASSIGN);
}
