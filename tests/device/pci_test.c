/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host bridge and PCI functions, driven through ports and ECAM: sizing, moving, INTx, MSI-X, save and load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/pci_regs.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "bus/bus.h"
#include "bus/pci.h"
#include "devices/pc/pci_host.h"
#include "state/section.h"

/* A device with one register in BAR 0 (memory) and BAR 2 (I/O), and MSI-X in BAR 1. */
struct toy_state {
    struct pci_state pci;
    uint32_t value;
};
struct toy {
    struct dev dev;
    struct pci_function function;
    struct toy_state state;
};
struct toy_config {
    struct pci_bus *pci;
    unsigned slot;
};
static const struct field toy_fields[] = {
    FIELD_STRUCT(1, struct toy_state, pci, pci_state_fields),
    FIELD(2, struct toy_state, value),
    FIELD_END,
};

static int toy_init(struct dev *dev, const void *config, struct err *err)
{
    struct toy *toy = (struct toy *)dev;
    const struct toy_config *c = config;
    static const struct pci_identity identity = {.vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000, .interrupt_pin = 1};
    int r = pci_function_init(&toy->function, dev, &toy->state.pci, c->pci, c->slot, &identity, NULL, err);
    if (r == 0)
        r = pci_add_bar(&toy->function, 0, PCI_BAR_MEMORY, 0x4000, err);
    if (r == 0)
        r = pci_add_bar(&toy->function, 1, PCI_BAR_MEMORY, PCI_MSIX_BAR_SIZE, err);
    if (r == 0)
        r = pci_add_bar(&toy->function, 2, PCI_BAR_IO, 0x20, err);
    return r == 0 ? pci_add_msix(&toy->function, 1, 3, err) : r;
}

static void toy_reset(struct dev *dev)
{
    pci_reset(&((struct toy *)dev)->function);
}

static uint64_t toy_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct toy *toy = (struct toy *)dev;
    return window == 1 ? pci_msix_read(&toy->function, offset, size) : toy->state.value + offset + window * 0x10000u;
}

static void toy_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct toy *toy = (struct toy *)dev;
    if (window == 1)
        pci_msix_write(&toy->function, offset, size, value);
    else
        toy->state.value = (uint32_t)value;
}

static int toy_check(const struct dev *dev, const void *state, struct err *err)
{
    return pci_check(&((const struct toy *)dev)->function, &((const struct toy_state *)state)->pci, err);
}

static void toy_loaded(struct dev *dev)
{
    pci_loaded(&((struct toy *)dev)->function);
}

static void toy_fini(struct dev *dev)
{
    pci_function_fini(&((struct toy *)dev)->function);
}

static const struct dev_type toy_type = {
    .name = "toy",
    .size = sizeof(struct toy),
    .state_offset = offsetof(struct toy, state),
    .state_size = sizeof(struct toy_state),
    .fields = toy_fields,
    .version = 1,
    .init = toy_init,
    .reset = toy_reset,
    .read = toy_read,
    .write = toy_write,
    .check = toy_check,
    .loaded = toy_loaded,
    .fini = toy_fini,
};

struct machine {
    struct bus bus;
    struct pci_bus pci;
    struct dev_env env;
    struct dev *host;
    struct dev *toy[2];
    uint32_t lines; /* levels of the GSIs */
    unsigned messages;
    uint64_t message_address;
    uint32_t message_data;
    unsigned resets;
};

static void set_line(void *ctx, unsigned number, bool level)
{
    struct machine *m = ctx;
    m->lines = level ? m->lines | 1u << number : m->lines & ~(1u << number);
}

static void send_message(void *ctx, uint64_t address, uint32_t data)
{
    struct machine *m = ctx;
    m->messages++;
    m->message_address = address;
    m->message_data = data;
}

static void count_reset(void *ctx)
{
    ((struct machine *)ctx)->resets++;
}

static int setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    m->env.msi = (struct msi_target){.send = send_message, .ctx = m};
    pci_bus_init(&m->pci, &m->bus, (struct irq_line){.set = set_line, .ctx = m});
    struct pci_host_config config = {.pci = &m->pci, .reset = count_reset, .reset_ctx = m};
    assert_int_equal(dev_new(&pci_host_type, 0, &m->env, &config, &m->host, NULL), 0);
    assert_int_equal(bus_add(&m->bus, BUS_PORT, PLATFORM_PORT_PCI_ADDRESS, 8, m->host, PCI_HOST_WINDOW_PORTS), 0);
    assert_int_equal(bus_add(&m->bus, BUS_MMIO, PLATFORM_ECAM, PLATFORM_ECAM_SIZE, m->host, PCI_HOST_WINDOW_ECAM), 0);
    /* slots 1 and 9 share a GSI */
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(dev_new(&toy_type, i, &m->env, &(struct toy_config){&m->pci, 1 + i * 8}, &m->toy[i], NULL), 0);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct machine *m = *state;
    dev_free(m->toy[0]);
    dev_free(m->toy[1]);
    dev_free(m->host);
    for (unsigned i = 0; i < PCI_SLOTS; i++)
        assert_null(m->pci.function[i]);
    free(m);
    return 0;
}

