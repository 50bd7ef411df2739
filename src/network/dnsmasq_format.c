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
             forwarder->address != 0 ? ipv4_text(forwarder->address).text : "");
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

static void format_dhcp(const struct network_definition *definition, struct lines *lines)
{
    uint64_t leases = HOSTS_LEASES;
    struct ipv4_text mask = ipv4_text(ipv4_mask(definition->ip.prefix));
    for (size_t i = 0; i < definition->ranges.count; i++) {
        const struct network_range *range = &definition->ranges.items[i];
        char lease[16] = "";
        if (range->lease_seconds == UINT32_MAX)
            snprintf(lease, sizeof(lease), ",infinite");
        else if (range->lease_seconds != 0)
            snprintf(lease, sizeof(lease), ",%u", range->lease_seconds);
        LINE(lines, "dhcp-range=%s,%s,%s%s\n", ipv4_text(range->start).text, ipv4_text(range->end).text, mask.text,
             lease);
        leases += range->end - range->start + 1;
    }
    if (definition->ranges.count == 0)
        LINE(lines, "dhcp-range=%s,static,%s\n", ipv4_text(ipv4_first(&definition->ip)).text, mask.text);
    if (definition->forward == NETWORK_ISOLATED)
        LINE(lines, "dhcp-option=option:router\n"); /* empty: no router there */
    LINE(lines, "dhcp-no-override\ndhcp-authoritative\ndhcp-lease-max=%lu\n", leases);
    if (definition->bootp_file[0] != '\0')
        LINE(lines, "dhcp-boot=%s%s%s\n", definition->bootp_file, definition->bootp_server[0] != '\0' ? ",," : "",
             definition->bootp_server);
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
        if (files[i].dhcp && !definition->has_dhcp)
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
    if (definition->has_dhcp)
        format_dhcp(definition, &lines);
    if (definition->tftp_root[0] != '\0')
        LINE(&lines, "enable-tftp\ntftp-root=%s\n", definition->tftp_root);
    return lines.result;
}

/* dnsmasq(8), --dhcp-host: fields in any order, told apart by their form. */
int dnsmasq_format_dhcp_hosts(const struct dnsmasq_place *place, const struct network_definition *definition,
                              struct buffer *out)
{
    struct lines lines = {.out = out};
    for (size_t i = 0; i < definition->hosts.count; i++) {
        const struct network_host *host = &definition->hosts.items[i];
        const uint8_t *mac = host->mac;
        const char *comma = "";
        if (host->has_mac) {
            LINE(&lines, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
            comma = ",";
        }
        if (host->ip != 0) {
            LINE(&lines, "%s%s", comma, ipv4_text(host->ip).text);
            comma = ",";
        }
        if (host->name[0] != '\0')
            LINE(&lines, "%s%s", comma, host->name);
        LINE(&lines, "\n");
    }
    return lines.result;
}

int dnsmasq_format_dns_hosts(const struct dnsmasq_place *place, const struct network_definition *definition,
                             struct buffer *out)
{
    struct lines lines = {.out = out};
    for (size_t i = 0; i < definition->dns_hosts.count; i++)
        LINE(&lines, "%s\t%s\n", ipv4_text(definition->dns_hosts.items[i].ip).text,
             definition->dns_hosts.items[i].name);
    return lines.result;
}

/* dnsmasq's lease file: expiry, MAC, address, name or *, client identifier or *; blanks between them. */
int dnsmasq_parse_lease(const char *line, struct dhcp_lease *ret_lease)
{
    struct dhcp_lease lease = {0};
    char mac[64], address[64];
    long long expiry;
    /* A MAC that is not Ethernet's has its type in front ("06-..."), and is none that a VM has. */
    if (sscanf(line, "%lld %63s %63s %255s %255s", &expiry, mac, address, lease.hostname, lease.client_id) != 5 ||
        expiry < 0 || text_parse_mac(mac, lease.mac) < 0 || ipv4_parse(address, &lease.ip) < 0)
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
