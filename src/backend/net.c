/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network backends: which one an option names. */
#include <errno.h>

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
    return err_set(err, -EINVAL, "network \"%s\" is unknown; there are none, user, tap=NAME and bridge=NAME", spec);
}

void net_close(struct net_backend *backend)
{
    if (backend != NULL)
        backend->type->free(backend);
}

void net_attach(struct net_backend *backend, void *card, bool (*receive)(void *, const void *, size_t),
                void (*writable)(void *))
{
    backend->card = card;
    backend->receive = receive;
    backend->writable = writable;
}
