/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C (Castagnoli; RFC 3720 section 12.1, the CRC of iSCSI): guards saved state against damage, not malice. */
#ifndef FERRY_BASE_CHECKSUM_H
#define FERRY_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of size bytes. To continue over several pieces, pass the result of the piece before; else 0. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

#endif
