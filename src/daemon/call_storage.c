/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about storage pools. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/call_list.h"
#include "daemon/daemon.h"
#include "daemon/storage.h"
#include "storage/capabilities.h"

enum type_filter {
    LIST_DIRECTORY = 0x40,
    LIST_NETFS = 0x100,
    LIST_TYPES = 0x7ffc0, /* every type that libvirt knows */
};

enum { CREATE_BUILD = 1, CREATE_OVERWRITE = 2, CREATE_NO_OVERWRITE = 4 };
enum { BUILD_NO_OVERWRITE = 4, BUILD_OVERWRITE = 8 };
enum { XML_INACTIVE = 1 };

static struct pools *all(struct call *call)
{
    return call->daemon->storage->pools;
}

int storage_fault(int result)
{
    switch (result) {
    case -ENOTCONN:
    case -EISCONN:
        return RPC_FAULT(RPC_OPERATION_INVALID);
    case -ENOENT:
        return RPC_FAULT(RPC_NO_VOLUME);
    case -EINVAL:
        return RPC_FAULT(RPC_XML_ERROR);
    case -ENOTSUP:
        return RPC_FAULT(RPC_CONFIG_UNSUPPORTED);
    case -EEXIST:
        return RPC_FAULT(RPC_OPERATION_FAILED);
    case -ENOMEM:
        return RPC_FAULT(RPC_NO_MEMORY);
    default:
        return result < 0 ? RPC_FAULT(RPC_SYSTEM_ERROR) : 0;
    }
}

struct pool *storage_find(struct call *call)
{
    const struct rpc_object *object = call->arg[0].object;
    struct pool *pool = pools_find_uuid(all(call), object->uuid);
    char uuid[UUID_TEXT_SIZE];

    if (pool == NULL) {
        uuid_format(object->uuid, uuid);
        err_set(&call->err, RPC_FAULT(RPC_NO_POOL),
                "Storage pool not found: there is no storage pool '%.200s' with UUID %s", object->name, uuid);
    }
    return pool;
}

static void put(struct call *call, const struct pool *pool)
{
    rpc_put_named(&call->out, pool_definition(pool)->name, pool_definition(pool)->uuid);
}

/* Looks the pool up, changes it by fn, all under the lock. */
static int change(struct call *call, int (*fn)(struct call *call, struct pool *pool))
{
    struct pool *pool;
    int r;

    daemon_storage_lock(call->daemon->storage);
    pool = storage_find(call);
    r = pool == NULL ? RPC_FAULT(RPC_NO_POOL) : storage_fault(fn(call, pool));
    daemon_storage_unlock(call->daemon->storage);
    return r;
}

/* Directories need no formatting, so there is nothing to overwrite. */
static int check_build(struct call *call, uint32_t flags, uint32_t overwrite, uint32_t known)
{
    if ((flags & overwrite) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED),
                       "--overwrite and --no-overwrite are for pools that are formatted, which those of type dir and netfs are not");
    return call_check_flags(call, flags, known);
}

/* Pools. */

static int define_xml(struct call *call)
{
    struct pool *pool;
    int r = call_check_flags(call, call->arg[1].u, 1); /* 1: validate against the schema, which we do anyway */

    if (r < 0)
        return r;
    daemon_storage_lock(call->daemon->storage);
    r = pool_define(all(call), call->arg[0].s, &pool, &call->err);
    if (r == 0)
        put(call, pool);
    daemon_storage_unlock(call->daemon->storage);
    return storage_fault(r);
}

static int create_xml(struct call *call)
{
    struct pool *pool;
    int r = check_build(call, call->arg[1].u, CREATE_OVERWRITE | CREATE_NO_OVERWRITE, CREATE_BUILD);

    if (r < 0)
        return r;
    daemon_storage_lock(call->daemon->storage);
    r = pool_create(all(call), call->arg[0].s, call->arg[1].u != 0, &pool, &call->err);
    if (r == 0)
        put(call, pool);
    daemon_storage_unlock(call->daemon->storage);
    return storage_fault(r);
}

static int start(struct call *call, struct pool *pool)
{
    return pool_start(pool, call->arg[1].u != 0, &call->err);
}

