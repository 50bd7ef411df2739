/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC board: memory, and every device in boot order. The only list of them. */
#include "vmm/board_pc.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "backend/block.h"
#include "backend/character.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "bus/platform.h"
#include "devices/pc/acpi_pm.h"
#include "devices/pc/fw_cfg.h"
#include "devices/pc/i8042.h"
#include "devices/pc/pci_host.h"
#include "devices/pc/pci_hotplug.h"
#include "devices/pc/rtc.h"
#include "devices/pc/testdev.h"
#include "devices/pc/uart.h"
#include "devices/virtio/balloon.h"
#include "devices/virtio/console.h"
#include "devices/virtio/rng.h"
#include "event/loop.h"
#include "memory/memory.h"
#include "vmm/terminal.h"

/* PCI slots; those that plug.c has follow. */
enum { SLOT_HOST = 0, SLOT_RNG = 1, SLOT_BALLOON = 2, SLOT_CONSOLE = 3 };

static uint64_t memory_low(const struct machine *machine)
{
    return machine->config->memory < PLATFORM_RAM_LOW_END ? machine->config->memory : PLATFORM_RAM_LOW_END;
}

int board_add_memory(struct machine *machine, struct err *err)
{
    uint64_t low = memory_low(machine), high = machine->config->memory - low;
    int r = memory_add(machine->memory, 0, low, false, err);

    if (r == 0 && high > 0)
        r = memory_add(machine->memory, PLATFORM_RAM_HIGH, high, false, err);
    return r < 0 ? err_prefix(err, "cannot get %llu MiB of RAM", (unsigned long long)machine->config->memory >> 20) : 0;
}

int board_add(struct board *board, const struct dev_type *type, uint32_t instance, const void *config,
              struct dev **ret_dev, struct err *err)
{
    struct dev *dev;
    int r;

    if (board->device_count == BOARD_DEVICES_MAX)
        return err_set(err, -ENOSPC, "the board has no room for device %s", type->name);
    r = dev_new(type, instance, &board->env, config, &dev, err);
    if (r < 0)
        return r;
    board->device[board->device_count++] = dev;
    if (ret_dev != NULL)
        *ret_dev = dev;
    return 0;
}

void board_remove(struct board *board, struct dev *dev)
{
    unsigned i = 0;

    while (board->device[i] != dev)
        i++;
    board->device_count--;
    memmove(&board->device[i], &board->device[i + 1], (board->device_count - i) * sizeof(board->device[0]));
    dev_free(dev);
}

int board_place(struct board *board, struct dev *dev, unsigned number, enum bus_space space, uint64_t base,
                uint64_t size, struct err *err)
{
    int r = bus_add(&board->machine->bus, space, base, size, dev, number);

    if (r < 0)
        return err_set(err, r, "device %s does not fit at %s 0x%llx: %s", dev->type->name,
                       space == BUS_PORT ? "port" : "address", (unsigned long long)base, strerror(-r));
    return 0;
}

/* What devices ask of the machine. */

static void on_power_off(void *ctx)
{
    machine_request(ctx, MACHINE_POWER_OFF, true);
}

static void on_reset(void *ctx)
{
    machine_request(ctx, MACHINE_RESET, true);
}

static void on_test_exit(void *ctx, uint32_t status)
{
    struct board *board = ctx;

    machine_exit(board->machine, (status << 1 | 1) & 0xff, true);
}

static void on_quit(void *ctx)
{
    machine_exit(ctx, MACHINE_EXIT_POWER_OFF, false);
}

static void tell_balloon(void *ctx)
{
    struct machine *machine = ctx;

    machine->balloon_deferred = false;
    machine_send_event(machine, MACHINE_EVENT_BALLOON_CHANGE);
}

/* A CPU's thread: events leave by the loop's alone. A guest that changes its mind often is told of once. */
static void on_balloon_change(void *ctx, uint64_t balloon_bytes)
{
    struct machine *machine = ctx;

    if (!machine->balloon_deferred)
        machine->balloon_deferred = loop_defer(machine->loop, tell_balloon, machine) == 0;
}

static int64_t wall_clock(void *ctx)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec;
}

/* The engine may turn a guest's notification into a signal of the queue's eventfd without asking us. */
static void set_doorbell(void *ctx, uint64_t address, int fd, bool present)
{
    struct machine *machine = ctx;
    const struct engine_doorbell doorbell = {.address = address, .size = 2, .fd = fd};

    if (present)
        machine->engine_type->doorbell_add(machine->vm, &doorbell);
    else
        machine->engine_type->doorbell_remove(machine->vm, &doorbell);
}

