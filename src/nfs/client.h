/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A client of one NFSv4.0 server (RFC 7530): requests with their replies, and the client's identity and lease.
 *
 * Used by one thread. Requests that were started end in their `done`, inside nfs_client_step() or a blocking call; when the
 * connection is lost they all end with -EPIPE, and whoever needs them makes a new connection and says them again.
 *
 *     nfs_client_init(&client, &url, err);
 *     nfs_client_connect(&client, err);
 *     nfs_client_begin(&client, &call);
 *     nfs_put_root(&call);
 *     nfs_put_getattr(&call, NFS_ATTRIBUTE_LEASE);
 *     r = nfs_client_call(&client, &call, parse, ctx);
 *     nfs_client_fini(&client);
 */
#ifndef FERRY_NFS_CLIENT_H
#define FERRY_NFS_CLIENT_H

#include "nfs/connection.h"
#include "nfs/reply.h"
#include "nfs/url.h"

struct nfs_pending {
    struct nfs_pending *next;
    uint32_t xid;
    /* result 0: the reply came; -EPIPE: the connection is lost; others: what came is no reply of NFSv4. */
    void (*done)(struct nfs_pending *pending, int result, struct nfs_reply *reply);
};

struct nfs_client {
    struct nfs_address address;
    struct nfs_credential credential;
    struct nfs_connection connection;
    struct nfs_pending *pending;
    uint32_t xid;
    char name[160];   /* the client's for the server: this host, process, and a number of its own */
    uint8_t verifier[NFS_VERIFIER_SIZE];
    uint64_t clientid;
    bool has_clientid;
    bool cancelled;   /* blocking calls end with -ECANCELED */
    int wake_fd;      /* readable: nfs_client_step() returns; -1: none */
    int64_t spoken_ns; /* when the lease was last renewed by what we said */
};

/* Looks the server up. */
int nfs_client_init(struct nfs_client *client, const struct nfs_url *url, struct err *err);
void nfs_client_fini(struct nfs_client *client);

int nfs_client_connect(struct nfs_client *client, struct err *err);
void nfs_client_disconnect(struct nfs_client *client); /* what is under way ends with -EPIPE */

void nfs_client_begin(struct nfs_client *client, struct nfs_call *call);

/* Sends the call; the reply goes to pending->done. On failure (-ENOMEM, -ENOBUFS, -EPIPE) done is not called. */
int nfs_client_start(struct nfs_client *client, struct nfs_call *call, struct nfs_pending *pending);

/* Waits up to timeout_ms (-1: for ever) for something to happen, and handles it. -EPIPE: the connection is lost. */
int nfs_client_step(struct nfs_client *client, int timeout_ms);

/* Sends the call and waits for the reply, which parse looks at; what parse returns is returned: by the habit of this room
 * 0, a positive status of NFS, or a negative errno. */
int nfs_client_call(struct nfs_client *client, struct nfs_call *call, int (*parse)(void *ctx, struct nfs_reply *reply), void *ctx);

/* Makes the client known to the server. 0, a status, or a negative errno. */
int nfs_client_identify(struct nfs_client *client);

/* Renews the lease: NFS_ERROR_STALE_CLIENTID or NFS_ERROR_EXPIRED when the server has forgotten us. */
int nfs_client_renew(struct nfs_client *client);

/* Appends the operations that make the path's directory current. False when the path is "/". The last part is at *ret_name. */
bool nfs_put_parent(struct nfs_call *call, const char *path, const char **ret_name);
/* The results of the same operations. */
int nfs_reply_parent(struct nfs_reply *reply, const char *path);

#endif
