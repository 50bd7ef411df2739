/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net-update: one entry of a definition added, changed or taken away by an XML fragment. */
#include <errno.h>

#include "base/err.h"
#include "network/definition_private.h"

static const char *section_element(unsigned section)
{
    switch (section) {
    case NETWORK_SECTION_DHCP_HOST:
    case NETWORK_SECTION_DNS_HOST:
        return "host";
    case NETWORK_SECTION_DHCP_RANGE:
        return "range";
    case NETWORK_SECTION_DNS_TXT:
        return "txt";
    case NETWORK_SECTION_DNS_SRV:
        return "srv";
    default:
        return NULL;
    }
}

static int missing(const char *element, struct err *err)
{
    return err_set(err, -ENOENT, "the network has no such <%s>", element);
}

/* The entry that a fragment means: the first with the same key; each given part of the key must be the same. */
static bool same_host(const struct network_host *a, const struct network_host *b)
{
    if (b->has_mac)
        return a->has_mac && memcmp(a->mac, b->mac, 6) == 0;
    if (b->name[0] != '\0')
        return strcasecmp(a->name, b->name) == 0 && (b->ip == 0 || a->ip == b->ip);
    return b->ip != 0 && a->ip == b->ip;
}

static int update_host(struct network_definition *definition, unsigned command, const xmlNode *node, struct err *err)
{
    struct network_host host;
    size_t at = 0;
    int r = read_host(node, &host, err);
    if (r < 0)
        return r;
    definition->has_dhcp = true;
    if (command == NETWORK_UPDATE_ADD_LAST || command == NETWORK_UPDATE_ADD_FIRST)
        return list_insert(&definition->hosts.items, &definition->hosts.count, sizeof(host),
                           command == NETWORK_UPDATE_ADD_LAST ? definition->hosts.count : 0, &host, err);
    while (at < definition->hosts.count && !same_host(&definition->hosts.items[at], &host))
        at++;
    if (at == definition->hosts.count)
        return missing("host", err);
    if (command == NETWORK_UPDATE_MODIFY)
        definition->hosts.items[at] = host;
    else
        LIST_REMOVE(&definition->hosts, at);
    return 0;
}

static int update_range(struct network_definition *definition, unsigned command, const xmlNode *node, struct err *err)
{
    struct network_range range;
    size_t at = 0;
    int r = read_range(node, &range, err);
    if (r < 0)
        return r;
    definition->has_dhcp = true;
    if (command != NETWORK_UPDATE_DELETE)
        return list_insert(&definition->ranges.items, &definition->ranges.count, sizeof(range),
                           command == NETWORK_UPDATE_ADD_LAST ? definition->ranges.count : 0, &range, err);
    while (at < definition->ranges.count &&
           (definition->ranges.items[at].start != range.start || definition->ranges.items[at].end != range.end))
        at++;
    if (at == definition->ranges.count)
        return missing("range", err);
    LIST_REMOVE(&definition->ranges, at);
    return 0;
}

/* Names of one address stand together; those of a fragment go behind all others. */
static int update_dns_host(struct network_definition *definition, unsigned command, const xmlNode *node,
                           struct err *err)
{
    size_t before = definition->dns_hosts.count;
    int r = read_dns_host(node, definition, err);
    if (r < 0 || command != NETWORK_UPDATE_DELETE)
        return r == 0 && definition->dns_hosts.count == before ? err_set(err, -EINVAL, "<host> has no <hostname>") : r;
    uint32_t ip = definition->dns_hosts.count > before ? definition->dns_hosts.items[before].ip : 0;
    if (ip == 0)
        (void)ipv4_parse(xml_attribute(node, "ip"), &ip);
    definition->dns_hosts.count = before;
    for (size_t at = before; at-- > 0;)
        if (definition->dns_hosts.items[at].ip == ip)
            LIST_REMOVE(&definition->dns_hosts, at);
    return definition->dns_hosts.count == before ? missing("host", err) : 0;
}

