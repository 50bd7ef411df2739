/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's side of a migration. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/uuid.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/lifecycle.h"
#include "daemon/migration.h"
#include "daemon/migration_private.h"
#include "daemon/monitor.h"
#include "daemon/remote_client.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

#define POLL_NS (100 * INT64_C(1000000))
#define RESUME_NS NANOSECONDS_PER_SECOND /* between two tries to go on with post-copy whose connection was lost */
#define RESUME_TRIES 60

int migration_record(struct domain *domain, const struct client *client, uint32_t flags, struct err *err)
{
    struct migration *migration = calloc(1, sizeof(*migration));

    if (migration == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    migration->client = client;
    migration->flags = flags;
    migration_free(domain->migration);
    domain->migration = migration;
    return 0;
}

bool migration_owns_job(const struct domain *domain, const struct client *client)
{
    return domain->job == JOB_MIGRATE_OUT && domain->migration != NULL && domain->migration->client == client;
}

int migration_begin(struct domain *domain, const struct client *client, const struct migration_request *request, struct buffer *xml,
                    struct err *err)
{
    bool protect = (request->flags & MIGRATE_CHANGE_PROTECTION) != 0;
    int r = domain_need_active(domain, err);

    if (r == 0 && protect)
        r = domain_begin_job(domain, JOB_MIGRATE_OUT, err);
    if (r < 0)
        return r;
    r = domain_need_active(domain, err);
    if (r == 0 && protect)
        r = migration_record(domain, client, request->flags, err);
    if (r == 0)
        r = request->xml != NULL ? buffer_printf(xml, "%s", request->xml) : definition_format(domain->live, -1, xml);
    if (r < 0 && protect)
        domain_end_job(domain);
    return r;
}

static int set_limits(struct domain *domain, const struct migration_request *request, struct err *err)
{
    uint64_t mib = request->bandwidth_mib != 0 ? request->bandwidth_mib : domain->limits.bandwidth_mib;
    json_t *parameters = json_object();
    int r;

    if (mib > UINT64_C(1) << 30)
        mib = 0; /* libvirt's way to say: no limit */
    json_object_set_new(parameters, "max-bandwidth", json_integer((json_int_t)(mib << 20)));
    json_object_set_new(parameters, "downtime-limit",
                        json_integer(domain->limits.downtime_ms != 0 ? (json_int_t)domain->limits.downtime_ms : 300));
    r = monitor_call(domain->monitor, "migrate-set-parameters", parameters, NULL, err);
    return r;
}

static uint64_t number(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

static void take_figures(struct migration *migration, const json_t *answer)
{
    const json_t *ram = json_object_get(answer, "ram");

    if (ram == NULL)
        return;
    migration->figures = (struct migration_figures){
        .known = true,
        .elapsed_ms = number(answer, "total-time"),
        .downtime_ms = number(answer, "downtime") != 0 ? number(answer, "downtime") : number(answer, "expected-downtime"),
        .total = number(ram, "total"),
        .transferred = number(ram, "transferred"),
        .remaining = number(ram, "remaining"),
        .rounds = number(ram, "dirty-sync-count"),
        .dirty_pages = number(ram, "dirty-pages-rate"),
        .bandwidth = number(answer, "x-ferry-bandwidth"),
        .requests = number(ram, "postcopy-requests"),
        .disk_total = number(json_object_get(answer, "disk"), "total"),
        .disk_remaining = number(json_object_get(answer, "disk"), "remaining"),
    };
}

int migration_query(struct domain *domain, char ret_status[static 32], struct err *err)
{
    json_t *answer = NULL;
    const char *text;
    int r = monitor_call(domain->monitor, "query-migrate", NULL, &answer, err);

    if (r < 0)
        return r;
    text = json_string_value(json_object_get(answer, "status"));
    text_format(ret_status, 32, "%s", text != NULL ? text : "none");
    if (domain->migration != NULL)
        take_figures(domain->migration, answer);
    text = json_string_value(json_object_get(answer, "error-desc"));
    if (text != NULL)
        err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "%s", text);
    json_decref(answer);
    return 0;
}

static void send_iteration(struct domain *domain, uint64_t round)
{
    struct buffer payload = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &payload};

    rpc_put_domain(&writer, domain_name(domain), domain_uuid(domain), domain->id);
    xdr_put_i32(&writer, (int32_t)round);
    events_send(domain->daemon, EVENT_DOMAIN, EVENT_ID_MIGRATION_ITERATION, domain_uuid(domain),
                REMOTE_DOMAIN_EVENT_MIGRATION_ITERATION, &payload);
    buffer_fini(&payload);
}

