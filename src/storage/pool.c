/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pools: the list of them, and the states they go through. */
#include "storage/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "nfs/url.h"
#include "storage/pool_private.h"

void pools_run(const struct pools *pools, void (*fn)(void *arg), void *arg)
{
    if (pools->options.run != NULL)
        pools->options.run(pools->options.ctx, fn, arg);
    else
        fn(arg);
}

void pool_tell(const struct pool *pool, enum pool_event event)
{
    if (pool->pools->options.event != NULL)
        pool->pools->options.event(pool->pools->options.ctx, pool, event);
}

static void warn(const struct pools *pools, const struct err *err)
{
    if (pools->options.warn != NULL)
        pools->options.warn(pools->options.ctx, err->message);
}

/* Looking. */

size_t pools_count(const struct pools *pools)
{
    return pools->count;
}

struct pool *pools_get(const struct pools *pools, size_t index)
{
    return pools->pool[index];
}

struct pool *pools_find(const struct pools *pools, const char *name)
{
    for (size_t i = 0; i < pools->count; i++) {
        if (text_equal(pools->pool[i]->definition->name, name))
            return pools->pool[i];
    }
    return NULL;
}

struct pool *pools_find_uuid(const struct pools *pools, const uint8_t uuid[static UUID_SIZE])
{
    for (size_t i = 0; i < pools->count; i++) {
        if (uuid_equal(pools->pool[i]->definition->uuid, uuid))
            return pools->pool[i];
    }
    return NULL;
}

const struct pool_definition *pool_definition(const struct pool *pool)
{
    return pool->definition;
}

bool pool_is_active(const struct pool *pool)
{
    return pool->place != NULL;
}

bool pool_is_persistent(const struct pool *pool)
{
    return pool->persistent;
}

bool pool_autostart(const struct pool *pool)
{
    return pool->autostart;
}

struct pool_numbers pool_numbers(const struct pool *pool)
{
    const struct storage_space *space = &pool->space;

    return (struct pool_numbers){.capacity = space->capacity,
                                 .allocation =
                                     space->capacity > space->available ? space->capacity - space->available : 0,
                                 .available = space->available};
}

int pool_xml(const struct pool *pool, struct buffer *out)
{
    struct pool_numbers numbers = pool_numbers(pool);

    return pool_definition_format(pool->definition, &numbers, out);
}

/* The list. */

static int add(struct pools *pools, struct pool_definition *definition, struct pool **ret_pool, struct err *err)
{
    struct pool *pool = pools->count < POOLS_MAX ? calloc(1, sizeof(*pool)) : NULL;
    size_t at = 0;

    if (pool == NULL) {
        pool_definition_free(definition);
        return err_set(err, pools->count < POOLS_MAX ? -ENOMEM : -ENOSPC, "there is no room for another pool");
    }
    pool->pools = pools;
    pool->definition = definition;
    while (at < pools->count && strcmp(pools->pool[at]->definition->name, definition->name) < 0)
        at++;
    memmove(&pools->pool[at + 1], &pools->pool[at], (pools->count - at) * sizeof(pools->pool[0]));
    pools->pool[at] = pool;
    pools->count++;
    *ret_pool = pool;
    return 0;
}

static void free_pool(struct pool *pool)
{
    volumes_fini(&pool->volumes);
    place_close(pool->place);
    pool_definition_free(pool->definition);
    pool_definition_free(pool->redefined);
    free(pool);
}

static void drop(struct pool *pool)
{
    struct pools *pools = pool->pools;
    size_t at = 0;

    while (pools->pool[at] != pool)
        at++;
    pools->count--;
    memmove(&pools->pool[at], &pools->pool[at + 1], (pools->count - at) * sizeof(pools->pool[0]));
    free_pool(pool);
}

