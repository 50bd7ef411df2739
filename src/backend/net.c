/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network backends: which one an option names. */
#include <errno.h>
#include <string.h>

#include "backend/net_backends.h"
#include "base/err.h"
#include "base/text.h"

int net_open(const char *spec, struct loop *loop, struct net_backend **ret_backend, struct err *err)
{
    if (text_equal(spec, "none")) {
        *ret_backend = NULL;
        return 0;
    }
    if (text_equal(spec, "user") || text_starts_with(spec, "user,"))
        return net_user_open(spec + strlen("user"), loop, ret_backend, err);
    if (text_starts_with(spec, "tap="))
        return net_tap_open(spec + strlen("tap="), loop, ret_backend, err);
    if (text_starts_with(spec, "bridge="))
        return net_bridge_open(spec + strlen("bridge="), loop, ret_backend, err);
    if (text_starts_with(spec, "fd="))
        return net_fd_open(spec + strlen("fd="), loop, ret_backend, err);
    return err_set(err, -EINVAL, "network \"%s\" is unknown; there are none, user, tap=NAME, bridge=NAME and fd=N", spec);
}

void net_close(struct net_backend *backend)
{
    if (backend != NULL)
        backend->type->free(backend);
}

void net_announce(struct net_backend *backend, const uint8_t mac[static 6])
{
    static const uint8_t fixed[] = {
        0x80, 0x35,       /* EtherType: RARP */
        0, 1, 8, 0, 6, 4, /* Ethernet, IPv4, and their addresses' lengths */
        0, 3,             /* request reverse */
    };
    uint8_t frame[NET_HEADER_SIZE + 60] = {0}, *ethernet = frame + backend->header_size;
    const struct iovec iov = {frame, backend->header_size + 60};

    memset(ethernet, 0xff, 6);
    memcpy(ethernet + 6, mac, 6);
    memcpy(ethernet + 12, fixed, sizeof(fixed));
    memcpy(ethernet + 22, mac, 6); /* whose sender and */
    memcpy(ethernet + 32, mac, 6); /* target are one */
    backend->type->send(backend, &iov, 1);
}

void net_attach(struct net_backend *backend, void *card, bool (*receive)(void *, const void *, size_t),
                void (*writable)(void *))
{
    backend->card = card;
    backend->receive = receive;
    backend->writable = writable;
}
