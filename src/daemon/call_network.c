/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about virtual networks. */
#include <errno.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/call_list.h"
#include "daemon/daemon.h"
#include "daemon/networks.h"

enum { XML_INACTIVE = 1 }; /* flag of NETWORK_GET_XML_DESC */

static struct networks *all(struct call *call)
{
    return call->daemon->networks->networks;
}

struct network *call_network(struct call *call, const struct rpc_object *object)
{
    struct network *network = networks_find_uuid(all(call), object->uuid);
    char uuid[UUID_TEXT_SIZE];

    if (network == NULL) {
        uuid_format(object->uuid, uuid);
        err_set(&call->err, RPC_FAULT(RPC_NO_NETWORK), "Network not found: there is no network '%.200s' with UUID %s",
                object->name, uuid);
    }
    return network;
}

/* The client's code for what the network room says. */
static int fault(int result)
{
    switch (result) {
    case -ENOTCONN:
    case -EISCONN:
    case -ENOENT:
        return RPC_FAULT(RPC_OPERATION_INVALID);
    case -EINVAL:
        return RPC_FAULT(RPC_XML_ERROR);
    case -ENOTSUP:
        return RPC_FAULT(RPC_CONFIG_UNSUPPORTED);
    case -EEXIST:
        return RPC_FAULT(RPC_OPERATION_FAILED);
    case -ENOMEM:
        return RPC_FAULT(RPC_NO_MEMORY);
    default:
        return result < 0 ? RPC_FAULT(RPC_INTERNAL_ERROR) : 0;
    }
}

/* Looks the network up, changes it by fn, all under the lock. */
static int change(struct call *call, int (*fn)(struct call *call, struct network *network))
{
    struct network *network;
    int r;

    daemon_networks_lock(call->daemon->networks);
    network = call_network(call, call->arg[0].object);
    r = network == NULL ? RPC_FAULT(RPC_NO_NETWORK) : fault(fn(call, network));
    daemon_networks_unlock(call->daemon->networks);
    return r;
}

static void put(struct call *call, const struct network *network)
{
    rpc_put_named(&call->out, network_name(network), network_uuid(network));
}

static int make(struct call *call,
                int (*fn)(struct networks *networks, const char *xml, struct network **ret_network, struct err *err))
{
    struct network *network;
    int r;

    daemon_networks_lock(call->daemon->networks);
    r = fn(all(call), call->arg[0].s, &network, &call->err);
    if (r == 0)
        put(call, network);
    daemon_networks_unlock(call->daemon->networks);
    return fault(r);
}

static int define_xml(struct call *call)
{
    return make(call, network_define);
}

static int create_xml(struct call *call)
{
    return make(call, network_create);
}

/* Flag 1: validate against the schema, which we do anyway. */
static int define_xml_flags(struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, 1);

    return r < 0 ? r : make(call, network_define);
}

static int create_xml_flags(struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, 1);

    return r < 0 ? r : make(call, network_create);
}

static int start_network(struct call *call, struct network *network)
{
    return network_start(network, &call->err);
}

static int create(struct call *call)
{
    return change(call, start_network);
}

static int destroy_network(struct call *call, struct network *network)
{
    return network_destroy(network, &call->err);
}

static int destroy(struct call *call)
{
    return change(call, destroy_network);
}

static int undefine_network(struct call *call, struct network *network)
{
    return network_undefine(network, &call->err);
}

static int undefine(struct call *call)
{
    return change(call, undefine_network);
}

static int set_autostart_of(struct call *call, struct network *network)
{
    return network_set_autostart(network, call->arg[1].i != 0, &call->err);
}

static int set_autostart(struct call *call)
{
    return change(call, set_autostart_of);
}

static int update_network(struct call *call, struct network *network)
{
    return network_update(network, call->arg[1].u, call->arg[2].u, call->arg[4].s, call->arg[5].u, &call->err);
}

