/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A network: defined, started, changed, stopped. */
#include "network/network.h"

#include <errno.h>

#include "base/err.h"
#include "base/text.h"
#include "network/network_private.h"

const struct network_definition *network_definition(const struct network *network)
{
    return network->live != NULL ? network->live : network->config;
}

const char *network_name(const struct network *network)
{
    return network_definition(network)->name;
}

const uint8_t *network_uuid(const struct network *network)
{
    return network_definition(network)->uuid;
}

bool network_is_active(const struct network *network)
{
    return network->live != NULL;
}

bool network_is_persistent(const struct network *network)
{
    return network->config != NULL;
}

bool network_autostart(const struct network *network)
{
    return network->autostart;
}

int network_xml(const struct network *network, bool inactive, struct buffer *out)
{
    return network_definition_format(
        inactive && network->config != NULL ? network->config : network_definition(network), out);
}

static void tell(const struct network *network, enum network_event event)
{
    const struct networks_options *options = &network->networks->options;
    if (options->event != NULL)
        options->event(options->ctx, network, event);
}

/* What takes long, for options.run. */
struct job {
    const struct networks *networks;
    int (*fn)(const struct networks *networks, const struct network_definition *definition, struct err *err);
    const struct network_definition *definition;
    struct err *err;
    int result;
};

static void run_job(void *arg)
{
    struct job *job = arg;
    job->result = job->fn(job->networks, job->definition, job->err);
}

static int run(const struct networks *networks,
               int (*fn)(const struct networks *networks, const struct network_definition *definition, struct err *err),
               const struct network_definition *definition, struct err *err)
{
    struct job job = {.networks = networks, .fn = fn, .definition = definition, .err = err};
    if (networks->options.run != NULL)
        networks->options.run(networks->options.ctx, run_job, &job);
    else
        run_job(&job);
    return job.result;
}

int network_define(struct networks *networks, const char *xml, struct network **ret_network, struct err *err)
{
    struct network_definition *definition;
    struct network *network;
    int r = network_parse_new(networks, xml, &definition, &network, err);
    if (r < 0)
        return r;
    r = store_config(networks, definition, err);
    if (r == 0 && network == NULL && (network = networks_insert(networks, definition->name)) == NULL)
        r = err_set(err, -ENOMEM, "out of memory");
    if (r < 0) {
        network_definition_free(definition);
        return r;
    }
    network_definition_free(network->config);
    network->config = definition;
    tell(network, NETWORK_DEFINED);
    *ret_network = network;
    return 0;
}

/* The status file is there before anything else is, and goes last. */
static int start(struct networks *networks, struct network_definition *definition, struct err *err)
{
    int r = overlay_fill_mtu(definition, err);
    if (r < 0)
        return r;
    r = store_status(networks, definition, PHASE_STARTING, err);
    if (r < 0)
        return r;
    r = run(networks, bring_up, definition, err);
    if (r == 0) {
        r = store_status(networks, definition, PHASE_ACTIVE, err);
        if (r < 0)
            run(networks, take_down, definition, NULL);
    }
    if (r < 0)
        forget_status(networks, definition->name, NULL);
    return r;
}

int network_create(struct networks *networks, const char *xml, struct network **ret_network, struct err *err)
{
    struct network_definition *definition;
    struct network *network;
    int r = network_parse_new(networks, xml, &definition, &network, err);
    if (r < 0)
        return r;
    if (network != NULL && network->live != NULL)
        r = err_set(err, -EISCONN, "network %s is active already", definition->name);
    if (r == 0)
        r = start(networks, definition, err);
    if (r == 0 && network == NULL && (network = networks_insert(networks, definition->name)) == NULL) {
        run(networks, take_down, definition, NULL);
        forget_status(networks, definition->name, NULL);
        r = err_set(err, -ENOMEM, "out of memory");
    }
    if (r < 0) {
        network_definition_free(definition);
        return r;
    }
    network->live = definition;
    watch_server(network);
    tell(network, NETWORK_STARTED);
    *ret_network = network;
    return 0;
}

int network_start(struct network *network, struct err *err)
{
    struct network_definition *live;
    if (network->live != NULL)
        return err_set(err, -EISCONN, "network %s is active already", network_name(network));
    int r = network_definition_copy(network->config, &live);
    if (r < 0)
        return err_set(err, r, "network %s cannot be started: %s", network_name(network), strerror(-r));
    r = start(network->networks, live, err);
    if (r < 0) {
        network_definition_free(live);
        return r;
    }
    network->live = live;
    watch_server(network);
    tell(network, NETWORK_STARTED);
    return 0;
}

int network_destroy(struct network *network, struct err *err)
{
    struct networks *networks = network->networks;
    if (network->live == NULL)
        return err_set(err, -ENOTCONN, "network %s is not active", network_name(network));
    int r = store_status(networks, network->live, PHASE_STOPPING, err);
    unwatch_server(network);
    if (r == 0)
        r = run(networks, take_down, network->live, err);
    if (r == 0)
        r = forget_status(networks, network_name(network), err);
    if (r < 0)
        return r;
    tell(network, NETWORK_STOPPED);
    if (network->config == NULL) {
        dnsmasq_forget_leases(&networks->dnsmasq, network_name(network));
        networks_drop(network);
        return 0;
    }
    network_definition_free(network->live);
    network->live = NULL;
    return 0;
}

