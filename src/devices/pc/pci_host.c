/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI host bridge, with the identity of the Q35 memory controller hub. */
#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "bus/pci.h"
#include "devices/pc/pci_host.h"

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_MASK 0x80fffffcu
#define RESET_OFFSET (PLATFORM_PORT_RESET - PLATFORM_PORT_PCI_ADDRESS)
#define RESET_CPU 0x04u
#define RESET_MASK 0x0eu

struct pci_host_state {
    struct pci_state pci;
    uint32_t address;
    uint8_t reset_control;
};

struct pci_host {
    struct dev dev;
    struct pci_host_config config;
    struct pci_function function;
    struct pci_host_state state;
};

static const struct field pci_host_fields[] = {
    FIELD_STRUCT(1, struct pci_host_state, pci, pci_state_fields),
    FIELD(2, struct pci_host_state, address),
    FIELD(3, struct pci_host_state, reset_control),
    FIELD_END,
};

static int host_init(struct dev *dev, const void *config, struct err *err)
{
    struct pci_host *host = CONTAINER_OF(dev, struct pci_host, dev);
    static const struct pci_identity identity = {.vendor = 0x8086, .device = 0x29c0, .class_code = 0x060000};
    host->config = *(const struct pci_host_config *)config;
    return pci_function_init(&host->function, dev, &host->state.pci, host->config.pci, 0, &identity, NULL, err);
}

static void host_reset(struct dev *dev)
{
    struct pci_host *host = CONTAINER_OF(dev, struct pci_host, dev);
    pci_reset(&host->function);
    host->state.address = 0;
    host->state.reset_control = 0;
}

/* Where an access to the data ports goes; false: nowhere. */
static bool data_target(const struct pci_host *host, uint64_t offset, unsigned size, unsigned *ret_register)
{
    if (!(host->state.address & ADDRESS_ENABLE) || offset < 4 || size > 4 || offset % size != 0)
        return false;
    *ret_register = (host->state.address & 0xfc) | (offset & 3);
    return true;
}

static uint64_t ports_read(struct pci_host *host, uint64_t offset, unsigned size)
{
    uint32_t address = host->state.address;
    unsigned reg;
    if (offset == 0 && size == 4)
        return address;
    if (offset == RESET_OFFSET && size == 1)
        return host->state.reset_control;
    if (!data_target(host, offset, size, &reg))
        return truncate_to(UINT64_MAX, size);
    return pci_config_read(host->config.pci, address >> 16 & 0xff, address >> 11 & 0x1f, address >> 8 & 7, reg, size);
}

static void write_reset_control(struct pci_host *host, uint8_t value)
{
    bool rising = (value & RESET_CPU) && !(host->state.reset_control & RESET_CPU);
    host->state.reset_control = value & RESET_MASK;
    if (rising && host->config.reset != NULL)
        host->config.reset(host->config.reset_ctx);
}

static void ports_write(struct pci_host *host, uint64_t offset, unsigned size, uint64_t value)
{
    uint32_t address = host->state.address;
    unsigned reg;
    if (offset == 0 && size == 4)
        host->state.address = (uint32_t)value & ADDRESS_MASK;
    else if (offset == RESET_OFFSET && size == 1)
        write_reset_control(host, (uint8_t)value);
    else if (data_target(host, offset, size, &reg))
        pci_config_write(host->config.pci, address >> 16 & 0xff, address >> 11 & 0x1f, address >> 8 & 7, reg, size,
                         (uint32_t)value);
}

/* Address bits of the memory-mapped space: bus 27:20, slot 19:15, function 14:12, register 11:0. */
static uint64_t host_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct pci_host *host = CONTAINER_OF(dev, struct pci_host, dev);
    if (window == PCI_HOST_WINDOW_PORTS)
        return ports_read(host, offset, size);
    if (size > 4)
        return UINT64_MAX;
    return pci_config_read(host->config.pci, offset >> 20 & 0xff, offset >> 15 & 0x1f, offset >> 12 & 7, offset & 0xfff,
                           size);
}

static void host_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_host *host = CONTAINER_OF(dev, struct pci_host, dev);
    if (window == PCI_HOST_WINDOW_PORTS)
        ports_write(host, offset, size, value);
    else if (size <= 4)
        pci_config_write(host->config.pci, offset >> 20 & 0xff, offset >> 15 & 0x1f, offset >> 12 & 7, offset & 0xfff,
                         size, (uint32_t)value);
}

static int host_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct pci_host *host = CONTAINER_OF(dev, const struct pci_host, dev);
    const struct pci_host_state *loaded = state;
    if ((loaded->address & ~ADDRESS_MASK) != 0 || (loaded->reset_control & ~RESET_MASK) != 0)
        return err_set(err, -EBADMSG, "PCI host bridge: reserved bits are set in its registers");
    return pci_check(&host->function, &loaded->pci, err);
}

static void host_loaded(struct dev *dev)
{
    pci_loaded(&CONTAINER_OF(dev, struct pci_host, dev)->function);
}

static void host_fini(struct dev *dev)
{
    pci_function_fini(&CONTAINER_OF(dev, struct pci_host, dev)->function);
}

const struct dev_type pci_host_type = {
    .name = "pci-host",
    .size = sizeof(struct pci_host),
    .state_offset = offsetof(struct pci_host, state),
    .state_size = sizeof(struct pci_host_state),
    .fields = pci_host_fields,
    .version = 1,
    .init = host_init,
    .reset = host_reset,
    .read = host_read,
    .write = host_write,
    .check = host_check,
    .loaded = host_loaded,
    .fini = host_fini,
};
