/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists of networks and of storage pools, as clients ask for them: filtered, as objects, names or a number. */
#ifndef FERRY_DAEMON_CALL_LIST_H
#define FERRY_DAEMON_CALL_LIST_H

#include "daemon/call.h"

enum list_filter { /* libvirt's, the same for both kinds; of a pair both or none mean no restriction */
    LIST_INACTIVE = 1,
    LIST_ACTIVE = 2,
    LIST_PERSISTENT = 4,
    LIST_TRANSIENT = 8,
    LIST_AUTOSTART = 0x10,
    LIST_NO_AUTOSTART = 0x20,
    LIST_COMMON = 0x3f,
};

struct list_entry {
    const char *name;
    const uint8_t *uuid;
    bool active, persistent, autostart;
    uint32_t type; /* a bit among the type filters of its kind; 0: kinds without types */
};

struct list_kind {
    size_t (*count)(struct call *call);
    struct list_entry (*get)(struct call *call, size_t index);
    uint32_t types; /* filters by type that clients may give */
};

/* Arguments: whether they want objects, filters. */
int call_list_all(struct call *call, const struct list_kind *kind);
/* The older calls, of the active or of the others: their number; their names, as many as the first argument says. */
int call_list_number(struct call *call, const struct list_kind *kind, uint32_t filter);
int call_list_names(struct call *call, const struct list_kind *kind, uint32_t filter);

#endif
