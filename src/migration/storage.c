/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digests of blocks, and where a disk is empty. */
#include "migration/storage.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

bool storage_is_zero(const uint8_t *data, size_t size)
{
    return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

int storage_digest(const void *data, size_t size, uint8_t ret_digest[static STREAM_DIGEST_SIZE])
{
    uint8_t whole[32];

    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, data, size, whole) < 0)
        return -EIO;
    memcpy(ret_digest, whole, STREAM_DIGEST_SIZE);
    return 0;
}

int storage_may_hold(struct storage_cursor *cursor, uint64_t block, uint64_t count, bool *ret_may)
{
    uint64_t size = cursor->disks->size[cursor->disk], first = block * STREAM_BLOCK_SIZE;

    while (!cursor->valid || (cursor->end <= first && cursor->start < size)) {
        int r = cursor->disks->find_data(cursor->disks->ctx, cursor->disk, first, &cursor->start, &cursor->end);

        if (r < 0)
            return r;
        cursor->valid = true;
    }
    *ret_may = cursor->start < first + storage_bytes(size, block, count);
    return 0;
}
