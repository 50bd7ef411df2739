/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about what domains use: CPU time, memory, traffic, and addresses of their interfaces. */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/block.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/networks.h"
#include "daemon/tree.h"
#include "daemon/usage.h"
#include "protocol/xml.h"

enum { STATS_STATE = 1, STATS_CPU = 2, STATS_BALLOON = 4, STATS_VCPU = 8, STATS_INTERFACE = 16, STATS_BLOCK = 32 };
enum { MEMORY_ACTUAL = 6, MEMORY_RSS = 7 };
enum { HOSTNAME_LEASE = 1, HOSTNAME_AGENT = 2 };

static const xmlNode *first_device(const struct domain *domain, const char *name)
{
    return xml_first(definition_devices(domain_definition(domain)), name);
}

static void put_interfaces(struct rpc_param_list *list, const struct domain *domain)
{
    static const char *const counters[][2] = { /* what the guest receives, the tap sends */
        {"rx.bytes", "tx_bytes"}, {"rx.pkts", "tx_packets"}, {"rx.errs", "tx_errors"}, {"rx.drop", "tx_dropped"},
        {"tx.bytes", "rx_bytes"}, {"tx.pkts", "rx_packets"}, {"tx.errs", "rx_errors"}, {"tx.drop", "rx_dropped"},
    };
    uint32_t number = 0;

    for (const xmlNode *at = first_device(domain, "interface"); at != NULL; at = xml_next(at, "interface"))
        number++;
    rpc_params_u32(list, number, "net.count");
    number = 0;
    for (const xmlNode *at = first_device(domain, "interface"); at != NULL; at = xml_next(at, "interface"), number++) {
        const char *dev = xml_attribute(xml_first(at, "target"), "dev");

        if (dev == NULL)
            continue;
        rpc_params_string(list, dev, "net.%u.name", number);
        for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
            rpc_params_u64(list, usage_of_interface(dev, counters[i][1]), "net.%u.%s", number, counters[i][0]);
    }
}

static void put_cpus(struct rpc_param_list *list, struct domain *domain)
{
    unsigned cpus = domain_definition(domain)->cpus;

    rpc_params_u32(list, cpus, "vcpu.current");
    rpc_params_u32(list, cpus, "vcpu.maximum");
    for (unsigned i = 0; i < cpus && domain_active(domain); i++) {
        rpc_params_i32(list, domain->state == DOMAIN_RUNNING, "vcpu.%u.state", i);
        rpc_params_u64(list, usage_of_cpu(domain, i), "vcpu.%u.time", i);
    }
}

static void put_statistics(struct call *call, struct domain *domain, uint32_t groups)
{
    struct rpc_param_list list;
    struct usage usage = usage_of(domain);

    rpc_put_domain(&call->out, domain_name(domain), domain_uuid(domain), domain->id);
    list = rpc_params_begin(&call->out);
    if ((groups & STATS_STATE) != 0) {
        rpc_params_i32(&list, domain->state, "state.state");
        rpc_params_i32(&list, domain->reason, "state.reason");
    }
    if ((groups & STATS_CPU) != 0 && domain_active(domain)) {
        rpc_params_u64(&list, usage.cpu_ns, "cpu.time");
        rpc_params_u64(&list, usage.user_ns, "cpu.user");
        rpc_params_u64(&list, usage.system_ns, "cpu.system");
    }
    if ((groups & STATS_BALLOON) != 0) {
        rpc_params_u64(&list, domain_definition(domain)->current_kib, "balloon.current");
        rpc_params_u64(&list, domain_definition(domain)->memory_kib, "balloon.maximum");
        if (domain_active(domain))
            rpc_params_u64(&list, usage.resident_kib, "balloon.rss");
    }
    if ((groups & STATS_VCPU) != 0)
        put_cpus(&list, domain);
    if ((groups & STATS_INTERFACE) != 0)
        put_interfaces(&list, domain);
    if ((groups & STATS_BLOCK) != 0)
        block_put_statistics(&list, domain);
    rpc_params_end(&list);
}

