/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net-update: one entry of a definition added, changed or taken away by an XML fragment. */
#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
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
    case NETWORK_SECTION_FORWARD_INTERFACE:
        return "interface";
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
    if (b->id[0] != '\0')
        return strcasecmp(a->id, b->id) == 0;
    if (b->name[0] != '\0')
        return strcasecmp(a->name, b->name) == 0 && (!ip_is_set(&b->ip) || ip_compare(&a->ip, &b->ip) == 0);
    return ip_is_set(&b->ip) && ip_compare(&a->ip, &b->ip) == 0;
}

/* The <ip> that an entry belongs to: that of its family. */
static int ip_of(struct network_definition *definition, bool v6, const char *element, struct network_ip **ret_ip, struct err *err)
{
    struct network_ip *ip = v6 ? &definition->ip6 : &definition->ip4;
    if (!ip->there)
        return err_set(err, -EINVAL, "the network has no <ip> of %s that a <%s> could belong to", v6 ? "IPv6" : "IPv4", element);
    ip->has_dhcp = true;
    *ret_ip = ip;
    return 0;
}

static int update_host(struct network_definition *definition, unsigned command, const xmlNode *node, struct err *err)
{
    struct network_host host;
    struct network_ip *ip = NULL;
    size_t at = 0;
    int r = read_host(node, &host, err);
    if (r == 0)
        r = ip_of(definition, host.id[0] != '\0' || host.ip.family == AF_INET6, "host", &ip, err);
    if (r < 0)
        return r;
    if (command == NETWORK_UPDATE_ADD_LAST || command == NETWORK_UPDATE_ADD_FIRST)
        return list_insert(&ip->hosts.items, &ip->hosts.count, sizeof(host), command == NETWORK_UPDATE_ADD_LAST ? ip->hosts.count : 0,
                           &host, err);
    while (at < ip->hosts.count && !same_host(&ip->hosts.items[at], &host))
        at++;
    if (at == ip->hosts.count)
        return missing("host", err);
    if (command == NETWORK_UPDATE_MODIFY)
        ip->hosts.items[at] = host;
    else
        LIST_REMOVE(&ip->hosts, at);
    return 0;
}

static int update_range(struct network_definition *definition, unsigned command, const xmlNode *node, struct err *err)
{
    struct network_range range;
    struct network_ip *ip = NULL;
    size_t at = 0;
    int r = read_range(node, &range, err);
    if (r == 0)
        r = ip_of(definition, range.start.family == AF_INET6, "range", &ip, err);
    if (r < 0)
        return r;
    if (command != NETWORK_UPDATE_DELETE)
        return list_insert(&ip->ranges.items, &ip->ranges.count, sizeof(range),
                           command == NETWORK_UPDATE_ADD_LAST ? ip->ranges.count : 0, &range, err);
    while (at < ip->ranges.count && (ip_compare(&ip->ranges.items[at].start, &range.start) != 0 ||
                                     ip_compare(&ip->ranges.items[at].end, &range.end) != 0))
        at++;
    if (at == ip->ranges.count)
        return missing("range", err);
    LIST_REMOVE(&ip->ranges, at);
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
    struct ip_address ip = {0};
    (void)ip_parse(xml_attribute(node, "ip"), &ip); /* read_dns_host() has seen it */
    definition->dns_hosts.count = before;
    for (size_t at = before; at-- > 0;)
        if (ip_compare(&definition->dns_hosts.items[at].ip, &ip) == 0)
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

/* There is one at most. */
static int update_forward_interface(struct network_definition *definition, unsigned command, const xmlNode *node, struct err *err)
{
    char dev[IFNAMSIZ] = "";
    int r = xml_check(node, ALLOW_ATTRIBUTES("dev", "connections"), err);
    if (r == 0)
        r = read_text(node, "dev", dev, sizeof(dev), err);
    if (r < 0)
        return r;
    if (definition->forward == NETWORK_ISOLATED || dev[0] == '\0')
        return err_set(err, -EINVAL, definition->forward == NETWORK_ISOLATED ? "an isolated network has no <forward>"
                                                                             : "<interface> has no dev");
    if (command == NETWORK_UPDATE_DELETE && !text_equal(definition->forward_dev, dev))
        return missing("interface", err);
    if (command != NETWORK_UPDATE_DELETE && definition->forward_dev[0] != '\0')
        return err_set(err, -ENOTSUP, "the network goes out by interface %s already; one is supported", definition->forward_dev);
    if (command == NETWORK_UPDATE_DELETE)
        definition->forward_dev[0] = '\0';
    else
        memcpy(definition->forward_dev, dev, sizeof(dev));
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
    case NETWORK_SECTION_FORWARD_INTERFACE:
        return update_forward_interface(definition, command, node, err);
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

static int refuse_section(unsigned section, struct err *err)
{
    static const char *const names[] = {[NETWORK_SECTION_BRIDGE] = "bridge",         [NETWORK_SECTION_DOMAIN] = "domain",
                                        [NETWORK_SECTION_IP] = "ip",                 [NETWORK_SECTION_FORWARD] = "forward",
                                        [NETWORK_SECTION_FORWARD_PF] = "forward-pf", [NETWORK_SECTION_PORTGROUP] = "portgroup"};
    char number[24];
    (void)text_format(number, sizeof(number), "%u", section);
    return err_set(err, -ENOTSUP,
                   "section %s of a network can't be updated; there are ip-dhcp-host, ip-dhcp-range, forward-interface, dns-host, "
                   "dns-txt and dns-srv; for all else there is net-edit",
                   section < ARRAY_SIZE(names) && names[section] != NULL ? names[section] : number);
}

int network_definition_update(struct network_definition *definition, unsigned command, unsigned section,
                              const char *xml, struct err *err)
{
    const char *element = section_element(section);
    xmlDoc *doc;
    if (element == NULL)
        return refuse_section(section, err);
    if (command < NETWORK_UPDATE_MODIFY || command > NETWORK_UPDATE_ADD_FIRST)
        return err_set(err, -EINVAL, "%u is no command to update a network", command);
    if (definition->forward == NETWORK_BRIDGE)
        return err_set(err, -EINVAL, "the network has no <%s>: its bridge belongs to the host", element);
    int r = xml_read(xml, element, &doc, err);
    if (r < 0)
        return r;
    r = update_checked(definition, command, section, xml_root(doc), err);
    xmlFreeDoc(doc);
    return r;
}
