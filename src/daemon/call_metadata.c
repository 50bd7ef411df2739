/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about a domain's title, description and metadata of other programs. */
#include <errno.h>

#include "base/text.h"
#include "daemon/call.h"
#include "daemon/change.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

enum { METADATA_DESCRIPTION, METADATA_TITLE, METADATA_ELEMENT };

static const char *element_of(int32_t type)
{
    return type == METADATA_TITLE ? "title" : "description";
}

/* The element of a namespace inside <metadata>. */
static xmlNode *find_element(const struct definition *definition, const char *uri)
{
    const xmlNode *metadata = xml_first(definition_root(definition), "metadata");

    for (xmlNode *at = metadata != NULL ? metadata->children : NULL; at != NULL; at = at->next) {
        if (at->type == XML_ELEMENT_NODE && at->ns != NULL && at->ns->href != NULL && text_equal((const char *)at->ns->href, uri))
            return at;
    }
    return NULL;
}

static int get_element(struct call *call, const struct definition *definition, const char *uri)
{
    struct buffer text = BUFFER_INIT(XDR_STRING_MAX);
    xmlNode *node = uri != NULL ? find_element(definition, uri) : NULL;

    if (node == NULL || tree_format(node, 0, &text) < 0)
        return err_set(&call->err, RPC_FAULT(RPC_NO_METADATA), "metadata not found: Requested metadata element is not present");
    xdr_put_string(&call->out, (const char *)text.data);
    buffer_fini(&text);
    return 0;
}

static int get_metadata(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    const struct definition *definition;
    const char *text;

    if (domain == NULL)
        return call->err.code;
    if ((call->arg[3].u & AFFECT_LIVE) != 0 && !domain_active(domain))
        return domain_need_active(domain, &call->err);
    definition = (call->arg[3].u & AFFECT_CONFIG) != 0 && domain->config != NULL ? domain->config : domain_definition(domain);
    if (call->arg[1].i == METADATA_ELEMENT)
        return get_element(call, definition, call->arg[2].s);
    text = xml_child_content(definition_root(definition), element_of(call->arg[1].i));
    if (text == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_METADATA), "metadata not found: Requested metadata element is not present");
    xdr_put_string(&call->out, text);
    return 0;
}

static void set_text(struct definition *definition, const char *element, const char *text)
{
    xmlNode *root = definition_root(definition), *node = tree_first(root, element);

    if (text == NULL || *text == 0) {
        tree_remove(node);
        return;
    }
    if (node == NULL)
        node = xmlAddPrevSibling(tree_first(root, "memory"), xmlNewDocNode(root->doc, NULL, (const xmlChar *)element, NULL));
    if (node == NULL)
        return;
    xmlNodeSetContent(node, NULL);
    xmlNodeAddContent(node, (const xmlChar *)text);
}

/* The new element comes without a prefix: it is given the one that the caller wants. */
static int set_element(struct definition *definition, const char *xml, const char *prefix, const char *uri, struct err *err)
{
    xmlNode *root = definition_root(definition), *metadata = tree_first(root, "metadata"), *node;
    xmlDoc *doc = NULL;
    xmlNs *ns;
    int r;

    if (uri == NULL || *uri == 0 || (xml != NULL && (prefix == NULL || *prefix == 0)))
        return err_set(err, -EINVAL, "metadata of other programs needs a URI and a key");
    if (xml == NULL) {
        tree_remove(find_element(definition, uri));
        return 0;
    }
    r = xml_read(xml, NULL, &doc, err);
    if (r < 0)
        return r == -EINVAL ? RPC_FAULT(RPC_XML_ERROR) : r;
    tree_remove(find_element(definition, uri));
    if (metadata == NULL)
        metadata = xmlAddPrevSibling(tree_first(root, "memory"), xmlNewDocNode(root->doc, NULL, (const xmlChar *)"metadata", NULL));
    node = metadata != NULL ? tree_graft(metadata, xml_root(doc)) : NULL;
    xmlFreeDoc(doc);
    ns = node != NULL ? xmlNewNs(node, (const xmlChar *)uri, (const xmlChar *)prefix) : NULL;
    if (ns == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    xmlSetNs(node, ns);
    return 0;
}

static int change(struct call *call, struct definition *definition)
{
    if (call->arg[1].i == METADATA_ELEMENT)
        return set_element(definition, call->arg[2].s, call->arg[3].s, call->arg[4].s, &call->err);
    if (call->arg[1].i == METADATA_TITLE && call->arg[2].s != NULL && strchr(call->arg[2].s, '\n') != NULL)
        return err_set(&call->err, -EINVAL, "metadata title can't contain newlines");
    set_text(definition, element_of(call->arg[1].i), call->arg[2].s);
    return 0;
}

static void tell(struct domain *domain, int32_t type, const char *uri)
{
    struct buffer payload = BUFFER_INIT(8192);
    struct xdr_writer writer = {.out = &payload};

    rpc_put_domain(&writer, domain_name(domain), domain_uuid(domain), domain->id);
    xdr_put_i32(&writer, type);
    xdr_put_optional_string(&writer, uri);
    events_send(domain->daemon, EVENT_DOMAIN, 23, domain_uuid(domain), REMOTE_DOMAIN_EVENT_METADATA_CHANGE, &payload);
    buffer_fini(&payload);
}

static int set_metadata(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    uint32_t flags = call->arg[5].u;
    int r = domain == NULL ? call->err.code : call_check_flags(call, flags, AFFECT_LIVE | AFFECT_CONFIG);

    if (r < 0)
        return r;
    if (call->arg[1].i < METADATA_DESCRIPTION || call->arg[1].i > METADATA_ELEMENT)
        return err_set(&call->err, -EINVAL, "unknown metadata type %d", call->arg[1].i);
    r = change_settle_flags(domain, &flags, &call->err);
    if (r == 0 && (flags & AFFECT_LIVE) != 0)
        r = change(call, domain->live);
    if (r == 0 && (flags & AFFECT_LIVE) != 0)
        domain_write_status(domain);
    if (r == 0 && (flags & AFFECT_CONFIG) != 0)
        r = change(call, domain->config);
    if (r == 0 && (flags & AFFECT_CONFIG) != 0)
        r = domain_write_config(domain, &call->err);
    if (r == 0)
        tell(domain, call->arg[1].i, call->arg[1].i == METADATA_ELEMENT ? call->arg[4].s : NULL);
    return r;
}

const struct call_handler metadata_calls[] = {
    {REMOTE_DOMAIN_GET_METADATA, get_metadata},
    {REMOTE_DOMAIN_SET_METADATA, set_metadata},
    {0, NULL},
};