static uint32_t config_read(struct machine *m, unsigned slot, unsigned offset, unsigned size)
{
    bus_write(&m->bus, BUS_PORT, 0xcf8, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
    return (uint32_t)bus_read(&m->bus, BUS_PORT, 0xcfc + (offset & 3), size);
}

static void config_write(struct machine *m, unsigned slot, unsigned offset, unsigned size, uint32_t value)
{
    bus_write(&m->bus, BUS_PORT, 0xcf8, 4, 0x80000000u | slot << 11 | (offset & 0xfc));
    bus_write(&m->bus, BUS_PORT, 0xcfc + (offset & 3), size, value);
}

static uint64_t ecam(unsigned bus, unsigned slot, unsigned function, unsigned offset)
{
    return PLATFORM_ECAM + (bus << 20 | slot << 15 | function << 12 | offset);
}

static void test_identity_by_both_mechanisms(void **state)
{
    struct machine *m = *state;
    assert_int_equal(config_read(m, 0, 0, 4), 0x29c08086);
    assert_int_equal(config_read(m, 0, 0xa, 2), 0x0600);
    assert_int_equal(config_read(m, 1, 2, 2), 0x5678);
    assert_int_equal(config_read(m, 1, 3, 1), 0x56);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, ecam(0, 1, 0, 0), 4), 0x56781234);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, ecam(0, 1, 0, 0x100), 4), 0);
    assert_int_equal(bus_read(&m->bus, BUS_PORT, 0xcf8, 4), 0x80000800u);
}

static void test_absent_functions_read_as_ones(void **state)
{
    struct machine *m = *state;
    assert_int_equal(config_read(m, 2, 0, 4), 0xffffffff);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, ecam(1, 1, 0, 0), 4), 0xffffffff);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, ecam(0, 1, 1, 0), 2), 0xffff);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, ecam(0, 1, 0, 1), 4), 0xffffffff);
    bus_write(&m->bus, BUS_PORT, 0xcf8, 4, 0x00000800); /* enable bit clear */
    assert_int_equal(bus_read(&m->bus, BUS_PORT, 0xcfc, 4), 0xffffffff);
}

static void test_bar_sizing_and_moving(void **state)
{
    struct machine *m = *state;
    uint32_t address = config_read(m, 1, PCI_BASE_ADDRESS_0, 4), port = config_read(m, 1, PCI_BASE_ADDRESS_2, 4);
    assert_in_range(address, PLATFORM_PCI_MMIO32, PLATFORM_ECAM - 1);
    assert_int_equal(port & 3, 1);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, address, 4), 0xffffffff); /* not enabled yet */
    config_write(m, 1, PCI_BASE_ADDRESS_0, 4, 0xffffffff);
    assert_int_equal(config_read(m, 1, PCI_BASE_ADDRESS_0, 4), 0xffffc000);
    config_write(m, 1, PCI_BASE_ADDRESS_2, 4, 0xffffffff);
    assert_int_equal(config_read(m, 1, PCI_BASE_ADDRESS_2, 4), 0xffffffe1);
    config_write(m, 1, PCI_BASE_ADDRESS_0, 4, address);
    config_write(m, 1, PCI_BASE_ADDRESS_2, 4, port);
    config_write(m, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, address + 8, 4), 8);
    assert_int_equal(bus_read(&m->bus, BUS_PORT, (port & ~3u) + 4, 4), 0x20004);
    config_write(m, 1, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, address + 8, 4), 0xffffffff);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, 0xd0000008, 4), 8);
    dev_reset(m->toy[0]);
    assert_int_equal(config_read(m, 1, PCI_BASE_ADDRESS_0, 4), address);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, 0xd0000008, 4), 0xffffffff);
}

