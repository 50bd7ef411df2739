/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI functions: configuration space, base addresses that the guest can move, INTx. MSI-X is in msix.c. */
#include <errno.h>
#include <linux/pci_regs.h>

#include "base/bits.h"
#include "base/err.h"
#include "bus/bus.h"
#include "bus/dev.h"
#include "bus/pci.h"

static const struct field pci_msix_entry_fields[] = {
    FIELD(1, struct pci_msix_entry, address),
    FIELD(2, struct pci_msix_entry, data),
    FIELD(3, struct pci_msix_entry, control),
    FIELD_END,
};

const struct field pci_state_fields[] = {
    FIELD_ARRAY(1, struct pci_state, config),
    FIELD(2, struct pci_state, interrupt),
    FIELD_STRUCTS(3, struct pci_state, msix, pci_msix_entry_fields),
    FIELD(4, struct pci_state, msix_pending),
    FIELD_END,
};

#define CAPABILITIES_START 0x40u
#define CONVENTIONAL_SIZE 0x100u /* capabilities live below; above is the extended space */

void pci_bus_init(struct pci_bus *pci, struct bus *bus, struct irq_line line)
{
    *pci = (struct pci_bus){.bus = bus, .line = line};
}

static uint16_t command(const struct pci_function *function)
{
    return load_le16(function->state->config + PCI_COMMAND);
}

bool pci_bus_master(const struct pci_function *function)
{
    return (command(function) & PCI_COMMAND_MASTER) != 0;
}

/* INTx: lines are shared, so a line is up while any slot asks for it. */
static void update_line(struct pci_function *function, bool level)
{
    struct pci_bus *pci = function->pci;
    unsigned pin = function->initial[PCI_INTERRUPT_PIN];
    if (pin == 0)
        return;
    struct irq_line line = pci->line;
    line.number = platform_pci_gsi(function->slot, pin - 1);
    uint32_t *asserted = &pci->asserted[line.number - PLATFORM_GSI_PCI];
    uint32_t before = *asserted;
    *asserted = level ? before | (uint32_t)BIT(function->slot) : before & ~(uint32_t)BIT(function->slot);
    if ((before != 0) != (*asserted != 0))
        irq_set(&line, *asserted != 0);
}

static void update_intx(struct pci_function *function)
{
    bool disabled = (command(function) & PCI_COMMAND_INTX_DISABLE) != 0 || pci_msix_enabled(function);
    update_line(function, function->state->interrupt && !disabled);
}

void pci_set_intx(struct pci_function *function, bool level)
{
    function->state->interrupt = level;
    update_intx(function);
}

/* Where the registers say that a BAR is; false while it isn't decoded. */
static bool bar_wanted(const struct pci_function *function, unsigned number, uint64_t *ret_address)
{
    const struct pci_bar *bar = &function->bar[number];
    uint32_t value = load_le32(function->state->config + PCI_BASE_ADDRESS_0 + number * 4);
    bool io = bar->kind == PCI_BAR_IO;
    if (bar->kind == PCI_BAR_NONE || !(command(function) & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return false;
    *ret_address = value & (io ? (uint32_t)PCI_BASE_ADDRESS_IO_MASK : (uint32_t)PCI_BASE_ADDRESS_MEM_MASK);
    return *ret_address != 0;
}

static enum bus_space bar_space(const struct pci_bar *bar)
{
    return bar->kind == PCI_BAR_IO ? BUS_PORT : BUS_MMIO;
}

static void unmap_bar(struct pci_function *function, unsigned number)
{
    struct pci_bar *bar = &function->bar[number];
    bus_remove(function->pci->bus, bar_space(bar), function->dev, number);
    bar->mapped = false;
    if (function->hooks != NULL && function->hooks->bar_unmapped != NULL)
        function->hooks->bar_unmapped(function, number);
}

/* A BAR put where something else already answers stays invisible, as on a board where the other decoder wins. */
static void map_bar(struct pci_function *function, unsigned number, uint64_t address)
{
    struct pci_bar *bar = &function->bar[number];
    if (bus_add(function->pci->bus, bar_space(bar), address, bar->size, function->dev, number) < 0)
        return;
    bar->mapped = true;
    bar->address = address;
    if (function->hooks != NULL && function->hooks->bar_mapped != NULL)
        function->hooks->bar_mapped(function, number, address);
}

static void withdraw_bars(struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint64_t address;
        if (function->bar[i].mapped && (!bar_wanted(function, i, &address) || address != function->bar[i].address))
            unmap_bar(function, i);
    }
}

/* Every function is looked at: one BAR's departure may uncover another's. */
static void update_bars(struct pci_function *function)
{
    withdraw_bars(function);
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        struct pci_function *other = function->pci->function[slot];
        for (unsigned i = 0; other != NULL && i < PCI_BARS; i++) {
            uint64_t address;
            if (!other->bar[i].mapped && bar_wanted(other, i, &address))
                map_bar(other, i, address);
        }
    }
}

