/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about the ports of virtual networks. A port is a running domain's interface on the network: it has no life of its own, so it is
 * only looked at. */
#include <string.h>

#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/definition.h"
#include "daemon/domain.h"
#include "daemon/networks.h"
#include "protocol/xml.h"

struct port {
    const struct domain *domain;
    const xmlNode *interface;
    uint8_t uuid[UUID_SIZE]; /* of the domain the first ten bytes, then the MAC address: the same as long as the port is there */
};

static bool is_port(const struct domain *domain, const xmlNode *interface, const char *network, struct port *ret_port)
{
    const char *source = xml_attribute(xml_first(interface, "source"), "network");
    const char *mac = xml_attribute(xml_first(interface, "mac"), "address");
    uint8_t address[6];

    if (source == NULL || !text_equal(source, network) || text_parse_mac(mac, address) < 0)
        return false;
    *ret_port = (struct port){.domain = domain, .interface = interface};
    memcpy(ret_port->uuid, domain_uuid(domain), 10);
    memcpy(ret_port->uuid + 10, address, 6);
    return true;
}

/* Calls found for each port until it returns false. */
static void each_port(const struct call *call, const char *network, bool (*found)(void *ctx, const struct port *port), void *ctx)
{
    struct port port;

    for (const struct domain *domain = call->daemon->inventory->domains; domain != NULL; domain = domain->next) {
        const xmlNode *devices = domain_active(domain) ? definition_devices(domain_definition(domain)) : NULL;

        for (const xmlNode *at = xml_first(devices, "interface"); at != NULL; at = xml_next(at, "interface")) {
            if (is_port(domain, at, network, &port) && !found(ctx, &port))
                return;
        }
    }
}

static void put_port(struct call *call, const struct network *network, const uint8_t uuid[static UUID_SIZE])
{
    rpc_put_named(&call->out, network_name(network), network_uuid(network));
    xdr_put_fixed(&call->out, uuid, UUID_SIZE);
}

struct listing {
    struct call *call;
    const struct network *network;
    uint32_t count;
};

static bool list_one(void *ctx, const struct port *port)
{
    struct listing *listing = ctx;

    if (listing->call->arg[1].i != 0)
        put_port(listing->call, listing->network, port->uuid);
    listing->count++;
    return true;
}

static int list_ports(struct call *call)
{
    struct listing listing = {.call = call};
    int r = call_check_flags(call, call->arg[2].u, 0);

    if (r < 0)
        return r;
    listing.network = call_network(call, call->arg[0].object);
    if (listing.network == NULL)
        return RPC_FAULT(RPC_NO_NETWORK);
    size_t at = rpc_count_begin(&call->out);
    each_port(call, network_name(listing.network), list_one, &listing);
    rpc_count_end(&call->out, at, call->arg[1].i != 0 ? listing.count : 0);
    xdr_put_u32(&call->out, listing.count);
    return 0;
}

struct search {
    const uint8_t *uuid;
    struct port port;
    bool found;
};

static bool compare(void *ctx, const struct port *port)
{
    struct search *search = ctx;

    search->found = uuid_equal(port->uuid, search->uuid);
    if (search->found)
        search->port = *port;
    return !search->found;
}

/* The port of the first two arguments. */
static int find_port(struct call *call, const struct network **ret_network, struct port *ret_port)
{
    struct search search = {.uuid = call->arg[1].uuid};
    const struct network *network = call_network(call, call->arg[0].object);
    char uuid[UUID_TEXT_SIZE];

    if (network == NULL)
        return RPC_FAULT(RPC_NO_NETWORK);
    each_port(call, network_name(network), compare, &search);
    uuid_format(search.uuid, uuid);
    if (!search.found)
        return err_set(&call->err, RPC_FAULT(RPC_NO_NETWORK_PORT), "network '%s' has no port with UUID %s", network_name(network), uuid);
    *ret_network = network;
    *ret_port = search.port;
    return 0;
}

static int lookup_by_uuid(struct call *call)
{
    const struct network *network;
    struct port port;
    int r = find_port(call, &network, &port);

    if (r == 0)
        put_port(call, network, port.uuid);
    return r;
}

static int write_port(const struct network *network, const struct port *port, struct buffer *out)
{
    struct xml_writer w;
    char uuid[UUID_TEXT_SIZE], owner[UUID_TEXT_SIZE];

    uuid_format(port->uuid, uuid);
    uuid_format(domain_uuid(port->domain), owner);
    xml_writer_init(&w, out);
    xml_open(&w, "networkport");
    xml_text(&w, "uuid", "%s", uuid);
    xml_open(&w, "owner");
    xml_text(&w, "name", "%s", domain_name(port->domain));
    xml_text(&w, "uuid", "%s", owner);
    xml_close(&w);
    xml_open(&w, "mac");
    xml_put(&w, "address", "%s", xml_attribute(xml_first(port->interface, "mac"), "address"));
    xml_close(&w);
    xml_open(&w, "plug");
    xml_put(&w, "type", "bridge");
    xml_put(&w, "bridge", "%s", network_definition(network)->bridge);
    xml_close(&w);
    xml_close(&w);
    return xml_writer_end(&w);
}

static int get_xml(struct call *call)
{
    struct buffer xml = BUFFER_INIT(XDR_STRING_MAX);
    const struct network *network;
    struct port port;
    int r = call_check_flags(call, call->arg[2].u, 0);

    if (r == 0)
        r = find_port(call, &network, &port);
    if (r == 0)
        r = write_port(network, &port, &xml);
    if (r == 0)
        xdr_put_string(&call->out, (const char *)xml.data);
    buffer_fini(&xml);
    return r;
}

static int refuse_change(struct call *call)
{
    return err_set(&call->err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED),
                   "ports of networks come and go with the interfaces of domains: use attach-interface and detach-interface");
}

const struct call_handler port_calls[] = {
    {REMOTE_NETWORK_LIST_ALL_PORTS, list_ports},
    {REMOTE_NETWORK_PORT_LOOKUP_BY_UUID, lookup_by_uuid},
    {REMOTE_NETWORK_PORT_GET_XML_DESC, get_xml},
    {REMOTE_NETWORK_PORT_CREATE_XML, refuse_change},
    {REMOTE_NETWORK_PORT_SET_PARAMETERS, refuse_change},
    {REMOTE_NETWORK_PORT_DELETE, refuse_change},
    {0, NULL},
};
