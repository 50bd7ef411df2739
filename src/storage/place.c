/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names are checked here, whatever the kind of place. */
#include "storage/place.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"
#include "storage/place_private.h"

bool place_name_valid(const char *name)
{
    if (name[0] == 0 || strlen(name) > 255 || text_equal(name, ".") || text_equal(name, ".."))
        return false;
    for (const char *c = name; *c != 0; c++) {
        if (*c == '/' || (unsigned char)*c < ' ' || *c == 0x7f)
            return false;
    }
    return true;
}

void place_close(struct storage_place *place)
{
    if (place != NULL)
        place->type->close(place);
}

int place_space(struct storage_place *place, struct storage_space *ret_space)
{
    return place->type->space(place, ret_space);
}

int place_list(struct storage_place *place, int (*found)(void *ctx, const struct storage_file *file), void *ctx)
{
    return place->type->list(place, found, ctx);
}

int place_look(struct storage_place *place, const char *name, struct storage_file *ret_file)
{
    return place_name_valid(name) ? place->type->look(place, name, ret_file) : -EINVAL;
}

int place_create(struct storage_place *place, const struct storage_new *new_file, struct storage_handle **ret_handle, struct err *err)
{
    struct storage_new checked = *new_file;

    if (!place_name_valid(checked.name))
        return -EINVAL;
    if (checked.size > INT64_MAX)
        return -EFBIG;
    if (checked.allocate > checked.size)
        checked.allocate = checked.size;
    return place->type->create(place, &checked, ret_handle, err);
}

int handle_publish(struct storage_handle *handle, const char *name)
{
    int r = handle->nameless ? handle->type->publish(handle, name) : 0;

    if (r == 0)
        handle->nameless = false;
    return r;
}

void handle_discard(struct storage_handle *handle, struct storage_place *place, const char *name)
{
    bool named = !handle->nameless;

    handle_close(handle);
    if (named)
        place_remove(place, name);
}

int place_resize(struct storage_place *place, const char *name, uint64_t size, bool allocate)
{
    if (!place_name_valid(name))
        return -EINVAL;
    return size > INT64_MAX ? -EFBIG : place->type->resize(place, name, size, allocate);
}

int place_remove(struct storage_place *place, const char *name)
{
    return place_name_valid(name) ? place->type->remove(place, name) : -EINVAL;
}

int place_open(struct storage_place *place, const char *name, bool writable, struct storage_handle **ret_handle, struct err *err)
{
    if (!place_name_valid(name))
        return err_set(err, -EINVAL, "'%.200s' can't be the name of a volume", name);
    return place->type->open(place, name, writable, ret_handle, err);
}

int handle_read(struct storage_handle *handle, void *data, size_t size, uint64_t offset)
{
    return handle->type->transfer(handle, data, size, offset, false);
}

int handle_write(struct storage_handle *handle, const void *data, size_t size, uint64_t offset)
{
    return handle->type->transfer(handle, (void *)data, size, offset, true);
}

int handle_flush(struct storage_handle *handle)
{
    return handle->type->flush(handle);
}

uint64_t handle_size(const struct storage_handle *handle)
{
    return handle->size;
}

void handle_close(struct storage_handle *handle)
{
    if (handle != NULL)
        handle->type->close(handle);
}