struct virtio_place board_virtio_place(struct board *board, unsigned slot)
{
    struct virtio_place place = {.pci = &board->pci, .slot = slot};

    if ((board->machine->capabilities & ENGINE_IOEVENTFD) != 0)
        place.doorbells = (struct virtio_doorbells){.set = set_doorbell, .ctx = board->machine};
    return place;
}

/* One function a device, in boot order below. */

static int add_acpi_pm(struct board *board, struct err *err)
{
    static const struct {
        uint16_t port, size;
    } window[] = {
        [ACPI_PM_WINDOW_EVENT] = {PLATFORM_PORT_PM1A_EVENT, 4}, [ACPI_PM_WINDOW_CONTROL] = {PLATFORM_PORT_PM1A_CONTROL, 2},
        [ACPI_PM_WINDOW_TIMER] = {PLATFORM_PORT_PM_TIMER, 4},   [ACPI_PM_WINDOW_GPE0] = {PLATFORM_PORT_GPE0, 4},
        [ACPI_PM_WINDOW_SMI] = {PLATFORM_PORT_SMI_COMMAND, 2},
    };
    const struct acpi_pm_config config = {
        .sci = board_line(board, PLATFORM_GSI_SCI),
        .ctx = board->machine,
        .power_off = on_power_off,
        .s5_sleep_type = PLATFORM_S5_SLEEP_TYPE,
        .acpi_enable = PLATFORM_ACPI_ENABLE,
        .acpi_disable = PLATFORM_ACPI_DISABLE,
        .timer_32bit = true,
    };
    int r = board_add(board, &acpi_pm_type, 0, &config, &board->acpi_pm, err);

    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(window); i++)
        r = board_place(board, board->acpi_pm, i, BUS_PORT, window[i].port, window[i].size, err);
    return r;
}

static int add_rtc(struct board *board, struct err *err)
{
    const struct rtc_config config = {
        .irq = board_line(board, PLATFORM_GSI_RTC),
        .wall_clock = wall_clock,
        .memory_low = memory_low(board->machine),
        .memory_high = board->machine->config->memory - memory_low(board->machine),
    };
    struct dev *rtc;
    int r = board_add(board, &rtc_type, 0, &config, &rtc, err);

    return r < 0 ? r : board_place(board, rtc, 0, BUS_PORT, PLATFORM_PORT_RTC, 2, err);
}

static int add_i8042(struct board *board, struct err *err)
{
    const struct i8042_config config = {
        .keyboard = board_line(board, PLATFORM_GSI_KEYBOARD),
        .mouse = board_line(board, PLATFORM_GSI_MOUSE),
        .ctx = board->machine,
        .reset = on_reset,
    };
    struct dev *i8042;
    int r = board_add(board, &i8042_type, 0, &config, &i8042, err);

    if (r == 0)
        r = board_place(board, i8042, I8042_WINDOW_DATA, BUS_PORT, PLATFORM_PORT_I8042_DATA, 1, err);
    if (r == 0)
        r = board_place(board, i8042, I8042_WINDOW_COMMAND, BUS_PORT, PLATFORM_PORT_I8042_COMMAND, 1, err);
    return r < 0 ? r : board_place(board, i8042, I8042_WINDOW_FAST, BUS_PORT, 0x92, 1, err);
}

/* Opens a character backend; the one on the terminal gets the escapes. */
static int open_character(struct board *board, const char *spec, struct character **ret_character, struct err *err)
{
    struct character *inner = NULL;
    int r = character_open(spec, board->machine->loop, &inner, err);

    if (r < 0)
        return r;
    if (text_equal(spec, "stdio") && terminal_raw()) {
        r = terminal_new(inner, on_quit, board->machine, ret_character);
        if (r < 0)
            character_close(inner);
        return r < 0 ? err_set(err, r, "out of memory") : 0;
    }
    *ret_character = inner;
    return 0;
}

static int add_uart(struct board *board, struct err *err)
{
    struct uart_config config = {.irq = board_line(board, PLATFORM_GSI_COM1)};
    struct dev *uart;
    int r = open_character(board, board->machine->config->serial, &board->serial, err);

    if (r < 0)
        return r;
    config.character = board->serial;
    r = board_add(board, &uart_type, 0, &config, &uart, err);
    return r < 0 ? r : board_place(board, uart, 0, BUS_PORT, PLATFORM_PORT_COM1, 8, err);
}

