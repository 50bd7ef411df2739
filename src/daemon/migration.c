/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What both sides of a migration have in common: its record, and the parameters of a request. */
#include "daemon/migration.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/migration_private.h"
#include "protocol/rpc.h"

static int refuse_flags(uint32_t flags, struct err *err)
{
    static const struct {
        uint32_t flag;
        const char *what;
    } unsupported[] = {
        {0x4, "tunnelled migration"},        {0x400, "offline migration"},           {0x800, "compression"},
        {0x4000, "RDMA"},                    {0x10000, "TLS of its own"},
        {0x20000, "parallel connections"},   {0x100000, "zero-copy"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(unsupported); i++) {
        if ((flags & unsupported[i].flag) != 0)
            return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: migration has no %s here", unsupported[i].what);
    }
    return 0;
}

/* One of the parameters; false: it is none that is known. */
static bool take_parameter(const struct rpc_param *param, struct migration_request *request)
{
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"migrate_uri", &request->uri}, {"destination_name", &request->name}, {"destination_xml", &request->xml},
                 {"persistent_xml", &request->persistent_xml}, {"listen_address", &request->listen_address}};
    const struct {
        const char *name;
        uint64_t *number;
    } numbers[] = {{"bandwidth", &request->bandwidth_mib}, {"bandwidth.postcopy", &request->postcopy_bandwidth_mib}};

    for (unsigned i = 0; param->type == RPC_PARAM_ULLONG && i < ARRAY_SIZE(numbers); i++) {
        if (text_equal(param->name, numbers[i].name)) {
            *numbers[i].number = param->u;
            return true;
        }
    }
    for (unsigned i = 0; param->type == RPC_PARAM_STRING && i < ARRAY_SIZE(texts); i++) {
        if (text_equal(param->name, texts[i].name)) {
            *texts[i].text = param->s;
            return true;
        }
    }
    if (param->type != RPC_PARAM_STRING || !text_equal(param->name, "migrate_disks") || request->disks == MIGRATION_DISKS_MAX)
        return false;
    request->disk[request->disks++] = param->s;
    return true;
}

int migration_read_request(const struct rpc_param *params, size_t count, uint32_t flags, struct migration_request *ret_request,
                           struct err *err)
{
    struct migration_request request = {.flags = flags};

    for (size_t i = 0; i < count; i++) {
        if (text_starts_with(params[i].name, "disks_"))
            return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: disks that are copied go by the migration's "
                           "own connection: there is no %.80s", params[i].name);
        if (!take_parameter(&params[i], &request))
            return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: migration parameter '%.80s'",
                           params[i].name);
    }
    if (request.disks > 0 && (flags & MIGRATE_COPY) == 0)
        return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "invalid argument: a choice of disks that are copied (migrate_disks) needs "
                       "VIR_MIGRATE_NON_SHARED_DISK or VIR_MIGRATE_NON_SHARED_INC");
    *ret_request = request;
    return refuse_flags(flags, err);
}

static void settle(void *ctx)
{
    migration_settle_alone(ctx);
    domain_release(ctx);
}

/* The source's part is left to what its VM knows; the destination's watcher goes on, and notices that nobody is left. */
void migration_client_gone(struct daemon *daemon, const struct client *client)
{
    for (struct domain *domain = daemon->inventory != NULL ? daemon->inventory->domains : NULL; domain != NULL; domain = domain->next) {
        if (domain->migration == NULL || domain->migration->client != client)
            continue;
        domain->migration->client = NULL;
        domain->migration->client_gone = true;
        if (domain->job != JOB_MIGRATE_OUT || domain->migration->performing)
            continue;
        domain_hold(domain);
        if (coroutine_start(daemon->scheduler, settle, domain) < 0)
            domain_release(domain);
    }
}
