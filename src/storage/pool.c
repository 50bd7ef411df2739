/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool, and the states it goes through. */
#include "storage/pool.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "storage/pool_private.h"

static void tell(const struct pool *pool, enum pool_event event)
{
    if (pool->pools->options.event != NULL)
        pool->pools->options.event(pool->pools->options.ctx, pool, event);
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

int pool_activate(struct pool *pool, bool build, bool mounted, struct err *err)
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
    r = pool_activate(pool, build, pool->wanted && pool->wanted_mounted, err);
    if (r < 0) {
        err_prefix(err, "cannot start pool '%s'", pool->definition->name);
        return r;
    }
    pool->wanted = false;
    tell(pool, POOL_STARTED);
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
            tell(pool, POOL_STOPPED);
        if (r == 0 && !pool->persistent)
            pools_drop(pool);
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

            if (pool_activate(pool, false, true, &ignored) < 0)
                pools_warn(pool->pools, &ignored);
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
    tell(pool, POOL_STOPPED);
    if (!pool->persistent)
        pools_drop(pool);
    return r;
}

int pool_define(struct pools *pools, const char *xml, struct pool **ret_pool, struct err *err)
{
    struct pool_definition *definition;
    struct pool *same;
    int r = pool_definition_parse(xml, &definition, err);

    if (r < 0)
        return r;
    r = pools_check_clash(pools, definition, &same, err);
    if (r == 0)
        r = pool_store_config(pools, definition, err);
    if (r < 0) {
        pool_definition_free(definition);
        return r;
    }
    if (same == NULL) {
        r = pools_add(pools, definition, &same, err);
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
    tell(same, POOL_DEFINED);
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
    r = pools_check_clash(pools, definition, &pool, err);
    if (r == 0 && pool != NULL)
        r = err_set(err, -EEXIST, "pool '%s' already exists", definition->name);
    if (r < 0) {
        pool_definition_free(definition);
        return r;
    }
    r = pools_add(pools, definition, &pool, err);
    if (r == 0) {
        r = pool_start(pool, build, err);
        if (r < 0)
            pools_drop(pool);
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
        tell(pool, POOL_CREATED);
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
    tell(pool, POOL_UNDEFINED);
    pools_drop(pool);
    return 0;
}

int pool_delete(struct pool *pool, struct err *err)
{
    if (pool_is_active(pool))
        return err_set(err, -EISCONN, "storage pool '%s' is still active", pool->definition->name);
    if (pool->definition->kind == POOL_DIRECTORY && rmdir(pool->definition->target) < 0)
        return err_set(err, -errno, "cannot remove directory '%s': %s", pool->definition->target, strerror(errno));
    tell(pool, POOL_DELETED);
    return 0;
}

int pool_refresh(struct pool *pool, struct err *err)
{
    int r = pool_need_active(pool, err);

    if (r == 0)
        r = pool_look_at_volumes(pool, err);
    if (r == 0)
        tell(pool, POOL_REFRESHED);
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
