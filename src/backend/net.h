/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host side of a network card: something that takes and gives Ethernet frames. */
#ifndef FERRY_BACKEND_NET_H
#define FERRY_BACKEND_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct loop;
struct net_backend;

#define NET_FRAME_MAX 65562 /* bytes: the largest offloaded frame with its virtio-net header */

struct net_type {
    const char *name;
    /* Takes one frame. false: not now (the frame was not taken), writable() will be called. In the loop's thread. */
    bool (*send)(struct net_backend *backend, const struct iovec *iov, unsigned count);
    /* The card can (again) take frames. */
    void (*resume)(struct net_backend *backend);
    void (*free)(struct net_backend *backend);
};

struct net_backend {
    const struct net_type *type;
    /* Filled by the card with net_attach(). receive returns false when the card has no room: the backend keeps the
     * frame and stops reading until resume(). */
    bool (*receive)(void *card, const void *frame, size_t size);
    void (*writable)(void *card);
    void *card;
    unsigned header_size; /* bytes of virtio-net header in front of frames in both directions: 0 or 12 */
    unsigned offloads;    /* NET_OFFLOAD_* that the backend can do; only with header_size 12 */
};

enum { NET_OFFLOAD_CSUM = 1, NET_OFFLOAD_TSO4 = 2, NET_OFFLOAD_TSO6 = 4, NET_OFFLOAD_UFO = 8 };

/* spec is what stands behind --net: "none", "user[,hostfwd=PROTO:[ADDR]:PORT-[ADDR]:PORT]...", "tap=NAME", "bridge=NAME".
 * "none" gives *ret_backend = NULL. Errors are sentences. */
int net_open(const char *spec, struct loop *loop, struct net_backend **ret_backend, struct err *err);
void net_close(struct net_backend *backend); /* accepts NULL */
void net_attach(struct net_backend *backend, void *card, bool (*receive)(void *, const void *, size_t),
                void (*writable)(void *));

#endif
