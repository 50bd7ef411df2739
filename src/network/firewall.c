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
    if (!definition->has_ip)
        return;
    if (definition->has_dhcp)
        RULE(rules, "add rule inet ferry input iifname \"%s\" udp dport 67 accept\n", bridge);
    if (definition->dns)
        RULE(rules, "add rule inet ferry input iifname \"%s\" meta l4proto { tcp, udp } th dport 53 accept\n", bridge);
    if (definition->tftp_root[0] != '\0')
        RULE(rules, "add rule inet ferry input iifname \"%s\" udp dport 69 accept\n", bridge);
}

/* Three passes over the networks, so that traffic from one into another meets the other's refusal first. */
static void within_rules(const struct network_definition *definition, struct rules *rules)
{
    RULE(rules, "add rule inet ferry forward iifname \"%s\" oifname \"%s\" accept\n", definition->bridge,
         definition->bridge);
}

static void into_rules(const struct network_definition *definition, struct rules *rules)
{
    const char *bridge = definition->bridge;
    struct ipv4_text net = ipv4_text(ipv4_first(&definition->ip));
    char dev[IFNAMSIZ + 16] = "";
    if (definition->forward_dev[0] != '\0')
        snprintf(dev, sizeof(dev), "iifname \"%s\" ", definition->forward_dev);
    if (routes_out(definition))
        RULE(rules, "add rule inet ferry forward %soifname \"%s\" ip daddr %s/%u %saccept\n", dev, bridge, net.text,
             definition->ip.prefix, definition->forward == NETWORK_NAT ? "ct state established,related " : "");
    RULE(rules, "add rule inet ferry forward oifname \"%s\" reject\n", bridge);
}

static void out_of_rules(const struct network_definition *definition, struct rules *rules)
{
    const char *bridge = definition->bridge;
    struct ipv4_text net = ipv4_text(ipv4_first(&definition->ip));
    char dev[IFNAMSIZ + 16] = "";
    if (definition->forward_dev[0] != '\0')
        snprintf(dev, sizeof(dev), " oifname \"%s\"", definition->forward_dev);
    if (routes_out(definition))
        RULE(rules, "add rule inet ferry forward iifname \"%s\" ip saddr %s/%u%s accept\n", bridge, net.text,
             definition->ip.prefix, dev);
    RULE(rules, "add rule inet ferry forward iifname \"%s\" reject\n", bridge);
}

/* How a guest's packets are hidden, for one protocol ("" for those without ports). */
static void hide_rule(const struct network_definition *definition, const char *protocol, struct rules *rules)
{
    struct ipv4_text net = ipv4_text(ipv4_first(&definition->ip)), start = ipv4_text(definition->nat_start),
                     end = ipv4_text(definition->nat_end);
    char dev[IFNAMSIZ + 16] = "", target[80], ports[32] = "";
    bool by_port = protocol[0] != '\0' && definition->nat_port_start != 0;
    if (definition->forward_dev[0] != '\0')
        snprintf(dev, sizeof(dev), " oifname \"%s\"", definition->forward_dev);
    if (by_port)
        snprintf(ports, sizeof(ports), ":%u-%u", definition->nat_port_start, definition->nat_port_end);
    if (definition->nat_start != 0)
        snprintf(target, sizeof(target), "snat ip to %s-%s%s", start.text, end.text, ports);
    else
        snprintf(target, sizeof(target), "masquerade%s%s", by_port ? " to " : "", ports);
    RULE(rules, "add rule inet ferry postrouting ip saddr %s/%u ip daddr != %s/%u%s%s %s\n", net.text,
         definition->ip.prefix, net.text, definition->ip.prefix, dev, protocol, target);
}

static void nat_rules(const struct network_definition *definition, struct rules *rules)
{
    struct ipv4_text net = ipv4_text(ipv4_first(&definition->ip));
    if (definition->forward != NETWORK_NAT)
        return;
    RULE(rules, "add rule inet ferry postrouting ip saddr %s/%u ip daddr { 224.0.0.0/24, 255.255.255.255 } return\n",
         net.text, definition->ip.prefix);
    if (definition->nat_port_start != 0)
        hide_rule(definition, " meta l4proto { tcp, udp }", rules);
    hide_rule(definition, "", rules);
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
