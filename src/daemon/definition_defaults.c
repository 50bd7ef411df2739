/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a definition leaves open is filled in, as libvirt does: addresses, and elements that say what the machine has anyway. */
#include <errno.h>
#include <inttypes.h>
#include <strings.h>
#include <sys/random.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "daemon/definition_private.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

/* Slots of devices that come and go; those below are the board's own. */
enum { SLOT_FIRST = 4, SLOT_LAST = 31 };

static int contradiction(struct err *err, const xmlNode *node, const char *what)
{
    return err_set(err, RPC_FAULT(RPC_XML_ERROR), "<%s> in line %ld: %s", xml_name(node), xmlGetLineNo(node), what);
}

/* The attribute, set to the value if it is not there. */
static void set_default(xmlNode *node, const char *attribute, const char *value)
{
    if (node != NULL && xml_attribute(node, attribute) == NULL)
        tree_set(node, attribute, "%s", value);
}

/* A child of root, in front of `before` if that is there. */
static xmlNode *insert(xmlNode *root, const char *name, const char *before)
{
    xmlNode *node = tree_first(root, name), *place = tree_first(root, before);

    if (node != NULL)
        return node;
    node = xmlNewDocNode(root->doc, NULL, (const xmlChar *)name, NULL);
    if (node == NULL)
        return NULL;
    return place != NULL ? xmlAddPrevSibling(place, node) : xmlAddChild(root, node);
}

void definition_drop_live_facts(struct definition *definition)
{
    xmlNode *devices = definition_devices(definition);

    for (xmlNode *device = tree_first(devices, NULL); device != NULL; device = tree_next(device, NULL)) {
        xmlNode *target = tree_first(device, "target");
        const char *alias = xml_attribute(xml_first(device, "alias"), "name"), *dev = xml_attribute(target, "dev");

        if (alias != NULL && !text_starts_with(alias, "ua-"))
            tree_remove(tree_first(device, "alias"));
        if (xml_is(device, "interface") && dev != NULL && text_starts_with(dev, "vnet"))
            tree_remove(target);
        if (xml_is(device, "channel"))
            tree_set(target, "state", "disconnected");
        if (tree_is(device, "type", "pty"))
            tree_remove(tree_first(device, "source"));
        tree_unset(device, "tty");
    }
}

static int fill_disk(xmlNode *disk, struct err *err)
{
    xmlNode *source = tree_first(disk, "source"), *target = tree_first(disk, "target"), *driver;
    const char *path;

    set_default(disk, "type", "file");
    set_default(disk, "device", "disk");
    path = xml_attribute(source, tree_is(disk, "type", "block") ? "dev" : "file");
    if (path == NULL || path[0] != '/')
        return contradiction(err, disk, "a disk needs a <source> whose file (dev, if its type is block) is an absolute path");
    if (xml_attribute(target, "dev") == NULL || xml_attribute(target, "dev")[0] == 0)
        return contradiction(err, disk, "a disk needs a <target> with dev");
    if (strchr(path, ',') != NULL)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: disk %.200s has a comma in its name", path);
    if (xml_attribute(target, "bus") == NULL && !text_starts_with(xml_attribute(target, "dev"), "vd"))
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: disk %.30s would be on bus %s; there is: "
                       "virtio (vda, vdb, ...)", xml_attribute(target, "dev"),
                       text_starts_with(xml_attribute(target, "dev"), "hd") ? "ide" : "scsi or sata");
    set_default(target, "bus", "virtio");
    driver = tree_first(disk, "driver");
    if (driver == NULL)
        driver = insert(disk, "driver", "source");
    set_default(driver, "name", "qemu");
    set_default(driver, "type", "raw");
    return 0;
}

