/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Volumes made, copied, changed and removed. Whatever waits runs elsewhere, on data of its own. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/text.h"
#include "storage/image.h"
#include "storage/pool_private.h"

#define COPY_SIZE (1u << 20)

static int need_volume(const struct pool *pool, const char *name, struct err *err)
{
    int r = pool_need_active(pool, err);

    if (r == 0 && pool_volume_find(pool, name) == NULL)
        r = err_set(err, -ENOENT, "there is no volume '%.200s' in pool '%s'", name, pool->definition->name);
    return r;
}

/* A task on one file, run elsewhere. */
struct task {
    struct storage_place *place, *source_place;
    const char *name, *source;
    const struct volume_definition *definition;
    struct storage_handle *handle;
    uint64_t size;
    bool writable, allocate;
    const char *target;
    struct volume looked; /* the file afterwards */
    struct storage_space space;
    struct err *err;
    int result;
};

static void look_again(struct task *task)
{
    struct storage_file file;

    task->result = place_look(task->place, task->name, &file);
    if (task->result == 0)
        task->result = volume_look(task->place, task->target, &file, &task->looked);
    if (task->result == 0)
        place_space(task->place, &task->space);
}

/* Puts what the task found into the list. */
static int put_volume(struct pool *pool, struct task *task, const struct volume **ret_volume)
{
    pool->space = task->space;
    return volumes_put(&pool->volumes, &task->looked, ret_volume);
}

/* Making. */

/* A file of that size with what fill() writes into it, under its name only when it is complete. */
static void make_file(struct task *task, uint64_t size, uint64_t allocate,
                      int (*fill)(struct task *task, struct storage_handle *handle))
{
    const struct permissions *permissions = &task->definition->permissions;
    const struct storage_new new_file = {.name = task->name,
                                         .mode = permissions->mode,
                                         .uid = permissions->has_owner ? permissions->owner : (uid_t)-1,
                                         .gid = permissions->has_group ? permissions->group : (gid_t)-1,
                                         .size = size,
                                         .allocate = allocate};
    struct storage_handle *handle;

    task->result = place_create(task->place, &new_file, &handle, task->err);
    if (task->result < 0)
        return;
    task->result = fill(task, handle);
    if (task->result == 0)
        task->result = handle_publish(handle, task->name);
    if (task->result < 0) {
        handle_discard(handle, task->place, task->name);
        return;
    }
    handle_close(handle);
    look_again(task);
}

static int fill_new(struct task *task, struct storage_handle *handle)
{
    const struct volume_definition *definition = task->definition;

    return definition->format != VOLUME_QCOW2
               ? 0
               : image_write_qcow2(handle, definition->capacity, definition->backing, definition->backing_format);
}

static void create_elsewhere(void *arg)
{
    struct task *task = arg;
    const struct volume_definition *definition = task->definition;
    bool qcow2 = definition->format == VOLUME_QCOW2;
    uint64_t size = qcow2 ? image_qcow2_size(definition->capacity) : definition->capacity;

    task->result = -EFBIG;
    if (size != 0 || !qcow2)
        make_file(task, size, qcow2 || !definition->has_allocation ? 0 : definition->allocation, fill_new);
}

/* A backing image says how large the new one is when the document does not. */
static int inherit_capacity(const struct pools *pools, struct volume_definition *definition, struct err *err)
{
    struct pool *pool;
    const struct volume *below;

    if (definition->capacity != 0 || definition->backing == NULL)
        return 0;
    below = pools_find_volume(pools, definition->backing, &pool);
    if (below == NULL)
        return err_set(err, -EINVAL,
                       "the <volume> has no <capacity>, and its backing image %s is no volume of an active pool",
                       definition->backing);
    definition->capacity = below->capacity;
    return 0;
}

static int check_new(const struct pool *pool, const struct volume_definition *definition, struct err *err)
{
    if (pool_volume_find(pool, definition->name) != NULL)
        return err_set(err, -EEXIST, "storage volume '%s' already exists in pool '%s'", definition->name,
                       pool->definition->name);
    if (definition->format == VOLUME_RAW && definition->backing != NULL)
        return err_set(err, -ENOTSUP, "a raw volume can't have a <backingStore>");
    return 0;
}

static int finish_create(struct pool *pool, struct task *task, const char *name, const struct volume **ret_volume,
                         struct err *err)
{
    int r = task->result;

    if (r == 0)
        r = put_volume(pool, task, ret_volume);
    if (r < 0 && (err == NULL || err->code == 0))
        return err_set(err, r, "cannot create volume '%s' in pool '%s': %s", name, pool->definition->name,
                       strerror(-r));
    return r;
}

