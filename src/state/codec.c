/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tagged fields to bytes and back. Nesting is as deep as the tables are, never as deep as the input says. */
#include "state/codec.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"

#define FIELD_HEADER_SIZE 8
#define ELEMENT_HEADER_SIZE 4
#define WIDTH_STRUCTURE 0 /* in the width of a field header */

static size_t table_length(const struct field *fields)
{
    size_t n = 0;
    while (fields[n].tag != 0)
        n++;
    return n;
}

static int begin_field(struct buffer *out, uint16_t tag, uint16_t width, uint64_t size)
{
    if (size > UINT32_MAX)
        return -ENOBUFS;
    uint8_t header[FIELD_HEADER_SIZE];
    store_le16(header, tag);
    store_le16(header + 2, width);
    store_le32(header + 4, (uint32_t)size);
    return buffer_append(out, header, sizeof(header));
}

/* Hosts are little-endian, so integers and their arrays are copied as they lie in memory. */
static int write_integers(struct buffer *out, const struct field *field, const void *member)
{
    if (field->width != 1 && field->width != 2 && field->width != 4 && field->width != 8)
        return -EINVAL;
    size_t size = (size_t)field->width * field->count;
    int r = begin_field(out, field->tag, field->width, size);
    return r < 0 ? r : buffer_append(out, member, size);
}

static int write_structures(struct buffer *out, const struct field *field, const uint8_t *member)
{
    size_t start = out->size;
    int r = begin_field(out, field->tag, WIDTH_STRUCTURE, 0);
    for (uint32_t i = 0; r == 0 && i < field->count; i++) {
        static const uint8_t no_size[ELEMENT_HEADER_SIZE];
        size_t element = out->size;
        r = buffer_append(out, no_size, sizeof(no_size));
        if (r == 0)
            r = fields_write(out, field->table, member + (size_t)i * field->width);
        if (r == 0)
            store_le32(out->data + element, (uint32_t)(out->size - element - ELEMENT_HEADER_SIZE));
    }
    if (r == 0)
        store_le32(out->data + start + 4, (uint32_t)(out->size - start - FIELD_HEADER_SIZE));
    return r;
}

int fields_write(struct buffer *out, const struct field *fields, const void *object)
{
    if (table_length(fields) > FIELD_TABLE_MAX)
        return -EINVAL;
    for (const struct field *field = fields; field->tag != 0; field++) {
        const uint8_t *member = (const uint8_t *)object + field->offset;
        int r = field->table != NULL ? write_structures(out, field, member) : write_integers(out, field, member);
        if (r < 0)
            return r;
    }
    return 0;
}

static int malformed(struct err *err, const struct field *field, const char *what)
{
    return err_set(err, -EBADMSG, "field %s %s", field->name, what);
}

static int read_integers(const uint8_t *data, size_t size, unsigned width, const struct field *field, void *member,
                         struct err *err)
{
    if (width != field->width)
        return malformed(err, field, "holds integers of another width");
    if (size != (size_t)field->width * field->count)
        return malformed(err, field, "has another size");
    for (size_t i = 0; field->boolean && i < size; i++)
        if (data[i] > 1)
            return malformed(err, field, "is a boolean and neither 0 nor 1");
    memcpy(member, data, size);
    return 0;
}

static int read_structures(const uint8_t *data, size_t size, unsigned width, const struct field *field, uint8_t *member,
                           struct err *err)
{
    if (width != WIDTH_STRUCTURE)
        return malformed(err, field, "is not the structure that it should be");
    for (uint32_t i = 0; i < field->count; i++) {
        if (size < ELEMENT_HEADER_SIZE)
            return malformed(err, field, "is cut off");
        size_t element_size = load_le32(data);
        data += ELEMENT_HEADER_SIZE;
        size -= ELEMENT_HEADER_SIZE;
        if (element_size > size)
            return malformed(err, field, "is cut off");
        int r = fields_read(data, element_size, field->table, member + (size_t)i * field->width, err);
        if (r < 0) {
            err_prefix(err, "%s[%u]", field->name, i);
            return r;
        }
        data += element_size;
        size -= element_size;
    }
    return size == 0 ? 0 : malformed(err, field, "has more elements than there can be");
}

static const struct field *find_tag(const struct field *fields, uint16_t tag)
{
    for (const struct field *field = fields; field->tag != 0; field++)
        if (field->tag == tag)
            return field;
    return NULL;
}

int fields_read(const uint8_t *data, size_t size, const struct field *fields, void *object, struct err *err)
{
    bool seen[FIELD_TABLE_MAX] = {false};
    if (table_length(fields) > FIELD_TABLE_MAX)
        return err_set(err, -EINVAL, "the field table is longer than %d", FIELD_TABLE_MAX);
    while (size > 0) {
        if (size < FIELD_HEADER_SIZE)
            return err_set(err, -EBADMSG, "a field is cut off in its header");
        uint16_t tag = load_le16(data);
        unsigned width = load_le16(data + 2);
        size_t field_size = load_le32(data + 4);
        data += FIELD_HEADER_SIZE;
        size -= FIELD_HEADER_SIZE;
        if (tag == 0)
            return err_set(err, -EBADMSG, "a field has the tag 0, which none can have");
        if (field_size > size)
            return err_set(err, -EBADMSG, "the field with tag %u is cut off", tag);
        const struct field *field = find_tag(fields, tag);
        if (field != NULL) {
            if (seen[field - fields])
                return malformed(err, field, "comes twice");
            seen[field - fields] = true;
            uint8_t *member = (uint8_t *)object + field->offset;
            int r = field->table != NULL ? read_structures(data, field_size, width, field, member, err)
                                         : read_integers(data, field_size, width, field, member, err);
            if (r < 0)
                return r;
        }
        data += field_size;
        size -= field_size;
    }
    return 0;
}
