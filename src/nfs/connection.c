/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TCP connection and its records. */
#include "nfs/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"

#define RECORD_LAST 0x80000000u
#define SILENCE_MS 20000 /* without an acknowledgement from the other host the connection is lost */
enum { PORT_RESERVED_FIRST = 665, PORT_RESERVED_LAST = 1023 };

int nfs_address_find(const char *server, uint16_t port, struct nfs_address *ret_address, struct err *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    char service[8];
    int r;

    snprintf(service, sizeof(service), "%u", port);
    r = getaddrinfo(server, service, &hints, &found);
    if (r != 0)
        return err_set(err, -EHOSTUNREACH, "cannot find the NFS server %s: %s", server, gai_strerror(r));
    *ret_address = (struct nfs_address){.size = found->ai_addrlen};
    memcpy(&ret_address->address, found->ai_addr, found->ai_addrlen);
    text_format(ret_address->server, sizeof(ret_address->server), "%s", server);
    freeaddrinfo(found);
    return 0;
}

/* Many servers serve only clients with a port that takes privileges; who has them uses one. */
static void take_reserved_port(int fd, sa_family_t family)
{
    static _Atomic unsigned next;
    unsigned count = PORT_RESERVED_LAST - PORT_RESERVED_FIRST + 1;

    for (unsigned i = 0; i < count; i++) {
        uint16_t port = htons((uint16_t)(PORT_RESERVED_FIRST + (next++ + (unsigned)getpid()) % count));
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port};
        int r = family == AF_INET ? bind(fd, (struct sockaddr *)&v4, sizeof(v4)) : bind(fd, (struct sockaddr *)&v6, sizeof(v6));

        if (r == 0 || errno != EADDRINUSE)
            return;
    }
}

static void set_options(int fd)
{
    const int on = 1, silence = SILENCE_MS, idle = 10, interval = 5, probes = 3;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, sizeof(silence));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static int wait_connected(int fd, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    int64_t deadline = host_monotonic_ns() + timeout_ms * INT64_C(1000000);
    socklen_t size = sizeof(int);
    int error = 0, n;

    do {
        int64_t left = (deadline - host_monotonic_ns()) / 1000000;

        n = poll(&poll_fd, 1, left > 0 ? (int)left : 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        return -ETIMEDOUT;
    if (n < 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

int nfs_connection_open(struct nfs_connection *connection, const struct nfs_address *address, int timeout_ms, struct err *err)
{
    int r = 0;

    *connection = (struct nfs_connection){.fd = -1, .record = malloc(NFS_RECORD_MAX)};
    connection->last = &connection->first;
    connection->fd = socket(address->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->record == NULL || connection->fd < 0) {
        r = connection->record == NULL ? -ENOMEM : -errno;
    } else {
        take_reserved_port(connection->fd, address->address.ss_family);
        set_options(connection->fd);
        if (connect(connection->fd, (const struct sockaddr *)&address->address, address->size) < 0)
            r = errno == EINPROGRESS ? wait_connected(connection->fd, timeout_ms) : -errno;
    }
    if (r < 0) {
        nfs_connection_close(connection);
        return err_set(err, r, "cannot reach the NFS server %s: %s", address->server, strerror(-r));
    }
    return 0;
}

static void drop_first(struct nfs_connection *connection)
{
    struct nfs_outgoing *first = connection->first;

    connection->first = first->next;
    if (connection->first == NULL)
        connection->last = &connection->first;
    nfs_call_fini(&first->call);
    free(first);
}

void nfs_connection_close(struct nfs_connection *connection)
{
    while (connection->first != NULL)
        drop_first(connection);
    free(connection->record);
    connection->record = NULL;
    connection->record_size = connection->mark_size = connection->fragment_left = 0;
    fd_close(&connection->fd);
}

int nfs_connection_queue(struct nfs_connection *connection, struct nfs_call *call)
{
    struct nfs_outgoing *outgoing = malloc(sizeof(*outgoing));

    if (outgoing == NULL) {
        nfs_call_fini(call);
        return -ENOMEM;
    }
    *outgoing = (struct nfs_outgoing){.call = *call};
    *connection->last = outgoing;
    connection->last = &outgoing->next;
    return 0;
}

bool nfs_connection_has_output(const struct nfs_connection *connection)
{
    return connection->first != NULL;
}

/* What of a piece is left to send. */
static unsigned add_piece(struct iovec *iov, unsigned count, const void *data, size_t size, size_t *skip)
{
    size_t passed = *skip < size ? *skip : size;

    *skip -= passed;
    if (passed < size)
        iov[count++] = (struct iovec){.iov_base = (uint8_t *)data + passed, .iov_len = size - passed};
    return count;
}

int nfs_connection_send(struct nfs_connection *connection)
{
    static const uint8_t zeros[4];

    while (connection->first != NULL) {
        struct nfs_outgoing *out = connection->first;
        size_t padding = align_up(out->call.data_size, 4) - out->call.data_size, skip = out->sent;
        struct iovec iov[3];
        struct msghdr message = {.msg_iov = iov};
        ssize_t n;

        message.msg_iovlen = add_piece(iov, 0, out->call.head.data, out->call.head.size, &skip);
        message.msg_iovlen = add_piece(iov, (unsigned)message.msg_iovlen, out->call.data, out->call.data_size, &skip);
        message.msg_iovlen = add_piece(iov, (unsigned)message.msg_iovlen, zeros, padding, &skip);
        if (message.msg_iovlen == 0) {
            drop_first(connection);
            continue;
        }
        n = sendmsg(connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        out->sent += (size_t)n;
    }
    return 0;
}

static ssize_t take(struct nfs_connection *connection, void *data, size_t size)
{
    ssize_t n;

    do
        n = recv(connection->fd, data, size, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        return -EPIPE;
    return n > 0 ? n : errno == EAGAIN ? 0 : -errno;
}

/* A record comes in fragments, each with its mark. */
static int begin_fragment(struct nfs_connection *connection)
{
    uint32_t mark = __builtin_bswap32(load_le32(connection->mark));

    connection->mark_size = 0;
    connection->fragment_last = (mark & RECORD_LAST) != 0;
    connection->fragment_left = mark & ~RECORD_LAST;
    return connection->fragment_left > NFS_RECORD_MAX - connection->record_size ? -EMSGSIZE : 0;
}

/* Whether the record is whole; the next begins then. */
static bool record_ends(struct nfs_connection *connection)
{
    return connection->fragment_left == 0 && connection->fragment_last;
}

int nfs_connection_receive(struct nfs_connection *connection, const uint8_t **ret_record, size_t *ret_size)
{
    if (record_ends(connection)) {
        connection->record_size = 0;
        connection->fragment_last = false;
    }
    for (;;) {
        ssize_t n;

        if (connection->fragment_left > 0) {
            n = take(connection, connection->record + connection->record_size, connection->fragment_left);
            if (n <= 0)
                return (int)n;
            connection->record_size += (size_t)n;
            connection->fragment_left -= (uint32_t)n;
        } else {
            n = take(connection, connection->mark + connection->mark_size, 4 - connection->mark_size);
            if (n <= 0)
                return (int)n;
            connection->mark_size += (unsigned)n;
            if (connection->mark_size == 4 && begin_fragment(connection) < 0)
                return -EMSGSIZE;
        }
        if (connection->mark_size == 0 && record_ends(connection)) {
            *ret_record = connection->record;
            *ret_size = connection->record_size;
            return 1;
        }
    }
}
