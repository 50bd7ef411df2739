/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that define domains, start and end them. */
#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/change.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/files.h"
#include "daemon/host.h"
#include "daemon/lifecycle.h"
#include "daemon/monitor.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

enum { CREATE_PAUSED = 1, CREATE_AUTODESTROY = 2, CREATE_BYPASS_CACHE = 4, CREATE_FORCE_BOOT = 8, CREATE_VALIDATE = 0x10 };
enum { DEFINE_VALIDATE = 1 };
enum { UNDEFINE_MANAGED_SAVE = 1, UNDEFINE_KNOWN = 0x7f };
enum { SHUTDOWN_ACPI = 1 };
enum { DESTROY_GRACEFUL = 1 };

static int redefine(struct call *call, struct domain *domain, struct definition *definition)
{
    int detail = domain->config != NULL ? DEFINED_UPDATED : DEFINED_ADDED;
    int r = change_commit(domain, definition, &call->err);

    if (r == 0)
        domain_send_event(domain, EVENT_DEFINED, detail);
    return r;
}

static int define(struct call *call, const char *xml)
{
    struct definition *definition;
    struct domain *domain = NULL;
    int r = definition_parse(xml, call->daemon->host, &definition, &call->err);

    if (r < 0)
        return r;
    r = inventory_check(call->daemon, definition, &domain, &call->err);
    if (r < 0) {
        definition_free(definition);
        return r;
    }
    if (domain == NULL) {
        r = inventory_add(call->daemon, definition, false, &domain, &call->err);
        if (r == 0)
            r = domain_write_config(domain, &call->err);
        if (r < 0 && domain != NULL)
            inventory_remove(domain);
        if (r == 0)
            domain_send_event(domain, EVENT_DEFINED, DEFINED_ADDED);
    } else {
        r = redefine(call, domain, definition);
    }
    if (r == 0)
        rpc_put_domain(&call->out, domain_name(domain), domain_uuid(domain), domain->id);
    return r;
}

static int define_xml(struct call *call)
{
    return define(call, call->arg[0].s);
}

static int define_xml_flags(struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, DEFINE_VALIDATE);

    return r < 0 ? r : define(call, call->arg[0].s);
}

static int undefine(struct call *call, uint32_t flags)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    char path[PATH_MAX];
    int r;

    if (domain == NULL)
        return call->err.code;
    if (domain->config == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "cannot undefine transient domain");
    if (domain_has_managed_save(domain) && !domain_active(domain) && (flags & UNDEFINE_MANAGED_SAVE) == 0)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "Refusing to undefine while domain managed save image exists");
    r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r < 0)
        return r;
    domain_path(domain, FILE_MANAGED_SAVE, path);
    file_remove(path);
    r = inventory_undefine(domain, &call->err);
    domain_end_job(domain);
    return r;
}

static int undefine_plain(struct call *call)
{
    return undefine(call, 0);
}

static int undefine_flags(struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, UNDEFINE_KNOWN);

    return r < 0 ? r : undefine(call, call->arg[1].u);
}

static int start(struct call *call, uint32_t flags)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = call_check_flags(call, flags, CREATE_PAUSED | CREATE_BYPASS_CACHE | CREATE_FORCE_BOOT);

    if (domain == NULL)
        return call->err.code;
    if (r == 0)
        r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r < 0)
        return r;
    r = lifecycle_start(domain, (flags & CREATE_PAUSED) != 0, (flags & CREATE_FORCE_BOOT) != 0, &call->err);
    if (r == 0 && domain_has_managed_save(domain)) {
        char path[PATH_MAX];

        domain_path(domain, FILE_MANAGED_SAVE, path); /* it lives on in the VM, or was not wanted */
        file_remove(path);
    }
    domain_end_job(domain);
    return r;
}

static int create(struct call *call)
{
    return start(call, 0);
}

static int create_with_flags(struct call *call)
{
    int r = start(call, call->arg[1].u);

    if (r == 0)
        rpc_put_domain(&call->out, domain_name(call->domain), domain_uuid(call->domain), call->domain->id);
    return r;
}

/* A transient domain, or a new run of a defined one by another document. */
static int create_xml(struct call *call)
{
    struct definition *definition;
    struct domain *domain = NULL;
    int r = call_check_flags(call, call->arg[1].u, CREATE_PAUSED | CREATE_VALIDATE | CREATE_FORCE_BOOT);

    if (r == 0)
        r = definition_parse(call->arg[0].s, call->daemon->host, &definition, &call->err);
    if (r < 0)
        return r;
    r = inventory_add_live(call->daemon, definition, &domain, &call->err);
    if (r < 0)
        return r;
    domain_hold(domain);
    call->domain = domain;
    r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r < 0)
        return r;
    r = lifecycle_start(domain, (call->arg[1].u & CREATE_PAUSED) != 0, true, &call->err);
    domain_end_job(domain);
    if (r == 0)
        rpc_put_domain(&call->out, domain_name(domain), domain_uuid(domain), domain->id);
    return r;
}

/* Not under the job: it ends whatever goes on. */
static int destroy(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    return domain == NULL ? call->err.code : lifecycle_destroy(domain, SHUTOFF_DESTROYED, STOPPED_DESTROYED, &call->err);
}

static int destroy_flags(struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, DESTROY_GRACEFUL);

    return r < 0 ? r : destroy(call);
}

