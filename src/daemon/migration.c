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

void migration_free(struct migration *migration)
{
    if (migration != NULL)
        definition_free(migration->persistent);
    free(migration);
}

static int refuse_flags(uint32_t flags, struct err *err)
{
    static const struct {
        uint32_t flag;
        const char *what;
    } unsupported[] = {
        {0x4, "tunnelled migration"},        {0x400, "offline migration"},           {0x800, "compression"},
        {0x4000, "RDMA"},                    {0x10000, "TLS of its own"},
        {0x20000, "parallel connections"},   {0x80000, "resuming of post-copy by hand"},                 {0x100000, "zero-copy"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(unsupported); i++) {
        if ((flags & unsupported[i].flag) != 0)
            return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: migration has no %s here", unsupported[i].what);
    }
    return 0;
}

int migration_read_request(const struct rpc_param *params, size_t count, uint32_t flags, struct migration_request *ret_request,
                           struct err *err)
{
    struct migration_request request = {.flags = flags};
    const struct {
        const char *name;
        const char **text;
    } texts[] = {{"migrate_uri", &request.uri}, {"destination_name", &request.name}, {"destination_xml", &request.xml},
                 {"persistent_xml", &request.persistent_xml}, {"listen_address", &request.listen_address}};

    for (size_t i = 0; i < count; i++) {
        bool known = text_equal(params[i].name, "bandwidth") && params[i].type == RPC_PARAM_ULLONG;

        if (known)
            request.bandwidth_mib = params[i].u;
        for (unsigned k = 0; k < ARRAY_SIZE(texts); k++) {
            if (text_equal(params[i].name, texts[k].name) && params[i].type == RPC_PARAM_STRING) {
                *texts[k].text = params[i].s;
                known = true;
            }
        }
        if (!known)
            return err_set(err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: migration parameter '%.80s'", params[i].name);
    }
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
