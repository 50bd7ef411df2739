/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads libvirt's <network> document into a definition, and refuses by name what would otherwise be lost. */
#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "network/definition_private.h"

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Attributes, elements, and those of the elements that may be there once. */
#define ALLOW_ATTRIBUTES(...) (&(struct xml_allowed){.attributes = NAMES(__VA_ARGS__)})

static int copy_text(const xmlNode *node, const char *what, const char *text, char *out, size_t size, struct err *err)
{
    if (text == NULL)
        return 0;
    if (strlen(text) >= size)
        return err_set(err, -EINVAL, "%s of <%s> is longer than %zu bytes", what, xml_name(node), size - 1);
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

static int read_text(const xmlNode *node, const char *attribute, char *out, size_t size, struct err *err)
{
    return copy_text(node, attribute, xml_attribute(node, attribute), out, size, err);
}

/* An attribute that may be absent: the output is left alone then. */
static int read_address(const xmlNode *node, const char *attribute, uint32_t *ret_address, struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    if (text == NULL || ipv4_parse(text, ret_address) == 0)
        return 0;
    if (strchr(text, ':') != NULL)
        return err_set(err, -ENOTSUP, "%s '%s' of <%s>: networks have IPv4 addresses only", attribute, text,
                       xml_name(node));
    return err_set(err, -EINVAL, "%s '%s' of <%s> is not an IPv4 address", attribute, text, xml_name(node));
}

static int need_address(const xmlNode *node, const char *attribute, uint32_t *ret_address, struct err *err)
{
    if (xml_attribute(node, attribute) == NULL)
        return err_set(err, -EINVAL, "<%s> in line %ld has no attribute %s", xml_name(node), xmlGetLineNo(node),
                       attribute);
    return read_address(node, attribute, ret_address, err);
}

static int read_number(const xmlNode *node, const char *attribute, unsigned max, unsigned *ret_value, struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    uint64_t value;
    if (text == NULL)
        return 0;
    if (text_parse_u64(text, &value) < 0 || value > max)
        return err_set(err, -EINVAL, "%s '%s' of <%s> is not a number from 0 to %u", attribute, text, xml_name(node),
                       max);
    *ret_value = (unsigned)value;
    return 0;
}

static int read_choice(const xmlNode *node, const char *attribute, const char *yes, const char *no, bool *ret_value,
                       struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    if (text == NULL)
        return 0;
    if (!text_equal(text, yes) && !text_equal(text, no))
        return err_set(err, -EINVAL, "%s of <%s> is '%s', neither %s nor %s", attribute, xml_name(node), text, yes, no);
    *ret_value = text_equal(text, yes);
    return 0;
}

static int read_mac(const xmlNode *node, const char *attribute, bool *ret_has, uint8_t ret_mac[static 6],
                    struct err *err)
{
    const char *text = xml_attribute(node, attribute);
    if (text == NULL)
        return 0;
    if (text_parse_mac(text, ret_mac) < 0)
        return err_set(err, -EINVAL, "%s '%s' of <%s> is not a MAC address such as 52:54:00:12:34:56", attribute, text,
                       xml_name(node));
    *ret_has = true;
    return 0;
}

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

int read_host(const xmlNode *node, struct network_host *ret_host, struct err *err)
{
    struct network_host host = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("mac", "name", "ip"), err);
    if (r == 0)
        r = read_mac(node, "mac", &host.has_mac, host.mac, err);
    if (r == 0)
        r = read_text(node, "name", host.name, sizeof(host.name), err);
    if (r == 0)
        r = read_address(node, "ip", &host.ip, err);
    if (r == 0)
        *ret_host = host;
    return r;
}

int read_txt(const xmlNode *node, struct network_dns_txt *ret_txt, struct err *err)
{
    struct network_dns_txt txt = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("name", "value"), err);
    if (r == 0)
        r = read_text(node, "name", txt.name, sizeof(txt.name), err);
    if (r == 0)
        r = read_text(node, "value", txt.value, sizeof(txt.value), err);
    if (r == 0)
        *ret_txt = txt;
    return r;
}

