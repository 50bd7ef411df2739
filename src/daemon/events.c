/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registrations of clients for events, and the messages. */
#include "daemon/events.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/client.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/server.h"

#define REGISTRATIONS_MAX 256 /* of one client */

struct event_registration {
    struct event_registration *next;
    enum event_kind kind;
    int32_t id, callback;
    bool one; /* object only: */
    uint8_t uuid[16];
    char *name; /* of a monitor's event; NULL: every one */
};

static void send_event(struct client *client, const struct event_registration *registration, int32_t procedure,
                       const struct buffer *payload)
{
    struct buffer bytes = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &bytes};
    const struct rpc_header header = {.program = registration->kind == EVENT_MONITOR ? RPC_PROGRAM_QEMU : RPC_PROGRAM_REMOTE,
                                      .version = 1, .procedure = procedure, .type = RPC_MESSAGE, .serial = 1};

    rpc_put_header(&writer, &header);
    xdr_put_i32(&writer, registration->callback);
    buffer_append(&bytes, payload->data, payload->size);
    rpc_set_length(&bytes, 0);
    client_send(client, &bytes, NULL, 0);
}

/* What is told, and to whom. */
struct news {
    enum event_kind kind;
    int32_t id, procedure;
    const uint8_t *uuid;
    const char *name;
    const struct buffer *payload;
};

static bool wants(const struct event_registration *registration, const struct news *news)
{
    return registration->kind == news->kind && registration->id == news->id &&
           (!registration->one || memcmp(registration->uuid, news->uuid, 16) == 0) &&
           (registration->name == NULL || news->name == NULL || text_equal(registration->name, news->name));
}

static void tell_client(struct client *client, const struct news *news)
{
    for (const struct event_registration *at = client->registrations; at != NULL && !client->closed; at = at->next) {
        if (wants(at, news))
            send_event(client, at, news->procedure, news->payload);
        if (client->closed)
            return;
    }
}

static void tell_all(struct daemon *daemon, const struct news *news)
{
    struct client *client = daemon->server != NULL ? daemon->server->clients : NULL;

    while (client != NULL) {
        struct client *next;

        client_hold(client);
        tell_client(client, news);
        next = client->next;
        client_release(client);
        client = next;
    }
}

void events_send(struct daemon *daemon, enum event_kind kind, int32_t id, const uint8_t uuid[16], int32_t procedure,
                 const struct buffer *payload)
{
    tell_all(daemon, &(struct news){.kind = kind, .id = id, .procedure = procedure, .uuid = uuid, .payload = payload});
}

void events_send_monitor(struct domain *domain, const char *name, const char *details)
{
    struct buffer payload = BUFFER_INIT(RPC_MESSAGE_MAX);
    struct xdr_writer writer = {.out = &payload};
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    rpc_put_domain(&writer, domain_name(domain), domain_uuid(domain), domain->id);
    xdr_put_string(&writer, name);
    xdr_put_i64(&writer, now.tv_sec);
    xdr_put_u32(&writer, (uint32_t)(now.tv_nsec / 1000));
    xdr_put_optional_string(&writer, details);
    tell_all(domain->daemon, &(struct news){.kind = EVENT_MONITOR, .procedure = QEMU_MONITOR_EVENT, .uuid = domain_uuid(domain),
                                            .name = name, .payload = &payload});
    buffer_fini(&payload);
}

void events_forget(struct client *client)
{
    while (client->registrations != NULL) {
        struct event_registration *next = client->registrations->next;

        free(client->registrations->name);
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

enum { MONITOR_EVENT_REGEX = 1, MONITOR_EVENT_NOCASE = 2 };

/* Events by their whole name, or all of them. */
static int register_monitor(struct call *call)
{
    const char *name = call->arg[1].s;
    int r;

    if ((call->arg[2].u & (MONITOR_EVENT_REGEX | MONITOR_EVENT_NOCASE)) != 0 && name != NULL)
        return err_set(&call->err, RPC_FAULT(RPC_ARGUMENT_UNSUPPORTED), "events are chosen by their whole name, without patterns");
    r = add(call, EVENT_MONITOR, 0, 1, object_uuid(call->arg[0].object));
    if (r == 0 && name != NULL)
        call->client->registrations->name = strdup(name);
    return r;
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
    free(found->name);
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

const struct call_handler monitor_event_calls[] = {
    {QEMU_CONNECT_DOMAIN_MONITOR_EVENT_REGISTER, register_monitor},
    {QEMU_CONNECT_DOMAIN_MONITOR_EVENT_DEREGISTER, deregister},
    {0, NULL},
};
