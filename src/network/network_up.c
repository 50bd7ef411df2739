/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What makes a network be there: bridge, addresses, dnsmasq, forwarding, firewall; and how all of it goes again. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "network/firewall.h"
#include "network/link.h"
#include "network/network_private.h"

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

/* Guests have no IPv6 through us, so the bridge has no IPv6 address that they could talk to either. */
static int disable_ipv6(const char *bridge, struct err *err)
{
    char path[128];
    int r = text_format(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", bridge);
    if (r == 0 && access(path, F_OK) == 0)
        r = set_kernel_value(path, "1", err);
    return r;
}

static int check_routes(const struct network_definition *definition, struct err *err)
{
    struct ipv4_net route;
    char interface[IFNAMSIZ];
    bool found;
    int r = link_find_route(&definition->ip, definition->bridge, &found, &route, interface, err);
    if (r == 0 && found)
        return err_set(err, -EEXIST, "network %s (%s/%u) overlaps with %s/%u, which this host reaches by interface %s",
                       definition->name, ipv4_text(ipv4_first(&definition->ip)).text, definition->ip.prefix,
                       ipv4_text(route.address).text, route.prefix, interface);
    return r;
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
    r = disable_ipv6(definition->bridge, err);
    if (r == 0 && definition->has_ip)
        r = link_add_address(definition->bridge, &definition->ip, err);
    if (r == 0)
        r = link_change(definition->bridge, &(struct link_change){.up = true}, err);
    if (r < 0)
        link_remove(definition->bridge, NULL);
    return r;
}

/* IPv4 forwarding is never switched off again: others may have come to need it. */
static int serve(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    int r = 0;
    if (dnsmasq_wanted(definition))
        r = dnsmasq_start(&networks->dnsmasq, definition, err);
    if (r == 0 && definition->forward != NETWORK_ISOLATED)
        r = set_kernel_value("/proc/sys/net/ipv4/ip_forward", "1", err);
    return r < 0 ? r : apply_firewall(networks, definition, NULL, err);
}

int bring_up(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    if (definition->forward == NETWORK_BRIDGE)
        return check_host_bridge(definition, err);
    int r = definition->has_ip ? check_routes(definition, err) : 0;
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
    int removed = bridge_is_ours(definition) ? link_remove(definition->bridge, r < 0 ? NULL : err) : 0;
    return r < 0 ? r : removed;
}

bool still_up(const struct networks *networks, const struct network_definition *definition)
{
    struct err err = ERR_INIT;
    int fd;
    if (definition->forward == NETWORK_BRIDGE)
        return true;
    if (!bridge_is_ours(definition))
        return false;
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
