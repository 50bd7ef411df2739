/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of a pool's volumes: what its files are, and which is called what. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "storage/image.h"
#include "storage/pool_private.h"

static void volume_fini(struct volume *volume)
{
    free(volume->path);
    free(volume->backing);
}

void volumes_fini(struct volumes *volumes)
{
    for (size_t i = 0; i < volumes->count; i++)
        volume_fini(&volumes->items[i]);
    free(volumes->items);
    *volumes = (struct volumes){0};
}

int volume_look(struct storage_place *place, const char *target, const struct storage_file *file, struct volume *ret_volume)
{
    struct image_facts facts = {.format = VOLUME_RAW, .capacity = file->size};
    struct storage_handle *handle;

    if (place_open(place, file->name, false, &handle, NULL) == 0) {
        image_look(handle, &facts);
        handle_close(handle);
    }
    *ret_volume = (struct volume){.file = *file, .format = facts.format, .capacity = facts.capacity};
    if (asprintf(&ret_volume->path, "%s/%s", text_equal(target, "/") ? "" : target, file->name) < 0)
        return -ENOMEM;
    if (facts.backing[0] != 0) {
        ret_volume->backing = strdup(facts.backing);
        if (ret_volume->backing == NULL) {
            free(ret_volume->path);
            return -ENOMEM;
        }
    }
    return 0;
}

int volumes_put(struct volumes *volumes, struct volume *volume, const struct volume **ret_volume)
{
    struct volume *items;
    size_t at = 0;

    while (at < volumes->count && strcmp(volumes->items[at].file.name, volume->file.name) < 0)
        at++;
    if (at < volumes->count && text_equal(volumes->items[at].file.name, volume->file.name)) {
        volume_fini(&volumes->items[at]);
    } else {
        items = realloc(volumes->items, (volumes->count + 1) * sizeof(*items));
        if (items == NULL) {
            volume_fini(volume);
            return -ENOMEM;
        }
        volumes->items = items;
        memmove(&items[at + 1], &items[at], (volumes->count - at) * sizeof(*items));
        volumes->count++;
    }
    volumes->items[at] = *volume;
    if (ret_volume != NULL)
        *ret_volume = &volumes->items[at];
    return 0;
}

void volumes_remove(struct volumes *volumes, const char *name)
{
    size_t at = 0;

    while (at < volumes->count && !text_equal(volumes->items[at].file.name, name))
        at++;
    if (at < volumes->count) {
        volume_fini(&volumes->items[at]);
        volumes->count--;
        memmove(&volumes->items[at], &volumes->items[at + 1], (volumes->count - at) * sizeof(volumes->items[0]));
    }
}

/* Looking at a whole pool: names first, then each file, since one connection to a server does one thing at a time. */
struct looking {
    struct storage_place *place;
    const char *target;
    struct storage_file *files;
    size_t file_count;
    struct volumes volumes;
    struct storage_space space;
    int result;
};

static int keep_file(void *ctx, const struct storage_file *file)
{
    struct looking *looking = ctx;
    struct storage_file *files;

    if (file->kind != STORAGE_FILE)
        return 0;
    if ((looking->file_count & (looking->file_count - 1)) == 0) { /* a power of two: full */
        files = realloc(looking->files, (looking->file_count == 0 ? 1 : looking->file_count * 2) * sizeof(*files));
        if (files == NULL)
            return -ENOMEM;
        looking->files = files;
    }
    looking->files[looking->file_count++] = *file;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct storage_file *)a)->name, ((const struct storage_file *)b)->name);
}

static void look_elsewhere(void *arg)
{
    struct looking *looking = arg;
    struct volumes *volumes = &looking->volumes;

    looking->result = place_list(looking->place, keep_file, looking);
    if (looking->result == 0)
        looking->result = place_space(looking->place, &looking->space);
    if (looking->result == 0 && looking->file_count > 0) {
        qsort(looking->files, looking->file_count, sizeof(looking->files[0]), by_name);
        volumes->items = calloc(looking->file_count, sizeof(volumes->items[0]));
        if (volumes->items == NULL)
            looking->result = -ENOMEM;
    }
    for (size_t i = 0; looking->result == 0 && i < looking->file_count; i++) {
        looking->result = volume_look(looking->place, looking->target, &looking->files[i], &volumes->items[i]);
        if (looking->result == 0)
            volumes->count++;
    }
    free(looking->files);
}

int pool_look_at_volumes(struct pool *pool, struct err *err)
{
    struct looking looking = {.place = pool->place, .target = pool->definition->target};

    pools_run(pool->pools, look_elsewhere, &looking);
    if (looking.result < 0) {
        volumes_fini(&looking.volumes);
        return err_set(err, looking.result, "cannot look at the volumes of pool '%s': %s", pool->definition->name,
                       strerror(-looking.result));
    }
    volumes_fini(&pool->volumes);
    pool->volumes = looking.volumes;
    pool->space = looking.space;
    return 0;
}

size_t pool_volume_count(const struct pool *pool)
{
    return pool->volumes.count;
}

const struct volume *pool_volume_get(const struct pool *pool, size_t index)
{
    return &pool->volumes.items[index];
}

const struct volume *pool_volume_find(const struct pool *pool, const char *name)
{
    for (size_t i = 0; i < pool->volumes.count; i++) {
        if (text_equal(pool->volumes.items[i].file.name, name))
            return &pool->volumes.items[i];
    }
    return NULL;
}

const struct volume *pools_find_volume(const struct pools *pools, const char *path, struct pool **ret_pool)
{
    for (size_t i = 0; i < pools->count; i++) {
        struct pool *pool = pools->pool[i];
        size_t length = strlen(pool->definition->target);

        if (strncmp(path, pool->definition->target, length) != 0 || path[length] != '/')
            continue;
        const struct volume *volume = pool_volume_find(pool, path + length + 1);

        if (volume != NULL) {
            *ret_pool = pool;
            return volume;
        }
    }
    return NULL;
}

int volume_xml(const struct volume *volume, struct buffer *out)
{
    const struct volume_facts facts = {.file = &volume->file,
                                       .path = volume->path,
                                       .format = volume->format,
                                       .capacity = volume->capacity,
                                       .backing = volume->backing};

    return volume_format_xml(&facts, out);
}
