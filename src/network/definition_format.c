/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes a definition as libvirt's <network> document, in libvirt's order of elements. */
#include "network/definition_private.h"

static void write_nat(const struct network_definition *definition, struct xml_writer *writer)
{
    if (!ip_is_set(&definition->nat_start) && definition->nat_port_start == 0 && !definition->nat_ipv6)
        return;
    xml_open(writer, "nat");
    if (definition->nat_ipv6)
        xml_put(writer, "ipv6", "yes");
    if (ip_is_set(&definition->nat_start)) {
        xml_open(writer, "address");
        xml_put(writer, "start", "%s", ip_text(&definition->nat_start).text);
        xml_put(writer, "end", "%s", ip_text(&definition->nat_end).text);
        xml_close(writer);
    }
    if (definition->nat_port_start != 0) {
        xml_open(writer, "port");
        xml_put(writer, "start", "%u", definition->nat_port_start);
        xml_put(writer, "end", "%u", definition->nat_port_end);
        xml_close(writer);
    }
    xml_close(writer);
}

static void write_forward(const struct network_definition *definition, struct xml_writer *writer)
{
    if (definition->forward == NETWORK_ISOLATED)
        return;
    xml_open(writer, "forward");
    if (definition->forward_dev[0] != '\0')
        xml_put(writer, "dev", "%s", definition->forward_dev);
    xml_put(writer, "mode", "%s", network_forward_name(definition->forward));
    write_nat(definition, writer);
    if (definition->forward_dev[0] != '\0') {
        xml_open(writer, "interface");
        xml_put(writer, "dev", "%s", definition->forward_dev);
        xml_close(writer);
    }
    xml_close(writer);
}

static void write_bridge(const struct network_definition *definition, struct xml_writer *writer)
{
    if (definition->bridge[0] != '\0' || definition->forward != NETWORK_BRIDGE) {
        xml_open(writer, "bridge");
        if (definition->bridge[0] != '\0')
            xml_put(writer, "name", "%s", definition->bridge);
        if (definition->forward != NETWORK_BRIDGE) {
            xml_put(writer, "stp", "%s", definition->stp ? "on" : "off");
            xml_put(writer, "delay", "%u", definition->delay);
        }
        xml_close(writer);
    }
    if (definition->mtu != 0) {
        xml_open(writer, "mtu");
        xml_put(writer, "size", "%u", definition->mtu);
        xml_close(writer);
    }
    if (definition->has_mac) {
        xml_open(writer, "mac");
        xml_put(writer, "address", MAC_FORMAT, MAC_ARGUMENTS(definition->mac));
        xml_close(writer);
    }
}

static void write_domain(const struct network_definition *definition, struct xml_writer *writer)
{
    if (definition->domain[0] == '\0')
        return;
    xml_open(writer, "domain");
    xml_put(writer, "name", "%s", definition->domain);
    if (definition->domain_local)
        xml_put(writer, "localOnly", "yes");
    xml_close(writer);
}

static void write_forwarder(const struct network_forwarder *forwarder, struct xml_writer *writer)
{
    xml_open(writer, "forwarder");
    if (forwarder->domain[0] != '\0')
        xml_put(writer, "domain", "%s", forwarder->domain);
    if (ip_is_set(&forwarder->address))
        xml_put(writer, "addr", "%s", ip_text(&forwarder->address).text);
    xml_close(writer);
}

static void write_srv(const struct network_dns_srv *srv, struct xml_writer *writer)
{
    xml_open(writer, "srv");
    xml_put(writer, "service", "%s", srv->service);
    xml_put(writer, "protocol", "%s", srv->protocol);
    if (srv->domain[0] != '\0')
        xml_put(writer, "domain", "%s", srv->domain);
    if (srv->target[0] != '\0') {
        xml_put(writer, "target", "%s", srv->target);
        xml_put(writer, "port", "%u", srv->port);
    }
    if (srv->priority != 0)
        xml_put(writer, "priority", "%u", srv->priority);
    if (srv->weight != 0)
        xml_put(writer, "weight", "%u", srv->weight);
    xml_close(writer);
}

