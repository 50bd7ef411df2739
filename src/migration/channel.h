/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One connection of a migration: whole sends and receives on a socket, and a way for another thread to break it off.
 *
 * One thread sends and one (the same or another) receives. All functions return 0 or a negative errno; -EPIPE: the
 * other side has closed; -ECANCELED: channel_break() was called. */
#ifndef FERRY_MIGRATION_CHANNEL_H
#define FERRY_MIGRATION_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct channel;
struct err;
struct tls;

/* Takes fd over, on failure too (it is closed). A connection whose peer does not answer any more fails after 15 s. */
int channel_new(int fd, struct channel **ret_channel);
void channel_free(struct channel *channel); /* accepts NULL */

/* From now on by TLS; before anything is sent or received. host: what the other side's certificate must be for; NULL:
 * anything. */
int channel_start_tls(struct channel *channel, struct tls *tls, const char *host, int timeout_ms, struct err *err);

/* Sends all of iov, which it changes; -ETIMEDOUT when the other side takes nothing for 15 s. ret_untouched (may be NULL)
 * is set on failure: true when not one byte was taken, so that the other side can't have got anything of it. */
int channel_send(struct channel *channel, struct iovec *iov, unsigned count, bool *ret_untouched);

int channel_receive(struct channel *channel, void *data, size_t size);

/* Whether something can be received: 0, or -ETIMEDOUT. */
int channel_wait(struct channel *channel, int timeout_ms);

/* How long a receive may get nothing before it fails with -ETIMEDOUT; 0: for ever. */
void channel_set_patience(struct channel *channel, int timeout_ms);

/* From any thread: whatever is under way on the channel and whatever comes fails with -ECANCELED. */
void channel_break(struct channel *channel);

/* From any thread: receiving ends as if the other side had closed; sending still works. */
void channel_stop_receiving(struct channel *channel);

/* Whether the other side has closed or is gone, as far as is known, even while there is something left to receive. */
bool channel_closed(const struct channel *channel);

/* Receives and drops until the other side closes, or timeout_ms: a socket that is closed with data unread takes back
 * what was sent. */
void channel_drain(struct channel *channel, int timeout_ms);

uint64_t channel_sent(const struct channel *channel); /* bytes, from any thread */

/* Bytes (about) that were sent and that the other side, or its kernel, has not got yet. */
uint64_t channel_outstanding(const struct channel *channel);

#endif
