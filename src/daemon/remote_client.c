/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client: a URI taken apart, a connection made, calls. */
#include "daemon/remote_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "protocol/remote.h"
#include "remote/channel.h"
#include "remote/ssh.h"
#include "remote/tls.h"
#include "remote/uri.h"

#define CONNECT_NS (30 * NANOSECONDS_PER_SECOND)
#define ANSWER_NS (120 * NANOSECONDS_PER_SECOND)

struct remote_client {
    struct daemon *daemon;
    struct channel channel;
    struct tls_credentials *credentials;
    struct remote_ssh ssh;
    uint32_t serial;
    struct buffer arguments, input;
    struct xdr_writer writer;
};

struct lookup {
    const struct remote_uri *uri;
    const char *port;
    struct addrinfo *list;
    int result;
};

static void look_up(void *ctx)
{
    struct lookup *lookup = ctx;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

    lookup->result = getaddrinfo(lookup->uri->host, lookup->port, &hints, &lookup->list);
}

static int finish_connect(struct remote_client *client, int fd)
{
    int error = 0, r = coroutine_wait_fd(client->daemon->scheduler, fd, LOOP_WRITE, CONNECT_NS);
    socklen_t size = sizeof(error);

    if (r < 0)
        return r;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return -error;
}

static int try_address(struct remote_client *client, const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : 0;

    if (r == 0 && connect(fd, address->ai_addr, address->ai_addrlen) < 0)
        r = errno == EINPROGRESS ? finish_connect(client, fd) : -errno;
    if (r < 0)
        fd_close(&fd);
    else
        client->channel.fd = fd;
    return r;
}

static int connect_tcp(struct remote_client *client, const struct remote_uri *uri, struct err *err)
{
    struct lookup lookup = {.uri = uri, .port = remote_uri_port(uri)};
    int r = coroutine_work(client->daemon->scheduler, look_up, &lookup);

    if (r < 0)
        return err_set(err, r, "out of memory");
    if (lookup.result != 0)
        return err_set(err, RPC_FAULT(RPC_SYSTEM_ERROR), "cannot find the host '%s': %s", uri->host, gai_strerror(lookup.result));
    r = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = lookup.list; r < 0 && at != NULL; at = at->ai_next)
        r = try_address(client, at);
    freeaddrinfo(lookup.list);
    if (r < 0)
        return err_set(err, RPC_FAULT(RPC_SYSTEM_ERROR), "unable to connect to ferryd or libvirtd at '%s:%s': %s", uri->host, lookup.port,
                       strerror(-r));
    return 0;
}

static int connect_unix(struct remote_client *client, const struct remote_uri *uri, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    text_format(address.sun_path, sizeof(address.sun_path), "%s", uri->socket[0] != 0 ? uri->socket : REMOTE_SYSTEM_SOCKET);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || fd_set_nonblocking(fd) < 0) {
        int r = err_set(err, RPC_FAULT(RPC_SYSTEM_ERROR), "unable to connect to the socket %s: %s", address.sun_path, strerror(errno));
        fd_close(&fd);
        return r;
    }
    client->channel.fd = fd;
    return 0;
}

static int connect_ssh(struct remote_client *client, const struct remote_uri *uri, struct err *err)
{
    int r = remote_ssh_start(uri, false, &client->ssh, &client->channel.fd, err);

    return r < 0 ? r : fd_set_nonblocking(client->channel.fd);
}

/* Reads what there is; waits for the first of it. */
static int receive(struct remote_client *client, void *data, size_t size, int64_t end_ns)
{
    for (;;) {
        ssize_t got = channel_read(&client->channel, data, size);
        int64_t left = end_ns - host_monotonic_ns();
        int r;

        if (got > 0)
            return (int)got;
        if (got != -EAGAIN)
            return -EPIPE;
        r = left <= 0 ? -ETIMEDOUT : coroutine_wait_fd(client->daemon->scheduler, client->channel.fd, LOOP_READ, left);
        if (r < 0)
            return r;
    }
}

/* The handshake, and the byte by which a server says that it takes the client. */
static int start_tls(struct remote_client *client, const struct remote_uri *uri, struct err *err)
{
    int64_t end = host_monotonic_ns() + CONNECT_NS;
    char byte = 0;
    const char *directory = uri->pki_directory[0] != 0 ? uri->pki_directory : client->daemon->config.pki_dir;
    int r = tls_credentials_load(directory, false, &client->credentials, err);

    if (r == 0)
        r = tls_session_new(client->credentials, client->channel.fd, uri->host, &client->channel.tls);
    while (r == 0 && (r = tls_handshake(client->channel.tls, err)) == -EAGAIN) {
        int64_t left = end - host_monotonic_ns();

        r = left <= 0 ? err_set(err, -ETIMEDOUT, "the TLS handshake takes too long")
                      : coroutine_wait_fd(client->daemon->scheduler, client->channel.fd,
                                          tls_wants_write(client->channel.tls) ? LOOP_WRITE : LOOP_READ, left);
    }
    if (r < 0)
        return r;
    r = receive(client, &byte, 1, end);
    if (r < 0 || byte != 1)
        return err_set(err, RPC_FAULT(RPC_AUTH_FAILED), "the other host did not accept this host's certificate");
    return 0;
}

static int make_connection(struct remote_client *client, const struct remote_uri *uri, struct err *err)
{
    int r;

    switch (uri->transport) {
    case REMOTE_UNIX:
        return connect_unix(client, uri, err);
    case REMOTE_TCP:
        return connect_tcp(client, uri, err);
    case REMOTE_SSH:
        return connect_ssh(client, uri, err);
    default:
        r = connect_tcp(client, uri, err);
        return r < 0 ? r : start_tls(client, uri, err);
    }
}