int network_undefine(struct network *network, struct err *err)
{
    struct networks *networks = network->networks;
    if (network->config == NULL)
        return err_set(err, -ENOTCONN, "network %s is not defined, only active; destroy it", network_name(network));
    int r = forget_config(networks, network_name(network), err);
    if (r < 0)
        return r;
    tell(network, NETWORK_UNDEFINED);
    network->autostart = false;
    if (network->live == NULL) {
        dnsmasq_forget_leases(&networks->dnsmasq, network_name(network));
        networks_drop(network);
        return 0;
    }
    network_definition_free(network->config);
    network->config = NULL;
    return 0;
}

int network_set_autostart(struct network *network, bool autostart, struct err *err)
{
    if (network->config == NULL)
        return err_set(err, -ENOTCONN, "network %s is transient: only a defined network can start by itself",
                       network_name(network));
    int r = store_autostart(network->networks, network_name(network), autostart, err);
    if (r == 0)
        network->autostart = autostart;
    return r;
}

static int update_dhcp_hosts(const struct networks *networks, const struct network_definition *definition,
                             struct err *err)
{
    return dnsmasq_wanted(definition) ? dnsmasq_update(&networks->dnsmasq, definition, true, err) : 0;
}

static int update_server(const struct networks *networks, const struct network_definition *definition, struct err *err)
{
    int r = dnsmasq_wanted(definition) ? dnsmasq_update(&networks->dnsmasq, definition, false, err) : 0;
    return r < 0 ? r : apply_firewall(networks, NULL, NULL, err); /* DHCP may be new here */
}

static int update_live(struct network *network, struct network_definition *changed, bool hosts_only, struct err *err)
{
    struct network_definition *old = network->live;
    network->live = changed;
    unwatch_server(network);
    int r = store_status(network->networks, changed, PHASE_ACTIVE, err);
    if (r == 0)
        r = run(network->networks, hosts_only ? update_dhcp_hosts : update_server, changed, err);
    if (r < 0) {
        network->live = old;
        store_status(network->networks, old, PHASE_ACTIVE, NULL);
        run(network->networks, update_server, old, NULL);
    }
    watch_server(network);
    if (r < 0)
        return r;
    network_definition_free(old);
    return 0;
}

/* A changed copy of one of the definitions. */
static int changed_copy(const struct network_definition *definition, unsigned command, unsigned section,
                        const char *xml, struct network_definition **ret_changed, struct err *err)
{
    struct network_definition *changed;
    int r = network_definition_copy(definition, &changed);
    if (r < 0)
        return err_set(err, r, "network %s cannot be changed: %s", definition->name, strerror(-r));
    r = network_definition_update(changed, command, section, xml, err);
    if (r < 0)
        network_definition_free(changed);
    else
        *ret_changed = changed;
    return r;
}

/* A host new to a network without DHCP, and a range, mean that dnsmasq reads its configuration anew. */
static bool only_hosts_changed(const struct network *network, const struct network_definition *changed, unsigned section)
{
    return section == NETWORK_SECTION_DNS_HOST ||
           (section == NETWORK_SECTION_DHCP_HOST && network->live->ip4.has_dhcp == changed->ip4.has_dhcp &&
            network->live->ip6.has_dhcp == changed->ip6.has_dhcp);
}

int network_update(struct network *network, unsigned command, unsigned section, const char *xml, unsigned affect,
                   struct err *err)
{
    struct network_definition *live = NULL, *config = NULL;
    int r = 0;
    if (affect == 0)
        affect = network->live != NULL ? NETWORK_AFFECT_LIVE : NETWORK_AFFECT_CONFIG;
    if ((affect & NETWORK_AFFECT_LIVE) && network->live == NULL)
        return err_set(err, -ENOTCONN, "network %s is not active, so only its configuration can be updated",
                       network_name(network));
    if ((affect & NETWORK_AFFECT_CONFIG) && network->config == NULL)
        return err_set(err, -ENOTCONN, "network %s is transient, so it has no configuration to update",
                       network_name(network));
    if (affect & NETWORK_AFFECT_LIVE)
        r = changed_copy(network->live, command, section, xml, &live, err);
    if (r == 0 && (affect & NETWORK_AFFECT_CONFIG))
        r = changed_copy(network->config, command, section, xml, &config, err);
    if (r == 0 && live != NULL) {
        r = update_live(network, live, only_hosts_changed(network, live, section), err);
        live = r == 0 ? NULL : live;
    }
    if (r == 0 && config != NULL)
        r = store_config(network->networks, config, err);
    if (r == 0 && config != NULL) {
        network_definition_free(network->config);
        network->config = config;
        config = NULL;
    }
    network_definition_free(live);
    network_definition_free(config);
    return r;
}

int network_leases(const struct network *network, struct dhcp_lease **ret_leases, size_t *ret_count, struct err *err)
{
    if (network->live == NULL)
        return err_set(err, -ENOTCONN, "network %s is not active", network_name(network));
    return dnsmasq_leases(&network->networks->dnsmasq, network_name(network), time(NULL), ret_leases, ret_count, err);
}

int network_tap(const struct network *network, const char *name, const uint8_t card_mac[static 6], struct tap *ret_tap,
                struct err *err)
{
    if (network->live == NULL)
        return err_set(err, -ENOTCONN, "network %s is not active; start it with: virsh net-start %s",
                       network_name(network), network_name(network));
    return tap_open(network->live->bridge, name, card_mac, network->live->mtu, ret_tap, err);
}

int network_repair(struct network *network, struct err *err)
{
    if (network->live == NULL || !dnsmasq_wanted(network->live))
        return 0;
    int r = run(network->networks, update_dhcp_hosts, network->live, err);
    watch_server(network);
    return r;
}