static int add_fw_cfg(struct board *board, struct err *err)
{
    const struct fw_cfg_config config = {.memory = board->machine->config->memory, .cpus = board->machine->cpu_count};
    struct dev *fw_cfg;
    int r = board_add(board, &fw_cfg_type, 0, &config, &fw_cfg, err);

    return r < 0 ? r : board_place(board, fw_cfg, 0, BUS_PORT, PLATFORM_PORT_FW_CFG, 2, err);
}

static int add_testdev(struct board *board, struct err *err)
{
    const struct testdev_config config = {.ctx = board, .set_line = board_set_gsi, .exit = on_test_exit};
    struct dev *testdev;
    int r = board_add(board, &testdev_type, 0, &config, &testdev, err);

    if (r == 0)
        r = board_place(board, testdev, TESTDEV_WINDOW_LATCH, BUS_PORT, PLATFORM_PORT_TEST_LATCH, 4, err);
    if (r == 0)
        r = board_place(board, testdev, TESTDEV_WINDOW_FLUSH, BUS_PORT, PLATFORM_PORT_TEST_FLUSH, 4, err);
    if (r == 0)
        r = board_place(board, testdev, TESTDEV_WINDOW_BYTE, BUS_PORT, PLATFORM_PORT_TEST_FLUSH + 4, 1, err);
    if (r == 0)
        r = board_place(board, testdev, TESTDEV_WINDOW_EXIT, BUS_PORT, PLATFORM_PORT_TEST_EXIT, 4, err);
    if (r == 0)
        r = board_place(board, testdev, TESTDEV_WINDOW_IRQ, BUS_PORT, PLATFORM_PORT_TEST_IRQ, 24, err);
    return r < 0 ? r : board_place(board, testdev, TESTDEV_WINDOW_MEMORY, BUS_MMIO, PLATFORM_TEST_MEMORY,
                                   PLATFORM_TEST_MEMORY_SIZE, err);
}

static int add_pci(struct board *board, struct err *err)
{
    const struct pci_host_config config = {.pci = &board->pci, .reset = on_reset, .reset_ctx = board->machine};
    struct dev *host;
    int r;

    pci_bus_init(&board->pci, &board->machine->bus, board_line(board, 0));
    r = board_add(board, &pci_host_type, 0, &config, &host, err);
    if (r == 0)
        r = board_place(board, host, PCI_HOST_WINDOW_PORTS, BUS_PORT, PLATFORM_PORT_PCI_ADDRESS, 8, err);
    return r < 0 ? r : board_place(board, host, PCI_HOST_WINDOW_ECAM, BUS_MMIO, PLATFORM_ECAM, PLATFORM_ECAM_SIZE, err);
}

static void on_hotplug(void *ctx)
{
    acpi_pm_event(((struct board *)ctx)->acpi_pm, PLATFORM_GPE_PCI_HOTPLUG);
}

static void on_eject(void *ctx, unsigned slot)
{
    plug_eject(ctx, slot);
}

static uint32_t removable(void *ctx)
{
    return plug_slots(ctx);
}

static int add_pci_hotplug(struct board *board, struct err *err)
{
    const struct pci_hotplug_config config = {.ctx = board, .event = on_hotplug, .eject = on_eject, .removable = removable};
    int r = board_add(board, &pci_hotplug_type, 0, &config, &board->pci_hotplug, err);

    return r < 0 ? r
                 : board_place(board, board->pci_hotplug, 0, BUS_PORT, PLATFORM_PORT_PCI_HOTPLUG, PCI_HOTPLUG_SIZE, err);
}

static int add_rng(struct board *board, struct err *err)
{
    const struct virtio_rng_device_config config = {.place = board_virtio_place(board, SLOT_RNG)};

    return board_add(board, &virtio_rng_type, 0, &config, NULL, err);
}

static int add_balloon(struct board *board, struct err *err)
{
    const struct virtio_balloon_device_config config = {
        .place = board_virtio_place(board, SLOT_BALLOON), .changed = on_balloon_change, .ctx = board->machine};

    return board_add(board, &virtio_balloon_type, 0, &config, &board->balloon, err);
}

