/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What makes a network be there: bridge, addresses, dnsmasq, forwarding, firewall; and how all of it goes again. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "network/firewall.h"
#include "network/link.h"
#include "network/network_private.h"

#define ETHERNET_MTU 1500

/* /proc/sys/net is that of the caller's network namespace. */
static int set_kernel_value(const char *path, const char *value, struct err *err)
{
    char now[16] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
    ssize_t n = read(fd, now, sizeof(now) - 1);
    bool same = n > 0 && strncmp(now, value, strlen(value)) == 0 && now[strlen(value)] == '\n';
    int r = !same && pwrite(fd, value, strlen(value), 0) < 0 ? -errno : 0;
    fd_close(&fd);
    return r < 0 ? err_set(err, r, "cannot write %s to %s: %s", value, path, strerror(-r)) : 0;
}

static int set_ipv6_value(const char *interface, const char *key, const char *value, struct err *err)
{
    char path[128];
    int r = text_format(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/%s", interface, key);
    return r < 0 ? err_set(err, r, "the name of interface %s is too long", interface) : set_kernel_value(path, value, err);
}

/* A bridge of a network without IPv6 has no address of it that guests could talk to either. Another one has what the definition says
 * and nothing that a guest announces; nor does it give way to whoever has its address: that is the same network on another host. */
static int set_ipv6(const struct network_definition *definition, struct err *err)
{
    static const struct {
        const char *key, *value;
    } values[] = {{"accept_ra", "0"}, {"autoconf", "0"}, {"accept_dad", "0"}, {"disable_ipv6", "0"}};
    int r = 0;
    if (access("/proc/sys/net/ipv6", F_OK) < 0)
        return definition->ip6.there ? err_set(err, -EAFNOSUPPORT, "the kernel of this host has no IPv6") : 0;
    if (!definition->ip6.there)
        return set_ipv6_value(definition->bridge, "disable_ipv6", "1", err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(values); i++)
        r = set_ipv6_value(definition->bridge, values[i].key, values[i].value, err);
    return r;
}

static int check_routes_of(const struct network_definition *definition, const struct network_ip *ip, struct err *err)
{
    struct ip_net route;
    char interface[IFNAMSIZ];
    bool found;
    int r = ip->there ? link_find_route(&ip->net, definition->bridge, &found, &route, interface, err) : 0;
    if (r == 0 && ip->there && found)
        return err_set(err, -EEXIST, "network %s (%s) overlaps with %s, which this host reaches by interface %s",
                       definition->name, ip_net_text(&ip->net).text, ip_net_text(&route).text, interface);
    return r;
}

static int check_routes(const struct network_definition *definition, struct err *err)
{
    int r = check_routes_of(definition, &definition->ip4, err);
    return r < 0 ? r : check_routes_of(definition, &definition->ip6, err);
}

static int check_host_bridge(const struct network_definition *definition, struct err *err)
{
    struct link_status status;
    int r = link_query(definition->bridge, &status, err);
    if (r == 0 && !status.exists)
        return err_set(err, -ENODEV, "network %s needs bridge %s, which this host does not have", definition->name,
                       definition->bridge);
    if (r == 0 && !status.is_bridge)
        return err_set(err, -EINVAL, "network %s needs bridge %s, but that interface is not a bridge", definition->name,
                       definition->bridge);
    return r;
}

/* The tunnel's name and its MAC address follow from the bridge's. */
static void describe_tunnel(const struct network_definition *definition, char ret_name[static IFNAMSIZ], uint8_t ret_mac[static 6])
{
    (void)text_format(ret_name, IFNAMSIZ, "%s" NETWORK_TUNNEL_SUFFIX, definition->bridge);
    memcpy(ret_mac, definition->mac, 6);
    ret_mac[0] ^= 0x08;
}

static int make_tunnel(const struct network_definition *definition, struct err *err)
{
    const struct network_overlay *overlay = &definition->overlay;
    char name[IFNAMSIZ];
    uint8_t mac[6];
    struct link_tunnel tunnel = {.name = name,
                                 .mac = mac,
                                 .vni = overlay->vni,
                                 .port = overlay->port,
                                 .mtu = definition->mtu,
                                 .local = &overlay->local,
                                 .peers = overlay->peers.items,
                                 .peer_count = overlay->peers.count};
    describe_tunnel(definition, name, mac);
    int r = link_make_tunnel(&tunnel, err);
    if (r == 0)
        r = link_change(name, &(struct link_change){.master = definition->bridge, .up = true}, err);
    return r;
}

static bool tunnel_is_ours(const struct network_definition *definition)
{
    struct link_status status;
    char name[IFNAMSIZ];
    uint8_t mac[6];
    describe_tunnel(definition, name, mac);
    return link_query(name, &status, NULL) == 0 && status.is_tunnel && memcmp(status.mac, mac, 6) == 0;
}

static int remove_tunnel(const struct network_definition *definition, struct err *err)
{
    char name[IFNAMSIZ];
    uint8_t mac[6];
    describe_tunnel(definition, name, mac);
    return tunnel_is_ours(definition) ? link_remove(name, err) : 0;
}

int overlay_fill_mtu(struct network_definition *definition, struct err *err)
{
    char interface[IFNAMSIZ];
    unsigned mtu;
    if (!definition->overlay.there)
        return 0;
    int r = link_tunnel_mtu(&definition->overlay.local, &mtu, interface, err);
    if (r < 0)
        return r;
    if (definition->mtu > mtu)
        return err_set(err, -EINVAL,
                       "<mtu size='%u'> of network %s is too large: interface %s leaves %u bytes for what is in its <overlay>",
                       definition->mtu, definition->name, interface, mtu);
    if (definition->mtu == 0)
        definition->mtu = mtu < ETHERNET_MTU ? mtu : ETHERNET_MTU;
    return 0;
}

static int make_bridge(const struct network_definition *definition, struct err *err)
{
    struct link_bridge bridge = {.name = definition->bridge,
                                 .mac = definition->mac,
                                 .mtu = definition->mtu,
                                 .stp = definition->stp,
                                 .delay = definition->delay};
    int r = link_make_bridge(&bridge, err);
    if (r < 0)
        return r;
    r = set_ipv6(definition, err);
    if (r == 0 && definition->ip4.there)
        r = link_add_address(definition->bridge, &definition->ip4.net, err);
    if (r == 0 && definition->ip6.there)
        r = link_add_address(definition->bridge, &definition->ip6.net, err);
    if (r == 0 && definition->overlay.there)
        r = make_tunnel(definition, err);
    if (r == 0)
        r = link_change(definition->bridge, &(struct link_change){.up = true}, err);
    for (size_t i = 0; r == 0 && i < definition->routes.count; i++) {
        const struct network_route *route = &definition->routes.items[i];
        r = link_add_route(definition->bridge, &route->net, &route->gateway, route->metric, err);
    }
    if (r < 0) {
        remove_tunnel(definition, NULL);
        link_remove(definition->bridge, NULL);
    }
    return r;
}

/* A host that forwards gives up the routes that routers announce, unless accept_ra is 2. */
static int forward_ipv6(struct err *err)
{
    char interface[IFNAMSIZ], path[128], value[16] = "";
    int r = link_find_advertised(interface, err);
    if (r < 0)
        return r;
    if (interface[0] != '\0' && text_format(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", interface) == 0) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, value, sizeof(value) - 1);
        fd_close(&fd);
        if (n <= 0 || value[0] != '2')
            return err_set(err, -EBUSY,
                           "this host has its IPv6 routes from announcements on interface %s, and would lose them as soon as it forwards; "
                           "set net.ipv6.conf.%s.accept_ra=2 first", interface, interface);
    }
    return set_kernel_value("/proc/sys/net/ipv6/conf/all/forwarding", "1", err);
}

/* Forwarding is never switched off again: others may have come to need it. */
static int serve(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    int r = 0;
    if (dnsmasq_wanted(definition))
        r = dnsmasq_start(&networks->dnsmasq, definition, err);
    if (r == 0 && definition->forward != NETWORK_ISOLATED && definition->ip4.there)
        r = set_kernel_value("/proc/sys/net/ipv4/ip_forward", "1", err);
    if (r == 0 && definition->forward != NETWORK_ISOLATED && definition->ip6.there)
        r = forward_ipv6(err);
    return r < 0 ? r : apply_firewall(networks, definition, NULL, err);
}

int bring_up(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    if (definition->forward == NETWORK_BRIDGE)
        return check_host_bridge(definition, err);
    int r = check_routes(definition, err);
    if (r == 0)
        r = make_bridge(definition, err);
    if (r < 0)
        return r;
    r = serve(networks, definition, err);
    if (r < 0)
        take_down(networks, definition, NULL);
    return r;
}

/* The MAC tells our bridge from one that somebody made meanwhile under the same name. */
static bool bridge_is_ours(const struct network_definition *definition)
{
    struct link_status status;
    return link_query(definition->bridge, &status, NULL) == 0 && status.is_bridge &&
           memcmp(status.mac, definition->mac, 6) == 0;
}

int take_down(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    if (definition->forward == NETWORK_BRIDGE)
        return 0;
    dnsmasq_stop(&networks->dnsmasq, definition->name);
    int r = apply_firewall(networks, NULL, definition, err);
    int tunnel = definition->overlay.there ? remove_tunnel(definition, r < 0 ? NULL : err) : 0;
    int removed = bridge_is_ours(definition) ? link_remove(definition->bridge, r < 0 || tunnel < 0 ? NULL : err) : 0;
    return r < 0 ? r : tunnel < 0 ? tunnel : removed;
}

bool still_up(const struct networks *networks, const struct network_definition *definition)
{
    struct err err = ERR_INIT;
    int fd;
    if (definition->forward == NETWORK_BRIDGE)
        return true;
    if (!bridge_is_ours(definition))
        return false;
    if (definition->overlay.there && !tunnel_is_ours(definition) && make_tunnel(definition, &err) < 0)
        warn(networks, err.message);
    if (dnsmasq_wanted(definition) && dnsmasq_find(&networks->dnsmasq, definition->name, &fd) == 0)
        fd_close(&fd);
    else if (dnsmasq_wanted(definition) && dnsmasq_start(&networks->dnsmasq, definition, &err) < 0)
        warn(networks, err.message);
    return true;
}

int apply_firewall(const struct networks *networks, const struct network_definition *more,
                   const struct network_definition *less, struct err *err)
{
    const struct network_definition **active = calloc(networks->count + 1, sizeof(*active));
    size_t count = 0;
    if (active == NULL)
        return err_set(err, -ENOMEM, "out of memory for the firewall rules");
    for (size_t i = 0; i < networks->count; i++)
        if (networks->items[i]->live != NULL && networks->items[i]->live != less)
            active[count++] = networks->items[i]->live;
    if (more != NULL)
        active[count++] = more;
    int r = firewall_apply(active, count, err);
    free(active);
    return r;
}
