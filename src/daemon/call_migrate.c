/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls of a migration, and about jobs. */
#include <errno.h>

#include "base/clock.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/lifecycle.h"
#include "daemon/migration.h"
#include "daemon/migration_private.h"
#include "daemon/monitor.h"

enum { JOB_TYPE_NONE, JOB_TYPE_BOUNDED, JOB_TYPE_UNBOUNDED, JOB_TYPE_COMPLETED, JOB_TYPE_FAILED, JOB_TYPE_CANCELLED };
enum { JOB_STATS_COMPLETED = 1 };
enum { ABORT_POSTCOPY = 1, SPEED_OF_POSTCOPY = 1 };
enum { OPERATION_SAVE = 2, OPERATION_MIGRATION_IN = 4, OPERATION_MIGRATION_OUT = 5 };

static int read_request(struct call *call, unsigned params, uint32_t flags, struct migration_request *request)
{
    return migration_read_request(call->arg[params].params.param, call->arg[params].params.count, flags, request, &call->err);
}

static int begin(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    struct buffer xml = BUFFER_INIT(XDR_STRING_MAX);
    struct migration_request request;
    struct buffer cookie = BUFFER_INIT(MIGRATION_COOKIE_MAX);
    int r = domain == NULL ? call->err.code : read_request(call, 1, call->arg[2].u, &request);

    if (r == 0)
        r = migration_begin(domain, call->client, &request, &xml, &call->err);
    if (r == 0) {
        r = migration_cookie(domain, &request, &cookie, &call->err);
        if (r < 0)
            migration_confirm(domain, call->client, call->arg[2].u, true, NULL);
    }
    if (r == 0) {
        xdr_put_opaque(&call->out, cookie.data, cookie.size);
        xdr_put_string(&call->out, (const char *)xml.data);
    }
    buffer_fini(&xml);
    buffer_fini(&cookie);
    return r;
}

static int prepare(struct call *call)
{
    struct buffer cookie = BUFFER_INIT(MIGRATION_COOKIE_MAX);
    struct migration_request request;
    char uri[512];
    int r = read_request(call, 0, call->arg[2].u, &request);

    if (r == 0)
        r = migration_prepare(call->daemon, call->client, &request, call->arg[1].bytes.data, call->arg[1].bytes.size, uri, sizeof(uri),
                              &call->err);
    if (r == 0) {
        migration_own_cookie(call->daemon, &cookie);
        xdr_put_opaque(&call->out, cookie.data, cookie.size);
        xdr_put_optional_string(&call->out, uri);
    }
    buffer_fini(&cookie);
    return r;
}

static int perform(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    struct migration_request request;
    int r = domain == NULL ? call->err.code : read_request(call, 2, call->arg[4].u, &request);

    request.cookie = call->arg[3].bytes.data;
    request.cookie_size = call->arg[3].bytes.size;
    if (r == 0 && (request.flags & MIGRATE_PEER2PEER) != 0 && call->arg[1].s == NULL)
        r = err_set(&call->err, RPC_FAULT(RPC_INVALID_ARGUMENT), "the URI of the destination's daemon is missing");
    if (r == 0)
        r = (request.flags & MIGRATE_PEER2PEER) != 0 ? migration_peer_to_peer(domain, call->arg[1].s, &request, &call->err)
                                                     : migration_perform(domain, call->client, &request, &call->err);
    if (r == 0)
        xdr_put_opaque(&call->out, "", 0);
    return r;
}

static int finish(struct call *call)
{
    struct migration_request request;
    int r = read_request(call, 0, call->arg[2].u, &request);

    if (r == 0)
        r = migration_finish(call->daemon, &request, call->arg[3].i != 0, &call->domain, &call->err);
    if (r == 0) {
        rpc_put_domain(&call->out, domain_name(call->domain), domain_uuid(call->domain), call->domain->id);
        xdr_put_opaque(&call->out, "", 0);
    }
    return r;
}

static int confirm(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    return domain == NULL ? call->err.code : migration_confirm(domain, call->client, call->arg[3].u, call->arg[4].i != 0, &call->err);
}

static int start_postcopy(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    return domain == NULL ? call->err.code : migration_start_postcopy(domain, &call->err);
}

static uint64_t elapsed_ms(const struct domain *domain)
{
    return (uint64_t)(host_monotonic_ns() - domain->job_start_ns) / 1000000;
}

