/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Definitions as a whole: reading, the facts in them, copies, writing. What is filled in is in definition_defaults.c. */
#include "daemon/definition.h"

#include <errno.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "daemon/definition_private.h"
#include "daemon/host.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

xmlNode *definition_root(const struct definition *definition)
{
    return (xmlNode *)xml_root(definition->doc);
}

xmlNode *definition_devices(const struct definition *definition)
{
    return tree_first(definition_root(definition), "devices");
}

/* Text without the white space around it. */
static int trimmed(const char *text, char *out, size_t size)
{
    size_t length;

    text += strspn(text, " \t\n");
    length = strlen(text);
    while (length > 0 && strchr(" \t\n", text[length - 1]) != NULL)
        length--;
    return text_format(out, size, "%.*s", (int)length, text);
}

static int take_name(struct definition *definition, const char *text, struct err *err)
{
    if (text == NULL || trimmed(text, definition->name, sizeof(definition->name)) < 0 || definition->name[0] == 0)
        return err_set(err, RPC_FAULT(RPC_XML_ERROR), "the domain needs a <name> of 1 to %d bytes", DOMAIN_NAME_MAX);
    for (const char *at = definition->name; *at != 0; at++) {
        if ((unsigned char)*at < ' ' || *at == '/' || *at == 0x7f)
            return err_set(err, RPC_FAULT(RPC_XML_ERROR), "name '%s' contains '/' or a control character", definition->name);
    }
    return 0;
}

static int take_uuid(struct definition *definition, xmlNode *root, struct err *err)
{
    const char *text = xml_child_content(root, "uuid");

    if (text == NULL) {
        uuid_random(definition->uuid);
        return 0;
    }
    if (uuid_parse(text, definition->uuid) < 0)
        return err_set(err, RPC_FAULT(RPC_XML_ERROR), "malformed uuid element '%.60s'", text);
    return 0;
}

/* libvirt's units: KiB by default, KB is 1000 bytes. */
static int parse_memory(const xmlNode *node, uint64_t *ret_kib, struct err *err)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {{"b", 1}, {"bytes", 1}, {"KB", 1000}, {"k", 1024}, {"KiB", 1024}, {"MB", 1000000}, {"M", MIB(1)}, {"MiB", MIB(1)},
                 {"GB", 1000000000}, {"G", GIB(1)}, {"GiB", GIB(1)}, {"T", GIB(1024)}, {"TiB", GIB(1024)}};
    const char *unit = xml_attribute(node, "unit");
    char text[40];
    uint64_t number = 0, bytes;

    if (trimmed(xml_content(node), text, sizeof(text)) < 0 || text_parse_u64(text, &number) < 0)
        return err_set(err, RPC_FAULT(RPC_XML_ERROR), "<%s> must be a number, not '%.30s'", xml_name(node), xml_content(node));
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        if (!text_equal(unit != NULL ? unit : "KiB", units[i].name))
            continue;
        if (__builtin_mul_overflow(number, units[i].bytes, &bytes) || bytes > GIB(1024) * 1024)
            break;
        *ret_kib = (bytes + 1023) / 1024;
        return 0;
    }
    return err_set(err, RPC_FAULT(RPC_XML_ERROR), "<%s>: '%.30s %.10s' is no size of memory", xml_name(node), text, unit);
}

static int take_memory(struct definition *definition, xmlNode *root, struct err *err)
{
    const xmlNode *memory = xml_first(root, "memory"), *current = xml_first(root, "currentMemory");
    int r;

    if (memory == NULL)
        return err_set(err, RPC_FAULT(RPC_XML_ERROR), "the domain needs a <memory>");
    r = parse_memory(memory, &definition->memory_kib, err);
    definition->current_kib = definition->memory_kib;
    if (r == 0 && current != NULL)
        r = parse_memory(current, &definition->current_kib, err);
    if (r < 0)
        return r;
    definition->memory_kib = align_up(definition->memory_kib, 1024); /* whole MiB, as libvirt rounds for x86 */
    if (definition->memory_kib < 1024)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "<memory> of less than 1 MiB is too little for a machine");
    if (definition->current_kib > definition->memory_kib || definition->current_kib == 0)
        definition->current_kib = definition->memory_kib;
    return 0;
}

static int take_cpus(struct definition *definition, xmlNode *root, const struct host *host, struct err *err)
{
    const char *text = xml_child_content(root, "vcpu");
    uint64_t cpus = 1;
    char number[24];

    if (text != NULL && (trimmed(text, number, sizeof(number)) < 0 || text_parse_u64(number, &cpus) < 0 || cpus == 0))
        return err_set(err, RPC_FAULT(RPC_XML_ERROR), "<vcpu> must be a number from 1 on, not '%.30s'", text);
    if (host != NULL && cpus > host->cpus_max)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: maximum CPUs of a domain are %u, <vcpu> is "
                       "%llu", host->cpus_max, (unsigned long long)cpus);
    definition->cpus = (unsigned)cpus;
    return 0;
}

