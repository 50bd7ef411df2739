/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interfaces of the host by rtnetlink(7), with libmnl for the messages. */
#include "network/link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "network/link_private.h"

#define USER_HZ 100        /* of times in the bridge's attributes */

struct nlmsghdr *link_begin(struct exchange *exchange, uint16_t type, uint16_t flags)
{
    memset(exchange->data, 0, NLMSG_HDRLEN);
    exchange->header = mnl_nlmsg_put_header(exchange->data);
    exchange->header->nlmsg_type = type;
    exchange->header->nlmsg_flags = NLM_F_REQUEST | flags;
    exchange->header->nlmsg_seq = 1;
    return exchange->header;
}

int link_run(struct exchange *exchange, mnl_cb_t data_fn, void *ctx)
{
    int r = MNL_CB_OK;
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (socket == NULL)
        return -errno;
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_sendto(socket, exchange->header, exchange->header->nlmsg_len) < 0)
        r = MNL_CB_ERROR;
    unsigned port = mnl_socket_get_portid(socket);
    while (r == MNL_CB_OK) {
        ssize_t n = mnl_socket_recvfrom(socket, exchange->data, sizeof(exchange->data));
        r = n < 0 ? MNL_CB_ERROR : mnl_cb_run(exchange->data, (size_t)n, 1, port, data_fn, ctx);
    }
    int result = r == MNL_CB_ERROR ? -errno : 0;
    mnl_socket_close(socket);
    return result;
}

int link_index(const char *name, int *ret_index, struct err *err)
{
    unsigned index = if_nametoindex(name);
    if (index == 0)
        return err_set(err, -ENODEV, "there is no interface %s on this host", name);
    *ret_index = (int)index;
    return 0;
}

int link_make_bridge(const struct link_bridge *bridge, struct err *err)
{
    struct exchange exchange;
    struct nlmsghdr *header = link_begin(&exchange, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, bridge->name);
    mnl_attr_put(header, IFLA_ADDRESS, 6, bridge->mac);
    if (bridge->mtu != 0)
        mnl_attr_put_u32(header, IFLA_MTU, bridge->mtu);
    struct nlattr *info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_str(header, IFLA_INFO_KIND, "bridge");
    struct nlattr *data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    /* In this order: with STP on already the kernel refuses a delay of less than two seconds. */
    mnl_attr_put_u32(header, IFLA_BR_FORWARD_DELAY, bridge->delay * USER_HZ);
    mnl_attr_put_u32(header, IFLA_BR_STP_STATE, bridge->stp);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    int r = link_run(&exchange, NULL, NULL);
    if (r == -EEXIST)
        return err_set(err, r, "there is an interface called %s on this host already", bridge->name);
    return r < 0 ? err_set(err, r, "cannot make bridge %s: %s", bridge->name, strerror(-r)) : 0;
}

