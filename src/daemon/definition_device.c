/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Single devices: reading them, finding them in a definition, adding them. */
#include <errno.h>
#include <strings.h>

#include "base/err.h"
#include "base/text.h"
#include "daemon/definition_private.h"
#include "daemon/tree.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

int definition_parse_device(const char *xml, bool to_add, xmlDoc **ret_doc, struct err *err)
{
    xmlDoc *doc = NULL;
    int r = xml_read(xml, NULL, &doc, err);
    char path[160];

    if (r < 0)
        return r == -EINVAL ? RPC_FAULT(RPC_XML_ERROR) : r;
    text_format(path, sizeof(path), "domain/devices/%.100s", xml_name(xml_root(doc)));
    r = schema_check(xml_root(doc), path, err);
    if (r == 0 && to_add)
        r = device_fill((xmlNode *)xml_root(doc), err);
    if (r < 0) {
        xmlFreeDoc(doc);
        return r;
    }
    *ret_doc = doc;
    return 0;
}

static bool same_attribute(const xmlNode *a, const xmlNode *b, const char *child, const char *attribute)
{
    const char *one = xml_attribute(xml_first(a, child), attribute), *two = xml_attribute(xml_first(b, child), attribute);

    return one != NULL && two != NULL && strcasecmp(one, two) == 0;
}

/* device: what somebody describes; other: one that is there. */
static bool is_same(const xmlNode *device, const xmlNode *other)
{
    const char *type = xml_attribute(device, "type");

    if (xml_is(device, "disk"))
        return same_attribute(device, other, "target", "dev");
    if (xml_first(device, "mac") != NULL)
        return same_attribute(device, other, "mac", "address");
    return type != NULL && tree_is(other, "type", type) && (text_equal(type, "user") || same_attribute(device, other, "source", type));
}

static const char *describe(const xmlNode *device)
{
    const char *name = xml_is(device, "disk") ? xml_attribute(xml_first(device, "target"), "dev")
                                              : xml_attribute(xml_first(device, "mac"), "address");

    return name != NULL ? name : "without a name";
}

static bool pluggable(const xmlNode *device)
{
    return xml_is(device, "disk") || xml_is(device, "interface");
}

int definition_find_device(const struct definition *definition, const xmlNode *device, xmlNode **ret_found, struct err *err)
{
    xmlNode *at = tree_first(definition_devices(definition), xml_name(device));

    if (!pluggable(device))
        return err_set(err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED), "a device <%s> cannot be attached or detached; disks and interfaces can",
                       xml_name(device));
    while (at != NULL && !is_same(device, at))
        at = tree_next(at, xml_name(device));
    for (const xmlNode *more = at != NULL ? xml_next(at, xml_name(device)) : NULL; more != NULL; more = xml_next(more, xml_name(device))) {
        if (is_same(device, more))
            return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "multiple devices match; give the <mac> of the interface");
    }
    if (at == NULL)
        return err_set(err, RPC_FAULT(RPC_DEVICE_MISSING), "device not found: the domain has no %s %s", xml_name(device),
                       describe(device));
    *ret_found = at;
    return 0;
}

int definition_add_device(struct definition *definition, const xmlNode *device, xmlNode **ret_added, struct err *err)
{
    xmlNode *devices = definition_devices(definition), *last = NULL, *added, *found;
    int r;

    if (!pluggable(device))
        return err_set(err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED), "a device <%s> cannot be attached or detached; disks and interfaces can",
                       xml_name(device));
    if (definition_find_device(definition, device, &found, NULL) == 0)
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "%s %s already exists", xml_name(device), describe(device));
    added = xmlDocCopyNode((xmlNode *)device, definition->doc, 1);
    if (added == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    for (xmlNode *at = tree_first(devices, xml_name(device)); at != NULL; at = tree_next(at, xml_name(device)))
        last = at;
    added = last != NULL ? xmlAddNextSibling(last, added) : xmlAddChild(devices, added);
    r = definition_update(definition, err);
    if (r < 0) {
        tree_remove(added);
        return r;
    }
    *ret_added = added;
    return 0;
}
