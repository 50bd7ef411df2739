/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contents of pages made smaller and whole again: the flags of PAGES in docs/formats/migration.md. One of these a
 * channel and direction; memory is allocated when it is first needed. */
#ifndef FERRY_MIGRATION_COMPRESS_H
#define FERRY_MIGRATION_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "migration/parameters.h"

struct compressor;

/* method: what the operator chose. */
int compressor_new(enum migration_compression method, struct compressor **ret_compressor);
void compressor_free(struct compressor *compressor); /* accepts NULL */

/* Packs size bytes, those of iov, if that is asked for and worth it. true: *ret_flags (PAGES_ZSTD or PAGES_LZ4),
 * *ret_data and *ret_size, which is less than size and whose bytes are the compressor's until the next call. What the
 * pages hold may change meanwhile. */
bool compressor_pack(struct compressor *compressor, const struct iovec *iov, unsigned count, size_t size,
                     unsigned *ret_flags, const void **ret_data, size_t *ret_size);

/* How long so many bytes took on their way, for COMPRESSION_AUTO: it packs while the way is slower than the packing
 * saves. */
void compressor_sent(struct compressor *compressor, size_t size, int64_t ns);

/* Room for size bytes (at most STREAM_CONTENTS_MAX and a little) that come packed; NULL: no memory. */
void *compressor_input(struct compressor *compressor, size_t size);

/* Unpacks those bytes: exactly `size` must come out, which are the compressor's until the next call. -EBADMSG, -ENOMEM.
 */
int compressor_unpack(struct compressor *compressor, unsigned flags, size_t packed_size, size_t size,
                      const uint8_t **ret_data);

#endif