/* What changes on the way: rounds, and where the guest runs. */
static void note_progress(struct domain *domain, const char *status, uint64_t *rounds)
{
    bool lost = text_equal(status, "postcopy-paused");

    while (*rounds < domain->migration->figures.rounds)
        send_iteration(domain, ++*rounds);
    if ((text_equal(status, "postcopy-active") || lost) &&
        (domain->state != DOMAIN_PAUSED || domain->reason != (lost ? PAUSED_POSTCOPY_FAILED : PAUSED_POSTCOPY))) {
        domain_set_state(domain, DOMAIN_PAUSED, lost ? PAUSED_POSTCOPY_FAILED : PAUSED_POSTCOPY);
        domain_send_event(domain, EVENT_SUSPENDED, lost ? SUSPENDED_POSTCOPY_FAILED : SUSPENDED_POSTCOPY);
    }
}

/* Goes on with post-copy, at the address where it began: the way may be there again. */
static int resume(struct domain *domain, const char *address, unsigned *tries, const struct err *why, struct err *err)
{
    if (address == NULL || ++*tries > RESUME_TRIES)
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "operation failed: migration out job: %s", why->message);
    monitor_call(domain->monitor, "migrate", json_pack("{s:s, s:b}", "uri", address, "resume", 1), NULL, NULL);
    wait_queue_wait(&domain->changed, domain->daemon->scheduler, RESUME_NS);
    return 0;
}

/* Until the VM says that it is over, one way or the other. address: where the destination's waits; NULL: not known any more. */
static int watch(struct domain *domain, const char *address, struct err *err)
{
    struct err why = ERR_INIT;
    char status[32] = "";
    uint64_t rounds = 0;
    unsigned tries = 0;
    int r;

    for (;;) {
        r = migration_query(domain, status, &why);
        if (r < 0)
            return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "operation failed: domain is not running: %s", why.message);
        if (text_equal(status, "completed"))
            return 0;
        note_progress(domain, status, &rounds);
        if (text_equal(status, "postcopy-paused")) {
            r = resume(domain, address, &tries, &why, err);
            if (r < 0)
                return r;
            continue;
        }
        if (text_equal(status, "failed") || text_equal(status, "cancelled") || text_equal(status, "none"))
            break;
        if (text_equal(status, "x-ferry-unsettled"))
            return err_set(err, -EUCLEAN, "operation failed: migration out job: at the point of decision %.*s; the daemons find out "
                           "where the guest is", (int)strcspn(why.message, ";"), why.message);
        wait_queue_wait(&domain->changed, domain->daemon->scheduler, POLL_NS);
    }
    if (domain->job_abort)
        return err_set(err, RPC_FAULT(RPC_OPERATION_ABORTED), "operation aborted: migration out job: canceled by client");
    return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "operation failed: migration out job: %s",
                   why.message[0] != 0 ? why.message : "it failed without a reason");
}

/* What the domain is after a migration that went nowhere. */
void migration_take_state(struct domain *domain)
{
    json_t *status = NULL;

    if (!domain_active(domain) || monitor_call(domain->monitor, "query-status", NULL, &status, NULL) < 0)
        return;
    if (json_is_true(json_object_get(status, "running")) && domain->state != DOMAIN_RUNNING)
        domain_set_state(domain, DOMAIN_RUNNING, RUNNING_MIGRATION_CANCELED);
    json_decref(status);
}

/* "tcp://host:port" of QEMU's older users is the VM's "tcp:host:port". */
static void vmm_address(const char *uri, char out[static 512])
{
    const char *rest = text_starts_with(uri, "tcp://") ? uri + strlen("tcp://") : NULL;

    if (rest != NULL)
        text_format(out, 512, "tcp:%.*s", (int)strcspn(rest, "/"), rest);
    else
        text_format(out, 512, "%s", uri);
}

/* A list of one, for every migration: what was asked for the last time does not count. */
static int set_postcopy(struct domain *domain, bool on, struct err *err)
{
    json_t *arguments = json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "postcopy-ram", "state", on);

    return monitor_call(domain->monitor, "migrate-set-capabilities", arguments, NULL, err);
}

