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
#include "protocol/remote.h"
#include "protocol/rpc.h"

#define POLL_NS (100 * INT64_C(1000000))
#define RESUME_NS NANOSECONDS_PER_SECOND /* between two tries to go on with post-copy whose connection was lost */
#define RESUME_TRIES 60                  /* before whoever waits for the end is told that it is lost */
#define RESUME_LATER_NS (5 * NANOSECONDS_PER_SECOND) /* between those that come behind */

bool migration_owns_job(const struct domain *domain, const struct client *client)
{
    return domain->job == JOB_MIGRATE_OUT && domain->migration != NULL && domain->migration->client == client &&
           !domain->migration->performing;
}

/* Post-copy from here whose connection is lost, for whoever would have it go on. */
static int need_paused_postcopy(struct domain *domain, struct err *err)
{
    char status[32] = "none";
    int r = domain_need_active(domain, err);

    if (r == 0)
        r = migration_query(domain, status, NULL);
    if (r < 0)
        return r;
    if (domain->migration != NULL && domain->migration->performing &&
        (text_equal(status, "postcopy-paused") || text_equal(status, "postcopy-recover")))
        return 0;
    return err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: domain '%s' is not in post-copy from here "
                   "whose connection is lost: its migration is '%s'", domain_name(domain), status);
}

int migration_begin(struct domain *domain, const struct client *client, const struct migration_request *request, struct buffer *xml,
                    struct err *err)
{
    bool resume = (request->flags & MIGRATE_POSTCOPY_RESUME) != 0;
    bool protect = (request->flags & MIGRATE_CHANGE_PROTECTION) != 0 && !resume;
    json_t *disks = NULL;
    int r = domain_need_active(domain, err);

    if (r == 0 && resume)
        r = need_paused_postcopy(domain, err);
    if (r == 0)
        r = migration_choose_disks(domain, request, &disks, err);
    json_decref(disks);
    if (r == 0 && protect)
        r = domain_begin_job(domain, JOB_MIGRATE_OUT, err);
    if (r < 0)
        return r;
    r = domain_need_active(domain, err);
    if (r == 0 && protect)
        r = migration_record(domain, client, false, request->flags, err);
    if (r == 0)
        r = request->xml != NULL ? buffer_printf(xml, "%s", request->xml) : definition_format(domain->live, -1, xml);
    if (r < 0 && protect)
        domain_end_job(domain);
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

/* Goes on with post-copy: the way may be there again. -ENOTCONN: it is not, or is not to be tried. */
static int resume(struct domain *domain, bool patient, const struct err *why, struct err *err)
{
    struct migration *migration = domain->migration;
    bool may = migration->address[0] != 0 && !migration->held;

    if (!patient && (!may || migration->tries >= RESUME_TRIES))
        return err_set(err, -ENOTCONN, "operation failed: migration out job: %s", why->message);
    if (may)
        monitor_call(domain->monitor, "migrate", json_pack("{s:s, s:b}", "uri", migration->address, "resume", 1), NULL, NULL);
    migration->tries++;
    wait_queue_wait(&domain->changed, domain->daemon->scheduler, migration->tries < RESUME_TRIES ? RESUME_NS : RESUME_LATER_NS);
    return 0;
}

/* Not OPERATION_FAILED: that one libvirt's clients replace by what finish says, which knows less. */
static int why_not(const struct domain *domain, const struct err *why, struct err *err)
{
    if (domain->job_abort)
        return err_set(err, RPC_FAULT(RPC_OPERATION_ABORTED), "operation aborted: migration out job: canceled by client");
    return err_set(err, RPC_FAULT(RPC_INTERNAL_ERROR), "operation failed: migration out job: %s",
                   why->message[0] != 0 ? why->message : "it failed without a reason");
}

/* Until the VM says that it is over, one way or the other. patient: also while post-copy has lost its connection, for as long as it takes;
 * else -ENOTCONN after some tries. */
static int watch(struct domain *domain, bool patient, struct err *err)
{
    struct err why = ERR_INIT;
    char status[32] = "";
    uint64_t rounds = 0;
    int r;

    for (;;) {
        r = migration_query(domain, status, &why);
        if (r < 0)
            return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "operation failed: domain is not running: %s", why.message);
        if (text_equal(status, "completed"))
            return 0;
        note_progress(domain, status, &rounds);
        if (text_equal(status, "postcopy-paused")) {
            r = resume(domain, patient, &why, err);
            if (r < 0)
                return r;
            continue;
        }
        if (text_equal(status, "postcopy-active"))
            domain->migration->tries = 0;
        if (text_equal(status, "failed") || text_equal(status, "cancelled") || text_equal(status, "none"))
            return why_not(domain, &why, err);
        if (text_equal(status, "x-ferry-unsettled"))
            return err_set(err, -EUCLEAN, "operation failed: migration out job: at the point of decision %.*s; the daemons find out "
                           "where the guest is", (int)strcspn(why.message, ";"), why.message);
        wait_queue_wait(&domain->changed, domain->daemon->scheduler, POLL_NS);
    }
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

int migration_pause_postcopy(struct domain *domain, struct err *err)
{
    struct migration *migration = domain->migration;
    int r;

    migration->held = true; /* before the watcher can see it */
    r = monitor_call(domain->monitor, "migrate-pause", NULL, NULL, err);
    if (r < 0)
        migration->held = false;
    domain_write_status(domain);
    return r;
}

static int transfer(struct domain *domain, const struct migration_request *request, struct err *err)
{
    json_t *disks = NULL;
    int r = migration_set_parameters(domain, request, err);

    if (r == 0)
        r = migration_choose_disks(domain, request, &disks, err);
    if (r < 0)
        return r;
    migration_vmm_address(request->uri, request->flags, domain->migration->address);
    domain_write_status(domain);
    r = monitor_call(domain->monitor, "migrate",
                     json_pack("{s:s, s:b, s:o*}", "uri", domain->migration->address, "blk", (request->flags & MIGRATE_COPY) != 0,
                               "x-ferry-disks", disks), NULL, err);
    return r < 0 ? r : watch(domain, false, err);
}

/* Nobody waits for the end any more; the job is held, and goes on until the VMs know it. */
static void watch_alone(void *ctx)
{
    struct domain *domain = ctx;
    struct err err = ERR_INIT;
    int r = domain_active(domain) ? watch(domain, true, &err) : -ESRCH;

    domain->migration->performing = false;
    domain->migration->err = err;
    domain->migration->result = r == 0 ? MIGRATION_DONE : MIGRATION_NOT_DONE;
    migration_settle_alone(domain);
    wait_queue_wake_all(&domain->changed);
    domain_release(domain);
}

static int start_watching_alone(struct domain *domain)
{
    int r;

    domain->migration->client = NULL;
    domain->migration->client_gone = true;
    domain->migration->performing = true; /* speed and abort are this migration's */
    domain_hold(domain);
    r = coroutine_start(domain->daemon->scheduler, watch_alone, domain);
    if (r < 0) {
        domain->migration->performing = false;
        domain_release(domain);
    }
    return r;
}

static void take_result(struct domain *domain, int r)
{
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

/* Under the job. -ENOTCONN: somebody else goes on with it, and the job is no longer the caller's. */
static int perform(struct domain *domain, const struct migration_request *request, struct err *err)
{
    int r;

    migration_note_cookie(domain, request->cookie, request->cookie_size, request->name);
    domain->migration->performing = true;
    r = transfer(domain, request, err);
    domain->migration->performing = false;
    if (r == -ENOTCONN && start_watching_alone(domain) == 0)
        return r;
    take_result(domain, r);
    return r == -ENOTCONN ? RPC_FAULT(RPC_OPERATION_FAILED) : r;
}

/* Post-copy whose connection is lost is watched: it gets another address, and this waits with whoever watches. */
static int perform_again(struct domain *domain, const struct migration_request *request, struct err *err)
{
    struct migration *migration = domain->migration;
    struct err why = ERR_INIT;
    char status[32];
    int r = migration_set_postcopy_bandwidth(domain, request, err);

    if (r < 0)
        return r;
    migration_vmm_address(request->uri, migration->flags, migration->address);
    migration_note_cookie(domain, request->cookie, request->cookie_size, request->name);
    migration->held = false;
    migration->tries = 0;
    domain_write_status(domain);
    wait_queue_wake_all(&domain->changed);
    while (domain->migration == migration && migration->performing && !migration->held && migration->tries < RESUME_TRIES)
        wait_queue_wait(&domain->changed, domain->daemon->scheduler, POLL_NS);
    if (domain->migration == migration && migration->result == MIGRATION_DONE)
        return 0;
    if (domain->migration == migration && domain_active(domain))
        migration_query(domain, status, &why);
    return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "operation failed: migration out job: post-copy could not go on: %s",
                   why.message[0] != 0 ? why.message : "the VM here has ended");
}

int migration_perform(struct domain *domain, const struct client *client, const struct migration_request *request, struct err *err)
{
    bool mine = migration_owns_job(domain, client);
    int r = request->uri != NULL ? 0 : err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "migrate_uri is missing");

