/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Elements of other namespaces in a <network> document: Ferry's overlay, libvirt's options of dnsmasq; others are kept. */
#include <ctype.h>
#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "network/definition_private.h"

static const xmlNode *next_foreign(const xmlNode *node)
{
    while (node != NULL && (node->type != XML_ELEMENT_NODE || node->ns == NULL))
        node = node->next;
    return node;
}

static bool is_of(const xmlNode *node, const char *namespace, const char *name)
{
    return text_equal((const char *)node->ns->href, namespace) && text_equal(xml_name(node), name);
}

/* The children of a foreign element, all of which must be of one name of its namespace. */
static int check_children(const xmlNode *node, const char *name, struct err *err)
{
    int r = 0;
    for (const xmlNode *child = next_foreign(node->children); r == 0 && child != NULL; child = next_foreign(child->next)) {
        if (!is_of(child, (const char *)node->ns->href, name))
            r = err_set(err, -ENOTSUP, "element <%s> in <%s> in line %ld is not supported; there is <%s>", xml_name(child), xml_name(node),
                        xmlGetLineNo(child), name);
        else if (next_foreign(child->children) != NULL)
            r = err_set(err, -ENOTSUP, "<%s> in line %ld has nothing inside", name, xmlGetLineNo(child));
    }
    return r;
}

static int parse_peer(const xmlNode *node, struct network_overlay *overlay, struct err *err)
{
    struct ip_address peer;
    int r = xml_check(node, ALLOW_ATTRIBUTES("address"), err);
    if (r == 0)
        r = need_address(node, "address", &peer, err);
    return r < 0 ? r : LIST_APPEND(&overlay->peers, &peer, err);
}

static int parse_overlay(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_overlay *overlay = &definition->overlay;
    int r = xml_check(node, ALLOW_ATTRIBUTES("vni", "local", "port"), err);
    if (r == 0 && overlay->there)
        return err_set(err, -ENOTSUP, "element <overlay> in <network> may be there once only");
    overlay->there = true;
    overlay->port = VXLAN_PORT;
    if (r == 0)
        r = read_number(node, "vni", 0xffffff, &overlay->vni, err);
    if (r == 0)
        r = read_number(node, "port", 65535, &overlay->port, err);
    if (r == 0)
        r = need_address(node, "local", &overlay->local, err);
    if (r == 0)
        r = check_children(node, "peer", err);
    for (const xmlNode *child = next_foreign(node->children); r == 0 && child != NULL; child = next_foreign(child->next))
        r = parse_peer(child, overlay, err);
    return r;
}

static int parse_option(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_option option = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("value"), err);
    if (r == 0)
        r = read_text(node, "value", option.text, sizeof(option.text), err);
    for (const char *c = option.text; r == 0 && *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            r = err_set(err, -EINVAL, "a dnsmasq option can't have control characters");
    if (r == 0 && option.text[0] == '\0')
        r = err_set(err, -EINVAL, "<option> in line %ld has no value", xmlGetLineNo(node));
    return r < 0 ? r : LIST_APPEND(&definition->dnsmasq_options, &option, err);
}

static int parse_options(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, &(struct xml_allowed){NULL}, err);
    if (r == 0)
        r = check_children(node, "option", err);
    for (const xmlNode *child = next_foreign(node->children); r == 0 && child != NULL; child = next_foreign(child->next))
        r = parse_option(child, definition, err);
    return r;
}

static int keep(const xmlNode *node, struct buffer *kept, struct err *err)
{
    int r = kept->size > 0 ? buffer_append(kept, "\n  ", 3) : 0;
    if (r == 0)
        r = xml_dump(node, kept);
    return r < 0 ? err_set(err, r, "element <%s> can't be kept: %s", xml_name(node), strerror(-r)) : 0;
}