int migration_start_postcopy(struct domain *domain, struct err *err)
{
    int r = domain_need_active(domain, err);

    if (r < 0)
        return r;
    if (domain->job != JOB_MIGRATE_OUT || domain->migration == NULL || !domain->migration->performing)
        return err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: domain is not being migrated");
    if ((domain->migration->flags & MIGRATE_POSTCOPY) == 0)
        return err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: switching to post-copy requires migration "
                       "to be started with VIR_MIGRATE_POSTCOPY flag");
    return monitor_call(domain->monitor, "migrate-start-postcopy", NULL, NULL, err);
}

static int transfer(struct domain *domain, const struct migration_request *request, struct err *err)
{
    char address[512];
    int r = set_limits(domain, request, err);

    if (r == 0)
        r = set_postcopy(domain, (request->flags & MIGRATE_POSTCOPY) != 0, err);
    if (r < 0)
        return r;
    vmm_address(request->uri, address);
    r = monitor_call(domain->monitor, "migrate", json_pack("{s:s, s:b}", "uri", address, "blk", (request->flags & MIGRATE_COPY) != 0),
                     NULL, err);
    return r < 0 ? r : watch(domain, address, err);
}

int migration_perform(struct domain *domain, const struct client *client, const struct migration_request *request, struct err *err)
{
    bool mine = migration_owns_job(domain, client);
    int r = mine ? 0 : domain_begin_job(domain, JOB_MIGRATE_OUT, err);

    if (r < 0)
        return r;
    r = domain_need_active(domain, err);
    if (r == 0 && !mine)
        r = migration_record(domain, client, request->flags, err);
    if (r == 0 && request->uri == NULL)
        r = err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "migrate_uri is missing");
    if (r == 0) {
        migration_note_cookie(domain, request->cookie, request->cookie_size, request->name);
        domain->migration->performing = true;
        r = transfer(domain, request, err);
        domain->migration->performing = false;
        domain->migration->result = r == 0 ? MIGRATION_DONE : MIGRATION_NOT_DONE;
        if (r == 0) {
            domain_set_state(domain, DOMAIN_PAUSED, PAUSED_MIGRATION);
            domain_send_event(domain, EVENT_SUSPENDED, SUSPENDED_MIGRATED);
        } else if (r == -EUCLEAN) {
            domain_set_state(domain, DOMAIN_PAUSED, PAUSED_MIGRATION);
        } else {
            migration_take_state(domain);
        }
    }
    if (!mine)
        domain_end_job(domain);
    else if (domain->migration != NULL && domain->migration->client_gone)
        migration_settle_alone(domain);
    return r == -EUCLEAN ? RPC_FAULT(RPC_OPERATION_FAILED) : r;
}

static void watch_alone(void *ctx)
{
    struct domain *domain = ctx;
    struct err err = ERR_INIT;

    domain->migration->performing = true; /* speed and abort are this migration's */
    if (domain_active(domain))
        watch(domain, NULL, &err);
    domain->migration->performing = false;
    migration_settle_alone(domain);
    domain_release(domain);
}

static int watch_outgoing(struct domain *domain)
{
    int r = migration_record(domain, NULL, 0, NULL);

    if (r < 0)
        return r;
    domain->migration->client_gone = true;
    domain->job = JOB_MIGRATE_OUT;
    domain->job_start_ns = host_monotonic_ns();
    domain_hold(domain);
    r = coroutine_start(domain->daemon->scheduler, watch_alone, domain);
    if (r < 0)
        domain_release(domain);
    return r;
}

bool migration_adopt(struct domain *domain)
{
    json_t *answer = NULL;
    char machine[32] = "", status[32] = "none";

    if (monitor_call(domain->monitor, "query-status", NULL, &answer, NULL) < 0 || migration_query(domain, status, NULL) < 0) {
        json_decref(answer);
        return true;
    }
    text_format(machine, sizeof(machine), "%s", json_string_value(json_object_get(answer, "status")));
    json_decref(answer);
    if (text_equal(machine, "inmigrate")) {
        migration_watch_incoming(domain);
    } else if (text_equal(machine, "postmigrate") || text_equal(status, "active") || text_equal(status, "setup") ||
               text_equal(status, "device") || text_equal(status, "cancelling")) { /* post-copy is postmigrate */
        watch_outgoing(domain);
    }
    return domain_active(domain);
}

/* The other daemon, as its client. */

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

    r = migration_cookie(domain, request->flags, &cookie, err);
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
    if (finished == -EPIPE) { /* our VM knows, or the other daemon when it is there again */
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
    if (r == 0)
        migration_note_peer(domain, destination, request->name);
    if (r == 0)
        r = conduct(domain, remote, &own, (const char *)xml.data, err);
    buffer_fini(&xml);
    remote_close(remote);
    return r;
}