/* Another pool in the way: one of the same name with another UUID, the same UUID, or the same target. */
static int check_clash(const struct pools *pools, const struct pool_definition *definition, struct pool **ret_same,
                       struct err *err)
{
    *ret_same = NULL;
    for (size_t i = 0; i < pools->count; i++) {
        const struct pool_definition *other = pools->pool[i]->definition;
        bool name = text_equal(other->name, definition->name), uuid = uuid_equal(other->uuid, definition->uuid);
        char text[UUID_TEXT_SIZE];

        uuid_format(other->uuid, text);
        if (name && uuid)
            *ret_same = pools->pool[i];
        else if (name)
            return err_set(err, -EEXIST, "pool '%s' already exists with uuid %s", other->name, text);
        else if (uuid)
            return err_set(err, -EEXIST, "pool '%s' already has the uuid %s", other->name, text);
        else if (text_equal(other->target, definition->target))
            return err_set(err, -EEXIST, "pool '%s' already has the target %s", other->name, other->target);
    }
    return 0;
}

/* States. */

struct opening {
    struct pool *pool;
    bool build, mounted;
    struct storage_place *place;
    bool ret_mounted;
    struct err *err;
    int result;
};

static void open_elsewhere(void *arg)
{
    struct opening *opening = arg;

    opening->result = pool_open_place(opening->pool, opening->build, opening->mounted, &opening->place,
                                      &opening->ret_mounted, opening->err);
}

static int activate(struct pool *pool, bool build, bool mounted, struct err *err)
{
    struct opening opening = {.pool = pool, .build = build, .mounted = mounted, .err = err};
    int r;

    pools_run(pool->pools, open_elsewhere, &opening);
    if (opening.result < 0)
        return opening.result;
    pool->place = opening.place;
    pool->mounted = opening.ret_mounted;
    r = pool_look_at_volumes(pool, err);
    if (r == 0)
        r = pool_store_active(pool->pools, pool->definition, pool->mounted, err);
    if (r == 0)
        return 0;
    place_close(pool->place);
    pool->place = NULL;
    if (pool->mounted)
        pool_unmount(pool->definition, NULL);
    return r;
}

int pool_start(struct pool *pool, bool build, struct err *err)
{
    int r;

    if (pool_is_active(pool))
        return err_set(err, -EISCONN, "storage pool '%s' is already active", pool->definition->name);
    r = activate(pool, build, pool->wanted && pool->wanted_mounted, err);
    if (r < 0) {
        err_prefix(err, "cannot start pool '%s'", pool->definition->name);
        return r;
    }
    pool->wanted = false;
    pool_tell(pool, POOL_STARTED);
    return 0;
}

int pool_need_active(const struct pool *pool, struct err *err)
{
    return pool_is_active(pool) ? 0
                                : err_set(err, -ENOTCONN, "storage pool '%s' is not active", pool->definition->name);
}

/* One that was to be active as soon as it can, and need not any more. */
static int forget_wanted(struct pool *pool, struct err *err)
{
    int r = pool->wanted_mounted ? pool_unmount(pool->definition, err) : 0;

    if (r == 0)
        r = pool_forget_active(pool->pools, pool->definition->name, err);
    if (r == 0)
        pool->wanted = pool->wanted_mounted = false;
    return r;
}

int pool_destroy(struct pool *pool, struct err *err)
{
    int r;

    if (pool->wanted) {
        r = forget_wanted(pool, err);
        if (r == 0)
            pool_tell(pool, POOL_STOPPED);
        if (r == 0 && !pool->persistent)
            drop(pool);
        return r;
    }
    r = pool_need_active(pool, err);
    if (r < 0)
        return r;
    if (pool->mounted) {
        place_close(pool->place); /* an open directory keeps it mounted */
        pool->place = NULL;
        r = pool_unmount(pool->definition, err);
        if (r < 0) {
            struct err ignored = ERR_INIT;

            if (activate(pool, false, true, &ignored) < 0)
                warn(pool->pools, &ignored);
            return r;
        }
    }
    r = pool_forget_active(pool->pools, pool->definition->name, err);
    place_close(pool->place);
    pool->place = NULL;
    pool->mounted = false;
    volumes_fini(&pool->volumes);
    pool->space = (struct storage_space){0};
    if (pool->redefined != NULL) {
        pool_definition_free(pool->definition);
        pool->definition = pool->redefined;
        pool->redefined = NULL;
    }
    pool_tell(pool, POOL_STOPPED);
    if (!pool->persistent)
        drop(pool);
    return r;
}

