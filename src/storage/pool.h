/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The storage pools of a host and their volumes: defined, started, stopped, found again.
 *
 * A pool is persistent (it has a file in the configuration directory), active (its place is open and its volumes are known),
 * or both. A netfs pool is mounted at its target where the kernel has an NFS client and this process may; elsewhere its volumes
 * are reached by nfs:// and keep the paths that they would have had: pools_resolve() says what such a path means. What is active is
 * noted in the run directory, so that it is found again after a crash.
 *
 * Errors are sentences. Codes: -ENOENT no such pool or volume, -EEXIST name, UUID, target or volume taken, -EISCONN and -ENOTCONN
 * active and not active, -EINVAL and -ENOTSUP what a document says, others the system's.
 *
 * All calls are made by one thread, one at a time. What waits for disks and servers goes through options.run, which may let
 * others of that thread go on meanwhile: these may look, but must not change anything. */
#ifndef FERRY_STORAGE_POOL_H
#define FERRY_STORAGE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/definition.h"
#include "storage/place.h"

struct pool;
struct pools;

enum pool_event { POOL_DEFINED, POOL_UNDEFINED, POOL_STARTED, POOL_STOPPED, POOL_CREATED, POOL_DELETED, POOL_REFRESHED };

struct pools_options {
    const char *config_directory; /* NAME.xml, autostart/NAME.xml */
    const char *run_directory;    /* what is active; to be lost when the host boots */
    bool no_mount;                /* netfs pools are never mounted */
    /* All may be NULL. event: after the fact. warn: what could not be done while nobody asked. run: calls fn(arg), perhaps
     * elsewhere, and returns when it has ended. */
    void (*event)(void *ctx, const struct pool *pool, enum pool_event event);
    void (*warn)(void *ctx, const char *sentence);
    void (*run)(void *ctx, void (*fn)(void *arg), void *arg);
    void *ctx;
};

int pools_open(const struct pools_options *options, struct pools **ret_pools, struct err *err);
void pools_close(struct pools *pools); /* active pools stay so; accepts NULL */

/* Starts all with autostart that are not active. Failures are warned of, and tried again by pools_retry(). */
void pools_autostart(struct pools *pools);

/* Once more the pools that should be active and could not: those with autostart, and those that were active before (their server
 * was away, say). Returns how many are left. */
size_t pools_retry(struct pools *pools);

size_t pools_count(const struct pools *pools);
struct pool *pools_get(const struct pools *pools, size_t index); /* sorted by name */
struct pool *pools_find(const struct pools *pools, const char *name);
struct pool *pools_find_uuid(const struct pools *pools, const uint8_t uuid[static UUID_SIZE]);

const struct pool_definition *pool_definition(const struct pool *pool);
bool pool_is_active(const struct pool *pool);
bool pool_is_persistent(const struct pool *pool);
bool pool_autostart(const struct pool *pool);
struct pool_numbers pool_numbers(const struct pool *pool);
int pool_xml(const struct pool *pool, struct buffer *out);

int pool_define(struct pools *pools, const char *xml, struct pool **ret_pool, struct err *err);
/* Defines and starts one that is gone when it is destroyed. build: makes its directory. */
int pool_create(struct pools *pools, const char *xml, bool build, struct pool **ret_pool, struct err *err);
int pool_start(struct pool *pool, bool build, struct err *err);
int pool_build(struct pool *pool, struct err *err);
int pool_destroy(struct pool *pool, struct err *err);  /* a transient one is gone afterwards; files stay */
int pool_undefine(struct pool *pool, struct err *err);
int pool_delete(struct pool *pool, struct err *err);   /* its directory, which must be empty */
int pool_refresh(struct pool *pool, struct err *err);
int pool_set_autostart(struct pool *pool, bool autostart, struct err *err);

/* Volumes, as they were when the pool was last looked at; valid until it is again. */
struct volume {
    struct storage_file file;
    char *path; /* also libvirt's key */
    enum volume_format format;
    uint64_t capacity;
    char *backing; /* NULL: none */
};
size_t pool_volume_count(const struct pool *pool);
const struct volume *pool_volume_get(const struct pool *pool, size_t index); /* sorted by name */
const struct volume *pool_volume_find(const struct pool *pool, const char *name);
/* By path, in whichever active pool. */
const struct volume *pools_find_volume(const struct pools *pools, const char *path, struct pool **ret_pool);
int volume_xml(const struct volume *volume, struct buffer *out);

int volume_create(struct pool *pool, const char *xml, const struct volume **ret_volume, struct err *err);
/* With the contents of another one. */
int volume_create_from(struct pool *pool, const char *xml, struct pool *source_pool, const char *source,
                       const struct volume **ret_volume, struct err *err);
enum { VOLUME_RESIZE_ALLOCATE = 1, VOLUME_RESIZE_DELTA = 2, VOLUME_RESIZE_SHRINK = 4 }; /* libvirt's */
int volume_resize(struct pool *pool, const char *name, uint64_t size, unsigned flags, struct err *err);
int volume_delete(struct pool *pool, const char *name, struct err *err);
int volume_wipe(struct pool *pool, const char *name, struct err *err);
/* Its file was changed by somebody else: looks at it again. */
int volume_refresh(struct pool *pool, const char *name, struct err *err);
/* For reading and writing its file; not bound to the pool from then on. */
int volume_open(struct pool *pool, const char *name, bool writable, struct storage_handle **ret_handle, struct err *err);

/* What a path of a disk means: 0 with the URL when it lies in an active pool that is not mounted, -ENOENT when it is a file of
 * this host like any other. */
int pools_resolve(const struct pools *pools, const char *path, char *ret_url, size_t size);

#endif
