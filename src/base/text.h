/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text: bounded formatting and the parsers of numbers and sizes that options and formats share. */
#ifndef FERRY_BASE_TEXT_H
#define FERRY_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* snprintf that says so when the text did not fit: returns 0 or -ENAMETOOLONG (text is cut and terminated). */
__attribute__((format(printf, 3, 4))) int text_format(char *out, size_t size, const char *format, ...);

bool text_equal(const char *a, const char *b);
bool text_starts_with(const char *text, const char *prefix);

/* A whole unsigned number, decimal or 0x hexadecimal, with nothing behind it. -EINVAL, -ERANGE. */
int text_parse_u64(const char *text, uint64_t *ret_value);

/* A size in bytes with optional suffix K, M, G or T (powers of 1024; lower case and trailing B or iB allowed).
 * A bare number is multiplied by `unit`. -EINVAL, -ERANGE. */
int text_parse_size(const char *text, uint64_t unit, uint64_t *ret_bytes);

/* "aa:bb:cc:dd:ee:ff" to six bytes; -EINVAL. */
int text_parse_mac(const char *text, uint8_t ret_mac[static 6]);

/* Takes empty parts out of a path that begins with '/', and the slash at its end unless it is all there is; "" becomes "/". False, and the
 * path is of no use, when a part is "." or "..". */
bool text_clean_path(char *path);

#endif
