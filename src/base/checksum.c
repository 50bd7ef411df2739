/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C, four bits at a time: sections are small, so a table of 16 entries is enough. */
#include "base/checksum.h"

/* The remainders of the sixteen 4-bit values by the reflected polynomial 0x82f63b78. */
static const uint32_t nibble_remainder[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ nibble_remainder[crc & 15];
        crc = (crc >> 4) ^ nibble_remainder[crc & 15];
    }
    return ~crc;
}
