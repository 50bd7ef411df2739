/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firewall rules of all running networks, written in nft's language and run by libnftables. */
#include "network/firewall.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/err.h"
#include "network/definition.h"

#define RULES_MAX (4u * 1024 * 1024)

/* All output goes through this, so that one look at the end sees a failure of any. */
struct rules {
    struct buffer *out;
    int result;
};

#define RULE(rules, ...)                                                \
    do {                                                                \
        if ((rules)->result == 0)                                       \
            (rules)->result = buffer_printf((rules)->out, __VA_ARGS__); \
    } while (0)

static bool routes_out(const struct network_definition *definition)
{
    return definition->forward == NETWORK_NAT || definition->forward == NETWORK_ROUTE;
}

/* A network whose rules are ours: an open one has none by its name, and a host's bridge belongs to the host. */
static bool has_rules(const struct network_definition *definition)
{
    return definition->forward <= NETWORK_ROUTE;
}

/* What guests may ask of the host itself, even where its policy is to drop. */
static void input_rules(const struct network_definition *definition, struct rules *rules)
{
    const char *bridge = definition->bridge;
    if (!definition->ip4.there && !definition->ip6.there)
        return;
    if (definition->ip4.has_dhcp)
        RULE(rules, "add rule inet ferry input iifname \"%s\" udp dport 67 accept\n", bridge);
    if (definition->ip6.has_dhcp)
        RULE(rules, "add rule inet ferry input iifname \"%s\" udp dport 547 accept\n", bridge);
    if (definition->ip6.there)
        RULE(rules, "add rule inet ferry input iifname \"%s\" icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } "
                    "accept\n", bridge);
    if (definition->dns)
        RULE(rules, "add rule inet ferry input iifname \"%s\" meta l4proto { tcp, udp } th dport 53 accept\n", bridge);
    if (definition->tftp_root[0] != '\0')
        RULE(rules, "add rule inet ferry input iifname \"%s\" udp dport 69 accept\n", bridge);
}

/* "ip" or "ip6", in nft's language. */
static const char *protocol_of(const struct network_ip *ip)
{
    return ip->net.address.family == AF_INET6 ? "ip6" : "ip";
}

/* Whether the guests' addresses of this family are hidden. */
static bool hides(const struct network_definition *definition, const struct network_ip *ip)
{
    return definition->forward == NETWORK_NAT && (ip == &definition->ip4 || definition->nat_ipv6);
}

/* Three passes over the networks, so that traffic from one into another meets the other's refusal first. */
static void within_rules(const struct network_definition *definition, struct rules *rules)
{
    RULE(rules, "add rule inet ferry forward iifname \"%s\" oifname \"%s\" accept\n", definition->bridge,
         definition->bridge);
}

static void into_rule(const struct network_definition *definition, const struct network_ip *ip, struct rules *rules)
{
    char dev[IFNAMSIZ + 16] = "";
    if (!ip->there || !routes_out(definition))
        return;
    if (definition->forward_dev[0] != '\0')
        snprintf(dev, sizeof(dev), "iifname \"%s\" ", definition->forward_dev);
    RULE(rules, "add rule inet ferry forward %soifname \"%s\" %s daddr %s %saccept\n", dev, definition->bridge, protocol_of(ip),
         ip_net_text(&ip->net).text, hides(definition, ip) ? "ct state established,related " : "");
}

static void into_rules(const struct network_definition *definition, struct rules *rules)
{
    into_rule(definition, &definition->ip4, rules);
    into_rule(definition, &definition->ip6, rules);
    RULE(rules, "add rule inet ferry forward oifname \"%s\" reject\n", definition->bridge);
}

static void out_of_rule(const struct network_definition *definition, const struct network_ip *ip, struct rules *rules)
{
    char dev[IFNAMSIZ + 16] = "";
    if (!ip->there || !routes_out(definition))
        return;
    if (definition->forward_dev[0] != '\0')
        snprintf(dev, sizeof(dev), " oifname \"%s\"", definition->forward_dev);
    RULE(rules, "add rule inet ferry forward iifname \"%s\" %s saddr %s%s accept\n", definition->bridge, protocol_of(ip),
         ip_net_text(&ip->net).text, dev);
}

static void out_of_rules(const struct network_definition *definition, struct rules *rules)
{
    out_of_rule(definition, &definition->ip4, rules);
    out_of_rule(definition, &definition->ip6, rules);
    RULE(rules, "add rule inet ferry forward iifname \"%s\" reject\n", definition->bridge);
}

