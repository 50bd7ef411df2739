/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of ferryd, by libvirt's protocol: blocking, one call at a time. */
#ifndef FERRY_CLI_DAEMON_CLIENT_H
#define FERRY_CLI_DAEMON_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "protocol/rpc.h"
#include "remote/channel.h"
#include "remote/ssh.h"

struct err;
struct tls_credentials;

struct daemon_client {
    struct channel channel;
    struct tls_credentials *credentials; /* of TLS */
    struct remote_ssh ssh;               /* of ssh */
    uint32_t serial;
    struct buffer arguments, input;
    struct xdr_writer writer; /* of the next call's arguments */
    struct arena arena;       /* what results point into, until daemon_client_close() */
    struct rpc_value result[RPC_VALUES_MAX];
};

/* Connects to a URI as remote/uri.h has them; uri NULL: FERRY_URI of the environment, or else
 * qemu:///system. Sentences. ret_client needs daemon_client_close() in any case. */
int daemon_client_open(const char *uri, struct daemon_client *ret_client, struct err *err);
void daemon_client_close(struct daemon_client *client);

/* A call with the arguments written to client->writer before; its results are in client->result. What ferryd refuses is
 * RPC_FAULT(code) with its sentence. */
int daemon_client_call(struct daemon_client *client, int32_t procedure, struct err *err);

/* The two halves of a call, for those who do something else between them. wait: whether an answer is there within the time. */
int daemon_client_send(struct daemon_client *client, int32_t procedure, struct err *err);
bool daemon_client_wait(struct daemon_client *client, int timeout_ms);
int daemon_client_receive(struct daemon_client *client, int32_t procedure, struct err *err);

/* A stream that the last call opened. send: status RPC_CONTINUE with bytes, or RPC_OK to finish. receive: the next packet: its status,
 * and its bytes in client->input from *ret_data on, until the next receive. */
int daemon_client_stream_send(struct daemon_client *client, int32_t procedure, uint32_t status, const void *data, size_t size);
int daemon_client_stream_receive(struct daemon_client *client, uint32_t *ret_status, const uint8_t **ret_data, size_t *ret_size,
                                 struct err *err);

#endif
