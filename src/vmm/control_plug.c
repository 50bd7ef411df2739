/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Devices that come and go, by QEMU's names for commands and arguments. */
#include "vmm/control_plug.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "backend/block.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "devices/virtio/net.h"
#include "vmm/board.h"
#include "vmm/control_arguments.h"
#include "vmm/machine.h"
#include "vmm/plug.h"

#define FDSET_PREFIX "/dev/fdset/"

/* Commands with one text. */
static int only_text(json_t *arguments, const char *key, const char **ret_text, struct err *err)
{
    const char *const allowed[] = {key, NULL};
    int r = control_check_keys(arguments, allowed, err);

    return r < 0 ? r : control_get_text(arguments, key, true, ret_text, err);
}

/* Descriptors. */

int control_getfd(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const char *name;
    int r = only_text(arguments, "fdname", &name, err);

    return r < 0 ? r : fd_store_keep(&machine->fds, name, err);
}

static int close_named(struct machine *machine, const char *name, struct err *err)
{
    int fd = -1, r = fd_store_take(&machine->fds, name, &fd, err);

    fd_close(&fd);
    return r;
}

int control_closefd(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const char *name;
    int r = only_text(arguments, "fdname", &name, err);

    return r < 0 ? r : close_named(machine, name, err);
}

/* A descriptor set has one member here; its number is chosen by the client, or counted. */
static int get_fdset(json_t *arguments, bool needed, json_int_t *ret_number, struct err *err)
{
    json_t *value = json_object_get(arguments, "fdset-id");

    if (value == NULL && needed)
        return err_set(err, -EINVAL, "Parameter 'fdset-id' is missing");
    if (value != NULL && (!json_is_integer(value) || json_integer_value(value) < 0))
        return err_set(err, -EINVAL, "Parameter 'fdset-id' expects a number that is not negative");
    *ret_number = value != NULL ? json_integer_value(value) : -1;
    return 0;
}

static void fdset_name(char name[static 40], json_int_t number)
{
    snprintf(name, 40, FDSET_PREFIX "%lld", (long long)number);
}

int control_add_fd(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    static const char *const allowed[] = {"fdset-id", "opaque", NULL};
    int r = control_check_keys(arguments, allowed, err), fd = machine->fds.received;
    json_int_t number = -1;
    char name[40];

    if (r == 0)
        r = get_fdset(arguments, false, &number, err);
    if (r < 0)
        return r;
    if (number < 0)
        number = machine->next_fdset++;
    fdset_name(name, number);
    r = fd_store_keep(&machine->fds, name, err);
    if (r == 0)
        *ret_value = json_pack("{s:I, s:i}", "fdset-id", number, "fd", fd);
    return r;
}

int control_remove_fd(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    static const char *const allowed[] = {"fdset-id", "fd", NULL};
    int r = control_check_keys(arguments, allowed, err);
    json_int_t number = -1;
    char name[40];

    if (r == 0)
        r = get_fdset(arguments, true, &number, err);
    if (r < 0)
        return r;
    fdset_name(name, number);
    return close_named(machine, name, err);
}

/* Networks. */

/* hostfwd as a text, or as a list of texts or of {"str": text}. */
static int append_forward(char *spec, size_t size, json_t *forward, struct err *err)
{
    const char *text = json_string_value(json_is_object(forward) ? json_object_get(forward, "str") : forward);
    size_t used = strlen(spec);

    if (text == NULL || strchr(text, ',') != NULL)
        return err_set(err, -EINVAL, "Parameter 'hostfwd' expects texts like tcp:127.0.0.1:8080-:80");
    return text_format(spec + used, size - used, ",hostfwd=%s", text) < 0
               ? err_set(err, -EINVAL, "Parameter 'hostfwd' is too long")
               : 0;
}

static int user_spec(json_t *arguments, char *spec, size_t size, struct err *err)
{
    json_t *forwards = json_object_get(arguments, "hostfwd"), *forward;
    size_t i;
    int r = 0;

    text_format(spec, size, "user");
    if (json_is_array(forwards)) {
        json_array_foreach (forwards, i, forward)
            r = r < 0 ? r : append_forward(spec, size, forward, err);
    } else if (forwards != NULL) {
        r = append_forward(spec, size, forwards, err);
    }
    return r;
}

