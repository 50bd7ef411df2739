/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls about the connection itself: opening, authentication, features, keepalive. */
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "daemon/call.h"
#include "daemon/client.h"
#include "daemon/daemon.h"

enum { AUTH_NONE = 0 };
enum { OPEN_READONLY = 1 };

static int auth_list(struct call *call)
{
    xdr_put_u32(&call->out, 1);
    xdr_put_i32(&call->out, AUTH_NONE);
    return 0;
}

/* "qemu:///system" with any query behind it; as root's, qemu:///session is the same; "": whatever there is. */
static bool is_our_name(const char *name)
{
    static const char *const ours[] = {"qemu:///system", "qemu:///session"};
    size_t length = strcspn(name, "?");

    if (length == 0)
        return true;
    for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strlen(ours[i]) == length && strncmp(ours[i], name, length) == 0)
            return true;
    }
    return false;
}

static int open_connection(struct call *call)
{
    const char *name = call->arg[0].s != NULL ? call->arg[0].s : "";

    if (call->client->opened)
        return err_set(&call->err, RPC_FAULT(RPC_INVALID_CONNECTION), "the connection is open already");
    if (!is_our_name(name))
        return err_set(&call->err, RPC_FAULT(RPC_NO_CONNECT), "no connection driver available for %.200s; this daemon serves "
                       "qemu:///system", name);
    call->client->opened = true;
    if ((call->arg[1].u & OPEN_READONLY) != 0)
        call->client->readonly = true;
    return 0;
}

static int close_connection(struct call *call)
{
    call->client->finishing = true;
    return 0;
}

static int supports_feature(struct call *call)
{
    const int32_t feature = call->arg[0].i;
    bool supported = feature == REMOTE_FEATURE_MIGRATION_P2P || (feature >= REMOTE_FEATURE_MIGRATION_V3 &&
                     feature <= REMOTE_FEATURE_NETWORK_UPDATE_ORDER && feature != REMOTE_FEATURE_MIGRATION_OFFLINE);

    if (feature == REMOTE_FEATURE_KEEPALIVE)
        call->client->keepalive = true;
    xdr_put_i32(&call->out, supported);
    return 0;
}

static int get_uri(struct call *call)
{
    xdr_put_string(&call->out, "qemu:///system");
    return 0;
}

/* A client that asks for it learns of the end by the end of the connection. */
static int close_callback(struct call *call)
{
    return 0;
}

const struct call_handler connect_calls[] = {
    {REMOTE_AUTH_LIST, auth_list},
    {REMOTE_CONNECT_OPEN, open_connection},
    {REMOTE_CONNECT_CLOSE, close_connection},
    {REMOTE_CONNECT_SUPPORTS_FEATURE, supports_feature},
    {REMOTE_CONNECT_GET_URI, get_uri},
    {REMOTE_CONNECT_REGISTER_CLOSE_CALLBACK, close_callback},
    {REMOTE_CONNECT_UNREGISTER_CLOSE_CALLBACK, close_callback},
    {0, NULL},
};
