/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's virtual networks inside ferryd. */
#include "daemon/networks.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/events.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

static void tell_clients(void *ctx, const struct network *network, enum network_event event)
{
    struct daemon_networks *networks = ctx;
    struct buffer payload = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &payload};

    rpc_put_named(&writer, network_name(network), network_uuid(network));
    xdr_put_i32(&writer, (int32_t)event);
    xdr_put_i32(&writer, 0);
    if (writer.error == 0)
        events_send(networks->daemon, EVENT_NETWORK, 0, network_uuid(network), REMOTE_NETWORK_EVENT_LIFECYCLE,
                    &payload);
    buffer_fini(&payload);
}

static void log_warning_of(void *ctx, const char *sentence)
{
    log_warning("%s", sentence);
}

/* In a worker while a call waits; at the daemon's start nobody else wants to go on. */
static void run_elsewhere(void *ctx, void (*fn)(void *arg), void *arg)
{
    struct scheduler *scheduler = ((struct daemon_networks *)ctx)->daemon->scheduler;

    if (coroutine_self(scheduler) == NULL || coroutine_work(scheduler, fn, arg) < 0)
        fn(arg);
}

struct repair {
    struct daemon_networks *networks;
    uint8_t uuid[UUID_SIZE];
};

/* A server that ends at once again and again is started once a second. */
static void repair_network(void *ctx)
{
    struct repair *repair = ctx;
    struct daemon_networks *networks = repair->networks;
    struct err err = ERR_INIT;
    struct network *network;

    coroutine_sleep(networks->daemon->scheduler, NANOSECONDS_PER_SECOND);
    daemon_networks_lock(networks);
    network = networks_find_uuid(networks->networks, repair->uuid);
    if (!networks->daemon->stopping && network != NULL && network_repair(network, &err) < 0)
        log_error("network %s: %s", network_name(network), err.message);
    daemon_networks_unlock(networks);
    free(repair);
}

static void start_repair(void *ctx, const struct network *network)
{
    struct daemon_networks *networks = ctx;
    struct repair *repair = calloc(1, sizeof(*repair));

    if (repair == NULL)
        return;
    repair->networks = networks;
    memcpy(repair->uuid, network_uuid(network), UUID_SIZE);
    if (coroutine_start(networks->daemon->scheduler, repair_network, repair) < 0)
        free(repair);
}

static char *directory_in(const char *directory, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

static int open_networks(struct daemon_networks *networks, struct err *err)
{
    const struct daemon_config *config = &networks->daemon->config;
    bool autostart = text_equal(config->default_network, "autostart");
    struct networks_options options = {.config_directory = networks->config_directory,
                                       .run_directory = networks->run_directory,
                                       .lease_directory = networks->lease_directory,
                                       .event = tell_clients,
                                       .warn = log_warning_of,
                                       .run = run_elsewhere,
                                       .server_ended = start_repair,
                                       .loop = networks->daemon->loop,
                                       .ctx = networks};
    int r = networks_open(&options, &networks->networks, err);

    if (r == 0 && !text_equal(config->default_network, "none"))
        r = networks_define_default(networks->networks, autostart, err);
    if (r == 0)
        networks_autostart(networks->networks);
    return r;
}

int daemon_networks_new(struct daemon *daemon, struct daemon_networks **ret_networks, struct err *err)
{
    const char *what = daemon->config.default_network;
    struct daemon_networks *networks;
    int r;

    if (!text_equal(what, "autostart") && !text_equal(what, "define") && !text_equal(what, "none"))
        return err_set(err, -EINVAL, "default network \"%.60s\" is neither autostart nor define nor none", what);
    networks = calloc(1, sizeof(*networks));
    if (networks == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    networks->daemon = daemon;
    networks->config_directory = directory_in(daemon->config.state_dir, "networks");
    networks->run_directory = directory_in(daemon->config.run_dir, "networks");
    networks->lease_directory = directory_in(daemon->config.state_dir, "leases");
    if (networks->config_directory == NULL || networks->run_directory == NULL || networks->lease_directory == NULL)
        r = err_set(err, -ENOMEM, "out of memory");
    else
        r = open_networks(networks, err);
    if (r < 0)
        daemon_networks_free(networks);
    else
        *ret_networks = networks;
    return r;
}

void daemon_networks_free(struct daemon_networks *networks)
{
    if (networks == NULL)
        return;
    networks_close(networks->networks);
    free(networks->config_directory);
    free(networks->run_directory);
    free(networks->lease_directory);
    free(networks);
}

void daemon_networks_lock(struct daemon_networks *networks)
{
    while (networks->locked)
        wait_queue_wait(&networks->unlocked, networks->daemon->scheduler, WAIT_FOR_EVER);
    networks->locked = true;
}

void daemon_networks_unlock(struct daemon_networks *networks)
{
    networks->locked = false;
    wait_queue_wake_all(&networks->unlocked);
}

int daemon_networks_tap(struct daemon *daemon, const char *network_name, const char *bridge, const char *wanted_name,
                        const uint8_t mac[static 6], struct tap *ret_tap, struct err *err)
{
    struct daemon_networks *networks = daemon->networks;
    const struct network *network;
    int r;

    if (network_name == NULL)
        return tap_open(bridge, wanted_name, mac, 0, ret_tap, err);
    daemon_networks_lock(networks);
    network = networks_find(networks->networks, network_name);
    r = network == NULL ? err_set(err, RPC_FAULT(RPC_NO_NETWORK), "there is no network '%.200s'", network_name)
                        : network_tap(network, wanted_name, mac, ret_tap, err);
    daemon_networks_unlock(networks);
    return r == -ENOTCONN ? RPC_FAULT(RPC_OPERATION_INVALID) : r;
}

static bool find_lease(const struct network *network, const uint8_t mac[static 6], struct dhcp_lease *ret_lease)
{
    struct dhcp_lease *leases;
    size_t count, at = 0;
    bool found;

    if (!network_is_active(network) || network_leases(network, &leases, &count, NULL) < 0)
        return false;
    while (at < count && (leases[at].ip.family != AF_INET || memcmp(leases[at].mac, mac, 6) != 0))
        at++;
    found = at < count;
    if (found)
        *ret_lease = leases[at];
    free(leases);
    return found;
}

int daemon_networks_lease(struct daemon *daemon, const uint8_t mac[static 6], struct dhcp_lease *ret_lease,
                          unsigned *ret_prefix)
{
    const struct networks *networks = daemon->networks->networks;

    for (size_t i = 0; i < networks_count(networks); i++) {
        const struct network *network = networks_get(networks, i);

        if (find_lease(network, mac, ret_lease)) {
            *ret_prefix = network_definition(network)->ip4.net.prefix;
            return 0;
        }
    }
    return -ENOENT;
}