static void test_colliding_bar_appears_when_the_other_leaves(void **state)
{
    struct machine *m = *state;
    config_write(m, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    config_write(m, 1, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
    config_write(m, 9, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
    config_write(m, 9, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    bus_write(&m->bus, BUS_MMIO, 0xd0000000, 4, 0x100);
    assert_int_equal(((struct toy *)m->toy[0])->state.value, 0x100);
    assert_int_equal(((struct toy *)m->toy[1])->state.value, 0);
    config_write(m, 1, PCI_COMMAND, 2, 0);
    bus_write(&m->bus, BUS_MMIO, 0xd0000000, 4, 0x200);
    assert_int_equal(((struct toy *)m->toy[0])->state.value, 0x100);
    assert_int_equal(((struct toy *)m->toy[1])->state.value, 0x200);
    config_write(m, 9, PCI_BASE_ADDRESS_0, 4, PLATFORM_ECAM); /* the host bridge answers there */
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, ecam(0, 0, 0, 0), 4), 0x29c08086);
}

static void test_read_only_bits(void **state)
{
    struct machine *m = *state;
    config_write(m, 1, PCI_VENDOR_ID, 4, 0);
    config_write(m, 1, PCI_CLASS_REVISION, 4, 0);
    config_write(m, 1, PCI_COMMAND, 2, 0xffff);
    config_write(m, 1, PCI_INTERRUPT_LINE, 4, 0xffffffff);
    assert_int_equal(config_read(m, 1, 0, 4), 0x56781234);
    assert_int_equal(config_read(m, 1, PCI_CLASS_REVISION, 4), 0xff000000);
    assert_int_equal(config_read(m, 1, PCI_COMMAND, 2), 0x0547);
    assert_int_equal(config_read(m, 1, PCI_INTERRUPT_LINE, 4), 0x1ff);
}

static void test_intx_is_shared(void **state)
{
    struct machine *m = *state;
    struct pci_function *a = &((struct toy *)m->toy[0])->function, *b = &((struct toy *)m->toy[1])->function;
    uint32_t line = 1u << platform_pci_gsi(1, 0);
    pci_set_intx(a, true);
    pci_set_intx(b, true);
    assert_int_equal(m->lines, line);
    assert_int_equal(config_read(m, 1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    assert_int_equal(config_read(m, 1, PCI_COMMAND, 4) >> 16 & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    pci_set_intx(a, false);
    assert_int_equal(m->lines, line);
    config_write(m, 9, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    assert_int_equal(m->lines, 0);
    assert_int_equal(config_read(m, 9, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    config_write(m, 9, PCI_COMMAND, 2, 0);
    assert_int_equal(m->lines, line);
    dev_free(m->toy[1]);
    m->toy[1] = NULL;
    assert_int_equal(m->lines, 0);
}

static void test_withdrawn_function_is_gone(void **state)
{
    struct machine *m = *state;
    struct pci_function *function = &((struct toy *)m->toy[0])->function;
    config_write(m, 1, PCI_BASE_ADDRESS_0, 4, 0xd0000000);
    config_write(m, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_set_intx(function, true);
    assert_int_equal(m->lines, 1u << platform_pci_gsi(1, 0));
    pci_withdraw(function);
    assert_int_equal(m->lines, 0);
    assert_false(pci_bus_master(function));
    assert_int_equal(config_read(m, 1, 0, 4), UINT32_MAX);
    config_write(m, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, 0xd0000000, 4), UINT32_MAX);
    struct dev *other = NULL;
    assert_int_equal(dev_new(&toy_type, 2, &m->env, &(struct toy_config){&m->pci, 1}, &other, NULL), -EBUSY);
    dev_free(m->toy[0]);
    assert_int_equal(dev_new(&toy_type, 2, &m->env, &(struct toy_config){&m->pci, 1}, &m->toy[0], NULL), 0);
    assert_int_equal(config_read(m, 1, 0, 4), 0x56781234);
}

static unsigned find_msix(struct machine *m)
{
    unsigned offset = config_read(m, 1, PCI_CAPABILITY_LIST, 1);
    assert_int_equal(config_read(m, 1, offset, 1), PCI_CAP_ID_MSIX);
    return offset;
}

static void test_msix_masks_and_pending_bits(void **state)
{
    struct machine *m = *state;
    struct pci_function *f = &((struct toy *)m->toy[0])->function;
    unsigned capability = find_msix(m);
    uint64_t table = config_read(m, 1, PCI_BASE_ADDRESS_1, 4);
    assert_int_equal(config_read(m, 1, capability + PCI_MSIX_FLAGS, 2), 2); /* three vectors */
    config_write(m, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_msix_signal(f, 0);
    assert_int_equal(m->messages, 0); /* disabled: lost */
    config_write(m, 1, capability + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    bus_write(&m->bus, BUS_MMIO, table + 16, 4, 0xfee01003);
    bus_write(&m->bus, BUS_MMIO, table + 20, 4, 1);
    bus_write(&m->bus, BUS_MMIO, table + 24, 4, 0x41);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, table + 16, 8), 0x1fee01000);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, table + 28, 4), 1); /* masked at power-on */
    pci_msix_signal(f, 1);
    assert_int_equal(m->messages, 0);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, table + PCI_MSIX_PENDING_OFFSET, 8), 2);
    config_write(m, 1, capability + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    bus_write(&m->bus, BUS_MMIO, table + 28, 4, 0);
    assert_int_equal(m->messages, 0);
    config_write(m, 1, capability + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    assert_int_equal(m->messages, 1);
    assert_int_equal(m->message_address, 0x1fee01000);
    assert_int_equal(m->message_data, 0x41);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, table + PCI_MSIX_PENDING_OFFSET, 4), 0);
    pci_msix_signal(f, 1);
    assert_int_equal(m->messages, 2);
    pci_msix_signal(f, 3); /* no such vector */
    pci_msix_signal(f, 0xffff);
    bus_write(&m->bus, BUS_MMIO, table + 16 * 3, 4, 1);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, table + 16 * 3, 4), 0);
    assert_int_equal(m->messages, 2);
}

static void test_msix_silences_intx(void **state)
{
    struct machine *m = *state;
    pci_set_intx(&((struct toy *)m->toy[0])->function, true);
    assert_int_not_equal(m->lines, 0);
    config_write(m, 1, find_msix(m) + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    assert_int_equal(m->lines, 0);
}

static void test_reset_control(void **state)
{
    struct machine *m = *state;
    bus_write(&m->bus, BUS_PORT, 0xcf9, 1, 0x02);
    assert_int_equal(m->resets, 0);
    bus_write(&m->bus, BUS_PORT, 0xcf9, 1, 0x06);
    assert_int_equal(m->resets, 1);
    bus_write(&m->bus, BUS_PORT, 0xcf9, 1, 0x06);
    assert_int_equal(m->resets, 1);
    assert_int_equal(bus_read(&m->bus, BUS_PORT, 0xcf9, 1), 0x06);
}

static void test_slots_and_windows_run_out(void **state)
{
    struct machine *m = *state;
    struct err err = ERR_INIT;
    struct dev *dev = NULL;
    assert_int_equal(dev_new(&toy_type, 7, &m->env, &(struct toy_config){&m->pci, 9}, &dev, &err), -EBUSY);
    assert_non_null(strstr(err.message, "slot 9"));
    assert_int_equal(dev_new(&toy_type, 7, &m->env, &(struct toy_config){&m->pci, 32}, &dev, &err), -EINVAL);
    struct pci_function *f = &((struct toy *)m->toy[0])->function;
    assert_int_equal(pci_add_bar(f, 3, PCI_BAR_MEMORY, 1u << 30, &err), -ENOSPC);
    assert_int_equal(pci_add_bar(f, 3, PCI_BAR_MEMORY, 48, &err), -EINVAL);
    assert_null(dev);
}

static void save(struct dev *dev, struct buffer *out, struct section *ret_section)
{
    assert_int_equal(dev_save(dev, out), 0);
    struct section_reader reader;
    section_reader_init(&reader, out->data, out->size);
    assert_int_equal(section_next(&reader, ret_section, NULL), 1);
}

static void test_save_and_load(void **state)
{
    struct machine *m = *state;
    struct buffer out = BUFFER_INIT(1 << 20);
    struct section section;
    config_write(m, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    config_write(m, 1, PCI_BASE_ADDRESS_0, 4, 0xd1000000);
    bus_write(&m->bus, BUS_MMIO, 0xd1000000, 4, 77);
    pci_set_intx(&((struct toy *)m->toy[0])->function, true);
    save(m->toy[0], &out, &section);
    dev_reset(m->toy[0]);
    assert_int_equal(m->lines, 0);
    assert_int_equal(dev_load(m->toy[0], &section, NULL), 0);
    assert_int_equal(bus_read(&m->bus, BUS_MMIO, 0xd1000000, 4), 77);
    assert_int_not_equal(m->lines, 0);
    buffer_fini(&out);
}

static void test_load_refuses_another_device(void **state)
{
    struct machine *m = *state;
    struct buffer out = BUFFER_INIT(1 << 20);
    struct section section;
    struct err err = ERR_INIT;
    struct toy *toy = (struct toy *)m->toy[0];
    toy->state.pci.config[PCI_DEVICE_ID] ^= 1;
    save(m->toy[0], &out, &section);
    toy->state.pci.config[PCI_DEVICE_ID] ^= 1;
    assert_int_equal(dev_load(m->toy[0], &section, &err), -EBADMSG);
    assert_non_null(strstr(err.message, "configuration byte"));
    assert_int_equal(config_read(m, 1, 0, 4), 0x56781234);
    buffer_fini(&out);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_identity_by_both_mechanisms),
        TEST(test_absent_functions_read_as_ones),
        TEST(test_bar_sizing_and_moving),
        TEST(test_colliding_bar_appears_when_the_other_leaves),
        TEST(test_read_only_bits),
        TEST(test_intx_is_shared),
        TEST(test_withdrawn_function_is_gone),
        TEST(test_msix_masks_and_pending_bits),
        TEST(test_msix_silences_intx),
        TEST(test_reset_control),
        TEST(test_slots_and_windows_run_out),
        TEST(test_save_and_load),
        TEST(test_load_refuses_another_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
