/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the place files: what a kind of place does. */
#ifndef FERRY_STORAGE_PLACE_PRIVATE_H
#define FERRY_STORAGE_PLACE_PRIVATE_H

#include "storage/place.h"

struct place_type {
    void (*close)(struct storage_place *place);
    int (*space)(struct storage_place *place, struct storage_space *ret_space);
    int (*list)(struct storage_place *place, int (*found)(void *ctx, const struct storage_file *file), void *ctx);
    int (*look)(struct storage_place *place, const char *name, struct storage_file *ret_file);
    int (*create)(struct storage_place *place, const struct storage_new *new_file, struct storage_handle **ret_handle, struct err *err);
    int (*resize)(struct storage_place *place, const char *name, uint64_t size, bool allocate);
    int (*remove)(struct storage_place *place, const char *name);
    int (*open)(struct storage_place *place, const char *name, bool writable, struct storage_handle **ret_handle, struct err *err);
};

struct storage_place {
    const struct place_type *type;
};

struct handle_type {
    int (*transfer)(struct storage_handle *handle, void *data, size_t size, uint64_t offset, bool write);
    int (*flush)(struct storage_handle *handle);
    int (*publish)(struct storage_handle *handle, const char *name); /* of handles that are nameless */
    void (*close)(struct storage_handle *handle);
};

struct storage_handle {
    const struct handle_type *type;
    uint64_t size;
    bool nameless; /* a new file without a name */
};

#endif
