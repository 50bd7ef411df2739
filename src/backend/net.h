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
    /* NET_OFFLOAD_* that the guest can take in frames it receives. NULL: none are ever made. */
    void (*set_offloads)(struct net_backend *backend, unsigned offloads);
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

#define NET_HEADER_SIZE 12u /* of struct virtio_net_hdr_v1, when there is one */

/* spec is what stands behind --net: "none", "user[,hostfwd=PROTO:[ADDR]:PORT-[ADDR]:PORT]...", "tap=NAME", "bridge=NAME",
 * "fd=N".
 * "none" gives *ret_backend = NULL. Errors are sentences, and nothing is left behind.
 *
 * user: the guest's network is 10.0.2.0/24 with gateway (and the host itself) 10.0.2.2, DNS 10.0.2.3, DHCP from 10.0.2.15 on; hostfwd
 * opens a port of the host, by default of all its addresses, and forwards to the guest's 10.0.2.15 unless told otherwise.
 * tap: a tap interface that exists, or is made for as long as the VM lives. bridge: makes one, as a port of that bridge.
 * fd: an open tap interface, made and brought up by whoever hands it over; it is the backend's from then on, also on failure. */
int net_open(const char *spec, struct loop *loop, struct net_backend **ret_backend, struct err *err);
void net_close(struct net_backend *backend); /* accepts NULL */
/* Sends a frame from `mac` to everybody, a reverse ARP request (RFC 903) for its own address, so that switches learn that it is
 * here. What the backend does not take now is lost: announcements are repeated. */
void net_announce(struct net_backend *backend, const uint8_t mac[static 6]);
/* receive may be NULL: frames are dropped from then on. */
void net_attach(struct net_backend *backend, void *card, bool (*receive)(void *, const void *, size_t),
                void (*writable)(void *));

#endif