/* From the document into the struct. host: NULL when it was checked against it before. */
static int take_facts(struct definition *definition, const struct host *host, struct err *err)
{
    xmlNode *root = definition_root(definition);
    const char *type = xml_attribute(root, "type");
    int r;

    if (type == NULL)
        return err_set(err, RPC_FAULT(RPC_XML_ERROR), "the domain needs a type: kvm or qemu");
    definition->kvm = text_equal(type, "kvm");
    r = take_name(definition, xml_child_content(root, "name"), err);
    if (r == 0)
        r = take_memory(definition, root, err);
    if (r == 0)
        r = take_cpus(definition, root, host, err);
    return r;
}

/* What only this host can say no to. */
static int check_host(const struct definition *definition, const struct host *host, struct err *err)
{
    const char *emulator = xml_child_content(definition_devices(definition), "emulator"), *base;

    if (definition->kvm && !host->kvm)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: domain type 'kvm' is not offered on this "
                       "host; use type 'qemu'. %s", host->kvm_reason);
    base = emulator != NULL ? strrchr(emulator, '/') : NULL;
    if (emulator != NULL && !text_equal(base != NULL ? base + 1 : emulator, "ferry-vmm"))
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unsupported configuration: emulator %.200s; guests of this host run in %s",
                       emulator, host->vmm);
    return 0;
}

static int complete(struct definition *definition, const struct host *host, struct err *err)
{
    xmlNode *root = definition_root(definition);
    int r;

    definition_leave_out_usb(root);
    r = schema_check(root, "domain", err);

    if (r == 0)
        r = take_facts(definition, host, err);
    if (r == 0)
        r = take_uuid(definition, root, err);
    if (r == 0)
        r = check_host(definition, host, err);
    if (r == 0)
        r = definition_fill(definition, host->vmm, err);
    return r;
}

int definition_parse(const char *xml, const struct host *host, struct definition **ret_definition, struct err *err)
{
    struct definition *definition = calloc(1, sizeof(*definition));
    int r;

    if (definition == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    r = xml_read(xml, "domain", &definition->doc, err);
    if (r == -EINVAL)
        r = RPC_FAULT(RPC_XML_ERROR);
    if (r == 0)
        r = complete(definition, host, err);
    if (r < 0) {
        definition_free(definition);
        return r;
    }
    *ret_definition = definition;
    return 0;
}

int definition_from_node(const xmlNode *node, struct definition *ret_definition, struct err *err)
{
    xmlNode *copy = NULL;

    ret_definition->doc = node != NULL ? xmlNewDoc((const xmlChar *)"1.0") : NULL;
    if (ret_definition->doc != NULL)
        copy = xmlDocCopyNode((xmlNode *)node, ret_definition->doc, 1);
    if (copy == NULL)
        return err_set(err, -EBADMSG, "it holds no <domain>");
    xmlDocSetRootElement(ret_definition->doc, copy);
    if (take_facts(ret_definition, NULL, err) < 0 || take_uuid(ret_definition, copy, err) < 0)
        return -EBADMSG;
    return 0;
}

int definition_copy(const struct definition *definition, struct definition **ret_copy)
{
    struct definition *copy = malloc(sizeof(*copy));

    if (copy == NULL)
        return -ENOMEM;
    *copy = *definition;
    copy->doc = xmlCopyDoc(definition->doc, 1);
    if (copy->doc == NULL) {
        free(copy);
        return -ENOMEM;
    }
    *ret_copy = copy;
    return 0;
}

void definition_free(struct definition *definition)
{
    if (definition == NULL)
        return;
    xmlFreeDoc(definition->doc);
    free(definition);
}

int definition_format(const struct definition *definition, int id, struct buffer *out)
{
    xmlNode *root = definition_root(definition);
    int r;

    if (id >= 0)
        tree_set(root, "id", "%d", id);
    r = tree_format(root, 0, out);
    tree_unset(root, "id");
    return r;
}

int definition_update(struct definition *definition, struct err *err)
{
    int r = take_facts(definition, NULL, err);

    return r < 0 ? r : definition_fill(definition, NULL, err);
}

void definition_settle_cpu(struct definition *definition, const struct host *host)
{
    xmlNode *cpu = tree_first(definition_root(definition), "cpu");

    if (!tree_is(cpu, "mode", "host-model"))
        return;
    tree_set(cpu, "mode", "custom");
    tree_set(cpu, "match", "exact");
    tree_set(tree_child(cpu, "model"), "fallback", "forbid");
    tree_set_text(tree_first(cpu, "model"), "x86-64-v%u", host_level(host));
}

int definition_check_same(const struct definition *a, const struct definition *b, struct err *err)
{
    if (!uuid_equal(a->uuid, b->uuid))
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "the other document has another uuid");
    if (a->memory_kib != b->memory_kib)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "the domain has %llu KiB of memory, the other document %llu KiB",
                       (unsigned long long)a->memory_kib, (unsigned long long)b->memory_kib);
    if (a->cpus != b->cpus)
        return err_set(err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "the domain has %u CPUs, the other document %u", a->cpus, b->cpus);
    return 0;
}
