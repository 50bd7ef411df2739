/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks and network cards in their slots: added at the start or while the VM runs, removed when the guest lets them go. */
#include "vmm/plug.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backend/block.h"
#include "backend/handover.h"
#include "backend/net.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "devices/pc/pci_hotplug.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/net.h"
#include "event/loop.h"
#include "sandbox/sandbox.h"
#include "vmm/board_pc.h"

/* Where the search for a free slot begins, so that disks and cards have slots of their own as long as there are few. */
enum { SLOT_DISK = PLATFORM_PCI_PLUG_FIRST, SLOT_NIC = SLOT_DISK + VM_DISKS_MAX };

static bool id_valid(const char *id)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t length = strlen(id);

    return length > 0 && length <= PLUG_ID_MAX && strspn(id, letters) > 0 && strspn(id, others) == length;
}

static int check_id(const char *id, struct err *err)
{
    return id_valid(id) ? 0
                        : err_set(err, -EINVAL,
                                  "'%.80s' can't be a name: it begins with a letter and has up to %d letters, digits, '-', '_' "
                                  "and '.'",
                                  id, PLUG_ID_MAX);
}

/* Host sides. */

static struct plug_backend *find_backend(const struct board *board, const char *id)
{
    struct plug_backend *backend = board->plug.backends;

    while (backend != NULL && !text_equal(backend->id, id))
        backend = backend->next;
    return backend;
}

static void backend_free(struct plug_backend *backend)
{
    net_close(backend->net);
    block_close(backend->image);
    free(backend->source);
    free(backend->format);
    free(backend);
}

static int backend_new(struct board *board, const char *id, const char *source, const char *format,
                       struct plug_backend **ret_backend, struct err *err)
{
    struct plug_backend *backend;
    unsigned count = 0;
    int r = check_id(id, err);

    if (r < 0)
        return r;
    if (find_backend(board, id) != NULL)
        return err_set(err, -EEXIST, "there is a disk image or network called '%s' already", id);
    for (backend = board->plug.backends; backend != NULL; backend = backend->next)
        count++;
    if (count >= PLUG_BACKENDS_MAX)
        return err_set(err, -ENOSPC, "there are %u disk images and networks already; close one first", count);
    backend = calloc(1, sizeof(*backend));
    if (backend == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    memcpy(backend->id, id, strlen(id) + 1);
    backend->source = strdup(source);
    backend->format = strdup(format);
    if (backend->source == NULL || backend->format == NULL) {
        backend_free(backend);
        return err_set(err, -ENOMEM, "out of memory");
    }
    *ret_backend = backend;
    return 0;
}

static int backend_finish(struct board *board, struct plug_backend *backend, int r)
{
    struct plug_backend **end = &board->plug.backends;

    if (r < 0) {
        backend_free(backend);
        return r;
    }
    while (*end != NULL)
        end = &(*end)->next;
    *end = backend;
    return 0;
}

static void on_notice(void *ctx, const char *sentence)
{
    log_warning("%s", sentence);
}

static int confine_storage(void)
{
    return sandbox_enter(SANDBOX_NFS, NULL);
}

int plug_open_disk(struct board *board, const char *id, const struct block_config *config, struct err *err)
{
    struct block_config with_notice = *config;
    struct plug_backend *backend;
    int r = backend_new(board, id, config->path, config->format != NULL ? config->format : "raw", &backend, err);

    with_notice.notice = on_notice;
    /* Later on threads inherit the loop's confinement, and could not ask for more of it. */
    if (!board->machine->config->no_sandbox && sandbox_supported() && !board->machine->confined)
        with_notice.confine = confine_storage;
    if (r < 0 && config->fd > 0)
        close(config->fd);
    if (r == 0)
        r = backend_finish(board, backend, block_open(&with_notice, board->machine->loop, &backend->image, err));
    if (r == 0 && !config->readonly && !config->incoming && !board->machine->confined)
        handover_sweep(config->path);
    return r;
}

int plug_open_net(struct board *board, const char *id, const char *spec, struct err *err)
{
    struct plug_backend *backend;
    int r = backend_new(board, id, spec, "", &backend, err);

    return r < 0 ? r : backend_finish(board, backend, net_open(spec, board->machine->loop, &backend->net, err));
}

int plug_close(struct board *board, const char *id, bool disk, struct err *err)
{
    struct plug_backend **link = &board->plug.backends, *backend = find_backend(board, id);

    if (backend == NULL || (backend->image != NULL) != disk)
        return err_set(err, -ENOENT, "there is no %s called '%.80s'", disk ? "disk image" : "network", id);
    if (backend->used)
        return err_set(err, -EBUSY, "'%s' is in use by a device; remove the device first", id);
    while (*link != backend)
        link = &(*link)->next;
    *link = backend->next;
    backend_free(backend);
    return 0;
}

/* Devices. */

static int find_slot(const struct board *board, const char *id)
{
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        if (board->plug.card[i].dev != NULL && text_equal(board->plug.card[i].id, id))
            return (int)i;
    }
    return -ENOENT;
}

