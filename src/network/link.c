/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interfaces of the host by rtnetlink(7), with libmnl for the messages. */
#include "network/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

#define MESSAGE_SIZE 32768 /* at least what libmnl's pages suggest for replies */
#define USER_HZ 100        /* of times in the bridge's attributes */

/* A request and its answers, in memory for both. */
struct exchange {
    struct mnl_socket *socket;
    struct nlmsghdr *header;
    char data[MESSAGE_SIZE];
};

static struct nlmsghdr *begin(struct exchange *exchange, uint16_t type, uint16_t flags)
{
    memset(exchange->data, 0, NLMSG_HDRLEN);
    exchange->header = mnl_nlmsg_put_header(exchange->data);
    exchange->header->nlmsg_type = type;
    exchange->header->nlmsg_flags = NLM_F_REQUEST | flags;
    exchange->header->nlmsg_seq = 1;
    return exchange->header;
}

/* Sends the request and takes answers until the last one. data_fn may be NULL. Returns 0 or the kernel's negative
 * errno. */
static int run(struct exchange *exchange, mnl_cb_t data_fn, void *ctx)
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

static int index_of(const char *name, int *ret_index, struct err *err)
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
    struct nlmsghdr *header = begin(&exchange, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
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
    int r = run(&exchange, NULL, NULL);
    if (r == -EEXIST)
        return err_set(err, r, "there is an interface called %s on this host already", bridge->name);
    return r < 0 ? err_set(err, r, "cannot make bridge %s: %s", bridge->name, strerror(-r)) : 0;
}

int link_remove(const char *name, struct err *err)
{
    struct exchange exchange;
    int index = 0;
    if (index_of(name, &index, NULL) < 0)
        return 0;
    struct nlmsghdr *header = begin(&exchange, RTM_DELLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_index = index;
    int r = run(&exchange, NULL, NULL);
    return r < 0 && r != -ENODEV ? err_set(err, r, "cannot remove interface %s: %s", name, strerror(-r)) : 0;
}

int link_change(const char *name, const struct link_change *change, struct err *err)
{
    struct exchange exchange;
    int index = 0, master = 0;
    int r = index_of(name, &index, err);
    if (r == 0 && change->master != NULL)
        r = index_of(change->master, &master, err);
    if (r < 0)
        return r;
    struct nlmsghdr *header = begin(&exchange, RTM_NEWLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_index = index;
    link->ifi_change = link->ifi_flags = change->up ? IFF_UP : 0;
    if (change->mac != NULL)
        mnl_attr_put(header, IFLA_ADDRESS, 6, change->mac);
    if (change->mtu != 0)
        mnl_attr_put_u32(header, IFLA_MTU, change->mtu);
    if (change->master != NULL)
        mnl_attr_put_u32(header, IFLA_MASTER, (uint32_t)master);
    r = run(&exchange, NULL, NULL);
    return r < 0 ? err_set(err, r, "cannot set up interface %s: %s", name, strerror(-r)) : 0;
}

int link_add_address(const char *name, const struct ipv4_net *address, struct err *err)
{
    struct exchange exchange;
    int index = 0;
    int r = index_of(name, &index, err);
    if (r < 0)
        return r;
    struct nlmsghdr *header = begin(&exchange, RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifa_family = AF_INET;
    message->ifa_prefixlen = (uint8_t)address->prefix;
    message->ifa_index = (unsigned)index;
    mnl_attr_put_u32(header, IFA_LOCAL, htonl(address->address));
    mnl_attr_put_u32(header, IFA_ADDRESS, htonl(address->address));
    mnl_attr_put_u32(header, IFA_BROADCAST, htonl(ipv4_last(address)));
    r = run(&exchange, NULL, NULL);
    return r < 0 ? err_set(err, r, "cannot give address %s/%u to interface %s: %s", ipv4_text(address->address).text,
                           address->prefix, name, strerror(-r))
                 : 0;
}

static bool kind_is_bridge(const struct nlattr *info)
{
    const struct nlattr *nested;
    mnl_attr_for_each_nested(nested, info)
    {
        if (mnl_attr_get_type(nested) == IFLA_INFO_KIND)
            return text_equal(mnl_attr_get_str(nested), "bridge");
    }
    return false;
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
            status->is_bridge = kind_is_bridge(attribute);
    }
    return MNL_CB_OK;
}

int link_query(const char *name, struct link_status *ret_status, struct err *err)
{
    struct exchange exchange;
    struct link_status status = {0};
    struct nlmsghdr *header = begin(&exchange, RTM_GETLINK, NLM_F_ACK);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, name);
    int r = run(&exchange, take_status, &status);
    if (r < 0 && r != -ENODEV)
        return err_set(err, r, "cannot look at interface %s: %s", name, strerror(-r));
    *ret_status = status;
    return 0;
}

struct route_search {
    const struct ipv4_net *net;
    unsigned except; /* interface index, 0: none */
    bool found;
    struct ipv4_net route;
    unsigned interface;
};

static int take_route(const struct nlmsghdr *header, void *ctx)
{
    struct route_search *search = ctx;
    const struct rtmsg *route = mnl_nlmsg_get_payload(header);
    const struct nlattr *attribute;
    struct ipv4_net net = {.prefix = route->rtm_dst_len};
    uint32_t table = route->rtm_table, interface = 0;
    if (header->nlmsg_type != RTM_NEWROUTE || route->rtm_family != AF_INET)
        return MNL_CB_OK;
    mnl_attr_for_each(attribute, header, sizeof(*route))
    {
        unsigned type = mnl_attr_get_type(attribute);
        if (type == RTA_DST)
            net.address = ntohl(mnl_attr_get_u32(attribute));
        else if (type == RTA_TABLE)
            table = mnl_attr_get_u32(attribute);
        else if (type == RTA_OIF)
            interface = mnl_attr_get_u32(attribute);
    }
    if (search->found || table != RT_TABLE_MAIN || net.prefix == 0 || net.prefix > 32 ||
        (interface != 0 && interface == search->except) || !ipv4_overlap(&net, search->net))
        return MNL_CB_OK;
    search->found = true;
    search->route = net;
    search->interface = interface;
    return MNL_CB_OK;
}

int link_find_route(const struct ipv4_net *net, const char *except, bool *ret_found, struct ipv4_net *ret_route,
                    char ret_interface[static IFNAMSIZ], struct err *err)
{
    struct exchange exchange;
    struct route_search search = {.net = net, .except = if_nametoindex(except)};
    struct nlmsghdr *header = begin(&exchange, RTM_GETROUTE, NLM_F_DUMP);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(header, sizeof(*route));
    route->rtm_family = AF_INET;
    int r = run(&exchange, take_route, &search);
    if (r < 0)
        return err_set(err, r, "cannot look at the host's routes: %s", strerror(-r));
    if (search.found) {
        *ret_route = search.route;
        if (if_indextoname(search.interface, ret_interface) == NULL)
            (void)text_format(ret_interface, IFNAMSIZ, "-");
    }
    *ret_found = search.found;
    return 0;
}