static int update(struct call *call)
{
    int r = call_check_flags(call, call->arg[5].u, NETWORK_AFFECT_LIVE | NETWORK_AFFECT_CONFIG);

    if (r == 0 && call->arg[3].i > 1)
        return err_set(&call->err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED),
                       "the network has one <ip> of each family at most, so there is no parent number %d", call->arg[3].i);
    return r < 0 ? r : change(call, update_network);
}

static int get_xml(struct call *call)
{
    struct buffer xml = BUFFER_INIT(XDR_STRING_MAX);
    int r = call_check_flags(call, call->arg[1].u, XML_INACTIVE);
    const struct network *network = r < 0 ? NULL : call_network(call, call->arg[0].object);

    if (network == NULL)
        return r < 0 ? r : RPC_FAULT(RPC_NO_NETWORK);
    r = network_xml(network, call->arg[1].u & XML_INACTIVE, &xml);
    if (r == 0)
        xdr_put_string(&call->out, (const char *)xml.data);
    buffer_fini(&xml);
    return r;
}

static int put_flag(struct call *call, bool (*fn)(const struct network *network))
{
    const struct network *network = call_network(call, call->arg[0].object);

    if (network == NULL)
        return RPC_FAULT(RPC_NO_NETWORK);
    xdr_put_bool(&call->out, fn(network));
    return 0;
}

static int get_autostart(struct call *call)
{
    return put_flag(call, network_autostart);
}

static int is_active(struct call *call)
{
    return put_flag(call, network_is_active);
}

static int is_persistent(struct call *call)
{
    return put_flag(call, network_is_persistent);
}

static int get_bridge_name(struct call *call)
{
    const struct network *network = call_network(call, call->arg[0].object);

    if (network == NULL)
        return RPC_FAULT(RPC_NO_NETWORK);
    xdr_put_string(&call->out, network_definition(network)->bridge);
    return 0;
}

static int lookup_by_name(struct call *call)
{
    const struct network *network = networks_find(all(call), call->arg[0].s);

    if (network == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_NETWORK), "Network not found: there is no network '%.200s'",
                       call->arg[0].s);
    put(call, network);
    return 0;
}

static int lookup_by_uuid(struct call *call)
{
    const struct network *network = networks_find_uuid(all(call), call->arg[0].uuid);
    char uuid[UUID_TEXT_SIZE];

    uuid_format(call->arg[0].uuid, uuid);
    if (network == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_NETWORK), "Network not found: there is no network with UUID %s",
                       uuid);
    put(call, network);
    return 0;
}

static size_t count(struct call *call)
{
    return networks_count(all(call));
}

static struct list_entry entry(struct call *call, size_t index)
{
    const struct network *network = networks_get(all(call), index);

    return (struct list_entry){.name = network_name(network),
                               .uuid = network_uuid(network),
                               .active = network_is_active(network),
                               .persistent = network_is_persistent(network),
                               .autostart = network_autostart(network)};
}

static const struct list_kind networks_kind = {.count = count, .get = entry};

static int list_all(struct call *call)
{
    return call_list_all(call, &networks_kind);
}

static int count_active(struct call *call)
{
    return call_list_number(call, &networks_kind, LIST_ACTIVE);
}

static int count_inactive(struct call *call)
{
    return call_list_number(call, &networks_kind, LIST_INACTIVE);
}

static int list_active(struct call *call)
{
    return call_list_names(call, &networks_kind, LIST_ACTIVE);
}

static int list_inactive(struct call *call)
{
    return call_list_names(call, &networks_kind, LIST_INACTIVE);
}

