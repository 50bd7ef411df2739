/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about storage volumes. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/storage.h"
#include "daemon/stream.h"

#define PIECE (256u * 1024) /* bytes of a volume that go through a stream at a time */
enum { VOLUME_PHYSICAL = 1 };

static struct pools *all(struct call *call)
{
    return call->daemon->storage->pools;
}

static void put_volume(struct call *call, const struct pool *pool, const struct volume *volume)
{
    rpc_put_volume(&call->out, pool_definition(pool)->name, volume->file.name, volume->path);
}

static void put_pool(struct call *call, const struct pool *pool)
{
    rpc_put_named(&call->out, pool_definition(pool)->name, pool_definition(pool)->uuid);
}

static int need_active(struct call *call, const struct pool *pool)
{
    return pool_is_active(pool) ? 0
                                : err_set(&call->err, RPC_FAULT(RPC_OPERATION_INVALID),
                                          "storage pool '%s' is not active", pool_definition(pool)->name);
}

/* The pool of arg[0] as a volume names it, and the volume there. */
static int find_volume(struct call *call, struct pool **ret_pool, const struct volume **ret_volume)
{
    const struct rpc_object *object = call->arg[0].object;
    struct pool *pool = pools_find(all(call), object->pool);
    const struct volume *volume;
    int r;

    if (pool == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_POOL), "Storage pool not found: there is no storage pool '%.200s'",
                       object->pool);
    r = need_active(call, pool);
    if (r < 0)
        return r;
    volume = pool_volume_find(pool, object->name);
    if (volume == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_VOLUME),
                       "Storage volume not found: there is no storage volume '%.200s' in pool '%.200s'", object->name,
                       object->pool);
    *ret_pool = pool;
    *ret_volume = volume;
    return 0;
}

static int volume_count(struct call *call)
{
    const struct pool *pool = storage_find(call);
    int r = pool == NULL ? RPC_FAULT(RPC_NO_POOL) : need_active(call, pool);

    if (r == 0)
        xdr_put_i32(&call->out, (int32_t)pool_volume_count(pool));
    return r;
}

static int volume_names(struct call *call)
{
    const struct pool *pool = storage_find(call);
    int r = pool == NULL ? RPC_FAULT(RPC_NO_POOL) : need_active(call, pool);
    int32_t count = 0;

    if (r < 0)
        return r;
    size_t at = rpc_count_begin(&call->out);
    for (size_t i = 0; i < pool_volume_count(pool) && count < call->arg[1].i; i++, count++)
        xdr_put_string(&call->out, pool_volume_get(pool, i)->file.name);
    rpc_count_end(&call->out, at, (uint32_t)count);
    return 0;
}

static int list_volumes(struct call *call)
{
    const bool wanted = call->arg[1].i != 0;
    const struct pool *pool = storage_find(call);
    int r = pool == NULL ? RPC_FAULT(RPC_NO_POOL) : need_active(call, pool);

    if (r == 0)
        r = call_check_flags(call, call->arg[2].u, 0);
    if (r < 0)
        return r;
    size_t at = rpc_count_begin(&call->out);
    for (size_t i = 0; wanted && i < pool_volume_count(pool); i++)
        put_volume(call, pool, pool_volume_get(pool, i));
    rpc_count_end(&call->out, at, wanted ? (uint32_t)pool_volume_count(pool) : 0);
    xdr_put_u32(&call->out, (uint32_t)pool_volume_count(pool));
    return 0;
}

static int volume_lookup_by_name(struct call *call)
{
    const struct pool *pool = storage_find(call);
    const struct volume *volume;
    int r = pool == NULL ? RPC_FAULT(RPC_NO_POOL) : need_active(call, pool);

    if (r < 0)
        return r;
    volume = pool_volume_find(pool, call->arg[1].s);
    if (volume == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_VOLUME),
                       "Storage volume not found: no storage vol with matching name '%.200s'", call->arg[1].s);
    put_volume(call, pool, volume);
    return 0;
}

/* Keys are paths. */
static int volume_lookup_by_path(struct call *call)
{
    struct pool *pool;
    const struct volume *volume = pools_find_volume(all(call), call->arg[0].s, &pool);

    if (volume == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_NO_VOLUME),
                       "Storage volume not found: no storage vol with matching path '%.400s'", call->arg[0].s);
    put_volume(call, pool, volume);
    return 0;
}