int read_srv(const xmlNode *node, struct network_dns_srv *ret_srv, struct err *err)
{
    struct network_dns_srv srv = {.port = 1};
    int r =
        xml_check(node, ALLOW_ATTRIBUTES("service", "protocol", "domain", "target", "port", "priority", "weight"), err);
    if (r == 0)
        r = read_text(node, "service", srv.service, sizeof(srv.service), err);
    if (r == 0)
        r = read_text(node, "protocol", srv.protocol, sizeof(srv.protocol), err);
    if (r == 0)
        r = read_text(node, "domain", srv.domain, sizeof(srv.domain), err);
    if (r == 0)
        r = read_text(node, "target", srv.target, sizeof(srv.target), err);
    if (r == 0)
        r = read_number(node, "port", 65535, &srv.port, err);
    if (r == 0)
        r = read_number(node, "priority", 65535, &srv.priority, err);
    if (r == 0)
        r = read_number(node, "weight", 65535, &srv.weight, err);
    if (r == 0)
        *ret_srv = srv;
    return r;
}

int read_dns_host(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_dns_host host = {0};
    int r = xml_check(node, &(struct xml_allowed){NAMES("ip"), NAMES("hostname"), NULL}, err);
    if (r == 0)
        r = need_address(node, "ip", &host.ip, err);
    for (const xmlNode *name = xml_first(node, NULL); r == 0 && name != NULL; name = xml_next(name, NULL)) {
        r = xml_check(name, &(struct xml_allowed){NULL}, err);
        if (r == 0)
            r = copy_text(name, "the text", xml_content(name), host.name, sizeof(host.name), err);
        if (r == 0)
            r = LIST_APPEND(&definition->dns_hosts, &host, err);
    }
    return r;
}

static int parse_forwarder(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_forwarder forwarder = {0};
    int r = xml_check(node, ALLOW_ATTRIBUTES("addr", "domain"), err);
    if (r == 0)
        r = read_address(node, "addr", &forwarder.address, err);
    if (r == 0)
        r = read_text(node, "domain", forwarder.domain, sizeof(forwarder.domain), err);
    return r < 0 ? r : LIST_APPEND(&definition->forwarders, &forwarder, err);
}

static int append_txt(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_dns_txt txt;
    int r = read_txt(node, &txt, err);
    return r < 0 ? r : LIST_APPEND(&definition->dns_txt, &txt, err);
}

static int append_srv(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_dns_srv srv;
    int r = read_srv(node, &srv, err);
    return r < 0 ? r : LIST_APPEND(&definition->dns_srv, &srv, err);
}

static int parse_dns(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(
        node,
        &(struct xml_allowed){NAMES("enable", "forwardPlainNames"), NAMES("forwarder", "txt", "srv", "host"), NULL},
        err);
    if (r == 0)
        r = read_choice(node, "enable", "yes", "no", &definition->dns, err);
    if (r == 0)
        r = read_choice(node, "forwardPlainNames", "yes", "no", &definition->dns_forward_plain, err);
    for (const xmlNode *child = xml_first(node, NULL); r == 0 && child != NULL; child = xml_next(child, NULL)) {
        if (xml_is(child, "forwarder"))
            r = parse_forwarder(child, definition, err);
        else if (xml_is(child, "host"))
            r = read_dns_host(child, definition, err);
        else if (xml_is(child, "txt"))
            r = append_txt(child, definition, err);
        else
            r = append_srv(child, definition, err);
    }
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

static int append_range(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_range range;
    int r = read_range(node, &range, err);
    return r < 0 ? r : LIST_APPEND(&definition->ranges, &range, err);
}

static int append_host(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct network_host host;
    int r = read_host(node, &host, err);
    return r < 0 ? r : LIST_APPEND(&definition->hosts, &host, err);
}

static int parse_dhcp(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, &(struct xml_allowed){NULL, NAMES("range", "host", "bootp"), NAMES("bootp")}, err);
    for (const xmlNode *child = xml_first(node, NULL); r == 0 && child != NULL; child = xml_next(child, NULL)) {
        if (xml_is(child, "range"))
            r = append_range(child, definition, err);
        else if (xml_is(child, "host"))
            r = append_host(child, definition, err);
        else
            r = parse_bootp(child, definition, err);
    }
    definition->has_dhcp = true;
    return r;
}

/* Without netmask and prefix: what the address's class says (RFC 791 section 2.3), as libvirt does. */
static unsigned prefix_of_class(uint32_t address)
{
    return address < 0x80000000 ? 8 : address < 0xc0000000 ? 16 : 24;
}

