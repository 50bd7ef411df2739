/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a packet to a handler, and back. */
#ifndef FERRY_DAEMON_DISPATCH_H
#define FERRY_DAEMON_DISPATCH_H

#include <stdint.h>

struct client;
struct rpc_header;
struct xdr_reader;

/* Starts the call. A negative errno only when there can be no answer. */
int dispatch_call(struct client *client, const struct rpc_header *header, struct xdr_reader *payload);

#endif
