/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests and replies, identity and lease. */
#include "nfs/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"

#define CONNECT_MS 10000

int nfs_client_init(struct nfs_client *client, const struct nfs_url *url, struct err *err)
{
    uint64_t number[3];

    *client = (struct nfs_client){.connection.fd = -1, .wake_fd = -1, .credential = {.uid = url->uid, .gid = url->gid}};
    if (getrandom(number, sizeof(number), 0) != (ssize_t)sizeof(number))
        return err_set(err, -errno, "cannot get random numbers: %s", strerror(errno));
    memcpy(client->verifier, &number[0], sizeof(client->verifier));
    client->xid = (uint32_t)number[1];
    gethostname(client->credential.machine, sizeof(client->credential.machine) - 1);
    text_format(client->name, sizeof(client->name), "ferry %s %d %016llx", client->credential.machine, (int)getpid(),
                (unsigned long long)number[2]);
    return nfs_address_find(url->server, url->port, &client->address, err);
}

void nfs_client_fini(struct nfs_client *client)
{
    nfs_client_disconnect(client);
}

int nfs_client_connect(struct nfs_client *client, struct err *err)
{
    nfs_client_disconnect(client);
    return nfs_connection_open(&client->connection, &client->address, CONNECT_MS, err);
}

void nfs_client_disconnect(struct nfs_client *client)
{
    struct nfs_pending *all = client->pending;

    nfs_connection_close(&client->connection);
    client->pending = NULL;
    while (all != NULL) {
        struct nfs_pending *next = all->next;

        all->done(all, -EPIPE, NULL);
        all = next;
    }
}

void nfs_client_begin(struct nfs_client *client, struct nfs_call *call)
{
    nfs_call_begin(call, client->xid++, &client->credential);
}

int nfs_client_start(struct nfs_client *client, struct nfs_call *call, struct nfs_pending *pending)
{
    int r = client->connection.fd < 0 ? -EPIPE : nfs_call_end(call);

    if (r < 0) {
        nfs_call_fini(call);
        return r;
    }
    pending->xid = call->xid;
    r = nfs_connection_queue(&client->connection, call);
    if (r < 0)
        return r;
    pending->next = client->pending;
    client->pending = pending;
    client->spoken_ns = host_monotonic_ns();
    return 0;
}

static struct nfs_pending *take_pending(struct nfs_client *client, uint32_t xid)
{
    for (struct nfs_pending **link = &client->pending; *link != NULL; link = &(*link)->next) {
        struct nfs_pending *found = *link;

        if (found->xid == xid) {
            *link = found->next;
            return found;
        }
    }
    return NULL;
}

/* A reply that nobody waits for is passed over, as after a repeated request. */
static int handle(struct nfs_client *client, const uint8_t *record, size_t size)
{
    struct nfs_pending *pending;
    struct nfs_reply reply;
    uint32_t xid;
    int r = nfs_reply_xid(record, size, &xid);

    if (r < 0)
        return r;
    pending = take_pending(client, xid);
    if (pending == NULL)
        return 0;
    r = nfs_reply_begin(&reply, record, size);
    pending->done(pending, r, &reply);
    return 0;
}

static int receive(struct nfs_client *client)
{
    const uint8_t *record;
    size_t size;
    int r;

    while ((r = nfs_connection_receive(&client->connection, &record, &size)) > 0) {
        r = handle(client, record, size);
        if (r < 0)
            break;
    }
    return r;
}

static int lost(struct nfs_client *client)
{
    nfs_client_disconnect(client);
    return -EPIPE;
}

int nfs_client_step(struct nfs_client *client, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = client->connection.fd, .events = POLLIN}, {.fd = client->wake_fd, .events = POLLIN}};

    if (client->connection.fd < 0)
        return -EPIPE;
    if (nfs_connection_send(&client->connection) < 0)
        return lost(client);
    if (nfs_connection_has_output(&client->connection))
        fds[0].events |= POLLOUT;
    if (poll(fds, 2, timeout_ms) < 0)
        return errno == EINTR ? 0 : lost(client);
    if ((fds[0].revents & (POLLIN | POLLERR | POLLHUP)) != 0 && receive(client) < 0)
        return lost(client);
    return 0;
}