static int create(struct call *call)
{
    int r = check_build(call, call->arg[1].u, CREATE_OVERWRITE | CREATE_NO_OVERWRITE, CREATE_BUILD);

    return r < 0 ? r : change(call, start);
}

static int build_pool(struct call *call, struct pool *pool)
{
    return pool_build(pool, &call->err);
}

static int build(struct call *call)
{
    int r = check_build(call, call->arg[1].u, BUILD_OVERWRITE | BUILD_NO_OVERWRITE, 0);

    return r < 0 ? r : change(call, build_pool);
}

static int destroy_pool(struct call *call, struct pool *pool)
{
    return pool_destroy(pool, &call->err);
}

static int destroy(struct call *call)
{
    return change(call, destroy_pool);
}

static int delete_pool(struct call *call, struct pool *pool)
{
    return pool_delete(pool, &call->err);
}

static int delete (struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, 0);

    return r < 0 ? r : change(call, delete_pool);
}

static int undefine_pool(struct call *call, struct pool *pool)
{
    return pool_undefine(pool, &call->err);
}

static int undefine(struct call *call)
{
    return change(call, undefine_pool);
}

static int refresh_pool(struct call *call, struct pool *pool)
{
    return pool_refresh(pool, &call->err);
}

static int refresh(struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, 0);

    return r < 0 ? r : change(call, refresh_pool);
}

static int set_autostart_of(struct call *call, struct pool *pool)
{
    return pool_set_autostart(pool, call->arg[1].i != 0, &call->err);
}

static int set_autostart(struct call *call)
{
    return change(call, set_autostart_of);
}

static int lookup_by_name(struct call *call)
{
    const struct pool *pool = pools_find(all(call), call->arg[0].s);

    if (pool == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_POOL), "Storage pool not found: there is no storage pool '%.200s'",
                       call->arg[0].s);
    put(call, pool);
    return 0;
}

static int lookup_by_uuid(struct call *call)
{
    const struct pool *pool = pools_find_uuid(all(call), call->arg[0].uuid);
    char uuid[UUID_TEXT_SIZE];

    uuid_format(call->arg[0].uuid, uuid);
    if (pool == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_POOL),
                       "Storage pool not found: there is no storage pool with UUID %s", uuid);
    put(call, pool);
    return 0;
}

static int get_info(struct call *call)
{
    enum { STATE_INACTIVE = 0, STATE_RUNNING = 2 };
    const struct pool *pool = storage_find(call);
    struct pool_numbers numbers;

    if (pool == NULL)
        return RPC_FAULT(RPC_NO_POOL);
    numbers = pool_numbers(pool);
    xdr_put_i32(&call->out, pool_is_active(pool) ? STATE_RUNNING : STATE_INACTIVE);
    xdr_put_u64(&call->out, numbers.capacity);
    xdr_put_u64(&call->out, numbers.allocation);
    xdr_put_u64(&call->out, numbers.available);
    return 0;
}

static int get_xml(struct call *call)
{
    struct buffer xml = BUFFER_INIT(XDR_STRING_MAX);
    int r = call_check_flags(call, call->arg[1].u, XML_INACTIVE);
    const struct pool *pool = r < 0 ? NULL : storage_find(call);

    if (pool == NULL)
        return r < 0 ? r : RPC_FAULT(RPC_NO_POOL);
    r = pool_xml(pool, &xml);
    if (r == 0)
        xdr_put_string(&call->out, (const char *)xml.data);
    buffer_fini(&xml);
    return r;
}

static int put_flag(struct call *call, bool (*fn)(const struct pool *pool))
{
    const struct pool *pool = storage_find(call);

    if (pool == NULL)
        return RPC_FAULT(RPC_NO_POOL);
    xdr_put_bool(&call->out, fn(pool));
    return 0;
}

static int get_autostart(struct call *call)
{
    return put_flag(call, pool_autostart);
}

static int is_active(struct call *call)
{
    return put_flag(call, pool_is_active);
}

static int is_persistent(struct call *call)
{
    return put_flag(call, pool_is_persistent);
}

