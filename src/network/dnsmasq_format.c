/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dnsmasq's configuration of a network, and its lease file. The definition has been checked: no text in it can end a
 * line. */
#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "network/definition.h"
#include "network/dnsmasq_private.h"

#define LEASE_FILE_MAX (16u * 1024 * 1024)
#define HOSTS_LEASES 65535 /* leases for static hosts, besides those of ranges */

/* As in firewall.c: the first failure is kept. */
struct lines {
    struct buffer *out;
    int result;
};

#define LINE(lines, ...)                                                \
    do {                                                                \
        if ((lines)->result == 0)                                       \
            (lines)->result = buffer_printf((lines)->out, __VA_ARGS__); \
    } while (0)

static void format_dns(const struct network_definition *definition, struct lines *lines)
{
    if (!definition->dns) {
        LINE(lines, "port=0\n");
        return;
    }
    if (!definition->dns_forward_plain)
        LINE(lines, "domain-needed\n");
    /* Guests of an isolated network reach nobody through the host, not by names either. */
    if (definition->forward == NETWORK_ISOLATED || definition->forwarders.count > 0)
        LINE(lines, "no-resolv\n");
    for (size_t i = 0; i < definition->forwarders.count; i++) {
        const struct network_forwarder *forwarder = &definition->forwarders.items[i];
        LINE(lines, "server=%s%s%s%s\n", forwarder->domain[0] != '\0' ? "/" : "", forwarder->domain,
             forwarder->domain[0] != '\0' ? "/" : "",
             ip_text(&forwarder->address).text);
    }
    for (size_t i = 0; i < definition->dns_txt.count; i++)
        LINE(lines, "txt-record=%s,\"%s\"\n", definition->dns_txt.items[i].name, definition->dns_txt.items[i].value);
    for (size_t i = 0; i < definition->dns_srv.count; i++) {
        const struct network_dns_srv *srv = &definition->dns_srv.items[i];
        const char *domain = srv->domain[0] != '\0' ? srv->domain : definition->domain;
        LINE(lines, "srv-host=_%s._%s%s%s", srv->service, srv->protocol, domain[0] != '\0' ? "." : "", domain);
        if (srv->target[0] != '\0')
            LINE(lines, ",%s,%u,%u,%u", srv->target, srv->port, srv->priority, srv->weight);
        LINE(lines, "\n");
    }
}

static void format_range(const struct network_ip *ip, const struct network_range *range, struct lines *lines)
{
    struct ip_address mask = ip_mask(AF_INET, ip->net.prefix);
    bool v6 = ip->net.address.family == AF_INET6;
    char lease[16] = "", prefix[8];
    if (range->lease_seconds == UINT32_MAX)
        snprintf(lease, sizeof(lease), ",infinite");
    else if (range->lease_seconds != 0)
        snprintf(lease, sizeof(lease), ",%u", range->lease_seconds);
    snprintf(prefix, sizeof(prefix), "%u", ip->net.prefix);
    LINE(lines, "dhcp-range=%s,%s,%s%s\n", ip_text(&range->start).text, ip_text(&range->end).text, v6 ? prefix : ip_text(&mask).text,
         lease);
}

/* Ranges; static: known hosts only. */
static uint64_t format_ranges(const struct network_ip *ip, struct lines *lines)
{
    struct ip_address first = ip_first(&ip->net), mask = ip_mask(AF_INET, ip->net.prefix);
    uint64_t leases = HOSTS_LEASES;
    for (size_t i = 0; i < ip->ranges.count; i++) {
        format_range(ip, &ip->ranges.items[i], lines);
        leases += ip_count(&ip->ranges.items[i].start, &ip->ranges.items[i].end);
    }
    if (ip->ranges.count == 0 && first.family == AF_INET)
        LINE(lines, "dhcp-range=%s,static,%s\n", ip_text(&first).text, ip_text(&mask).text);
    else if (ip->ranges.count == 0)
        LINE(lines, "dhcp-range=%s,static,%u\n", ip_text(&first).text, ip->net.prefix);
    return leases;
}

/* Guests learn their IPv6 prefix and router by announcements (RFC 4861), and their addresses by DHCP if the network has it, else they
 * make them (RFC 4862). */
