/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks that a definition makes sense by itself; whether it fits the host is seen when the network starts. */
#include <ctype.h>
#include <errno.h>

#include "base/err.h"
#include "base/text.h"
#include "network/definition_private.h"

bool plain_text(const char *text)
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
    if (definition->mtu != 0 && definition->mtu < (definition->ip6.there ? 1280 : 68))
        return err_set(err, -EINVAL, "<mtu size='%u'> is too small: an %s network needs %d bytes", definition->mtu,
                       definition->ip6.there ? "IPv6" : "IPv4", definition->ip6.there ? 1280 : 68);
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
        if (definition->ip4.there || definition->ip6.there || definition->routes.count > 0 || definition->domain[0] != '\0' ||
            definition->has_mac)
            return err_set(err, -EINVAL,
                           "<ip>, <route>, <domain> and <mac> have no meaning with <forward mode='bridge'>: the bridge belongs "
                           "to the host");
        return 0;
    }
    if (definition->forward != NETWORK_ISOLATED && !definition->ip4.there && !definition->ip6.there)
        return err_set(err, -EINVAL, "<forward mode='%s'> needs an <ip> with the network's address", mode);
    if (ip_compare(&definition->nat_start, &definition->nat_end) > 0)
        return err_set(err, -EINVAL, "the NAT addresses begin at %s and end before, at %s",
                       ip_text(&definition->nat_start).text, ip_text(&definition->nat_end).text);
    if (definition->nat_port_start > definition->nat_port_end)
        return err_set(err, -EINVAL, "the NAT ports begin at %u and end before, at %u", definition->nat_port_start,
                       definition->nat_port_end);
    return 0;
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
                                 struct err *err) = {check_name, check_links, check_ip, check_forward, check_dns, check_overlay};
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(checks) / sizeof(checks[0]); i++)
        r = checks[i](definition, err);
    return r;
}