static int parse_prefix(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    uint32_t mask = 0;
    definition->by_netmask = xml_attribute(node, "prefix") == NULL;
    definition->ip.prefix = prefix_of_class(definition->ip.address);
    int r = read_number(node, "prefix", 32, &definition->ip.prefix, err);
    if (r < 0 || xml_attribute(node, "netmask") == NULL)
        return r;
    r = read_address(node, "netmask", &mask, err);
    if (r == 0 && ipv4_prefix_of_mask(mask, &definition->ip.prefix) < 0)
        return err_set(err, -EINVAL, "netmask '%s' of <ip> is none: its ones must all stand in front",
                       ipv4_text(mask).text);
    if (r == 0 && !definition->by_netmask)
        return err_set(err, -EINVAL, "<ip> has both a netmask and a prefix; give one of them");
    return r;
}

static int parse_ip(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    const char *family = xml_attribute(node, "family");
    if (family != NULL && !text_equal(family, "ipv4"))
        return err_set(err, -ENOTSUP, "<ip family='%s'>: networks have IPv4 addresses only", family);
    if (definition->has_ip)
        return err_set(err, -ENOTSUP, "the network has several <ip> elements; one is supported");
    int r = xml_check(node,
                      &(struct xml_allowed){NAMES("address", "netmask", "prefix", "family"), NAMES("dhcp", "tftp"),
                                            NAMES("dhcp", "tftp")},
                      err);
    if (r == 0)
        r = need_address(node, "address", &definition->ip.address, err);
    if (r == 0)
        r = parse_prefix(node, definition, err);
    definition->has_ip = true;
    const xmlNode *tftp = xml_first(node, "tftp"), *dhcp = xml_first(node, "dhcp");
    if (r == 0 && tftp != NULL)
        r = xml_check(tftp, ALLOW_ATTRIBUTES("root"), err);
    if (r == 0 && tftp != NULL)
        r = read_text(tftp, "root", definition->tftp_root, sizeof(definition->tftp_root), err);
    if (r == 0 && dhcp != NULL)
        r = parse_dhcp(dhcp, definition, err);
    return r;
}

static int parse_nat_addresses(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("start", "end"), err);
    if (r == 0)
        r = need_address(node, "start", &definition->nat_start, err);
    return r < 0 ? r : need_address(node, "end", &definition->nat_end, err);
}

static int parse_nat_ports(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("start", "end"), err);
    definition->nat_port_start = definition->nat_port_end = 0;
    if (r == 0)
        r = read_number(node, "start", 65535, &definition->nat_port_start, err);
    if (r == 0)
        r = read_number(node, "end", 65535, &definition->nat_port_end, err);
    if (r == 0 && definition->nat_port_start == 0)
        return err_set(err, -EINVAL, "<port> in <nat> needs a start and an end from 1 to 65535");
    return r;
}

static int parse_nat(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    const xmlNode *address = xml_first(node, "address"), *port = xml_first(node, "port");
    int r = xml_check(node, &(struct xml_allowed){NULL, NAMES("address", "port"), NAMES("address", "port")}, err);
    if (r == 0 && address != NULL)
        r = parse_nat_addresses(address, definition, err);
    return r < 0 || port == NULL ? r : parse_nat_ports(port, definition, err);
}

static int parse_forward_mode(const char *mode, enum network_forward *ret_forward, struct err *err)
{
    for (enum network_forward forward = NETWORK_NAT; forward <= NETWORK_BRIDGE; forward++) {
        if (text_equal(mode, network_forward_name(forward))) {
            *ret_forward = forward;
            return 0;
        }
    }
    return err_set(err, -ENOTSUP, "<forward mode='%s'> is not supported; there are nat, route, open and bridge", mode);
}

static int parse_forward(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    const char *mode = xml_attribute(node, "mode");
    const xmlNode *nat = xml_first(node, "nat"), *interface = xml_first(node, "interface");
    int r = xml_check(
        node, &(struct xml_allowed){NAMES("mode", "dev"), NAMES("nat", "interface"), NAMES("nat", "interface")}, err);
    if (r == 0)
        r = parse_forward_mode(mode == NULL ? "nat" : mode, &definition->forward, err);
    if (r == 0)
        r = read_text(node, "dev", definition->forward_dev, IFNAMSIZ, err);
    if (r == 0 && interface != NULL)
        r = xml_check(interface, ALLOW_ATTRIBUTES("dev", "connections"), err);
    if (r == 0 && interface != NULL)
        r = read_text(interface, "dev", definition->forward_dev, IFNAMSIZ, err);
    if (r < 0)
        return r;
    if (definition->forward == NETWORK_NAT) {
        definition->nat_port_start = 1024;
        definition->nat_port_end = 65535;
    } else if (nat != NULL) {
        return err_set(err, -EINVAL, "<nat> in <forward mode='%s'> has no meaning", mode);
    }
    return nat == NULL ? 0 : parse_nat(nat, definition, err);
}

