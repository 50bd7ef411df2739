/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A growable byte buffer with a hard maximum, which every user must name: no input can make it grow for ever.
 *
 *     struct buffer b = BUFFER_INIT(64 * 1024);
 *     r = buffer_append(&b, bytes, count);     // -ENOBUFS past the maximum, -ENOMEM; contents unchanged then
 *     buffer_fini(&b);
 */
#ifndef FERRY_BASE_BUFFER_H
#define FERRY_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *data; /* NUL behind the last byte whenever data is not NULL */
    size_t size;
    size_t capacity;
    size_t maximum;
};

#define BUFFER_INIT(max) ((struct buffer){.maximum = (max)})

void buffer_fini(struct buffer *buffer);
int buffer_append(struct buffer *buffer, const void *data, size_t size);
__attribute__((format(printf, 2, 3))) int buffer_printf(struct buffer *buffer, const char *format, ...);

/* Drops the first `size` bytes (all of them if there are fewer). */
void buffer_consume(struct buffer *buffer, size_t size);

#endif
