/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A byte channel to a peer: a non-blocking socket, plain or with TLS on it. */
#ifndef FERRY_REMOTE_CHANNEL_H
#define FERRY_REMOTE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tls_session;

struct channel {
    int fd;
    struct tls_session *tls; /* NULL: plain */
};

/* Up to size bytes: their number, 0 when the peer has closed, -EAGAIN, or another negative errno when it broke. */
ssize_t channel_read(struct channel *channel, void *data, size_t size);
ssize_t channel_write(struct channel *channel, const void *data, size_t size);

/* Decrypted bytes wait inside, of which the loop knows nothing. */
bool channel_pending(const struct channel *channel);

/* One byte that carries a descriptor; unix sockets only. 0, -EAGAIN, or a negative errno. */
int channel_send_fd(struct channel *channel, int fd);

void channel_close(struct channel *channel);

#endif
