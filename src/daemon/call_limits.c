/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls that ask for the limits of a domain. Ferry sets none, and says so in the terms of each; setting them is refused (absent.c). */
#include <errno.h>

#include "base/bits.h"
#include "daemon/call.h"
#include "daemon/domain.h"

#define MEMORY_UNLIMITED UINT64_C(9007199254740991) /* as clients know it */

struct limit {
    const char *name;
    enum { LIMIT_32, LIMIT_64, LIMIT_TEXT } kind;
    uint64_t value;
};

/* wanted 0 asks how many there are. */
static int put_limits(struct call *call, const struct limit *limits, unsigned count, int32_t wanted)
{
    struct rpc_param_list list;

    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    list = rpc_params_begin(&call->out);
    for (unsigned i = 0; i < count && (int32_t)i < wanted; i++) {
        if (limits[i].kind == LIMIT_32)
            rpc_params_u32(&list, (uint32_t)limits[i].value, "%s", limits[i].name);
        else if (limits[i].kind == LIMIT_64)
            rpc_params_u64(&list, limits[i].value, "%s", limits[i].name);
        else
            rpc_params_string(&list, "", "%s", limits[i].name);
    }
    rpc_params_end(&list);
    xdr_put_i32(&call->out, (int32_t)count);
    return 0;
}

static int get_memory_parameters(struct call *call)
{
    static const struct limit limits[] = {{"hard_limit", LIMIT_64, MEMORY_UNLIMITED}, {"soft_limit", LIMIT_64, MEMORY_UNLIMITED},
                                          {"swap_hard_limit", LIMIT_64, MEMORY_UNLIMITED}};

    return put_limits(call, limits, ARRAY_SIZE(limits), call->arg[1].i);
}

static int get_numa_parameters(struct call *call)
{
    static const struct limit limits[] = {{"numa_nodeset", LIMIT_TEXT, 0}};

    return put_limits(call, limits, ARRAY_SIZE(limits), call->arg[1].i);
}

static int get_block_io_tune(struct call *call)
{
    static const struct limit limits[] = {{"total_bytes_sec", LIMIT_64, 0}, {"read_bytes_sec", LIMIT_64, 0},
                                          {"write_bytes_sec", LIMIT_64, 0}, {"total_iops_sec", LIMIT_64, 0}, {"read_iops_sec", LIMIT_64, 0},
                                          {"write_iops_sec", LIMIT_64, 0}};

    return put_limits(call, limits, ARRAY_SIZE(limits), call->arg[2].i);
}

static int get_interface_parameters(struct call *call)
{
    static const struct limit limits[] = {{"inbound.average", LIMIT_32, 0}, {"inbound.peak", LIMIT_32, 0},
                                          {"inbound.burst", LIMIT_32, 0}, {"outbound.average", LIMIT_32, 0},
                                          {"outbound.peak", LIMIT_32, 0}, {"outbound.burst", LIMIT_32, 0}};

    return put_limits(call, limits, ARRAY_SIZE(limits), call->arg[2].i);
}

static int no_parameters(struct call *call)
{
    struct rpc_param_list list;

    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    list = rpc_params_begin(&call->out);
    rpc_params_end(&list);
    return 0;
}

static int get_iothread_info(struct call *call)
{
    if (call_domain(call, call->arg[0].object) == NULL)
        return call->err.code;
    xdr_put_u32(&call->out, 0);
    xdr_put_u32(&call->out, 0);
    return 0;
}

const struct call_handler limits_calls[] = {
    {REMOTE_DOMAIN_GET_MEMORY_PARAMETERS, get_memory_parameters},
    {REMOTE_DOMAIN_GET_NUMA_PARAMETERS, get_numa_parameters},
    {REMOTE_DOMAIN_GET_BLOCK_IO_TUNE, get_block_io_tune},
    {REMOTE_DOMAIN_GET_INTERFACE_PARAMETERS, get_interface_parameters},
    {REMOTE_DOMAIN_GET_PERF_EVENTS, no_parameters},
    {REMOTE_DOMAIN_GET_IOTHREAD_INFO, get_iothread_info},
    {0, NULL},
};
