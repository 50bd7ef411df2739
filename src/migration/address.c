/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parsing of migration addresses; listening and connecting. */
#include "migration/address.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"

#define FORMS "there are: tcp:HOST:PORT, tls:HOST:PORT, unix:PATH, fd:NUMBER"
#define BACKLOG 64

static int parse_tcp(const char *text, struct address *address, struct err *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    size_t length;

    if (colon == NULL || text_parse_u64(colon + 1, &port) < 0 || port > 65535)
        return err_set(err, -EINVAL,
                       "the address tcp:%.200s lacks a port from 0 to 65535 at its end, as in tcp:host:4444", text);
    length = (size_t)(colon - text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (text_format(address->host, sizeof(address->host), "%.*s", (int)length, text) < 0)
        return err_set(err, -EINVAL, "the host name in tcp:%.200s is too long", text);
    if (text_equal(address->host, "0"))
        address->host[0] = 0;
    text_format(address->port, sizeof(address->port), "%u", (unsigned)port);
    return 0;
}

static int parse_fd(const char *text, struct address *address, struct err *err)
{
    uint64_t number;
    struct stat st;

    if (text_parse_u64(text, &number) < 0 || number > INT32_MAX || fstat((int)number, &st) < 0 || !S_ISSOCK(st.st_mode))
        return err_set(err, -EINVAL, "fd:%.40s is not the number of an open socket of this process", text);
    address->fd = (int)number;
    return 0;
}

int address_parse(const char *text, struct address *ret_address, struct err *err)
{
    struct address address = {.fd = -1};
    int r = 0;

    if (text_starts_with(text, "tcp:")) {
        address.kind = ADDRESS_TCP;
        r = parse_tcp(text + 4, &address, err);
    } else if (text_starts_with(text, "tls:")) {
        address.kind = ADDRESS_TCP;
        address.tls = true;
        r = parse_tcp(text + 4, &address, err);
    } else if (text_starts_with(text, "unix:")) {
        address.kind = ADDRESS_UNIX;
        if (text[5] == 0 || text_format(address.path, sizeof(address.path), "%s", text + 5) < 0)
            r = err_set(err, -EINVAL, "the path in unix:PATH has 1 to %zu bytes", sizeof(address.path) - 1);
    } else if (text_starts_with(text, "fd:")) {
        address.kind = ADDRESS_FD;
        r = parse_fd(text + 3, &address, err);
    } else {
        r = err_set(err, -EINVAL, "unknown migration address '%.100s'; " FORMS, text);
    }
    if (r == 0)
        *ret_address = address;
    return r;
}

static int resolve(const struct address *address, int flags, struct addrinfo **ret_list, struct err *err)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
    int r = getaddrinfo(address->host[0] != 0 ? address->host : NULL, address->port, &hints, ret_list);

    return r == 0 ? 0 : err_set(err, -EHOSTUNREACH, "cannot find the host %s: %s", address->host, gai_strerror(r));
}

static void fill_unix(const struct address *address, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, address->path, sizeof(out->sun_path));
}

static int bind_and_listen(int fd, const struct sockaddr *name, socklen_t size)
{
    return bind(fd, name, size) < 0 || listen(fd, BACKLOG) < 0 ? -errno : 0;
}

static int listen_tcp(const struct address *address, int *ret_fd, struct err *err)
{
    const int on = 1;
    struct addrinfo *list;
    int r = resolve(address, AI_PASSIVE, &list, err);

    if (r < 0)
        return r;
    r = -EADDRNOTAVAIL;
    for (const struct addrinfo *at = list; r < 0 && at != NULL; at = at->ai_next) {
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        if (fd < 0) {
            r = -errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        r = bind_and_listen(fd, at->ai_addr, at->ai_addrlen);
        if (r == 0)
            *ret_fd = fd;
        else
            close(fd);
    }
    freeaddrinfo(list);
    return r < 0 ? err_set(err, r, "cannot listen for a migration at tcp:%s:%s: %s", address->host, address->port,
                           strerror(-r))
                 : 0;
}

static bool answered(const struct sockaddr_un *name)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && (connect(fd, (const struct sockaddr *)name, sizeof(*name)) == 0 || errno != ECONNREFUSED);

    fd_close(&fd);
    return alive;
}

