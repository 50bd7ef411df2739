/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's virtual networks inside ferryd: one change at a time, events for clients, taps for domains. */
#ifndef FERRY_DAEMON_NETWORKS_H
#define FERRY_DAEMON_NETWORKS_H

#include <stdint.h>

#include "event/coroutine.h"
#include "network/network.h"

struct call;
struct daemon;
struct err;
struct rpc_object;

struct daemon_networks {
    struct daemon *daemon;
    struct networks *networks; /* to look at; to change it, hold the lock */
    bool locked;
    struct wait_queue unlocked;
    char *config_directory, *run_directory, *lease_directory;
};

/* Finds what is defined and what runs, and starts what is to start by itself. */
int daemon_networks_new(struct daemon *daemon, struct daemon_networks **ret_networks, struct err *err);
void daemon_networks_free(struct daemon_networks *networks); /* accepts NULL; networks go on */

/* Held by a coroutine while it changes networks or makes taps. After the lock was waited for, look networks up again.
 */
void daemon_networks_lock(struct daemon_networks *networks);
void daemon_networks_unlock(struct daemon_networks *networks);

/* A tap for a domain's interface, by the name of a network or of a bridge of the host (the other NULL). In a coroutine;
 * takes the lock itself. wanted_name: NULL for the next free vnetN. The caller closes the descriptor. */
int daemon_networks_tap(struct daemon *daemon, const char *network, const char *bridge, const char *wanted_name,
                        const uint8_t mac[static 6], struct tap *ret_tap, struct err *err);

/* The IPv4 address that DHCP gave to a card on any active network: its lease and the length of the network's prefix.
 * -ENOENT: none. */
int daemon_networks_lease(struct daemon *daemon, const uint8_t mac[static 6], struct dhcp_lease *ret_lease,
                          unsigned *ret_prefix);

/* The network that an argument names; NULL: the sentence, by RPC_NO_NETWORK, is in call->err. */
struct network *call_network(struct call *call, const struct rpc_object *object);

#endif
