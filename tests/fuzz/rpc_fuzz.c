/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: an RPC packet, its payload decoded by the layouts of its procedure. */
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/err.h"
#include "fuzz.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

static void decode(const char *layout, struct xdr_reader reader)
{
    struct arena arena = ARENA_INIT(1 << 20);
    struct rpc_value values[RPC_VALUES_MAX];

    rpc_decode(layout, &reader, &arena, values);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xdr_reader reader = {.data = data + 4, .size = size - 4};
    const struct remote_call *call;
    struct err err = ERR_INIT;
    struct rpc_header header;
    size_t packet;

    if (rpc_packet_size(data, size, &packet) < 0 || size < RPC_HEADER_SIZE)
        return 0;
    rpc_get_header(&reader, &header);
    call = remote_find(header.program, header.procedure);
    if (call != NULL) {
        decode(call->arguments, reader);
        decode(call->results, reader);
    }
    rpc_get_error(&reader, &err);
    return 0;
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const int32_t procedures[] = {REMOTE_CONNECT_OPEN, REMOTE_DOMAIN_GET_XML_DESC, REMOTE_DOMAIN_MIGRATE_PERFORM3_PARAMS,
                                         REMOTE_CONNECT_GET_ALL_DOMAIN_STATS, REMOTE_DOMAIN_INTERFACE_ADDRESSES};
    struct buffer bytes = BUFFER_INIT(max);
    struct xdr_writer writer = {.out = &bytes};
    size_t size;

    if (index >= sizeof(procedures) / sizeof(procedures[0]))
        return 0;
    rpc_put_header(&writer, &(struct rpc_header){.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = procedures[index]});
    rpc_put_domain(&writer, "fw1", out, 1);
    xdr_put_optional_string(&writer, "qemu+tcp://kvm2/system");
    xdr_put_u32(&writer, 0);
    xdr_put_opaque(&writer, "", 0);
    xdr_put_u32(&writer, 1);
    rpc_set_length(&bytes, 0);
    size = bytes.size;
    if (size > 0)
        memcpy(out, bytes.data, size);
    buffer_fini(&bytes);
    return size;
}
