/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks what a definition says about addresses: those of the host, of DHCP, and of routes. */
#include <errno.h>

#include "base/err.h"
#include "network/definition_private.h"

static int check_range(const struct network_ip *ip, const struct network_range *range, struct err *err)
{
    struct ip_address first = ip_first(&ip->net), last = ip_last(&ip->net);
    struct ip_text start = ip_text(&range->start), end = ip_text(&range->end), net = ip_net_text(&ip->net);
    if (!ip_contains(&ip->net, &range->start) || !ip_contains(&ip->net, &range->end))
        return err_set(err, -EINVAL,
                       "the DHCP range %s to %s lies outside the network %s (which <ip address='%s'> says)", start.text,
                       end.text, net.text, ip_text(&ip->net.address).text);
    if (ip_compare(&range->start, &range->end) > 0)
        return err_set(err, -EINVAL, "the DHCP range begins at %s and ends before, at %s", start.text, end.text);
    if (ip_compare(&range->start, &first) == 0 || (first.family == AF_INET && ip_compare(&range->end, &last) == 0))
        return err_set(err, -EINVAL,
                       first.family == AF_INET
                           ? "the DHCP range %s to %s includes the address of the network %s or its broadcast address %s"
                           : "the DHCP range %s to %s includes the address that stands for all routers of the network %s, %s",
                       start.text, end.text, net.text, ip_text(first.family == AF_INET ? &last : &first).text);
    if (ip_compare(&ip->net.address, &range->start) >= 0 && ip_compare(&ip->net.address, &range->end) <= 0)
        return err_set(err, -EINVAL, "the DHCP range %s to %s includes the host's own address %s", start.text, end.text,
                       ip_text(&ip->net.address).text);
    if (ip_count(&range->start, &range->end) > NETWORK_DHCP_ADDRESSES_MAX)
        return err_set(err, -EINVAL, "the DHCP range %s to %s has more than %d addresses", start.text, end.text,
                       NETWORK_DHCP_ADDRESSES_MAX);
    return 0;
}

static int check_ranges(const struct network_ip *ip, struct err *err)
{
    const struct network_range *ranges = ip->ranges.items;
    for (size_t i = 0; i < ip->ranges.count; i++) {
        int r = check_range(ip, &ranges[i], err);
        if (r < 0)
            return r;
        for (size_t j = 0; j < i; j++)
            if (ip_compare(&ranges[i].start, &ranges[j].end) <= 0 && ip_compare(&ranges[j].start, &ranges[i].end) <= 0)
                return err_set(err, -EINVAL, "two DHCP ranges overlap: %s to %s and %s to %s",
                               ip_text(&ranges[j].start).text, ip_text(&ranges[j].end).text,
                               ip_text(&ranges[i].start).text, ip_text(&ranges[i].end).text);
    }
    return 0;
}

/* Whom it means: of IPv4 a card or a name, of IPv6 a DUID or a name. */
static int check_host_key(const struct network_ip *ip, const struct network_host *host, struct err *err)
{
    bool v6 = ip->net.address.family == AF_INET6, has_key = v6 ? host->id[0] != '\0' : host->has_mac;
    const char *key = v6 ? "id" : "mac";
    if (v6 && host->has_mac)
        return err_set(err, -ENOTSUP, "a DHCP <host> of IPv6 has an id or a name, no mac: DHCPv6 tells no MAC addresses");
    if (!v6 && host->id[0] != '\0')
        return err_set(err, -ENOTSUP, "id of a DHCP <host> belongs to IPv6");
    if (!has_key && host->name[0] == '\0')
        return err_set(err, -EINVAL, "a DHCP <host> has neither %s nor name", key);
    if (!ip_is_set(&host->ip) && (host->name[0] == '\0' || !has_key))
        return err_set(err, -EINVAL, "a DHCP <host> with a %s alone has nothing to be given: it needs an ip, or a %s and a name",
                       has_key ? key : "name", key);
    return 0;
}

static int check_host(const struct network_ip *ip, const struct network_host *host, struct err *err)
{
    int r = check_host_key(ip, host, err);
    if (r < 0)
        return r;
    if (host->name[0] != '\0' && !network_domain_valid(host->name))
        return err_set(err, -EINVAL, "'%s' can't be a host's name", host->name);
    if (host->has_mac && (host->mac[0] & 1) != 0)
        return err_set(err, -EINVAL, "the MAC address " MAC_FORMAT " of a DHCP <host> is a multicast address",
                       MAC_ARGUMENTS(host->mac));
    if (ip_is_set(&host->ip) && !ip_contains(&ip->net, &host->ip))
        return err_set(err, -EINVAL, "the DHCP host %s lies outside the network %s", ip_text(&host->ip).text,
                       ip_net_text(&ip->net).text);
    if (ip_is_set(&host->ip) && ip_compare(&host->ip, &ip->net.address) == 0)
        return err_set(err, -EINVAL, "the DHCP host %s has the host's own address", ip_text(&host->ip).text);
    return 0;
}

static int check_host_pair(const struct network_host *a, const struct network_host *b, struct err *err)
{
    if (a->has_mac && b->has_mac && memcmp(a->mac, b->mac, 6) == 0)
        return err_set(err, -EINVAL, "two DHCP hosts have the MAC address " MAC_FORMAT, MAC_ARGUMENTS(a->mac));
    if (a->id[0] != '\0' && strcasecmp(a->id, b->id) == 0)
        return err_set(err, -EINVAL, "two DHCP hosts have the id %s", a->id);
    if (ip_is_set(&a->ip) && ip_compare(&a->ip, &b->ip) == 0)
        return err_set(err, -EINVAL, "two DHCP hosts have the address %s", ip_text(&a->ip).text);
    if (a->name[0] != '\0' && strcasecmp(a->name, b->name) == 0)
        return err_set(err, -EINVAL, "two DHCP hosts have the name %s", a->name);
    return 0;
}

