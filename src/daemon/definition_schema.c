/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of libvirt's domain XML Ferry has: one table. What is not in it is refused by name, never dropped. */
#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "daemon/definition.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

#define PATH_SIZE 256
#define QEMU_NAMESPACE "http://libvirt.org/schemas/domain/qemu/1.0"

struct row {
    const char *path;       /* ending in '+': may occur several times */
    const char *attributes; /* "name" takes any value, "name=a|b" one of these */
    const char *text;       /* NULL: none, "*": any, "a|b": one of these, "...": anything below is somebody else's */
    const char *hint;       /* what to do about a refusal; NULL: that is plain */
};

#define VIRTIO_HINT "virt-install takes it for systems that know it: --osinfo linux2022"

static const struct row rows[] = {
    {"domain", "type=kvm|qemu id", NULL},
    {"domain/name", "", "*"},
    {"domain/uuid", "", "*"},
    {"domain/title", "", "*"},
    {"domain/description", "", "*"},
    {"domain/metadata", "", "..."},
    {"domain/memory", "unit", "*"},
    {"domain/currentMemory", "unit", "*"},
    {"domain/vcpu", "placement=static", "*"},
    {"domain/os", "", NULL},
    {"domain/os/type", "arch=x86_64 machine=pc", "hvm"},
    {"domain/os/kernel", "", "*"},
    {"domain/os/initrd", "", "*"},
    {"domain/os/cmdline", "", "*"},
    {"domain/os/boot+", "dev=hd|network|cdrom", NULL},
    {"domain/os/bootmenu", "enable=no", NULL},
    {"domain/features", "", NULL},
    {"domain/features/acpi", "", NULL},
    {"domain/features/apic", "", NULL},
    {"domain/features/pae", "", NULL},
    {"domain/features/vmport", "state=off", NULL},
    {"domain/cpu", "mode=custom|host-model|host-passthrough|maximum match=exact check=none|partial|full migratable=on", NULL},
    {"domain/cpu/model", "fallback=forbid|allow", "*"},
    {"domain/cpu/topology", "sockets dies=1 cores threads=1", NULL},
    {"domain/cpu/feature+", "policy=require|disable name", NULL},
    {"domain/clock", "offset=utc", NULL},
    {"domain/clock/timer+", "name=rtc|pit|hpet|kvmclock|tsc tickpolicy=catchup|delay present=yes|no frequency", NULL},
    {"domain/on_poweroff", "", "destroy"},
    {"domain/on_reboot", "", "restart|destroy"},
    {"domain/on_crash", "", "destroy"},
    {"domain/pm", "", NULL},
    {"domain/pm/suspend-to-mem", "enabled=no", NULL},
    {"domain/pm/suspend-to-disk", "enabled=no", NULL},
    {"domain/seclabel+", "type=none model", NULL},
    {"domain/devices", "", NULL},
    {"domain/devices/emulator", "", "*"},
    {"domain/devices/disk+", "type=file|block device=disk snapshot=no|external|internal", NULL, "the machine has no drives for media"},
    {"domain/devices/disk/driver", "name=qemu type=raw|qcow2 cache=default|none|writeback io=native|threads|io_uring discard=unmap", NULL},
    {"domain/devices/disk/source", "file dev index", NULL},
    {"domain/devices/disk/backingStore", "", NULL},
    {"domain/devices/disk/target", "dev bus=virtio", NULL, VIRTIO_HINT},
    {"domain/devices/disk/readonly", "", NULL},
    {"domain/devices/disk/serial", "", "*"},
    {"domain/devices/disk/boot", "order", NULL},
    {"domain/devices/disk/alias", "name", NULL},
    {"domain/devices/disk/address", "type=pci domain bus slot function", NULL},
    {"domain/devices/interface+", "type=network|bridge|user", NULL},
    {"domain/devices/interface/mac", "address", NULL},
    {"domain/devices/interface/source", "network bridge portid", NULL},
    {"domain/devices/interface/model", "type=virtio", NULL, VIRTIO_HINT},
    {"domain/devices/interface/driver", "name=qemu", NULL},
    {"domain/devices/interface/target", "dev", NULL},
    {"domain/devices/interface/link", "state=up|down", NULL},
    {"domain/devices/interface/boot", "order", NULL},
    {"domain/devices/interface/alias", "name", NULL},
    {"domain/devices/interface/address", "type=pci domain bus slot function", NULL},
    {"domain/devices/serial", "type=pty|file|null", NULL},
    {"domain/devices/serial/source", "path", NULL},
    {"domain/devices/serial/target", "type=isa-serial port=0", NULL},
    {"domain/devices/serial/target/model", "name=isa-serial", NULL},
    {"domain/devices/serial/alias", "name", NULL},
    {"domain/devices/console+", "type=pty|file|null tty", NULL},
    {"domain/devices/console/source", "path", NULL},
    {"domain/devices/console/target", "type=serial|virtio port=0|1", NULL},
    {"domain/devices/console/alias", "name", NULL},
    {"domain/devices/channel", "type=unix", NULL}, /* of the guest agent: kept, and never connected */
    {"domain/devices/channel/source", "mode=bind path", NULL},
    {"domain/devices/channel/target", "type=virtio name=org.qemu.guest_agent.0 state", NULL},
    {"domain/devices/channel/alias", "name", NULL},
    {"domain/devices/channel/address", "type=virtio-serial controller bus port", NULL},
    {"domain/devices/controller+", "type=pci|usb index=0 model=pci-root|none", NULL},
    {"domain/devices/controller/alias", "name", NULL},
    {"domain/devices/input+", "type=keyboard|mouse bus=ps2", NULL},
    {"domain/devices/input/alias", "name", NULL},
    {"domain/devices/audio+", "id type=none", NULL},
    {"domain/devices/video", "", NULL},
    {"domain/devices/video/model", "type=none", NULL},
    {"domain/devices/memballoon", "model=virtio", NULL},
    {"domain/devices/memballoon/alias", "name", NULL},
    {"domain/devices/memballoon/address", "type=pci domain bus slot function", NULL},
    {"domain/devices/memballoon/stats", "period", NULL},
    {"domain/devices/rng", "model=virtio", NULL},
    {"domain/devices/rng/backend", "model=random", "/dev/urandom|/dev/random"},
    {"domain/devices/rng/alias", "name", NULL},
    {"domain/devices/rng/address", "type=pci domain bus slot function", NULL},
};

