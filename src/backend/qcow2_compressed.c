/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compressed clusters: raw deflate, or zstd. What follows the stream up to the end of its sector is no part of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "backend/qcow2_internal.h"

static int inflate_all(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size)
{
    z_stream stream = {
        .next_in = (uint8_t *)in, .avail_in = (unsigned)in_size, .next_out = out, .avail_out = (unsigned)out_size};
    int r;

    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return -ENOMEM;
    r = inflate(&stream, Z_FINISH);
    inflateEnd(&stream);
    /* Z_BUF_ERROR with all of the output: the stream's end mark was cut. */
    return (r == Z_STREAM_END || r == Z_BUF_ERROR) && stream.avail_out == 0 ? 0 : -EIO;
}

static int zstd_all(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size)
{
    ZSTD_inBuffer input = {.src = in, .size = in_size};
    ZSTD_outBuffer output = {.dst = out, .size = out_size};
    ZSTD_DCtx *context = ZSTD_createDCtx();
    size_t r = 1;

    if (context == NULL)
        return -ENOMEM;
    while (output.pos < output.size) {
        size_t before_in = input.pos, before_out = output.pos;

        r = ZSTD_decompressStream(context, &output, &input);
        if (ZSTD_isError(r) || (input.pos == before_in && output.pos == before_out))
            break;
    }
    ZSTD_freeDCtx(context);
    return output.pos == output.size && !ZSTD_isError(r) ? 0 : -EIO;
}

int qcow2_read_compressed(struct qcow2 *q, const struct qcow2_mapping *mapping, uint8_t *cluster)
{
    uint64_t size = 0, bytes = mapping->bytes;
    uint8_t *data;
    int r = q->medium->type->size(q->medium, &size);

    if (r < 0 || mapping->offset >= size)
        return r < 0 ? r : -EIO;
    if (bytes > size - mapping->offset) /* the last sector may be cut by the file's end */
        bytes = size - mapping->offset;
    data = malloc(bytes);
    r = data == NULL ? -ENOMEM : qcow2_read_medium(q, data, bytes, mapping->offset);
    if (r == 0)
        r = q->zstd ? zstd_all(data, bytes, cluster, q->cluster_size)
                    : inflate_all(data, bytes, cluster, q->cluster_size);
    free(data);
    return r;
}
