/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Definitions of networks: their memory, and the words that several files share. */
#include "network/definition.h"

#include <ctype.h>
#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "network/definition_private.h"
#include "protocol/xml.h"

void network_definition_free(struct network_definition *definition)
{
    if (definition == NULL)
        return;
    free(definition->ip4.ranges.items);
    free(definition->ip4.hosts.items);
    free(definition->ip6.ranges.items);
    free(definition->ip6.hosts.items);
    free(definition->routes.items);
    free(definition->dns_hosts.items);
    free(definition->dns_txt.items);
    free(definition->dns_srv.items);
    free(definition->forwarders.items);
    free(definition->dnsmasq_options.items);
    free(definition->overlay.peers.items);
    free(definition->metadata);
    free(definition->foreign);
    free(definition);
}

/* By way of the document: a copy has what the document has, whatever members come later. */
int network_definition_copy(const struct network_definition *definition, struct network_definition **ret_copy)
{
    struct buffer text = BUFFER_INIT(XML_SIZE_MAX);
    int r = network_definition_format(definition, &text);
    if (r == 0)
        r = network_definition_parse((const char *)text.data, ret_copy, NULL);
    buffer_fini(&text);
    return r;
}

int list_insert(void *items_address, size_t *count, size_t size, size_t at, const void *item, struct err *err)
{
    char *items;
    memcpy(&items, items_address, sizeof(items));
    if (*count >= NETWORK_ENTRIES_MAX)
        return err_set(err, -E2BIG, "the network has more than %d entries of one kind", NETWORK_ENTRIES_MAX);
    items = realloc(items, (*count + 1) * size);
    if (items == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    memcpy(items_address, &items, sizeof(items));
    memmove(items + (at + 1) * size, items + at * size, (*count - at) * size);
    memcpy(items + at * size, item, size);
    (*count)++;
    return 0;
}

const char *network_forward_name(enum network_forward forward)
{
    static const char *const names[] = {"isolated", "nat", "route", "open", "bridge"};
    return names[forward];
}

bool network_interface_name_valid(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length >= IFNAMSIZ || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
        return false;
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && *text != '.' && *text != '_' && *text != '-')
            return false;
    return true;
}

bool network_domain_valid(const char *text)
{
    size_t label = 0, length = strlen(text);
    if (length == 0 || length > 253)
        return false;
    for (; *text != '\0'; text++) {
        bool dot = *text == '.';
        if (dot ? label == 0 : !isalnum((unsigned char)*text) && *text != '-' && *text != '_')
            return false;
        label = dot ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return true;
}
