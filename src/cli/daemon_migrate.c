/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferry migrate NAME URI: from daemon to daemon, with a line of progress. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/daemon_internal.h"
#include "cli/progress.h"
#include "protocol/remote.h"

enum { MIGRATE_LIVE = 0x1, MIGRATE_PEER2PEER = 0x2, MIGRATE_PERSIST_DEST = 0x8, MIGRATE_UNDEFINE_SOURCE = 0x10,
       MIGRATE_NON_SHARED_DISK = 0x40 };
#define LOOK_MS 500

static int set_limit(struct verb_call *call, const struct rpc_object *domain, int32_t procedure, const char *name, const char *text,
                     struct err *err)
{
    uint64_t value;

    if (text == NULL)
        return 0;
    if (text_parse_u64(text, &value) < 0)
        return err_set(err, -EINVAL, "--%s needs a number, not '%.60s'", name, text);
    verb_put_domain(call, domain);
    xdr_put_u64(&call->client.writer, value);
    xdr_put_u32(&call->client.writer, 0);
    return daemon_client_call(&call->client, procedure, err);
}

static uint64_t figure(const struct rpc_value *params, const char *name)
{
    for (size_t i = 0; i < params->params.count; i++) {
        if (text_equal(params->params.param[i].name, name))
            return params->params.param[i].u;
    }
    return 0;
}

/* On a connection of its own: the other one waits for the end. */
static void print_progress(struct verb_call *watch, struct progress *progress, const struct rpc_object *domain)
{
    const struct rpc_value *params = &watch->client.result[1];
    char disks[64] = "", key[40], line[300];

    verb_put_domain(watch, domain);
    xdr_put_u32(&watch->client.writer, 0);
    if (daemon_client_call(&watch->client, REMOTE_DOMAIN_GET_JOB_STATS, NULL) < 0 || figure(params, "memory_total") == 0)
        return;
    if (figure(params, "disk_total") > 0)
        text_format(disks, sizeof(disks), "%" PRIu64 " of %" PRIu64 " MiB of disks and ", figure(params, "disk_remaining") >> 20,
                    figure(params, "disk_total") >> 20);
    text_format(key, sizeof(key), "%" PRIu64, figure(params, "memory_iteration"));
    text_format(line, sizeof(line), "%s: round %" PRIu64 ", %s%" PRIu64 " of %" PRIu64 " MiB left, %" PRIu64 " MiB/s, %" PRIu64
                " pages/s dirtied, downtime about %" PRIu64 " ms", domain->name, figure(params, "memory_iteration"), disks,
                figure(params, "memory_remaining") >> 20, figure(params, "memory_total") >> 20, figure(params, "memory_bps") >> 20,
                figure(params, "memory_dirty_rate"), figure(params, "downtime"));
    progress_show(progress, key, line);
}

static void abort_it(struct verb_call *watch, struct progress *progress, const struct rpc_object *domain)
{
    struct err err = ERR_INIT;

    verb_put_domain(watch, domain);
    if (daemon_client_call(&watch->client, REMOTE_DOMAIN_ABORT_JOB, &err) < 0) {
        progress_clear(progress);
        fprintf(stderr, "ferry: %s\n", err.message);
    }
}

static void watch_until_done(struct verb_call *call, struct verb_call *watch, const struct rpc_object *domain)
{
    struct progress progress;

    progress_begin(&progress);
    while (!daemon_client_wait(&call->client, LOOK_MS)) {
        if (progress_interrupted())
            abort_it(watch, &progress, domain);
        print_progress(watch, &progress, domain);
    }
    progress_clear(&progress);
}

static int begin(struct verb_call *call, const struct rpc_object *domain, struct err *err)
{
    uint32_t flags = MIGRATE_LIVE | MIGRATE_PEER2PEER | (call->persistent ? MIGRATE_PERSIST_DEST : 0) |
                     (call->undefine ? MIGRATE_UNDEFINE_SOURCE : 0) | (call->copy_storage ? MIGRATE_NON_SHARED_DISK : 0);

    verb_put_domain(call, domain);
    xdr_put_optional_string(&call->client.writer, call->word[1]);
    xdr_put_u32(&call->client.writer, 0);
    xdr_put_opaque(&call->client.writer, "", 0);
    xdr_put_u32(&call->client.writer, flags);
    return daemon_client_send(&call->client, REMOTE_DOMAIN_MIGRATE_PERFORM3_PARAMS, err);
}

int verb_move(struct verb_call *call, struct err *err)
{
    struct verb_call watch = {.client.channel.fd = -1};
    struct rpc_object domain;
    int r = verb_find(call, REMOTE_DOMAIN_LOOKUP_BY_NAME, call->word[0], &domain, err);

    if (r == 0)
        r = set_limit(call, &domain, REMOTE_DOMAIN_MIGRATE_SET_MAX_SPEED, "bandwidth", call->bandwidth, err);
    if (r == 0)
        r = set_limit(call, &domain, REMOTE_DOMAIN_MIGRATE_SET_MAX_DOWNTIME, "downtime", call->downtime, err);
    if (r == 0)
        r = daemon_client_open(call->uri, &watch.client, err);
    if (r == 0)
        r = begin(call, &domain, err);
    if (r == 0) {
        watch_until_done(call, &watch, &domain);
        r = daemon_client_receive(&call->client, REMOTE_DOMAIN_MIGRATE_PERFORM3_PARAMS, err);
    }
    if (watch.client.channel.fd >= 0)
        daemon_client_close(&watch.client);
    if (r == 0 && call->json)
        printf("{\"name\": \"%s\", \"destination\": \"%s\"}\n", domain.name, call->word[1]);
    else if (r == 0)
        printf("%s runs at %s\n", domain.name, call->word[1]);
    return r;
}
