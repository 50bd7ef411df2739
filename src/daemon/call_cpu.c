/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about CPU models: which there are, whether this host offers one, what several hosts have in common.
 *
 * Models are the levels x86-64-v1 to v4, each of which contains those before it. */
#include <errno.h>

#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/host.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

enum { COMPARE_INCOMPATIBLE, COMPARE_IDENTICAL, COMPARE_SUPERSET };
enum { COMPARE_FAIL = 1 };

static int get_model_names(struct call *call)
{
    const struct host *host = call->daemon->host;
    unsigned count = 0, put = 0;
    size_t at;

    if (!text_equal(call->arg[0].s, "x86_64"))
        return err_set(&call->err, -EINVAL, "no CPU models are known for architecture %.60s; there is x86_64", call->arg[0].s);
    at = rpc_count_begin(&call->out);
    for (unsigned i = 0; host->models[i] != NULL; i++) {
        if (host_level_of(host->models[i]) == 0)
            continue;
        count++;
        if (call->arg[1].i != 0) {
            xdr_put_string(&call->out, host->models[i]);
            put++;
        }
    }
    rpc_count_end(&call->out, at, put);
    xdr_put_i32(&call->out, (int32_t)count);
    return 0;
}

/* The level of a <cpu> document; the host's own where it asks for no model. */
static int read_level(struct call *call, const char *text, unsigned *ret_level)
{
    xmlDoc *doc = NULL;
    const char *model;
    int r = xml_read(text, "cpu", &doc, &call->err);

    if (r < 0)
        return RPC_FAULT(RPC_XML_ERROR);
    model = xml_child_content(xml_root(doc), "model");
    *ret_level = model != NULL ? host_level_of(model) : host_level(call->daemon->host);
    if (*ret_level == 0)
        r = err_set(&call->err, RPC_FAULT(RPC_CONFIG_UNSUPPORTED), "unknown CPU model %.60s; there are x86-64-v1 to x86-64-v4", model);
    xmlFreeDoc(doc);
    return r;
}

static int compare(struct call *call, const char *xml, uint32_t flags)
{
    unsigned own = host_level(call->daemon->host), level = 0;
    int r = read_level(call, xml, &level);

    if (r < 0)
        return r;
    if (level > own && (flags & COMPARE_FAIL) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_CPU_INCOMPATIBLE), "the CPU is incompatible with host CPU: it is x86-64-v%u, and this "
                       "host offers x86-64-v%u", level, own);
    xdr_put_i32(&call->out, level > own ? COMPARE_INCOMPATIBLE : level == own ? COMPARE_IDENTICAL : COMPARE_SUPERSET);
    return 0;
}

static int baseline(struct call *call, const struct rpc_value *list)
{
    unsigned lowest = 4;
    char text[160];

    if (list->list.count == 0)
        return err_set(&call->err, -EINVAL, "no CPUs given");
    for (size_t i = 0; i < list->list.count; i++) {
        unsigned level = 0;
        int r = read_level(call, list->list.items[i].s, &level);

        if (r < 0)
            return r;
        lowest = level < lowest ? level : lowest;
    }
    text_format(text, sizeof(text), "<cpu mode='custom' match='exact'>\n  <model fallback='forbid'>x86-64-v%u</model>\n</cpu>\n",
                lowest);
    xdr_put_string(&call->out, text);
    return 0;
}

static int compare_cpu(struct call *call)
{
    return compare(call, call->arg[0].s, call->arg[1].u);
}

static int baseline_cpu(struct call *call)
{
    return baseline(call, &call->arg[0]);
}

/* Emulator, architecture, machine and type come before: there is one of each. */
static int compare_hypervisor_cpu(struct call *call)
{
    return compare(call, call->arg[4].s, call->arg[5].u);
}

static int baseline_hypervisor_cpu(struct call *call)
{
    return baseline(call, &call->arg[4]);
}

const struct call_handler cpu_calls[] = {
    {REMOTE_CONNECT_GET_CPU_MODEL_NAMES, get_model_names},
    {REMOTE_CONNECT_COMPARE_CPU, compare_cpu},
    {REMOTE_CONNECT_BASELINE_CPU, baseline_cpu},
    {REMOTE_CONNECT_COMPARE_HYPERVISOR_CPU, compare_hypervisor_cpu},
    {REMOTE_CONNECT_BASELINE_HYPERVISOR_CPU, baseline_hypervisor_cpu},
    {0, NULL},
};
