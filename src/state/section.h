/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tagged sections: the envelope in which the state of one device or vCPU travels. Writer, and a reader with limits.
 *
 * A section has a name, an instance number, a version and a body of tagged fields (see field.h). The reader treats its
 * input as hostile: every length is checked against what is left, names and counts are bounded, a checksum closes each
 * section. Layout: docs/formats/state.md. */
#ifndef FERRY_STATE_SECTION_H
#define FERRY_STATE_SECTION_H

#include <stddef.h>
#include <stdint.h>

#include "state/field.h"

struct buffer;
struct err;

#define SECTION_NAME_MAX 32
#define SECTION_BODY_MAX (1u << 20) /* bytes */

struct section {
    char name[SECTION_NAME_MAX];
    uint32_t instance;
    uint16_t version;
    const uint8_t *body; /* into the reader's input */
    size_t size;
};

struct section_reader {
    const uint8_t *data;
    size_t size;
    size_t position;
};

/* Appends one section that holds the fields of `object`; `fields` may be NULL for an empty body. out is unchanged on
 * failure: -ENOBUFS, -ENOMEM, -EINVAL (name empty or longer than SECTION_NAME_MAX - 1, body too big, unfit table). */
int section_write(struct buffer *out, const char *name, uint32_t instance, uint16_t version, const struct field *fields,
                  const void *object);

void section_reader_init(struct section_reader *reader, const void *data, size_t size);

/* The next section. 1: ret_section filled; 0: clean end; -EBADMSG with a sentence in err: malformed. */
int section_next(struct section_reader *reader, struct section *ret_section, struct err *err);

/* -EPROTO with a sentence that names the section and both versions when it is of a later one than `known`, its reader's. */
int section_check_version(const struct section *section, uint16_t known, struct err *err);

/* Reads the section's fields into object, which is unchanged on failure. -EBADMSG, -ENOMEM. object_size is
 * sizeof the struct that the table describes; the struct is plain data. */
int section_read(const struct section *section, const struct field *fields, void *object, size_t object_size,
                 struct err *err);

#endif