static int listen_unix(const struct address *address, int *ret_fd, struct err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un name;
    int r = fd < 0 ? -errno : 0;

    fill_unix(address, &name);
    if (r == 0)
        r = bind_and_listen(fd, (const struct sockaddr *)&name, sizeof(name));
    if (r == -EADDRINUSE && !answered(&name)) {
        unlink(address->path);
        r = bind_and_listen(fd, (const struct sockaddr *)&name, sizeof(name));
    }
    if (r < 0) {
        fd_close(&fd);
        return err_set(err, r, "cannot listen for a migration at unix:%s: %s", address->path, strerror(-r));
    }
    *ret_fd = fd;
    return 0;
}

int address_listen(const struct address *address, int *ret_fd, struct err *err)
{
    switch (address->kind) {
    case ADDRESS_TCP:
        return listen_tcp(address, ret_fd, err);
    case ADDRESS_UNIX:
        return listen_unix(address, ret_fd, err);
    default:
        return err_set(err, -EOPNOTSUPP, "nobody can connect to fd:%d", address->fd);
    }
}

/* Waits for a connection that is being made. */
static int finish_connect(int fd, int64_t deadline_ns, const _Atomic bool *cancel)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    int error = 0;
    socklen_t size = sizeof(error);

    while (poll(&wait, 1, 50) == 0) {
        if (atomic_load(cancel))
            return -ECANCELED;
        if (host_monotonic_ns() > deadline_ns)
            return -ETIMEDOUT;
    }
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : -error;
}

static int connect_to(const struct sockaddr *name, socklen_t size, int64_t deadline_ns, const _Atomic bool *cancel,
                      int *ret_fd)
{
    int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = fd < 0 ? -errno : 0;

    if (r == 0 && connect(fd, name, size) < 0)
        r = errno == EINPROGRESS ? finish_connect(fd, deadline_ns, cancel) : -errno;
    if (r == 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
        r = -errno;
    if (r < 0)
        fd_close(&fd);
    else
        *ret_fd = fd;
    return r;
}

static int connect_tcp(const struct address *address, int64_t deadline_ns, const _Atomic bool *cancel, int *ret_fd,
                       struct err *err)
{
    struct addrinfo *list;
    int r = resolve(address, 0, &list, err);

    if (r < 0)
        return r;
    r = -EHOSTUNREACH;
    for (const struct addrinfo *at = list; r < 0 && r != -ECANCELED && at != NULL; at = at->ai_next)
        r = connect_to(at->ai_addr, at->ai_addrlen, deadline_ns, cancel, ret_fd);
    freeaddrinfo(list);
    return r < 0 ? err_set(err, r, "cannot connect to the destination at tcp:%s:%s: %s", address->host, address->port,
                           strerror(-r))
                 : 0;
}

int address_connect(const struct address *address, int timeout_ms, const _Atomic bool *cancel, int *ret_fd,
                    struct err *err)
{
    int64_t deadline_ns = host_monotonic_ns() + timeout_ms * INT64_C(1000000);
    struct sockaddr_un name;
    int r;

    if (address->kind == ADDRESS_FD) {
        *ret_fd = address->fd;
        return 0;
    }
    if (address->kind == ADDRESS_TCP)
        return connect_tcp(address, deadline_ns, cancel, ret_fd, err);
    fill_unix(address, &name);
    r = connect_to((const struct sockaddr *)&name, sizeof(name), deadline_ns, cancel, ret_fd);
    return r < 0 ? err_set(err, r, "cannot connect to the destination at unix:%s: %s", address->path, strerror(-r)) : 0;
}
