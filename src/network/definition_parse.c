/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads libvirt's <network> document into a definition, and refuses by name what would otherwise be lost. */
#include <errno.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "network/definition_private.h"

static int parse_nat_addresses(const xmlNode *node, struct network_definition *definition, struct err *err)
{
    int r = xml_check(node, ALLOW_ATTRIBUTES("start", "end"), err);
    if (r == 0)
        r = need_address(node, "start", &definition->nat_start, err);
    if (r == 0)
        r = need_address(node, "end", &definition->nat_end, err);
    if (r == 0 && (definition->nat_start.family != AF_INET || definition->nat_end.family != AF_INET))
        return err_set(err, -ENOTSUP, "<address> in <nat> has addresses of IPv4 only");
    return r;
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
    int r = xml_check(node, &(struct xml_allowed){NAMES("ipv6"), NAMES("address", "port"), NAMES("address", "port")}, err);
    if (r == 0)
        r = read_choice(node, "ipv6", "yes", "no", &definition->nat_ipv6, err);
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
    {"dns", parse_dns},       {"ip", parse_ip},         {"route", parse_route},
};

/* What libvirt has, and why it is not here. */
static int refuse_known(const xmlNode *root, struct err *err)
{
    static const struct {
        const char *name, *why;
    } refused[] = {
        {"bandwidth", "the rate of a network can't be limited here"},
        {"vlan", "bridges here carry no VLAN tags; use <forward mode='bridge'/> with a bridge of the host that does"},
        {"virtualport", "there are only Linux bridges here, which have no virtual ports"},
        {"portgroup", "ports of a network are all alike here: there is neither bandwidth nor VLAN nor virtual port to choose"},
        {"port", "ports can't be isolated from each other here"},
        {"title", "a network has no title; use <metadata>"},
        {"description", "a network has no description; use <metadata>"},
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (xml_first(root, refused[i].name) != NULL)
            return err_set(err, -ENOTSUP, "element <%s> in <network> is not supported: %s", refused[i].name, refused[i].why);
    return 0;
}

static int parse_network(const xmlNode *root, struct network_definition *definition, struct err *err)
{
    static const char *const names[] = {"name", "uuid", "metadata", "forward", "bridge", "domain",
                                        "mtu",  "mac",  "dns",      "ip",      "route",  NULL};
    static const char *const once[] = {"name",   "uuid", "metadata", "forward", "bridge",
                                       "domain", "mtu",  "mac",      "dns",     NULL};
    bool trust = false;
    int r = refuse_known(root, err);
    if (r == 0)
        r = xml_check(root, &(struct xml_allowed){NAMES("connections", "ipv6", "trustGuestRxFilters"), names, once}, err);
    if (r == 0)
        r = read_choice(root, "ipv6", "yes", "no", &definition->ipv6, err);
    if (r == 0)
        r = read_choice(root, "trustGuestRxFilters", "yes", "no", &trust, err);
    if (r == 0 && trust)
        return err_set(err, -ENOTSUP, "trustGuestRxFilters='yes' of <network> is not supported: bridges take no filters from guests");
    for (const xmlNode *child = xml_first(root, NULL); r == 0 && child != NULL; child = xml_next(child, NULL))
        for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++)
            if (r == 0 && xml_is(child, elements[i].name))
                r = elements[i].parse(child, definition, err);
    return r < 0 ? r : parse_foreign(root, definition, err);
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
