/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads what a <network> document says about addresses: <ip> of both families with its DHCP, and <route>. */
#include <ctype.h>
#include <errno.h>

#include "base/err.h"
#include "base/text.h"
#include "network/definition_private.h"

/* Lease times: libvirt's units, minutes when there is none; 0 is for ever. */
static int read_lease(const xmlNode *node, uint32_t *ret_seconds, struct err *err)
{
    static const struct {
        const char *name;
        unsigned seconds;
    } units[] = {{"minutes", 60}, {"seconds", 1}, {"hours", 3600}};
    unsigned expiry = 0, unit = 0;
    const char *name = xml_attribute(node, "unit");
    int r = xml_check(node, ALLOW_ATTRIBUTES("expiry", "unit"), err);
    if (r == 0)
        r = read_number(node, "expiry", 365 * 24 * 3600, &expiry, err);
    if (r < 0)
        return r;
    while (name != NULL && unit < 3 && !text_equal(units[unit].name, name))
        unit++;
    if (unit == 3)
        return err_set(err, -EINVAL, "unit '%s' of <lease> is none of seconds, minutes, hours", name);
    uint64_t seconds = (uint64_t)expiry * units[unit].seconds;
    if (expiry != 0 && (seconds < 120 || seconds >= UINT32_MAX))
        return err_set(err, -EINVAL, "a lease of %lu seconds can't be given: they last two minutes at least", seconds);
    *ret_seconds = expiry == 0 ? UINT32_MAX : (uint32_t)seconds;
    return 0;
}

int read_range(const xmlNode *node, struct network_range *ret_range, struct err *err)
{
    struct network_range range = {0};
    const xmlNode *lease = xml_first(node, "lease");
    int r = xml_check(node, &(struct xml_allowed){NAMES("start", "end"), NAMES("lease"), NAMES("lease")}, err);
    if (r == 0)
        r = need_address(node, "start", &range.start, err);
    if (r == 0)
        r = need_address(node, "end", &range.end, err);
    if (r == 0 && lease != NULL)
        r = read_lease(lease, &range.lease_seconds, err);
    if (r == 0)
        *ret_range = range;
    return r;
}

/* A DUID: hex bytes with colons, as dnsmasq and libvirt write it. */
static bool duid_valid(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++)
        if (i % 3 == 2 ? text[i] != ':' : !isxdigit((unsigned char)text[i]))
            return false;
    return length >= 5 && length % 3 == 2;
}

int read_host(const xmlNode *node, struct network_host *ret_host, struct err *err)
{
    struct network_host host = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("mac", "id", "name", "ip"), err);
    if (r == 0)
        r = read_mac(node, "mac", &host.has_mac, host.mac, err);
    if (r == 0)
        r = read_text(node, "id", host.id, sizeof(host.id), err);
    if (r == 0 && host.id[0] != '\0' && !duid_valid(host.id))
        return err_set(err, -EINVAL, "id '%.60s' of <host> is not a DUID such as 00:03:00:01:52:54:00:12:34:56", host.id);
    if (r == 0)
        r = read_text(node, "name", host.name, sizeof(host.name), err);
    if (r == 0)
        r = read_address(node, "ip", &host.ip, err);
    if (r == 0)
        *ret_host = host;
    return r;
}

static int parse_bootp(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("file", "server"), err);
    if (r == 0)
        r = read_text(node, "file", definition->bootp_file, sizeof(definition->bootp_file), err);
    if (r == 0)
        r = read_text(node, "server", definition->bootp_server, sizeof(definition->bootp_server), err);
    return r;
}

static int append_range(const xmlNode *node, struct network_ip *ip, struct err *err)
{
    struct network_range range;
    int r = read_range(node, &range, err);
    return r < 0 ? r : LIST_APPEND(&ip->ranges, &range, err);
}

static int append_host(const xmlNode *node, struct network_ip *ip, struct err *err)
{
    struct network_host host;
    int r = read_host(node, &host, err);
    return r < 0 ? r : LIST_APPEND(&ip->hosts, &host, err);
}

static int parse_dhcp(const xmlNode *node, struct network_definition *definition, struct network_ip *ip, struct err *err)
{
    bool v6 = ip == &definition->ip6;
    const char *const *elements = v6 ? NAMES("range", "host") : NAMES("range", "host", "bootp");
    int r = xml_check(node, &(struct xml_allowed){NULL, elements, NAMES("bootp")}, err);
    for (const xmlNode *child = xml_first(node, NULL); r == 0 && child != NULL; child = xml_next(child, NULL)) {
        if (xml_is(child, "range"))
            r = append_range(child, ip, err);
        else if (xml_is(child, "host"))
            r = append_host(child, ip, err);
        else
            r = parse_bootp(child, definition, err);
    }
    ip->has_dhcp = true;
    return r;
}

