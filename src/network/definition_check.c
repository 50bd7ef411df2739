/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks that a definition makes sense by itself; whether it fits the host is seen when the network starts. */
#include <ctype.h>
#include <errno.h>

#include "base/err.h"
#include "base/text.h"
#include "network/definition_private.h"

/* Text that ends up in dnsmasq's configuration: nothing that could end a line, a value or a quotation there. */
static bool plain_text(const char *text)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text) || strchr("\"\\#,", *text) != NULL)
            return false;
    return true;
}

static int check_name(const struct network_definition *definition, struct err *err)
{
    const char *name = definition->name;
    if (name[0] == '\0')
        return err_set(err, -EINVAL, "the network has no <name>");
    if (name[0] == '.' || strchr(name, '/') != NULL || !plain_text(name))
        return err_set(
            err, -EINVAL,
            "'%s' can't be a network's name: it may not begin with '.' nor contain / \" \\ # , or control characters",
            name);
    return 0;
}

static int check_links(const struct network_definition *definition, struct err *err)
{
    if (definition->bridge[0] != '\0' && !network_interface_name_valid(definition->bridge))
        return err_set(err, -EINVAL, "'%s' can't be a bridge's name: 1 to 15 letters, digits, '.', '_' or '-'",
                       definition->bridge);
    if (definition->forward_dev[0] != '\0' && !network_interface_name_valid(definition->forward_dev))
        return err_set(err, -EINVAL, "'%s' in <forward> can't be an interface's name", definition->forward_dev);
    if (definition->mtu != 0 && definition->mtu < 68)
        return err_set(err, -EINVAL, "<mtu size='%u'> is too small: an IPv4 network needs 68 bytes", definition->mtu);
    if (definition->has_mac && (definition->mac[0] & 1) != 0)
        return err_set(err, -EINVAL, "the bridge's MAC address " MAC_FORMAT " is a multicast address",
                       MAC_ARGUMENTS(definition->mac));
    return 0;
}

static int check_forward(const struct network_definition *definition, struct err *err)
{
    const char *mode = network_forward_name(definition->forward);
    if (definition->forward == NETWORK_BRIDGE) {
        if (definition->bridge[0] == '\0')
            return err_set(err, -EINVAL, "<forward mode='bridge'> needs a <bridge name='...'> that exists on the host");
        if (definition->has_ip || definition->domain[0] != '\0' || definition->has_mac)
            return err_set(err, -EINVAL,
                           "<ip>, <domain> and <mac> have no meaning with <forward mode='bridge'>: the bridge belongs "
                           "to the host");
        return 0;
    }
    if (definition->forward != NETWORK_ISOLATED && !definition->has_ip)
        return err_set(err, -EINVAL, "<forward mode='%s'> needs an <ip> with the network's address", mode);
    if (definition->nat_start > definition->nat_end)
        return err_set(err, -EINVAL, "the NAT addresses begin at %s and end before, at %s",
                       ipv4_text(definition->nat_start).text, ipv4_text(definition->nat_end).text);
    if (definition->nat_port_start > definition->nat_port_end)
        return err_set(err, -EINVAL, "the NAT ports begin at %u and end before, at %u", definition->nat_port_start,
                       definition->nat_port_end);
    return 0;
}

static const char *net_text(const struct network_definition *definition, char out[static 32])
{
    (void)text_format(out, 32, "%s/%u", ipv4_text(ipv4_first(&definition->ip)).text, definition->ip.prefix);
    return out;
}