static int get_all_domain_stats(struct call *call)
{
    uint32_t groups = call->arg[1].u != 0 ? call->arg[1].u : UINT32_MAX, flags = call->arg[2].u, count = 0;
    size_t at = rpc_count_begin(&call->out);
    struct domain *next;

    if (call->arg[0].list.count > 0) {
        for (size_t i = 0; i < call->arg[0].list.count; i++, count++) {
            struct domain *domain = call_domain(call, call->arg[0].list.items[i].object);

            if (domain == NULL)
                return call->err.code;
            put_statistics(call, domain, groups);
        }
    } else {
        for (struct domain *domain = call->daemon->inventory->domains; domain != NULL; domain = next) {
            domain_hold(domain);
            if (domain_matches(domain, flags & 0xffff)) {
                put_statistics(call, domain, groups);
                count++;
            }
            next = domain->gone ? NULL : domain->next;
            domain_release(domain);
        }
    }
    rpc_count_end(&call->out, at, count);
    return 0;
}

static int memory_stats(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);
    uint32_t count = call->arg[1].u < 2 ? call->arg[1].u : 2;

    if (r < 0)
        return r;
    xdr_put_u32(&call->out, count);
    if (count > 0) {
        xdr_put_i32(&call->out, MEMORY_ACTUAL);
        xdr_put_u64(&call->out, domain->live->current_kib);
    }
    if (count > 1) {
        xdr_put_i32(&call->out, MEMORY_RSS);
        xdr_put_u64(&call->out, usage_of(domain).resident_kib);
    }
    return 0;
}

/* By its name on the host, or its MAC address. */
static const xmlNode *find_interface(const struct domain *domain, const char *name)
{
    const xmlNode *at = first_device(domain, "interface");

    while (at != NULL && !tree_is(xml_first(at, "target"), "dev", name) && !tree_is(xml_first(at, "mac"), "address", name))
        at = xml_next(at, "interface");
    return at;
}

static int interface_stats(struct call *call)
{
    static const char *const counters[] = {"tx_bytes", "tx_packets", "tx_errors", "tx_dropped", "rx_bytes", "rx_packets", "rx_errors",
                                           "rx_dropped"};
    struct domain *domain = call_domain(call, call->arg[0].object);
    const xmlNode *interface;
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    interface = find_interface(domain, call->arg[1].s);
    if (interface == NULL)
        return err_set(&call->err, -EINVAL, "invalid argument: invalid path, '%.100s' is not a known interface", call->arg[1].s);
    for (unsigned i = 0; i < ARRAY_SIZE(counters); i++)
        xdr_put_i64(&call->out, (int64_t)usage_of_interface(xml_attribute(xml_first(interface, "target"), "dev"), counters[i]));
    return 0;
}

enum { SOURCE_LEASE, SOURCE_AGENT, SOURCE_ARP };

/* The first address that the host's own kernel has spoken with at that card: /proc/net/arp. */
static bool find_neighbour(const char *mac, char ret_address[static 64])
{
    FILE *stream = fopen("/proc/net/arp", "re");
    char line[256], address[64], hardware[64];
    bool found = false;

    while (!found && stream != NULL && fgets(line, sizeof(line), stream) != NULL)
        found = sscanf(line, "%63s %*s %*s %63s", address, hardware) == 2 && strcasecmp(hardware, mac) == 0;
    if (stream != NULL)
        fclose(stream);
    if (found)
        memcpy(ret_address, address, sizeof(address));
    return found;
}

