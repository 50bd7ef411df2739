/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Start, stop, pause, and what the VM tells. Saving is in save.c. */
#include "daemon/lifecycle.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/events.h"
#include "daemon/migration.h"
#include "daemon/monitor.h"
#include "daemon/plug.h"
#include "daemon/process.h"
#include "daemon/save.h"
#include "daemon/tree.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

int lifecycle_prepare(struct domain *domain, struct err *err)
{
    if (domain->live == NULL && definition_copy(domain->config, &domain->live) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    definition_settle_cpu(domain->live, domain->daemon->host);
    domain->id = ++domain->daemon->inventory->last_id;
    domain->rebooting = false;
    domain->stopping = false;
    domain->stop_reason = SHUTOFF_UNKNOWN;
    domain->state = DOMAIN_PAUSED;
    domain->reason = PAUSED_STARTING;
    return 0;
}

void lifecycle_unprepare(struct domain *domain, int reason)
{
    domain->id = -1;
    domain->state = DOMAIN_SHUTOFF;
    domain->reason = reason;
    wait_queue_wake_all(&domain->stopped);
    wait_queue_wake_all(&domain->changed);
    if (domain->config == NULL) {
        inventory_remove(domain);
    } else {
        definition_free(domain->live);
        domain->live = NULL;
    }
}

static int run_guest(struct domain *domain, struct err *err)
{
    json_t *none = NULL;
    int r = monitor_call(domain->monitor, "cont", NULL, &none, err);

    json_decref(none);
    return r;
}

/* The balloon is told what the definition leaves of the memory. */
static void set_balloon(struct domain *domain)
{
    if (domain->live->current_kib < domain->live->memory_kib)
        monitor_call(domain->monitor, "balloon", json_pack("{s:I}", "value", (json_int_t)domain->live->current_kib * 1024), NULL, NULL);
}

static int start(struct domain *domain, const char *load, bool paused, struct err *err)
{
    const struct process_options options = {.load = load};
    int r = lifecycle_prepare(domain, err);

    if (r < 0)
        return r;
    r = process_start(domain, &options, err);
    if (r == 0 && load == NULL)
        set_balloon(domain);
    if (r == 0 && !paused)
        r = run_guest(domain, err);
    if (r == -EPIPE && domain->stop_reason != SHUTOFF_UNKNOWN)
        r = 0; /* the guest's end was faster than the answer */
    if (r < 0) {
        if (domain->pid > 0) {
            process_kill(domain);
            process_clear(domain);
        }
        lifecycle_unprepare(domain, SHUTOFF_FAILED);
        return r;
    }
    if (!domain_active(domain)) /* it has run, and ended already */
        return 0;
    domain_set_state(domain, paused ? DOMAIN_PAUSED : DOMAIN_RUNNING,
                     paused ? PAUSED_USER : load != NULL ? RUNNING_RESTORED : RUNNING_BOOTED);
    domain_send_event(domain, EVENT_STARTED, load != NULL ? STARTED_RESTORED : STARTED_BOOTED);
    if (paused)
        domain_send_event(domain, EVENT_SUSPENDED, SUSPENDED_PAUSED);
    else
        domain_send_event(domain, EVENT_RESUMED, RESUMED_UNPAUSED);
    return 0;
}

int lifecycle_start(struct domain *domain, bool paused, bool fresh, struct err *err)
{
    int r = domain_need_inactive(domain, err);

    if (r < 0)
        return r;
    if (fresh || !domain_has_managed_save(domain))
        return start(domain, NULL, paused, err);
    r = save_restore_managed(domain, paused, err);
    return r < 0 ? err_prefix(err, "its saved state, which managedsave-remove discards"), r : 0;
}

int lifecycle_load(struct domain *domain, const char *path, bool paused, struct err *err)
{
    return start(domain, path, paused, err);
}

/* The VM is gone, or about to be: everything of it is cleared away, and told. Coroutine or not. */
static void finish(struct domain *domain, int reason, int detail)
{
    domain_hold(domain);
    process_clear(domain);
    if (domain_active(domain)) {
        domain->id = -1;
        domain_send_event(domain, EVENT_STOPPED, detail);
        lifecycle_unprepare(domain, reason);
    }
    domain_release(domain);
}

int lifecycle_destroy(struct domain *domain, int reason, int detail, struct err *err)
{
    int r = domain_need_active(domain, err);

    while (r == 0 && domain_active(domain) && domain->pid <= 0) /* it is just being started */
        coroutine_sleep(domain->daemon->scheduler, NANOSECONDS_PER_SECOND / 100);
    if (r < 0 || !domain_active(domain))
        return r;
    domain->stopping = true;
    domain->rebooting = false;
    process_kill(domain);
    finish(domain, reason, detail);
    return 0;
}

int lifecycle_suspend(struct domain *domain, struct err *err)
{
    int r = domain_need_active(domain, err);

    if (r == 0 && domain->state == DOMAIN_RUNNING)
        r = monitor_call(domain->monitor, "stop", NULL, NULL, err);
    if (r == 0 && domain_active(domain) && !(domain->state == DOMAIN_PAUSED && domain->reason == PAUSED_USER)) {
        domain_set_state(domain, DOMAIN_PAUSED, PAUSED_USER);
        domain_send_event(domain, EVENT_SUSPENDED, SUSPENDED_PAUSED);
    }
    return r;
}

int lifecycle_resume(struct domain *domain, struct err *err)
{
    int r = domain_need_active(domain, err);

    if (r < 0 || domain->state == DOMAIN_RUNNING)
        return r;
    r = run_guest(domain, err);
    if (r == 0 && domain_active(domain) && domain->state != DOMAIN_RUNNING) {
        domain_set_state(domain, DOMAIN_RUNNING, RUNNING_UNPAUSED);
        domain_send_event(domain, EVENT_RESUMED, RESUMED_UNPAUSED);
    }
    return r;
}

/* The device that the guest has let go. */
static void device_deleted(struct domain *domain, const json_t *data)
{
    const char *name = json_string_value(json_object_get(data, "device"));

    if (name == NULL || domain->live == NULL)
        return;
    for (xmlNode *device = tree_first(definition_devices(domain->live), NULL); device != NULL; device = tree_next(device, NULL)) {
        if (tree_is(tree_first(device, "alias"), "name", name)) {
            plug_deleted(domain, name, xml_is(device, "disk"));
            tree_remove(device);
            break;
        }
    }
    domain_write_status(domain);
    domain_send_device_event(domain, 15, REMOTE_DOMAIN_EVENT_DEVICE_REMOVED, name);
    wait_queue_wake_all(&domain->changed);
}

static void balloon_changed(struct domain *domain, const json_t *data)
{
    struct buffer payload = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &payload};
    json_int_t actual = json_integer_value(json_object_get(data, "actual"));

    domain->live->current_kib = (uint64_t)actual / 1024;
    tree_set_text(tree_first(definition_root(domain->live), "currentMemory"), "%llu", (unsigned long long)actual / 1024);
    rpc_put_domain(&writer, domain_name(domain), domain_uuid(domain), domain->id);
    xdr_put_u64(&writer, (uint64_t)actual / 1024);
    events_send(domain->daemon, EVENT_DOMAIN, 13, domain_uuid(domain), REMOTE_DOMAIN_EVENT_BALLOON_CHANGE, &payload);
    buffer_fini(&payload);
}

