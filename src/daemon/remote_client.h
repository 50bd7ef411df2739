/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of another host's daemon, by the same protocol: for migrations from daemon to daemon. One call at a time, in a coroutine. */
#ifndef FERRY_DAEMON_REMOTE_CLIENT_H
#define FERRY_DAEMON_REMOTE_CLIENT_H

#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "protocol/rpc.h"

struct daemon;
struct err;
struct remote_client;

/* Connects to a URI as remote/uri.h has them; ssh's keys must be there, since nobody is asked. Sentences. */
int remote_open(struct daemon *daemon, const char *uri, struct remote_client **ret_client, struct err *err);
void remote_close(struct remote_client *client); /* accepts NULL */

/* Arguments are written to remote_arguments() before; results are the arena's. What the other daemon refuses keeps its code and its
 * sentence. -EPIPE: it is gone. */
struct xdr_writer *remote_arguments(struct remote_client *client);
int remote_call(struct remote_client *client, int32_t procedure, struct arena *arena, struct rpc_value values[static RPC_VALUES_MAX],
                struct err *err);

#endif
