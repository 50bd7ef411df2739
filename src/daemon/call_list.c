/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of networks and pools. */
#include "daemon/call_list.h"

static bool passes(uint32_t filter, uint32_t yes, uint32_t no, bool value)
{
    uint32_t group = filter & (yes | no);

    return group == 0 || group == (yes | no) || group == (value ? yes : no);
}

static bool selected(const struct list_kind *kind, const struct list_entry *entry, uint32_t filter)
{
    return passes(filter, LIST_ACTIVE, LIST_INACTIVE, entry->active) &&
           passes(filter, LIST_PERSISTENT, LIST_TRANSIENT, entry->persistent) &&
           passes(filter, LIST_AUTOSTART, LIST_NO_AUTOSTART, entry->autostart) &&
           ((filter & kind->types) == 0 || (filter & entry->type) != 0);
}

static void put_object(struct call *call, const struct list_entry *entry)
{
    rpc_put_named(&call->out, entry->name, entry->uuid);
}

static void put_name(struct call *call, const struct list_entry *entry)
{
    xdr_put_string(&call->out, entry->name);
}

/* put: NULL to count only. Returns how many there were, max at most. */
static uint32_t each(struct call *call, const struct list_kind *kind, uint32_t filter, uint32_t max,
                     void (*put)(struct call *call, const struct list_entry *entry))
{
    uint32_t found = 0;

    for (size_t i = 0; i < kind->count(call) && found < max; i++) {
        const struct list_entry entry = kind->get(call, i);

        if (!selected(kind, &entry, filter))
            continue;
        if (put != NULL)
            put(call, &entry);
        found++;
    }
    return found;
}

int call_list_all(struct call *call, const struct list_kind *kind)
{
    const bool wanted = call->arg[0].i != 0;
    const uint32_t filter = call->arg[1].u;
    int r = call_check_flags(call, filter, LIST_COMMON | kind->types);

    if (r < 0)
        return r;
    size_t at = rpc_count_begin(&call->out);
    uint32_t found = each(call, kind, filter, UINT32_MAX, wanted ? put_object : NULL);
    rpc_count_end(&call->out, at, wanted ? found : 0);
    xdr_put_u32(&call->out, found);
    return 0;
}

int call_list_number(struct call *call, const struct list_kind *kind, uint32_t filter)
{
    xdr_put_i32(&call->out, (int32_t)each(call, kind, filter, INT32_MAX, NULL));
    return 0;
}

int call_list_names(struct call *call, const struct list_kind *kind, uint32_t filter)
{
    const int32_t max = call->arg[0].i;
    size_t at = rpc_count_begin(&call->out);
    uint32_t found = each(call, kind, filter, max > 0 ? (uint32_t)max : 0, put_name);

    rpc_count_end(&call->out, at, found);
    return 0;
}
