/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams: bytes that flow on a connection after a call's reply, under the call's number and serial.
 *
 * All functions wait where they must; they belong to the coroutine of the call that opened the stream, and one more coroutine may
 * use the other direction. The stream lives as long as its call. */
#ifndef FERRY_DAEMON_STREAM_H
#define FERRY_DAEMON_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct call;
struct client;
struct rpc_header;
struct stream;

/* Opens the stream and sends the call's reply. On failure the handler returns what this returns. */
int stream_open(struct call *call, struct stream **ret_stream);

/* What the client sent, at most size bytes; 0: it has finished, -ECONNABORTED: it aborted or is gone. */
ssize_t stream_read(struct stream *stream, void *data, size_t size);

/* To the client; waits while it is slow. -ECONNABORTED. */
int stream_write(struct stream *stream, const void *data, size_t size);

/* Tells the client that no more will come; what it says to that is left to stream_read(). */
int stream_write_end(struct stream *stream);

/* The client has aborted, or is gone. */
bool stream_aborted(const struct stream *stream);

/* Wakes the stream's readers and writers, which get -ECONNABORTED, without a word to the client. */
void stream_stop(struct stream *stream);

/* The end: confirms what the client finished; or tells it of the end, and waits for its answer. To be called before the handler
 * returns 0. */
void stream_close(struct stream *stream);

/* By others: a packet of the client's; the handler of an open stream has failed; the client is gone; it has sent more than is
 * taken yet. */
int stream_receive(struct client *client, const struct rpc_header *header, const uint8_t *data, size_t size);
void stream_fail_call(struct call *call);
void streams_abort(struct client *client);
bool streams_full(const struct client *client);

#endif
