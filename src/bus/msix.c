/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MSI-X: the table and the pending bits of a PCI function. PCI Local Bus 3.0 section 6.8.2. */
#include <errno.h>
#include <linux/pci_regs.h>

#include "base/bits.h"
#include "base/err.h"
#include "bus/dev.h"
#include "bus/pci.h"

int pci_add_msix(struct pci_function *function, unsigned bar, unsigned vectors, struct err *err)
{
    if (bar >= PCI_BARS || function->bar[bar].kind != PCI_BAR_MEMORY || function->bar[bar].size < PCI_MSIX_BAR_SIZE ||
        vectors == 0 || vectors > PCI_MSIX_MAX)
        return err_set(err, -EINVAL, "PCI slot %u: can't have %u MSI-X vectors", function->slot, vectors);
    unsigned offset = pci_add_capability(function, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
    if (offset == 0)
        return err_set(err, -ENOSPC, "PCI slot %u: no room for the MSI-X capability", function->slot);
    store_le16(function->initial + offset + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
    store_le16(function->mask + offset + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    store_le32(function->initial + offset + PCI_MSIX_TABLE, bar);
    store_le32(function->initial + offset + PCI_MSIX_PBA, PCI_MSIX_PENDING_OFFSET | bar);
    function->msix_capability = offset;
    function->msix_vectors = vectors;
    function->msix_bar = bar;
    return 0;
}

static uint16_t flags(const struct pci_function *function)
{
    unsigned offset = function->msix_capability;
    return offset == 0 ? 0 : load_le16(function->state->config + offset + PCI_MSIX_FLAGS);
}

bool pci_msix_enabled(const struct pci_function *function)
{
    return (flags(function) & PCI_MSIX_FLAGS_ENABLE) != 0;
}

static bool masked(const struct pci_function *function, unsigned vector)
{
    return (flags(function) & PCI_MSIX_FLAGS_MASKALL) != 0 || !pci_bus_master(function) ||
           (function->state->msix[vector].control & PCI_MSIX_ENTRY_CTRL_MASKBIT) != 0;
}

static void send(struct pci_function *function, unsigned vector)
{
    const struct pci_msix_entry *entry = &function->state->msix[vector];
    msi_send(&function->dev->env->msi, entry->address, entry->data);
}

void pci_msix_signal(struct pci_function *function, unsigned vector)
{
    if (vector >= function->msix_vectors || !pci_msix_enabled(function))
        return;
    if (masked(function, vector))
        function->state->msix_pending |= BIT(vector);
    else
        send(function, vector);
}

void pci_msix_deliver(struct pci_function *function)
{
    struct pci_state *state = function->state;
    for (unsigned i = 0; state->msix_pending != 0 && i < function->msix_vectors && pci_msix_enabled(function); i++) {
        if (!(state->msix_pending & BIT(i)) || masked(function, i))
            continue;
        state->msix_pending &= ~BIT(i);
        send(function, i);
    }
}

void pci_msix_reset(struct pci_function *function)
{
    struct pci_state *state = function->state;
    memset(state->msix, 0, sizeof(state->msix));
    for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
        state->msix[i].control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
    state->msix_pending = 0;
}

static uint32_t read_word(const struct pci_function *function, uint64_t offset)
{
    const struct pci_state *state = function->state;
    if (offset == PCI_MSIX_PENDING_OFFSET)
        return (uint32_t)state->msix_pending;
    if (offset == PCI_MSIX_PENDING_OFFSET + 4)
        return (uint32_t)(state->msix_pending >> 32);
    uint64_t vector = offset / PCI_MSIX_ENTRY_SIZE;
    if (vector >= function->msix_vectors)
        return 0;
    const struct pci_msix_entry *entry = &state->msix[vector];
    switch (offset % PCI_MSIX_ENTRY_SIZE) {
    case PCI_MSIX_ENTRY_LOWER_ADDR:
        return (uint32_t)entry->address;
    case PCI_MSIX_ENTRY_UPPER_ADDR:
        return (uint32_t)(entry->address >> 32);
    case PCI_MSIX_ENTRY_DATA:
        return entry->data;
    default:
        return entry->control;
    }
}

static void write_word(struct pci_function *function, uint64_t offset, uint32_t value)
{
    uint64_t vector = offset / PCI_MSIX_ENTRY_SIZE;
    if (vector >= function->msix_vectors)
        return;
    struct pci_msix_entry *entry = &function->state->msix[vector];
    switch (offset % PCI_MSIX_ENTRY_SIZE) {
    case PCI_MSIX_ENTRY_LOWER_ADDR:
        entry->address = (entry->address & ~UINT64_C(0xffffffff)) | (value & ~3u);
        break;
    case PCI_MSIX_ENTRY_UPPER_ADDR:
        entry->address = (entry->address & 0xffffffff) | (uint64_t)value << 32;
        break;
    case PCI_MSIX_ENTRY_DATA:
        entry->data = value;
        break;
    default:
        entry->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
        pci_msix_deliver(function);
        break;
    }
}

/* Only aligned accesses of four or eight bytes are defined. */
uint64_t pci_msix_read(struct pci_function *function, uint64_t offset, unsigned size)
{
    if (size < 4 || offset % size != 0)
        return truncate_to(UINT64_MAX, size);
    uint64_t value = read_word(function, offset);
    return size == 4 ? value : value | (uint64_t)read_word(function, offset + 4) << 32;
}

void pci_msix_write(struct pci_function *function, uint64_t offset, unsigned size, uint64_t value)
{
    if (size < 4 || offset % size != 0)
        return;
    write_word(function, offset, (uint32_t)value);
    if (size == 8)
        write_word(function, offset + 4, (uint32_t)(value >> 32));
}

int pci_msix_check(const struct pci_function *function, const struct pci_state *state, struct err *err)
{
    unsigned vectors = function->msix_vectors;
    uint64_t possible = vectors == 64 ? UINT64_MAX : BIT(vectors) - 1;
    if ((state->msix_pending & ~possible) != 0)
        return err_set(err, -EBADMSG, "PCI slot %u: an MSI-X vector is pending that does not exist", function->slot);
    for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
        if ((state->msix[i].control & ~(uint32_t)PCI_MSIX_ENTRY_CTRL_MASKBIT) != 0 || (state->msix[i].address & 3) != 0)
            return err_set(err, -EBADMSG, "PCI slot %u: MSI-X vector %u is malformed", function->slot, i);
    return 0;
}
