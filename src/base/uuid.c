/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs: sixteen bytes, and their text. */
#include "base/uuid.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int uuid_parse(const char *text, uint8_t ret_uuid[static UUID_SIZE])
{
    uint8_t uuid[UUID_SIZE];
    unsigned count = 0;
    while (*text != '\0') {
        if (*text == '-' || *text == ' ' || *text == '\n' || *text == '\t') {
            text++;
            continue;
        }
        int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);
        if (low < 0 || count == UUID_SIZE)
            return -EINVAL;
        uuid[count++] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    if (count != UUID_SIZE)
        return -EINVAL;
    memcpy(ret_uuid, uuid, UUID_SIZE);
    return 0;
}

void uuid_format(const uint8_t uuid[static UUID_SIZE], char ret_text[static UUID_TEXT_SIZE])
{
    char *out = ret_text;
    for (unsigned i = 0; i < UUID_SIZE; i++)
        out += snprintf(out, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

void uuid_random(uint8_t ret_uuid[static UUID_SIZE])
{
    ssize_t n;
    do
        n = getrandom(ret_uuid, UUID_SIZE, 0); /* whole, or interrupted before its first byte */
    while (n < 0 && errno == EINTR);
    ret_uuid[6] = (ret_uuid[6] & 0x0f) | 0x40;
    ret_uuid[8] = (ret_uuid[8] & 0x3f) | 0x80;
}

bool uuid_equal(const uint8_t a[static UUID_SIZE], const uint8_t b[static UUID_SIZE])
{
    return memcmp(a, b, UUID_SIZE) == 0;
}
