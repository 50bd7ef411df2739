/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Zstandard and LZ4 on pages. */
#include "migration/compress.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/clock.h"
#include "migration/stream.h"

#define ZSTD_LEVEL 1 /* the faster ones give a tenth less, the slower ones cost twice as much */
#define TRY_EVERY 16 /* messages after which COMPRESSION_AUTO measures again what it does not do */
#define WEIGHT 4     /* of the past in what is measured: the last value counts one part in so many */

struct area {
    uint8_t *data;
    size_t size;
};

struct compressor {
    enum migration_compression method;
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
    struct area plain, packed;
    unsigned messages;
    /* Measured, nanoseconds a MiB of pages: on the way as they are; packing; and how many of 1000 bytes are left then.
     */
    int64_t way_ns, pack_ns;
    uint64_t left;
};

int compressor_new(enum migration_compression method, struct compressor **ret_compressor)
{
    struct compressor *compressor = calloc(1, sizeof(*compressor));

    if (compressor == NULL)
        return -ENOMEM;
    compressor->method = method;
    *ret_compressor = compressor;
    return 0;
}

void compressor_free(struct compressor *compressor)
{
    if (compressor == NULL)
        return;
    ZSTD_freeCCtx(compressor->pack);
    ZSTD_freeDCtx(compressor->unpack);
    free(compressor->plain.data);
    free(compressor->packed.data);
    free(compressor);
}

static uint8_t *grow(struct area *area, size_t size)
{
    uint8_t *data;

    if (area->size >= size)
        return area->data;
    data = realloc(area->data, size);
    if (data != NULL)
        *area = (struct area){data, size};
    return data;
}

static void gather(uint8_t *to, const struct iovec *iov, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
}

static bool worth_it(struct compressor *c)
{
    if (c->method != COMPRESSION_AUTO || c->messages++ % TRY_EVERY == 0)
        return true;
    return c->pack_ns < c->way_ns * (int64_t)(1000 - (c->left < 1000 ? c->left : 1000)) / 1000;
}

/* The size that came out; 0: not smaller, or no memory. */
static size_t pack(struct compressor *c, size_t size)
{
    uint8_t *packed = grow(&c->packed, size);
    size_t done;

    if (packed == NULL)
        return 0;
    if (c->method == COMPRESSION_LZ4) {
        int r = LZ4_compress_default((const char *)c->plain.data, (char *)packed, (int)size, (int)size - 1);

        return r > 0 ? (size_t)r : 0;
    }
    if (c->pack == NULL)
        c->pack = ZSTD_createCCtx();
    if (c->pack == NULL)
        return 0;
    done = ZSTD_compressCCtx(c->pack, packed, size - 1, c->plain.data, size, ZSTD_LEVEL);
    return ZSTD_isError(done) ? 0 : done;
}

static int64_t mixed(int64_t past, int64_t now)
{
    return past == 0 ? now : past + (now - past) / WEIGHT;
}

static int64_t per_mib(int64_t ns, size_t size)
{
    return (int64_t)((__int128)ns * MIB(1) / (int64_t)size);
}

bool compressor_pack(struct compressor *c, const struct iovec *iov, unsigned count, size_t size, unsigned *ret_flags,
                     const void **ret_data, size_t *ret_size)
{
    int64_t start = host_monotonic_ns();
    size_t done;

    if (c->method == COMPRESSION_NONE || size == 0 || !worth_it(c) || grow(&c->plain, size) == NULL)
        return false;
    gather(c->plain.data, iov, count);
    done = pack(c, size);
    c->pack_ns = mixed(c->pack_ns, per_mib(host_monotonic_ns() - start, size));
    c->left = (uint64_t)mixed((int64_t)c->left, (int64_t)(done > 0 ? done * 1000 / size + 1 : 1000));
    if (done == 0)
        return false;
    *ret_flags = c->method == COMPRESSION_LZ4 ? PAGES_LZ4 : PAGES_ZSTD;
    *ret_data = c->packed.data;
    *ret_size = done;
    return true;
}

void compressor_sent(struct compressor *c, size_t size, int64_t ns)
{
    if (size > KIB(16)) /* of a short message, overhead is all there is to measure */
        c->way_ns = mixed(c->way_ns, per_mib(ns, size));
}

void *compressor_input(struct compressor *c, size_t size)
{
    return grow(&c->packed, size);
}

int compressor_unpack(struct compressor *c, unsigned flags, size_t packed_size, size_t size, const uint8_t **ret_data)
{
    uint8_t *plain = grow(&c->plain, size);
    size_t done;

    if (c->unpack == NULL)
        c->unpack = ZSTD_createDCtx();
    if (plain == NULL || c->unpack == NULL)
        return -ENOMEM;
    if (flags == PAGES_LZ4) {
        int r = LZ4_decompress_safe((const char *)c->packed.data, (char *)plain, (int)packed_size, (int)size);

        done = r < 0 ? 0 : (size_t)r;
    } else {
        done = ZSTD_decompressDCtx(c->unpack, plain, size, c->packed.data, packed_size);
    }
    if (done != size) /* errors of Zstandard are huge numbers */
        return -EBADMSG;
    *ret_data = plain;
    return 0;
}
