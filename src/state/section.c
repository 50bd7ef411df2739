/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The envelope of saved state: header, name, body, checksum. Layout: docs/formats/state.md. */
#include "state/section.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/checksum.h"
#include "base/err.h"
#include "state/codec.h"

#define SECTION_MAGIC 0x54435346u /* "FSCT" */
#define HEADER_SIZE 16
#define CHECKSUM_SIZE 4

static int append_envelope(struct buffer *out, const char *name, uint32_t instance, uint16_t version,
                           const struct buffer *body)
{
    size_t start = out->size, name_length = strlen(name);
    uint8_t header[HEADER_SIZE] = {0};
    store_le32(header, SECTION_MAGIC);
    store_le16(header + 4, version);
    header[6] = (uint8_t)name_length;
    store_le32(header + 8, instance);
    store_le32(header + 12, (uint32_t)body->size);
    int r = buffer_append(out, header, sizeof(header));
    if (r == 0)
        r = buffer_append(out, name, name_length);
    if (r == 0)
        r = buffer_append(out, body->data, body->size);
    if (r < 0)
        return r;
    uint8_t checksum[CHECKSUM_SIZE];
    store_le32(checksum, crc32c(0, out->data + start, out->size - start));
    return buffer_append(out, checksum, sizeof(checksum));
}

int section_write(struct buffer *out, const char *name, uint32_t instance, uint16_t version, const struct field *fields,
                  const void *object)
{
    size_t before = out->size;
    if (name[0] == '\0' || strlen(name) >= SECTION_NAME_MAX)
        return -EINVAL;
    struct buffer body = BUFFER_INIT(SECTION_BODY_MAX);
    int r = fields != NULL ? fields_write(&body, fields, object) : 0;
    if (r == -ENOBUFS) /* of the body, not of out */
        r = -EINVAL;
    if (r == 0)
        r = append_envelope(out, name, instance, version, &body);
    if (r < 0)
        out->size = before;
    buffer_fini(&body);
    return r;
}

void section_reader_init(struct section_reader *reader, const void *data, size_t size)
{
    *reader = (struct section_reader){.data = data, .size = size};
}

/* Names are lower-case words: they end up in messages and in comparisons. */
static bool name_is_valid(const uint8_t *name, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        uint8_t c = name[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return length > 0 && length < SECTION_NAME_MAX;
}

static int malformed(struct err *err, const struct section_reader *reader, const char *what)
{
    return err_set(err, -EBADMSG, "the saved state is damaged at byte %zu: %s", reader->position, what);
}

/* With the name, if there is one: what is damaged may be just that. */
static int damaged(struct err *err, const struct section_reader *reader, const char *what)
{
    const uint8_t *p = reader->data + reader->position;
    size_t length = p[6];

    if (reader->size - reader->position < HEADER_SIZE + length || !name_is_valid(p + HEADER_SIZE, length))
        return malformed(err, reader, what);
    return err_set(err, -EBADMSG, "the saved state is damaged at byte %zu: %s: %.*s %u", reader->position, what, (int)length,
                   (const char *)p + HEADER_SIZE, load_le32(p + 8));
}

int section_next(struct section_reader *reader, struct section *ret_section, struct err *err)
{
    size_t left = reader->size - reader->position;
    if (left == 0)
        return 0;
    const uint8_t *p = reader->data + reader->position;
    if (left < HEADER_SIZE + CHECKSUM_SIZE)
        return malformed(err, reader, "a section is cut off in its header");
    if (load_le32(p) != SECTION_MAGIC)
        return malformed(err, reader, "no section begins there");
    size_t name_length = p[6], body_size = load_le32(p + 12);
    if (p[7] != 0 || name_length == 0 || name_length >= SECTION_NAME_MAX || body_size > SECTION_BODY_MAX)
        return damaged(err, reader, "a section's header holds impossible values");
    size_t total = HEADER_SIZE + name_length + body_size + CHECKSUM_SIZE;
    if (left < total)
        return damaged(err, reader, "a section is cut off");
    if (load_le32(p + total - CHECKSUM_SIZE) != crc32c(0, p, total - CHECKSUM_SIZE))
        return damaged(err, reader, "a section's checksum is wrong");
    if (!name_is_valid(p + HEADER_SIZE, name_length))
        return malformed(err, reader, "a section's name holds characters that names never have");

    struct section section = {
        .instance = load_le32(p + 8),
        .version = load_le16(p + 4),
        .body = p + HEADER_SIZE + name_length,
        .size = body_size,
    };
    memcpy(section.name, p + HEADER_SIZE, name_length);
    reader->position += total;
    *ret_section = section;
    return 1;
}

int section_check_version(const struct section *section, uint16_t known, struct err *err)
{
    if (section->version <= known)
        return 0;
    return err_set(err, -EPROTO, "the saved state of %s %u has version %u, and this Ferry knows them up to %u: update it",
                   section->name, section->instance, section->version, known);
}

int section_read(const struct section *section, const struct field *fields, void *object, size_t object_size,
                 struct err *err)
{
    if (fields == NULL)
        return 0;
    void *copy = malloc(object_size);
    if (copy == NULL)
        return err_set(err, -ENOMEM, "no memory to read section %s", section->name);
    memcpy(copy, object, object_size);
    int r = fields_read(section->body, section->size, fields, copy, err);
    if (r == 0)
        memcpy(object, copy, object_size);
    else
        err_prefix(err, "section %s, instance %u", section->name, section->instance);
    free(copy);
    return r;
}