/* The figures of the job under way, as of a look some tenths of a second ago. */
static struct migration_figures job_figures(const struct domain *domain)
{
    struct migration_figures figures = {0};

    if (domain->job == JOB_MIGRATE_OUT && domain->migration != NULL)
        figures = domain->migration->figures;
    return figures;
}

static bool has_job(const struct domain *domain)
{
    return domain->job != JOB_NONE && domain->job != JOB_MODIFY;
}

static uint64_t done_of(const struct migration_figures *figures)
{
    return figures->total > figures->remaining ? figures->total - figures->remaining : 0;
}

static int get_job_info(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    struct migration_figures figures;
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    figures = job_figures(domain);
    const uint64_t disk_done = figures.disk_total - figures.disk_remaining;
    const uint64_t numbers[] = {has_job(domain) ? elapsed_ms(domain) : 0, 0, figures.total + figures.disk_total,
                                done_of(&figures) + disk_done, figures.remaining + figures.disk_remaining,
                                figures.total, done_of(&figures), figures.remaining,
                                figures.disk_total, disk_done, figures.disk_remaining};
    xdr_put_i32(&call->out, has_job(domain) ? JOB_TYPE_UNBOUNDED : JOB_TYPE_NONE);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        xdr_put_u64(&call->out, numbers[i]);
    return 0;
}

static void put_figures(struct call *call, int32_t operation, uint64_t elapsed, const struct migration_figures *figures)
{
    struct rpc_param_list list = rpc_params_begin(&call->out);

    rpc_params_i32(&list, operation, "operation");
    rpc_params_u64(&list, elapsed, "time_elapsed");
    if (figures->known) {
        rpc_params_u64(&list, figures->downtime_ms, "downtime");
        rpc_params_u64(&list, figures->total + figures->disk_total, "data_total");
        rpc_params_u64(&list, figures->transferred, "data_processed");
        rpc_params_u64(&list, figures->remaining + figures->disk_remaining, "data_remaining");
        rpc_params_u64(&list, figures->total, "memory_total");
        rpc_params_u64(&list, done_of(figures), "memory_processed");
        rpc_params_u64(&list, figures->remaining, "memory_remaining");
        rpc_params_u64(&list, figures->bandwidth, "memory_bps");
        rpc_params_u64(&list, figures->dirty_pages, "memory_dirty_rate");
        rpc_params_u64(&list, figures->rounds, "memory_iteration");
        rpc_params_u64(&list, 4096, "memory_page_size");
        if (figures->requests > 0)
            rpc_params_u64(&list, figures->requests, "memory_postcopy_requests");
    }
    if (figures->disk_total > 0) {
        rpc_params_u64(&list, figures->disk_total, "disk_total");
        rpc_params_u64(&list, figures->disk_total - figures->disk_remaining, "disk_processed");
        rpc_params_u64(&list, figures->disk_remaining, "disk_remaining");
    }
    rpc_params_end(&list);
}

static int32_t operation_of(const struct domain *domain)
{
    return domain->job == JOB_SAVE ? OPERATION_SAVE : domain->job == JOB_MIGRATE_OUT ? OPERATION_MIGRATION_OUT : OPERATION_MIGRATION_IN;
}

static int get_job_stats(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    struct migration_figures figures;

    if (domain == NULL)
        return call->err.code;
    if ((call->arg[1].u & JOB_STATS_COMPLETED) != 0 && domain->migration != NULL && domain->migration->result == MIGRATION_DONE) {
        xdr_put_i32(&call->out, JOB_TYPE_COMPLETED);
        put_figures(call, domain->migration->figures.known ? OPERATION_MIGRATION_OUT : OPERATION_MIGRATION_IN,
                    domain->migration->figures.elapsed_ms, &domain->migration->figures);
        return 0;
    }
    if (!has_job(domain) || (call->arg[1].u & JOB_STATS_COMPLETED) != 0) {
        xdr_put_i32(&call->out, JOB_TYPE_NONE);
        xdr_put_u32(&call->out, 0);
        return 0;
    }
    figures = job_figures(domain);
    xdr_put_i32(&call->out, JOB_TYPE_UNBOUNDED);
    put_figures(call, operation_of(domain), elapsed_ms(domain), &figures);
    return 0;
}

/* What can be aborted is at work. */
static int need_outgoing(struct call *call, struct domain *domain)
{
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    if (domain->job == JOB_NONE)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: no job is active on the domain");
    if (domain->job != JOB_MIGRATE_OUT || domain->migration == NULL || !domain->migration->performing)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: the job cannot be aborted");
    return 0;
}

