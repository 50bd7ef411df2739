/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client: connecting, packets, calls, streams. */
#include "cli/daemon_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "protocol/remote.h"
#include "remote/tls.h"
#include "remote/uri.h"

static int connect_unix(const char *path, int *ret_fd, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (text_format(address.sun_path, sizeof(address.sun_path), "%s", path) < 0 || fd < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int r = err_set(err, -errno, "cannot reach ferryd at %s: %s; --connect URI says where it is", path, strerror(errno));
        fd_close(&fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static int connect_first(const struct addrinfo *list, int *ret_fd)
{
    int r = -EADDRNOTAVAIL;

    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0) {
            *ret_fd = fd;
            return 0;
        }
        r = -errno;
        fd_close(&fd);
    }
    return r;
}

static int connect_tcp(const struct remote_uri *uri, int *ret_fd, struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const char *port = remote_uri_port(uri);
    struct addrinfo *list = NULL;
    int r = getaddrinfo(uri->host, port, &hints, &list);

    if (r != 0)
        return err_set(err, -EINVAL, "cannot find the host '%s': %s", uri->host, gai_strerror(r));
    r = connect_first(list, ret_fd);
    freeaddrinfo(list);
    return r < 0 ? err_set(err, r, "cannot reach ferryd at %s:%s: %s", uri->host, port, strerror(-r)) : 0;
}

static bool wait_for(const struct daemon_client *client, short events, int timeout_ms)
{
    struct pollfd event = {.fd = client->channel.fd, .events = events};

    return channel_pending(&client->channel) || poll(&event, 1, timeout_ms) > 0;
}

static int write_all(struct daemon_client *client, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t done = channel_write(&client->channel, data, size);

        if (done < 0 && done != -EAGAIN)
            return (int)done;
        if (done < 0) {
            wait_for(client, POLLOUT, -1);
            continue;
        }
        data += done;
        size -= (size_t)done;
    }
    return 0;
}

static int read_all(struct daemon_client *client, uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t got = channel_read(&client->channel, data, size);

        if (got == 0)
            return -ECONNRESET;
        if (got < 0 && got != -EAGAIN)
            return (int)got;
        if (got < 0) {
            wait_for(client, POLLIN, -1);
            continue;
        }
        data += got;
        size -= (size_t)got;
    }
    return 0;
}

/* The handshake, and the byte by which a server says that it takes the client. */
static int start_tls(struct daemon_client *client, const struct remote_uri *uri, struct err *err)
{
    const char *directory = uri->pki_directory[0] != 0 ? uri->pki_directory : NULL;
    uint8_t byte = 0;
    int r = tls_credentials_load(directory, false, &client->credentials, err);

    if (r == 0)
        r = tls_session_new(client->credentials, client->channel.fd, uri->host, &client->channel.tls);
    while (r == 0 && (r = tls_handshake(client->channel.tls, err)) == -EAGAIN) {
        struct pollfd event = {.fd = client->channel.fd, .events = tls_wants_write(client->channel.tls) ? POLLOUT : POLLIN};

        r = poll(&event, 1, -1) < 0 && errno != EINTR ? -errno : 0;
    }
    if (r < 0)
        return r;
    if (read_all(client, &byte, 1) < 0 || byte != 1)
        return err_set(err, -EACCES, "ferryd on %s did not accept the certificate of this client", uri->host);
    return 0;
}

static int connect_uri(const char *text, struct daemon_client *client, struct err *err)
{
    struct remote_uri uri;
    int r = remote_uri_parse(text, &uri, err);

    if (r < 0)
        return r;
    if (uri.transport == REMOTE_UNIX)
        r = connect_unix(uri.socket[0] != 0 ? uri.socket : REMOTE_SYSTEM_SOCKET, &client->channel.fd, err);
    else if (uri.transport == REMOTE_SSH)
        r = remote_ssh_start(&uri, true, &client->ssh, &client->channel.fd, err);
    else
        r = connect_tcp(&uri, &client->channel.fd, err);
    if (r == 0)
        r = fd_set_nonblocking(client->channel.fd);
    return r < 0 || uri.transport != REMOTE_TLS ? r : start_tls(client, &uri, err);
}

static int log_in(struct daemon_client *client, struct err *err)
{
    int r = daemon_client_call(client, REMOTE_AUTH_LIST, err);

    if (r < 0)
        return r;
    xdr_put_optional_string(&client->writer, "qemu:///system");
    xdr_put_u32(&client->writer, 0);
    return daemon_client_call(client, REMOTE_CONNECT_OPEN, err);
}