static int add_console(struct board *board, struct err *err)
{
    struct virtio_console_device_config config = {.place = board_virtio_place(board, SLOT_CONSOLE)};
    int r = open_character(board, board->machine->config->console, &board->console, err);

    if (r < 0)
        return r;
    config.character = board->console;
    return board_add(board, &virtio_console_type, 0, &config, NULL, err);
}

/* The command line's disks and network cards have names by their number unless they were given one. */
static const char *name_of(const char *given, const char *kind, unsigned number, char text[static 16])
{
    snprintf(text, 16, "%s%u", kind, number);
    return given != NULL ? given : text;
}

static int add_disk(struct board *board, unsigned number, struct err *err)
{
    const struct vm_disk *disk = &board->machine->config->disk[number];
    const struct block_config image = {.path = disk->path, .fd = disk->fd, .format = disk->format, .readonly = disk->readonly,
                                       .incoming = board->machine->status == MACHINE_INMIGRATE};
    char text[16];
    const char *id = name_of(disk->id, "disk", number, text);
    const struct plug_device device = {
        .driver = "virtio-blk-pci", .id = id, .backend = id, .slot = disk->slot > 0 ? (int)disk->slot : -1,
        .serial = disk->serial};
    int r = plug_open_disk(board, id, &image, err);

    return r < 0 ? r : plug_add(board, &device, err);
}

static int add_nic(struct board *board, unsigned number, struct err *err)
{
    const struct vm_nic *nic = &board->machine->config->nic[number];
    char text[16];
    const char *id = name_of(nic->id, "net", number, text);
    const struct plug_device device = {
        .driver = "virtio-net-pci", .id = id, .backend = id, .slot = nic->slot > 0 ? (int)nic->slot : -1,
        .mac = nic->has_mac ? nic->mac : NULL};
    int r = plug_open_net(board, id, nic->backend, err);

    return r < 0 ? r : plug_add(board, &device, err);
}

static int add_devices(struct board *board, struct err *err)
{
    const struct vm_config *config = board->machine->config;
    int r = board_add_interrupt_controllers(board, err);

    r = r < 0 ? r : add_acpi_pm(board, err);
    r = r < 0 ? r : add_rtc(board, err);
    r = r < 0 ? r : add_i8042(board, err);
    r = r < 0 ? r : add_uart(board, err);
    r = r < 0 ? r : add_fw_cfg(board, err);
    if (config->testdev)
        r = r < 0 ? r : add_testdev(board, err);
    r = r < 0 ? r : add_pci(board, err);
    r = r < 0 ? r : add_pci_hotplug(board, err);
    r = r < 0 ? r : add_rng(board, err);
    r = r < 0 ? r : add_balloon(board, err);
    if (config->console != NULL)
        r = r < 0 ? r : add_console(board, err);
    for (unsigned i = 0; r == 0 && i < config->disk_count; i++)
        r = add_disk(board, i, err);
    for (unsigned i = 0; r == 0 && i < config->nic_count; i++)
        r = add_nic(board, i, err);
    return r;
}

int board_new(struct machine *machine, struct board **ret_board, struct err *err)
{
    struct board *board = calloc(1, sizeof(*board));
    int r;

    if (board == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    board->machine = machine;
    board->env = (struct dev_env){
        .memory = machine->memory,
        .clock = &machine->clock,
        .timers = &machine->timers,
        .loop = machine->loop,
        .msi = board_msi(board),
    };
    /* Devices signal interrupts from their first reset on, and hooks find their way through the machine. */
    machine->board = board;
    r = add_devices(board, err);
    if (r < 0) {
        machine->board = NULL;
        board_free(board);
        return r;
    }
    *ret_board = board;
    return 0;
}

void board_free(struct board *board)
{
    if (board == NULL)
        return;
    plug_free_cards(board);
    while (board->device_count > 0)
        dev_free(board->device[--board->device_count]);
    plug_free_backends(board);
    character_close(board->console);
    character_close(board->serial);
    free(board);
}

void board_set_running(struct board *board, bool running)
{
    for (unsigned i = 0; i < board->device_count; i++)
        dev_set_running(board->device[i], running);
}

void board_power_button(struct board *board)
{
    acpi_pm_power_button(board->acpi_pm);
}

struct plug *board_plug(struct board *board)
{
    return &board->plug;
}

struct dev *board_balloon(const struct board *board)
{
    return board->balloon;
}

const char *board_pty(const struct board *board, bool console)
{
    const struct character *character = console ? board->console : board->serial;

    return character != NULL ? character->path : "";
}