static int check_range(const struct network_definition *definition, const struct network_range *range, struct err *err)
{
    const struct ipv4_net *ip = &definition->ip;
    char net[32];
    struct ipv4_text start = ipv4_text(range->start), end = ipv4_text(range->end);
    if (!ipv4_contains(ip, range->start) || !ipv4_contains(ip, range->end))
        return err_set(err, -EINVAL,
                       "the DHCP range %s to %s lies outside the network %s (which <ip address='%s'> says)", start.text,
                       end.text, net_text(definition, net), ipv4_text(ip->address).text);
    if (range->start > range->end)
        return err_set(err, -EINVAL, "the DHCP range begins at %s and ends before, at %s", start.text, end.text);
    if (range->start == ipv4_first(ip) || range->end == ipv4_last(ip))
        return err_set(err, -EINVAL,
                       "the DHCP range %s to %s includes the address of the network %s or its broadcast address %s",
                       start.text, end.text, net_text(definition, net), ipv4_text(ipv4_last(ip)).text);
    if (ip->address >= range->start && ip->address <= range->end)
        return err_set(err, -EINVAL, "the DHCP range %s to %s includes the host's own address %s", start.text, end.text,
                       ipv4_text(ip->address).text);
    if (range->end - range->start >= NETWORK_DHCP_ADDRESSES_MAX)
        return err_set(err, -EINVAL, "the DHCP range %s to %s has more than %d addresses", start.text, end.text,
                       NETWORK_DHCP_ADDRESSES_MAX);
    return 0;
}

static int check_ranges(const struct network_definition *definition, struct err *err)
{
    const struct network_range *ranges = definition->ranges.items;
    for (size_t i = 0; i < definition->ranges.count; i++) {
        int r = check_range(definition, &ranges[i], err);
        if (r < 0)
            return r;
        for (size_t j = 0; j < i; j++)
            if (ranges[i].start <= ranges[j].end && ranges[j].start <= ranges[i].end)
                return err_set(err, -EINVAL, "two DHCP ranges overlap: %s to %s and %s to %s",
                               ipv4_text(ranges[j].start).text, ipv4_text(ranges[j].end).text,
                               ipv4_text(ranges[i].start).text, ipv4_text(ranges[i].end).text);
    }
    return 0;
}

static int check_host(const struct network_definition *definition, const struct network_host *host, struct err *err)
{
    char net[32];
    if (!host->has_mac && host->name[0] == '\0')
        return err_set(err, -EINVAL, "a DHCP <host> has neither mac nor name");
    if (host->ip == 0 && (host->name[0] == '\0' || !host->has_mac))
        return err_set(err, -EINVAL,
                       "a DHCP <host> with a %s has nothing to be given: it needs an ip, or a mac and a name",
                       host->has_mac ? "mac alone" : "name alone");
    if (host->name[0] != '\0' && !network_domain_valid(host->name))
        return err_set(err, -EINVAL, "'%s' can't be a host's name", host->name);
    if (host->has_mac && (host->mac[0] & 1) != 0)
        return err_set(err, -EINVAL, "the MAC address " MAC_FORMAT " of a DHCP <host> is a multicast address",
                       MAC_ARGUMENTS(host->mac));
    if (host->ip != 0 && !ipv4_contains(&definition->ip, host->ip))
        return err_set(err, -EINVAL, "the DHCP host %s lies outside the network %s", ipv4_text(host->ip).text,
                       net_text(definition, net));
    if (host->ip != 0 && host->ip == definition->ip.address)
        return err_set(err, -EINVAL, "the DHCP host %s has the host's own address", ipv4_text(host->ip).text);
    return 0;
}

static int check_host_pair(const struct network_host *a, const struct network_host *b, struct err *err)
{
    if (a->has_mac && b->has_mac && memcmp(a->mac, b->mac, 6) == 0)
        return err_set(err, -EINVAL, "two DHCP hosts have the MAC address " MAC_FORMAT, MAC_ARGUMENTS(a->mac));
    if (a->ip != 0 && a->ip == b->ip)
        return err_set(err, -EINVAL, "two DHCP hosts have the address %s", ipv4_text(a->ip).text);
    if (a->name[0] != '\0' && strcasecmp(a->name, b->name) == 0)
        return err_set(err, -EINVAL, "two DHCP hosts have the name %s", a->name);
    return 0;
}

static int check_hosts(const struct network_definition *definition, struct err *err)
{
    const struct network_host *hosts = definition->hosts.items;
    int r = 0;
    for (size_t i = 0; r == 0 && i < definition->hosts.count; i++) {
        r = check_host(definition, &hosts[i], err);
        for (size_t j = 0; r == 0 && j < i; j++)
            r = check_host_pair(&hosts[i], &hosts[j], err);
    }
    return r;
}