int daemon_client_open(const char *uri, struct daemon_client *client, struct err *err)
{
    int r;

    *client = (struct daemon_client){.channel.fd = -1, .arguments = BUFFER_INIT(RPC_MESSAGE_MAX), .input = BUFFER_INIT(RPC_MESSAGE_MAX + 4),
                                     .arena = ARENA_INIT(RPC_DECODED_MAX)};
    client->writer.out = &client->arguments;
    if (uri == NULL)
        uri = getenv("FERRY_URI");
    r = connect_uri(uri != NULL && *uri != 0 ? uri : "qemu:///system", client, err);
    return r < 0 ? r : log_in(client, err);
}

void daemon_client_close(struct daemon_client *client)
{
    channel_close(&client->channel);
    tls_credentials_free(client->credentials);
    client->credentials = NULL;
    remote_ssh_end(&client->ssh);
    buffer_fini(&client->arguments);
    buffer_fini(&client->input);
    arena_fini(&client->arena);
}

static int send_packet(struct daemon_client *client, const struct rpc_header *header, const void *data, size_t size)
{
    struct buffer packet = BUFFER_INIT(RPC_MESSAGE_MAX + 4);
    struct xdr_writer writer = {.out = &packet};
    int r;

    rpc_put_header(&writer, header);
    r = writer.error == 0 ? buffer_append(&packet, data, size) : writer.error;
    rpc_set_length(&packet, 0);
    if (r == 0)
        r = write_all(client, packet.data, packet.size);
    buffer_fini(&packet);
    return r;
}

int daemon_client_send(struct daemon_client *client, int32_t procedure, struct err *err)
{
    const struct rpc_header header = {.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = procedure, .type = RPC_CALL,
                                      .serial = ++client->serial};
    int r = client->writer.error;

    if (r == 0)
        r = send_packet(client, &header, client->arguments.data, client->arguments.size);
    buffer_consume(&client->arguments, client->arguments.size);
    client->writer.error = 0;
    return r < 0 ? err_set(err, r, "cannot send to ferryd: %s", strerror(-r)) : 0;
}

bool daemon_client_wait(struct daemon_client *client, int timeout_ms)
{
    return wait_for(client, POLLIN, timeout_ms);
}

/* The next packet, all of it, into client->input. */
static int receive_packet(struct daemon_client *client, struct rpc_header *ret_header, struct xdr_reader *ret_reader)
{
    uint8_t length[4], piece[4096];
    size_t size = 0;
    int r = read_all(client, length, sizeof(length));

    if (r == 0)
        r = rpc_packet_size(length, sizeof(length), &size);
    buffer_consume(&client->input, client->input.size);
    for (size_t left = size - 4; r == 0 && left > 0;) {
        size_t one = left < sizeof(piece) ? left : sizeof(piece);

        r = read_all(client, piece, one);
        if (r == 0)
            r = buffer_append(&client->input, piece, one);
        left -= one;
    }
    *ret_reader = (struct xdr_reader){.data = client->input.data, .size = client->input.size};
    if (r == 0)
        rpc_get_header(ret_reader, ret_header);
    return r;
}

/* The next packet of that type that belongs to the last call; what else comes is dropped. An error that it carries is ours. */
static int receive_own(struct daemon_client *client, uint32_t type, struct rpc_header *ret_header, struct xdr_reader *ret_reader,
                       struct err *err)
{
    do {
        int r = receive_packet(client, ret_header, ret_reader);

        if (r < 0)
            return err_set(err, r, "ferryd hung up: %s", strerror(-r));
    } while (ret_header->type != type || ret_header->serial != client->serial);
    return ret_header->status == RPC_ERROR ? rpc_get_error(ret_reader, err) : 0;
}

int daemon_client_receive(struct daemon_client *client, int32_t procedure, struct err *err)
{
    struct rpc_header header;
    struct xdr_reader reader;
    int r = receive_own(client, RPC_REPLY, &header, &reader, err);

    if (r != 0)
        return r;
    r = rpc_decode(remote_find(RPC_PROGRAM_REMOTE, procedure)->results, &reader, &client->arena, client->result);
    return r < 0 ? err_set(err, r, "ferryd's answer cannot be read") : 0;
}

int daemon_client_call(struct daemon_client *client, int32_t procedure, struct err *err)
{
    int r = daemon_client_send(client, procedure, err);

    return r < 0 ? r : daemon_client_receive(client, procedure, err);
}

int daemon_client_stream_send(struct daemon_client *client, int32_t procedure, uint32_t status, const void *data, size_t size)
{
    const struct rpc_header header = {.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = procedure, .type = RPC_STREAM,
                                      .serial = client->serial, .status = status};

    return send_packet(client, &header, data, size);
}

int daemon_client_stream_receive(struct daemon_client *client, uint32_t *ret_status, const uint8_t **ret_data, size_t *ret_size,
                                 struct err *err)
{
    struct rpc_header header;
    struct xdr_reader reader;
    int r = receive_own(client, RPC_STREAM, &header, &reader, err);

    if (r != 0)
        return r;
    *ret_status = header.status;
    *ret_data = reader.data;
    *ret_size = reader.size;
    return 0;
}
