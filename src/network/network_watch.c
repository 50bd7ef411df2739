/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notices when a network's dnsmasq ends by itself. */
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "event/loop.h"
#include "network/network_private.h"

void unwatch_server(struct network *network)
{
    loop_remove(network->server_source);
    network->server_source = NULL;
    fd_close(&network->server_fd);
}

static void server_ended(void *ctx, unsigned events)
{
    struct network *network = ctx;
    const struct networks_options *options = &network->networks->options;
    struct err err = ERR_INIT;
    unwatch_server(network);
    err_set(&err, 0, "the DHCP and DNS server of network %s has ended", network_name(network));
    warn(network->networks, err.message);
    if (options->server_ended != NULL)
        options->server_ended(options->ctx, network);
}

void watch_server(struct network *network)
{
    const struct networks *networks = network->networks;
    unwatch_server(network);
    if (networks->options.loop == NULL || network->live == NULL || !dnsmasq_wanted(network->live) ||
        dnsmasq_find(&networks->dnsmasq, network_name(network), &network->server_fd) < 0)
        return;
    if (loop_add(networks->options.loop, network->server_fd, LOOP_READ, server_ended, network,
                 &network->server_source) < 0)
        fd_close(&network->server_fd);
}
