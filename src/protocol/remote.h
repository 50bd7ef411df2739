/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The procedures of libvirt's RPC: numbers as an enum, and the table of remote_calls.def to look them up in. */
#ifndef FERRY_PROTOCOL_REMOTE_H
#define FERRY_PROTOCOL_REMOTE_H

#include <stdint.h>

enum remote_procedure {
#define CALL(number, name, arguments, results, access) REMOTE_##name = (number),
#define QEMU(number, name, arguments, results, access) QEMU_##name = (number),
#define EVENT(number, name, payload) REMOTE_##name = (number),
#define QEMU_EVENT(number, name, payload) QEMU_##name = (number),
#include "protocol/remote_calls.def"
#undef CALL
#undef QEMU
#undef EVENT
#undef QEMU_EVENT
};

enum remote_access {
    REMOTE_OPEN,  /* before authentication too */
    REMOTE_READ,  /* changes nothing: on read-only connections too */
    REMOTE_WRITE,
    REMOTE_EVENT, /* no call: the server's message */
};

struct remote_call {
    uint32_t program; /* enum rpc_program */
    int32_t number;
    const char *name;      /* "DOMAIN_CREATE" */
    const char *arguments; /* layouts; of an event, its payload in both */
    const char *results;
    enum remote_access access;
};

/* NULL: no such procedure. */
const struct remote_call *remote_find(uint32_t program, int32_t number);

/* What clients ask for by CONNECT_SUPPORTS_FEATURE. */
enum remote_feature {
    REMOTE_FEATURE_MIGRATION_P2P = 4,
    REMOTE_FEATURE_MIGRATION_DIRECT = 5,
    REMOTE_FEATURE_MIGRATION_V3 = 6,
    REMOTE_FEATURE_CHANGE_PROTECTION = 7,
    REMOTE_FEATURE_FD_PASSING = 8,
    REMOTE_FEATURE_TYPED_PARAM_STRING = 9,
    REMOTE_FEATURE_KEEPALIVE = 10,
    REMOTE_FEATURE_XML_MIGRATABLE = 11,
    REMOTE_FEATURE_MIGRATION_OFFLINE = 12,
    REMOTE_FEATURE_MIGRATION_PARAMS = 13,
    REMOTE_FEATURE_EVENT_CALLBACK = 14,
    REMOTE_FEATURE_CLOSE_CALLBACK = 15,
    REMOTE_FEATURE_NETWORK_UPDATE_ORDER = 16,
};

#endif
