/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registrations of clients for events, and the messages. */
#include "daemon/events.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "daemon/call.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/server.h"

#define REGISTRATIONS_MAX 256 /* of one client */

struct event_registration {
    struct event_registration *next;
    enum event_kind kind;
    int32_t id, callback;
    bool one; /* object only: */
    uint8_t uuid[16];
};

static void send_event(struct client *client, const struct event_registration *registration, int32_t procedure,
                       const struct buffer *payload)
{
    struct buffer bytes = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &bytes};
    const struct rpc_header header = {.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = procedure, .type = RPC_MESSAGE,
                                      .serial = 1};

    rpc_put_header(&writer, &header);
    xdr_put_i32(&writer, registration->callback);
    buffer_append(&bytes, payload->data, payload->size);
    rpc_set_length(&bytes, 0);
    client_send(client, &bytes, NULL, 0);
}

static void tell_client(struct client *client, enum event_kind kind, int32_t id, const uint8_t uuid[16], int32_t procedure,
                        const struct buffer *payload)
{
    for (const struct event_registration *at = client->registrations; at != NULL && !client->closed; at = at->next) {
        if (at->kind == kind && at->id == id && (!at->one || memcmp(at->uuid, uuid, 16) == 0))
            send_event(client, at, procedure, payload);
        if (client->closed)
            return;
    }
}

void events_send(struct daemon *daemon, enum event_kind kind, int32_t id, const uint8_t uuid[16], int32_t procedure,
                 const struct buffer *payload)
{
    struct client *client = daemon->server != NULL ? daemon->server->clients : NULL;

    while (client != NULL) {
        struct client *next;

        client_hold(client);
        tell_client(client, kind, id, uuid, procedure, payload);
        next = client->next;
        client_release(client);
        client = next;
    }
}

void events_forget(struct client *client)
{
    while (client->registrations != NULL) {
        struct event_registration *next = client->registrations->next;

        free(client->registrations);
        client->registrations = next;
    }
}

static int count_registrations(const struct client *client)
{
    int count = 0;

    for (const struct event_registration *at = client->registrations; at != NULL; at = at->next)
        count++;
    return count;
}

static int add(struct call *call, enum event_kind kind, int32_t id, int32_t ids, const uint8_t *uuid)
{
    static int32_t last_callback;
    struct event_registration *registration;

    if (id < 0 || id >= ids)
        return err_set(&call->err, -EINVAL, "there is no event number %d", id);
    if (count_registrations(call->client) >= REGISTRATIONS_MAX)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_FAILED), "more than %d events at one connection", REGISTRATIONS_MAX);
    registration = calloc(1, sizeof(*registration));
    if (registration == NULL)
        return -ENOMEM;
    last_callback = last_callback == INT32_MAX ? 1 : last_callback + 1;
    *registration = (struct event_registration){.kind = kind, .id = id, .callback = last_callback, .one = uuid != NULL,
                                                .next = call->client->registrations};
    if (uuid != NULL)
        memcpy(registration->uuid, uuid, 16);
    call->client->registrations = registration;
    xdr_put_i32(&call->out, last_callback);
    return 0;
}

static const uint8_t *object_uuid(const struct rpc_object *object)
{
    return object != NULL ? object->uuid : NULL;
}

static int register_domain(struct call *call)
{
    return add(call, EVENT_DOMAIN, call->arg[0].i, 27, object_uuid(call->arg[1].object));
}

static int register_network(struct call *call)
{
    return add(call, EVENT_NETWORK, call->arg[0].i, 1, object_uuid(call->arg[1].object));
}

static int register_pool(struct call *call)
{
    return add(call, EVENT_POOL, call->arg[0].i, 2, object_uuid(call->arg[1].object));
}

static int register_node_device(struct call *call)
{
    return add(call, EVENT_NODE_DEVICE, call->arg[0].i, 2, NULL);
}

static int deregister(struct call *call)
{
    struct event_registration **link = &call->client->registrations;

    while (*link != NULL && (*link)->callback != call->arg[0].i)
        link = &(*link)->next;
    if (*link == NULL)
        return err_set(&call->err, -EINVAL, "there is no event callback number %d", call->arg[0].i);
    struct event_registration *found = *link;
    *link = found->next;
    free(found);
    return 0;
}

const struct call_handler event_calls[] = {
    {REMOTE_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY, register_domain},
    {REMOTE_CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY, deregister},
    {REMOTE_CONNECT_NETWORK_EVENT_REGISTER_ANY, register_network},
    {REMOTE_CONNECT_NETWORK_EVENT_DEREGISTER_ANY, deregister},
    {REMOTE_CONNECT_STORAGE_POOL_EVENT_REGISTER_ANY, register_pool},
    {REMOTE_CONNECT_STORAGE_POOL_EVENT_DEREGISTER_ANY, deregister},
    {REMOTE_CONNECT_NODE_DEVICE_EVENT_REGISTER_ANY, register_node_device},
    {REMOTE_CONNECT_NODE_DEVICE_EVENT_DEREGISTER_ANY, deregister},
    {0, NULL},
};
