/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of procedures, from remote_calls.def, ascending by number within a program. */
#include "protocol/remote.h"

#include <stddef.h>

#include "base/bits.h"
#include "protocol/rpc.h"

static const struct remote_call remote_calls[] = {
#define CALL(number, name, arguments, results, access) \
    {RPC_PROGRAM_REMOTE, (number), #name, (arguments), (results), REMOTE_##access},
#define QEMU(number, name, arguments, results, access) \
    {RPC_PROGRAM_QEMU, (number), #name, (arguments), (results), REMOTE_##access},
#define EVENT(number, name, payload) {RPC_PROGRAM_REMOTE, (number), #name, (payload), (payload), REMOTE_EVENT},
#define QEMU_EVENT(number, name, payload) {RPC_PROGRAM_QEMU, (number), #name, (payload), (payload), REMOTE_EVENT},
#include "protocol/remote_calls.def"
#undef CALL
#undef QEMU
#undef EVENT
#undef QEMU_EVENT
};

const struct remote_call *remote_find(uint32_t program, int32_t number)
{
    for (size_t i = 0; i < ARRAY_SIZE(remote_calls); i++) {
        if (remote_calls[i].program == program && remote_calls[i].number == number)
            return &remote_calls[i];
    }
    return NULL;
}