static int make(struct pool *pool, struct volume_definition *definition, struct task *task, void (*fn)(void *arg),
                const struct volume **ret_volume, struct err *err)
{
    int r = check_new(pool, definition, err);

    if (r < 0)
        return r;
    task->place = pool->place;
    task->name = definition->name;
    task->target = pool->definition->target;
    task->definition = definition;
    task->err = err;
    pools_run(pool->pools, fn, task);
    return finish_create(pool, task, definition->name, ret_volume, err);
}

int volume_create(struct pool *pool, const char *xml, const struct volume **ret_volume, struct err *err)
{
    struct volume_definition definition;
    struct task task = {0};
    int r = pool_need_active(pool, err);

    if (r == 0)
        r = volume_definition_parse(xml, &definition, err);
    if (r < 0)
        return r;
    r = inherit_capacity(pool->pools, &definition, err);
    if (r == 0)
        r = make(pool, &definition, &task, create_elsewhere, ret_volume, err);
    volume_definition_fini(&definition);
    return r;
}

/* Copying, zeros left out: the new file is full of them. */

static bool all_zeros(const uint8_t *data, size_t size)
{
    return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

static int copy(struct storage_handle *from, struct storage_handle *to, uint64_t size)
{
    uint8_t *piece = malloc(COPY_SIZE);
    int r = piece == NULL ? -ENOMEM : 0;

    for (uint64_t at = 0; r == 0 && at < size; at += COPY_SIZE) {
        size_t count = size - at < COPY_SIZE ? (size_t)(size - at) : COPY_SIZE;

        r = handle_read(from, piece, count, at);
        if (r == 0 && !all_zeros(piece, count))
            r = handle_write(to, piece, count, at);
    }
    free(piece);
    return r == 0 ? handle_flush(to) : r;
}

static int fill_copy(struct task *task, struct storage_handle *handle)
{
    return copy(task->handle, handle, handle_size(task->handle));
}

static void copy_elsewhere(void *arg)
{
    struct task *task = arg;
    uint64_t size;

    task->result = place_open(task->source_place, task->source, false, &task->handle, task->err);
    if (task->result < 0)
        return;
    size = handle_size(task->handle);
    make_file(task, size > task->size ? size : task->size, 0, fill_copy);
    handle_close(task->handle);
}

int volume_create_from(struct pool *pool, const char *xml, struct pool *source_pool, const char *source,
                       const struct volume **ret_volume, struct err *err)
{
    struct volume_definition definition;
    const struct volume *original;
    struct task task = {.source_place = source_pool->place, .source = source};
    int r = pool_need_active(pool, err);

    if (r == 0)
        r = need_volume(source_pool, source, err);
    if (r == 0)
        r = volume_definition_parse(xml, &definition, err);
    if (r < 0)
        return r;
    original = pool_volume_find(source_pool, source);
    if (definition.format != original->format && original->format != VOLUME_ISO)
        r = err_set(err, -ENOTSUP, "a copy has the format of its original, %s", volume_format_name(original->format));
    task.size = definition.format == VOLUME_RAW ? definition.capacity : 0; /* a larger copy has zeros at its end */
    if (r == 0)
        r = make(pool, &definition, &task, copy_elsewhere, ret_volume, err);
    volume_definition_fini(&definition);
    return r;
}

/* Changing. */

static void resize_elsewhere(void *arg)
{
    struct task *task = arg;

    task->result = place_resize(task->place, task->name, task->size, task->allocate);
    if (task->result == 0)
        look_again(task);
}

static void grow_elsewhere(void *arg)
{
    struct task *task = arg;
    struct storage_handle *handle;

    task->result = place_open(task->place, task->name, true, &handle, task->err);
    if (task->result < 0)
        return;
    task->result = image_grow_qcow2(handle, task->size);
    handle_close(handle);
    if (task->result == 0)
        look_again(task);
}

static int resize_error(const struct task *task, int r, struct err *err)
{
    if (r == -ENOTSUP && task->allocate)
        return err_set(err, r, "where volume '%s' is, space can't be allocated in advance", task->name);
    if (r == -ENOTSUP)
        return err_set(err, r, "volume '%s' can't be resized: it has snapshots, is encrypted, or has features that are not known",
                       task->name);
    if (r == -EFBIG)
        return err_set(err, r, "volume '%s' can't be so large: the tables of the image have no room for that", task->name);
    return err_set(err, r, "cannot resize volume '%s': %s", task->name, strerror(-r));
}

int volume_resize(struct pool *pool, const char *name, uint64_t size, unsigned flags, struct err *err)
{
    struct task task = {.place = pool->place, .name = name, .target = pool->definition->target};
    const struct volume *volume;
    int r = need_volume(pool, name, err);

    if (r < 0)
        return r;
    volume = pool_volume_find(pool, name);
    if ((flags & VOLUME_RESIZE_DELTA) != 0)
        size = (flags & VOLUME_RESIZE_SHRINK) != 0 ? (size < volume->capacity ? volume->capacity - size : 0)
                                                   : volume->capacity + size;
    if (volume->format == VOLUME_ISO)
        return err_set(err, -ENOTSUP, "volumes of format iso can't be resized");
    if (size < volume->capacity && (flags & VOLUME_RESIZE_SHRINK) == 0)
        return err_set(err, -EINVAL,
                       "can't shrink capacity below current capacity unless shrink flag explicitly specified");
    if (size == 0)
        return err_set(err, -EINVAL, "a volume of no bytes is of no use");
    if (volume->format == VOLUME_QCOW2 && (size < volume->capacity || (flags & VOLUME_RESIZE_ALLOCATE) != 0))
        return err_set(err, -ENOTSUP, "volumes of format qcow2 can grow, but not %s",
                       size < volume->capacity ? "shrink" : "allocate space");
    task.size = size;
    task.allocate = (flags & VOLUME_RESIZE_ALLOCATE) != 0;
    pools_run(pool->pools, volume->format == VOLUME_QCOW2 ? grow_elsewhere : resize_elsewhere, &task);
    r = task.result == 0 ? put_volume(pool, &task, NULL) : task.result;
    return r < 0 && (err == NULL || err->code == 0) ? resize_error(&task, r, err) : r;
}

static void remove_elsewhere(void *arg)
{
    struct task *task = arg;

    task->result = place_remove(task->place, task->name);
    if (task->result == 0 || task->result == -ENOENT)
        place_space(task->place, &task->space);
}

int volume_delete(struct pool *pool, const char *name, struct err *err)
{
    struct task task = {.place = pool->place, .name = name, .space = pool->space};
    int r = need_volume(pool, name, err);

    if (r < 0)
        return r;
    pools_run(pool->pools, remove_elsewhere, &task);
    if (task.result < 0 && task.result != -ENOENT)
        return err_set(err, task.result, "cannot remove volume '%s': %s", name, strerror(-task.result));
    volumes_remove(&pool->volumes, name);
    pool->space = task.space;
    return 0;
}

static void wipe_elsewhere(void *arg)
{
    struct task *task = arg;
    struct storage_handle *handle;
    uint8_t *zeros = calloc(1, COPY_SIZE);

    task->result = zeros == NULL ? -ENOMEM : place_open(task->place, task->name, true, &handle, task->err);
    if (task->result == 0) {
        for (uint64_t at = 0; task->result == 0 && at < handle_size(handle); at += COPY_SIZE) {
            uint64_t left = handle_size(handle) - at;

            task->result = handle_write(handle, zeros, left < COPY_SIZE ? (size_t)left : COPY_SIZE, at);
        }
        if (task->result == 0)
            task->result = handle_flush(handle);
        handle_close(handle);
    }
    free(zeros);
    if (task->result == 0)
        look_again(task);
}

int volume_wipe(struct pool *pool, const char *name, struct err *err)
{
    struct task task = {.place = pool->place, .name = name, .target = pool->definition->target, .err = err};
    int r = need_volume(pool, name, err);

    if (r < 0)
        return r;
    pools_run(pool->pools, wipe_elsewhere, &task);
    r = task.result == 0 ? put_volume(pool, &task, NULL) : task.result;
    return r < 0 && (err == NULL || err->code == 0) ? err_set(err, r, "cannot wipe volume '%s': %s", name, strerror(-r))
                                                    : r;
}

static void refresh_elsewhere(void *arg)
{
    look_again(arg);
}

int volume_refresh(struct pool *pool, const char *name, struct err *err)
{
    struct task task = {.place = pool->place, .name = name, .target = pool->definition->target};
    int r = need_volume(pool, name, err);

    if (r < 0)
        return r;
    pools_run(pool->pools, refresh_elsewhere, &task);
    r = task.result == 0 ? put_volume(pool, &task, NULL) : task.result;
    return r < 0 ? err_set(err, r, "cannot look at volume '%s': %s", name, strerror(-r)) : 0;
}

static void open_elsewhere(void *arg)
{
    struct task *task = arg;

    task->result = place_open(task->place, task->name, task->writable, &task->handle, task->err);
}

int volume_open(struct pool *pool, const char *name, bool writable, struct storage_handle **ret_handle, struct err *err)
{
    struct task task = {.place = pool->place, .name = name, .writable = writable, .err = err};
    int r = need_volume(pool, name, err);

    if (r < 0)
        return r;
    pools_run(pool->pools, open_elsewhere, &task);
    if (task.result == 0)
        *ret_handle = task.handle;
    return task.result;
}