static const struct row *find_row(const char *path)
{
    size_t length = strlen(path);

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strncmp(rows[i].path, path, length) == 0 && (rows[i].path[length] == 0 || text_equal(rows[i].path + length, "+")))
            return &rows[i];
    }
    return NULL;
}

static bool may_repeat(const struct row *row)
{
    return row->path[strlen(row->path) - 1] == '+';
}

/* Whether value is one of "a|b|c". */
static bool is_one_of(const char *choices, size_t size, const char *value)
{
    size_t length = strlen(value);

    while (size > 0) {
        const char *bar = memchr(choices, '|', size);
        size_t one = bar != NULL ? (size_t)(bar - choices) : size;

        if (one == length && strncmp(choices, value, one) == 0)
            return true;
        choices += bar != NULL ? one + 1 : one;
        size -= bar != NULL ? one + 1 : one;
    }
    return false;
}

/* "a|b" as "a, b". */
static void list_choices(const char *choices, size_t size, char out[static 128])
{
    size_t used = 0;

    for (size_t i = 0; i < size && used < 120; i++) {
        if (choices[i] == '|') {
            out[used++] = ',';
            out[used++] = ' ';
        } else {
            out[used++] = choices[i];
        }
    }
    out[used] = 0;
}

static int unsupported(struct err *err, const xmlNode *node, const char *what)
{
    return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: <%s> in line %ld: %s", xml_name(node),
                   xmlGetLineNo(node), what);
}

