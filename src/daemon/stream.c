/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams: a buffer for what came, waits on both sides. */
#include "daemon/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/call.h"
#include "daemon/client.h"
#include "daemon/daemon.h"

#define INPUT_MAX (2u << 20)
#define FINISH_NS (10 * INT64_C(1000000000))
#define INPUT_FULL (1u << 20) /* then the connection is not read until somebody took some */

struct stream {
    struct client *client;
    struct stream *next; /* in the client's list */
    struct scheduler *scheduler;
    const struct remote_call *type;
    uint32_t serial;
    struct buffer input;
    bool finished; /* by the client: no more input */
    bool aborted;
    bool stopped;  /* by us */
    struct wait_queue changed;
};

static struct stream *find_stream(struct client *client, uint32_t serial)
{
    struct stream *stream = client->streams;

    while (stream != NULL && stream->serial != serial)
        stream = stream->next;
    return stream;
}

static void send_packet(struct stream *stream, uint32_t status, const void *data, size_t size)
{
    struct buffer bytes = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &bytes};
    const struct rpc_header header = {.program = stream->type->program, .version = 1, .procedure = stream->type->number,
                                      .type = RPC_STREAM, .serial = stream->serial, .status = status};

    rpc_put_header(&writer, &header);
    buffer_append(&bytes, data, size); /* without padding: the payload is bytes */
    rpc_set_length(&bytes, 0);
    client_send(stream->client, &bytes, NULL, 0);
}

int stream_open(struct call *call, struct stream **ret_stream)
{
    struct stream *stream;
    int r;

    if (find_stream(call->client, call->serial) != NULL)
        return err_set(&call->err, -EINVAL, "a stream with serial %u is open already", call->serial);
    stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return -ENOMEM;
    *stream = (struct stream){.client = call->client, .scheduler = call->daemon->scheduler, .type = call->type,
                              .serial = call->serial, .input = BUFFER_INIT(INPUT_MAX + RPC_MESSAGE_MAX)};
    stream->aborted = call->client->closed;
    stream->next = call->client->streams;
    call->client->streams = stream;
    r = call_reply(call);
    if (r < 0) {
        stream_close(stream);
        return r;
    }
    *ret_stream = stream;
    return 0;
}

bool stream_aborted(const struct stream *stream)
{
    return stream->aborted || stream->stopped;
}

ssize_t stream_read(struct stream *stream, void *data, size_t size)
{
    bool was_full = streams_full(stream->client);

    while (!stream_aborted(stream) && stream->input.size == 0 && !stream->finished)
        wait_queue_wait(&stream->changed, stream->scheduler, WAIT_FOR_EVER);
    if (stream_aborted(stream))
        return -ECONNABORTED;
    if (size > stream->input.size)
        size = stream->input.size;
    if (size > 0)
        memcpy(data, stream->input.data, size);
    buffer_consume(&stream->input, size);
    if (was_full && !streams_full(stream->client))
        client_resume(stream->client);
    return (ssize_t)size;
}

int stream_write(struct stream *stream, const void *data, size_t size)
{
    while (size > 0) {
        size_t piece = size < RPC_STREAM_CHUNK ? size : RPC_STREAM_CHUNK;

        while (!stream_aborted(stream) && stream->client->output_size > CLIENT_OUTPUT_STREAM)
            wait_queue_wait(&stream->client->output_space, stream->scheduler, WAIT_FOR_EVER);
        if (stream_aborted(stream))
            return -ECONNABORTED;
        send_packet(stream, RPC_CONTINUE, data, piece);
        data = (const char *)data + piece;
        size -= piece;
    }
    return 0;
}

int stream_write_end(struct stream *stream)
{
    if (stream_aborted(stream))
        return -ECONNABORTED;
    send_packet(stream, RPC_CONTINUE, NULL, 0);
    return 0;
}

void stream_stop(struct stream *stream)
{
    stream->stopped = true;
    wait_queue_wake_all(&stream->changed);
    wait_queue_wake_all(&stream->client->output_space);
}

static void remove_stream(struct stream *stream)
{
    struct stream **link = &stream->client->streams;

    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    buffer_fini(&stream->input);
    free(stream);
}

/* A client that is told of the end answers by finishing, and waits for that to be confirmed. */
static void wait_for_finish(struct stream *stream)
{
    send_packet(stream, RPC_CONTINUE, NULL, 0);
    while (!stream->aborted && !stream->finished) {
        buffer_consume(&stream->input, stream->input.size);
        if (wait_queue_wait(&stream->changed, stream->scheduler, FINISH_NS) < 0)
            break;
    }
}

void stream_close(struct stream *stream)
{
    if (!stream->aborted && !stream->finished)
        wait_for_finish(stream);
    if (!stream->aborted && stream->finished)
        send_packet(stream, RPC_OK, NULL, 0);
    remove_stream(stream);
}

void stream_fail_call(struct call *call)
{
    struct stream *stream = find_stream(call->client, call->serial);
    struct buffer record = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &record};

    if (stream == NULL)
        return;
    if (!stream->aborted) {
        rpc_put_error(&writer, rpc_error_code(call->err.code), 10, call->err.message);
        send_packet(stream, RPC_ERROR, record.data, record.size);
    }
    buffer_fini(&record);
    remove_stream(stream);
}

int stream_receive(struct client *client, const struct rpc_header *header, const uint8_t *data, size_t size)
{
    struct stream *stream = find_stream(client, header->serial);
    int r = 0;

    if (stream == NULL || stream->aborted || stream->finished)
        return 0; /* late: it has ended meanwhile */
    if (header->type == RPC_STREAM_HOLE || header->status > RPC_CONTINUE)
        return -EPROTO;
    if (header->status == RPC_OK) {
        stream->finished = true;
    } else if (header->status == RPC_ERROR) {
        send_packet(stream, RPC_OK, NULL, 0);
        stream->aborted = true;
    } else {
        r = buffer_append(&stream->input, data, size);
    }
    wait_queue_wake_all(&stream->changed);
    if (stream->aborted)
        wait_queue_wake_all(&client->output_space);
    return r;
}

void streams_abort(struct client *client)
{
    for (struct stream *stream = client->streams; stream != NULL; stream = stream->next) {
        stream->aborted = true;
        wait_queue_wake_all(&stream->changed);
    }
}

bool streams_full(const struct client *client)
{
    for (const struct stream *stream = client->streams; stream != NULL; stream = stream->next) {
        if (stream->input.size > INPUT_FULL)
            return true;
    }
    return false;
}
