/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virsh qemu-monitor-command: a command for the VM's control socket, and its answer, as they are. */
#include <errno.h>

#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/monitor.h"

enum { MONITOR_HMP = 1 };

/* {"return": ..., "id": "ferryd"} as text; consumes the value. */
static int put_answer(struct call *call, json_t *value)
{
    json_t *answer = json_pack("{s:o, s:s}", "return", value != NULL ? value : json_object(), "id", "ferryd");
    char *text = json_dumps(answer, 0);

    json_decref(answer);
    if (text == NULL)
        return -ENOMEM;
    xdr_put_string(&call->out, text);
    free(text);
    return 0;
}

static int monitor_command(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);
    json_t *command, *value = NULL;
    const char *name;

    if (r < 0)
        return r;
    if ((call->arg[2].u & MONITOR_HMP) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED), "VMs have no monitor for people: give a command of QMP, without "
                       "--hmp");
    command = json_loads(call->arg[1].s, 0, NULL);
    name = json_string_value(json_object_get(command, "execute"));
    if (name == NULL)
        r = err_set(&call->err, -EINVAL, "the command is no JSON like {\"execute\": \"query-status\"}");
    else
        r = monitor_call(domain->monitor, name, json_incref(json_object_get(command, "arguments")), &value, &call->err);
    json_decref(command);
    return r < 0 ? r : put_answer(call, value);
}

const struct call_handler monitor_calls[] = {
    {QEMU_DOMAIN_MONITOR_COMMAND, monitor_command},
    {0, NULL},
};