static void put_lease(struct call *call, const struct network_definition *definition, const struct dhcp_lease *lease)
{
    const bool v6 = lease->ip.family == AF_INET6;
    char mac[32];

    (void)text_format(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", lease->mac[0], lease->mac[1], lease->mac[2],
                      lease->mac[3], lease->mac[4], lease->mac[5]);
    xdr_put_string(&call->out, definition->bridge);
    xdr_put_i64(&call->out, lease->expiry);
    xdr_put_i32(&call->out, v6); /* 0: IPv4, 1: IPv6 */
    xdr_put_optional_string(&call->out, lease->has_mac ? mac : NULL);
    xdr_put_optional_string(&call->out, v6 ? lease->iaid : NULL);
    xdr_put_string(&call->out, ip_text(&lease->ip).text);
    xdr_put_u32(&call->out, v6 ? definition->ip6.net.prefix : definition->ip4.net.prefix);
    xdr_put_optional_string(&call->out, lease->hostname[0] != '\0' ? lease->hostname : NULL);
    xdr_put_optional_string(&call->out, lease->client_id[0] != '\0' ? lease->client_id : NULL);
}

static int put_leases(struct call *call, const struct network *network, const uint8_t *mac)
{
    struct dhcp_lease *leases;
    size_t total;
    uint32_t count = 0;
    int r = network_leases(network, &leases, &total, &call->err);

    if (r < 0)
        return r;
    size_t at = rpc_count_begin(&call->out);
    for (size_t i = 0; i < total; i++) {
        if (mac != NULL && (!leases[i].has_mac || memcmp(mac, leases[i].mac, 6) != 0))
            continue;
        if (call->arg[2].i != 0)
            put_lease(call, network_definition(network), &leases[i]);
        count++;
    }
    rpc_count_end(&call->out, at, call->arg[2].i != 0 ? count : 0);
    xdr_put_u32(&call->out, count);
    free(leases);
    return 0;
}

static int get_dhcp_leases(struct call *call)
{
    uint8_t mac[6];
    const bool one = call->arg[1].s != NULL;
    int r = call_check_flags(call, call->arg[3].u, 0);
    const struct network *network = r < 0 ? NULL : call_network(call, call->arg[0].object);

    if (network == NULL)
        return r < 0 ? r : RPC_FAULT(RPC_NO_NETWORK);
    if (one && text_parse_mac(call->arg[1].s, mac) < 0)
        return err_set(&call->err, RPC_FAULT(RPC_INVALID_ARGUMENT), "'%.60s' is not a MAC address", call->arg[1].s);
    return fault(put_leases(call, network, one ? mac : NULL));
}

const struct call_handler network_calls[] = {
    {REMOTE_CONNECT_LIST_ALL_NETWORKS, list_all},
    {REMOTE_CONNECT_NUM_OF_NETWORKS, count_active},
    {REMOTE_CONNECT_NUM_OF_DEFINED_NETWORKS, count_inactive},
    {REMOTE_CONNECT_LIST_NETWORKS, list_active},
    {REMOTE_CONNECT_LIST_DEFINED_NETWORKS, list_inactive},
    {REMOTE_NETWORK_LOOKUP_BY_NAME, lookup_by_name},
    {REMOTE_NETWORK_LOOKUP_BY_UUID, lookup_by_uuid},
    {REMOTE_NETWORK_DEFINE_XML, define_xml},
    {REMOTE_NETWORK_CREATE_XML, create_xml},
    {REMOTE_NETWORK_DEFINE_XML_FLAGS, define_xml_flags},
    {REMOTE_NETWORK_CREATE_XML_FLAGS, create_xml_flags},
    {REMOTE_NETWORK_CREATE, create},
    {REMOTE_NETWORK_DESTROY, destroy},
    {REMOTE_NETWORK_UNDEFINE, undefine},
    {REMOTE_NETWORK_UPDATE, update},
    {REMOTE_NETWORK_GET_XML_DESC, get_xml},
    {REMOTE_NETWORK_GET_AUTOSTART, get_autostart},
    {REMOTE_NETWORK_SET_AUTOSTART, set_autostart},
    {REMOTE_NETWORK_GET_BRIDGE_NAME, get_bridge_name},
    {REMOTE_NETWORK_IS_ACTIVE, is_active},
    {REMOTE_NETWORK_IS_PERSISTENT, is_persistent},
    {REMOTE_NETWORK_GET_DHCP_LEASES, get_dhcp_leases},
    {0, NULL},
};