/* Neighbours with one address make one element. */
static void write_dns_hosts(const struct network_definition *definition, struct xml_writer *writer)
{
    for (size_t i = 0; i < definition->dns_hosts.count;) {
        const struct ip_address *ip = &definition->dns_hosts.items[i].ip;
        xml_open(writer, "host");
        xml_put(writer, "ip", "%s", ip_text(ip).text);
        for (; i < definition->dns_hosts.count && ip_compare(&definition->dns_hosts.items[i].ip, ip) == 0; i++)
            xml_text(writer, "hostname", "%s", definition->dns_hosts.items[i].name);
        xml_close(writer);
    }
}

static void write_dns(const struct network_definition *definition, struct xml_writer *writer)
{
    if (definition->dns && definition->dns_forward_plain && definition->forwarders.count == 0 &&
        definition->dns_hosts.count == 0 && definition->dns_txt.count == 0 && definition->dns_srv.count == 0)
        return;
    xml_open(writer, "dns");
    if (!definition->dns)
        xml_put(writer, "enable", "no");
    if (!definition->dns_forward_plain)
        xml_put(writer, "forwardPlainNames", "no");
    for (size_t i = 0; i < definition->forwarders.count; i++)
        write_forwarder(&definition->forwarders.items[i], writer);
    for (size_t i = 0; i < definition->dns_txt.count; i++) {
        xml_open(writer, "txt");
        xml_put(writer, "name", "%s", definition->dns_txt.items[i].name);
        xml_put(writer, "value", "%s", definition->dns_txt.items[i].value);
        xml_close(writer);
    }
    for (size_t i = 0; i < definition->dns_srv.count; i++)
        write_srv(&definition->dns_srv.items[i], writer);
    write_dns_hosts(definition, writer);
    xml_close(writer);
}

static void write_range(const struct network_range *range, struct xml_writer *writer)
{
    xml_open(writer, "range");
    xml_put(writer, "start", "%s", ip_text(&range->start).text);
    xml_put(writer, "end", "%s", ip_text(&range->end).text);
    if (range->lease_seconds != 0) {
        xml_open(writer, "lease");
        xml_put(writer, "expiry", "%u", range->lease_seconds == UINT32_MAX ? 0 : range->lease_seconds);
        xml_put(writer, "unit", "seconds");
        xml_close(writer);
    }
    xml_close(writer);
}

static void write_host(const struct network_host *host, struct xml_writer *writer)
{
    xml_open(writer, "host");
    if (host->has_mac)
        xml_put(writer, "mac", MAC_FORMAT, MAC_ARGUMENTS(host->mac));
    if (host->id[0] != '\0')
        xml_put(writer, "id", "%s", host->id);
    if (host->name[0] != '\0')
        xml_put(writer, "name", "%s", host->name);
    if (ip_is_set(&host->ip))
        xml_put(writer, "ip", "%s", ip_text(&host->ip).text);
    xml_close(writer);
}

static void write_dhcp(const struct network_definition *definition, const struct network_ip *ip, struct xml_writer *writer)
{
    xml_open(writer, "dhcp");
    for (size_t i = 0; i < ip->ranges.count; i++)
        write_range(&ip->ranges.items[i], writer);
    for (size_t i = 0; i < ip->hosts.count; i++)
        write_host(&ip->hosts.items[i], writer);
    if (ip == &definition->ip4 && definition->bootp_file[0] != '\0') {
        xml_open(writer, "bootp");
        xml_put(writer, "file", "%s", definition->bootp_file);
        if (definition->bootp_server[0] != '\0')
            xml_put(writer, "server", "%s", definition->bootp_server);
        xml_close(writer);
    }
    xml_close(writer);
}