/* Without netmask and prefix: what the address's class says (RFC 791 section 2.3), as libvirt does. */
static unsigned prefix_of_class(const struct ip_address *address)
{
    return address->bytes[0] < 128 ? 8 : address->bytes[0] < 192 ? 16 : 24;
}

/* The prefix of an element with an address, whose default is in *prefix. */
static int read_prefix(const xmlNode *node, int family, unsigned *prefix, bool *ret_by_netmask, struct err *err)
{
    struct ip_address mask = {0};
    bool given = xml_attribute(node, "prefix") != NULL;
    int r = read_number(node, "prefix", ip_bits(family), prefix, err);
    if (r < 0 || xml_attribute(node, "netmask") == NULL)
        return r;
    r = read_address(node, "netmask", &mask, err);
    if (r < 0)
        return r;
    if (given)
        return err_set(err, -EINVAL, "<%s> has both a netmask and a prefix; give one of them", xml_name(node));
    if (mask.family != family || family != AF_INET || ip_prefix_of_mask(&mask, prefix) < 0)
        return err_set(err, -EINVAL, "netmask '%s' of <%s> is none: %s", ip_text(&mask).text, xml_name(node),
                       family == AF_INET ? "its ones must all stand in front" : "IPv6 has prefixes");
    *ret_by_netmask = true;
    return 0;
}

/* The family that the element names, "" being IPv4, and which its address must be of. */
static int check_family(const xmlNode *node, const struct ip_address *address, struct err *err)
{
    const char *name = xml_attribute(node, "family");
    if (name != NULL && !text_equal(name, "ipv4") && !text_equal(name, "ipv6"))
        return err_set(err, -EINVAL, "family of <%s> is '%s', neither ipv4 nor ipv6", xml_name(node), name);
    if ((name != NULL && text_equal(name, "ipv6")) != (address->family == AF_INET6))
        return err_set(err, -EINVAL, "<%s%s%s%s> has an address of %s, %s", xml_name(node), name != NULL ? " family='" : "",
                       name != NULL ? name : "", name != NULL ? "'" : "", ip_family_name(address->family), ip_text(address).text);
    return 0;
}

static int parse_tftp(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("root"), err);
    return r < 0 ? r : read_text(node, "root", definition->tftp_root, sizeof(definition->tftp_root), err);
}

int parse_ip(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    const xmlNode *tftp = xml_first(node, "tftp"), *dhcp = xml_first(node, "dhcp");
    struct ip_address address = {0};
    int r = xml_check(node,
                      &(struct xml_allowed){NAMES("address", "netmask", "prefix", "family", "localPtr"), NAMES("dhcp", "tftp"),
                                            NAMES("dhcp", "tftp")},
                      err);
    if (r == 0)
        r = need_address(node, "address", &address, err);
    if (r == 0)
        r = check_family(node, &address, err);
    if (r < 0)
        return r;
    struct network_ip *ip = address.family == AF_INET ? &definition->ip4 : &definition->ip6;
    if (xml_attribute(node, "localPtr") != NULL && !text_equal(xml_attribute(node, "localPtr"), "no"))
        return err_set(err, -ENOTSUP, "localPtr of <ip> is not supported");
    if (ip->there)
        return err_set(err, -ENOTSUP, "the network has several <ip> elements of %s; one is supported", ip_family_name(address.family));
    ip->there = true;
    ip->net = (struct ip_net){address, address.family == AF_INET ? prefix_of_class(&address) : 64};
    ip->by_netmask = address.family == AF_INET && xml_attribute(node, "prefix") == NULL;
    r = read_prefix(node, address.family, &ip->net.prefix, &ip->by_netmask, err);
    if (r == 0 && tftp != NULL && address.family != AF_INET)
        return err_set(err, -ENOTSUP, "<tftp> belongs into the <ip> of IPv4");
    if (r == 0 && tftp != NULL)
        r = parse_tftp(tftp, definition, err);
    return r < 0 || dhcp == NULL ? r : parse_dhcp(dhcp, definition, ip, err);
}

int parse_route(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_route route = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("family", "address", "netmask", "prefix", "gateway", "metric"), err);
    if (r == 0)
        r = need_address(node, "address", &route.net.address, err);
    if (r == 0)
        r = check_family(node, &route.net.address, err);
    if (r == 0)
        r = need_address(node, "gateway", &route.gateway, err);
    route.net.prefix = ip_bits(route.net.address.family);
    if (r == 0)
        r = read_prefix(node, route.net.address.family, &route.net.prefix, &route.by_netmask, err);
    if (r == 0)
        r = read_number(node, "metric", INT32_MAX, &route.metric, err);
    return r < 0 ? r : LIST_APPEND(&definition->routes, &route, err);
}