/* How a guest's packets are hidden, for those with ports and those without. */
static void hide_rule(const struct network_definition *definition, const struct network_ip *ip, bool by_port, struct rules *rules)
{
    struct ip_text net = ip_net_text(&ip->net), start = ip_text(&definition->nat_start), end = ip_text(&definition->nat_end);
    const char *protocol = protocol_of(ip);
    char dev[IFNAMSIZ + 16] = "", target[160], ports[32] = "";
    if (definition->forward_dev[0] != '\0')
        snprintf(dev, sizeof(dev), " oifname \"%s\"", definition->forward_dev);
    if (by_port)
        snprintf(ports, sizeof(ports), ":%u-%u", definition->nat_port_start, definition->nat_port_end);
    if (ip_is_set(&definition->nat_start) && ip == &definition->ip4)
        snprintf(target, sizeof(target), "snat ip to %s-%s%s", start.text, end.text, ports);
    else
        snprintf(target, sizeof(target), "masquerade%s%s", by_port ? " to " : "", ports);
    RULE(rules, "add rule inet ferry postrouting %s saddr %s %s daddr != %s%s%s %s\n", protocol, net.text, protocol, net.text, dev,
         by_port ? " meta l4proto { tcp, udp }" : "", target);
}

static void nat_rules_of(const struct network_definition *definition, const struct network_ip *ip, struct rules *rules)
{
    const char *protocol = protocol_of(ip);
    if (!ip->there || !hides(definition, ip))
        return;
    RULE(rules, "add rule inet ferry postrouting %s saddr %s %s daddr { %s } return\n", protocol, ip_net_text(&ip->net).text, protocol,
         ip == &definition->ip4 ? "224.0.0.0/24, 255.255.255.255" : "ff00::/8");
    if (definition->nat_port_start != 0)
        hide_rule(definition, ip, true, rules);
    hide_rule(definition, ip, false, rules);
}

static void nat_rules(const struct network_definition *definition, struct rules *rules)
{
    nat_rules_of(definition, &definition->ip4, rules);
    nat_rules_of(definition, &definition->ip6, rules);
}

static void for_each(const struct network_definition *const *definitions, size_t count,
                     void (*fn)(const struct network_definition *definition, struct rules *rules), struct rules *rules)
{
    for (size_t i = 0; i < count; i++)
        if (has_rules(definitions[i]))
            fn(definitions[i], rules);
}

int firewall_format(const struct network_definition *const *definitions, size_t count, struct buffer *out)
{
    struct rules rules = {.out = out};
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any |= has_rules(definitions[i]);
    /* To add what may be there and then delete it is how nft says "delete if it exists". */
    RULE(&rules, "add table inet ferry\ndelete table inet ferry\n");
    if (!any)
        return rules.result;
    RULE(&rules, "add table inet ferry\n"
                 "add chain inet ferry input { type filter hook input priority filter; policy accept; }\n"
                 "add chain inet ferry forward { type filter hook forward priority filter; policy accept; }\n"
                 "add chain inet ferry postrouting { type nat hook postrouting priority srcnat; policy accept; }\n");
    for_each(definitions, count, input_rules, &rules);
    for_each(definitions, count, within_rules, &rules);
    for_each(definitions, count, into_rules, &rules);
    for_each(definitions, count, out_of_rules, &rules);
    for_each(definitions, count, nat_rules, &rules);
    return rules.result;
}

static int run_rules(const char *commands, struct err *err)
{
    struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
    if (context == NULL)
        return err_set(err, -ENOMEM, "out of memory for the firewall rules");
    int r = 0;
    if (nft_ctx_buffer_error(context) != 0 || nft_ctx_buffer_output(context) != 0)
        r = err_set(err, -ENOMEM, "out of memory for the firewall rules");
    else if (nft_run_cmd_from_buffer(context, commands) != 0)
        r = err_set(err, -EIO, "the kernel refuses the firewall rules: %.*s",
                    (int)strcspn(nft_ctx_get_error_buffer(context), "\n"), nft_ctx_get_error_buffer(context));
    nft_ctx_free(context);
    return r;
}

int firewall_apply(const struct network_definition *const *definitions, size_t count, struct err *err)
{
    struct buffer commands = BUFFER_INIT(RULES_MAX);
    int r = firewall_format(definitions, count, &commands);
    if (r < 0)
        err_set(err, r, "the firewall rules of %zu networks can't be written: %s", count, strerror(-r));
    else
        r = run_rules((const char *)commands.data, err);
    buffer_fini(&commands);
    return r;
}
