/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks a call up, checks who may make it, runs its handler in a coroutine, sends the answer. */
#include "daemon/dispatch.h"

#include <errno.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "daemon/absent.h"
#include "daemon/call.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/stream.h"

enum { DOMAIN_RPC = 7, DOMAIN_FERRY = 10 }; /* whom an error record names: informative only */

static const struct {
    uint32_t program;
    const struct call_handler *handlers;
} tables[] = {
    {RPC_PROGRAM_REMOTE, connect_calls},
    {RPC_PROGRAM_REMOTE, host_calls},
    {RPC_PROGRAM_REMOTE, cpu_calls},
    {RPC_PROGRAM_REMOTE, event_calls},
    {RPC_PROGRAM_REMOTE, network_calls},
    {RPC_PROGRAM_REMOTE, port_calls},
    {RPC_PROGRAM_REMOTE, storage_calls},
    {RPC_PROGRAM_REMOTE, volume_calls},
    {RPC_PROGRAM_REMOTE, domain_calls},
    {RPC_PROGRAM_REMOTE, lifecycle_calls},
    {RPC_PROGRAM_REMOTE, device_calls},
    {RPC_PROGRAM_REMOTE, update_calls},
    {RPC_PROGRAM_REMOTE, block_calls},
    {RPC_PROGRAM_REMOTE, limits_calls},
    {RPC_PROGRAM_REMOTE, statistics_calls},
    {RPC_PROGRAM_REMOTE, save_calls},
    {RPC_PROGRAM_REMOTE, metadata_calls},
    {RPC_PROGRAM_QEMU, monitor_calls},
    {RPC_PROGRAM_QEMU, monitor_event_calls},
    {RPC_PROGRAM_REMOTE, migrate_calls},
    {RPC_PROGRAM_REMOTE, console_calls},
};

static call_fn *find_handler(const struct remote_call *type)
{
    for (unsigned i = 0; i < ARRAY_SIZE(tables); i++) {
        for (const struct call_handler *handler = tables[i].handlers; handler->number != 0; handler++) {
            if (tables[i].program == type->program && handler->number == type->number)
                return handler->fn;
        }
    }
    return NULL;
}

bool dispatch_has_handler(const struct remote_call *type)
{
    return find_handler(type) != NULL;
}

static void send_error(struct client *client, const struct rpc_header *header, int code, int domain, const char *message)
{
    struct buffer bytes = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &bytes};
    struct rpc_header reply = *header;

    reply.type = RPC_REPLY;
    reply.status = RPC_ERROR;
    rpc_put_header(&writer, &reply);
    rpc_put_error(&writer, code, domain, message);
    rpc_set_length(&bytes, 0);
    client_send(client, &bytes, NULL, 0);
}

static struct rpc_header header_of(const struct call *call)
{
    return (struct rpc_header){.program = call->type->program, .version = 1, .procedure = call->type->number,
                               .serial = call->serial};
}

/* A result that is not of its layout would confuse the client: a bug of ours, which is told. */
static int check_result(struct call *call)
{
    struct arena arena = ARENA_INIT(RPC_DECODED_MAX);
    struct xdr_reader reader = {.data = call->result.data, .size = call->result.size};
    struct rpc_value values[RPC_VALUES_MAX];
    int r = call->out.error < 0 ? call->out.error : rpc_decode(call->type->results, &reader, &arena, values);

    arena_fini(&arena);
    if (r >= 0)
        return 0;
    return err_set(&call->err, RPC_FAULT(RPC_INTERNAL_ERROR), "the answer to %s is too long or not of its layout", call->type->name);
}

static void send_result(struct call *call)
{
    struct buffer bytes = BUFFER_INIT(RPC_MESSAGE_MAX + 4);
    struct xdr_writer writer = {.out = &bytes};
    struct rpc_header header = header_of(call);

    header.type = call->fd_count > 0 ? RPC_REPLY_WITH_FDS : RPC_REPLY;
    rpc_put_header(&writer, &header);
    if (call->fd_count > 0)
        xdr_put_u32(&writer, call->fd_count);
    buffer_append(&bytes, call->result.data, call->result.size);
    rpc_set_length(&bytes, 0);
    client_send(call->client, &bytes, call->fds, call->fd_count);
    call->fd_count = 0;
}