static void make_mac(xmlNode *node)
{
    uint8_t bytes[3];

    while (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        ;
    tree_set(node, "address", "52:54:00:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2]);
}

static int fill_interface(xmlNode *interface, struct err *err)
{
    const char *type = xml_attribute(interface, "type");
    xmlNode *mac = tree_first(interface, "mac");
    uint8_t bytes[6];

    if (type == NULL)
        return contradiction(err, interface, "it needs a type: network, bridge or user");
    if (!text_equal(type, "user") && xml_attribute(xml_first(interface, "source"), type) == NULL)
        return contradiction(err, interface, text_equal(type, "network") ? "it needs a <source network=...>"
                                                                         : "it needs a <source bridge=...>");
    if (mac == NULL)
        mac = insert(interface, "mac", xml_first(interface, "source") != NULL ? "source" : "model");
    if (xml_attribute(mac, "address") == NULL)
        make_mac(mac);
    if (text_parse_mac(xml_attribute(mac, "address"), bytes) < 0 || (bytes[0] & 1) != 0)
        return err_set(err, RPC_FAULT(RPC_XML_ERROR), "'%.60s' is no MAC address of a network card", xml_attribute(mac, "address"));
    set_default(tree_child(interface, "model"), "type", "virtio");
    return 0;
}

int device_fill(xmlNode *device, struct err *err)
{
    if (xml_is(device, "disk"))
        return fill_disk(device, err);
    return xml_is(device, "interface") ? fill_interface(device, err) : 0;
}

static bool has_slot(const xmlNode *device)
{
    return xml_is(device, "disk") || xml_is(device, "interface");
}

unsigned device_slot(const xmlNode *device)
{
    uint64_t slot = 0;

    tree_number(xml_first(device, "address"), "slot", &slot);
    return (unsigned)slot;
}

static int check_address(const xmlNode *device, struct err *err)
{
    const xmlNode *address = xml_first(device, "address");
    uint64_t value;

    if ((tree_number(address, "domain", &value) && value != 0) || (tree_number(address, "bus", &value) && value != 0) ||
        (tree_number(address, "function", &value) && value != 0))
        return contradiction(err, address, "there is one PCI bus, and devices have function 0");
    if (device_slot(device) < SLOT_FIRST || device_slot(device) > SLOT_LAST)
        return contradiction(err, address, "disks and interfaces sit in PCI slots 0x04 to 0x1f");
    return 0;
}

/* Slots that the document names. */
static int take_slots(xmlNode *devices, uint32_t *ret_used, struct err *err)
{
    uint32_t used = 0;
    int r = 0;

    for (const xmlNode *device = xml_first(devices, NULL); r == 0 && device != NULL; device = xml_next(device, NULL)) {
        if (!has_slot(device) || xml_first(device, "address") == NULL)
            continue;
        r = check_address(device, err);
        if (r == 0 && (used & BIT(device_slot(device))) != 0)
            r = contradiction(err, xml_first(device, "address"), "another device has this PCI slot");
        used |= r == 0 ? (uint32_t)BIT(device_slot(device)) : 0;
    }
    *ret_used = used;
    return r;
}

static int give_slots(xmlNode *devices, struct err *err)
{
    uint32_t used = 0;
    int r = take_slots(devices, &used, err);

    for (xmlNode *device = tree_first(devices, NULL); r == 0 && device != NULL; device = tree_next(device, NULL)) {
        unsigned slot = SLOT_FIRST;
        xmlNode *address;

        if (!has_slot(device) || xml_first(device, "address") != NULL)
            continue;
        while (slot <= SLOT_LAST && (used & BIT(slot)) != 0)
            slot++;
        if (slot > SLOT_LAST)
            return contradiction(err, device, "no PCI slot is free: there may be 28 disks and interfaces");
        used |= (uint32_t)BIT(slot);
        address = tree_add(device, "address");
        tree_set(address, "type", "pci");
        tree_set(address, "domain", "0x0000");
        tree_set(address, "bus", "0x00");
        tree_set(address, "slot", "0x%02x", slot);
        tree_set(address, "function", "0x0");
    }
    return r;
}

/* What tells two devices of a kind apart. */
static const char *identity(const xmlNode *device)
{
    if (xml_is(device, "disk"))
        return xml_attribute(xml_first(device, "target"), "dev");
    return xml_is(device, "interface") ? xml_attribute(xml_first(device, "mac"), "address") : NULL;
}

static int check_unique(const xmlNode *devices, struct err *err)
{
    for (const xmlNode *device = xml_first(devices, NULL); device != NULL; device = xml_next(device, NULL)) {
        for (const xmlNode *other = xml_next(device, xml_name(device)); identity(device) != NULL && other != NULL;
             other = xml_next(other, xml_name(device))) {
            if (strcasecmp(identity(device), identity(other)) == 0)
                return err_set(err, RPC_FAULT(RPC_XML_ERROR), "two devices <%s> are the same %s", xml_name(device), identity(other));
        }
    }
    return 0;
}

/* The first serial port and the first console are one and the same, and stand in the document twice. */
static void pair_console(xmlNode *devices)
{
    xmlNode *serial = tree_first(devices, "serial"), *console = tree_first(devices, "console");

    for (xmlNode *at = console; at != NULL; at = tree_next(at, "console")) {
        xmlNode *target = tree_child(at, "target");

        set_default(at, "type", "pty");
        set_default(target, "type", "serial");
        set_default(target, "port", at == console ? "0" : "1");
    }
    if (serial == NULL && console != NULL && tree_is(tree_first(console, "target"), "type", "serial")) {
        serial = xmlAddPrevSibling(console, xmlNewDocNode(devices->doc, NULL, (const xmlChar *)"serial", NULL));
        tree_set(serial, "type", "%s", xml_attribute(console, "type"));
        if (xml_first(console, "source") != NULL)
            tree_graft(serial, xml_first(console, "source"));
    }
    if (serial == NULL)
        return;
    set_default(serial, "type", "pty");
    set_default(tree_child(serial, "target"), "type", "isa-serial");
    set_default(tree_first(serial, "target"), "port", "0");
    if (console == NULL || !tree_is(tree_first(console, "target"), "type", "serial")) {
        console = xmlAddNextSibling(serial, xmlNewDocNode(devices->doc, NULL, (const xmlChar *)"console", NULL));
        tree_set(console, "type", "%s", xml_attribute(serial, "type"));
        tree_set(tree_child(console, "target"), "type", "serial");
        tree_set(tree_child(console, "target"), "port", "0");
        if (xml_first(serial, "source") != NULL)
            tree_graft(console, xml_first(serial, "source"));
    }
}

static int check_console(const xmlNode *devices, struct err *err)
{
    unsigned virtio = 0, serial = 0;

    for (const xmlNode *at = xml_first(devices, "console"); at != NULL; at = xml_next(at, "console")) {
        const char *path = xml_attribute(xml_first(at, "source"), "path");

        *(tree_is(xml_first(at, "target"), "type", "virtio") ? &virtio : &serial) += 1;
        if (tree_is(at, "type", "file") && (path == NULL || path[0] != '/'))
            return contradiction(err, at, "a console of type file needs a <source> whose path is absolute");
    }
    if (virtio > 1 || serial > 1)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: more than one console of type %s",
                       virtio > 1 ? "virtio" : "serial");
    return 0;
}

void definition_leave_out_usb(xmlNode *root)
{
    xmlNode *next, *none = NULL;

    for (xmlNode *at = tree_first(tree_first(root, "devices"), "controller"); at != NULL; at = next) {
        next = tree_next(at, "controller");
        if (!tree_is(at, "type", "usb"))
            continue;
        if (none == NULL) {
            none = xmlAddPrevSibling(at, xmlNewDocNode(root->doc, NULL, (const xmlChar *)"controller", NULL));
            tree_set(none, "type", "usb");
            tree_set(none, "index", "0");
            tree_set(none, "model", "none");
        }
        tree_remove(at);
    }
}

static int fill_devices(xmlNode *devices, const char *emulator, struct err *err)
{
    int r = 0;

    if (emulator != NULL) {
        xmlNode *node = tree_first(devices, "emulator"), *first = tree_first(devices, NULL);

        if (node == NULL) {
            node = xmlNewDocNode(devices->doc, NULL, (const xmlChar *)"emulator", NULL);
            node = first != NULL ? xmlAddPrevSibling(first, node) : xmlAddChild(devices, node);
        }
        tree_set_text(node, "%s", emulator);
    }
    for (xmlNode *device = tree_first(devices, NULL); r == 0 && device != NULL; device = tree_next(device, NULL))
        r = device_fill(device, err);
    if (r < 0)
        return r;
    pair_console(devices);
    set_default(tree_child(devices, "memballoon"), "model", "virtio");
    r = check_console(devices, err);
    if (r == 0)
        r = check_unique(devices, err);
    return r < 0 ? r : give_slots(devices, err);
}

#define TSC_HERTZ_MIN UINT64_C(100000000) /* as --cpu MODEL,tsc-frequency= takes it */
#define TSC_HERTZ_MAX UINT64_C(20000000000)

/* rtc, pit: what tick policy a document asks for is what the devices do; there is no HPET. */
static int check_timers(const xmlNode *clock, struct err *err)
{
    uint64_t hertz;

    for (const xmlNode *timer = xml_first(clock, "timer"); timer != NULL; timer = xml_next(timer, "timer")) {
        if (tree_is(timer, "name", "hpet") && !tree_is(timer, "present", "no"))
            return contradiction(err, timer, "the machine has no HPET: present must be 'no'");
        if (!tree_is(timer, "name", "hpet") && tree_is(timer, "present", "no"))
            return contradiction(err, timer, "this timer is always there");
        if (xml_attribute(timer, "frequency") != NULL && !tree_is(timer, "name", "tsc"))
            return contradiction(err, timer, "of the timers only tsc has a frequency that can be chosen");
        if (xml_attribute(timer, "frequency") != NULL &&
            (!tree_number(timer, "frequency", &hertz) || hertz < TSC_HERTZ_MIN || hertz > TSC_HERTZ_MAX))
            return contradiction(err, timer, "the frequency is a number of hertz from 100000000 to 20000000000");
    }
    return 0;
}

static int check_cpu(const struct definition *definition, struct err *err)
{
    const xmlNode *cpu = xml_first(definition_root(definition), "cpu"), *topology = xml_first(cpu, "topology");
    uint64_t sockets = 1, cores = 1;

    if (cpu != NULL && xml_first(cpu, "feature") != NULL && xml_first(cpu, "model") == NULL && xml_attribute(cpu, "mode") == NULL)
        return contradiction(err, cpu, "features need a <model> or a mode");
    if (topology == NULL)
        return 0;
    if (!tree_number(topology, "sockets", &sockets) || !tree_number(topology, "cores", &cores) || sockets * cores != definition->cpus)
        return contradiction(err, topology, "sockets times cores must be the number of <vcpu>");
    return 0;
}

/* A domain that asks for nothing gets the model that every host offers, so that it can move to each of them. */
static void fill_cpu(xmlNode *root)
{
    xmlNode *cpu = tree_first(root, "cpu");

    if (cpu != NULL)
        return;
    cpu = insert(root, "cpu", "clock");
    tree_set(cpu, "mode", "custom");
    tree_set(cpu, "match", "exact");
    tree_set(cpu, "check", "none");
    tree_set(tree_child(cpu, "model"), "fallback", "forbid");
    tree_set_text(tree_first(cpu, "model"), "x86-64-v2");
}

static void fill_head(struct definition *definition, xmlNode *root)
{
    char uuid[UUID_TEXT_SIZE];
    xmlNode *type;

    uuid_format(definition->uuid, uuid);
    if (tree_first(root, "uuid") == NULL)
        xmlAddNextSibling(tree_first(root, "name"), xmlNewDocNode(root->doc, NULL, (const xmlChar *)"uuid", NULL));
    tree_set_text(tree_first(root, "uuid"), "%s", uuid);
    tree_set_text(tree_first(root, "name"), "%s", definition->name);
    tree_unset(root, "id");
    tree_set(tree_first(root, "memory"), "unit", "KiB");
    tree_set_text(tree_first(root, "memory"), "%" PRIu64, definition->memory_kib);
    insert(root, "currentMemory", "vcpu");
    tree_set(tree_first(root, "currentMemory"), "unit", "KiB");
    tree_set_text(tree_first(root, "currentMemory"), "%" PRIu64, definition->current_kib);
    insert(root, "vcpu", "os");
    tree_set(tree_first(root, "vcpu"), "placement", "static");
    tree_set_text(tree_first(root, "vcpu"), "%u", definition->cpus);
    insert(root, "os", "devices");
    type = tree_child(tree_first(root, "os"), "type");
    tree_set(type, "arch", "x86_64");
    tree_set(type, "machine", "pc");
    tree_set_text(type, "hvm");
}

static void fill_tail(xmlNode *root)
{
    static const char *const actions[][2] = {{"on_poweroff", "destroy"}, {"on_reboot", "restart"}, {"on_crash", "destroy"}};

    set_default(insert(root, "clock", "devices"), "offset", "utc");
    for (unsigned i = 0; i < ARRAY_SIZE(actions); i++) {
        if (tree_first(root, actions[i][0]) == NULL)
            tree_set_text(insert(root, actions[i][0], "devices"), "%s", actions[i][1]);
    }
}

int definition_fill(struct definition *definition, const char *emulator, struct err *err)
{
    xmlNode *root = definition_root(definition), *devices = tree_child(root, "devices");
    int r;

    fill_head(definition, root);
    fill_tail(root);
    fill_cpu(root);
    if (devices == NULL || tree_first(root, "on_crash") == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    r = check_timers(xml_first(root, "clock"), err);
    if (r == 0)
        r = check_cpu(definition, err);
    if (r == 0 && emulator != NULL)
        definition_drop_live_facts(definition);
    return r < 0 ? r : fill_devices(devices, emulator, err);
}