static int tap_spec(struct machine *machine, json_t *arguments, char *spec, size_t size, struct err *err)
{
    const char *name, *interface;
    bool vhost = false;
    int fd, r = control_get_text(arguments, "fd", false, &name, err);

    if (r == 0)
        r = control_get_text(arguments, "ifname", false, &interface, err);
    if (r == 0)
        r = control_get_flag(arguments, "vhost", &vhost, err);
    if (r < 0)
        return r;
    if (vhost)
        return err_set(err, -EINVAL, "Parameter 'vhost' can only be false");
    if ((name == NULL) == (interface == NULL))
        return err_set(err, -EINVAL, "a network of type tap needs either 'fd' or 'ifname'");
    if (name == NULL)
        return text_format(spec, size, "tap=%s", interface) < 0 ? err_set(err, -EINVAL, "Parameter 'ifname' is too long") : 0;
    r = fd_store_take(&machine->fds, name, &fd, err);
    return r < 0 ? r : text_format(spec, size, "fd=%d", fd);
}

static int bridge_spec(json_t *arguments, char *spec, size_t size, struct err *err)
{
    const char *bridge;
    int r = control_get_text(arguments, "br", true, &bridge, err);

    if (r == 0 && text_format(spec, size, "bridge=%s", bridge) < 0)
        r = err_set(err, -EINVAL, "Parameter 'br' is too long");
    return r;
}

int control_netdev_add(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    static const char *const allowed[] = {"type", "id", "fd", "ifname", "vhost", "br", "hostfwd", NULL};
    const char *type, *id;
    char spec[1024];
    int r = control_check_keys(arguments, allowed, err);

    if (r == 0)
        r = control_get_text(arguments, "type", true, &type, err);
    if (r == 0)
        r = control_get_text(arguments, "id", true, &id, err);
    if (r < 0)
        return r;
    if (text_equal(type, "user"))
        r = user_spec(arguments, spec, sizeof(spec), err);
    else if (text_equal(type, "tap"))
        r = tap_spec(machine, arguments, spec, sizeof(spec), err);
    else if (text_equal(type, "bridge"))
        r = bridge_spec(arguments, spec, sizeof(spec), err);
    else
        r = err_set(err, -EINVAL, "Parameter 'type' does not accept value '%.64s'; there are: tap, bridge, user", type);
    return r < 0 ? r : plug_open_net(machine->board, id, spec, err);
}

int control_netdev_del(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const char *id;
    int r = only_text(arguments, "id", &id, err);

    return r < 0 ? r : plug_close(machine->board, id, false, err);
}

/* Disk images: the protocol node ({"driver": "file", "filename": ...}) may stand in the format node or be all there is. */

static bool is_protocol(const char *driver)
{
    return text_equal(driver, "file") || text_equal(driver, "host_device");
}

static int read_file_node(json_t *node, struct block_config *config, bool outer, struct err *err)
{
    static const char *const allowed[] = {"driver", "filename", "x-ferry-path", NULL};
    static const char *const allowed_outer[] = {"driver", "filename", "x-ferry-path", "node-name", "read-only", NULL};
    const char *driver;
    int r;

    if (!json_is_object(node))
        return err_set(err, -EINVAL, "Invalid parameter type for 'file', expected: object");
    r = control_check_keys(node, outer ? allowed_outer : allowed, err);
    if (r == 0)
        r = control_get_text(node, "driver", true, &driver, err);
    if (r == 0 && !is_protocol(driver))
        r = err_set(err, -EINVAL, "Parameter 'driver' does not accept value '%.64s'; there are: file, host_device, and the formats",
                    driver);
    return r < 0 ? r : control_get_text(node, "filename", true, &config->path, err);
}

static int read_node(json_t *arguments, struct block_config *config, struct err *err)
{
    static const char *const allowed[] = {"driver", "file", "node-name", "read-only", NULL};
    const char *driver;
    int r = control_get_text(arguments, "driver", true, &driver, err);

    if (r == 0)
        r = control_get_flag(arguments, "read-only", &config->readonly, err);
    if (r < 0 || is_protocol(driver))
        return r < 0 ? r : read_file_node(arguments, config, true, err);
    config->format = driver; /* which formats there are block_open() says */
    r = control_check_keys(arguments, allowed, err);
    return r < 0 ? r : read_file_node(json_object_get(arguments, "file"), config, false, err);
}

/* A descriptor's image may tell the path that it has: the same as on the command line, so that a migration finds equal disks. */
static int take_image_fd(struct machine *machine, json_t *arguments, struct block_config *config, struct err *err)
{
    json_t *file = json_object_get(arguments, "file");
    const char *path;
    int r = control_get_text(json_is_object(file) ? file : arguments, "x-ferry-path", false, &path, err);

    if (r == 0)
        r = fd_store_take(&machine->fds, config->path, &config->fd, err);
    if (r == 0 && path != NULL)
        config->path = path;
    return r;
}

int control_blockdev_add(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    struct block_config config = {0};
    const char *id;
    int r = control_get_text(arguments, "node-name", true, &id, err);

    if (r == 0)
        r = read_node(arguments, &config, err);
    if (r == 0 && text_starts_with(config.path, FDSET_PREFIX))
        r = take_image_fd(machine, arguments, &config, err);
    return r < 0 ? r : plug_open_disk(machine->board, id, &config, err);
}