static void guest_reset(struct domain *domain)
{
    struct buffer payload = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &payload};

    rpc_put_domain(&writer, domain_name(domain), domain_uuid(domain), domain->id);
    events_send(domain->daemon, EVENT_DOMAIN, 1, domain_uuid(domain), REMOTE_DOMAIN_EVENT_REBOOT, &payload);
    buffer_fini(&payload);
}

/* Between the moment that a job asks for something and the answer, states are the job's business. */
static bool unasked(const struct domain *domain)
{
    return domain->job == JOB_NONE;
}

static void show_event(struct domain *domain, const char *name, const json_t *data)
{
    char *details = data != NULL ? json_dumps(data, 0) : NULL;

    events_send_monitor(domain, name, details);
    free(details);
}

void lifecycle_event(struct domain *domain, const char *name, const json_t *data)
{
    show_event(domain, name, data);
    if (text_equal(name, "SHUTDOWN")) {
        bool by_guest = json_is_true(json_object_get(data, "guest"));

        domain->stopping = true;
        if (domain->stop_reason == SHUTOFF_UNKNOWN) {
            domain->stop_reason = SHUTOFF_SHUTDOWN;
            domain->stop_event = STOPPED_SHUTDOWN;
        }
        domain_send_event(domain, EVENT_SHUTDOWN, by_guest ? SHUTDOWN_BY_GUEST : SHUTDOWN_BY_HOST);
    } else if (text_equal(name, "GUEST_PANICKED")) {
        domain->stop_reason = SHUTOFF_CRASHED;
        domain->stop_event = STOPPED_CRASHED;
    } else if (text_equal(name, "STOP") && unasked(domain) && domain->state == DOMAIN_RUNNING) {
        domain_set_state(domain, DOMAIN_PAUSED, PAUSED_USER);
        domain_send_event(domain, EVENT_SUSPENDED, SUSPENDED_PAUSED);
    } else if (text_equal(name, "RESUME") && unasked(domain) && domain->state == DOMAIN_PAUSED) {
        domain_set_state(domain, DOMAIN_RUNNING, RUNNING_UNPAUSED);
        domain_send_event(domain, EVENT_RESUMED, RESUMED_UNPAUSED);
    } else if (text_equal(name, "RESET")) {
        guest_reset(domain);
    } else if (text_equal(name, "DEVICE_DELETED")) {
        device_deleted(domain, data);
    } else if (text_equal(name, "BALLOON_CHANGE")) {
        balloon_changed(domain, data);
    } else if (text_equal(name, "MIGRATION")) {
        wait_queue_wake_all(&domain->changed);
    }
}