static int parse_bridge(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("name", "stp", "delay"), err);
    if (r == 0)
        r = read_text(node, "name", definition->bridge, sizeof(definition->bridge), err);
    if (r == 0)
        r = read_choice(node, "stp", "on", "off", &definition->stp, err);
    if (r == 0)
        r = read_number(node, "delay", 30, &definition->delay, err);
    if (r == 0 && text_equal(definition->bridge, "virbr%d"))
        definition->bridge[0] = '\0';
    return r;
}

static int parse_domain(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("name", "localOnly"), err);
    if (r == 0)
        r = read_text(node, "name", definition->domain, sizeof(definition->domain), err);
    return r < 0 ? r : read_choice(node, "localOnly", "yes", "no", &definition->domain_local, err);
}

static int parse_metadata(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    struct buffer text = BUFFER_INIT(XML_SIZE_MAX);
    int r = xml_dump(node, &text);
    if (r < 0)
        return err_set(err, r, "<metadata> can't be kept: %s", strerror(-r));
    definition->metadata = (char *)text.data;
    return 0;
}

static int parse_mac(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("address"), err);
    return r < 0 ? r : read_mac(node, "address", &definition->has_mac, definition->mac, err);
}

static int parse_mtu(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("size"), err);
    return r < 0 ? r : read_number(node, "size", 65521, &definition->mtu, err);
}

static int parse_name(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, &(struct xml_allowed){NULL}, err);
    return r < 0 ? r : copy_text(node, "the text", xml_content(node), definition->name, sizeof(definition->name), err);
}

static int parse_uuid(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, &(struct xml_allowed){NULL}, err);
    definition->has_uuid = true;
    if (r == 0 && uuid_parse(xml_content(node), definition->uuid) < 0)
        return err_set(err, -EINVAL, "'%s' in <uuid> is not a UUID", xml_content(node));
    return r;
}

static const struct {
    const char *name;
    int (*parse)(const xmlNode *node, struct network_definition *definition, struct err *err);
} elements[] = {
    {"name", parse_name},     {"uuid", parse_uuid},     {"metadata", parse_metadata}, {"forward", parse_forward},
    {"bridge", parse_bridge}, {"domain", parse_domain}, {"mtu", parse_mtu},           {"mac", parse_mac},
    {"dns", parse_dns},       {"ip", parse_ip},
};

static int parse_network(const xmlNode *root, struct network_definition *definition, struct err *err)
{
    static const char *const names[] = {"name", "uuid", "metadata", "forward", "bridge", "domain",
                                        "mtu",  "mac",  "dns",      "ip",      NULL};
    static const char *const once[] = {"name",   "uuid", "metadata", "forward", "bridge",
                                       "domain", "mtu",  "mac",      "dns",     NULL};
    int r =
        xml_check(root, &(struct xml_allowed){NAMES("connections", "ipv6", "trustGuestRxFilters"), names, once}, err);
    if (r == 0 && text_equal(xml_attribute(root, "ipv6") ? xml_attribute(root, "ipv6") : "no", "yes"))
        return err_set(err, -ENOTSUP, "<network ipv6='yes'>: networks have IPv4 addresses only");
    for (const xmlNode *child = xml_first(root, NULL); r == 0 && child != NULL; child = xml_next(child, NULL))
        for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++)
            if (r == 0 && xml_is(child, elements[i].name))
                r = elements[i].parse(child, definition, err);
    return r;
}

int network_definition_read(const xmlNode *root, struct network_definition **ret_definition, struct err *err)
{
    struct network_definition *definition = calloc(1, sizeof(*definition));
    if (definition == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    definition->dns = definition->dns_forward_plain = true;
    int r = parse_network(root, definition, err);
    if (r == 0)
        r = network_definition_check(definition, err);
    if (r < 0)
        network_definition_free(definition);
    else
        *ret_definition = definition;
    return r;
}

int network_definition_parse(const char *xml, struct network_definition **ret_definition, struct err *err)
{
    xmlDoc *doc;
    int r = xml_read(xml, "network", &doc, err);
    if (r < 0)
        return r;
    r = network_definition_read(xml_root(doc), ret_definition, err);
    xmlFreeDoc(doc);
    return r;
}
