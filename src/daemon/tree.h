/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XML trees that are changed: what protocol/xml.h, which reads, does not have. */
#ifndef FERRY_DAEMON_TREE_H
#define FERRY_DAEMON_TREE_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

struct buffer;

/* Like xml_first() and xml_next(), for writing. */
xmlNode *tree_first(const xmlNode *parent, const char *name);
xmlNode *tree_next(const xmlNode *node, const char *name);
/* The first child element of that name, made as the last one if there is none; NULL: out of memory. */
xmlNode *tree_child(xmlNode *parent, const char *name);
/* A new child element at the end. */
xmlNode *tree_add(xmlNode *parent, const char *name);
void tree_remove(xmlNode *node); /* accepts NULL */

/* Sets an attribute, or the whole text, formatted. A NULL node is left alone, so that calls can be nested without a check each; the
 * outermost caller checks what it needs. */
__attribute__((format(printf, 3, 4))) void tree_set(xmlNode *node, const char *attribute, const char *format, ...);
__attribute__((format(printf, 2, 3))) void tree_set_text(xmlNode *node, const char *format, ...);
void tree_unset(xmlNode *node, const char *attribute);

/* A copy of node, from whatever document, as parent's last child. NULL: out of memory. */
xmlNode *tree_graft(xmlNode *parent, const xmlNode *node);

/* Appends the element as libvirt writes documents: two blanks a level, attributes in single quotes. -ENOBUFS, -ENOMEM. */
int tree_format(const xmlNode *node, unsigned level, struct buffer *out);

/* An unsigned number in an attribute: false when it is not there, or none. */
bool tree_number(const xmlNode *node, const char *attribute, uint64_t *ret_value);

/* Attribute compared with a value; false when absent. */
bool tree_is(const xmlNode *node, const char *attribute, const char *value);

#endif