static int abort_job(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = need_outgoing(call, domain);

    if (r < 0)
        return r;
    domain->job_abort = true;
    return monitor_call(domain->monitor, "migrate_cancel", NULL, NULL, &call->err);
}

static int abort_job_flags(struct call *call)
{
    struct domain *domain;
    int r;

    if (call->arg[1].u == 0)
        return abort_job(call);
    if (call->arg[1].u != ABORT_POSTCOPY)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: flags 0x%x of a job's end", call->arg[1].u);
    domain = call_domain(call, call->arg[0].object);
    r = need_outgoing(call, domain);
    return r < 0 ? r : migration_pause_postcopy(domain, &call->err);
}

/* Limits are kept for migrations to come, and change the one under way. */
static int apply_limit(struct call *call, struct domain *domain, const char *name, uint64_t value)
{
    if (domain->job != JOB_MIGRATE_OUT || domain->migration == NULL || !domain->migration->performing)
        return 0;
    return monitor_call(domain->monitor, "migrate-set-parameters", json_pack("{s:I}", name, (json_int_t)value), NULL, &call->err);
}

static int set_max_speed(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    uint64_t mib = migration_speed(call->arg[1].H);

    if (domain == NULL)
        return call->err.code;
    if (call->arg[2].u > SPEED_OF_POSTCOPY)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: flags 0x%x of a speed", call->arg[2].u);
    if (call->arg[2].u == SPEED_OF_POSTCOPY) {
        domain->limits.postcopy_mib = mib;
        return apply_limit(call, domain, "max-postcopy-bandwidth", mib << 20);
    }
    domain->limits.bandwidth_mib = mib;
    return apply_limit(call, domain, "max-bandwidth", mib << 20);
}

static int get_max_speed(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    uint64_t mib;

    if (domain == NULL)
        return call->err.code;
    if (call->arg[1].u > SPEED_OF_POSTCOPY)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "argument unsupported: flags 0x%x of a speed", call->arg[1].u);
    mib = domain->limits.bandwidth_mib != 0 ? domain->limits.bandwidth_mib : (uint64_t)INT64_MAX / (1024 * 1024);
    xdr_put_u64(&call->out, call->arg[1].u == SPEED_OF_POSTCOPY ? domain->limits.postcopy_mib : mib);
    return 0;
}

static int set_max_downtime(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain == NULL)
        return call->err.code;
    if (call->arg[1].H == 0 || call->arg[1].H > 2000000)
        return err_set(&call->err, RPC_FAULT(RPC_INVALID_ARGUMENT), "a downtime is 1 to 2000000 milliseconds");
    domain->limits.downtime_ms = call->arg[1].H;
    return apply_limit(call, domain, "downtime-limit", call->arg[1].H);
}

static int get_max_downtime(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain == NULL)
        return call->err.code;
    xdr_put_u64(&call->out, domain->limits.downtime_ms != 0 ? domain->limits.downtime_ms : 300);
    return 0;
}

const struct call_handler migrate_calls[] = {
    {REMOTE_DOMAIN_MIGRATE_BEGIN3_PARAMS, begin},
    {REMOTE_DOMAIN_MIGRATE_PREPARE3_PARAMS, prepare},
    {REMOTE_DOMAIN_MIGRATE_PERFORM3_PARAMS, perform},
    {REMOTE_DOMAIN_MIGRATE_FINISH3_PARAMS, finish},
    {REMOTE_DOMAIN_MIGRATE_CONFIRM3_PARAMS, confirm},
    {REMOTE_DOMAIN_MIGRATE_START_POST_COPY, start_postcopy},
    {REMOTE_DOMAIN_GET_JOB_INFO, get_job_info},
    {REMOTE_DOMAIN_GET_JOB_STATS, get_job_stats},
    {REMOTE_DOMAIN_ABORT_JOB, abort_job},
    {REMOTE_DOMAIN_ABORT_JOB_FLAGS, abort_job_flags},
    {REMOTE_DOMAIN_MIGRATE_SET_MAX_SPEED, set_max_speed},
    {REMOTE_DOMAIN_MIGRATE_GET_MAX_SPEED, get_max_speed},
    {REMOTE_DOMAIN_MIGRATE_SET_MAX_DOWNTIME, set_max_downtime},
    {REMOTE_DOMAIN_MIGRATE_GET_MAX_DOWNTIME, get_max_downtime},
    {0, NULL},
};