static int check_address(const struct network_definition *definition, struct err *err)
{
    const struct ipv4_net *ip = &definition->ip;
    struct ipv4_text text = ipv4_text(ip->address);
    uint32_t first_byte = ip->address >> 24;
    if (first_byte == 0 || first_byte == 127 || first_byte >= 224)
        return err_set(err, -EINVAL,
                       "%s can't be the address of a network's bridge: it is not a unicast address of other hosts",
                       text.text);
    if (ip->prefix == 0 || ip->prefix > 30)
        return err_set(err, -EINVAL,
                       "the network %s/%u has no room for the host and guests; the prefix must be from 1 to 30",
                       text.text, ip->prefix);
    if (ip->address == ipv4_first(ip) || ip->address == ipv4_last(ip))
        return err_set(err, -EINVAL, "%s is the %s address of its network; the bridge needs one of a host", text.text,
                       ip->address == ipv4_first(ip) ? "first" : "broadcast");
    return 0;
}

static int check_ip(const struct network_definition *definition, struct err *err)
{
    if (!definition->has_ip)
        return 0;
    int r = check_ranges(definition, err);
    if (r == 0)
        r = check_hosts(definition, err);
    if (r == 0)
        r = check_address(definition, err);
    if (r == 0 &&
        (!plain_text(definition->tftp_root) || (definition->tftp_root[0] != '\0' && definition->tftp_root[0] != '/')))
        return err_set(err, -EINVAL,
                       "the TFTP root '%s' must be an absolute path without \" \\ # , or control characters",
                       definition->tftp_root);
    if (r == 0 && (!plain_text(definition->bootp_file) || !plain_text(definition->bootp_server)))
        return err_set(err, -EINVAL, "<bootp> may not contain \" \\ # , or control characters");
    return r;
}

static int check_srv(const struct network_dns_srv *srv, struct err *err)
{
    if (!network_domain_valid(srv->service) || !network_domain_valid(srv->protocol))
        return err_set(err, -EINVAL, "<srv> needs a service and a protocol, such as service='ldap' protocol='tcp'");
    if (srv->domain[0] != '\0' && !network_domain_valid(srv->domain))
        return err_set(err, -EINVAL, "'%s' in <srv> can't be a domain", srv->domain);
    if (srv->target[0] != '\0' && !network_domain_valid(srv->target))
        return err_set(err, -EINVAL, "'%s' in <srv> can't be a host's name", srv->target);
    return 0;
}

static int check_dns(const struct network_definition *definition, struct err *err)
{
    if (definition->domain[0] != '\0' && !network_domain_valid(definition->domain))
        return err_set(err, -EINVAL, "'%s' can't be a domain", definition->domain);
    for (size_t i = 0; i < definition->dns_hosts.count; i++)
        if (!network_domain_valid(definition->dns_hosts.items[i].name))
            return err_set(err, -EINVAL, "'%s' in <hostname> can't be a host's name",
                           definition->dns_hosts.items[i].name);
    for (size_t i = 0; i < definition->dns_txt.count; i++)
        if (!network_domain_valid(definition->dns_txt.items[i].name) || !plain_text(definition->dns_txt.items[i].value))
            return err_set(err, -EINVAL,
                           "<txt name='%s'> needs a DNS name, and a value without \" \\ # , or control characters",
                           definition->dns_txt.items[i].name);
    for (size_t i = 0; i < definition->forwarders.count; i++)
        if (definition->forwarders.items[i].domain[0] != '\0' &&
            !network_domain_valid(definition->forwarders.items[i].domain))
            return err_set(err, -EINVAL, "'%s' in <forwarder> can't be a domain",
                           definition->forwarders.items[i].domain);
    int r = 0;
    for (size_t i = 0; r == 0 && i < definition->dns_srv.count; i++)
        r = check_srv(&definition->dns_srv.items[i], err);
    return r;
}

int network_definition_check(const struct network_definition *definition, struct err *err)
{
    static int (*const checks[])(const struct network_definition *definition,
                                 struct err *err) = {check_name, check_links, check_ip, check_forward, check_dns};
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(checks) / sizeof(checks[0]); i++)
        r = checks[i](definition, err);
    return r;
}
