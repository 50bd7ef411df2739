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
