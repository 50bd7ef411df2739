/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection of the RPC server: packets in, packets out, keepalive. What the packets say is dispatch.c's business. */
#ifndef FERRY_DAEMON_CLIENT_H
#define FERRY_DAEMON_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "remote/channel.h"
#include "event/coroutine.h"
#include "event/timer.h"
#include "protocol/rpc.h"

struct daemon;
struct event_registration;
struct loop_source;
struct packet;
struct server;
struct stream;

#define CLIENT_CALLS_MAX 16                /* in progress; past it the connection is not read */
#define CLIENT_OUTPUT_MAX (64u << 20)      /* bytes that a client may leave unread before it is dropped */
#define CLIENT_OUTPUT_STREAM (1u << 20)    /* past this streams wait */

struct client {
    struct daemon *daemon;
    struct server *server;
    struct client *next; /* in the server's list */
    struct channel channel;
    struct loop_source *source;
    bool handshaking;        /* TLS */
    bool readonly;
    bool authenticated;
    bool opened;             /* CONNECT_OPEN has come */
    bool finishing;          /* closes when all output is out */
    bool closed;             /* nothing goes in or out any more */
    bool parsing;            /* packets are being taken from input */
    unsigned references;     /* its connection, and each call in progress */
    unsigned calls;
    struct buffer input;
    unsigned skip;           /* bytes to come that carry descriptors: nothing here takes any, and the kernel has closed them */
    struct packet *output, **output_last;
    size_t output_size;
    struct wait_queue output_space; /* streams that wait until output has gone out */
    bool keepalive;          /* the client knows keepalive: it may be pinged */
    unsigned unanswered;     /* pings since something was heard */
    struct timer timer;
    struct event_registration *registrations;
    struct stream *streams;
};

/* Takes over the channel, handshake still to come if it has TLS. NULL: out of memory, the channel is closed. */
struct client *client_new(struct server *server, struct channel channel, bool readonly);

/* The connection ends now, calls in progress go on for nobody. Accepts a client closed before. */
void client_close(struct client *client);

void client_hold(struct client *client);
void client_release(struct client *client);

/* Sends a whole packet, which the function takes over (its buffer is emptied), with descriptors (duplicated by the caller, taken
 * over) behind it. A closed client's packet is dropped. */
void client_send(struct client *client, struct buffer *packet, const int *fds, unsigned fd_count);

/* Reads on after a call has ended. */
void client_resume(struct client *client);

#endif