static void write_net(const struct ip_net *net, bool by_netmask, struct xml_writer *writer)
{
    struct ip_address mask = ip_mask(net->address.family, net->prefix);
    if (net->address.family == AF_INET6)
        xml_put(writer, "family", "ipv6");
    xml_put(writer, "address", "%s", ip_text(&net->address).text);
    if (by_netmask)
        xml_put(writer, "netmask", "%s", ip_text(&mask).text);
    else
        xml_put(writer, "prefix", "%u", net->prefix);
}

static void write_ip(const struct network_definition *definition, const struct network_ip *ip, struct xml_writer *writer)
{
    if (!ip->there)
        return;
    xml_open(writer, "ip");
    write_net(&ip->net, ip->by_netmask, writer);
    if (ip == &definition->ip4 && definition->tftp_root[0] != '\0') {
        xml_open(writer, "tftp");
        xml_put(writer, "root", "%s", definition->tftp_root);
        xml_close(writer);
    }
    if (ip->has_dhcp)
        write_dhcp(definition, ip, writer);
    xml_close(writer);
}

static void write_route(const struct network_route *route, struct xml_writer *writer)
{
    xml_open(writer, "route");
    write_net(&route->net, route->by_netmask, writer);
    xml_put(writer, "gateway", "%s", ip_text(&route->gateway).text);
    if (route->metric != 0)
        xml_put(writer, "metric", "%u", route->metric);
    xml_close(writer);
}

static void write_overlay(const struct network_overlay *overlay, struct xml_writer *writer)
{
    if (!overlay->there)
        return;
    xml_open(writer, "ferry:overlay");
    xml_put(writer, "xmlns:ferry", "%s", NETWORK_NAMESPACE);
    xml_put(writer, "vni", "%u", overlay->vni);
    xml_put(writer, "local", "%s", ip_text(&overlay->local).text);
    if (overlay->port != VXLAN_PORT)
        xml_put(writer, "port", "%u", overlay->port);
    for (size_t i = 0; i < overlay->peers.count; i++) {
        xml_open(writer, "ferry:peer");
        xml_put(writer, "address", "%s", ip_text(&overlay->peers.items[i]).text);
        xml_close(writer);
    }
    xml_close(writer);
}

static void write_dnsmasq_options(const struct network_definition *definition, struct xml_writer *writer)
{
    if (definition->dnsmasq_options.count == 0)
        return;
    xml_open(writer, "dnsmasq:options");
    xml_put(writer, "xmlns:dnsmasq", "%s", NETWORK_NAMESPACE_DNSMASQ);
    for (size_t i = 0; i < definition->dnsmasq_options.count; i++) {
        xml_open(writer, "dnsmasq:option");
        xml_put(writer, "value", "%s", definition->dnsmasq_options.items[i].text);
        xml_close(writer);
    }
    xml_close(writer);
}

void network_definition_write(const struct network_definition *definition, struct xml_writer *writer)
{
    char uuid[UUID_TEXT_SIZE];
    xml_open(writer, "network");
    if (definition->ipv6)
        xml_put(writer, "ipv6", "yes");
    xml_text(writer, "name", "%s", definition->name);
    if (definition->has_uuid) {
        uuid_format(definition->uuid, uuid);
        xml_text(writer, "uuid", "%s", uuid);
    }
    xml_raw(writer, definition->metadata);
    write_forward(definition, writer);
    write_bridge(definition, writer);
    write_domain(definition, writer);
    write_dns(definition, writer);
    write_ip(definition, &definition->ip4, writer);
    write_ip(definition, &definition->ip6, writer);
    for (size_t i = 0; i < definition->routes.count; i++)
        write_route(&definition->routes.items[i], writer);
    write_overlay(&definition->overlay, writer);
    write_dnsmasq_options(definition, writer);
    xml_raw(writer, definition->foreign);
    xml_close(writer);
}

int network_definition_format(const struct network_definition *definition, struct buffer *out)
{
    struct xml_writer writer;
    xml_writer_init(&writer, out);
    network_definition_write(definition, &writer);
    return xml_writer_end(&writer);
}
