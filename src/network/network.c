/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory of a host's networks, and what is done to them. */
#include "network/network.h"

#include <errno.h>

#include "base/buffer.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/store.h"
#include "base/text.h"
#include "network/link.h"
#include "network/network_private.h"

#define BRIDGES_MAX 1000 /* virbr0 to virbr999 */

size_t networks_count(const struct networks *networks)
{
    return networks->count;
}

struct network *networks_get(const struct networks *networks, size_t index)
{
    return networks->items[index];
}

struct network *networks_find(const struct networks *networks, const char *name)
{
    for (size_t i = 0; i < networks->count; i++)
        if (text_equal(network_name(networks->items[i]), name))
            return networks->items[i];
    return NULL;
}

struct network *networks_find_uuid(const struct networks *networks, const uint8_t uuid[static UUID_SIZE])
{
    for (size_t i = 0; i < networks->count; i++)
        if (uuid_equal(network_uuid(networks->items[i]), uuid))
            return networks->items[i];
    return NULL;
}

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

void warn(const struct networks *networks, const char *sentence)
{
    if (networks->options.warn != NULL)
        networks->options.warn(networks->options.ctx, sentence);
}

static void network_free(struct network *network)
{
    if (network == NULL)
        return;
    unwatch_server(network);
    network_definition_free(network->config);
    network_definition_free(network->live);
    free(network);
}

/* The network takes nothing of the definition, which decides its place only. */
static struct network *insert(struct networks *networks, const char *name)
{
    struct network **items = realloc(networks->items, (networks->count + 1) * sizeof(struct network *));
    if (items == NULL)
        return NULL;
    networks->items = items;
    struct network *network = calloc(1, sizeof(*network));
    if (network == NULL)
        return NULL;
    network->networks = networks;
    network->server_fd = -1;
    size_t at = networks->count++;
    for (; at > 0 && strcmp(network_name(items[at - 1]), name) > 0; at--)
        items[at] = items[at - 1];
    items[at] = network;
    return network;
}