static int take(const xmlNode *node, struct network_definition *definition, struct buffer *kept, struct err *err)
{
    if (is_of(node, NETWORK_NAMESPACE, "overlay"))
        return parse_overlay(node, definition, err);
    if (is_of(node, NETWORK_NAMESPACE_DNSMASQ, "options"))
        return parse_options(node, definition, err);
    if (text_equal((const char *)node->ns->href, NETWORK_NAMESPACE))
        return err_set(err, -ENOTSUP, "element <%s> in line %ld is none of namespace " NETWORK_NAMESPACE "; there is <overlay>",
                       xml_name(node), xmlGetLineNo(node));
    return keep(node, kept, err);
}

/* Further in there is no place to keep anything. */
static int refuse_lost(const xmlNode *node, bool outermost, struct err *err)
{
    const xmlNode *foreign = outermost ? NULL : next_foreign(node->children);
    int r = 0;
    if (foreign != NULL)
        r = err_set(err, -ENOTSUP, "element <%s> of namespace %s in <%s> would be lost there; <metadata> keeps it", xml_name(foreign),
                    foreign->ns->href, xml_name(node));
    for (const xmlAttr *attribute = node->properties; r == 0 && attribute != NULL; attribute = attribute->next)
        if (attribute->ns != NULL)
            r = err_set(err, -ENOTSUP, "attribute %s of namespace %s in <%s> would be lost", attribute->name, attribute->ns->href,
                        xml_name(node));
    for (const xmlNode *child = xml_first(node, NULL); r == 0 && child != NULL; child = xml_next(child, NULL))
        if (!outermost || !xml_is(child, "metadata"))
            r = refuse_lost(child, false, err);
    return r;
}

int parse_foreign(const xmlNode *root, struct network_definition *definition, struct err *err)
{
    struct buffer kept = BUFFER_INIT(XML_SIZE_MAX);
    int r = refuse_lost(root, true, err);
    for (const xmlNode *node = next_foreign(root->children); r == 0 && node != NULL; node = next_foreign(node->next))
        r = take(node, definition, &kept, err);
    if (r == 0 && kept.size > 0)
        definition->foreign = (char *)kept.data;
    else
        buffer_fini(&kept);
    return r;
}

int check_overlay(const struct network_definition *definition, struct err *err)
{
    const struct network_overlay *overlay = &definition->overlay;
    if (!overlay->there)
        return 0;
    if (definition->forward == NETWORK_BRIDGE)
        return err_set(err, -EINVAL, "<overlay> has no meaning with <forward mode='bridge'>: the bridge belongs to the host");
    if (overlay->vni == 0)
        return err_set(err, -EINVAL, "<overlay> needs a vni from 1 to 16777215, the same on all hosts");
    if (strlen(definition->bridge) + sizeof(NETWORK_TUNNEL_SUFFIX) > IFNAMSIZ)
        return err_set(err, -EINVAL, "with an <overlay> the bridge's name has at most %zu characters: its tunnel is called %s%s",
                       IFNAMSIZ - sizeof(NETWORK_TUNNEL_SUFFIX), definition->bridge, NETWORK_TUNNEL_SUFFIX);
    if (overlay->port == 0)
        return err_set(err, -EINVAL, "port '0' of <overlay> is none");
    if (overlay->peers.count == 0)
        return err_set(err, -EINVAL, "<overlay> has no <peer address='...'/>: the other hosts' addresses");
    for (size_t i = 0; i < overlay->peers.count; i++) {
        const struct ip_address *peer = &overlay->peers.items[i];
        if (peer->family != overlay->local.family)
            return err_set(err, -EINVAL, "the peer %s of <overlay> and local='%s' are of different families", ip_text(peer).text,
                           ip_text(&overlay->local).text);
        if (ip_compare(peer, &overlay->local) == 0)
            return err_set(err, -EINVAL, "the peer %s of <overlay> is this host itself: local says so", ip_text(peer).text);
        for (size_t j = 0; j < i; j++)
            if (ip_compare(peer, &overlay->peers.items[j]) == 0)
                return err_set(err, -EINVAL, "the peer %s stands twice in <overlay>", ip_text(peer).text);
    }
    return 0;
}
