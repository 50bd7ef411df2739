/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All pools of a host: the list of them, what is found when the daemon starts, and what should be active and is not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

void pools_warn(const struct pools *pools, const struct err *err)
{
    if (pools->options.warn != NULL)
        pools->options.warn(pools->options.ctx, err->message);
}

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

int pools_add(struct pools *pools, struct pool_definition *definition, struct pool **ret_pool, struct err *err)
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

void pools_drop(struct pool *pool)
{
    struct pools *pools = pool->pools;
    size_t at = 0;

    while (pools->pool[at] != pool)
        at++;
    pools->count--;
    memmove(&pools->pool[at], &pools->pool[at + 1], (pools->count - at) * sizeof(pools->pool[0]));
    free_pool(pool);
}

int pools_check_clash(const struct pools *pools, const struct pool_definition *definition, struct pool **ret_same, struct err *err)
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

static void found_config(void *ctx, struct stored *stored)
{
    struct pools *pools = ctx;
    struct err err = ERR_INIT;
    struct pool *pool;
    int r = pools_check_clash(pools, stored->definition, &pool, &err);

    if (r == 0 && pool == NULL) {
        r = pools_add(pools, stored->definition, &pool, &err);
    } else {
        pool_definition_free(stored->definition);
        r = r < 0 ? r : -EEXIST;
    }
    if (r < 0) {
        pools_warn(pools, &err);
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

    if (pool == NULL && pools_add(pools, stored->definition, &pool, &err) < 0) {
        pools_warn(pools, &err);
        return;
    }
    if (pool->definition != stored->definition) {
        pool->redefined = pool->definition;
        pool->definition = stored->definition;
    }
    if (pool_activate(pool, false, stored->mounted, &err) == 0)
        return;
    err_prefix(&err, "pool '%s' was active and can't be for now", pool->definition->name);
    pools_warn(pools, &err);
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
        pools_warn(pools, &err);
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
