/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XDR words, strings and bytes. */
#include "protocol/xdr.h"

#include <errno.h>

#include "base/buffer.h"

static void put(struct xdr_writer *writer, const void *data, size_t size)
{
    if (writer->error == 0)
        writer->error = buffer_append(writer->out, data, size);
}

void xdr_put_u32(struct xdr_writer *writer, uint32_t value)
{
    value = __builtin_bswap32(value);
    put(writer, &value, sizeof(value));
}

void xdr_put_i32(struct xdr_writer *writer, int32_t value)
{
    xdr_put_u32(writer, (uint32_t)value);
}

void xdr_put_bool(struct xdr_writer *writer, bool value)
{
    xdr_put_u32(writer, value);
}

void xdr_put_u64(struct xdr_writer *writer, uint64_t value)
{
    value = __builtin_bswap64(value);
    put(writer, &value, sizeof(value));
}

void xdr_put_i64(struct xdr_writer *writer, int64_t value)
{
    xdr_put_u64(writer, (uint64_t)value);
}

void xdr_put_double(struct xdr_writer *writer, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    xdr_put_u64(writer, bits);
}

void xdr_put_fixed(struct xdr_writer *writer, const void *data, size_t size)
{
    static const uint8_t zeros[4];

    put(writer, data, size);
    put(writer, zeros, -size & 3);
}

void xdr_put_opaque(struct xdr_writer *writer, const void *data, size_t size)
{
    if (size > XDR_STRING_MAX && writer->error == 0)
        writer->error = -ENOBUFS;
    xdr_put_u32(writer, size);
    xdr_put_fixed(writer, data, size);
}

void xdr_put_string(struct xdr_writer *writer, const char *text)
{
    xdr_put_opaque(writer, text, strlen(text));
}

void xdr_put_optional_string(struct xdr_writer *writer, const char *text)
{
    xdr_put_bool(writer, text != NULL);
    if (text != NULL)
        xdr_put_string(writer, text);
}

const uint8_t *xdr_get_fixed(struct xdr_reader *reader, size_t size)
{
    const uint8_t *data = reader->data;
    size_t padded = size + (-size & 3);

    if (reader->failed || padded < size || padded > reader->size) {
        reader->failed = true;
        return NULL;
    }
    reader->data += padded;
    reader->size -= padded;
    return data;
}

uint32_t xdr_get_u32(struct xdr_reader *reader)
{
    const uint8_t *data = xdr_get_fixed(reader, 4);
    uint32_t value = 0;

    if (data != NULL)
        memcpy(&value, data, sizeof(value));
    return __builtin_bswap32(value);
}

uint64_t xdr_get_u64(struct xdr_reader *reader)
{
    const uint8_t *data = xdr_get_fixed(reader, 8);
    uint64_t value = 0;

    if (data != NULL)
        memcpy(&value, data, sizeof(value));
    return __builtin_bswap64(value);
}

const uint8_t *xdr_get_opaque(struct xdr_reader *reader, size_t max, size_t *ret_size)
{
    uint32_t size = xdr_get_u32(reader);
    const uint8_t *data;

    if (size > max)
        reader->failed = true;
    data = xdr_get_fixed(reader, size);
    if (data != NULL)
        *ret_size = size;
    return data;
}
