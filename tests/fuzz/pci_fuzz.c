/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the PCI host bridge by ports and ECAM, and behind it a function with BARs, INTx and MSI-X that the guest moves
 * about, and whose saved state is hostile. */
#include "device_fuzz.h"

#include "bus/bus.h"
#include "bus/pci.h"
#include "devices/pc/pci_host.h"

#define SLOT 1
#define VECTORS 5
#define ECAM_SIZE (1u << 20) /* bus 0 */

struct card_state {
    struct pci_state pci;
};

struct card {
    struct dev dev;
    struct pci_function function;
    struct card_state state;
};

static const struct field card_fields[] = {
    FIELD_STRUCT(1, struct card_state, pci, pci_state_fields),
    FIELD_END,
};

static int card_init(struct dev *dev, const void *config, struct err *err)
{
    struct pci_function *function = &((struct card *)dev)->function;
    const struct pci_identity identity = {.vendor = 1, .device = 2, .class_code = 0xff0000, .interrupt_pin = 1};
    int r = pci_function_init(function, dev, &((struct card *)dev)->state.pci, (struct pci_bus *)config, SLOT, &identity,
                              NULL, err);
    if (r == 0)
        r = pci_add_bar(function, 0, PCI_BAR_MEMORY, 0x1000, err);
    if (r == 0)
        r = pci_add_bar(function, 1, PCI_BAR_MEMORY, PCI_MSIX_BAR_SIZE, err);
    if (r == 0)
        r = pci_add_bar(function, 2, PCI_BAR_IO, 0x20, err);
    return r == 0 ? pci_add_msix(function, 1, VECTORS, err) : r;
}

static void card_reset(struct dev *dev)
{
    pci_reset(&((struct card *)dev)->function);
}

static uint64_t card_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    return window == 1 ? pci_msix_read(&((struct card *)dev)->function, offset, size) : 0;
}

static void card_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    if (window == 1)
        pci_msix_write(&((struct card *)dev)->function, offset, size, value);
}

static int card_check(const struct dev *dev, const void *state, struct err *err)
{
    return pci_check(&((const struct card *)dev)->function, &((const struct card_state *)state)->pci, err);
}

static void card_loaded(struct dev *dev)
{
    pci_loaded(&((struct card *)dev)->function);
}

static void card_fini(struct dev *dev)
{
    pci_function_fini(&((struct card *)dev)->function);
}

static const struct dev_type card_type = {
    .name = "card",
    .size = sizeof(struct card),
    .state_offset = offsetof(struct card, state),
    .state_size = sizeof(struct card_state),
    .fields = card_fields,
    .version = 1,
    .init = card_init,
    .reset = card_reset,
    .read = card_read,
    .write = card_write,
    .check = card_check,
    .loaded = card_loaded,
    .fini = card_fini,
};

struct board {
    struct fuzz_device f; /* the host bridge */
    struct bus bus;
    struct pci_bus pci;
    struct fuzz_device card;
};

static void ignore_message(void *ctx, uint64_t address, uint32_t data)
{
}

/* The guest's accesses to where the BARs are now, and next to it. */
static void access_bar(struct board *board, struct fuzz_input *in)
{
    const struct pci_function *function = &((struct card *)board->card.dev)->function;
    const struct pci_bar *bar = &function->bar[fuzz_take(in, 1) % 3];
    enum bus_space space = bar->kind == PCI_BAR_IO ? BUS_PORT : BUS_MMIO;
    uint64_t address = bar->address + fuzz_take(in, 2) % (bar->size + 8);
    unsigned size = 1u << fuzz_take(in, 1) % 4;
    if (fuzz_take(in, 1) & 1)
        bus_write(&board->bus, space, address, size, fuzz_take(in, 8));
    else
        bus_read(&board->bus, space, address, size);
}

static void drive_card(struct fuzz_device *f, struct fuzz_input *in)
{
    struct board *board = (struct board *)f;
    struct pci_function *function = &((struct card *)board->card.dev)->function;
    uint8_t what = (uint8_t)fuzz_take(in, 1);
    switch (what % 8) {
    case 0:
        pci_set_intx(function, (what & 0x80) != 0);
        break;
    case 1:
        pci_msix_signal(function, what >> 3);
        break;
    case 2:
        dev_reset(board->card.dev);
        break;
    case 3:
    case 4:
        fuzz_load(&board->card, in);
        break;
    default:
        access_bar(board, in);
    }
}

/* Turn memory, I/O and bus mastering on, and MSI-X: most things happen only then. */
static void enable_card(struct board *board)
{
    unsigned msix = ((struct card *)board->card.dev)->function.msix_capability;
    pci_config_write(&board->pci, 0, SLOT, 0, 4, 2, 7);
    pci_config_write(&board->pci, 0, SLOT, 0, msix + 2, 2, 0x8000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct board board;
    struct pci_host_config config = {.pci = &board.pci};
    struct err err = ERR_INIT;
    memset(&board, 0, sizeof(board));
    board.f.window[0] = (struct fuzz_window){PCI_HOST_WINDOW_PORTS, 8};
    board.f.window[1] = (struct fuzz_window){PCI_HOST_WINDOW_ECAM, ECAM_SIZE};
    board.f.own = drive_card;
    fuzz_prepare(&board.f);
    board.f.env.msi.send = ignore_message;
    pci_bus_init(&board.pci, &board.bus, (struct irq_line){.set = fuzz_line});
    if (dev_new(&card_type, 0, &board.f.env, &board.pci, &board.card.dev, &err) < 0)
        return 0;
    if (size > 0 && (data[0] & 1) != 0)
        enable_card(&board);
    fuzz_run(&board.f, &pci_host_type, &config, data, size);
    dev_free(board.card.dev);
    return 0;
}