/* By DHCP on our networks, or as the host's kernel knows its neighbours; anything else would need the guest's help. */
static bool find_address(struct daemon *daemon, const char *mac, uint32_t source, char ret_address[static 64], unsigned *ret_prefix)
{
    struct dhcp_lease lease;
    uint8_t bytes[6];

    *ret_prefix = 0;
    if (source == SOURCE_ARP)
        return find_neighbour(mac, ret_address);
    if (text_parse_mac(mac, bytes) < 0 || daemon_networks_lease(daemon, bytes, &lease, ret_prefix) < 0)
        return false;
    text_format(ret_address, 64, "%s", ip_text(&lease.ip).text);
    return true;
}

static int interface_addresses(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    size_t at = rpc_count_begin(&call->out);
    uint32_t count = 0;
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    if (call->arg[1].u != SOURCE_LEASE && call->arg[1].u != SOURCE_ARP)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: addresses are known from DHCP leases "
                       "(--source lease) and from the host's neighbours (--source arp)");
    for (const xmlNode *interface = first_device(domain, "interface"); interface != NULL; interface = xml_next(interface, "interface")) {
        const char *mac = xml_attribute(xml_first(interface, "mac"), "address");
        const char *dev = xml_attribute(xml_first(interface, "target"), "dev");
        char address[64];
        unsigned prefix;

        if (dev == NULL || mac == NULL || !find_address(call->daemon, mac, call->arg[1].u, address, &prefix))
            continue;
        xdr_put_string(&call->out, dev);
        xdr_put_optional_string(&call->out, mac);
        xdr_put_u32(&call->out, 1);
        xdr_put_i32(&call->out, 0); /* IPv4 */
        xdr_put_string(&call->out, address);
        xdr_put_u32(&call->out, prefix);
        count++;
    }
    rpc_count_end(&call->out, at, count);
    return 0;
}

/* The name that the guest gave to DHCP. */
static int get_hostname(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    if ((call->arg[1].u & HOSTNAME_AGENT) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: host names are known from DHCP leases only "
                       "(--source lease)");
    for (const xmlNode *interface = first_device(domain, "interface"); interface != NULL; interface = xml_next(interface, "interface")) {
        const char *mac = xml_attribute(xml_first(interface, "mac"), "address");
        struct dhcp_lease lease;
        unsigned prefix;
        uint8_t bytes[6];

        if (text_parse_mac(mac, bytes) < 0 || daemon_networks_lease(call->daemon, bytes, &lease, &prefix) < 0 || lease.hostname[0] == 0)
            continue;
        xdr_put_string(&call->out, lease.hostname);
        return 0;
    }
    return err_set(&call->err, RPC_FAULT(RPC_OPERATION_FAILED), "no hostname found: no DHCP lease of the domain's tells one");
}

/* Of the whole VM; which CPU of the host it spent its time on is not counted. */
static int get_cpu_stats(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);
    struct rpc_param_list list;
    struct usage usage;

    if (r < 0)
        return r;
    if (call->arg[2].i != -1)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED), "times are counted for the whole domain, not for each CPU of the "
                       "host: use --total");
    usage = usage_of(domain);
    list = rpc_params_begin(&call->out);
    if (call->arg[1].u > 0)
        rpc_params_u64(&list, usage.cpu_ns, "cpu_time");
    if (call->arg[1].u > 1)
        rpc_params_u64(&list, usage.user_ns, "user_time");
    if (call->arg[1].u > 2)
        rpc_params_u64(&list, usage.system_ns, "system_time");
    rpc_params_end(&list);
    xdr_put_i32(&call->out, 3);
    return 0;
}

const struct call_handler statistics_calls[] = {
    {REMOTE_CONNECT_GET_ALL_DOMAIN_STATS, get_all_domain_stats},
    {REMOTE_DOMAIN_MEMORY_STATS, memory_stats},
    {REMOTE_DOMAIN_INTERFACE_STATS, interface_stats},
    {REMOTE_DOMAIN_INTERFACE_ADDRESSES, interface_addresses},
    {REMOTE_DOMAIN_GET_HOSTNAME, get_hostname},
    {REMOTE_DOMAIN_GET_CPU_STATS, get_cpu_stats},
    {0, NULL},
};