static int choose_slot(const struct board *board, int wanted, unsigned first, unsigned *ret_slot, struct err *err)
{
    unsigned count = PLATFORM_PCI_SLOTS - PLATFORM_PCI_PLUG_FIRST;

    if (wanted >= 0 && (wanted < PLATFORM_PCI_PLUG_FIRST || wanted >= PLATFORM_PCI_SLOTS))
        return err_set(err, -EINVAL, "PCI slot %d can't have this device; slots %d to %d can", wanted, PLATFORM_PCI_PLUG_FIRST,
                       PLATFORM_PCI_SLOTS - 1);
    for (unsigned i = 0; i < count; i++) {
        unsigned slot = wanted >= 0 ? (unsigned)wanted
                                    : PLATFORM_PCI_PLUG_FIRST + (first - PLATFORM_PCI_PLUG_FIRST + i) % count;

        if (board->pci.function[slot] == NULL) {
            *ret_slot = slot;
            return 0;
        }
        if (wanted >= 0)
            return err_set(err, -EBUSY, "PCI slot %u is taken by another device", slot);
    }
    return err_set(err, -ENOSPC, "no PCI slot is free; remove a device first");
}

/* A locally administered address that is the same each time this VM starts. */
static void default_mac(const struct machine *machine, unsigned number, uint8_t mac[static 6])
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (const char *c = machine->config->name; *c != 0; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    mac[0] = 0x52;
    mac[1] = 0x54;
    mac[2] = 0x00;
    mac[3] = hash >> 16;
    mac[4] = hash >> 8;
    mac[5] = (uint8_t)hash + number;
}

/* A saved state tells devices of one type apart by their slots. */

static int make_disk(struct board *board, const struct plug_device *device, struct plug_backend *backend, unsigned slot,
                     struct dev **ret_dev, struct err *err)
{
    unsigned cpus = board->machine->cpu_count;
    struct virtio_blk_device_config config = {.place = board_virtio_place(board, slot), .image = backend->image};
    char serial[21];

    snprintf(serial, sizeof(serial), "ferry-disk%u", slot - SLOT_DISK);
    config.serial = device->serial != NULL ? device->serial : serial;
    config.queues = cpus < VIRTIO_BLK_QUEUES_MAX ? cpus : VIRTIO_BLK_QUEUES_MAX;
    return board_add(board, &virtio_blk_type, slot, &config, ret_dev, err);
}

static int make_nic(struct board *board, const struct plug_device *device, struct plug_backend *backend, unsigned slot,
                    struct dev **ret_dev, struct err *err)
{
    struct virtio_net_device_config config = {.place = board_virtio_place(board, slot), .backend = backend->net};

    if (device->mac != NULL)
        memcpy(config.mac, device->mac, sizeof(config.mac));
    else
        default_mac(board->machine, slot - SLOT_NIC, config.mac);
    return board_add(board, &virtio_net_type, slot, &config, ret_dev, err);
}

static const struct driver {
    const char *name, *alias;
    bool disk;
    unsigned first_slot;
    int (*make)(struct board *board, const struct plug_device *device, struct plug_backend *backend, unsigned slot,
                struct dev **ret_dev, struct err *err);
} drivers[] = {
    {"virtio-blk-pci", "virtio-blk", true, SLOT_DISK, make_disk},
    {"virtio-net-pci", "virtio-net", false, SLOT_NIC, make_nic},
};

static const struct driver *find_driver(const char *name)
{
    for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (text_equal(drivers[i].name, name) || text_equal(drivers[i].alias, name))
            return &drivers[i];
    }
    return NULL;
}

static int check_device(const struct board *board, const struct plug_device *device, const struct driver *driver,
                        const struct plug_backend *backend, struct err *err)
{
    int r = check_id(device->id, err);

    if (r < 0)
        return r;
    if (find_slot(board, device->id) >= 0)
        return err_set(err, -EEXIST, "there is a device called '%s' already", device->id);
    if (backend == NULL || (backend->image != NULL) != driver->disk)
        return err_set(err, -ENOENT, "there is no %s called '%.80s' for device '%s'", driver->disk ? "disk image" : "network",
                       device->backend, device->id);
    if (backend->used)
        return err_set(err, -EBUSY, "'%s' is in use by another device", backend->id);
    return 0;
}

