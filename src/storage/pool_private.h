/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the pool files. */
#ifndef FERRY_STORAGE_POOL_PRIVATE_H
#define FERRY_STORAGE_POOL_PRIVATE_H

#include "storage/pool.h"

#define POOLS_MAX 512

struct volumes {
    struct volume *items; /* sorted by name */
    size_t count;
};

struct pool {
    struct pools *pools;
    struct pool_definition *definition; /* what holds */
    struct pool_definition *redefined;  /* of an active pool: what holds from its next start on; NULL: the same */
    bool persistent, autostart;
    struct storage_place *place; /* NULL: not active */
    bool mounted;                /* by us */
    bool wanted;                 /* not active, but it should be: it was, or has autostart */
    bool wanted_mounted;         /* and it is mounted already */
    struct volumes volumes;
    struct storage_space space;
};

struct pools {
    struct pools_options options;
    struct pool *pool[POOLS_MAX]; /* sorted by name */
    size_t count;
};

/* pools.c */
void pools_run(const struct pools *pools, void (*fn)(void *arg), void *arg);
void pools_warn(const struct pools *pools, const struct err *err);
/* A new pool of that definition, which it takes over in any case. -ENOSPC, -ENOMEM. */
int pools_add(struct pools *pools, struct pool_definition *definition, struct pool **ret_pool, struct err *err);
/* Takes it out of the list, and frees it. */
void pools_drop(struct pool *pool);
/* Another pool in the way: one of the same name with another UUID, the same UUID, or the same target. -EEXIST; ret_same: the one of
 * the same name and UUID, or NULL. */
int pools_check_clash(const struct pools *pools, const struct pool_definition *definition, struct pool **ret_same, struct err *err);

/* pool.c */
int pool_need_active(const struct pool *pool, struct err *err);
/* mounted: its target is already. */
int pool_activate(struct pool *pool, bool build, bool mounted, struct err *err);

/* pool_volumes.c */
void volumes_fini(struct volumes *volumes);
/* Puts a volume where it belongs, instead of one of its name; takes it over in any case. -ENOMEM. ret_volume may be NULL. */
int volumes_put(struct volumes *volumes, struct volume *volume, const struct volume **ret_volume);
void volumes_remove(struct volumes *volumes, const char *name); /* no error if there is none */
/* What lies in a file, which blocks. One that can't be read is shown as what it seems to be. -ENOMEM. */
int volume_look(struct storage_place *place, const char *target, const struct storage_file *file, struct volume *ret_volume);
int pool_look_at_volumes(struct pool *pool, struct err *err);

/* pool_store.c: the files. */
int pool_make_directories(const struct pools *pools, struct err *err);
int pool_store_config(const struct pools *pools, const struct pool_definition *definition, struct err *err);
int pool_forget_config(const struct pools *pools, const char *name, struct err *err);
int pool_store_autostart(const struct pools *pools, const char *name, bool autostart, struct err *err);
int pool_store_active(const struct pools *pools, const struct pool_definition *definition, bool mounted,
                      struct err *err);
int pool_forget_active(const struct pools *pools, const char *name, struct err *err);

enum store_kind { STORE_CONFIG, STORE_ACTIVE };
struct stored {
    struct pool_definition *definition;
    bool autostart; /* of STORE_CONFIG */
    bool mounted;   /* of STORE_ACTIVE */
};
/* Calls found for each file that can be read; warns of the others. found takes the definition over. */
int pool_each_stored(const struct pools *pools, enum store_kind kind, void (*found)(void *ctx, struct stored *stored),
                     void *ctx, struct err *err);

/* pool_place.c: opening a pool's place, mounted or not. */
int pool_open_place(const struct pool *pool, bool build, bool already_mounted, struct storage_place **ret_place,
                    bool *ret_mounted, struct err *err);
int pool_make_directory(const struct pool_definition *definition, struct err *err);
int pool_unmount(const struct pool_definition *definition, struct err *err);

#endif
