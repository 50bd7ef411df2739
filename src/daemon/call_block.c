/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about a domain's disks: sizes, and what its VM has read and written. */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/block.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/monitor.h"
#include "daemon/storage.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

static const xmlNode *first_disk(const struct domain *domain)
{
    return xml_first(definition_devices(domain_definition(domain)), "disk");
}

static const char *disk_path(const xmlNode *disk)
{
    return xml_attribute(xml_first(disk, "source"), tree_is(disk, "type", "block") ? "dev" : "file");
}

/* By its target or its path. */
static const xmlNode *find_disk(struct call *call, const struct domain *domain, const char *name)
{
    const xmlNode *at = first_disk(domain);

    while (at != NULL && !tree_is(xml_first(at, "target"), "dev", name) && !text_equal(disk_path(at), name))
        at = xml_next(at, "disk");
    if (at == NULL)
        err_set(&call->err, -EINVAL, "invalid argument: invalid path %.200s not assigned to domain", name);
    return at;
}

struct sizes {
    uint64_t allocation, capacity, physical; /* bytes */
};

/* A volume's pool knows what the guest sees of it, and, of one on a server, all there is to know. */
static int disk_sizes(const struct daemon *daemon, const char *path, struct sizes *ret_sizes)
{
    struct pool *pool;
    const struct volume *volume = path != NULL ? pools_find_volume(daemon->storage->pools, path, &pool) : NULL;
    struct sizes sizes = {0};
    struct stat about;

    if (volume != NULL)
        sizes = (struct sizes){.capacity = volume->capacity, .allocation = volume->file.allocated, .physical = volume->file.allocated};
    if (path == NULL || stat(path, &about) < 0) {
        if (volume == NULL)
            return path == NULL ? -ENOENT : -errno;
    } else {
        sizes.allocation = sizes.physical = (uint64_t)about.st_blocks * 512;
        if (volume == NULL)
            sizes.capacity = (uint64_t)about.st_size;
    }
    *ret_sizes = sizes;
    return 0;
}

/* What the VM counts of a disk: QEMU's name, and libvirt's in domstats and in blkstats; NULL: it is not there. */
static const struct counter {
    const char *qmp, *domstats, *blkstats;
} counters[] = {
    {"rd_operations", "rd.reqs", "rd_operations"},
    {"rd_bytes", "rd.bytes", "rd_bytes"},
    {"rd_total_time_ns", "rd.times", "rd_total_times"},
    {"wr_operations", "wr.reqs", "wr_operations"},
    {"wr_bytes", "wr.bytes", "wr_bytes"},
    {"wr_total_time_ns", "wr.times", "wr_total_times"},
    {"flush_operations", "fl.reqs", "flush_operations"},
    {"flush_total_time_ns", "fl.times", "flush_total_times"},
    {"x-ferry-failed", NULL, "errs"},
};

/* NULL: nothing runs, or the VM says nothing. The caller's reference. */
static json_t *ask_counters(const struct domain *domain)
{
    json_t *list = NULL;

    if (domain->monitor != NULL)
        monitor_call(domain->monitor, "query-blockstats", NULL, &list, NULL);
    return list;
}

/* Of one disk, by its alias. */
static const json_t *counters_of(const json_t *list, const xmlNode *disk)
{
    const char *alias = xml_attribute(xml_first(disk, "alias"), "name");
    const json_t *entry;
    size_t i;

    json_array_foreach (list, i, entry) {
        const char *device = json_string_value(json_object_get(entry, "device"));

        if (alias != NULL && device != NULL && text_equal(device, alias))
            return json_object_get(entry, "stats");
    }
    return NULL;
}

/* disk NULL: of all of them together. */
static uint64_t counter(const json_t *list, const struct domain *domain, const xmlNode *disk, const char *name)
{
    uint64_t sum = 0;

    for (const xmlNode *at = first_disk(domain); at != NULL; at = xml_next(at, "disk")) {
        if (disk == NULL || at == disk)
            sum += (uint64_t)json_integer_value(json_object_get(counters_of(list, at), name));
    }
    return sum;
}