/* A reboot, second half: the guest has shut itself down, and what was there is started anew. */
static void start_anew(void *ctx)
{
    struct domain *domain = ctx;
    const struct process_options options = {0};
    struct err err = ERR_INIT;
    int r = domain_begin_job(domain, JOB_MODIFY, &err);

    if (r == 0) {
        r = domain_need_active(domain, &err);
        if (r == 0)
            r = process_start(domain, &options, &err);
        domain->rebooting = false;
        if (r == 0)
            r = run_guest(domain, &err);
        if (r == 0 && domain_active(domain))
            domain_set_state(domain, DOMAIN_RUNNING, RUNNING_BOOTED);
        domain_end_job(domain);
    }
    if (r < 0 && domain_active(domain))
        finish(domain, SHUTOFF_FAILED, STOPPED_FAILED);
    if (r < 0)
        log_error("domain '%s' could not be rebooted: %s", domain_name(domain), err.message);
    domain_release(domain);
}

static bool begin_anew(struct domain *domain)
{
    process_clear(domain);
    domain_write_status(domain); /* still rebooting: a ferryd that comes after this one starts it */
    domain->stop_reason = SHUTOFF_UNKNOWN;
    domain->stopping = false;
    domain_hold(domain);
    if (coroutine_start(domain->daemon->scheduler, start_anew, domain) == 0)
        return true;
    domain_release(domain);
    return false;
}

/* The VM's process has ended: by itself, as nobody here waits for its death. */
void lifecycle_ended(struct domain *domain)
{
    int reason = domain->stop_reason, detail = domain->stop_event;

    if (reason == SHUTOFF_UNKNOWN) { /* without a word */
        reason = SHUTOFF_CRASHED;
        detail = STOPPED_FAILED;
        log_warning("the VM of domain '%s' ended unexpectedly; its log tells more", domain_name(domain));
    }
    if (!domain->rebooting || reason != SHUTOFF_SHUTDOWN || !begin_anew(domain))
        finish(domain, reason, detail);
}

/* What the VM says it is doing, in libvirt's terms. A reboot that came as far as the new VM goes on from there. */
static void take_status(struct domain *domain)
{
    json_t *status = NULL;
    const char *name;

    if (monitor_call(domain->monitor, "query-status", NULL, &status, NULL) < 0)
        return;
    name = json_string_value(json_object_get(status, "status"));
    bool running = json_is_true(json_object_get(status, "running"));
    if (domain->rebooting && name != NULL && text_equal(name, "prelaunch")) {
        domain->rebooting = false;
        running = run_guest(domain, NULL) == 0;
    }
    if (running != (domain->state == DOMAIN_RUNNING)) {
        domain->state = running ? DOMAIN_RUNNING : DOMAIN_PAUSED;
        domain->reason = running ? RUNNING_UNPAUSED : PAUSED_USER;
    }
    json_decref(status);
}

/* Its VM has ended behind ferryd's back: what was to be rebooted starts anew, as it would have. */
static bool take_end(struct domain *domain)
{
    process_kill(domain);
    if (domain->rebooting && begin_anew(domain))
        return true;
    log_warning("the VM of domain '%s' has ended while ferryd did not run", domain_name(domain));
    finish(domain, SHUTOFF_CRASHED, STOPPED_FAILED);
    return false;
}

bool lifecycle_adopt(struct domain *domain)
{
    struct err err = ERR_INIT;

    if (!process_find(domain, &err))
        return take_end(domain);
    take_status(domain);
    domain_write_status(domain);
    return migration_adopt(domain);
}