static int pool_lookup_by_volume(struct call *call)
{
    struct pool *pool;
    const struct volume *volume;
    int r = find_volume(call, &pool, &volume);

    if (r == 0)
        put_pool(call, pool);
    return r;
}

static int volume_get_info(struct call *call)
{
    struct pool *pool;
    const struct volume *volume;
    int r = find_volume(call, &pool, &volume);

    if (r < 0)
        return r;
    xdr_put_i32(&call->out, 0); /* a file */
    xdr_put_u64(&call->out, volume->capacity);
    xdr_put_u64(&call->out, volume->file.allocated);
    return 0;
}

static int volume_get_info_flags(struct call *call)
{
    struct pool *pool;
    const struct volume *volume;
    int r = find_volume(call, &pool, &volume);

    if (r == 0)
        r = call_check_flags(call, call->arg[1].u, VOLUME_PHYSICAL);
    if (r < 0)
        return r;
    xdr_put_i32(&call->out, 0);
    xdr_put_u64(&call->out, volume->capacity);
    xdr_put_u64(&call->out, (call->arg[1].u & VOLUME_PHYSICAL) != 0 ? volume->file.size : volume->file.allocated);
    return 0;
}

static int volume_get_xml(struct call *call)
{
    struct buffer xml = BUFFER_INIT(XDR_STRING_MAX);
    struct pool *pool;
    const struct volume *volume;
    int r = find_volume(call, &pool, &volume);

    if (r == 0)
        r = call_check_flags(call, call->arg[1].u, 0);
    if (r == 0)
        r = volume_xml(volume, &xml);
    if (r == 0)
        xdr_put_string(&call->out, (const char *)xml.data);
    buffer_fini(&xml);
    return r;
}

static int volume_get_path(struct call *call)
{
    struct pool *pool;
    const struct volume *volume;
    int r = find_volume(call, &pool, &volume);

    if (r == 0)
        xdr_put_string(&call->out, volume->path);
    return r;
}

static int volume_fault(int r)
{
    return r == -EEXIST ? RPC_FAULT(RPC_VOLUME_EXISTS) : storage_fault(r);
}

static int volume_create_xml(struct call *call)
{
    enum { PREALLOCATE_METADATA = 1, VALIDATE = 4 };
    const struct volume *volume;
    struct pool *pool;
    int r = call_check_flags(call, call->arg[2].u, PREALLOCATE_METADATA | VALIDATE);

    if (r < 0)
        return r;
    daemon_storage_lock(call->daemon->storage);
    pool = storage_find(call);
    r = pool == NULL ? RPC_FAULT(RPC_NO_POOL) : volume_fault(volume_create(pool, call->arg[1].s, &volume, &call->err));
    if (r == 0)
        put_volume(call, pool, volume);
    daemon_storage_unlock(call->daemon->storage);
    return r;
}

static int volume_create_xml_from(struct call *call)
{
    const struct rpc_object *original = call->arg[2].object;
    const struct volume *volume;
    struct pool *pool, *source;
    enum { PREALLOCATE_METADATA = 1, REFLINK = 2 };
    int r;

    if ((call->arg[3].u & REFLINK) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "--reflink is not supported: copies share no blocks");
    r = call_check_flags(call, call->arg[3].u, PREALLOCATE_METADATA); /* a copy has what its original has */
    if (r < 0)
        return r;
    daemon_storage_lock(call->daemon->storage);
    pool = storage_find(call);
    source = pools_find(all(call), original->pool);
    if (pool == NULL)
        r = RPC_FAULT(RPC_NO_POOL);
    else if (source == NULL)
        r = err_set(&call->err, RPC_FAULT(RPC_NO_POOL), "Storage pool not found: there is no storage pool '%.200s'",
                    original->pool);
    else
        r = volume_fault(volume_create_from(pool, call->arg[1].s, source, original->name, &volume, &call->err));
    if (r == 0)
        put_volume(call, pool, volume);
    daemon_storage_unlock(call->daemon->storage);
    return r;
}

/* Changes the volume by fn, under the lock. */
static int change_volume(struct call *call, int (*fn)(struct call *call, struct pool *pool, const char *name))
{
    const struct volume *volume;
    struct pool *pool;
    int r;

    daemon_storage_lock(call->daemon->storage);
    r = find_volume(call, &pool, &volume);
    if (r == 0)
        r = storage_fault(fn(call, pool, call->arg[0].object->name));
    daemon_storage_unlock(call->daemon->storage);
    return r;
}