int plug_add(struct board *board, const struct plug_device *device, struct err *err)
{
    const struct driver *driver = find_driver(device->driver);
    struct plug_backend *backend = find_backend(board, device->backend);
    struct plug_card *card;
    unsigned slot = 0;
    int r;

    plug_serve_ejected(board);
    if (driver == NULL)
        return err_set(err, -EINVAL, "'%.80s' is not a device that can be added; there are: virtio-blk-pci, virtio-net-pci",
                       device->driver);
    r = check_device(board, device, driver, backend, err);
    if (r == 0)
        r = choose_slot(board, device->slot, driver->first_slot, &slot, err);
    if (r < 0)
        return r;
    card = &board->plug.card[slot];
    r = driver->make(board, device, backend, slot, &card->dev, err);
    if (r < 0)
        return r;
    memcpy(card->id, device->id, strlen(device->id) + 1);
    card->backend = backend;
    backend->used = true;
    if (board->machine->status != MACHINE_RUNNING)
        dev_set_running(card->dev, false);
    pci_hotplug_plugged(board->pci_hotplug, slot);
    return 0;
}

static void take_out(struct board *board, unsigned slot)
{
    struct plug_card *card = &board->plug.card[slot];
    struct plug_card gone = *card;

    board_remove(board, card->dev);
    card->backend->used = false;
    *card = (struct plug_card){0};
    pci_hotplug_emptied(board->pci_hotplug, slot);
    board->machine->event_device = gone.id;
    machine_send_event(board->machine, MACHINE_EVENT_DEVICE_DELETED);
    board->machine->event_device = NULL;
}

int plug_remove(struct board *board, const char *id, struct err *err)
{
    int slot;

    plug_serve_ejected(board);
    slot = find_slot(board, id);
    if (slot < 0)
        return err_set(err, -ENODEV, "there is no device called '%.80s' that could be removed", id);
    if (board->machine->status == MACHINE_PRELAUNCH)
        take_out(board, (unsigned)slot);
    else
        pci_hotplug_unplug(board->pci_hotplug, (unsigned)slot);
    return 0;
}

static void serve_ejected(void *ctx)
{
    plug_serve_ejected(ctx);
}

void plug_eject(struct board *board, unsigned slot)
{
    struct plug_card *card = &board->plug.card[slot];

    if (card->dev == NULL || card->ejected)
        return;
    pci_withdraw(board->pci.function[slot]);
    card->ejected = true;
    /* Without memory for that, the next thing that looks at the slots takes it out. */
    loop_defer(board->machine->loop, serve_ejected, board);
}

uint32_t plug_slots(const struct board *board)
{
    uint32_t slots = 0;

    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        if (board->plug.card[i].dev != NULL)
            slots |= (uint32_t)BIT(i);
    }
    return slots;
}

void plug_serve_ejected(struct board *board)
{
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        if (board->plug.card[i].ejected)
            take_out(board, i);
    }
}

void plug_before_reset(struct board *board)
{
    uint32_t waiting = pci_hotplug_waiting(board->pci_hotplug);

    plug_serve_ejected(board);
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        if ((waiting & BIT(i)) != 0 && board->plug.card[i].dev != NULL)
            take_out(board, i);
    }
}

void plug_load_begin(struct board *board)
{
    plug_serve_ejected(board);
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++)
        board->plug.card[i].loaded = false;
}

void plug_loaded(struct board *board, const struct dev *dev)
{
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        if (board->plug.card[i].dev == dev)
            board->plug.card[i].loaded = true;
    }
}

int plug_load_end(const struct board *board, struct err *err)
{
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        const struct plug_card *card = &board->plug.card[i];

        if (card->dev != NULL && !card->loaded)
            return err_set(err, -EINVAL, "this VM has a device %s '%s' in PCI slot %u, and it has none: give the same devices as then",
                           card->dev->type->name, card->id, i);
    }
    return 0;
}

static const struct plug_card *nth(const struct board *board, const struct dev_type *type, unsigned number)
{
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        const struct plug_card *card = &board->plug.card[i];

        if (card->dev != NULL && card->dev->type == type && number-- == 0)
            return card;
    }
    return NULL;
}

const struct plug_card *plug_disk(const struct board *board, unsigned number)
{
    return nth(board, &virtio_blk_type, number);
}

const struct plug_card *plug_nic(const struct board *board, unsigned number)
{
    return nth(board, &virtio_net_type, number);
}

void plug_free_cards(struct board *board)
{
    for (unsigned i = 0; i < PLATFORM_PCI_SLOTS; i++) {
        if (board->plug.card[i].dev != NULL)
            board_remove(board, board->plug.card[i].dev);
        board->plug.card[i].dev = NULL;
    }
}

void plug_free_backends(struct board *board)
{
    while (board->plug.backends != NULL) {
        struct plug_backend *next = board->plug.backends->next;

        backend_free(board->plug.backends);
        board->plug.backends = next;
    }
}
