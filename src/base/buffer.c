/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A growable byte buffer with a hard maximum. */
#include "base/buffer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buffer_fini(struct buffer *buffer)
{
    free(buffer->data);
    buffer->data = NULL;
    buffer->size = 0;
    buffer->capacity = 0;
}

/* Makes room for `more` bytes and the NUL behind them. */
static int buffer_reserve(struct buffer *buffer, size_t more)
{
    if (more > buffer->maximum || buffer->size > buffer->maximum - more)
        return -ENOBUFS;
    size_t wanted = buffer->size + more;
    if (buffer->data != NULL && wanted <= buffer->capacity)
        return 0;
    size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    while (capacity < wanted)
        capacity = capacity > buffer->maximum / 2 ? wanted : capacity * 2;
    if (capacity == SIZE_MAX)
        return -ENOMEM;
    uint8_t *data = realloc(buffer->data, capacity + 1);
    if (data == NULL)
        return -ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int buffer_append(struct buffer *buffer, const void *data, size_t size)
{
    int r = buffer_reserve(buffer, size);
    if (r < 0)
        return r;
    if (size > 0)
        memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
    return 0;
}

int buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return -EINVAL;
    int r = buffer_reserve(buffer, (size_t)length);
    if (r < 0)
        return r;
    va_start(args, format);
    vsnprintf((char *)buffer->data + buffer->size, (size_t)length + 1, format, args);
    va_end(args);
    buffer->size += (size_t)length;
    return 0;
}

void buffer_consume(struct buffer *buffer, size_t size)
{
    if (buffer->data == NULL)
        return;
    if (size > buffer->size)
        size = buffer->size;
    memmove(buffer->data, buffer->data + size, buffer->size - size + 1);
    buffer->size -= size;
}
