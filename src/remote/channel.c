/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets, plain ones; what TLS does to them is in tls.c. */
#include "remote/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "remote/tls.h"

/* 0 is an end for reads only. */
static ssize_t result(ssize_t done)
{
    if (done >= 0)
        return done;
    return errno == EINTR || errno == EAGAIN ? -EAGAIN : -errno;
}

ssize_t channel_read(struct channel *channel, void *data, size_t size)
{
    return channel->tls != NULL ? tls_read(channel->tls, data, size) : result(recv(channel->fd, data, size, 0));
}

ssize_t channel_write(struct channel *channel, const void *data, size_t size)
{
    return channel->tls != NULL ? tls_write(channel->tls, data, size)
                                : result(send(channel->fd, data, size, MSG_NOSIGNAL));
}

bool channel_pending(const struct channel *channel)
{
    return channel->tls != NULL && tls_pending(channel->tls);
}

int channel_send_fd(struct channel *channel, int fd)
{
    char byte = 0;
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    return (int)(result(sendmsg(channel->fd, &message, MSG_NOSIGNAL)) < 0 ? result(-1) : 0);
}

void channel_close(struct channel *channel)
{
    tls_session_free(channel->tls);
    channel->tls = NULL;
    fd_close(&channel->fd);
}