int pool_define(struct pools *pools, const char *xml, struct pool **ret_pool, struct err *err)
{
    struct pool_definition *definition;
    struct pool *same;
    int r = pool_definition_parse(xml, &definition, err);

    if (r < 0)
        return r;
    r = check_clash(pools, definition, &same, err);
    if (r == 0)
        r = pool_store_config(pools, definition, err);
    if (r < 0) {
        pool_definition_free(definition);
        return r;
    }
    if (same == NULL) {
        r = add(pools, definition, &same, err);
        if (r < 0)
            return r;
    } else if (pool_is_active(same)) {
        pool_definition_free(same->redefined);
        same->redefined = definition;
    } else {
        pool_definition_free(same->definition);
        same->definition = definition;
    }
    same->persistent = true;
    pool_tell(same, POOL_DEFINED);
    *ret_pool = same;
    return 0;
}

int pool_create(struct pools *pools, const char *xml, bool build, struct pool **ret_pool, struct err *err)
{
    struct pool_definition *definition;
    struct pool *pool;
    int r = pool_definition_parse(xml, &definition, err);

    if (r < 0)
        return r;
    r = check_clash(pools, definition, &pool, err);
    if (r == 0 && pool != NULL)
        r = err_set(err, -EEXIST, "pool '%s' already exists", definition->name);
    if (r < 0) {
        pool_definition_free(definition);
        return r;
    }
    r = add(pools, definition, &pool, err);
    if (r == 0) {
        r = pool_start(pool, build, err);
        if (r < 0)
            drop(pool);
        else
            *ret_pool = pool;
    }
    return r;
}

int pool_build(struct pool *pool, struct err *err)
{
    int r;

    if (pool_is_active(pool))
        return err_set(err, -EISCONN, "storage pool '%s' is already active", pool->definition->name);
    r = pool->definition->kind == POOL_DIRECTORY ? pool_make_directory(pool->definition, err) : 0;
    if (r == 0)
        pool_tell(pool, POOL_CREATED);
    return r;
}

int pool_undefine(struct pool *pool, struct err *err)
{
    int r;

    if (!pool->persistent || pool_is_active(pool))
        return err_set(err, pool->persistent ? -EISCONN : -ENOTCONN, "storage pool '%s' is %s", pool->definition->name,
                       pool->persistent ? "still active" : "not persistent");
    r = pool->wanted ? forget_wanted(pool, err) : 0;
    if (r == 0)
        r = pool_forget_config(pool->pools, pool->definition->name, err);
    if (r < 0)
        return r;
    pool_tell(pool, POOL_UNDEFINED);
    drop(pool);
    return 0;
}

int pool_delete(struct pool *pool, struct err *err)
{
    if (pool_is_active(pool))
        return err_set(err, -EISCONN, "storage pool '%s' is still active", pool->definition->name);
    if (pool->definition->kind == POOL_DIRECTORY && rmdir(pool->definition->target) < 0)
        return err_set(err, -errno, "cannot remove directory '%s': %s", pool->definition->target, strerror(errno));
    pool_tell(pool, POOL_DELETED);
    return 0;
}

int pool_refresh(struct pool *pool, struct err *err)
{
    int r = pool_need_active(pool, err);

    if (r == 0)
        r = pool_look_at_volumes(pool, err);
    if (r == 0)
        pool_tell(pool, POOL_REFRESHED);
    return r;
}

int pool_set_autostart(struct pool *pool, bool autostart, struct err *err)
{
    int r;

    if (!pool->persistent)
        return err_set(err, -ENOTSUP, "storage pool '%s' is not persistent", pool->definition->name);
    r = pool_store_autostart(pool->pools, pool->definition->name, autostart, err);
    if (r == 0)
        pool->autostart = autostart;
    return r;
}