static int update_txt(struct network_definition *definition, unsigned command, const xmlNode *node, struct err *err)
{
    struct network_dns_txt txt;
    size_t at = 0;
    int r = read_txt(node, &txt, err);
    if (r < 0 || command != NETWORK_UPDATE_DELETE)
        return r < 0 ? r : LIST_APPEND(&definition->dns_txt, &txt, err);
    while (at < definition->dns_txt.count && strcasecmp(definition->dns_txt.items[at].name, txt.name) != 0)
        at++;
    if (at == definition->dns_txt.count)
        return missing("txt", err);
    LIST_REMOVE(&definition->dns_txt, at);
    return 0;
}

static int update_srv(struct network_definition *definition, unsigned command, const xmlNode *node, struct err *err)
{
    struct network_dns_srv srv;
    size_t at = 0;
    int r = read_srv(node, &srv, err);
    if (r < 0 || command != NETWORK_UPDATE_DELETE)
        return r < 0 ? r : LIST_APPEND(&definition->dns_srv, &srv, err);
    while (at < definition->dns_srv.count && (strcasecmp(definition->dns_srv.items[at].service, srv.service) != 0 ||
                                              strcasecmp(definition->dns_srv.items[at].protocol, srv.protocol) != 0))
        at++;
    if (at == definition->dns_srv.count)
        return missing("srv", err);
    LIST_REMOVE(&definition->dns_srv, at);
    return 0;
}

static int update_section(struct network_definition *definition, unsigned command, unsigned section,
                          const xmlNode *node, struct err *err)
{
    if (command == NETWORK_UPDATE_MODIFY && section != NETWORK_SECTION_DHCP_HOST)
        return err_set(err, -ENOTSUP, "a <%s> can't be modified; delete it and add the new one",
                       section_element(section));
    switch (section) {
    case NETWORK_SECTION_DHCP_HOST:
        return update_host(definition, command, node, err);
    case NETWORK_SECTION_DHCP_RANGE:
        return update_range(definition, command, node, err);
    case NETWORK_SECTION_DNS_HOST:
        return update_dns_host(definition, command, node, err);
    case NETWORK_SECTION_DNS_TXT:
        return update_txt(definition, command, node, err);
    default:
        return update_srv(definition, command, node, err);
    }
}

static int update_checked(struct network_definition *definition, unsigned command, unsigned section,
                          const xmlNode *node, struct err *err)
{
    struct network_definition *changed;
    int r = network_definition_copy(definition, &changed);
    if (r < 0)
        return err_set(err, r, "the network's definition can't be copied: %s", strerror(-r));
    r = update_section(changed, command, section, node, err);
    if (r == 0)
        r = network_definition_check(changed, err);
    if (r == 0) {
        struct network_definition old = *definition;
        *definition = *changed;
        *changed = old;
    }
    network_definition_free(changed);
    return r;
}

int network_definition_update(struct network_definition *definition, unsigned command, unsigned section,
                              const char *xml, struct err *err)
{
    const char *element = section_element(section);
    xmlDoc *doc;
    if (element == NULL)
        return err_set(err, -ENOTSUP,
                       "section %u of a network can't be updated; there are ip-dhcp-host, ip-dhcp-range, dns-host, "
                       "dns-txt and dns-srv",
                       section);
    if (command < NETWORK_UPDATE_MODIFY || command > NETWORK_UPDATE_ADD_FIRST)
        return err_set(err, -EINVAL, "%u is no command to update a network", command);
    if (definition->forward == NETWORK_BRIDGE ||
        ((section == NETWORK_SECTION_DHCP_HOST || section == NETWORK_SECTION_DHCP_RANGE) && !definition->has_ip))
        return err_set(err, -EINVAL, "the network has no <ip> that a <%s> could belong to", element);
    int r = xml_read(xml, element, &doc, err);
    if (r < 0)
        return r;
    r = update_checked(definition, command, section, xml_root(doc), err);
    xmlFreeDoc(doc);
    return r;
}
