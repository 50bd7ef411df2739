/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A socket as a channel. */
#include "migration/channel.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "migration/tls.h"

#define IOV_MAX_AT_ONCE 1024
#define DEAD_AFTER_MS 15000
#define SOCKET_BUFFER (4 << 20) /* bytes asked for; the kernel gives what its limits allow */

struct channel {
    int fd;
    gnutls_session_t session; /* NULL: plain */
    _Atomic bool broken;
    _Atomic uint64_t sent;
};

/* The options of TCP fail silently elsewhere: the kernel knows at once when a local peer dies. A peer that lives and
 * reads nothing is as good as dead everywhere. */
static void set_options(int fd)
{
    const int on = 1, idle = 5, interval = 3, count = 3, dead = DEAD_AFTER_MS, size = SOCKET_BUFFER;
    const struct timeval patience = {.tv_sec = DEAD_AFTER_MS / 1000};

    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

int channel_new(int fd, struct channel **ret_channel)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (channel == NULL) {
        fd_close(&fd);
        return -ENOMEM;
    }
    set_options(fd);
    channel->fd = fd;
    *ret_channel = channel;
    return 0;
}

void channel_free(struct channel *channel)
{
    if (channel == NULL)
        return;
    if (channel->session != NULL)
        gnutls_deinit(channel->session);
    fd_close(&channel->fd);
    free(channel);
}

int channel_start_tls(struct channel *channel, struct tls *tls, const char *host, int timeout_ms, struct err *err)
{
    return tls_handshake(tls, channel->fd, host, timeout_ms, &channel->session, err);
}

/* Moves past `done` bytes. */
static void advance(struct iovec **iov, unsigned *count, size_t done)
{
    while (*count > 0 && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

static int failure(const struct channel *channel, ssize_t result)
{
    if (channel->broken)
        return -ECANCELED;
    if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return -ETIMEDOUT;
    return result == 0 || errno == ECONNRESET ? -EPIPE : -errno;
}

/* As sendmsg() and recvmsg() answer, errno included, of the first part of iov. */
static ssize_t tls_answer(ssize_t done)
{
    if (done >= 0)
        return done;
    if (done == GNUTLS_E_INTERRUPTED)
        errno = EINTR;
    else if (done == GNUTLS_E_AGAIN)
        errno = EAGAIN;
    else if (done == GNUTLS_E_FATAL_ALERT_RECEIVED) /* in TLS 1.3 a client hears behind its handshake what became of its certificate */
        errno = EACCES;
    else
        errno = done == GNUTLS_E_PREMATURE_TERMINATION || done == GNUTLS_E_PUSH_ERROR || done == GNUTLS_E_PULL_ERROR
                    ? ECONNRESET
                    : EPROTO;
    return -1;
}

static ssize_t send_some(struct channel *channel, struct iovec *iov, unsigned count)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count < IOV_MAX_AT_ONCE ? count : IOV_MAX_AT_ONCE};

    if (channel->session == NULL)
        return sendmsg(channel->fd, &message, MSG_NOSIGNAL);
    return tls_answer(gnutls_record_send(channel->session, iov->iov_base, iov->iov_len));
}

static ssize_t receive_some(struct channel *channel, void *data, size_t size)
{
    return channel->session == NULL ? recv(channel->fd, data, size, MSG_WAITALL)
                                    : tls_answer(gnutls_record_recv(channel->session, data, size));
}

int channel_send(struct channel *channel, struct iovec *iov, unsigned count, bool *ret_untouched)
{
    bool untouched = channel->session == NULL; /* of what TLS has in its hands nothing can be said */

    advance(&iov, &count, 0);
    while (count > 0) {
        ssize_t done = channel->broken ? -1 : send_some(channel, iov, count);

        if (done < 0 && errno == EINTR && !channel->broken)
            continue;
        if (done < 0) {
            if (ret_untouched != NULL)
                *ret_untouched = untouched;
            return failure(channel, done);
        }
        untouched = false;
        channel->sent += (uint64_t)done;
        advance(&iov, &count, (size_t)done);
    }
    return 0;
}

int channel_receive(struct channel *channel, void *data, size_t size)
{
    uint8_t *at = data;

    while (size > 0) {
        ssize_t done = channel->broken ? -1 : receive_some(channel, at, size);

        if (done < 0 && errno == EINTR && !channel->broken)
            continue;
        if (done <= 0)
            return failure(channel, done);
        at += done;
        size -= (size_t)done;
    }
    return 0;
}

int channel_wait(struct channel *channel, int timeout_ms)
{
    struct pollfd wait = {.fd = channel->fd, .events = POLLIN};
    int r;

    if (channel->session != NULL && gnutls_record_check_pending(channel->session) > 0)
        return 0;
    do
        r = poll(&wait, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r > 0 ? 0 : r == 0 ? -ETIMEDOUT : -errno;
}

void channel_set_patience(struct channel *channel, int timeout_ms)
{
    const struct timeval patience = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

    setsockopt(channel->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

void channel_break(struct channel *channel)
{
    channel->broken = true;
    shutdown(channel->fd, SHUT_RDWR);
}

void channel_stop_receiving(struct channel *channel)
{
    shutdown(channel->fd, SHUT_RD);
}

bool channel_closed(const struct channel *channel)
{
    struct pollfd look = {.fd = channel->fd, .events = POLLRDHUP};

    return poll(&look, 1, 0) > 0;
}

void channel_drain(struct channel *channel, int timeout_ms)
{
    int64_t deadline = host_monotonic_ns() + timeout_ms * INT64_C(1000000);
    uint8_t piece[65536];

    while (!channel->broken && host_monotonic_ns() < deadline) {
        if (channel_wait(channel, 50) == 0 && recv(channel->fd, piece, sizeof(piece), MSG_DONTWAIT) <= 0)
            return;
    }
}

uint64_t channel_sent(const struct channel *channel)
{
    return channel->sent;
}

uint64_t channel_outstanding(const struct channel *channel)
{
    int bytes = 0;

    return ioctl(channel->fd, SIOCOUTQ, &bytes) == 0 ? (uint64_t)bytes : 0;
}
