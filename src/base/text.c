/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text: bounded formatting, and the parsers of numbers and sizes. */
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int text_format(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(out, size, format, args);
    va_end(args);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

bool text_equal(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

bool text_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The number at the start of text; *ret_end is what follows it. */
static int parse_number(const char *text, const char **ret_end, uint64_t *ret_value)
{
    int base = 10;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X') && isxdigit((unsigned char)text[2])) {
        base = 16;
        text += 2;
    } else if (!isdigit((unsigned char)text[0])) { /* strtoull would take spaces and signs */
        return -EINVAL;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, base);
    if (errno == ERANGE)
        return -ERANGE;
    *ret_end = end;
    *ret_value = value;
    return 0;
}

int text_parse_u64(const char *text, uint64_t *ret_value)
{
    const char *end;
    uint64_t value;
    int r = parse_number(text, &end, &value);
    if (r < 0)
        return r;
    if (*end != '\0')
        return -EINVAL;
    *ret_value = value;
    return 0;
}

/* "", "K", "kB", "KiB", ... to the unit in bytes. */
static int parse_unit(const char *text, uint64_t bare_unit, uint64_t *ret_unit)
{
    static const char letters[] = "KMGT";
    if (*text == '\0') {
        *ret_unit = bare_unit;
        return 0;
    }
    if (strcasecmp(text, "b") == 0) {
        *ret_unit = 1;
        return 0;
    }
    const char *letter = strchr(letters, toupper((unsigned char)text[0]));
    if (letter == NULL)
        return -EINVAL;
    if (text[1] != '\0' && strcasecmp(text + 1, "b") != 0 && strcasecmp(text + 1, "ib") != 0)
        return -EINVAL;
    *ret_unit = UINT64_C(1) << (10 * (letter - letters + 1));
    return 0;
}

int text_parse_size(const char *text, uint64_t unit, uint64_t *ret_bytes)
{
    const char *end;
    uint64_t value, bytes;
    int r = parse_number(text, &end, &value);
    if (r < 0)
        return r;
    r = parse_unit(end, unit, &unit);
    if (r < 0)
        return r;
    if (__builtin_mul_overflow(value, unit, &bytes))
        return -ERANGE;
    *ret_bytes = bytes;
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_parse_mac(const char *text, uint8_t ret_mac[static 6])
{
    uint8_t mac[6];
    if (strlen(text) != 17)
        return -EINVAL;
    for (int i = 0; i < 6; i++, text += 3) {
        int high = hex_digit(text[0]), low = hex_digit(text[1]);
        if (high < 0 || low < 0 || text[2] != (i < 5 ? ':' : '\0'))
            return -EINVAL;
        mac[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(ret_mac, mac, sizeof(mac));
    return 0;
}

bool text_clean_path(char *path)
{
    char *in = path, *out = path;

    while (*in != 0) {
        size_t length = strcspn(in, "/");

        if ((length == 1 && in[0] == '.') || (length == 2 && in[0] == '.' && in[1] == '.'))
            return false;
        if (length > 0) {
            *out++ = '/';
            memmove(out, in, length);
            out += length;
        }
        in += length;
        in += *in == '/';
    }
    if (out == path)
        *out++ = '/';
    *out = 0;
    return true;
}
