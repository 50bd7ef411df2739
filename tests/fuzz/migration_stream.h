/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes of a migration stream, for the fuzz targets of both sides. */
#ifndef FERRY_TESTS_FUZZ_MIGRATION_STREAM_H
#define FERRY_TESTS_FUZZ_MIGRATION_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "migration/stream.h"

/* Writes a message at out + at; returns where the next one goes. */
static inline size_t stream_put(uint8_t *out, size_t at, enum message_type type, uint32_t argument, const void *body, size_t size)
{
    const struct message message = {.type = type, .argument = argument, .size = (uint32_t)size};

    message_pack(&message, out + at);
    memcpy(out + at + STREAM_HEADER_SIZE, body, size);
    return at + STREAM_HEADER_SIZE + size;
}

/* Puts magics where messages would begin if their lengths are believed: otherwise hardly any mutation would come past them. */
static inline void stream_repair(uint8_t *data, size_t size)
{
    while (size >= STREAM_HEADER_SIZE) {
        size_t whole = STREAM_HEADER_SIZE + (size_t)load_le32(data + 12);

        memcpy(data, "FMIG", 4);
        if (whole >= size)
            return;
        data += whole;
        size -= whole;
    }
}

#endif