/* Runs fn under the domain's job. */
static int with_job(struct call *call, int (*fn)(struct domain *domain, struct err *err))
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_begin_job(domain, JOB_MODIFY, &call->err);

    if (r < 0)
        return r;
    r = fn(domain, &call->err);
    domain_end_job(domain);
    return r;
}

static int press_power_button(struct domain *domain, struct err *err)
{
    int r = domain_need_active(domain, err);

    return r < 0 ? r : monitor_call(domain->monitor, "system_powerdown", NULL, NULL, err);
}

/* A guest that did not care for a reboot, and now powers off, is off. */
static int press_and_stay_off(struct domain *domain, struct err *err)
{
    domain->rebooting = false;
    domain_write_status(domain);
    return press_power_button(domain, err);
}

static int reset(struct domain *domain, struct err *err)
{
    int r = domain_need_active(domain, err);

    return r < 0 ? r : monitor_call(domain->monitor, "system_reset", NULL, NULL, err);
}

static int shut_down(struct call *call)
{
    return with_job(call, press_and_stay_off);
}

static int shut_down_flags(struct call *call)
{
    if ((call->arg[1].u & ~(uint32_t)SHUTDOWN_ACPI) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "there is no guest agent: a guest is shut down by ACPI");
    return with_job(call, press_and_stay_off);
}

/* A guest that is asked by ACPI powers off; then the machine starts anew. */
static int press_and_start_anew(struct domain *domain, struct err *err)
{
    const char *action = domain_active(domain) ? xml_child_content(definition_root(domain->live), "on_reboot") : NULL;

    domain->rebooting = action == NULL || !text_equal(action, "destroy");
    domain_write_status(domain);
    return press_power_button(domain, err);
}

static int reboot(struct call *call)
{
    if ((call->arg[1].u & ~(uint32_t)SHUTDOWN_ACPI) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "there is no guest agent: a guest is rebooted by ACPI");
    return with_job(call, press_and_start_anew);
}

static int reset_call(struct call *call)
{
    return with_job(call, reset);
}

/* Also while a migration runs: a guest that stands is the sure way to end one. */
static int suspend(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain != NULL && domain->job == JOB_MIGRATE_OUT)
        return lifecycle_suspend(domain, &call->err);
    return with_job(call, lifecycle_suspend);
}

static int resume(struct call *call)
{
    return with_job(call, lifecycle_resume);
}

static int set_autostart(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    char path[PATH_MAX];
    int r;

    if (domain == NULL)
        return call->err.code;
    if (domain->config == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "cannot set autostart for transient domain");
    domain_path(domain, FILE_AUTOSTART, path);
    if (call->arg[1].i != 0)
        r = files_write(path, domain_name(domain), strlen(domain_name(domain)), 0600, &call->err);
    else
        r = file_remove(path);
    if (r == 0)
        domain->autostart = call->arg[1].i != 0;
    return r;
}

static int rename_domain(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    struct definition *copy = NULL;
    struct domain *other = NULL;
    int r;

    if (domain == NULL)
        return call->err.code;
    if (domain_active(domain) || domain->config == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "cannot rename active domain");
    if (call->arg[1].s == NULL || definition_copy(domain->config, &copy) < 0)
        return err_set(&call->err, -EINVAL, "the new name is missing");
    tree_set_text(tree_first(definition_root(copy), "name"), "%s", call->arg[1].s);
    r = definition_update(copy, &call->err);
    other = r == 0 ? inventory_find_name(call->daemon, copy->name) : NULL;
    if (other != NULL)
        r = err_set(&call->err, RPC_FAULT(RPC_OPERATION_FAILED), "domain with name '%s' already exists", copy->name);
    if (r < 0) {
        definition_free(copy);
        return r;
    }
    r = redefine(call, domain, copy);
    if (r == 0)
        domain_send_event(domain, EVENT_DEFINED, DEFINED_RENAMED);
    xdr_put_i32(&call->out, 0);
    return r;
}

const struct call_handler lifecycle_calls[] = {
    {REMOTE_DOMAIN_DEFINE_XML, define_xml},
    {REMOTE_DOMAIN_DEFINE_XML_FLAGS, define_xml_flags},
    {REMOTE_DOMAIN_UNDEFINE, undefine_plain},
    {REMOTE_DOMAIN_UNDEFINE_FLAGS, undefine_flags},
    {REMOTE_DOMAIN_CREATE, create},
    {REMOTE_DOMAIN_CREATE_WITH_FLAGS, create_with_flags},
    {REMOTE_DOMAIN_CREATE_XML, create_xml},
    {REMOTE_DOMAIN_DESTROY, destroy},
    {REMOTE_DOMAIN_DESTROY_FLAGS, destroy_flags},
    {REMOTE_DOMAIN_SHUTDOWN, shut_down},
    {REMOTE_DOMAIN_SHUTDOWN_FLAGS, shut_down_flags},
    {REMOTE_DOMAIN_REBOOT, reboot},
    {REMOTE_DOMAIN_RESET, reset_call},
    {REMOTE_DOMAIN_SUSPEND, suspend},
    {REMOTE_DOMAIN_RESUME, resume},
    {REMOTE_DOMAIN_SET_AUTOSTART, set_autostart},
    {REMOTE_DOMAIN_RENAME, rename_domain},
    {0, NULL},
};
