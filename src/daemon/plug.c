/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hot plug, by QEMU's commands. */
#include "daemon/plug.h"

#include <errno.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/monitor.h"
#include "daemon/tree.h"
#include "daemon/vmm_arguments.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

#define DETACH_NS (5 * NANOSECONDS_PER_SECOND)

static const char *alias_of(const xmlNode *device)
{
    return xml_attribute(xml_first(device, "alias"), "name");
}

static int add_disk(struct domain *domain, const xmlNode *disk, int fd, struct err *err)
{
    const char *path = xml_attribute(xml_first(disk, "source"), tree_is(disk, "type", "block") ? "dev" : "file");
    json_t *set = NULL;
    char name[40], url[DISK_URL_SIZE];
    int r;

    if (fd < 0 && disk_url(domain, disk, url))
        return monitor_call(domain->monitor, "blockdev-add",
                            json_pack("{s:s, s:s, s:b, s:{s:s, s:s}}", "driver", xml_attribute(xml_first(disk, "driver"), "type"),
                                      "node-name", alias_of(disk), "read-only", xml_first(disk, "readonly") != NULL, "file", "driver",
                                      "file", "filename", url),
                            NULL, err);
    r = monitor_call_fd(domain->monitor, "add-fd", NULL, fd, MONITOR_PATIENCE_NS, &set, err);

    if (r < 0)
        return r;
    text_format(name, sizeof(name), "/dev/fdset/%lld", (long long)json_integer_value(json_object_get(set, "fdset-id")));
    json_decref(set);
    return monitor_call(domain->monitor, "blockdev-add",
                        json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:s}}", "driver", xml_attribute(xml_first(disk, "driver"), "type"),
                                  "node-name", alias_of(disk), "read-only", xml_first(disk, "readonly") != NULL, "file", "driver",
                                  "file", "filename", name, "x-ferry-path", path),
                        NULL, err);
}

static int add_network(struct domain *domain, const xmlNode *interface, int fd, struct err *err)
{
    int r;

    if (fd < 0)
        return monitor_call(domain->monitor, "netdev_add", json_pack("{s:s, s:s}", "type", "user", "id", alias_of(interface)), NULL, err);
    r = monitor_call_fd(domain->monitor, "getfd", json_pack("{s:s}", "fdname", alias_of(interface)), fd, MONITOR_PATIENCE_NS, NULL, err);
    if (r < 0)
        return r;
    return monitor_call(domain->monitor, "netdev_add",
                        json_pack("{s:s, s:s, s:s}", "type", "tap", "id", alias_of(interface), "fd", alias_of(interface)), NULL, err);
}

static json_t *device_arguments(const xmlNode *device)
{
    const char *serial = xml_child_content(device, "serial");
    char slot[8];

    text_format(slot, sizeof(slot), "0x%x", device_slot(device));
    if (xml_is(device, "interface"))
        return json_pack("{s:s, s:s, s:s, s:s, s:s}", "driver", "virtio-net-pci", "id", alias_of(device), "netdev", alias_of(device), "mac",
                         xml_attribute(xml_first(device, "mac"), "address"), "addr", slot);
    return json_pack("{s:s, s:s, s:s, s:s, s:s*}", "driver", "virtio-blk-pci", "id", alias_of(device), "drive", alias_of(device), "addr",
                     slot, "serial", serial);
}

static json_t *backend_arguments(const char *alias, bool disk)
{
    return json_pack("{s:s}", disk ? "node-name" : "id", alias);
}

static bool link_is_down(const xmlNode *interface)
{
    return tree_is(xml_first(interface, "link"), "state", "down");
}

static int set_link(struct domain *domain, const char *alias, bool up, struct err *err)
{
    return monitor_call(domain->monitor, "set_link", json_pack("{s:s, s:b}", "name", alias, "up", up), NULL, err);
}

/* The host side, then the device in front of it; when that fails, the host side goes again. */
static int add_to_vm(struct domain *domain, xmlNode *device, struct err *err)
{
    bool disk = xml_is(device, "disk");
    int fd = -1, r = device_open(domain, device, &fd, err);

    if (r == 0)
        r = disk ? add_disk(domain, device, fd, err) : add_network(domain, device, fd, err);
    fd_close(&fd);
    if (r < 0)
        return r;
    r = monitor_call(domain->monitor, "device_add", device_arguments(device), NULL, err);
    if (r == 0 && !disk && link_is_down(device))
        r = set_link(domain, alias_of(device), false, err);
    if (r < 0)
        monitor_call(domain->monitor, disk ? "blockdev-del" : "netdev_del", backend_arguments(alias_of(device), disk), NULL, NULL);
    return r;
}

int plug_set_links(struct domain *domain, struct err *err)
{
    const xmlNode *next = xml_first(definition_devices(domain->live), "interface");
    int r = 0;

    for (const xmlNode *at = next; r == 0 && at != NULL; at = next) {
        next = xml_next(at, "interface");
        if (link_is_down(at))
            r = set_link(domain, alias_of(at), false, err);
    }
    return r;
}

