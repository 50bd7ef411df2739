/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XML as libvirt's clients send and expect it: a bounded reader over libxml2's tree, and a writer.
 *
 * Documents come from people and from the network: a document type (and with it every entity of one's own) is refused,
 * nothing is fetched, sizes have a maximum. Comments and processing instructions are dropped. Our own elements have no
 * namespace; an element with one belongs to somebody else and is kept by whoever wants to keep it (xml_dump). */
#ifndef FERRY_PROTOCOL_XML_H
#define FERRY_PROTOCOL_XML_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

struct err;

#define XML_SIZE_MAX (4u * 1024 * 1024) /* bytes of one document: what libvirt's RPC allows for a string */

/* Parses text, whose outermost element must be <root>. Free with xmlFreeDoc(). -EINVAL with a sentence that names the
 * line, -E2BIG, -ENOMEM. */
int xml_read(const char *text, const char *root, xmlDoc **ret_doc, struct err *err);
const xmlNode *xml_root(const xmlDoc *doc);

/* The first child element called name (any if NULL) without namespace, and the next one behind it; NULL: none. */
const xmlNode *xml_first(const xmlNode *parent, const char *name);
const xmlNode *xml_next(const xmlNode *node, const char *name);

bool xml_is(const xmlNode *node, const char *name);
const char *xml_name(const xmlNode *node);

/* Text that lives as long as the document. attribute: NULL when absent. content: "" when empty, white space around it
 * kept. child_content: that of the first child of that name, NULL when there is none. All accept a NULL node (NULL). */
const char *xml_attribute(const xmlNode *node, const char *name);
const char *xml_content(const xmlNode *node);
const char *xml_child_content(const xmlNode *parent, const char *name);

/* Refuses what nobody would read: a child element or attribute without namespace that is not in the lists (which end
 * with NULL; a NULL list allows none), or a second one of an element in `once`. -ENOTSUP with a sentence that names it.
 */
struct xml_allowed {
    const char *const *attributes;
    const char *const *elements;
    const char *const *once; /* of those in elements */
};
int xml_check(const xmlNode *node, const struct xml_allowed *allowed, struct err *err);

/* Appends the element and all in it as text, with the namespaces that it needs. -ENOBUFS, -ENOMEM. */
int xml_dump(const xmlNode *node, struct buffer *out);

/* Writes a document, two spaces a level, attributes in single quotes as libvirt does. The first failure is kept, and
 * the rest does nothing: look at xml_writer_end()'s result only.
 *
 *     xml_open(&w, "bridge");
 *     xml_put(&w, "name", "%s", name);
 *     xml_close(&w);                        // <bridge name='virbr0'/>
 */
#define XML_DEPTH_MAX 16

struct xml_writer {
    struct buffer *out;
    const char *open[XML_DEPTH_MAX]; /* must be string constants */
    unsigned depth;
    bool in_tag; /* the last tag is still without its ">" */
    int result;
};

void xml_writer_init(struct xml_writer *writer, struct buffer *out);
void xml_open(struct xml_writer *writer, const char *name);
__attribute__((format(printf, 3, 4))) void xml_put(struct xml_writer *writer, const char *attribute, const char *format,
                                                   ...);
void xml_close(struct xml_writer *writer);
/* Closes an element that has attributes and this text alone. */
__attribute__((format(printf, 2, 3))) void xml_close_text(struct xml_writer *writer, const char *format, ...);
/* <name>text</name> */
__attribute__((format(printf, 3, 4))) void xml_text(struct xml_writer *writer, const char *name, const char *format,
                                                    ...);
/* Text that is XML already: what xml_dump() gave. NULL: nothing. */
void xml_raw(struct xml_writer *writer, const char *xml);
/* 0, or the first failure: -ENOBUFS, -ENOMEM. */
int xml_writer_end(struct xml_writer *writer);

#endif
