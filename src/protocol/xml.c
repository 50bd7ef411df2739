/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reader: libxml2's push into a tree, with what is dangerous taken away, and look-ups in it. */
#include "protocol/xml.h"

#include <errno.h>
#include <libxml/parser.h>
#include <libxml/xmlerror.h>

#include "base/err.h"
#include "base/text.h"

/* What libxml2 says in the first error, and that it was the document type that stopped us. */
struct parse {
    bool has_type;
    int line;
    char message[160];
};

static void refuse_type(void *ctx, const xmlChar *name, const xmlChar *external, const xmlChar *system)
{
    xmlParserCtxt *parser = ctx;
    ((struct parse *)parser->_private)->has_type = true;
    xmlStopParser(parser);
}

/* libxml2's messages end with a newline, and may have several lines. */
static void keep_error(struct parse *parse, const xmlError *error)
{
    parse->line = error != NULL ? error->line : 0;
    (void)text_format(parse->message, sizeof(parse->message), "%s",
                      error != NULL && error->message != NULL ? error->message : "not XML");
    parse->message[strcspn(parse->message, "\n")] = '\0';
}

static xmlDoc *parse_text(const char *text, size_t size, struct parse *ret_parse)
{
    xmlParserCtxt *parser = xmlNewParserCtxt();
    if (parser == NULL)
        return NULL;
    parser->_private = ret_parse;
    parser->sax->internalSubset = refuse_type;
    parser->sax->comment = NULL;
    parser->sax->processingInstruction = NULL;
    xmlDoc *doc = xmlCtxtReadMemory(parser, text, (int)size, NULL, NULL,
                                    XML_PARSE_NONET | XML_PARSE_NOENT | XML_PARSE_NOCDATA | XML_PARSE_NOBLANKS |
                                        XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (doc == NULL)
        keep_error(ret_parse, xmlCtxtGetLastError(parser));
    xmlFreeParserCtxt(parser);
    return doc;
}

int xml_read(const char *text, const char *root, xmlDoc **ret_doc, struct err *err)
{
    struct parse parse = {0};
    size_t size = strnlen(text, XML_SIZE_MAX + 1);
    if (size > XML_SIZE_MAX)
        return err_set(err, -E2BIG, "the XML document is larger than %u MiB", XML_SIZE_MAX / 1024 / 1024);
    xmlDoc *doc = parse_text(text, size, &parse);
    if (parse.has_type) {
        xmlFreeDoc(doc);
        return err_set(err, -EINVAL, "the XML document has a document type (<!DOCTYPE>), which is not accepted");
    }
    if (doc == NULL)
        return err_set(err, -EINVAL, "the XML document is broken in line %d: %s", parse.line, parse.message);
    if (!xml_is(xml_root(doc), root)) {
        err_set(err, -EINVAL, "the XML document is a <%s>, not a <%s>", xml_name(xml_root(doc)), root);
        xmlFreeDoc(doc);
        return -EINVAL;
    }
    *ret_doc = doc;
    return 0;
}

const xmlNode *xml_root(const xmlDoc *doc)
{
    return xmlDocGetRootElement(doc);
}

const char *xml_name(const xmlNode *node)
{
    return (const char *)node->name;
}

bool xml_is(const xmlNode *node, const char *name)
{
    return node != NULL && node->type == XML_ELEMENT_NODE && node->ns == NULL &&
           (name == NULL || text_equal(xml_name(node), name));
}

static const xmlNode *find_from(const xmlNode *node, const char *name)
{
    while (node != NULL && !xml_is(node, name))
        node = node->next;
    return node;
}

const xmlNode *xml_first(const xmlNode *parent, const char *name)
{
    return parent == NULL ? NULL : find_from(parent->children, name);
}

const xmlNode *xml_next(const xmlNode *node, const char *name)
{
    return find_from(node->next, name);
}

/* Entities are replaced and neighbouring text is joined while parsing, so there is one text node at most in front. */
static const char *text_of(const xmlNode *first)
{
    return first != NULL && first->type == XML_TEXT_NODE && first->content != NULL ? (const char *)first->content : "";
}

const char *xml_attribute(const xmlNode *node, const char *name)
{
    for (const xmlAttr *attribute = node == NULL ? NULL : node->properties; attribute != NULL;
         attribute = attribute->next)
        if (attribute->ns == NULL && text_equal((const char *)attribute->name, name))
            return text_of(attribute->children);
    return NULL;
}

const char *xml_content(const xmlNode *node)
{
    return node == NULL ? NULL : text_of(node->children);
}

const char *xml_child_content(const xmlNode *parent, const char *name)
{
    return xml_content(xml_first(parent, name));
}

static bool listed(const char *const *list, const char *name)
{
    while (list != NULL && *list != NULL && !text_equal(*list, name))
        list++;
    return list != NULL && *list != NULL;
}

static int check_attributes(const xmlNode *node, const char *const *allowed, struct err *err)
{
    for (const xmlAttr *attribute = node->properties; attribute != NULL; attribute = attribute->next)
        if (attribute->ns == NULL && !listed(allowed, (const char *)attribute->name))
            return err_set(err, -ENOTSUP, "attribute %s of element <%s> in line %ld is not supported", attribute->name,
                           xml_name(node), xmlGetLineNo(node));
    return 0;
}

int xml_check(const xmlNode *node, const struct xml_allowed *allowed, struct err *err)
{
    int r = check_attributes(node, allowed->attributes, err);
    if (r < 0)
        return r;
    for (const xmlNode *child = xml_first(node, NULL); child != NULL; child = xml_next(child, NULL)) {
        if (!listed(allowed->elements, xml_name(child)))
            return err_set(err, -ENOTSUP, "element <%s> in <%s> in line %ld is not supported", xml_name(child),
                           xml_name(node), xmlGetLineNo(child));
        if (listed(allowed->once, xml_name(child)) && xml_next(child, xml_name(child)) != NULL)
            return err_set(err, -ENOTSUP, "element <%s> in <%s> may be there once only", xml_name(child),
                           xml_name(node));
    }
    return 0;
}

int xml_dump(const xmlNode *node, struct buffer *out)
{
    xmlBuffer *text = xmlBufferCreate();
    /* A copy by itself declares the namespaces that the original has from further out. */
    xmlNode *copy = text == NULL ? NULL : xmlDocCopyNode((xmlNode *)node, node->doc, 1);
    int r = copy == NULL || xmlNodeDump(text, node->doc, copy, 1, 1) < 0 ? -ENOMEM : 0;
    if (r == 0)
        r = buffer_append(out, xmlBufferContent(text), (size_t)xmlBufferLength(text));
    xmlFreeNode(copy);
    xmlBufferFree(text);
    return r;
}