/* From the beginning. */

static void found_config(void *ctx, struct stored *stored)
{
    struct pools *pools = ctx;
    struct err err = ERR_INIT;
    struct pool *pool;
    int r = check_clash(pools, stored->definition, &pool, &err);

    if (r == 0 && pool == NULL) {
        r = add(pools, stored->definition, &pool, &err);
    } else {
        pool_definition_free(stored->definition);
        r = r < 0 ? r : -EEXIST;
    }
    if (r < 0) {
        warn(pools, &err);
        return;
    }
    pool->persistent = true;
    pool->autostart = stored->autostart;
}

/* What was active is so again; a persistent pool may have been redefined meanwhile. */
static void found_active(void *ctx, struct stored *stored)
{
    struct pools *pools = ctx;
    struct pool *pool = pools_find_uuid(pools, stored->definition->uuid);
    struct err err = ERR_INIT;

    if (pool == NULL && add(pools, stored->definition, &pool, &err) < 0) {
        warn(pools, &err);
        return;
    }
    if (pool->definition != stored->definition) {
        pool->redefined = pool->definition;
        pool->definition = stored->definition;
    }
    if (activate(pool, false, stored->mounted, &err) == 0)
        return;
    err_prefix(&err, "pool '%s' was active and can't be for now", pool->definition->name);
    warn(pools, &err);
    pool->wanted = true;
    pool->wanted_mounted = stored->mounted;
}

int pools_open(const struct pools_options *options, struct pools **ret_pools, struct err *err)
{
    struct pools *pools = calloc(1, sizeof(*pools));
    int r;

    if (pools == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    pools->options = *options;
    r = pool_make_directories(pools, err);
    if (r == 0)
        r = pool_each_stored(pools, STORE_CONFIG, found_config, pools, err);
    if (r == 0)
        r = pool_each_stored(pools, STORE_ACTIVE, found_active, pools, err);
    if (r < 0)
        pools_close(pools);
    else
        *ret_pools = pools;
    return r;
}

void pools_close(struct pools *pools)
{
    if (pools == NULL)
        return;
    for (size_t i = 0; i < pools->count; i++)
        free_pool(pools->pool[i]);
    free(pools);
}

void pools_autostart(struct pools *pools)
{
    for (size_t i = 0; i < pools->count; i++) {
        struct pool *pool = pools->pool[i];
        struct err err = ERR_INIT;

        if (!pool->autostart || pool_is_active(pool) || pool->wanted || pool_start(pool, false, &err) == 0)
            continue;
        warn(pools, &err);
        pool->wanted = true;
    }
}

size_t pools_retry(struct pools *pools)
{
    size_t left = 0;

    for (size_t i = 0; i < pools->count; i++) {
        if (pools->pool[i]->wanted && pool_start(pools->pool[i], false, NULL) < 0)
            left++;
    }
    return left;
}

/* The pool whose volumes have paths like this one, whether or not it was seen there yet; NULL: none. */
static const struct pool *pool_of_path(const struct pools *pools, const char *path)
{
    const char *slash = strrchr(path, '/');

    for (size_t i = 0; slash != NULL && i < pools->count; i++) {
        const char *target = pools->pool[i]->definition->target;

        if (strlen(target) == (size_t)(slash - path) && text_starts_with(path, target))
            return pools->pool[i];
    }
    return NULL;
}

int pools_resolve(const struct pools *pools, const char *path, char *ret_url, size_t size)
{
    const struct pool *pool = pool_of_path(pools, path);
    const char *name = strrchr(path, '/');
    size_t used;

    if (pool == NULL || pool->definition->kind != POOL_NETFS || !pool_is_active(pool) || pool->mounted)
        return -ENOENT;
    if (!place_name_valid(name + 1))
        return -EINVAL;
    if (pool_url(pool->definition, ret_url, size) < 0 || !nfs_url_append(ret_url, size, name + 1))
        return -ENAMETOOLONG;
    used = strlen(ret_url);
    return text_format(ret_url + used, size - used, "?version=4");
}