int call_reply(struct call *call)
{
    int r = check_result(call);

    if (r < 0)
        return r;
    call->replied = true; /* what goes on is no call in progress: a console may be open for days */
    call->client->calls--;
    send_result(call);
    return 0;
}

int call_check_flags(struct call *call, uint32_t flags, uint32_t known)
{
    if ((flags & ~known) == 0)
        return 0;
    return err_set(&call->err, RPC_FAULT(RPC_INVALID_ARGUMENT), "unsupported flags 0x%x in %s", flags & ~known, call->type->name);
}

static void free_call(struct call *call)
{
    struct client *client = call->client;

    if (!call->replied)
        client->calls--;
    while (call->fd_count > 0)
        close(call->fds[--call->fd_count]);
    if (call->domain != NULL)
        domain_release(call->domain);
    buffer_fini(&call->result);
    arena_fini(&call->arena);
    free(call);
    client_resume(client);
    client_release(client);
}

static void answer(struct call *call, int r)
{
    const struct rpc_header header = header_of(call);

    if (r == 0 && !call->replied)
        r = call_reply(call);
    if (r >= 0)
        return;
    if (call->err.code == 0)
        err_set(&call->err, r, "%s failed: %s", call->type->name, r > RPC_FAULT(0) ? strerror(-r) : "for an unknown reason");
    log_info("%s: %s", call->type->name, call->err.message);
    if (call->replied)
        stream_fail_call(call);
    else
        send_error(call->client, &header, rpc_error_code(r), DOMAIN_FERRY, call->err.message);
}

static void run_call(void *ctx)
{
    struct call *call = ctx;
    struct daemon *daemon = call->daemon;

    while (!daemon->ready)
        wait_queue_wait(&daemon->became_ready, daemon->scheduler, WAIT_FOR_EVER);
    answer(call, find_handler(call->type)(call));
    free_call(call);
}

/* Why a call can't be made here at all: an error code, or 0. */
static int refuse(const struct client *client, const struct rpc_header *header, const struct remote_call *type, struct err *err)
{
    if (header->version != 1 && (header->program == RPC_PROGRAM_REMOTE || header->program == RPC_PROGRAM_QEMU))
        return err_set(err, RPC_FAULT(RPC_RPC_ERROR), "version %u of the protocol is unknown", header->version);
    if (type == NULL || type->access == REMOTE_EVENT || find_handler(type) == NULL)
        return absent_refuse(type, err);
    if (type->access != REMOTE_OPEN && !client->authenticated)
        return err_set(err, RPC_FAULT(RPC_AUTH_FAILED), "authentication required");
    if (type->access != REMOTE_OPEN && !client->opened && type->number != REMOTE_CONNECT_OPEN &&
        type->number != REMOTE_CONNECT_SUPPORTS_FEATURE)
        return err_set(err, RPC_FAULT(RPC_NO_CONNECT), "the connection has not been opened");
    if (type->access == REMOTE_WRITE && client->readonly)
        return err_set(err, RPC_FAULT(RPC_OPERATION_DENIED), "operation %s forbidden for read only access", type->name);
    return 0;
}

static struct call *new_call(struct client *client, const struct remote_call *type, uint32_t serial)
{
    struct call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        return NULL;
    call->daemon = client->daemon;
    call->client = client;
    call->type = type;
    call->serial = serial;
    call->arena = ARENA_INIT(RPC_DECODED_MAX);
    call->result = BUFFER_INIT(RPC_MESSAGE_MAX - RPC_HEADER_SIZE);
    call->out.out = &call->result;
    client_hold(client);
    client->calls++;
    return call;
}

int dispatch_call(struct client *client, const struct rpc_header *header, struct xdr_reader *payload)
{
    const struct remote_call *type = remote_find(header->program, header->procedure);
    struct err err = ERR_INIT;
    struct call *call;
    int r = refuse(client, header, type, &err);

    if (r < 0) {
        send_error(client, header, rpc_error_code(r), DOMAIN_RPC, err.message);
        return 0;
    }
    call = new_call(client, type, header->serial);
    if (call == NULL)
        return -ENOMEM;
    if (rpc_decode(type->arguments, payload, &call->arena, call->arg) < 0) {
        send_error(client, header, RPC_RPC_ERROR, DOMAIN_RPC, "Unable to decode message payload");
        free_call(call);
        return 0;
    }
    r = coroutine_start(client->daemon->scheduler, run_call, call);
    if (r < 0)
        free_call(call);
    return r;
}