static int delete_one(struct call *call, struct pool *pool, const char *name)
{
    return volume_delete(pool, name, &call->err);
}

static int volume_delete_call(struct call *call)
{
    enum { WITH_SNAPSHOTS = 2 };
    int r = call_check_flags(call, call->arg[1].u & ~(uint32_t)WITH_SNAPSHOTS, 0); /* snapshots lie in the file, and go with it */

    return r < 0 ? r : change_volume(call, delete_one);
}

static int resize_one(struct call *call, struct pool *pool, const char *name)
{
    int r = volume_resize(pool, name, call->arg[1].H, call->arg[2].u, &call->err);

    return r == -EINVAL ? RPC_FAULT(RPC_INVALID_ARGUMENT) : r;
}

static int volume_resize_call(struct call *call)
{
    int r = call_check_flags(call, call->arg[2].u, VOLUME_RESIZE_ALLOCATE | VOLUME_RESIZE_DELTA | VOLUME_RESIZE_SHRINK);

    return r < 0 ? r : change_volume(call, resize_one);
}

static int wipe_one(struct call *call, struct pool *pool, const char *name)
{
    return volume_wipe(pool, name, &call->err);
}

static int volume_wipe_call(struct call *call)
{
    int r = call_check_flags(call, call->arg[1].u, 0);

    return r < 0 ? r : change_volume(call, wipe_one);
}

static int volume_wipe_pattern(struct call *call)
{
    if (call->arg[1].u != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "volumes are wiped with zeros only");
    return change_volume(call, wipe_one);
}

/* Contents, through streams. */

struct transfer {
    struct storage_handle *handle;
    uint8_t *piece;
    size_t size;
    uint64_t offset;
    bool write;
    int result;
};

static void transfer_in_worker(void *ctx)
{
    struct transfer *t = ctx;

    t->result = t->write ? handle_write(t->handle, t->piece, t->size, t->offset)
                         : handle_read(t->handle, t->piece, t->size, t->offset);
}

static void flush_in_worker(void *ctx)
{
    struct transfer *t = ctx;

    t->result = handle_flush(t->handle);
}

static void close_in_worker(void *ctx)
{
    handle_close(((struct transfer *)ctx)->handle);
}

static int work(struct call *call, void (*fn)(void *ctx), struct transfer *t)
{
    if (coroutine_work(call->daemon->scheduler, fn, t) < 0)
        fn(t);
    return t->result;
}

static int open_volume(struct call *call, bool writable, struct transfer *t)
{
    const struct volume *volume;
    struct pool *pool;
    int r;

    daemon_storage_lock(call->daemon->storage);
    r = find_volume(call, &pool, &volume);
    if (r == 0)
        r = storage_fault(volume_open(pool, call->arg[0].object->name, writable, &t->handle, &call->err));
    daemon_storage_unlock(call->daemon->storage);
    return r;
}

/* The part [offset, offset + length) of the volume; length 0: to its end. */
static int check_range(struct call *call, const struct transfer *t, uint64_t *ret_left)
{
    uint64_t size = handle_size(t->handle), offset = call->arg[1].H, length = call->arg[2].H;

    if (offset > size || length > size - offset)
        return err_set(&call->err, RPC_FAULT(RPC_INVALID_ARGUMENT),
                       "offset %llu and length %llu reach past the volume's %llu bytes", (unsigned long long)offset,
                       (unsigned long long)length, (unsigned long long)size);
    *ret_left = length != 0 ? length : size - offset;
    return 0;
}

static int receive(struct call *call, struct stream *stream, struct transfer *t, uint64_t left)
{
    ssize_t got;
    int r = 0;

    while (r == 0 && (got = stream_read(stream, t->piece, PIECE)) != 0) {
        if (got < 0)
            return (int)got;
        if ((uint64_t)got > left)
            return err_set(&call->err, RPC_FAULT(RPC_INVALID_ARGUMENT),
                           "there is more data than there is room for it in the volume");
        t->size = (size_t)got;
        r = work(call, transfer_in_worker, t);
        t->offset += t->size;
        left -= t->size;
    }
    return r == 0 ? work(call, flush_in_worker, t) : r;
}

