/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that change a domain's devices, CPUs and memory, now (live) or for its next start (config). */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/change.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/host.h"
#include "daemon/monitor.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

enum { VCPU_MAXIMUM = 4, VCPU_GUEST = 8 };
enum { MEMORY_MAXIMUM = 4 };

static int change(struct call *call, bool attach, uint32_t flags)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    xmlDoc *doc = NULL;
    int r = domain == NULL ? call->err.code : call_check_flags(call, flags, AFFECT_LIVE | AFFECT_CONFIG | AFFECT_FORCE);

    if (r == 0)
        r = definition_parse_device(call->arg[1].s, attach, &doc, &call->err);
    if (r == 0)
        r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r == 0) {
        r = change_device(domain, xml_root(doc), attach, flags, &call->err);
        domain_end_job(domain);
    }
    xmlFreeDoc(doc);
    return r;
}

static int attach_device(struct call *call)
{
    return change(call, true, AFFECT_LIVE);
}

static int attach_device_flags(struct call *call)
{
    return change(call, true, call->arg[2].u);
}

static int detach_device(struct call *call)
{
    return change(call, false, AFFECT_LIVE);
}

static int detach_device_flags(struct call *call)
{
    return change(call, false, call->arg[2].u);
}

static int set_vcpus(struct call *call, uint32_t cpus, uint32_t flags)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    struct definition *copy = NULL;
    int r = domain == NULL ? call->err.code : call_check_flags(call, flags, AFFECT_LIVE | AFFECT_CONFIG | VCPU_MAXIMUM | VCPU_GUEST);

    if (r == 0 && (flags & VCPU_GUEST) != 0)
        r = err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "there is no guest agent: the guest's own CPUs can't be changed");
    if (r == 0)
        r = change_settle_flags(domain, &flags, &call->err);
    if (r < 0)
        return r;
    if ((flags & AFFECT_LIVE) != 0)
        return cpus == domain->live->cpus
                   ? 0
                   : err_set(&call->err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED), "the number of CPUs of a running domain cannot be changed; "
                             "use --config, and start it anew");
    if (cpus == 0 || cpus > call->daemon->host->cpus_max)
        return err_set(&call->err, -EINVAL, "a domain may have 1 to %u CPUs, not %u", call->daemon->host->cpus_max, cpus);
    if (definition_copy(domain->config, &copy) < 0)
        return -ENOMEM;
    tree_set_text(tree_first(definition_root(copy), "vcpu"), "%u", cpus);
    r = definition_update(copy, &call->err);
    if (r < 0) {
        definition_free(copy);
        return r;
    }
    return change_commit(domain, copy, &call->err);
}

static int set_vcpus_plain(struct call *call)
{
    return set_vcpus(call, call->arg[1].u, AFFECT_LIVE);
}

static int set_vcpus_flags(struct call *call)
{
    return set_vcpus(call, call->arg[1].u, call->arg[2].u);
}

static int set_live_memory(struct domain *domain, uint64_t kib, struct err *err)
{
    if (kib > domain->live->memory_kib)
        return err_set(err, -EINVAL, "cannot set memory higher than max memory, %" PRIu64 " KiB", domain->live->memory_kib);
    return monitor_call(domain->monitor, "balloon", json_pack("{s:I}", "value", (json_int_t)kib * 1024), NULL, err);
}

static int set_config_memory(struct domain *domain, uint64_t kib, bool maximum, struct err *err)
{
    struct definition *copy = NULL;
    int r;

    if (definition_copy(domain->config, &copy) < 0)
        return err_set(err, -ENOMEM, "out of memory");
    if (!maximum && kib > copy->memory_kib) {
        r = err_set(err, -EINVAL, "cannot set memory higher than max memory, %" PRIu64 " KiB", copy->memory_kib);
    } else {
        tree_set_text(tree_first(definition_root(copy), maximum ? "memory" : "currentMemory"), "%" PRIu64, kib);
        r = definition_update(copy, err);
    }
    if (r < 0) {
        definition_free(copy);
        return r;
    }
    return change_commit(domain, copy, err);
}

static int set_memory(struct call *call, uint64_t kib, uint32_t flags)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : call_check_flags(call, flags, AFFECT_LIVE | AFFECT_CONFIG | MEMORY_MAXIMUM);

    if (r == 0)
        r = change_settle_flags(domain, &flags, &call->err);
    if (r == 0 && (kib == 0 || kib > UINT64_MAX / 4096))
        r = err_set(&call->err, -EINVAL, "%" PRIu64 " KiB is no size of memory", kib);
    if (r == 0)
        r = domain_begin_job(domain, JOB_MODIFY, &call->err);
    if (r < 0)
        return r;
    if ((flags & AFFECT_LIVE) != 0 && !domain_active(domain))
        r = domain_need_active(domain, &call->err);
    else if ((flags & AFFECT_LIVE) != 0 && (flags & MEMORY_MAXIMUM) != 0)
        r = err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID), "cannot resize the maximum memory on an active domain");
    else if ((flags & AFFECT_LIVE) != 0)
        r = set_live_memory(domain, kib, &call->err);
    if (r == 0 && (flags & AFFECT_CONFIG) != 0)
        r = set_config_memory(domain, kib, (flags & MEMORY_MAXIMUM) != 0, &call->err);
    domain_end_job(domain);
    return r;
}

static int set_memory_plain(struct call *call)
{
    return set_memory(call, call->arg[1].H, AFFECT_LIVE);
}

static int set_max_memory(struct call *call)
{
    return set_memory(call, call->arg[1].H, MEMORY_MAXIMUM);
}

static int set_memory_flags(struct call *call)
{
    return set_memory(call, call->arg[1].H, call->arg[2].u);
}

const struct call_handler device_calls[] = {
    {REMOTE_DOMAIN_ATTACH_DEVICE, attach_device},
    {REMOTE_DOMAIN_ATTACH_DEVICE_FLAGS, attach_device_flags},
    {REMOTE_DOMAIN_DETACH_DEVICE, detach_device},
    {REMOTE_DOMAIN_DETACH_DEVICE_FLAGS, detach_device_flags},
    {REMOTE_DOMAIN_SET_VCPUS, set_vcpus_plain},
    {REMOTE_DOMAIN_SET_VCPUS_FLAGS, set_vcpus_flags},
    {REMOTE_DOMAIN_SET_MEMORY, set_memory_plain},
    {REMOTE_DOMAIN_SET_MAX_MEMORY, set_max_memory},
    {REMOTE_DOMAIN_SET_MEMORY_FLAGS, set_memory_flags},
    {0, NULL},
};