static struct pci_function *find(struct pci_bus *pci, unsigned bus, unsigned slot, unsigned function)
{
    struct pci_function *found = bus == 0 && slot < PCI_SLOTS && function == 0 ? pci->function[slot] : NULL;
    return found != NULL && !found->withdrawn ? found : NULL;
}

static bool config_access_valid(unsigned offset, unsigned size)
{
    return (size == 1 || size == 2 || size == 4) && offset % size == 0 && offset + size <= PCI_CONFIG_SIZE;
}

uint32_t pci_config_read(struct pci_bus *pci, unsigned bus, unsigned slot, unsigned function, unsigned offset,
                         unsigned size)
{
    struct pci_function *f = find(pci, bus, slot, function);
    if (f == NULL || !config_access_valid(offset, size))
        return (uint32_t)truncate_to(UINT64_MAX, size <= 4 ? size : 4);
    if (f->hooks != NULL && f->hooks->config_reading != NULL)
        f->hooks->config_reading(f, offset, size);
    uint32_t value = 0;
    memcpy(&value, f->state->config + offset, size);
    if (f->state->interrupt && offset <= PCI_STATUS && offset + size > PCI_STATUS)
        value |= (uint32_t)PCI_STATUS_INTERRUPT << (PCI_STATUS - offset) * 8;
    return value;
}

void pci_config_write(struct pci_bus *pci, unsigned bus, unsigned slot, unsigned function, unsigned offset,
                      unsigned size, uint32_t value)
{
    struct pci_function *f = find(pci, bus, slot, function);
    if (f == NULL || !config_access_valid(offset, size))
        return;
    for (unsigned i = 0; i < size; i++) {
        uint8_t mask = f->mask[offset + i], byte = (uint8_t)(value >> i * 8);
        f->state->config[offset + i] = (uint8_t)((f->state->config[offset + i] & ~mask) | (byte & mask));
    }
    update_bars(f);
    update_intx(f);
    pci_msix_deliver(f);
    if (f->hooks != NULL && f->hooks->config_written != NULL)
        f->hooks->config_written(f, offset, size);
}

static void set_identity(struct pci_function *function, const struct pci_identity *identity)
{
    uint8_t *config = function->initial;
    store_le16(config + PCI_VENDOR_ID, identity->vendor);
    store_le16(config + PCI_DEVICE_ID, identity->device);
    store_le32(config + PCI_CLASS_REVISION, identity->class_code << 8 | identity->revision);
    store_le16(config + PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor);
    store_le16(config + PCI_SUBSYSTEM_ID, identity->subsystem);
    config[PCI_INTERRUPT_PIN] = identity->interrupt_pin;
    if (identity->interrupt_pin != 0)
        config[PCI_INTERRUPT_LINE] = (uint8_t)platform_pci_gsi(function->slot, identity->interrupt_pin - 1u);
}

int pci_function_init(struct pci_function *function, struct dev *dev, struct pci_state *state, struct pci_bus *pci,
                      unsigned slot, const struct pci_identity *identity, const struct pci_hooks *hooks,
                      struct err *err)
{
    if (slot >= PCI_SLOTS || identity->interrupt_pin > 4)
        return err_set(err, -EINVAL, "PCI slot %u does not exist; slots are 0 to %d", slot, PCI_SLOTS - 1);
    if (pci->function[slot] != NULL)
        return err_set(err, -EBUSY, "PCI slot %u is taken by another device", slot);
    *function = (struct pci_function){
        .pci = pci, .dev = dev, .state = state, .hooks = hooks, .slot = slot, .capabilities_end = CAPABILITIES_START};
    set_identity(function, identity);
    store_le16(function->mask + PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_PARITY |
                                                 PCI_COMMAND_SERR);
    function->mask[PCI_INTERRUPT_LINE] = 0xff;
    function->mask[PCI_CACHE_LINE_SIZE] = 0xff;
    function->mask[PCI_LATENCY_TIMER] = 0xff;
    pci->function[slot] = function;
    memcpy(state->config, function->initial, PCI_CONFIG_SIZE);
    return 0;
}