static int send_out(struct call *call, struct stream *stream, struct transfer *t, uint64_t left)
{
    int r = 0;

    while (r == 0 && left > 0) {
        t->size = left < PIECE ? (size_t)left : PIECE;
        r = work(call, transfer_in_worker, t);
        if (r == 0)
            r = stream_write(stream, t->piece, t->size);
        t->offset += t->size;
        left -= t->size;
    }
    return r == 0 ? stream_write_end(stream) : r;
}

static int move(struct call *call, struct transfer *t,
                int (*fn)(struct call *call, struct stream *stream, struct transfer *t, uint64_t left))
{
    struct stream *stream;
    uint64_t left = 0;
    int r = check_range(call, t, &left);

    t->offset = call->arg[1].H;
    t->piece = r == 0 ? malloc(PIECE) : NULL;
    if (r == 0 && t->piece == NULL)
        r = -ENOMEM;
    if (r == 0)
        r = stream_open(call, &stream);
    if (r == 0) {
        r = fn(call, stream, t, left);
        if (r == 0)
            stream_close(stream);
        else if (r == -ECONNABORTED)
            r = err_set(&call->err, RPC_FAULT(RPC_OPERATION_ABORTED), "the client has given the transfer up");
        else if (call->err.code == 0)
            r = err_set(&call->err, RPC_FAULT(RPC_SYSTEM_ERROR), "the transfer of volume '%s' failed: %s",
                        call->arg[0].object->name, strerror(-r));
    }
    free(t->piece);
    return r;
}

static int transfer(struct call *call, bool write)
{
    enum { SPARSE = 1 };
    struct transfer t = {.write = write};
    int r, closed;

    if ((call->arg[3].u & SPARSE) != 0)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "--sparse is not supported: all bytes are transferred");
    r = call_check_flags(call, call->arg[3].u, 0);
    if (r == 0)
        r = open_volume(call, write, &t);
    if (r < 0)
        return r;
    r = move(call, &t, write ? receive : send_out);
    closed = work(call, close_in_worker, &t);
    return r < 0 ? r : closed;
}

static int look_at_one(struct call *call, struct pool *pool, const char *name)
{
    return volume_refresh(pool, name, NULL);
}

static int volume_upload(struct call *call)
{
    int r = transfer(call, true);

    if (call->replied)
        change_volume(call, look_at_one);
    return r;
}

static int volume_download(struct call *call)
{
    return transfer(call, false);
}

const struct call_handler volume_calls[] = {
    {REMOTE_STORAGE_POOL_LOOKUP_BY_VOLUME, pool_lookup_by_volume},
    {REMOTE_STORAGE_POOL_NUM_OF_VOLUMES, volume_count},
    {REMOTE_STORAGE_POOL_LIST_VOLUMES, volume_names},
    {REMOTE_STORAGE_POOL_LIST_ALL_VOLUMES, list_volumes},
    {REMOTE_STORAGE_VOL_CREATE_XML, volume_create_xml},
    {REMOTE_STORAGE_VOL_CREATE_XML_FROM, volume_create_xml_from},
    {REMOTE_STORAGE_VOL_DELETE, volume_delete_call},
    {REMOTE_STORAGE_VOL_WIPE, volume_wipe_call},
    {REMOTE_STORAGE_VOL_WIPE_PATTERN, volume_wipe_pattern},
    {REMOTE_STORAGE_VOL_RESIZE, volume_resize_call},
    {REMOTE_STORAGE_VOL_LOOKUP_BY_NAME, volume_lookup_by_name},
    {REMOTE_STORAGE_VOL_LOOKUP_BY_KEY, volume_lookup_by_path},
    {REMOTE_STORAGE_VOL_LOOKUP_BY_PATH, volume_lookup_by_path},
    {REMOTE_STORAGE_VOL_GET_INFO, volume_get_info},
    {REMOTE_STORAGE_VOL_GET_INFO_FLAGS, volume_get_info_flags},
    {REMOTE_STORAGE_VOL_GET_XML_DESC, volume_get_xml},
    {REMOTE_STORAGE_VOL_GET_PATH, volume_get_path},
    {REMOTE_STORAGE_VOL_UPLOAD, volume_upload},
    {REMOTE_STORAGE_VOL_DOWNLOAD, volume_download},
    {0, NULL},
};