/* A blocking call is a pending one that is waited for. */
struct waiting {
    struct nfs_pending pending;
    int (*parse)(void *ctx, struct nfs_reply *reply);
    void *ctx;
    int result;
    bool done;
};

static void waiting_done(struct nfs_pending *pending, int result, struct nfs_reply *reply)
{
    struct waiting *waiting = CONTAINER_OF(pending, struct waiting, pending);

    waiting->result = result < 0 ? result : waiting->parse(waiting->ctx, reply);
    waiting->done = true;
}

int nfs_client_call(struct nfs_client *client, struct nfs_call *call, int (*parse)(void *ctx, struct nfs_reply *reply), void *ctx)
{
    struct waiting waiting = {.pending.done = waiting_done, .parse = parse, .ctx = ctx};
    int r = nfs_client_start(client, call, &waiting.pending), wake_fd = client->wake_fd;

    if (r < 0)
        return r;
    client->wake_fd = -1; /* who wakes us waits for a step of its own */
    while (!waiting.done) {
        nfs_client_step(client, 200);
        if (client->cancelled && !waiting.done) {
            nfs_client_disconnect(client); /* what it was to send may go away with the caller */
            waiting.result = -ECANCELED;
        }
    }
    client->wake_fd = wake_fd;
    return waiting.result;
}

struct identity {
    uint64_t clientid;
    uint8_t confirm[NFS_VERIFIER_SIZE];
};

static int parse_identity(void *ctx, struct nfs_reply *reply)
{
    struct identity *identity = ctx;
    int r = nfs_reply_next(reply, NFS_SETCLIENTID);

    return r != 0 ? r : nfs_get_clientid(reply, &identity->clientid, identity->confirm);
}

static int parse_confirm(void *ctx, struct nfs_reply *reply)
{
    return nfs_reply_next(reply, NFS_SETCLIENTID_CONFIRM);
}

int nfs_client_identify(struct nfs_client *client)
{
    struct identity identity;
    struct nfs_call call;
    int r;

    nfs_client_begin(client, &call);
    nfs_put_setclientid(&call, client->name, client->verifier);
    r = nfs_client_call(client, &call, parse_identity, &identity);
    if (r != 0)
        return r;
    nfs_client_begin(client, &call);
    nfs_put_setclientid_confirm(&call, identity.clientid, identity.confirm);
    r = nfs_client_call(client, &call, parse_confirm, NULL);
    if (r == 0) {
        client->clientid = identity.clientid;
        client->has_clientid = true;
    }
    return r;
}

static int parse_renew(void *ctx, struct nfs_reply *reply)
{
    return nfs_reply_next(reply, NFS_RENEW);
}

int nfs_client_renew(struct nfs_client *client)
{
    struct nfs_call call;

    nfs_client_begin(client, &call);
    nfs_put_renew(&call, client->clientid);
    return nfs_client_call(client, &call, parse_renew, NULL);
}

bool nfs_put_parent(struct nfs_call *call, const char *path, const char **ret_name)
{
    const char *part = path + 1;

    nfs_put_root(call);
    for (const char *slash; (slash = strchr(part, '/')) != NULL; part = slash + 1)
        nfs_put_lookup(call, part, (size_t)(slash - part));
    *ret_name = part;
    return *part != 0;
}

int nfs_reply_parent(struct nfs_reply *reply, const char *path)
{
    int r = nfs_reply_next(reply, NFS_PUTROOTFH);

    for (const char *slash = path; r == 0 && (slash = strchr(slash + 1, '/')) != NULL;)
        r = nfs_reply_next(reply, NFS_LOOKUP);
    return r;
}
