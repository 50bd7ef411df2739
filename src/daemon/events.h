/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events: who wants to hear of what, and telling them. */
#ifndef FERRY_DAEMON_EVENTS_H
#define FERRY_DAEMON_EVENTS_H

#include <stdint.h>

struct buffer;
struct client;
struct daemon;
struct domain;

enum event_kind { EVENT_DOMAIN, EVENT_NETWORK, EVENT_POOL, EVENT_NODE_DEVICE, EVENT_MONITOR };

/* Tells every client that registered for the event `id` of this kind, for all objects or for this one. procedure is the
 * message's (remote_calls.def), payload what its layout has behind the callback's number; it is kept by the caller. */
void events_send(struct daemon *daemon, enum event_kind kind, int32_t id, const uint8_t uuid[16], int32_t procedure,
                 const struct buffer *payload);

/* An event of the domain's VM itself, by QMP's name and with its data as text (NULL: none), for those who want to see them. */
void events_send_monitor(struct domain *domain, const char *name, const char *details);

/* The client is gone. */
void events_forget(struct client *client);

#endif
