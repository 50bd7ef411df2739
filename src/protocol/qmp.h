/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control protocol's messages (QMP: one JSON object a message) without any I/O: framing with limits, commands in,
 * replies and events out.
 *
 * Layout of the messages: QEMU's docs/interop/qmp-spec. Framing does not need line ends: a message is over when its
 * outermost brace closes, because many clients send no newline. */
#ifndef FERRY_PROTOCOL_QMP_H
#define FERRY_PROTOCOL_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

struct err;

#define QMP_MESSAGE_MAX (64u * 1024) /* bytes of one message that we accept */
#define QMP_DEPTH_MAX 32             /* nesting of objects and arrays that we accept */

struct qmp_reader {
    struct buffer input;
    size_t scanned;      /* bytes of input already looked at */
    size_t start;        /* where the message under way begins */
    unsigned depth;      /* open braces and brackets */
    bool in_string, escaped, garbage;
};

void qmp_reader_init(struct qmp_reader *reader);
void qmp_reader_fini(struct qmp_reader *reader);

/* Adds bytes from the peer. -ENOBUFS: more than a message may have without qmp_reader_next() taking one out; the peer
 * can't be served any longer. -ENOMEM. */
int qmp_reader_feed(struct qmp_reader *reader, const void *data, size_t size);

/* Takes the next message out. 1: *ret_message is a new reference to a JSON object; 0: more bytes are needed; -EBADMSG
 * with a sentence in err: what came is no JSON object, it is skipped and reading goes on. */
int qmp_reader_next(struct qmp_reader *reader, json_t **ret_message, struct err *err);

struct qmp_command {
    const char *name;  /* these three live as long as the message does */
    json_t *arguments; /* an object, or NULL */
    json_t *id;        /* anything, or NULL: returned with the reply */
};

/* Looks at a message as at a command. ret_command->id is set even on failure, for the reply. -EINVAL. */
int qmp_command_parse(json_t *message, struct qmp_command *ret_command, struct err *err);

/* Error classes of QMP; everything but an unknown command or device is a GenericError to clients. */
#define QMP_GENERIC_ERROR "GenericError"
#define QMP_COMMAND_NOT_FOUND "CommandNotFound"
#define QMP_DEVICE_NOT_FOUND "DeviceNotFound"

/* These append one message and CR LF to out: 0, -ENOBUFS or -ENOMEM (nothing appended). id and data may be NULL and
 * are not consumed. value NULL stands for an empty object. */
int qmp_write_greeting(struct buffer *out, const char *program, const char *version);
int qmp_write_return(struct buffer *out, const json_t *value, const json_t *id);
int qmp_write_error(struct buffer *out, const char *error_class, const char *description, const json_t *id);
/* wall_ns: CLOCK_REALTIME of the event. */
int qmp_write_event(struct buffer *out, const char *name, const json_t *data, int64_t wall_ns);
/* A command, for clients. */
int qmp_write_command(struct buffer *out, const char *name, const json_t *arguments);

/* The version object of the greeting and of query-version: a new reference, or NULL. */
json_t *qmp_version(const char *program, const char *version);

#endif
