/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes a definition as libvirt's <network> document, in libvirt's order of elements. */
#include "network/definition_private.h"

static void write_forward(const struct network_definition *definition, struct xml_writer *writer)
{
    if (definition->forward == NETWORK_ISOLATED)
        return;
    xml_open(writer, "forward");
    if (definition->forward_dev[0] != '\0')
        xml_put(writer, "dev", "%s", definition->forward_dev);
    xml_put(writer, "mode", "%s", network_forward_name(definition->forward));
    if (definition->nat_start != 0 || definition->nat_port_start != 0)
        xml_open(writer, "nat");
    if (definition->nat_start != 0) {
        xml_open(writer, "address");
        xml_put(writer, "start", "%s", ipv4_text(definition->nat_start).text);
        xml_put(writer, "end", "%s", ipv4_text(definition->nat_end).text);
        xml_close(writer);
    }
    if (definition->nat_port_start != 0) {
        xml_open(writer, "port");
        xml_put(writer, "start", "%u", definition->nat_port_start);
        xml_put(writer, "end", "%u", definition->nat_port_end);
        xml_close(writer);
    }
    if (definition->nat_start != 0 || definition->nat_port_start != 0)
        xml_close(writer);
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
    if (forwarder->address != 0)
        xml_put(writer, "addr", "%s", ipv4_text(forwarder->address).text);
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
        uint32_t ip = definition->dns_hosts.items[i].ip;
        xml_open(writer, "host");
        xml_put(writer, "ip", "%s", ipv4_text(ip).text);
        for (; i < definition->dns_hosts.count && definition->dns_hosts.items[i].ip == ip; i++)
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
    xml_put(writer, "start", "%s", ipv4_text(range->start).text);
    xml_put(writer, "end", "%s", ipv4_text(range->end).text);
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
    if (host->name[0] != '\0')
        xml_put(writer, "name", "%s", host->name);
    if (host->ip != 0)
        xml_put(writer, "ip", "%s", ipv4_text(host->ip).text);
    xml_close(writer);
}

static void write_dhcp(const struct network_definition *definition, struct xml_writer *writer)
{
    xml_open(writer, "dhcp");
    for (size_t i = 0; i < definition->ranges.count; i++)
        write_range(&definition->ranges.items[i], writer);
    for (size_t i = 0; i < definition->hosts.count; i++)
        write_host(&definition->hosts.items[i], writer);
    if (definition->bootp_file[0] != '\0') {
        xml_open(writer, "bootp");
        xml_put(writer, "file", "%s", definition->bootp_file);
        if (definition->bootp_server[0] != '\0')
            xml_put(writer, "server", "%s", definition->bootp_server);
        xml_close(writer);
    }
    xml_close(writer);
}

static void write_ip(const struct network_definition *definition, struct xml_writer *writer)
{
    if (!definition->has_ip)
        return;
    xml_open(writer, "ip");
    xml_put(writer, "address", "%s", ipv4_text(definition->ip.address).text);
    if (definition->by_netmask)
        xml_put(writer, "netmask", "%s", ipv4_text(ipv4_mask(definition->ip.prefix)).text);
    else
        xml_put(writer, "prefix", "%u", definition->ip.prefix);
    if (definition->tftp_root[0] != '\0') {
        xml_open(writer, "tftp");
        xml_put(writer, "root", "%s", definition->tftp_root);
        xml_close(writer);
    }
    if (definition->has_dhcp)
        write_dhcp(definition, writer);
    xml_close(writer);
}

void network_definition_write(const struct network_definition *definition, struct xml_writer *writer)
{
    char uuid[UUID_TEXT_SIZE];
    xml_open(writer, "network");
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
    write_ip(definition, writer);
    xml_close(writer);
}

int network_definition_format(const struct network_definition *definition, struct buffer *out)
{
    struct xml_writer writer;
    xml_writer_init(&writer, out);
    network_definition_write(definition, &writer);
    return xml_writer_end(&writer);
}