static void drop(struct network *network)
{
    struct networks *networks = network->networks;
    size_t at = 0;
    while (networks->items[at] != network)
        at++;
    networks->count--;
    memmove(&networks->items[at], &networks->items[at + 1], (networks->count - at) * sizeof(struct network *));
    network_free(network);
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

static struct network *bridge_owner(const struct networks *networks, const char *bridge, const struct network *except)
{
    for (size_t i = 0; i < networks->count; i++) {
        struct network *network = networks->items[i];
        if (network != except && ((network->config != NULL && text_equal(network->config->bridge, bridge)) ||
                                  (network->live != NULL && text_equal(network->live->bridge, bridge))))
            return network;
    }
    return NULL;
}

/* The lowest virbrN that neither a network nor the host has. */
static int choose_bridge(const struct networks *networks, struct network_definition *definition, struct err *err)
{
    struct link_status status;
    for (unsigned i = 0; i < BRIDGES_MAX; i++) {
        (void)text_format(definition->bridge, sizeof(definition->bridge), "virbr%u", i);
        if (bridge_owner(networks, definition->bridge, NULL) != NULL)
            continue;
        int r = link_query(definition->bridge, &status, err);
        if (r < 0 || !status.exists)
            return r;
    }
    return err_set(err, -ENOSPC, "virbr0 to virbr%d are all taken; give the network a <bridge name='...'/>",
                   BRIDGES_MAX - 1);
}

/* The owner of another name or bridge than the definition's is its rival. */
static int check_rivals(const struct networks *networks, const struct network_definition *definition,
                        const struct network *same, struct err *err)
{
    const struct network *other = definition->has_uuid ? networks_find_uuid(networks, definition->uuid) : NULL;
    char uuid[UUID_TEXT_SIZE];
    if (other != NULL && other != same)
        return err_set(err, -EEXIST, "the UUID of network %s is that of network %s, which exists already",
                       definition->name, network_name(other));
    if (same != NULL && definition->has_uuid && other == NULL) {
        uuid_format(network_uuid(same), uuid);
        return err_set(err, -EEXIST, "network %s exists already, with UUID %s", definition->name, uuid);
    }
    other = definition->bridge[0] == '\0' || definition->forward == NETWORK_BRIDGE
                ? NULL
                : bridge_owner(networks, definition->bridge, same);
    if (other != NULL)
        return err_set(err, -EEXIST, "bridge %s of network %s belongs to network %s already", definition->bridge,
                       definition->name, network_name(other));
    return 0;
}

/* By the network's name: the network of that name on another host has the same gateway, so a guest that migrates goes on sending
 * to the MAC address that it knows. Where an overlay joins them, bridges of different addresses must be told apart. */
static void choose_mac(struct network_definition *definition)
{
    uint32_t sum = crc32c(0, definition->name, strlen(definition->name));
    if (definition->overlay.there)
        sum = crc32c(sum, definition->ip4.net.address.bytes, sizeof(definition->ip4.net.address.bytes));
    definition->mac[0] = 0x52;
    definition->mac[1] = 0x54;
    definition->mac[2] = 0x00;
    for (unsigned i = 0; i < 3; i++)
        definition->mac[3 + i] = (uint8_t)(sum >> (8 * i));
    definition->has_mac = true;
}

/* What the document left open: UUID, bridge and its MAC. A redefined network keeps what it has. */
static int complete(const struct networks *networks, struct network_definition *definition, const struct network *same,
                    struct err *err)
{
    if (!definition->has_uuid && same != NULL)
        memcpy(definition->uuid, network_uuid(same), UUID_SIZE);
    else if (!definition->has_uuid)
        uuid_random(definition->uuid);
    definition->has_uuid = true;
    if (definition->forward == NETWORK_BRIDGE)
        return 0;
    if (!definition->has_mac)
        choose_mac(definition);
    if (definition->bridge[0] != '\0')
        return 0;
    if (same != NULL && network_definition(same)->forward != NETWORK_BRIDGE) {
        memcpy(definition->bridge, network_definition(same)->bridge, IFNAMSIZ);
        return 0;
    }
    return choose_bridge(networks, definition, err);
}

static int parse_new(const struct networks *networks, const char *xml, struct network_definition **ret_definition,
                     struct network **ret_same, struct err *err)
{
    struct network_definition *definition;
    int r = network_definition_parse(xml, &definition, err);
    if (r < 0)
        return r;
    struct network *same = networks_find(networks, definition->name);
    r = check_rivals(networks, definition, same, err);
    if (r == 0)
        r = complete(networks, definition, same, err);
    if (r < 0) {
        network_definition_free(definition);
        return r;
    }
    *ret_definition = definition;
    *ret_same = same;
    return 0;
}

int network_define(struct networks *networks, const char *xml, struct network **ret_network, struct err *err)
{
    struct network_definition *definition;
    struct network *network;
    int r = parse_new(networks, xml, &definition, &network, err);
    if (r < 0)
        return r;
    r = store_config(networks, definition, err);
    if (r == 0 && network == NULL && (network = insert(networks, definition->name)) == NULL)
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
    int r = parse_new(networks, xml, &definition, &network, err);
    if (r < 0)
        return r;
    if (network != NULL && network->live != NULL)
        r = err_set(err, -EISCONN, "network %s is active already", definition->name);
    if (r == 0)
        r = start(networks, definition, err);
    if (r == 0 && network == NULL && (network = insert(networks, definition->name)) == NULL) {
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
        drop(network);
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
        drop(network);
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

static void add_config(void *ctx, const char *name)
{
    struct networks *networks = ctx;
    struct network_definition *definition;
    struct network *network;
    struct err err = ERR_INIT;
    bool autostart = false;
    if (load_config(networks, name, &definition, &autostart, &err) < 0) {
        warn(networks, err.message);
        return;
    }
    network = insert(networks, name);
    if (network == NULL) {
        network_definition_free(definition);
        return;
    }
    network->config = definition;
    network->autostart = autostart;
}

/* Of what was active, or half so, when the daemon ended. */
static void add_status(void *ctx, const char *name)
{
    struct networks *networks = ctx;
    struct network_definition *definition;
    enum network_phase phase;
    struct err err = ERR_INIT;
    if (load_status(networks, name, &definition, &phase, &err) < 0) {
        warn(networks, err.message);
        return;
    }
    struct network *network = networks_find(networks, name);
    if (phase != PHASE_ACTIVE || !still_up(networks, definition) ||
        (network == NULL && (network = insert(networks, name)) == NULL)) {
        if (take_down(networks, definition, &err) < 0)
            warn(networks, err.message);
        else
            forget_status(networks, name, NULL);
        if (network == NULL)
            dnsmasq_forget_leases(&networks->dnsmasq, name);
        network_definition_free(definition);
        return;
    }
    network->live = definition;
    watch_server(network);
}

static void count_one(void *ctx, const char *name)
{
    (*(size_t *)ctx)++;
}

static int find_all(struct networks *networks, struct err *err)
{
    size_t statuses = 0;
    int r = make_directories(networks, err);
    if (r == 0)
        r = store_each(networks->options.config_directory, add_config, networks, err);
    if (r == 0)
        r = store_each(networks->options.run_directory, count_one, &statuses, err);
    if (r == 0)
        r = store_each(networks->options.run_directory, add_status, networks, err);
    /* Where nothing was active nothing of ours can be in the firewall, and we may not even be allowed to look. */
    if (r == 0 && statuses > 0)
        r = apply_firewall(networks, NULL, NULL, err);
    return r;
}

int networks_open(const struct networks_options *options, struct networks **ret_networks, struct err *err)
{
    struct networks *networks = calloc(1, sizeof(*networks));
    if (networks == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    networks->options = *options;
    networks->dnsmasq = (struct dnsmasq_place){.program = options->dnsmasq != NULL ? options->dnsmasq : "dnsmasq",
                                               .user = options->dnsmasq_user != NULL ? options->dnsmasq_user : "",
                                               .run_directory = options->run_directory,
                                               .lease_directory = options->lease_directory};
    int r = find_all(networks, err);
    if (r < 0)
        networks_close(networks);
    else
        *ret_networks = networks;
    return r;
}

void networks_close(struct networks *networks)
{
    if (networks == NULL)
        return;
    for (size_t i = 0; i < networks->count; i++)
        network_free(networks->items[i]);
    free(networks->items);
    free(networks);
}

void networks_autostart(struct networks *networks)
{
    for (size_t i = 0; i < networks->count; i++) {
        struct network *network = networks->items[i];
        struct err err = ERR_INIT;
        if (network->autostart && network->live == NULL && network_start(network, &err) < 0)
            warn(networks, err.message);
    }
}

int networks_define_default(struct networks *networks, bool autostart, struct err *err)
{
    static const char xml[] =
        "<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='off' delay='0'/>"
        "<ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>"
        "<range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>";
    struct network *network;
    if (!networks->fresh || networks->count > 0)
        return 0;
    int r = network_define(networks, xml, &network, err);
    return r < 0 || !autostart ? r : network_set_autostart(network, true, err);
}
