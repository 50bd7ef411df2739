/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The definition of a domain: libvirt's domain XML (libvirt.org/formatdomain.html), checked and made complete.
 *
 * The document itself is kept, so that what a person or a program put into it comes back as it was: metadata, titles, elements of
 * other namespaces. What Ferry's VMs don't have is refused when it comes, by a sentence that names it. */
#ifndef FERRY_DAEMON_DEFINITION_H
#define FERRY_DAEMON_DEFINITION_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/uuid.h"

struct buffer;
struct err;
struct host;

#define DOMAIN_NAME_MAX 200 /* bytes */

struct definition {
    xmlDoc *doc;
    char name[DOMAIN_NAME_MAX + 1];
    uint8_t uuid[UUID_SIZE];
    bool kvm;                 /* type kvm: engine kvm; else dbt */
    uint64_t memory_kib;      /* what the VM is built with */
    uint64_t current_kib;     /* what the balloon leaves of it */
    unsigned cpus;
};

/* Reads a document and fills in what it leaves open (UUID, MAC and PCI addresses, ...). RPC_FAULTs with sentences. */
int definition_parse(const char *xml, const struct host *host, struct definition **ret_definition, struct err *err);
/* A copy of a <domain> inside of another document that this function wrote before: ret_definition is zeroed before. */
int definition_from_node(const xmlNode *node, struct definition *ret_definition, struct err *err);
int definition_copy(const struct definition *definition, struct definition **ret_copy);
void definition_free(struct definition *definition); /* accepts NULL */

/* Appends the document; id >= 0: with that id. */
int definition_format(const struct definition *definition, int id, struct buffer *out);

/* The fields above follow the document after it was changed; missing addresses are filled in. */
int definition_update(struct definition *definition, struct err *err);

xmlNode *definition_root(const struct definition *definition);
xmlNode *definition_devices(const struct definition *definition);

/* A document with one device, as attach-device has it, checked; to be added: completed as if it stood in the definition. The node
 * belongs to a document of its own, *ret_doc, which the caller frees. */
int definition_parse_device(const char *xml, bool to_add, xmlDoc **ret_doc, struct err *err);

/* The device of the definition that this one describes: a disk by its target, an interface by its MAC address, or without one as the
 * only one of its type and source. RPC_FAULT(RPC_DEVICE_MISSING), and other sentences. */
int definition_find_device(const struct definition *definition, const xmlNode *device, xmlNode **ret_found, struct err *err);

/* Adds a copy of the device; refuses a second of the same target or MAC. */
int definition_add_device(struct definition *definition, const xmlNode *device, xmlNode **ret_added, struct err *err);

/* Takes away what belongs to a running domain only: aliases, names of interfaces that were made up, terminals. */
void definition_drop_live_facts(struct definition *definition);

/* A CPU of mode host-model becomes the highest model that this host offers, by name: it stays the same wherever the domain moves. */
void definition_settle_cpu(struct definition *definition, const struct host *host);

/* PCI slot of a disk or interface. */
unsigned device_slot(const xmlNode *device);

/* Whether another definition is the same machine for a VM that moves or is restored: a sentence about the first difference. */
int definition_check_same(const struct definition *a, const struct definition *b, struct err *err);

/* Checks a whole tree against what Ferry knows: definition_schema.c. */
int schema_check(const xmlNode *root, const char *path, struct err *err);

#endif
