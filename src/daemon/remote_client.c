/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client: a URI taken apart, a connection made, calls. */
#include "daemon/remote_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "daemon/channel.h"
#include "daemon/daemon.h"
#include "daemon/tls.h"
#include "protocol/remote.h"

#define CONNECT_NS (30 * NANOSECONDS_PER_SECOND)
#define ANSWER_NS (120 * NANOSECONDS_PER_SECOND)
#define SYSTEM_SOCKET "/var/run/libvirt/libvirt-sock"

struct remote_client {
    struct daemon *daemon;
    struct channel channel;
    struct tls_credentials *credentials;
    pid_t ssh;
    uint32_t serial;
    struct buffer arguments, input;
    struct xdr_writer writer;
};

struct uri {
    char transport[16], user[64], host[256], port[16], socket[108];
};

/* "qemu[+TRANSPORT]://[USER@]HOST[:PORT]/...[?socket=PATH&...]" */
static int parse_uri(const char *text, struct uri *uri, struct err *err)
{
    const char *scheme_end = strstr(text, "://"), *plus = strchr(text, '+'), *authority, *at, *query;
    size_t length;

    *uri = (struct uri){0};
    if (scheme_end == NULL || !text_starts_with(text, "qemu"))
        return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "'%.200s' is no URI of another host, like qemu+tcp://HOST/system", text);
    if (plus != NULL && plus < scheme_end)
        text_format(uri->transport, sizeof(uri->transport), "%.*s", (int)(scheme_end - plus - 1), plus + 1);
    else
        text_format(uri->transport, sizeof(uri->transport), "tls");
    authority = scheme_end + 3;
    length = strcspn(authority, "/?");
    at = memchr(authority, '@', length);
    if (at != NULL) {
        text_format(uri->user, sizeof(uri->user), "%.*s", (int)(at - authority), authority);
        length -= (size_t)(at + 1 - authority);
        authority = at + 1;
    }
    if (authority[0] == '[' && memchr(authority, ']', length) != NULL) {
        const char *close = memchr(authority, ']', length);

        text_format(uri->host, sizeof(uri->host), "%.*s", (int)(close - authority - 1), authority + 1);
        length -= (size_t)(close + 1 - authority);
        authority = close + 1;
    } else {
        text_format(uri->host, sizeof(uri->host), "%.*s", (int)strcspn(authority, ":/?"), authority);
        length -= strlen(uri->host);
        authority += strlen(uri->host);
    }
    if (length > 1 && authority[0] == ':')
        text_format(uri->port, sizeof(uri->port), "%.*s", (int)(length - 1), authority + 1);
    query = strstr(text, "socket=");
    if (query != NULL)
        text_format(uri->socket, sizeof(uri->socket), "%.*s", (int)strcspn(query + 7, "&"), query + 7);
    return 0;
}

struct lookup {
    const struct uri *uri;
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

static int connect_tcp(struct remote_client *client, const struct uri *uri, const char *default_port, struct err *err)
{
    struct lookup lookup = {.uri = uri, .port = uri->port[0] != 0 ? uri->port : default_port};
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

static int connect_unix(struct remote_client *client, const struct uri *uri, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    text_format(address.sun_path, sizeof(address.sun_path), "%s", uri->socket[0] != 0 ? uri->socket : SYSTEM_SOCKET);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || fd_set_nonblocking(fd) < 0) {
        int r = err_set(err, RPC_FAULT(RPC_SYSTEM_ERROR), "unable to connect to the socket %s: %s", address.sun_path, strerror(errno));
        fd_close(&fd);
        return r;
    }
    client->channel.fd = fd;
    return 0;
}

/* What libvirt's own client runs: its helper where there is one, else nc. */
static void become_ssh(const struct uri *uri, int fd)
{
    char script[400], target[340];
    const char *arguments[16];
    unsigned count = 0;

    text_format(script, sizeof(script), "if command -v virt-ssh-helper >/dev/null; then exec virt-ssh-helper qemu:///system; "
                                        "else exec nc -U '%s'; fi", uri->socket[0] != 0 ? uri->socket : SYSTEM_SOCKET);
    text_format(target, sizeof(target), "%s", uri->host);
    arguments[count++] = "ssh";
    if (uri->port[0] != 0) {
        arguments[count++] = "-p";
        arguments[count++] = uri->port;
    }
    if (uri->user[0] != 0) {
        arguments[count++] = "-l";
        arguments[count++] = uri->user;
    }
    arguments[count++] = "-T";
    arguments[count++] = "-oBatchMode=yes";
    arguments[count++] = "-enone";
    arguments[count++] = "--";
    arguments[count++] = target;
    arguments[count++] = script;
    arguments[count] = NULL;
    dup2(fd, STDIN_FILENO);
    dup2(fd, STDOUT_FILENO);
    execvp("ssh", (char *const *)arguments);
    _exit(127);
}

static int connect_ssh(struct remote_client *client, const struct uri *uri, struct err *err)
{
    int fds[2];
    pid_t pid;

    if (strchr(uri->socket, '\'') != NULL || uri->host[0] == 0)
        return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "the URI names no host to reach by ssh");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return err_set(err, -errno, "cannot make a socket: %s", strerror(errno));
    pid = fork();
    if (pid == 0)
        become_ssh(uri, fds[1]);
    fd_close(&fds[1]);
    client->channel.fd = fds[0];
    client->ssh = pid;
    fd_set_nonblocking(fds[0]);
    return pid < 0 ? err_set(err, -errno, "cannot start ssh: %s", strerror(errno)) : 0;
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
static int start_tls(struct remote_client *client, const struct uri *uri, struct err *err)
{
    int64_t end = host_monotonic_ns() + CONNECT_NS;
    char byte = 0;
    int r = tls_credentials_load(client->daemon->config.pki_dir, false, &client->credentials, err);

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

static int make_connection(struct remote_client *client, const struct uri *uri, struct err *err)
{
    if (text_equal(uri->transport, "unix"))
        return connect_unix(client, uri, err);
    if (text_equal(uri->transport, "tcp"))
        return connect_tcp(client, uri, "16509", err);
    if (text_equal(uri->transport, "ssh"))
        return connect_ssh(client, uri, err);
    if (text_equal(uri->transport, "tls")) {
        int r = connect_tcp(client, uri, "16514", err);

        return r < 0 ? r : start_tls(client, uri, err);
    }
    return err_set(err, RPC_FAULT(RPC_INVALID_ARGUMENT), "transport '%s' of the URI is unknown; there are: tcp, tls, unix, ssh",
                   uri->transport);
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
    struct uri uri;
    int r;

    if (client == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    *client = (struct remote_client){.daemon = daemon, .channel.fd = -1, .ssh = -1, .arguments = BUFFER_INIT(RPC_MESSAGE_MAX),
                                     .input = BUFFER_INIT(RPC_MESSAGE_MAX + 65536)};
    client->writer.out = &client->arguments;
    r = parse_uri(text, &uri, err);
    if (r == 0)
        r = make_connection(client, &uri, err);
    if (r == 0)
        r = log_in(client, err);
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
    if (client->ssh > 0) {
        kill(client->ssh, SIGTERM);
        waitpid(client->ssh, NULL, 0);
    }
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
