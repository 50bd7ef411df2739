/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the net files of this room: the kinds of network backends. Errors are sentences. */
#ifndef FERRY_BACKEND_NET_BACKENDS_H
#define FERRY_BACKEND_NET_BACKENDS_H

#include "backend/net.h"

/* options: what stands behind "user", empty or starting with a comma. */
int net_user_open(const char *options, struct loop *loop, struct net_backend **ret_backend, struct err *err);
int net_tap_open(const char *name, struct loop *loop, struct net_backend **ret_backend, struct err *err);
int net_fd_open(const char *number, struct loop *loop, struct net_backend **ret_backend, struct err *err);
int net_bridge_open(const char *bridge, struct loop *loop, struct net_backend **ret_backend, struct err *err);

/* Hands a frame to the card; false: it has no room. Without a card frames are dropped. */
static inline bool net_deliver(struct net_backend *backend, const void *frame, size_t size)
{
    return backend->receive == NULL || backend->receive(backend->card, frame, size);
}

#endif
