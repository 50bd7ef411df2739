/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ferry net, ferry pool: lists, starting and stopping. */
#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/text.h"
#include "cli/daemon_internal.h"
#include "protocol/remote.h"

/* What a kind of object is asked and told by. */
struct kind {
    const char *name;
    int32_t list, lookup, is_active, get_autostart;
};

static const struct kind networks = {"network", REMOTE_CONNECT_LIST_ALL_NETWORKS, REMOTE_NETWORK_LOOKUP_BY_NAME, REMOTE_NETWORK_IS_ACTIVE,
                                     REMOTE_NETWORK_GET_AUTOSTART};
static const struct kind pools = {"pool", REMOTE_CONNECT_LIST_ALL_STORAGE_POOLS, REMOTE_STORAGE_POOL_LOOKUP_BY_NAME,
                                  REMOTE_STORAGE_POOL_IS_ACTIVE, REMOTE_STORAGE_POOL_GET_AUTOSTART};

static bool ask(struct verb_call *call, int32_t procedure, const struct rpc_object *object)
{
    return verb_simple(call, procedure, object, false, NULL) == 0 && call->client.result[0].i != 0;
}

static int list_all(struct verb_call *call, const struct kind *kind, struct err *err)
{
    static const char *const keys[] = {"name", "state", "autostart", NULL};
    json_t *list = json_array();
    struct rpc_value objects;
    int r;

    xdr_put_i32(&call->client.writer, 1);
    xdr_put_u32(&call->client.writer, 3);
    r = daemon_client_call(&call->client, kind->list, err);
    objects = call->client.result[0];
    for (size_t i = 0; r == 0 && i < objects.list.count; i++) {
        const struct rpc_object *object = objects.list.items[i].object;
        bool active = ask(call, kind->is_active, object), autostart = ask(call, kind->get_autostart, object);

        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", object->name, "state", active ? "active" : "inactive", "autostart",
                                              autostart ? "yes" : "no"));
    }
    if (r == 0)
        verb_print_list(call, list, keys);
    else
        json_decref(list);
    return r;
}

/* with_flags: a zero behind the object; autostart: a one. */
struct action {
    const char *name;
    int32_t procedure;
    bool number;
    uint32_t value;
};

static int act(struct verb_call *call, const struct kind *kind, const struct action *actions, size_t count, struct err *err)
{
    struct rpc_object object;
    int r;

    if (text_equal(call->word[0], "list"))
        return list_all(call, kind, err);
    for (size_t i = 0; i < count; i++) {
        if (!text_equal(call->word[0], actions[i].name))
            continue;
        if (call->words != 2)
            return err_set(err, -EINVAL, "the name of the %s is missing", kind->name);
        r = verb_find(call, kind->lookup, call->word[1], &object, err);
        if (r < 0)
            return r;
        rpc_put_named(&call->client.writer, object.name, object.uuid);
        if (actions[i].number)
            xdr_put_u32(&call->client.writer, actions[i].value);
        return daemon_client_call(&call->client, actions[i].procedure, err);
    }
    return err_set(err, -EINVAL, "a %s cannot be told to '%.60s'; ferry help lists what there is", kind->name, call->word[0]);
}

int verb_net(struct verb_call *call, struct err *err)
{
    static const struct action actions[] = {{"start", REMOTE_NETWORK_CREATE, false, 0}, {"stop", REMOTE_NETWORK_DESTROY, false, 0},
                                            {"autostart", REMOTE_NETWORK_SET_AUTOSTART, true, 1}};

    return act(call, &networks, actions, ARRAY_SIZE(actions), err);
}

int verb_pool(struct verb_call *call, struct err *err)
{
    static const struct action actions[] = {{"start", REMOTE_STORAGE_POOL_CREATE, true, 0}, {"stop", REMOTE_STORAGE_POOL_DESTROY, false, 0},
                                            {"refresh", REMOTE_STORAGE_POOL_REFRESH, true, 0}};

    return act(call, &pools, actions, ARRAY_SIZE(actions), err);
}