/* AUTH_LIST, CONNECT_OPEN: as every client begins. */
static int log_in(struct remote_client *client, struct err *err)
{
    struct arena arena = ARENA_INIT(RPC_DECODED_MAX);
    struct rpc_value values[RPC_VALUES_MAX];
    int r = remote_call(client, REMOTE_AUTH_LIST, &arena, values, err);

    if (r == 0 && values[0].list.count > 0 && values[0].list.items[0].i != 0)
        r = err_set(err, RPC_FAULT(RPC_AUTH_FAILED), "the other host's daemon asks for authentication, which hosts cannot give each other");
    if (r == 0) {
        xdr_put_optional_string(remote_arguments(client), "qemu:///system");
        xdr_put_u32(remote_arguments(client), 0);
        r = remote_call(client, REMOTE_CONNECT_OPEN, &arena, values, err);
    }
    arena_fini(&arena);
    return r;
}

int remote_open(struct daemon *daemon, const char *text, struct remote_client **ret_client, struct err *err)
{
    struct remote_client *client = calloc(1, sizeof(*client));
    struct remote_uri uri;
    int r;

    if (client == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    *client = (struct remote_client){.daemon = daemon, .channel.fd = -1, .arguments = BUFFER_INIT(RPC_MESSAGE_MAX),
                                     .input = BUFFER_INIT(RPC_MESSAGE_MAX + 65536)};
    client->writer.out = &client->arguments;
    r = remote_uri_parse(text, &uri, err) < 0 ? RPC_FAULT(RPC_INVALID_ARGUMENT) : make_connection(client, &uri, err);
    if (r == 0) {
        r = log_in(client, err);
        if (r < 0)
            remote_ssh_explain(&client->ssh, err);
    }
    if (r < 0) {
        remote_close(client);
        return r;
    }
    *ret_client = client;
    return 0;
}

void remote_close(struct remote_client *client)
{
    if (client == NULL)
        return;
    channel_close(&client->channel);
    tls_credentials_free(client->credentials);
    remote_ssh_end(&client->ssh);
    buffer_fini(&client->arguments);
    buffer_fini(&client->input);
    free(client);
}

struct xdr_writer *remote_arguments(struct remote_client *client)
{
    return &client->writer;
}

static int send_packet(struct remote_client *client, const struct buffer *packet)
{
    size_t sent = 0;

    while (sent < packet->size) {
        ssize_t done = channel_write(&client->channel, packet->data + sent, packet->size - sent);
        int r = 0;

        if (done == -EAGAIN)
            r = coroutine_wait_fd(client->daemon->scheduler, client->channel.fd, LOOP_WRITE, ANSWER_NS);
        else if (done < 0)
            r = (int)done;
        if (r < 0)
            return r;
        sent += done > 0 ? (size_t)done : 0;
    }
    return 0;
}

static int send_call(struct remote_client *client, int32_t procedure)
{
    const struct rpc_header header = {.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = procedure, .type = RPC_CALL,
                                      .serial = ++client->serial};
    struct buffer packet = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &packet};
    int r = client->writer.error;

    rpc_put_header(&writer, &header);
    if (r == 0)
        r = buffer_append(&packet, client->arguments.data, client->arguments.size);
    rpc_set_length(&packet, 0);
    if (r == 0)
        r = send_packet(client, &packet);
    buffer_fini(&packet);
    buffer_consume(&client->arguments, client->arguments.size);
    client->writer.error = 0;
    return r;
}

/* The next packet's size, when it is all there. */
static int receive_packet(struct remote_client *client, size_t *ret_size)
{
    int64_t end = host_monotonic_ns() + ANSWER_NS;
    char bytes[16384];

    for (;;) {
        size_t size;
        int r = rpc_packet_size(client->input.data, client->input.size, &size);

        if (r < 0)
            return r;
        if (size > 0 && size <= client->input.size) {
            *ret_size = size;
            return 0;
        }
        r = receive(client, bytes, sizeof(bytes), end);
        if (r > 0)
            r = buffer_append(&client->input, bytes, (size_t)r);
        if (r < 0)
            return r;
    }
}

static int take_reply(struct remote_client *client, const struct rpc_header *header, struct xdr_reader *reader, struct arena *arena,
                      struct rpc_value *values, struct err *err)
{
    const struct remote_call *call = remote_find(RPC_PROGRAM_REMOTE, header->procedure);

    if (header->status == RPC_ERROR)
        return rpc_get_error(reader, err);
    if (call == NULL || rpc_decode(call->results, reader, arena, values) < 0)
        return err_set(err, -EBADMSG, "the other daemon's answer cannot be read");
    return 0;
}

int remote_call(struct remote_client *client, int32_t procedure, struct arena *arena, struct rpc_value values[static RPC_VALUES_MAX],
                struct err *err)
{
    int r = send_call(client, procedure);

    while (r == 0) {
        struct rpc_header header;
        struct xdr_reader reader;
        size_t size;

        r = receive_packet(client, &size);
        if (r < 0)
            break;
        reader = (struct xdr_reader){.data = client->input.data + 4, .size = size - 4};
        rpc_get_header(&reader, &header);
        if (header.type == RPC_REPLY && header.serial == client->serial) {
            r = take_reply(client, &header, &reader, arena, values, err);
            buffer_consume(&client->input, size);
            return r;
        }
        buffer_consume(&client->input, size); /* an event, or a ping that nobody asked for */
    }
    return err_set(err, r == -EPIPE ? r : RPC_FAULT(RPC_RPC_ERROR), "the connection to the other host's daemon broke: %s", strerror(-r));
}
