/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's end of a VM's control socket (QMP). Calls wait in the coroutine that makes them; events come in between. */
#ifndef FERRY_DAEMON_MONITOR_H
#define FERRY_DAEMON_MONITOR_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

struct daemon;
struct err;
struct monitor;

/* data may be NULL. hung_up: the last call there is; the monitor may be freed in it. */
struct monitor_listener {
    void (*event)(void *ctx, const char *name, const json_t *data);
    void (*hung_up)(void *ctx);
    void *ctx;
};

/* Connects, and negotiates. -ECONNREFUSED, -ENOENT: nobody listens (yet). */
int monitor_connect(struct daemon *daemon, const char *path, const struct monitor_listener *listener, struct monitor **ret_monitor,
                    struct err *err);

/* Waiting calls return -EPIPE. Accepts NULL. */
void monitor_free(struct monitor *monitor);

/* The process at the other end, as the kernel knows it. */
pid_t monitor_pid(const struct monitor *monitor);

#define MONITOR_PATIENCE_NS (60 * INT64_C(1000000000))

/* Executes a command; arguments (consumed, may be NULL) and the value (a new reference; ret_value may be NULL). fd >= 0 goes with it and
 * stays the caller's. nanoseconds: how long the VM may take, or WAIT_FOR_EVER. What the VM refuses is RPC_FAULT(RPC_OPERATION_FAILED)
 * with its sentence; -ETIMEDOUT; -EPIPE. */
int monitor_call_fd(struct monitor *monitor, const char *command, json_t *arguments, int fd, int64_t nanoseconds, json_t **ret_value,
                    struct err *err);
int monitor_call(struct monitor *monitor, const char *command, json_t *arguments, json_t **ret_value, struct err *err);

#endif
