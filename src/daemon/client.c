/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections: reading, the queue of output, keepalive. */
#include "daemon/client.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/dispatch.h"
#include "daemon/events.h"
#include "daemon/migration.h"
#include "daemon/server.h"
#include "daemon/stream.h"
#include "remote/tls.h"

#define READ_SIZE (64u * 1024)
#define KEEPALIVE_INTERVAL_NS (5 * NANOSECONDS_PER_SECOND)
#define KEEPALIVE_COUNT 5
#define LOGIN_NS (30 * NANOSECONDS_PER_SECOND) /* for TLS and CONNECT_OPEN */

struct packet {
    struct packet *next;
    struct buffer bytes;
    size_t sent;
    int fds[RPC_FDS_MAX];
    unsigned fd_count, fd_sent;
};

static void on_ready(void *ctx, unsigned events);

static void free_packet(struct packet *packet)
{
    while (packet->fd_sent < packet->fd_count)
        fd_close(&packet->fds[packet->fd_sent++]);
    buffer_fini(&packet->bytes);
    free(packet);
}

void client_hold(struct client *client)
{
    client->references++;
}

void client_release(struct client *client)
{
    if (--client->references > 0)
        return;
    buffer_fini(&client->input);
    free(client);
}

void client_close(struct client *client)
{
    if (client->closed)
        return;
    client->closed = true;
    timer_cancel(&client->timer);
    loop_remove(client->source);
    client->source = NULL;
    channel_close(&client->channel);
    while (client->output != NULL) {
        struct packet *packet = client->output;

        client->output = packet->next;
        free_packet(packet);
    }
    events_forget(client);
    migration_client_gone(client->daemon, client);
    streams_abort(client);
    wait_queue_wake_all(&client->output_space);
    server_forget(client);
    client_release(client);
}

/* 0: the packet is out; -EAGAIN and others. */
static int send_packet(struct client *client, struct packet *packet)
{
    while (packet->sent < packet->bytes.size) {
        ssize_t sent = channel_write(&client->channel, packet->bytes.data + packet->sent, packet->bytes.size - packet->sent);

        if (sent < 0)
            return (int)sent;
        packet->sent += sent;
        client->output_size -= sent;
    }
    while (packet->fd_sent < packet->fd_count) {
        int r = channel_send_fd(&client->channel, packet->fds[packet->fd_sent]);

        if (r < 0)
            return r;
        fd_close(&packet->fds[packet->fd_sent++]);
    }
    return 0;
}

static int flush(struct client *client)
{
    while (client->output != NULL) {
        struct packet *packet = client->output;
        int r = send_packet(client, packet);

        if (r < 0)
            return r == -EAGAIN ? 0 : r;
        client->output = packet->next;
        if (client->output == NULL)
            client->output_last = &client->output;
        free_packet(packet);
    }
    return 0;
}

static bool reads(const struct client *client)
{
    return !client->finishing && client->calls < CLIENT_CALLS_MAX && !streams_full(client);
}

/* What the loop is to watch for, by the state of things. */
static void watch(struct client *client)
{
    unsigned events = (reads(client) ? LOOP_READ : 0) | (client->output != NULL ? LOOP_WRITE : 0);

    if (client->handshaking)
        events = tls_wants_write(client->channel.tls) ? LOOP_WRITE : LOOP_READ;
    if (client->source != NULL)
        loop_modify(client->source, events);
}

static void push_output(struct client *client)
{
    if (client->closed || client->handshaking)
        return;
    if (flush(client) < 0 || (client->finishing && client->output == NULL)) {
        client_close(client);
        return;
    }
    if (client->output_size < CLIENT_OUTPUT_STREAM)
        wait_queue_wake_all(&client->output_space);
    watch(client);
}

void client_send(struct client *client, struct buffer *bytes, const int *fds, unsigned fd_count)
{
    struct packet *packet = client->closed ? NULL : calloc(1, sizeof(*packet));

    if (packet == NULL || client->output_size > CLIENT_OUTPUT_MAX) {
        free(packet);
        for (unsigned i = 0; i < fd_count; i++)
            close(fds[i]);
        buffer_fini(bytes);
        client_close(client);
        return;
    }
    packet->bytes = *bytes;
    *bytes = BUFFER_INIT(bytes->maximum);
    for (unsigned i = 0; i < fd_count; i++)
        packet->fds[packet->fd_count++] = fds[i];
    *client->output_last = packet;
    client->output_last = &packet->next;
    client->output_size += packet->bytes.size;
    push_output(client);
}

static void send_keepalive(struct client *client, int procedure)
{
    struct buffer bytes = BUFFER_INIT(RPC_HEADER_SIZE);
    struct xdr_writer writer = {.out = &bytes};
    const struct rpc_header header = {.program = RPC_PROGRAM_KEEPALIVE, .version = 1, .procedure = procedure, .type = RPC_MESSAGE};

    rpc_put_header(&writer, &header);
    rpc_set_length(&bytes, 0);
    client_send(client, &bytes, NULL, 0);
}

