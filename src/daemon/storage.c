/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's storage pools inside ferryd. */
#include "daemon/storage.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/events.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

/* Between two tries to start what should be active, twice as long each time: a try holds the lock until a server that is away has been
 * waited for, and calls about other pools wait with it. */
#define RETRY_NS (5 * NANOSECONDS_PER_SECOND)
#define RETRY_MAX_NS (60 * NANOSECONDS_PER_SECOND)

enum { EVENT_ID_LIFECYCLE = 0, EVENT_ID_REFRESH = 1 };

static void tell_clients(void *ctx, const struct pool *pool, enum pool_event event)
{
    struct daemon_storage *storage = ctx;
    const struct pool_definition *definition = pool_definition(pool);
    struct buffer payload = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &payload};
    bool refreshed = event == POOL_REFRESHED;

    rpc_put_named(&writer, definition->name, definition->uuid);
    if (!refreshed) {
        xdr_put_i32(&writer, (int32_t)event);
        xdr_put_i32(&writer, 0);
    }
    if (writer.error == 0)
        events_send(storage->daemon, EVENT_POOL, refreshed ? EVENT_ID_REFRESH : EVENT_ID_LIFECYCLE, definition->uuid,
                    refreshed ? REMOTE_STORAGE_POOL_EVENT_REFRESH : REMOTE_STORAGE_POOL_EVENT_LIFECYCLE, &payload);
    buffer_fini(&payload);
}

static void log_warning_of(void *ctx, const char *sentence)
{
    log_warning("%s", sentence);
}

/* In a worker while a call waits; at the daemon's start nobody else wants to go on. */
static void run_in_worker(void *ctx, void (*fn)(void *arg), void *arg)
{
    struct scheduler *scheduler = ((struct daemon_storage *)ctx)->daemon->scheduler;

    if (coroutine_self(scheduler) == NULL || coroutine_work(scheduler, fn, arg) < 0)
        fn(arg);
}

static void set_retry(struct daemon_storage *storage)
{
    timer_set(&storage->retry, clock_now(loop_timers(storage->daemon->loop)->clock) + storage->retry_ns);
    storage->retry_ns = storage->retry_ns < RETRY_MAX_NS / 2 ? storage->retry_ns * 2 : RETRY_MAX_NS;
}

static void retry(void *ctx)
{
    struct daemon_storage *storage = ctx;
    size_t left;

    daemon_storage_lock(storage);
    left = pools_retry(storage->pools);
    daemon_storage_unlock(storage);
    if (left > 0 && !storage->daemon->stopping)
        set_retry(storage);
}

static void on_retry(void *ctx)
{
    struct daemon_storage *storage = ctx;

    if (!storage->daemon->stopping && coroutine_start(storage->daemon->scheduler, retry, storage) < 0)
        set_retry(storage);
}

static char *directory_in(const char *directory, const char *name)
{
    char *path = NULL;

    return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

int daemon_storage_new(struct daemon *daemon, struct daemon_storage **ret_storage, struct err *err)
{
    struct daemon_storage *storage = calloc(1, sizeof(*storage));
    struct pools_options options = {.event = tell_clients, .warn = log_warning_of, .run = run_in_worker, .ctx = storage};
    int r = 0;

    if (storage == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    storage->daemon = daemon;
    storage->retry_ns = RETRY_NS;
    timer_init(&storage->retry, loop_timers(daemon->loop), on_retry, storage);
    options.config_directory = storage->config_directory = directory_in(daemon->config.state_dir, "storage");
    options.run_directory = storage->run_directory = directory_in(daemon->config.run_dir, "storage");
    if (storage->config_directory == NULL || storage->run_directory == NULL)
        r = err_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        r = pools_open(&options, &storage->pools, err);
    if (r < 0) {
        daemon_storage_free(storage);
        return r;
    }
    pools_autostart(storage->pools);
    set_retry(storage);
    *ret_storage = storage;
    return 0;
}

void daemon_storage_free(struct daemon_storage *storage)
{
    if (storage == NULL)
        return;
    timer_cancel(&storage->retry);
    pools_close(storage->pools);
    free(storage->config_directory);
    free(storage->run_directory);
    free(storage);
}

void daemon_storage_lock(struct daemon_storage *storage)
{
    while (storage->locked)
        wait_queue_wait(&storage->unlocked, storage->daemon->scheduler, WAIT_FOR_EVER);
    storage->locked = true;
}

void daemon_storage_unlock(struct daemon_storage *storage)
{
    storage->locked = false;
    wait_queue_wake_all(&storage->unlocked);
}

/* The VM speaks to the server as ferryd does, whose volumes they are, whatever user it runs as. */
int daemon_storage_resolve(const struct daemon *daemon, const char *path, char *ret_url, size_t size)
{
    int r = path == NULL ? -ENOENT : pools_resolve(daemon->storage->pools, path, ret_url, size);
    size_t used;

    if (r < 0)
        return r;
    used = strlen(ret_url);
    return text_format(ret_url + used, size - used, "&uid=%u&gid=%u", geteuid(), getegid());
}