static uint64_t format_ipv6(const struct network_definition *definition, struct lines *lines)
{
    const struct network_ip *ip = &definition->ip6;
    struct ip_address first = ip_first(&ip->net);
    char mtu[24] = "";
    if (!ip->there)
        return 0;
    LINE(lines, "enable-ra\n");
    if (definition->mtu != 0)
        snprintf(mtu, sizeof(mtu), ",mtu:%u", definition->mtu);
    if (definition->forward == NETWORK_ISOLATED) /* the usual interval, and a lifetime of 0: no router there */
        LINE(lines, "ra-param=%s%s,0,0\n", definition->bridge, mtu);
    else if (definition->mtu != 0)
        LINE(lines, "ra-param=%s%s,0\n", definition->bridge, mtu);
    if (ip->has_dhcp)
        return format_ranges(ip, lines);
    LINE(lines, "dhcp-range=%s,ra-only,%u\n", ip_text(&first).text, ip->net.prefix);
    return 0;
}

static void format_dhcp(const struct network_definition *definition, struct lines *lines)
{
    uint64_t leases = definition->ip4.has_dhcp ? format_ranges(&definition->ip4, lines) : 0;
    if (definition->ip4.has_dhcp && definition->forward == NETWORK_ISOLATED)
        LINE(lines, "dhcp-option=option:router\n"); /* empty: no router there */
    if (definition->ip4.has_dhcp && definition->mtu != 0)
        LINE(lines, "dhcp-option=option:mtu,%u\n", definition->mtu);
    leases += format_ipv6(definition, lines);
    LINE(lines, "dhcp-no-override\ndhcp-authoritative\n");
    if (leases > 0)
        LINE(lines, "dhcp-lease-max=%lu\n", leases);
    if (definition->bootp_file[0] != '\0')
        LINE(lines, "dhcp-boot=%s%s%s\n", definition->bootp_file, definition->bootp_server[0] != '\0' ? ",," : "",
             definition->bootp_server);
}

/* Announcements are DHCP's to dnsmasq. */
static bool has_dhcp(const struct network_definition *definition)
{
    return definition->ip4.has_dhcp || definition->ip6.there;
}

static void format_paths(const struct dnsmasq_place *place, const struct network_definition *definition,
                         struct lines *lines)
{
    static const struct {
        const char *option, *suffix;
        bool dhcp;
    } files[] = {{"pid-file", "pid", false},
                 {"addn-hosts", "addnhosts", false},
                 {"dhcp-hostsfile", "hostsfile", true},
                 {"dhcp-leasefile", "leases", true}};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (files[i].dhcp && !has_dhcp(definition))
            continue;
        int r = dnsmasq_path(place, definition->name, files[i].suffix, path);
        if (r < 0 && lines->result == 0)
            lines->result = r;
        LINE(lines, "%s=%s\n", files[i].option, path);
    }
}

int dnsmasq_format(const struct dnsmasq_place *place, const struct network_definition *definition, struct buffer *out)
{
    struct lines lines = {.out = out};
    LINE(&lines, "# Written by ferryd for network \"%s\"; changes are lost. Use virsh net-edit.\n", definition->name);
    if (place->user[0] != '\0')
        LINE(&lines, "user=%s\n", place->user);
    LINE(&lines, "strict-order\nno-hosts\nbind-dynamic\nexcept-interface=lo\ninterface=%s\n", definition->bridge);
    format_paths(place, definition, &lines);
    if (definition->domain[0] != '\0') {
        LINE(&lines, "domain=%s\nexpand-hosts\n", definition->domain);
        if (definition->domain_local)
            LINE(&lines, "local=/%s/\n", definition->domain);
    }
    format_dns(definition, &lines);
    if (has_dhcp(definition))
        format_dhcp(definition, &lines);
    if (definition->tftp_root[0] != '\0')
        LINE(&lines, "enable-tftp\ntftp-root=%s\n", definition->tftp_root);
    for (size_t i = 0; i < definition->dnsmasq_options.count; i++)
        LINE(&lines, "%s\n", definition->dnsmasq_options.items[i].text);
    return lines.result;
}