static void on_timer(void *ctx)
{
    struct client *client = ctx;

    if (!client->opened || client->unanswered > KEEPALIVE_COUNT) {
        client_close(client);
        return;
    }
    timer_set(&client->timer, host_monotonic_ns() + KEEPALIVE_INTERVAL_NS);
    if (client->keepalive) {
        client->unanswered++;
        send_keepalive(client, RPC_KEEPALIVE_PING);
    }
}

/* One whole packet. A negative errno: the peer does not speak the protocol. */
static int take_packet(struct client *client, const uint8_t *data, size_t size)
{
    struct xdr_reader reader = {.data = data + 4, .size = size - 4};
    struct rpc_header header;

    rpc_get_header(&reader, &header);
    client->unanswered = 0;
    if (header.program == RPC_PROGRAM_KEEPALIVE) {
        if (header.procedure == RPC_KEEPALIVE_PING)
            send_keepalive(client, RPC_KEEPALIVE_PONG);
        return 0;
    }
    switch (header.type) {
    case RPC_CALL_WITH_FDS:
        client->skip = xdr_get_u32(&reader);
        if (client->skip > RPC_FDS_MAX)
            return -EPROTO;
        __attribute__((fallthrough));
    case RPC_CALL:
        return dispatch_call(client, &header, &reader);
    case RPC_STREAM:
    case RPC_STREAM_HOLE:
        return stream_receive(client, &header, reader.data, reader.size);
    default:
        return -EPROTO;
    }
}

static int take_packets(struct client *client)
{
    size_t size, used = 0;
    int r = 0;

    if (client->parsing)
        return 0;
    client->parsing = true;
    while (r == 0 && !client->closed && reads(client)) {
        const uint8_t *data = client->input.data + used;
        size_t left = client->input.size - used;

        if (client->skip > 0 && left > 0) {
            client->skip--;
            used++;
            continue;
        }
        r = rpc_packet_size(data, left, &size);
        if (r < 0 || size == 0 || size > left)
            break;
        r = take_packet(client, data, size);
        used += size;
    }
    client->parsing = false;
    buffer_consume(&client->input, used);
    return r;
}

/* 0, or a negative errno when the connection is over. */
static int read_input(struct client *client)
{
    char bytes[READ_SIZE];
    ssize_t got;
    int r;

    do {
        got = channel_read(&client->channel, bytes, sizeof(bytes));
        if (got <= 0)
            return got == -EAGAIN ? 0 : -EPIPE;
        r = buffer_append(&client->input, bytes, got);
        if (r == 0)
            r = take_packets(client);
    } while (r == 0 && !client->closed && channel_pending(&client->channel));
    return r;
}

static int shake_hands(struct client *client)
{
    struct buffer byte = BUFFER_INIT(1);
    struct err err = ERR_INIT;
    int r = tls_handshake(client->channel.tls, &err);

    if (r == -EAGAIN)
        return 0;
    if (r < 0) {
        log_warning("a TLS client was turned away: %s", err.message);
        return r;
    }
    client->handshaking = false;
    buffer_append(&byte, "\1", 1); /* "you are welcome", as libvirt's clients wait for */
    client_send(client, &byte, NULL, 0);
    return 0;
}

static void on_ready(void *ctx, unsigned events)
{
    struct client *client = ctx;
    int r = 0;

    client_hold(client);
    if (client->handshaking)
        r = shake_hands(client);
    else if ((events & LOOP_READ) != 0 && reads(client))
        r = read_input(client);
    else if ((events & LOOP_HANGUP) != 0)
        r = -EPIPE;
    if (r < 0)
        client_close(client);
    push_output(client);
    if (!client->closed)
        watch(client);
    client_release(client);
}

void client_resume(struct client *client)
{
    if (client->closed)
        return;
    client_hold(client);
    if (take_packets(client) < 0)
        client_close(client);
    if (!client->closed)
        watch(client);
    client_release(client);
}

struct client *client_new(struct server *server, struct channel channel, bool readonly)
{
    struct client *client = calloc(1, sizeof(*client));
    struct loop *loop = server->daemon->loop;

    if (client == NULL) {
        channel_close(&channel);
        return NULL;
    }
    *client = (struct client){.daemon = server->daemon, .server = server, .channel = channel, .readonly = readonly,
                              .authenticated = true, .handshaking = channel.tls != NULL, .references = 1,
                              .input = BUFFER_INIT(RPC_MESSAGE_MAX + 4 + READ_SIZE)};
    client->output_last = &client->output;
    timer_init(&client->timer, loop_timers(loop), on_timer, client);
    if (loop_add(loop, channel.fd, LOOP_READ, on_ready, client, &client->source) < 0) {
        channel_close(&client->channel);
        free(client);
        return NULL;
    }
    timer_set(&client->timer, host_monotonic_ns() + LOGIN_NS);
    return client;
}