void block_put_statistics(struct rpc_param_list *params, const struct domain *domain)
{
    json_t *list = ask_counters(domain);
    uint32_t number = 0;

    for (const xmlNode *at = first_disk(domain); at != NULL; at = xml_next(at, "disk"))
        number++;
    rpc_params_u32(params, number, "block.count");
    number = 0;
    for (const xmlNode *at = first_disk(domain); at != NULL; at = xml_next(at, "disk"), number++) {
        struct sizes sizes;

        rpc_params_string(params, xml_attribute(xml_first(at, "target"), "dev"), "block.%u.name", number);
        for (unsigned i = 0; list != NULL && i < ARRAY_SIZE(counters); i++) {
            if (counters[i].domstats != NULL)
                rpc_params_u64(params, counter(list, domain, at, counters[i].qmp), "block.%u.%s", number, counters[i].domstats);
        }
        if (disk_path(at) == NULL || disk_sizes(domain->daemon, disk_path(at), &sizes) < 0)
            continue;
        rpc_params_string(params, disk_path(at), "block.%u.path", number);
        rpc_params_u64(params, sizes.allocation, "block.%u.allocation", number);
        rpc_params_u64(params, sizes.capacity, "block.%u.capacity", number);
        rpc_params_u64(params, sizes.physical, "block.%u.physical", number);
    }
    json_decref(list);
}

/* The disk that arg[1] names (none: ret_disk NULL, for all), and what the VM counts. */
static int begin_statistics(struct call *call, struct domain **ret_domain, const xmlNode **ret_disk, json_t **ret_list)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);
    json_t *list;

    if (r < 0)
        return r;
    list = ask_counters(domain);
    r = domain_need_active(domain, &call->err);
    *ret_disk = NULL;
    if (r == 0 && call->arg[1].s[0] != 0) {
        *ret_disk = find_disk(call, domain, call->arg[1].s);
        r = *ret_disk == NULL ? call->err.code : 0;
    }
    if (r < 0) {
        json_decref(list);
        return r;
    }
    *ret_domain = domain;
    *ret_list = list;
    return 0;
}

static int block_stats(struct call *call)
{
    static const char *const names[] = {"rd_operations", "rd_bytes", "wr_operations", "wr_bytes", "x-ferry-failed"};
    struct domain *domain;
    const xmlNode *disk;
    json_t *list;
    int r = begin_statistics(call, &domain, &disk, &list);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        xdr_put_i64(&call->out, (int64_t)counter(list, domain, disk, names[i]));
    json_decref(list);
    return 0;
}

/* nparams 0 asks how many there are. */
static int block_stats_flags(struct call *call)
{
    struct domain *domain;
    const xmlNode *disk;
    json_t *list;
    struct rpc_param_list params;
    int r = begin_statistics(call, &domain, &disk, &list);

    if (r < 0)
        return r;
    params = rpc_params_begin(&call->out);
    for (unsigned i = 0; i < ARRAY_SIZE(counters) && (int32_t)i < call->arg[2].i; i++)
        rpc_params_u64(&params, counter(list, domain, disk, counters[i].qmp), "%s", counters[i].blkstats);
    rpc_params_end(&params);
    xdr_put_i32(&call->out, ARRAY_SIZE(counters));
    json_decref(list);
    return 0;
}

static int get_block_info(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    const xmlNode *disk = domain != NULL ? find_disk(call, domain, call->arg[1].s) : NULL;
    struct sizes sizes;
    int r;

    if (disk == NULL)
        return call->err.code;
    r = disk_sizes(domain->daemon, disk_path(disk), &sizes);
    if (r < 0)
        return err_set(&call->err, r, "cannot stat %.200s: %s", disk_path(disk), strerror(-r));
    xdr_put_u64(&call->out, sizes.allocation);
    xdr_put_u64(&call->out, sizes.capacity);
    xdr_put_u64(&call->out, sizes.physical);
    return 0;
}

/* A guest hears of its disk's errors itself: no domain stands still for one. */
static int get_disk_errors(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r < 0)
        return r;
    xdr_put_u32(&call->out, 0);
    xdr_put_i32(&call->out, 0);
    return 0;
}

/* There are no jobs on disks: none is ever found. */
static int get_block_job_info(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);

    if (domain == NULL || find_disk(call, domain, call->arg[1].s) == NULL)
        return call->err.code;
    xdr_put_i32(&call->out, 0);
    xdr_put_i32(&call->out, 0);
    for (unsigned i = 0; i < 3; i++)
        xdr_put_u64(&call->out, 0);
    return 0;
}

const struct call_handler block_calls[] = {
    {REMOTE_DOMAIN_BLOCK_STATS, block_stats},
    {REMOTE_DOMAIN_BLOCK_STATS_FLAGS, block_stats_flags},
    {REMOTE_DOMAIN_GET_BLOCK_INFO, get_block_info},
    {REMOTE_DOMAIN_GET_DISK_ERRORS, get_disk_errors},
    {REMOTE_DOMAIN_GET_BLOCK_JOB_INFO, get_block_job_info},
    {0, NULL},
};
