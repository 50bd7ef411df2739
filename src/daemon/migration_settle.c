/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a migration ends at the source: by what its VM knows; and where that one does not know whether the guest has gone, since the
 * connection broke at the point of decision and there is no arbiter, by what the destination's daemon says. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/lifecycle.h"
#include "daemon/migration_private.h"
#include "daemon/monitor.h"
#include "daemon/remote_client.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

#define LOOK_NS (100 * INT64_C(1000000))
#define ASK_TRIES 20 /* of asking a daemon that may be just starting */
#define ASK_NS NANOSECONDS_PER_SECOND

/* The guest is on the other side: the VM here is its shell. */
static void leave(struct domain *domain, uint32_t flags)
{
    if ((flags & MIGRATE_UNDEFINE_SOURCE) != 0 && domain->config != NULL)
        inventory_undefine(domain, NULL);
    if (domain_active(domain))
        lifecycle_destroy(domain, SHUTOFF_MIGRATED, STOPPED_MIGRATED, NULL);
}

static bool unsettled(struct domain *domain, struct err *why)
{
    char status[32] = "none";

    return domain_active(domain) && migration_query(domain, status, why) == 0 && text_equal(status, "x-ferry-unsettled");
}

/* Tells the VM, and waits until it has acted. */
static void settle(struct domain *domain, const char *outcome)
{
    struct err why = ERR_INIT;

    if (monitor_call(domain->monitor, "x-ferry-migrate-settle", json_pack("{s:s}", "outcome", outcome), NULL, &why) < 0)
        log_error("domain '%s' can't be settled: %s", domain_name(domain), why.message);
    for (unsigned i = 0; i < 20 && unsettled(domain, &why); i++)
        wait_queue_wait(&domain->changed, domain->daemon->scheduler, LOOK_NS);
}

/* --- the other daemon --------------------------------------------------------------------------------------- */

void migration_note_peer(struct domain *domain, const char *uri, const char *name)
{
    struct migration *migration = domain->migration;

    text_format(migration->peer, sizeof(migration->peer), "%s", uri != NULL ? uri : "");
    text_format(migration->peer_name, sizeof(migration->peer_name), "%s", name != NULL ? name : domain_name(domain));
}

void migration_note_cookie(struct domain *domain, const void *cookie, size_t size, const char *name)
{
    xmlDoc *doc = migration_read_cookie(cookie, size);

    if (doc != NULL)
        migration_note_peer(domain, xml_attribute(xml_first(xml_root(doc), "daemon"), "uri"), name);
    xmlFreeDoc(doc);
}

int migration_remote_finish(struct remote_client *remote, const char *name, uint32_t flags, bool cancelled, struct err *err)
{
    struct arena arena = ARENA_INIT(RPC_DECODED_MAX);
    struct rpc_value values[RPC_VALUES_MAX];
    struct rpc_param_list list = rpc_params_begin(remote_arguments(remote));
    int r;

    rpc_params_string(&list, name, "destination_name");
    rpc_params_end(&list);
    xdr_put_opaque(remote_arguments(remote), "", 0);
    xdr_put_u32(remote_arguments(remote), flags & ~(uint32_t)MIGRATE_CHANGE_PROTECTION);
    xdr_put_i32(remote_arguments(remote), cancelled);
    r = remote_call(remote, REMOTE_DOMAIN_MIGRATE_FINISH3_PARAMS, &arena, values, err);
    arena_fini(&arena);
    return r;
}

enum whereabouts migration_answer(int finished)
{
    return finished == 0 ? GUEST_THERE : finished == RPC_FAULT(RPC_MIGRATE_FINISH_OK) ? GUEST_NOT_THERE : GUEST_ANYWHERE;
}

/* Has the destination's daemon give the guest up, or say that it is there. */
static enum whereabouts ask(struct domain *domain)
{
    const struct migration *migration = domain->migration;
    enum whereabouts answer = GUEST_ANYWHERE;

    for (unsigned i = 0; i < ASK_TRIES && migration->peer[0] != 0 && answer == GUEST_ANYWHERE; i++) {
        struct remote_client *remote = NULL;

        if (i > 0)
            wait_queue_wait(&domain->changed, domain->daemon->scheduler, ASK_NS);
        if (remote_open(domain->daemon, migration->peer, &remote, NULL) < 0)
            continue;
        answer = migration_answer(migration_remote_finish(remote, migration->peer_name, migration->flags, true, NULL));
        remote_close(remote);
    }
    return answer;
}

/* --- the end ------------------------------------------------------------------------------------------------ */

static int stay_paused(struct domain *domain, const struct err *why, struct err *err)
{
    char control[PATH_MAX];

    domain_path(domain, FILE_CONTROL, control);
    err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "whether domain '%s' runs on the destination is not known, for %.*s: it stays paused "
            "here. Look there, then: ferry migrate --control %s --settle run (if it does not) or discard (if it does)", domain_name(domain),
            (int)strcspn(why->message, ";"), why->message, control);
    log_error("%s", err->message);
    return err->code;
}

static int end_unsettled(struct domain *domain, uint32_t flags, enum whereabouts guest, const struct err *why, struct err *err)
{
    switch (guest == GUEST_ANYWHERE ? ask(domain) : guest) {
    case GUEST_THERE:
        settle(domain, "discard");
        leave(domain, flags);
        return 0;
    case GUEST_NOT_THERE:
        settle(domain, "run");
        migration_take_state(domain);
        return 0;
    case GUEST_ANYWHERE:
        break;
    }
    return stay_paused(domain, why, err);
}

int migration_end(struct domain *domain, const struct client *client, uint32_t flags, enum whereabouts guest, struct err *err)
{
    bool mine = migration_owns_job(domain, client);
    char status[32] = "none";
    struct err why = ERR_INIT, ignored = ERR_INIT;
    int r = 0;

    if (domain_active(domain))
        migration_query(domain, status, &why);
    if (text_equal(status, "x-ferry-unsettled")) {
        r = end_unsettled(domain, flags, guest, &why, err != NULL ? err : &ignored);
    } else if (guest == GUEST_THERE) {
        leave(domain, flags);
    } else if (text_equal(status, "completed")) {
        log_error("domain '%s' had been given away, and the destination could not finish", domain_name(domain));
        leave(domain, 0);
    } else {
        migration_take_state(domain);
    }
    if (mine && domain->job == JOB_MIGRATE_OUT)
        domain_end_job(domain);
    return r;
}

/* A client that heard nothing of the destination says that it was cancelled, too: that proves nothing. */
int migration_confirm(struct domain *domain, const struct client *client, uint32_t flags, bool cancelled, struct err *err)
{
    return migration_end(domain, client, flags, cancelled ? GUEST_ANYWHERE : GUEST_THERE, err);
}

/* The conductor has died: the VM here knows whether the guest is gone, or the other daemon does. */
void migration_settle_alone(struct domain *domain)
{
    char status[32] = "none";
    struct err why = ERR_INIT, trouble = ERR_INIT;

    if (domain_active(domain) && migration_query(domain, status, &why) == 0) {
        if (text_equal(status, "completed"))
            leave(domain, domain->migration->flags);
        else if (text_equal(status, "x-ferry-unsettled"))
            end_unsettled(domain, domain->migration->flags, GUEST_ANYWHERE, &why, &trouble);
        else
            migration_take_state(domain);
    }
    domain_end_job(domain);
}