static size_t count(struct call *call)
{
    return pools_count(all(call));
}

static struct list_entry entry(struct call *call, size_t index)
{
    const struct pool *pool = pools_get(all(call), index);
    const struct pool_definition *definition = pool_definition(pool);

    return (struct list_entry){.name = definition->name,
                               .uuid = definition->uuid,
                               .active = pool_is_active(pool),
                               .persistent = pool_is_persistent(pool),
                               .autostart = pool_autostart(pool),
                               .type = definition->kind == POOL_NETFS ? LIST_NETFS : LIST_DIRECTORY};
}

static const struct list_kind pools_kind = {.count = count, .get = entry, .types = LIST_TYPES};

static int list_all(struct call *call)
{
    return call_list_all(call, &pools_kind);
}

static int count_active(struct call *call)
{
    return call_list_number(call, &pools_kind, LIST_ACTIVE);
}

static int count_inactive(struct call *call)
{
    return call_list_number(call, &pools_kind, LIST_INACTIVE);
}

static int list_active(struct call *call)
{
    return call_list_names(call, &pools_kind, LIST_ACTIVE);
}

static int list_inactive(struct call *call)
{
    return call_list_names(call, &pools_kind, LIST_INACTIVE);
}

static int get_capabilities(struct call *call)
{
    struct buffer xml = BUFFER_INIT(XDR_STRING_MAX);
    int r = call_check_flags(call, call->arg[0].u, 0);

    if (r == 0)
        r = storage_capabilities(&xml);
    if (r == 0)
        xdr_put_string(&call->out, (const char *)xml.data);
    buffer_fini(&xml);
    return r;
}

/* A directory is whatever the client says, and NFSv4 has no call that lists what a server exports. */
static int find_sources(struct call *call)
{
    return err_set(&call->err, RPC_FAULT(RPC_OPERATION_UNSUPPORTED),
                   "sources of pools of type '%.40s' can't be found; name the directory%s", call->arg[0].s,
                   text_equal(call->arg[0].s, "netfs") ? " that the server exports" : "");
}

const struct call_handler storage_calls[] = {
    {REMOTE_CONNECT_GET_STORAGE_POOL_CAPABILITIES, get_capabilities},
    {REMOTE_CONNECT_FIND_STORAGE_POOL_SOURCES, find_sources},
    {REMOTE_CONNECT_NUM_OF_STORAGE_POOLS, count_active},
    {REMOTE_CONNECT_LIST_STORAGE_POOLS, list_active},
    {REMOTE_CONNECT_NUM_OF_DEFINED_STORAGE_POOLS, count_inactive},
    {REMOTE_CONNECT_LIST_DEFINED_STORAGE_POOLS, list_inactive},
    {REMOTE_CONNECT_LIST_ALL_STORAGE_POOLS, list_all},
    {REMOTE_STORAGE_POOL_CREATE_XML, create_xml},
    {REMOTE_STORAGE_POOL_DEFINE_XML, define_xml},
    {REMOTE_STORAGE_POOL_CREATE, create},
    {REMOTE_STORAGE_POOL_BUILD, build},
    {REMOTE_STORAGE_POOL_DESTROY, destroy},
    {REMOTE_STORAGE_POOL_DELETE, delete},
    {REMOTE_STORAGE_POOL_UNDEFINE, undefine},
    {REMOTE_STORAGE_POOL_REFRESH, refresh},
    {REMOTE_STORAGE_POOL_LOOKUP_BY_NAME, lookup_by_name},
    {REMOTE_STORAGE_POOL_LOOKUP_BY_UUID, lookup_by_uuid},
    {REMOTE_STORAGE_POOL_GET_INFO, get_info},
    {REMOTE_STORAGE_POOL_GET_XML_DESC, get_xml},
    {REMOTE_STORAGE_POOL_GET_AUTOSTART, get_autostart},
    {REMOTE_STORAGE_POOL_SET_AUTOSTART, set_autostart},
    {REMOTE_STORAGE_POOL_IS_ACTIVE, is_active},
    {REMOTE_STORAGE_POOL_IS_PERSISTENT, is_persistent},
    {0, NULL},
};
