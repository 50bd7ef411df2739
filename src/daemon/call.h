/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A call of a client, as its handler sees it.
 *
 * A handler gets decoded arguments in call->arg[0..], in the order of the layout in protocol/remote_calls.def, writes its results
 * to &call->out in the order of theirs, and returns 0; or it returns a negative errno or RPC_FAULT(code) with a sentence in
 * call->err, and what it wrote is dropped. It runs in a coroutine: it may wait, and everything that is not the call's own may be
 * another afterwards. */
#ifndef FERRY_DAEMON_CALL_H
#define FERRY_DAEMON_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/err.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

struct client;
struct daemon;
struct domain;

struct call {
    struct daemon *daemon;
    struct client *client; /* held; may be closed meanwhile */
    const struct remote_call *type;
    uint32_t serial;
    struct domain *domain; /* held for the handler: call_domain() */
    struct arena arena;    /* freed with the call: handlers may use it */
    struct rpc_value arg[RPC_VALUES_MAX];
    struct buffer result;
    struct xdr_writer out; /* into result */
    int fds[RPC_FDS_MAX];  /* go with the reply, which takes them over */
    unsigned fd_count;
    bool replied;          /* the reply is out already: a stream goes on */
    struct err err;
};

typedef int call_fn(struct call *call);

struct call_handler {
    int32_t number;   /* of protocol/remote_calls.def */
    call_fn *fn;
};

/* The tables of handlers, each at the end of the file that has them; they end with number 0. dispatch.c lists them. */
extern const struct call_handler connect_calls[];
extern const struct call_handler host_calls[];
extern const struct call_handler event_calls[];
extern const struct call_handler network_calls[];
extern const struct call_handler port_calls[];
extern const struct call_handler storage_calls[];
extern const struct call_handler volume_calls[];
extern const struct call_handler domain_calls[];
extern const struct call_handler lifecycle_calls[];
extern const struct call_handler device_calls[];
extern const struct call_handler update_calls[];
extern const struct call_handler block_calls[];
extern const struct call_handler limits_calls[];
extern const struct call_handler statistics_calls[];
extern const struct call_handler save_calls[];
extern const struct call_handler metadata_calls[];
extern const struct call_handler monitor_calls[]; /* of the program "qemu", */
extern const struct call_handler monitor_event_calls[]; /* and these */
extern const struct call_handler cpu_calls[];
extern const struct call_handler migrate_calls[];
extern const struct call_handler console_calls[];

/* Sends the reply now, before the handler returns: for those that go on with a stream. 0, or what a failing handler returns. */
int call_reply(struct call *call);

/* Refuses bits that the call does not know, in a sentence. */
int call_check_flags(struct call *call, uint32_t flags, uint32_t known);

#endif
