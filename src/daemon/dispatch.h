/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a packet to a handler, and back. */
#ifndef FERRY_DAEMON_DISPATCH_H
#define FERRY_DAEMON_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct remote_call;
struct rpc_header;
struct xdr_reader;

/* Starts the call. A negative errno only when there can be no answer. */
int dispatch_call(struct client *client, const struct rpc_header *header, struct xdr_reader *payload);

/* Whether a handler is in any of the tables. */
bool dispatch_has_handler(const struct remote_call *type);

#endif
