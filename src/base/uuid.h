/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs: sixteen bytes, and their text (RFC 4122 section 3). */
#ifndef FERRY_BASE_UUID_H
#define FERRY_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_SIZE 16
#define UUID_TEXT_SIZE 37 /* with the NUL */

/* 32 hexadecimal digits; hyphens and blanks anywhere between bytes are skipped, as libvirt does. -EINVAL. */
int uuid_parse(const char *text, uint8_t ret_uuid[static UUID_SIZE]);

/* Lower case, in groups of 8-4-4-4-12. */
void uuid_format(const uint8_t uuid[static UUID_SIZE], char ret_text[static UUID_TEXT_SIZE]);

/* A random one (version 4). */
void uuid_random(uint8_t ret_uuid[static UUID_SIZE]);

bool uuid_equal(const uint8_t a[static UUID_SIZE], const uint8_t b[static UUID_SIZE]);

#endif
