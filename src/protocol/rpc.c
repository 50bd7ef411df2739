/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RPC packets, error records, and the encoders of what occurs in many procedures. */
#include "protocol/rpc.h"

#include <errno.h>
#include <stdarg.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"

int rpc_packet_size(const uint8_t *data, size_t available, size_t *ret_size)
{
    struct xdr_reader reader = {.data = data, .size = available};
    uint32_t size;

    if (available < 4) {
        *ret_size = 0;
        return 0;
    }
    size = xdr_get_u32(&reader);
    if (size < RPC_HEADER_SIZE || size > RPC_MESSAGE_MAX + 4)
        return -EBADMSG;
    *ret_size = size;
    return 0;
}

void rpc_put_header(struct xdr_writer *writer, const struct rpc_header *header)
{
    const uint32_t words[] = {0, header->program, header->version, (uint32_t)header->procedure, header->type, header->serial,
                              header->status};

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        xdr_put_u32(writer, words[i]);
}

static void store_word(struct buffer *buffer, size_t at, uint32_t value)
{
    value = __builtin_bswap32(value);
    if (at + sizeof(value) <= buffer->size)
        memcpy(buffer->data + at, &value, sizeof(value));
}

void rpc_set_length(struct buffer *packet, size_t start)
{
    store_word(packet, start, packet->size - start);
}

void rpc_get_header(struct xdr_reader *reader, struct rpc_header *ret_header)
{
    ret_header->program = xdr_get_u32(reader);
    ret_header->version = xdr_get_u32(reader);
    ret_header->procedure = (int32_t)xdr_get_u32(reader);
    ret_header->type = xdr_get_u32(reader);
    ret_header->serial = xdr_get_u32(reader);
    ret_header->status = xdr_get_u32(reader);
}

int rpc_error_code(int result)
{
    static const struct {
        int error, code;
    } table[] = {
        {-ENOMEM, RPC_NO_MEMORY},         {-EINVAL, RPC_INVALID_ARGUMENT}, {-ERANGE, RPC_INVALID_ARGUMENT},
        {-EBUSY, RPC_RESOURCE_BUSY},      {-EEXIST, RPC_OPERATION_FAILED}, {-EOPNOTSUPP, RPC_CONFIG_UNSUPPORTED},
        {-ETIMEDOUT, RPC_OPERATION_TIMEOUT}, {-ECANCELED, RPC_OPERATION_ABORTED}, {-EBADMSG, RPC_RPC_ERROR},
        {-EREMOTEIO, RPC_OPERATION_FAILED},
    };

    if (result <= RPC_FAULT(0))
        return RPC_FAULT(0) - result;
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (table[i].error == result)
            return table[i].code;
    }
    return result < 0 && result > RPC_FAULT(0) ? RPC_SYSTEM_ERROR : RPC_INTERNAL_ERROR;
}

void rpc_put_error(struct xdr_writer *writer, int code, int domain, const char *message)
{
    xdr_put_i32(writer, code);
    xdr_put_i32(writer, domain);
    xdr_put_optional_string(writer, message);
    xdr_put_i32(writer, 2);                     /* level: error */
    xdr_put_bool(writer, false);                /* the domain it is about */
    xdr_put_optional_string(writer, "%s");      /* str1: what the message was made from, as libvirt fills it */
    xdr_put_optional_string(writer, message);
    xdr_put_optional_string(writer, NULL);
    xdr_put_i32(writer, 0);
    xdr_put_i32(writer, 0);
    xdr_put_bool(writer, false);                /* the network it is about */
}

int rpc_get_error(struct xdr_reader *reader, struct err *err)
{
    int code = (int)xdr_get_u32(reader);
    size_t size = 0;
    const uint8_t *text = NULL;

    xdr_get_u32(reader);
    if (xdr_get_u32(reader) != 0)
        text = xdr_get_opaque(reader, XDR_STRING_MAX, &size);
    if (reader->failed || code <= 0 || code > 4096)
        return err_set(err, -EBADMSG, "the other side's error record cannot be read");
    return err_set(err, RPC_FAULT(code), "%.*s", (int)(size < ERR_MESSAGE_MAX ? size : ERR_MESSAGE_MAX),
                   text != NULL ? (const char *)text : "error without a reason");
}

void rpc_put_domain(struct xdr_writer *writer, const char *name, const uint8_t uuid[16], int32_t id)
{
    rpc_put_named(writer, name, uuid);
    xdr_put_i32(writer, id);
}

void rpc_put_named(struct xdr_writer *writer, const char *name, const uint8_t uuid[16])
{
    xdr_put_string(writer, name);
    xdr_put_fixed(writer, uuid, 16);
}

void rpc_put_volume(struct xdr_writer *writer, const char *pool, const char *name, const char *key)
{
    xdr_put_string(writer, pool);
    xdr_put_string(writer, name);
    xdr_put_string(writer, key);
}

static void put_param(struct xdr_writer *writer, const struct rpc_param *param)
{
    xdr_put_string(writer, param->name);
    xdr_put_u32(writer, param->type);
    switch (param->type) {
    case RPC_PARAM_LLONG:
    case RPC_PARAM_ULLONG:
        xdr_put_u64(writer, param->u);
        break;
    case RPC_PARAM_DOUBLE:
        xdr_put_double(writer, param->d);
        break;
    case RPC_PARAM_STRING:
        xdr_put_string(writer, param->s);
        break;
    default:
        xdr_put_u32(writer, param->u);
    }
}

size_t rpc_count_begin(struct xdr_writer *writer)
{
    size_t at = writer->out->size;

    xdr_put_u32(writer, 0);
    return at;
}

void rpc_count_end(struct xdr_writer *writer, size_t at, uint32_t count)
{
    if (writer->error == 0)
        store_word(writer->out, at, count);
}

struct rpc_param_list rpc_params_begin(struct xdr_writer *writer)
{
    return (struct rpc_param_list){.writer = writer, .count_at = rpc_count_begin(writer)};
}

void rpc_params_end(struct rpc_param_list *list)
{
    rpc_count_end(list->writer, list->count_at, list->count);
}

static void add_param(struct rpc_param_list *list, struct rpc_param *param, const char *format, va_list args)
{
    char name[RPC_PARAM_NAME_MAX + 1];

    vsnprintf(name, sizeof(name), format, args);
    param->name = name;
    put_param(list->writer, param);
    list->count++;
}

void rpc_params_i32(struct rpc_param_list *list, int32_t value, const char *name, ...)
{
    struct rpc_param param = {.type = RPC_PARAM_INT, .i = value};
    va_list args;

    va_start(args, name);
    add_param(list, &param, name, args);
    va_end(args);
}

void rpc_params_u32(struct rpc_param_list *list, uint32_t value, const char *name, ...)
{
    struct rpc_param param = {.type = RPC_PARAM_UINT, .u = value};
    va_list args;

    va_start(args, name);
    add_param(list, &param, name, args);
    va_end(args);
}

void rpc_params_u64(struct rpc_param_list *list, uint64_t value, const char *name, ...)
{
    struct rpc_param param = {.type = RPC_PARAM_ULLONG, .u = value};
    va_list args;

    va_start(args, name);
    add_param(list, &param, name, args);
    va_end(args);
}

void rpc_params_string(struct rpc_param_list *list, const char *value, const char *name, ...)
{
    struct rpc_param param = {.type = RPC_PARAM_STRING, .s = value};
    va_list args;

    va_start(args, name);
    add_param(list, &param, name, args);
    va_end(args);
}
