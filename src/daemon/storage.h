/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's storage pools inside ferryd: one change at a time, events for clients, what paths of disks mean. */
#ifndef FERRY_DAEMON_STORAGE_H
#define FERRY_DAEMON_STORAGE_H

#include <stddef.h>

#include "event/coroutine.h"
#include "event/timer.h"
#include "storage/pool.h"

struct daemon;
struct err;

struct daemon_storage {
    struct daemon *daemon;
    struct pools *pools; /* to look at; to change it, hold the lock */
    bool locked;
    struct wait_queue unlocked;
    struct timer retry; /* for pools that should be active and could not */
    int64_t retry_ns;   /* until the next one */
    char *config_directory, *run_directory;
};

/* Finds what is defined and what is active, and starts what is to start by itself. */
int daemon_storage_new(struct daemon *daemon, struct daemon_storage **ret_storage, struct err *err);
void daemon_storage_free(struct daemon_storage *storage); /* accepts NULL */

/* Held by a coroutine while it changes pools or volumes. After it was waited for, look pools up again. */
void daemon_storage_lock(struct daemon_storage *storage);
void daemon_storage_unlock(struct daemon_storage *storage);

/* Where the VM finds the disk of that path: 0 with an nfs:// URL when it lies in a pool on a server that is not mounted, else
 * -ENOENT: it is what the path says. */
int daemon_storage_resolve(const struct daemon *daemon, const char *path, char *ret_url, size_t size);

struct call;

/* For handlers. The client's code for what the storage room says; and the pool that arg[0] names, NULL with a sentence. */
int storage_fault(int result);
struct pool *storage_find(struct call *call);

#endif