static int check_attribute(const xmlNode *node, const char *name, const char *value, const struct row *row, struct err *err)
{
    const char *spec = row->attributes;
    size_t length = strlen(name);
    char what[400], choices[128];

    for (; *spec != 0; spec += strcspn(spec, " "), spec += strspn(spec, " ")) {
        size_t key = strcspn(spec, "= "), all = strcspn(spec, " ");

        if (key != length || strncmp(spec, name, key) != 0)
            continue;
        if (spec[key] != '=' || is_one_of(spec + key + 1, all - key - 1, value))
            return 0;
        list_choices(spec + key + 1, all - key - 1, choices);
        text_format(what, sizeof(what), "%s='%.60s' is not supported; there is: %s%s%s%s", name, value, choices,
                    row->hint != NULL ? " (" : "", row->hint != NULL ? row->hint : "", row->hint != NULL ? ")" : "");
        return unsupported(err, node, what);
    }
    text_format(what, sizeof(what), "attribute '%.60s' is not supported", name);
    return unsupported(err, node, what);
}

static int check_attributes(const xmlNode *node, const struct row *row, struct err *err)
{
    int r = 0;

    for (const xmlAttr *attribute = node->properties; r == 0 && attribute != NULL; attribute = attribute->next) {
        if (attribute->ns == NULL)
            r = check_attribute(node, (const char *)attribute->name, xml_attribute(node, (const char *)attribute->name),
                                row, err);
    }
    return r;
}

static bool has_text(const xmlNode *node)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        const char *text = child->type != XML_ELEMENT_NODE ? (const char *)child->content : NULL;

        if (text != NULL && text[strspn(text, " \t\r\n")] != 0)
            return true;
    }
    return false;
}

static int check_text(const xmlNode *node, const struct row *row, struct err *err)
{
    const char *text = xml_content(node);
    char what[320], choices[128];

    if (row->text == NULL)
        return has_text(node) ? unsupported(err, node, "it holds a text, and may not") : 0;
    if (text_equal(row->text, "*") || text_equal(row->text, "...") || is_one_of(row->text, strlen(row->text), text))
        return 0;
    list_choices(row->text, strlen(row->text), choices);
    text_format(what, sizeof(what), "'%.60s' is not supported; there is: %s", text, choices);
    return unsupported(err, node, what);
}

static int check_child(const xmlNode *node, const xmlNode *child, const char *path, struct err *err)
{
    const struct row *row;
    char longer[PATH_SIZE];

    if (child->ns != NULL && child->ns->href != NULL && text_equal((const char *)child->ns->href, QEMU_NAMESPACE))
        return unsupported(err, child, "there is no QEMU here that its options could go to");
    if (!xml_is(child, NULL))
        return 0; /* other people's */
    if (text_format(longer, sizeof(longer), "%s/%s", path, xml_name(child)) < 0)
        return unsupported(err, child, "it is nested too deeply");
    row = find_row(longer);
    if (row == NULL)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: element <%s> in <%s> (line %ld) is not "
                       "supported by Ferry", xml_name(child), xml_name(node), xmlGetLineNo(child));
    if (!may_repeat(row) && xml_first(node, xml_name(child)) != child)
        return unsupported(err, child, "there may be only one");
    return schema_check(child, longer, err);
}

/* A display drags in half a dozen devices beside it: it is the one to be told of. */
static int check_display(const xmlNode *devices, struct err *err)
{
    const xmlNode *graphics = xml_first(devices, "graphics");

    return graphics == NULL ? 0 : unsupported(err, graphics, "the machine has no display: its console is the serial port (virt-install: "
                                              "--graphics none)");
}

int schema_check(const xmlNode *root, const char *path, struct err *err)
{
    const struct row *row = find_row(path);
    int r;

    if (row == NULL)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: there is no device <%s>", xml_name(root));
    r = xml_is(root, "devices") ? check_display(root, err) : 0;
    if (r == 0)
        r = check_attributes(root, row, err);
    if (r == 0)
        r = check_text(root, row, err);
    if (row->text != NULL && text_equal(row->text, "..."))
        return r;
    for (const xmlNode *child = root->children; r == 0 && child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE)
            r = check_child(root, child, path, err);
    }
    return r;
}