int control_blockdev_del(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const char *id;
    int r = only_text(arguments, "node-name", &id, err);

    return r < 0 ? r : plug_close(machine->board, id, true, err);
}

/* Devices. */

/* A slot as QEMU writes it: hexadecimal, perhaps with a function, which is 0. */
static int parse_address(json_t *value, int *ret_slot, struct err *err)
{
    const char *text = json_string_value(value);
    char *end;
    unsigned long slot;

    if (json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) < PLATFORM_PCI_SLOTS) {
        *ret_slot = (int)json_integer_value(value);
        return 0;
    }
    slot = text != NULL ? strtoul(text, &end, 16) : ULONG_MAX;
    if (text == NULL || end == text || (*end != 0 && !text_equal(end, ".0")) || slot >= PLATFORM_PCI_SLOTS)
        return err_set(err, -EINVAL, "Parameter 'addr' expects a PCI slot in hexadecimal from 0x%x to 0x%x", PLATFORM_PCI_PLUG_FIRST,
                       PLATFORM_PCI_SLOTS - 1);
    *ret_slot = (int)slot;
    return 0;
}

static int read_place(json_t *arguments, struct plug_device *device, struct err *err)
{
    json_t *address = json_object_get(arguments, "addr");
    const char *bus;
    int r = control_get_text(arguments, "bus", false, &bus, err);

    device->slot = -1;
    if (r == 0 && bus != NULL && !text_equal(bus, "pci.0") && !text_equal(bus, "pcie.0"))
        r = err_set(err, -EINVAL, "there is no bus '%.64s'; there is: pci.0", bus);
    return r < 0 || address == NULL ? r : parse_address(address, &device->slot, err);
}

static int read_mac(json_t *arguments, struct plug_device *device, uint8_t mac[static 6], struct err *err)
{
    const char *text;
    int r = control_get_text(arguments, "mac", false, &text, err);

    if (r < 0 || text == NULL)
        return r;
    if (text_parse_mac(text, mac) < 0)
        return err_set(err, -EINVAL, "Parameter 'mac' expects an address like 52:54:00:12:34:56");
    device->mac = mac;
    return 0;
}

static int read_device(json_t *arguments, struct plug_device *device, uint8_t mac[static 6], struct err *err)
{
    static const char *const allowed_disk[] = {"driver", "id", "bus", "addr", "drive", "serial", NULL};
    static const char *const allowed_nic[] = {"driver", "id", "bus", "addr", "netdev", "mac", NULL};
    bool nic = json_object_get(arguments, "netdev") != NULL;
    int r = control_check_keys(arguments, nic ? allowed_nic : allowed_disk, err);

    if (r == 0)
        r = control_get_text(arguments, "driver", true, &device->driver, err);
    if (r == 0)
        r = control_get_text(arguments, "id", true, &device->id, err);
    if (r == 0)
        r = control_get_text(arguments, nic ? "netdev" : "drive", true, &device->backend, err);
    if (r == 0)
        r = control_get_text(arguments, "serial", false, &device->serial, err);
    if (r == 0)
        r = read_mac(arguments, device, mac, err);
    return r < 0 ? r : read_place(arguments, device, err);
}

int control_device_add(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    struct plug_device device = {0};
    uint8_t mac[6];
    int r = read_device(arguments, &device, mac, err);

    return r < 0 ? r : plug_add(machine->board, &device, err);
}

int control_device_del(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    const char *id;
    int r = only_text(arguments, "id", &id, err);

    return r < 0 ? r : plug_remove(machine->board, id, err);
}

/* By the card's name, or that of its host side. */
static const struct plug_card *find_nic(const struct machine *machine, const char *name)
{
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_nic(machine->board, i)) != NULL; i++) {
        if (text_equal(card->id, name) || text_equal(card->backend->id, name))
            return card;
    }
    return NULL;
}

int control_set_link(struct machine *machine, json_t *arguments, json_t **ret_value, struct err *err)
{
    static const char *const allowed[] = {"name", "up", NULL};
    int r = control_check_keys(arguments, allowed, err);
    const struct plug_card *card = NULL;
    const char *name = NULL;
    bool up = false;

    if (r == 0)
        r = control_get_text(arguments, "name", true, &name, err);
    if (r == 0 && json_object_get(arguments, "up") == NULL)
        r = err_set(err, -EINVAL, "Parameter 'up' is missing");
    if (r == 0)
        r = control_get_flag(arguments, "up", &up, err);
    if (r < 0)
        return r;
    card = find_nic(machine, name);
    if (card == NULL)
        return err_set(err, -ENODEV, "Device '%.64s' not found", name);
    virtio_net_set_link(card->dev, up);
    return 0;
}
