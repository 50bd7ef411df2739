/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A migration from daemon to daemon: this one conducts it, as a client of the other. */
#include <errno.h>

#include "base/buffer.h"
#include "base/text.h"
#include "daemon/domain.h"
#include "daemon/migration.h"
#include "daemon/migration_private.h"
#include "daemon/remote_client.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

static void put_text_param(struct rpc_param_list *list, const char *name, const char *value)
{
    if (value != NULL)
        rpc_params_string(list, value, "%s", name);
}

static int remote_prepare(struct remote_client *remote, const struct migration_request *request, const char *xml,
                          const struct buffer *cookie, char *ret_uri, size_t size, struct err *err)
{
    struct arena arena = ARENA_INIT(RPC_DECODED_MAX);
    struct rpc_value values[RPC_VALUES_MAX];
    struct rpc_param_list list = rpc_params_begin(remote_arguments(remote));
    int r;

    put_text_param(&list, "destination_xml", xml);
    put_text_param(&list, "destination_name", request->name);
    put_text_param(&list, "migrate_uri", request->uri);
    put_text_param(&list, "listen_address", request->listen_address);
    put_text_param(&list, "persistent_xml", request->persistent_xml);
    rpc_params_end(&list);
    xdr_put_opaque(remote_arguments(remote), cookie->data, cookie->size);
    xdr_put_u32(remote_arguments(remote), request->flags & ~(uint32_t)MIGRATE_CHANGE_PROTECTION);
    r = remote_call(remote, REMOTE_DOMAIN_MIGRATE_PREPARE3_PARAMS, &arena, values, err);
    if (r == 0 && values[1].s == NULL && request->uri == NULL)
        r = err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "the destination does not say where it waits");
    if (r == 0)
        text_format(ret_uri, size, "%s", values[1].s != NULL ? values[1].s : request->uri);
    arena_fini(&arena);
    return r;
}

static int conduct(struct domain *domain, struct remote_client *remote, const struct migration_request *request, const char *xml,
                   struct err *err)
{
    struct migration_request own = *request;
    struct buffer cookie = BUFFER_INIT(MIGRATION_COOKIE_MAX);
    struct err trouble = ERR_INIT;
    char uri[512];
    int performed, finished, r;

    r = migration_cookie(domain, request, &cookie, err);
    if (r == 0)
        r = remote_prepare(remote, request, xml, &cookie, uri, sizeof(uri), err);
    buffer_fini(&cookie);
    if (r < 0) {
        migration_confirm(domain, NULL, request->flags, true, NULL);
        return r;
    }
    own.uri = uri;
    performed = migration_perform(domain, NULL, &own, err);
    finished = migration_remote_finish(remote, domain->migration->peer_name, request->flags, performed < 0,
                                       performed < 0 ? &trouble : err);
    if (finished == -EPIPE && !domain->migration->performing) { /* our VM knows, or the other daemon when it is there again */
        migration_settle_alone(domain);
        return performed;
    }
    migration_end(domain, NULL, request->flags, migration_answer(finished), NULL);
    return finished < 0 ? (performed < 0 ? performed : finished) : 0;
}

int migration_peer_to_peer(struct domain *domain, const char *destination, const struct migration_request *request, struct err *err)
{
    struct migration_request own = *request;
    struct remote_client *remote = NULL;
    struct buffer xml = BUFFER_INIT(XDR_STRING_MAX);
    int r;

    own.flags |= MIGRATE_CHANGE_PROTECTION;
    r = remote_open(domain->daemon, destination, &remote, err);
    if (r == 0)
        r = migration_begin(domain, NULL, &own, &xml, err);
    if (r == 0 && domain->state == DOMAIN_PAUSED)
        own.flags |= MIGRATE_PAUSED; /* as libvirt's clients do when they conduct */
    if (r == 0)
        migration_note_peer(domain, destination, request->name);
    if (r == 0)
        r = conduct(domain, remote, &own, (const char *)xml.data, err);
    buffer_fini(&xml);
    remote_close(remote);
    return r;
}