/* dnsmasq(8), --dhcp-host: fields in any order, told apart by their form. */
static void format_dhcp_host(const struct network_host *host, struct lines *lines)
{
    const uint8_t *mac = host->mac;
    const char *comma = "";
    bool v6 = host->ip.family == AF_INET6;
    if (host->has_mac)
        LINE(lines, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    if (host->id[0] != '\0')
        LINE(lines, "id:%s", host->id);
    if (host->has_mac || host->id[0] != '\0')
        comma = ",";
    if (ip_is_set(&host->ip)) {
        LINE(lines, "%s%s%s%s", comma, v6 ? "[" : "", ip_text(&host->ip).text, v6 ? "]" : "");
        comma = ",";
    }
    if (host->name[0] != '\0')
        LINE(lines, "%s%s", comma, host->name);
    LINE(lines, "\n");
}

int dnsmasq_format_dhcp_hosts(const struct dnsmasq_place *place, const struct network_definition *definition,
                              struct buffer *out)
{
    struct lines lines = {.out = out};
    for (size_t i = 0; i < definition->ip4.hosts.count; i++)
        format_dhcp_host(&definition->ip4.hosts.items[i], &lines);
    for (size_t i = 0; i < definition->ip6.hosts.count; i++)
        format_dhcp_host(&definition->ip6.hosts.items[i], &lines);
    return lines.result;
}

int dnsmasq_format_dns_hosts(const struct dnsmasq_place *place, const struct network_definition *definition,
                             struct buffer *out)
{
    struct lines lines = {.out = out};
    for (size_t i = 0; i < definition->dns_hosts.count; i++)
        LINE(&lines, "%s\t%s\n", ip_text(&definition->dns_hosts.items[i].ip).text, definition->dns_hosts.items[i].name);
    return lines.result;
}

/* A DUID made of a MAC address of Ethernet: RFC 8415 sections 11.2 (with a time) and 11.4. */
static bool mac_of_duid(const char *duid, uint8_t mac[static 6])
{
    bool with_time = strncmp(duid, "00:01:00:01:", 12) == 0 && strlen(duid) == 14 * 3 - 1;
    bool alone = strncmp(duid, "00:03:00:01:", 12) == 0 && strlen(duid) == 10 * 3 - 1;
    return (with_time || alone) && text_parse_mac(duid + (with_time ? 24 : 12), mac) == 0;
}

/* dnsmasq's lease file: expiry, MAC, address, name or *, client identifier or *; blanks between them. Of IPv6 the second word is the
 * number of the identity association, with a T in front for temporary addresses, and the last one the DUID. */
int dnsmasq_parse_lease(const char *line, struct dhcp_lease *ret_lease)
{
    struct dhcp_lease lease = {0};
    char key[64], address[64];
    long long expiry;
    if (sscanf(line, "%lld %63s %63s %255s %399s", &expiry, key, address, lease.hostname, lease.client_id) != 5 ||
        expiry < 0 || ip_parse(address, &lease.ip) < 0)
        return -EINVAL;
    /* A MAC that is not Ethernet's has its type in front ("06-..."), and is none that a VM has. */
    lease.has_mac = (lease.ip.family == AF_INET ? text_parse_mac(key, lease.mac) == 0 : mac_of_duid(lease.client_id, lease.mac));
    if (lease.ip.family == AF_INET ? !lease.has_mac : text_format(lease.iaid, sizeof(lease.iaid), "%s", key) < 0)
        return -EINVAL;
    lease.expiry = expiry;
    if (text_equal(lease.hostname, "*"))
        lease.hostname[0] = '\0';
    if (text_equal(lease.client_id, "*"))
        lease.client_id[0] = '\0';
    *ret_lease = lease;
    return 0;
}

static int take_leases(char *text, int64_t now, struct dhcp_lease **ret_leases, size_t *ret_count)
{
    struct dhcp_lease *leases = NULL, lease;
    size_t count = 0;
    char *state = NULL;
    for (char *line = strtok_r(text, "\n", &state); line != NULL; line = strtok_r(NULL, "\n", &state)) {
        if (dnsmasq_parse_lease(line, &lease) < 0 || (lease.expiry != 0 && lease.expiry <= now))
            continue;
        struct dhcp_lease *grown = realloc(leases, (count + 1) * sizeof(*leases));
        if (grown == NULL) {
            free(leases);
            return -ENOMEM;
        }
        leases = grown;
        leases[count++] = lease;
    }
    *ret_leases = leases;
    *ret_count = count;
    return 0;
}

int dnsmasq_leases(const struct dnsmasq_place *place, const char *name, int64_t now, struct dhcp_lease **ret_leases,
                   size_t *ret_count, struct err *err)
{
    char path[PATH_MAX];
    void *text;
    size_t size;
    int r = dnsmasq_path(place, name, "leases", path);
    if (r == 0)
        r = fd_read_file(path, LEASE_FILE_MAX, &text, &size);
    if (r == -ENOENT) {
        *ret_leases = NULL;
        *ret_count = 0;
        return 0;
    }
    if (r == 0) {
        r = take_leases(text, now, ret_leases, ret_count);
        free(text);
    }
    return r < 0 ? err_set(err, r, "cannot read the leases in %s: %s", path, strerror(-r)) : 0;
}
