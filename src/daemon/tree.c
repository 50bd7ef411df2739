/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing and writing XML trees. */
#include "daemon/tree.h"

#include <errno.h>
#include <stdarg.h>

#include "base/buffer.h"
#include "base/text.h"
#include "protocol/xml.h"

#define TEXT_MAX 4096

xmlNode *tree_first(const xmlNode *parent, const char *name)
{
    return (xmlNode *)xml_first(parent, name);
}

xmlNode *tree_next(const xmlNode *node, const char *name)
{
    return (xmlNode *)xml_next(node, name);
}

xmlNode *tree_add(xmlNode *parent, const char *name)
{
    return parent != NULL ? xmlNewChild(parent, NULL, (const xmlChar *)name, NULL) : NULL;
}

xmlNode *tree_child(xmlNode *parent, const char *name)
{
    xmlNode *child = parent != NULL ? tree_first(parent, name) : NULL;

    return child != NULL ? child : tree_add(parent, name);
}

void tree_remove(xmlNode *node)
{
    if (node == NULL)
        return;
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

void tree_set(xmlNode *node, const char *attribute, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    if (node == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    xmlSetProp(node, (const xmlChar *)attribute, (const xmlChar *)text);
}

void tree_set_text(xmlNode *node, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    if (node == NULL)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    xmlNodeSetContent(node, NULL);
    xmlNodeAddContent(node, (const xmlChar *)text);
}

void tree_unset(xmlNode *node, const char *attribute)
{
    xmlUnsetProp(node, (const xmlChar *)attribute);
}

xmlNode *tree_graft(xmlNode *parent, const xmlNode *node)
{
    xmlNode *copy = xmlDocCopyNode((xmlNode *)node, parent->doc, 1);

    return copy != NULL ? xmlAddChild(parent, copy) : NULL;
}

static void put_escaped(struct buffer *out, const char *text, bool attribute)
{
    for (; *text != 0; text++) {
        const char *escaped = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : NULL;

        if (*text == '\r')
            escaped = "&#13;";
        if (attribute && *text == '\'')
            escaped = "&apos;";
        if (attribute && (*text == '\n' || *text == '\t'))
            escaped = *text == '\n' ? "&#10;" : "&#9;";
        if (escaped != NULL)
            buffer_printf(out, "%s", escaped);
        else
            buffer_append(out, text, 1);
    }
}

static void put_name(struct buffer *out, const xmlNs *ns, const xmlChar *name)
{
    if (ns != NULL && ns->prefix != NULL)
        buffer_printf(out, "%s:", ns->prefix);
    buffer_printf(out, "%s", name);
}

static void put_start(const xmlNode *node, struct buffer *out)
{
    buffer_printf(out, "<");
    put_name(out, node->ns, node->name);
    for (const xmlNs *ns = node->nsDef; ns != NULL; ns = ns->next) {
        buffer_printf(out, ns->prefix != NULL ? " xmlns:%s='" : " xmlns%s='", ns->prefix != NULL ? (const char *)ns->prefix : "");
        put_escaped(out, ns->href != NULL ? (const char *)ns->href : "", true);
        buffer_printf(out, "'");
    }
    for (const xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next) {
        const xmlNode *value = attribute->children;

        buffer_printf(out, " ");
        put_name(out, attribute->ns, attribute->name);
        buffer_printf(out, "='");
        put_escaped(out, value != NULL && value->content != NULL ? (const char *)value->content : "", true);
        buffer_printf(out, "'");
    }
}

static bool has_elements(const xmlNode *node)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE)
            return true;
    }
    return false;
}

static bool has_text(const xmlNode *node)
{
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        const char *content = child->type != XML_ELEMENT_NODE ? (const char *)child->content : NULL;

        if (content != NULL && content[strspn(content, " \t\r\n")] != 0)
            return true;
    }
    return false;
}

static void put_end(const xmlNode *node, struct buffer *out)
{
    buffer_printf(out, "</");
    put_name(out, node->ns, node->name);
    buffer_printf(out, ">");
}

/* As it stands, blanks included. */
static void put_inline(const xmlNode *node, struct buffer *out)
{
    put_start(node, out);
    buffer_printf(out, node->children == NULL ? "/>" : ">");
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE)
            put_inline(child, out);
        else if (child->content != NULL)
            put_escaped(out, (const char *)child->content, false);
    }
    if (node->children != NULL)
        put_end(node, out);
}

/* Where text stands between elements, which it does in other people's alone, it is left alone; elsewhere blanks between elements are the
 * indentation of before. */
int tree_format(const xmlNode *node, unsigned level, struct buffer *out)
{
    buffer_printf(out, "%*s", (int)level * 2, "");
    if (!has_elements(node) || has_text(node)) {
        put_inline(node, out);
        return buffer_printf(out, "\n");
    }
    put_start(node, out);
    buffer_printf(out, ">\n");
    for (const xmlNode *child = node->children; child != NULL; child = child->next) {
        if (child->type == XML_ELEMENT_NODE)
            tree_format(child, level + 1, out);
    }
    buffer_printf(out, "%*s", (int)level * 2, "");
    put_end(node, out);
    return buffer_printf(out, "\n");
}

bool tree_number(const xmlNode *node, const char *attribute, uint64_t *ret_value)
{
    const char *text = xml_attribute(node, attribute);

    return text != NULL && text_parse_u64(text, ret_value) == 0;
}

bool tree_is(const xmlNode *node, const char *attribute, const char *value)
{
    const char *text = xml_attribute(node, attribute);

    return text != NULL && text_equal(text, value);
}
