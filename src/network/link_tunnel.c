/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tunnels between hosts: VXLAN (RFC 7348) without multicast, each broadcast sent to every peer. */
#include <errno.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "base/err.h"
#include "network/link_private.h"

struct address_search {
    const struct ip_address *address;
    unsigned interface; /* 0: not found */
};

static int take_address(const struct nlmsghdr *header, void *ctx)
{
    struct address_search *search = ctx;
    const struct ifaddrmsg *message = mnl_nlmsg_get_payload(header);
    const struct nlattr *attribute;
    size_t size = ip_size(search->address->family);
    if (header->nlmsg_type != RTM_NEWADDR || message->ifa_family != search->address->family)
        return MNL_CB_OK;
    mnl_attr_for_each(attribute, header, sizeof(*message))
    {
        unsigned type = mnl_attr_get_type(attribute);
        if ((type == IFA_LOCAL || type == IFA_ADDRESS) && mnl_attr_get_payload_len(attribute) == size &&
            memcmp(mnl_attr_get_payload(attribute), search->address->bytes, size) == 0)
            search->interface = message->ifa_index;
    }
    return MNL_CB_OK;
}

/* The interface that has the address. */
static int find_address(const struct ip_address *address, unsigned *ret_interface, struct err *err)
{
    struct exchange exchange;
    struct address_search search = {.address = address};
    struct nlmsghdr *header = link_begin(&exchange, RTM_GETADDR, NLM_F_DUMP);
    struct ifaddrmsg *message = mnl_nlmsg_put_extra_header(header, sizeof(*message));
    message->ifa_family = (uint8_t)address->family;
    int r = link_run(&exchange, take_address, &search);
    if (r < 0)
        return err_set(err, r, "cannot look at the host's addresses: %s", strerror(-r));
    if (search.interface == 0)
        return err_set(err, -EADDRNOTAVAIL, "local='%s' of <overlay> is not an address of this host", ip_text(address).text);
    *ret_interface = search.interface;
    return 0;
}

/* RFC 7348 section 5: the outer IP, UDP and VXLAN headers, and the inner Ethernet header. */
int link_tunnel_mtu(const struct ip_address *local, unsigned *ret_mtu, char ret_interface[static IFNAMSIZ], struct err *err)
{
    const unsigned overhead = (local->family == AF_INET ? 20 : 40) + 8 + 8 + 14;
    struct link_status status;
    char name[IFNAMSIZ];
    unsigned below = 0;
    int r = find_address(local, &below, err);
    if (r == 0 && if_indextoname(below, name) == NULL)
        r = err_set(err, -errno, "the interface with %s has vanished", ip_text(local).text);
    if (r == 0)
        r = link_query(name, &status, err);
    if (r < 0)
        return r;
    *ret_mtu = status.mtu > overhead ? status.mtu - overhead : 0;
    memcpy(ret_interface, name, sizeof(name));
    return 0;
}

static int make_device(const struct link_tunnel *tunnel, unsigned below, struct err *err)
{
    struct exchange exchange;
    const struct ip_address *local = tunnel->local;
    struct nlmsghdr *header = link_begin(&exchange, RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *link = mnl_nlmsg_put_extra_header(header, sizeof(*link));
    link->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(header, IFLA_IFNAME, tunnel->name);
    mnl_attr_put(header, IFLA_ADDRESS, 6, tunnel->mac);
    mnl_attr_put_u32(header, IFLA_MTU, tunnel->mtu);
    struct nlattr *info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_str(header, IFLA_INFO_KIND, "vxlan");
    struct nlattr *data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    mnl_attr_put_u32(header, IFLA_VXLAN_ID, tunnel->vni);
    mnl_attr_put_u32(header, IFLA_VXLAN_LINK, below);
    mnl_attr_put(header, local->family == AF_INET ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, ip_size(local->family), local->bytes);
    mnl_attr_put_u16(header, IFLA_VXLAN_PORT, htons((uint16_t)tunnel->port));
    mnl_attr_put_u8(header, IFLA_VXLAN_LEARNING, 1);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    int r = link_run(&exchange, NULL, NULL);
    if (r == -EEXIST)
        return err_set(err, r, "there is an interface %s on this host already, or another one with VXLAN %u at port %u", tunnel->name,
                       tunnel->vni, tunnel->port);
    return r < 0 ? err_set(err, r, "cannot make the tunnel %s: %s", tunnel->name, strerror(-r)) : 0;
}

/* An entry of the forwarding table: the address of zeros stands for all that are not known. */
static int add_peer(const char *name, int index, const struct ip_address *peer, struct err *err)
{
    static const uint8_t all[6];
    struct exchange exchange;
    struct nlmsghdr *header = link_begin(&exchange, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND);
    struct ndmsg *neighbour = mnl_nlmsg_put_extra_header(header, sizeof(*neighbour));
    neighbour->ndm_family = AF_BRIDGE;
    neighbour->ndm_ifindex = index;
    neighbour->ndm_state = NUD_NOARP | NUD_PERMANENT;
    neighbour->ndm_flags = NTF_SELF;
    mnl_attr_put(header, NDA_LLADDR, sizeof(all), all);
    mnl_attr_put(header, NDA_DST, ip_size(peer->family), peer->bytes);
    int r = link_run(&exchange, NULL, NULL);
    return r < 0 ? err_set(err, r, "cannot add the peer %s to the tunnel %s: %s", ip_text(peer).text, name, strerror(-r)) : 0;
}

int link_make_tunnel(const struct link_tunnel *tunnel, struct err *err)
{
    unsigned below = 0;
    int index = 0, r = find_address(tunnel->local, &below, err);
    if (r == 0)
        r = make_device(tunnel, below, err);
    if (r < 0)
        return r;
    r = link_index(tunnel->name, &index, err);
    for (size_t i = 0; r == 0 && i < tunnel->peer_count; i++)
        r = add_peer(tunnel->name, index, &tunnel->peers[i], err);
    if (r < 0)
        link_remove(tunnel->name, NULL);
    return r;
}
