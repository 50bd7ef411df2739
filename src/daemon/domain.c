/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains: identity, jobs, state and its file, events. */
#include "daemon/domain.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/events.h"
#include "daemon/files.h"
#include "daemon/migration.h"
#include "daemon/monitor.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

#define JOB_WAIT_NS (30 * NANOSECONDS_PER_SECOND)
#define STATUS_MAX (8u << 20)

struct definition *domain_definition(const struct domain *domain)
{
    return domain->live != NULL ? domain->live : domain->config;
}

const char *domain_name(const struct domain *domain)
{
    return domain_definition(domain)->name;
}

const uint8_t *domain_uuid(const struct domain *domain)
{
    return domain_definition(domain)->uuid;
}

bool domain_active(const struct domain *domain)
{
    return domain->id >= 0;
}

void domain_hold(struct domain *domain)
{
    domain->references++;
}

void domain_release(struct domain *domain)
{
    if (--domain->references > 0)
        return;
    monitor_free(domain->monitor);
    loop_remove(domain->pid_source);
    fd_close(&domain->pidfd);
    fd_close(&domain->lock_fd);
    definition_free(domain->config);
    definition_free(domain->live);
    migration_free(domain->migration);
    free(domain);
}

int domain_begin_job(struct domain *domain, enum domain_job job, struct err *err)
{
    int64_t end = host_monotonic_ns() + JOB_WAIT_NS;

    while (domain->job != JOB_NONE) {
        int64_t left = end - host_monotonic_ns();

        if (left <= 0 || wait_queue_wait(&domain->job_free, domain->daemon->scheduler, left) < 0)
            return err_set(err, RPC_FAULT(RPC_OPERATION_TIMEOUT), "domain '%s' is busy with another job, which does not end; "
                           "domjobinfo tells, domjobabort ends it", domain_name(domain));
    }
    if (domain->gone)
        return err_set(err, RPC_FAULT(RPC_NO_DOMAIN), "the domain has been removed meanwhile");
    domain->job = job;
    domain->job_abort = false;
    domain->job_start_ns = host_monotonic_ns();
    return 0;
}

void domain_end_job(struct domain *domain)
{
    domain->job = JOB_NONE;
    wait_queue_wake_all(&domain->job_free);
}

int domain_need_active(const struct domain *domain, struct err *err)
{
    return domain_active(domain) ? 0 : err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: domain is not "
                                               "running");
}

int domain_need_inactive(const struct domain *domain, struct err *err)
{
    return !domain_active(domain) ? 0 : err_set(err, RPC_FAULT(RPC_OPERATION_INVALID), "Requested operation is not valid: domain is "
                                                "already running");
}

void domain_path(const struct domain *domain, enum domain_file file, char *path)
{
    const struct daemon_config *config = &domain->daemon->config;
    char uuid[UUID_TEXT_SIZE];

    uuid_format(domain_uuid(domain), uuid);
    switch (file) {
    case FILE_CONFIG:
        text_format(path, PATH_MAX, "%s/domains/%s.xml", config->state_dir, uuid);
        break;
    case FILE_AUTOSTART:
        text_format(path, PATH_MAX, "%s/autostart/%s", config->state_dir, uuid);
        break;
    case FILE_MANAGED_SAVE:
        text_format(path, PATH_MAX, "%s/save/%s.save", config->state_dir, uuid);
        break;
    case FILE_STATUS:
        text_format(path, PATH_MAX, "%s/domains/%s.xml", config->run_dir, uuid);
        break;
    case FILE_LOCK:
        text_format(path, PATH_MAX, "%s/domains/%s.lock", config->run_dir, uuid);
        break;
    case FILE_DIRECTORY:
        text_format(path, PATH_MAX, "%s/vm/%s", config->run_dir, uuid);
        break;
    case FILE_CONTROL:
        text_format(path, PATH_MAX, "%s/vm/%s/qmp", config->run_dir, uuid);
        break;
    case FILE_LOG:
        text_format(path, PATH_MAX, "%s/%s.log", config->log_dir, domain_name(domain));
        break;
    }
}

int domain_write_config(struct domain *domain, struct err *err)
{
    struct buffer text = BUFFER_INIT(STATUS_MAX);
    char path[PATH_MAX];
    int r = definition_format(domain->config, -1, &text);

    domain_path(domain, FILE_CONFIG, path);
    r = r == 0 ? files_write(path, text.data, text.size, 0600, err) : err_set(err, r, "cannot write %s: %s", path, strerror(-r));
    buffer_fini(&text);
    return r;
}

void domain_write_status(struct domain *domain)
{
    struct buffer text = BUFFER_INIT(STATUS_MAX);
    struct err err = ERR_INIT;
    char path[PATH_MAX];

    if (domain->live == NULL)
        return;
    domain_path(domain, FILE_STATUS, path);
    buffer_printf(&text, "<domstatus state='%d' reason='%d' id='%d' pid='%d' rebooting='%s'>\n", domain->state, domain->reason,
                  domain->id, (int)domain->pid, domain->rebooting ? "yes" : "no");
    definition_format(domain->live, -1, &text);
    migration_format(domain->migration, &text);
    buffer_printf(&text, "</domstatus>\n");
    if (files_write(path, text.data, text.size, 0600, &err) < 0)
        log_error("%s", err.message);
    buffer_fini(&text);
}

bool domain_has_managed_save(const struct domain *domain)
{
    char path[PATH_MAX];

    domain_path(domain, FILE_MANAGED_SAVE, path);
    return access(path, F_OK) == 0;
}

void domain_set_state(struct domain *domain, enum domain_state state, int reason)
{
    domain->state = state;
    domain->reason = reason;
    domain_write_status(domain);
    wait_queue_wake_all(&domain->changed);
}

void domain_send_event(struct domain *domain, enum domain_event event, int detail)
{
    struct buffer payload = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &payload};

    rpc_put_domain(&writer, domain_name(domain), domain_uuid(domain), domain->id);
    xdr_put_i32(&writer, event);
    xdr_put_i32(&writer, detail);
    events_send(domain->daemon, EVENT_DOMAIN, 0, domain_uuid(domain), REMOTE_DOMAIN_EVENT_LIFECYCLE, &payload);
    buffer_fini(&payload);
}

void domain_send_device_event(struct domain *domain, int32_t id, int32_t procedure, const char *alias)
{
    struct buffer payload = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &payload};

    rpc_put_domain(&writer, domain_name(domain), domain_uuid(domain), domain->id);
    xdr_put_string(&writer, alias);
    events_send(domain->daemon, EVENT_DOMAIN, id, domain_uuid(domain), procedure, &payload);
    buffer_fini(&payload);
}
