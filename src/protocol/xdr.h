/* SPDX-License-Identifier: GPL-2.0-or-later */
/* XDR (RFC 4506): big-endian words, strings and opaque bytes padded to four.
 *
 * Both ends keep their first error, so that callers check once, at the end. */
#ifndef FERRY_PROTOCOL_XDR_H
#define FERRY_PROTOCOL_XDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer;

#define XDR_STRING_MAX (4u << 20) /* bytes of one string or opaque */

struct xdr_writer {
    struct buffer *out;
    int error; /* 0, -ENOBUFS or -ENOMEM: nothing is appended any more */
};

void xdr_put_u32(struct xdr_writer *writer, uint32_t value);
void xdr_put_i32(struct xdr_writer *writer, int32_t value);
void xdr_put_bool(struct xdr_writer *writer, bool value);
void xdr_put_u64(struct xdr_writer *writer, uint64_t value);
void xdr_put_i64(struct xdr_writer *writer, int64_t value);
void xdr_put_double(struct xdr_writer *writer, double value);
void xdr_put_fixed(struct xdr_writer *writer, const void *data, size_t size); /* opaque of a known size, padded */
void xdr_put_opaque(struct xdr_writer *writer, const void *data, size_t size); /* with its length in front */
void xdr_put_string(struct xdr_writer *writer, const char *text);
void xdr_put_optional_string(struct xdr_writer *writer, const char *text); /* NULL: absent */

struct xdr_reader {
    const uint8_t *data;
    size_t size; /* what is left */
    bool failed; /* something was asked for that is not there: all later reads give zeros */
};

uint32_t xdr_get_u32(struct xdr_reader *reader);
uint64_t xdr_get_u64(struct xdr_reader *reader);
/* A pointer into the data, of `size` bytes, the padding skipped; NULL on failure. */
const uint8_t *xdr_get_fixed(struct xdr_reader *reader, size_t size);
/* The same with the length read first; more than max fails. */
const uint8_t *xdr_get_opaque(struct xdr_reader *reader, size_t max, size_t *ret_size);

#endif
