/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tagged fields to bytes and back: the body of a section. For this room only; others use section.h. */
#ifndef FERRY_STATE_CODEC_H
#define FERRY_STATE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "state/field.h"

struct buffer;
struct err;

/* Appends every field of object. -ENOBUFS, -ENOMEM, -EINVAL (a table that can't be right). */
int fields_write(struct buffer *out, const struct field *fields, const void *object);

/* Reads size bytes of fields into object, which is half-written on failure. -EBADMSG with a sentence. */
int fields_read(const uint8_t *data, size_t size, const struct field *fields, void *object, struct err *err);

#endif