int plug_attach(struct domain *domain, const xmlNode *device, struct err *err)
{
    struct definition *changed = NULL, *before;
    xmlNode *added;
    int r;

    if (definition_copy(domain->live, &changed) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    r = definition_add_device(changed, device, &added, err);
    if (r == 0) {
        device_set_alias(domain, added);
        r = add_to_vm(domain, added, err);
    }
    if (r == 0)
        r = domain_need_active(domain, err);
    if (r < 0) {
        definition_free(changed);
        return r;
    }
    before = domain->live;
    domain->live = changed;
    definition_free(before);
    domain_write_status(domain);
    domain_send_device_event(domain, 19, REMOTE_DOMAIN_EVENT_DEVICE_ADDED, alias_of(added));
    return 0;
}

static bool still_there(const struct domain *domain, const char *alias)
{
    if (!domain_active(domain))
        return false;
    for (const xmlNode *device = xml_first(definition_devices(domain->live), NULL); device != NULL; device = xml_next(device, NULL)) {
        if (alias_of(device) != NULL && text_equal(alias_of(device), alias))
            return true;
    }
    return false;
}

int plug_detach(struct domain *domain, const xmlNode *device, struct err *err)
{
    int64_t end = host_monotonic_ns() + DETACH_NS;
    char alias[64];
    xmlNode *found;
    int r = definition_find_device(domain->live, device, &found, err);

    if (r < 0)
        return r;
    if (alias_of(found) == NULL || text_format(alias, sizeof(alias), "%s", alias_of(found)) < 0)
        return err_set(err, RPC_FAULT(RPC_DEVICE_MISSING), "the device has no alias");
    r = monitor_call(domain->monitor, "device_del", json_pack("{s:s}", "id", alias), NULL, err);
    while (r == 0 && still_there(domain, alias)) {
        int64_t left = end - host_monotonic_ns();

        if (left <= 0 || wait_queue_wait(&domain->changed, domain->daemon->scheduler, left) < 0)
            break;
    }
    return r;
}

static bool same_text(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcasecmp(a, b) == 0;
}

/* Whether every attribute of an element is there in the other one. */
static bool contains(const xmlNode *found, const xmlNode *wanted)
{
    for (const xmlAttr *attribute = wanted->properties; attribute != NULL; attribute = attribute->next) {
        const char *name = (const char *)attribute->name;

        if (!same_text(xml_attribute(found, name), xml_attribute(wanted, name)))
            return false;
    }
    return true;
}

/* The element of a device that asks for something else than there is; NULL: none but <link>. */
static const char *find_change(const xmlNode *found, const xmlNode *wanted)
{
    if (!contains(found, wanted))
        return xml_name(wanted);
    for (const xmlNode *child = xml_first(wanted, NULL); child != NULL; child = xml_next(child, NULL)) {
        const xmlNode *there = xml_first(found, xml_name(child));

        if (!xml_is(child, "link") && (there == NULL || !contains(there, child) || !same_text(xml_content(there), xml_content(child))))
            return xml_name(child);
    }
    return NULL;
}

int plug_update(struct domain *domain, const xmlNode *device, struct err *err)
{
    bool down = link_is_down(device);
    const char *change;
    char alias[64];
    xmlNode *found;
    int r = definition_find_device(domain->live, device, &found, err);

    if (r < 0)
        return r;
    change = find_change(found, device);
    if (change != NULL)
        return err_set(err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED), "<%s> of a device cannot be changed while the domain runs: detach it and "
                       "attach another%s", change, xml_is(device, "interface") ? "; <link> can" : "");
    if (!xml_is(device, "interface") || down == link_is_down(found) || text_format(alias, sizeof(alias), "%s", alias_of(found)) < 0)
        return 0;
    r = set_link(domain, alias, !down, err);
    if (r == 0)
        r = domain_need_active(domain, err);
    if (r == 0)
        r = definition_find_device(domain->live, device, &found, err); /* another may stand there after the wait */
    if (r < 0)
        return r;
    tree_set(tree_child(found, "link"), "state", down ? "down" : "up");
    domain_write_status(domain);
    return 0;
}

struct cleanup {
    struct domain *domain;
    bool disk;
    char alias[64];
};

static void close_host_side(void *ctx)
{
    struct cleanup *cleanup = ctx;

    monitor_call(cleanup->domain->monitor, cleanup->disk ? "blockdev-del" : "netdev_del", backend_arguments(cleanup->alias, cleanup->disk),
                 NULL, NULL);
    domain_release(cleanup->domain);
    free(cleanup);
}

void plug_deleted(struct domain *domain, const char *alias, bool disk)
{
    struct cleanup *cleanup = calloc(1, sizeof(*cleanup));

    if (cleanup == NULL)
        return;
    cleanup->domain = domain;
    cleanup->disk = disk;
    text_format(cleanup->alias, sizeof(cleanup->alias), "%s", alias);
    domain_hold(domain);
    if (coroutine_start(domain->daemon->scheduler, close_host_side, cleanup) < 0) {
        domain_release(domain);
        free(cleanup);
    }
}