    if (r == 0 && (request->flags & MIGRATE_POSTCOPY_RESUME) != 0) {
        r = need_paused_postcopy(domain, err);
        return r < 0 ? r : perform_again(domain, request, err);
    }
    if (r == 0 && !mine)
        r = domain_begin_job(domain, JOB_MIGRATE_OUT, err);
    if (r < 0)
        return r;
    r = domain_need_active(domain, err);
    if (r == 0 && !mine)
        r = migration_record(domain, client, false, request->flags, err);
    if (r == 0)
        r = perform(domain, request, err);
    if (r == -ENOTCONN)
        return RPC_FAULT(RPC_OPERATION_FAILED);
    if (!mine)
        domain_end_job(domain);
    else if (domain->migration != NULL && domain->migration->client_gone)
        migration_settle_alone(domain);
    return r == -EUCLEAN ? RPC_FAULT(RPC_OPERATION_FAILED) : r;
}

static int watch_outgoing(struct domain *domain)
{
    int r = domain->migration != NULL && !domain->migration->incoming ? 0 : migration_record(domain, NULL, false, 0, NULL);

    if (r < 0)
        return r;
    domain->job = JOB_MIGRATE_OUT;
    domain->job_start_ns = host_monotonic_ns();
    return start_watching_alone(domain);
}

/* A guest whose VM is here: it runs on while its memory comes, or has come since ferryd ended. */
static bool comes_here(const struct domain *domain, const char *machine, const char *status)
{
    if (text_equal(machine, "postmigrate"))
        return false;
    return text_equal(machine, "inmigrate") || text_starts_with(status, "postcopy-") ||
           (text_equal(status, "completed") && domain->migration != NULL && domain->migration->incoming);
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
    if (comes_here(domain, machine, status)) {
        migration_watch_incoming(domain);
    } else if (text_equal(machine, "postmigrate") || text_equal(status, "active") || text_equal(status, "setup") ||
               text_equal(status, "device") || text_equal(status, "cancelling") ||
               text_equal(status, "x-ferry-unsettled")) { /* post-copy is postmigrate */
        watch_outgoing(domain);
    }
    return domain_active(domain);
}