void pci_function_fini(struct pci_function *function)
{
    if (function->pci == NULL)
        return;
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (function->bar[i].mapped)
            unmap_bar(function, i);
    update_line(function, false);
    function->pci->function[function->slot] = NULL;
    function->pci = NULL;
}

void pci_withdraw(struct pci_function *function)
{
    function->withdrawn = true;
    store_le16(function->state->config + PCI_COMMAND, PCI_COMMAND_INTX_DISABLE);
    update_bars(function);
    update_intx(function);
}

static uint32_t initial_address(const struct pci_function *function, unsigned number)
{
    return load_le32(function->initial + PCI_BASE_ADDRESS_0 + number * 4) & ~0xfu;
}

/* The end of the BAR that covers some of [address, address + size), or 0. */
static uint64_t occupied_until(const struct pci_bus *pci, enum pci_bar_kind kind, uint64_t address, uint64_t size)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        const struct pci_function *other = pci->function[slot];
        for (unsigned i = 0; other != NULL && i < PCI_BARS; i++) {
            uint64_t start = initial_address(other, i), end = start + other->bar[i].size;
            if (other->bar[i].kind == kind && start < address + size && address < end)
                return end;
        }
    }
    return 0;
}

/* First fit, so that what an unplugged device had is used again. 0: full. */
static uint64_t allocate(const struct pci_bus *pci, enum pci_bar_kind kind, uint64_t size)
{
    uint64_t base = kind == PCI_BAR_IO ? PLATFORM_PORT_PCI : PLATFORM_PCI_MMIO32;
    uint64_t end = base + (kind == PCI_BAR_IO ? PLATFORM_PORT_PCI_SIZE : PLATFORM_PCI_MMIO32_SIZE);
    for (uint64_t address = align_up(base, size); address + size <= end;) {
        uint64_t next = occupied_until(pci, kind, address, size);
        if (next == 0)
            return address;
        address = align_up(next, size);
    }
    return 0;
}

int pci_add_bar(struct pci_function *function, unsigned number, enum pci_bar_kind kind, uint32_t size,
                struct err *err)
{
    if (number >= PCI_BARS || kind == PCI_BAR_NONE || size < 16 || !is_power_of_two(size))
        return err_set(err, -EINVAL, "PCI slot %u: base address %u can't have %u bytes", function->slot, number, size);
    uint64_t address = allocate(function->pci, kind, size);
    if (address == 0)
        return err_set(err, -ENOSPC, "no %s space is left for the %u bytes of the device in PCI slot %u",
                       kind == PCI_BAR_IO ? "PCI I/O" : "PCI memory", size, function->slot);
    function->bar[number] = (struct pci_bar){.kind = kind, .size = size};
    unsigned offset = PCI_BASE_ADDRESS_0 + number * 4;
    store_le32(function->initial + offset, (uint32_t)address | (kind == PCI_BAR_IO ? PCI_BASE_ADDRESS_SPACE_IO : 0u));
    store_le32(function->mask + offset, ~(size - 1));
    function->mask[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    return 0;
}

unsigned pci_add_capability(struct pci_function *function, uint8_t id, unsigned size)
{
    unsigned offset = function->capabilities_end;
    if (offset + size > CONVENTIONAL_SIZE)
        return 0;
    function->capabilities_end = (unsigned)align_up(offset + size, 4);
    function->initial[offset + PCI_CAP_LIST_ID] = id;
    function->initial[offset + PCI_CAP_LIST_NEXT] = function->initial[PCI_CAPABILITY_LIST];
    function->initial[PCI_CAPABILITY_LIST] = (uint8_t)offset;
    function->initial[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    return offset;
}

void pci_reset(struct pci_function *function)
{
    memcpy(function->state->config, function->initial, PCI_CONFIG_SIZE);
    function->state->interrupt = false;
    pci_msix_reset(function);
    update_bars(function);
    update_intx(function);
}

int pci_check(const struct pci_function *function, const struct pci_state *state, struct err *err)
{
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
        if (((state->config[i] ^ function->initial[i]) & ~function->mask[i]) != 0)
            return err_set(err, -EBADMSG, "PCI slot %u: configuration byte 0x%x is 0x%02x where this device has 0x%02x",
                           function->slot, i, state->config[i], function->initial[i]);
    if (state->interrupt > 1)
        return err_set(err, -EBADMSG, "PCI slot %u: interrupt level %u", function->slot, state->interrupt);
    return pci_msix_check(function, state, err);
}

void pci_loaded(struct pci_function *function)
{
    update_bars(function);
    update_intx(function);
    pci_msix_deliver(function);
}