int link_remove(const char *name, struct err *err)
{
    struct exchange exchange;
    int index = 0;
    if (link_index(name, &index, NULL) < 0)
        return 0;
    struct nlmsghdr *header = link_begin(&exchange, RTM_DELLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_index = index;
    int r = link_run(&exchange, NULL, NULL);
    return r < 0 && r != -ENODEV ? err_set(err, r, "cannot remove interface %s: %s", name, strerror(-r)) : 0;
}

int link_change(const char *name, const struct link_change *change, struct err *err)
{
    struct exchange exchange;
    int index = 0, master = 0;
    int r = link_index(name, &index, err);
    if (r == 0 && change->master != NULL)
        r = link_index(change->master, &master, err);
    if (r < 0)
        return r;
    struct nlmsghdr *header = link_begin(&exchange, RTM_NEWLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_index = index;
    link->ifi_change = link->ifi_flags = change->up ? IFF_UP : 0;
    if (change->mac != NULL)
        mnl_attr_put(header, IFLA_ADDRESS, 6, change->mac);
    if (change->mtu != 0)
        mnl_attr_put_u32(header, IFLA_MTU, change->mtu);
    if (change->master != NULL)
        mnl_attr_put_u32(header, IFLA_MASTER, (uint32_t)master);
    r = link_run(&exchange, NULL, NULL);
    return r < 0 ? err_set(err, r, "cannot set up interface %s: %s", name, strerror(-r)) : 0;
}

int link_add_address(const char *name, const struct ip_net *address, struct err *err)
{
    struct exchange exchange;
    struct ip_address last = ip_last(address);
    const struct ip_address *ip = &address->address;
    int index = 0;
    int r = link_index(name, &index, err);
    if (r < 0)
        return r;
    struct nlmsghdr *header = link_begin(&exchange, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifa_family = (uint8_t)ip->family;
    message->ifa_prefixlen = (uint8_t)address->prefix;
    message->ifa_index = (unsigned)index;
    mnl_attr_put(header, IFA_LOCAL, ip_size(ip->family), ip->bytes);
    mnl_attr_put(header, IFA_ADDRESS, ip_size(ip->family), ip->bytes);
    if (ip->family == AF_INET)
        mnl_attr_put(header, IFA_BROADCAST, ip_size(ip->family), last.bytes);
    else
        mnl_attr_put_u32(header, IFA_FLAGS, IFA_F_NODAD);
    r = link_run(&exchange, NULL, NULL);
    return r < 0 ? err_set(err, r, "cannot give address %s/%u to interface %s: %s", ip_text(ip).text, address->prefix, name, strerror(-r))
                 : 0;
}

int link_add_route(const char *name, const struct ip_net *net, const struct ip_address *gateway, unsigned metric, struct err *err)
{
    struct exchange exchange;
    struct ip_address first = ip_first(net);
    int index = 0;
    int r = link_index(name, &index, err);
    if (r < 0)
        return r;
    struct nlmsghdr *header = link_begin(&exchange, RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(header, sizeof(*route));
    route->rtm_family = (uint8_t)first.family;
    route->rtm_dst_len = (uint8_t)net->prefix;
    route->rtm_table = RT_TABLE_MAIN;
    route->rtm_protocol = RTPROT_STATIC;
    route->rtm_scope = RT_SCOPE_UNIVERSE;
    route->rtm_type = RTN_UNICAST;
    mnl_attr_put(header, RTA_DST, ip_size(first.family), first.bytes);
    mnl_attr_put(header, RTA_GATEWAY, ip_size(first.family), gateway->bytes);
    mnl_attr_put_u32(header, RTA_OIF, (uint32_t)index);
    if (metric != 0)
        mnl_attr_put_u32(header, RTA_PRIORITY, metric);
    r = link_run(&exchange, NULL, NULL);
    return r < 0 ? err_set(err, r, "cannot add the route to %s by %s on interface %s: %s", ip_net_text(net).text, ip_text(gateway).text,
                           name, strerror(-r))
                 : 0;
}

static void take_kind(const struct nlattr *info, struct link_status *status)
{
    const struct nlattr *nested;
    mnl_attr_for_each_nested(nested, info)
    {
        if (mnl_attr_get_type(nested) != IFLA_INFO_KIND)
            continue;
        status->is_bridge = text_equal(mnl_attr_get_str(nested), "bridge");
        status->is_tunnel = text_equal(mnl_attr_get_str(nested), "vxlan");
    }
}

static int take_status(const struct nlmsghdr *header, void *ctx)
{
    struct link_status *status = ctx;
    const struct ifinfomsg *link = mnl_nlmsg_get_payload(header);
    const struct nlattr *attribute;
    status->exists = true;
    status->up = link->ifi_flags & IFF_UP;
    mnl_attr_for_each(attribute, header, sizeof(*link))
    {
        unsigned type = mnl_attr_get_type(attribute);
        if (type == IFLA_ADDRESS && mnl_attr_get_payload_len(attribute) == 6)
            memcpy(status->mac, mnl_attr_get_payload(attribute), 6);
        else if (type == IFLA_MTU)
            status->mtu = mnl_attr_get_u32(attribute);
        else if (type == IFLA_LINKINFO)
            take_kind(attribute, status);
    }
    return MNL_CB_OK;
}

int link_query(const char *name, struct link_status *ret_status, struct err *err)
{
    struct exchange exchange;
    struct link_status status = {0};
    struct nlmsghdr *header = link_begin(&exchange, RTM_GETLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    int r = link_run(&exchange, take_status, &status);
    if (r < 0 && r != -ENODEV)
        return err_set(err, r, "cannot look at interface %s: %s", name, strerror(-r));
    *ret_status = status;
    return 0;
}

struct route_search {
    int family;
    const struct ip_net *net; /* NULL: by advertisement */
    unsigned except;          /* interface index, 0: none */
    bool found;
    struct ip_net route;
    unsigned interface;
};

static int take_route(const struct nlmsghdr *header, void *ctx)
{
    struct route_search *search = ctx;
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    const struct nlattr *attribute;
    struct ip_net net = {.address.family = search->family, .prefix = route->rtm_dst_len};
    uint32_t table = route->rtm_table, interface = 0;
    if (header->nlmsg_type != RTM_NEWROUTE || route->rtm_family != search->family || search->found)
        return MNL_CB_OK;
    mnl_attr_for_each(attribute, header, sizeof(*route))
    {
        unsigned type = mnl_attr_get_type(attribute);
        if (type == RTA_DST && mnl_attr_get_payload_len(attribute) == ip_size(search->family))
            memcpy(net.address.bytes, mnl_attr_get_payload(attribute), ip_size(search->family));
        else if (type == RTA_TABLE)
            table = mnl_attr_get_u32(attribute);
        else if (type == RTA_OIF)
            interface = mnl_attr_get_u32(attribute);
    }
    bool wanted = search->net == NULL
                      ? route->rtm_protocol == RTPROT_RA
                      : net.prefix != 0 && net.prefix <= ip_bits(search->family) &&
                            (interface == 0 || interface != search->except) && ip_overlap(&net, search->net);
    if (table != RT_TABLE_MAIN || !wanted)
        return MNL_CB_OK;
    search->found = true;
    search->route = net;
    search->interface = interface;
    return MNL_CB_OK;
}

static int find_route(struct route_search *search, struct err *err)
{
    struct exchange exchange;
    struct nlmsghdr *header = link_begin(&exchange, RTM_GETROUTE, NLM_F_DUMP);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(header, sizeof(*route));
    route->rtm_family = (uint8_t)search->family;
    int r = link_run(&exchange, take_route, search);
    return r < 0 ? err_set(err, r, "cannot look at the host's routes: %s", strerror(-r)) : 0;
}

static void name_of(unsigned interface, char ret_interface[static IFNAMSIZ])
{
    if (if_indextoname(interface, ret_interface) == NULL)
        (void)text_format(ret_interface, IFNAMSIZ, "-");
}

int link_find_route(const struct ip_net *net, const char *except, bool *ret_found, struct ip_net *ret_route,
                    char ret_interface[static IFNAMSIZ], struct err *err)
{
    struct route_search search = {.family = net->address.family, .net = net, .except = if_nametoindex(except)};
    int r = find_route(&search, err);
    if (r < 0)
        return r;
    if (search.found) {
        *ret_route = search.route;
        name_of(search.interface, ret_interface);
    }
    *ret_found = search.found;
    return 0;
}

int link_find_advertised(char ret_interface[static IFNAMSIZ], struct err *err)
{
    struct route_search search = {.family = AF_INET6};
    int r = find_route(&search, err);
    if (r < 0)
        return r;
    ret_interface[0] = '\0';
    if (search.found)
        name_of(search.interface, ret_interface);
    return 0;
}
