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
    int (*create)(struct storage_place *place, const char *name, mode_t mode, uint64_t size, uint64_t allocate);
    int (*resize)(struct storage_place *place, const char *name, uint64_t size);
    int (*remove)(struct storage_place *place, const char *name);
    int (*open)(struct storage_place *place, const char *name, bool writable, struct storage_handle **ret_handle, struct err *err);
};

struct storage_place {
    const struct place_type *type;
};

struct handle_type {
    int (*transfer)(struct storage_handle *handle, void *data, size_t size, uint64_t offset, bool write);
    int (*flush)(struct storage_handle *handle);
    void (*close)(struct storage_handle *handle);
};

struct storage_handle {
    const struct handle_type *type;
    uint64_t size;
};

#endif
