/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the definition files: readers of the single entries, shared by documents and by the fragments of an
 * update. */
#ifndef FERRY_NETWORK_DEFINITION_PRIVATE_H
#define FERRY_NETWORK_DEFINITION_PRIVATE_H

#include "network/definition.h"
#include "protocol/xml.h"

#define MAC_FORMAT "%02x:%02x:%02x:%02x:%02x:%02x"
#define MAC_ARGUMENTS(mac) (mac)[0], (mac)[1], (mac)[2], (mac)[3], (mac)[4], (mac)[5]

/* network_definition_parse() from a <network> element. */
int network_definition_read(const xmlNode *root, struct network_definition **ret_definition, struct err *err);

/* Attributes. One that may be absent leaves the output alone then. */
int copy_text(const xmlNode *node, const char *what, const char *text, char *out, size_t size, struct err *err);
int read_text(const xmlNode *node, const char *attribute, char *out, size_t size, struct err *err);
int read_address(const xmlNode *node, const char *attribute, struct ip_address *ret_address, struct err *err);
int need_address(const xmlNode *node, const char *attribute, struct ip_address *ret_address, struct err *err);
int read_number(const xmlNode *node, const char *attribute, unsigned max, unsigned *ret_value, struct err *err);
int read_choice(const xmlNode *node, const char *attribute, const char *yes, const char *no, bool *ret_value, struct err *err);
int read_mac(const xmlNode *node, const char *attribute, bool *ret_has, uint8_t ret_mac[static 6], struct err *err);

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define ALLOW_ATTRIBUTES(...) (&(struct xml_allowed){.attributes = NAMES(__VA_ARGS__)})

/* The parts of a document. */
int parse_dns(const xmlNode *node, struct network_definition *definition, struct err *err);
int parse_ip(const xmlNode *node, struct network_definition *definition, struct err *err);
int parse_route(const xmlNode *node, struct network_definition *definition, struct err *err);
/* Elements of other namespaces: read, kept, or refused. */
int parse_foreign(const xmlNode *root, struct network_definition *definition, struct err *err);

int check_ip(const struct network_definition *definition, struct err *err);
int check_overlay(const struct network_definition *definition, struct err *err);
/* Text that ends up in dnsmasq's configuration: nothing that could end a line, a value or a quotation there. */
bool plain_text(const char *text);
#define PLAIN_TEXT_FORBIDS "\" \\ # , or control characters"

/* Entries, of an update too. */
int read_range(const xmlNode *node, struct network_range *ret_range, struct err *err);
int read_host(const xmlNode *node, struct network_host *ret_host, struct err *err);
int read_txt(const xmlNode *node, struct network_dns_txt *ret_txt, struct err *err);
int read_srv(const xmlNode *node, struct network_dns_srv *ret_srv, struct err *err);
/* All names of one <host>, appended to the definition. */
int read_dns_host(const xmlNode *node, struct network_definition *definition, struct err *err);

/* Inserts a copy of the item (size bytes) before index `at` of a list. -ENOMEM, and -E2BIG past NETWORK_ENTRIES_MAX. */
int list_insert(void *items_address, size_t *count, size_t size, size_t at, const void *item, struct err *err);
#define LIST_APPEND(list, item, err) \
    list_insert(&(list)->items, &(list)->count, sizeof(*(item)), (list)->count, item, err)
#define LIST_REMOVE(list, at)                                                                                       \
    do {                                                                                                            \
        memmove((list)->items + (at), (list)->items + (at) + 1, ((list)->count - (at)-1) * sizeof(*(list)->items)); \
        (list)->count--;                                                                                            \
    } while (0)

#endif