static int check_hosts(const struct network_ip *ip, struct err *err)
{
    const struct network_host *hosts = ip->hosts.items;
    int r = 0;
    for (size_t i = 0; r == 0 && i < ip->hosts.count; i++) {
        r = check_host(ip, &hosts[i], err);
        for (size_t j = 0; r == 0 && j < i; j++)
            r = check_host_pair(&hosts[i], &hosts[j], err);
    }
    return r;
}

static int check_address4(const struct ip_net *net, struct err *err)
{
    struct ip_text text = ip_text(&net->address);
    struct ip_address first = ip_first(net), last = ip_last(net);
    uint8_t first_byte = net->address.bytes[0];
    if (first_byte == 0 || first_byte == 127 || first_byte >= 224)
        return err_set(err, -EINVAL,
                       "%s can't be the address of a network's bridge: it is not a unicast address of other hosts",
                       text.text);
    if (net->prefix == 0 || net->prefix > 30)
        return err_set(err, -EINVAL,
                       "the network %s/%u has no room for the host and guests; the prefix must be from 1 to 30",
                       text.text, net->prefix);
    if (ip_compare(&net->address, &first) == 0 || ip_compare(&net->address, &last) == 0)
        return err_set(err, -EINVAL, "%s is the %s address of its network; the bridge needs one of a host", text.text,
                       ip_compare(&net->address, &first) == 0 ? "first" : "broadcast");
    return 0;
}

/* RFC 4291 section 2.4. Routers can announce networks of 64 bits and longer only. */
static int check_address6(const struct ip_net *net, struct err *err)
{
    struct ip_text text = ip_text(&net->address);
    struct ip_address first = ip_first(net);
    const uint8_t *bytes = net->address.bytes;
    bool link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80, mapped = bytes[0] == 0 && bytes[1] == 0;
    if (bytes[0] == 0xff || link_local || mapped)
        return err_set(err, -EINVAL,
                       "%s can't be the address of a network's bridge: it is not a global or unique local unicast address", text.text);
    if (net->prefix < 64 || net->prefix > 126)
        return err_set(err, -EINVAL, "the network %s/%u can't be announced to guests; the prefix must be from 64 to 126", text.text,
                       net->prefix);
    if (ip_compare(&net->address, &first) == 0)
        return err_set(err, -EINVAL, "%s is the first address of its network; the bridge needs one of a host", text.text);
    return 0;
}

static int check_one(const struct network_ip *ip, struct err *err)
{
    if (!ip->there)
        return 0;
    int r = check_ranges(ip, err);
    if (r == 0)
        r = check_hosts(ip, err);
    if (r < 0)
        return r;
    return ip->net.address.family == AF_INET ? check_address4(&ip->net, err) : check_address6(&ip->net, err);
}

static int check_route(const struct network_definition *definition, const struct network_route *route, struct err *err)
{
    const struct ip_net *net = &route->net;
    const struct network_ip *ip = net->address.family == AF_INET ? &definition->ip4 : &definition->ip6;
    struct ip_address first = ip_first(net);
    if (route->gateway.family != net->address.family)
        return err_set(err, -EINVAL, "<route> to %s: its gateway %s is of another family", ip_net_text(net).text,
                       ip_text(&route->gateway).text);
    if (ip_compare(&first, &net->address) != 0)
        return err_set(err, -EINVAL, "<route address='%s'> is no network of prefix %u; that is %s", ip_text(&net->address).text,
                       net->prefix, ip_text(&first).text);
    if (!ip->there || !ip_contains(&ip->net, &route->gateway))
        return err_set(err, -EINVAL, "<route> to %s: its gateway %s lies outside the network", ip_net_text(net).text,
                       ip_text(&route->gateway).text);
    if (ip_compare(&route->gateway, &ip->net.address) == 0)
        return err_set(err, -EINVAL, "<route> to %s: its gateway %s is the host itself", ip_net_text(net).text,
                       ip_text(&route->gateway).text);
    if (ip_overlap(net, &ip->net))
        return err_set(err, -EINVAL, "<route> to %s overlaps the network itself, %s", ip_net_text(net).text, ip_net_text(&ip->net).text);
    return 0;
}

int check_ip(const struct network_definition *definition, struct err *err)
{
    const char *tftp = definition->tftp_root;
    int r = check_one(&definition->ip4, err);
    if (r == 0)
        r = check_one(&definition->ip6, err);
    for (size_t i = 0; r == 0 && i < definition->routes.count; i++)
        r = check_route(definition, &definition->routes.items[i], err);
    if (r == 0 && (!plain_text(tftp) || (tftp[0] != '\0' && tftp[0] != '/')))
        return err_set(err, -EINVAL, "the TFTP root '%s' must be an absolute path without " PLAIN_TEXT_FORBIDS, tftp);
    if (r == 0 && (!plain_text(definition->bootp_file) || !plain_text(definition->bootp_server)))
        return err_set(err, -EINVAL, "<bootp> may not contain " PLAIN_TEXT_FORBIDS);
    return r;
}
