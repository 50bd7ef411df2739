/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inventory of a host's networks: what is found when the daemon starts, looked up, put in, taken out. */
#include <errno.h>

#include "base/err.h"
#include "base/store.h"
#include "base/text.h"
#include "network/network_private.h"

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

struct network *networks_insert(struct networks *networks, const char *name)
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

void networks_drop(struct network *network)
{
    struct networks *networks = network->networks;
    size_t at = 0;
    while (networks->items[at] != network)
        at++;
    networks->count--;
    memmove(&networks->items[at], &networks->items[at + 1], (networks->count - at) * sizeof(struct network *));
    network_free(network);
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
    network = networks_insert(networks, name);
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
        (network == NULL && (network = networks_insert(networks, name)) == NULL)) {
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
