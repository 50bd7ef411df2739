/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP messages: framing, commands, replies and events. */
#include "protocol/qmp.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

void qmp_reader_init(struct qmp_reader *reader)
{
    *reader = (struct qmp_reader){.input = BUFFER_INIT(QMP_MESSAGE_MAX)};
}

void qmp_reader_fini(struct qmp_reader *reader)
{
    buffer_fini(&reader->input);
}

int qmp_reader_feed(struct qmp_reader *reader, const void *data, size_t size)
{
    return buffer_append(&reader->input, data, size);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Follows one byte; true when it ends a message (or a line of garbage). */
static bool reader_step(struct qmp_reader *reader, char c)
{
    if (reader->garbage)
        return c == '\n';
    if (reader->in_string) {
        if (reader->escaped)
            reader->escaped = false;
        else if (c == '\\')
            reader->escaped = true;
        else if (c == '"')
            reader->in_string = false;
        return false;
    }
    if (c == '"' && reader->depth > 0) {
        reader->in_string = true;
    } else if (c == '{' || c == '[') {
        reader->depth++;
    } else if ((c == '}' || c == ']') && reader->depth > 0) {
        return --reader->depth == 0;
    } else if (reader->depth == 0) {
        if (is_space(c))
            reader->start = reader->scanned + 1;
        else
            reader->garbage = true;
    }
    return false;
}

/* Forgets the message that ends before `scanned`, and everything before it. */
static void reader_drop(struct qmp_reader *reader)
{
    buffer_consume(&reader->input, reader->scanned);
    reader->scanned = reader->start = 0;
    reader->depth = 0;
    reader->in_string = reader->escaped = reader->garbage = false;
}

static bool too_deep(const char *text, size_t size)
{
    unsigned depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < size; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!in_string && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > QMP_DEPTH_MAX)
            return true;
    }
    return false;
}

static int parse_message(const char *text, size_t size, json_t **ret_message, struct err *err)
{
    json_error_t why;
    json_t *message;

    if (size == 0 || text[0] != '{')
        return err_set(err, -EBADMSG, "Invalid JSON syntax: a message must be an object");
    if (too_deep(text, size))
        return err_set(err, -EBADMSG, "Invalid JSON: nested deeper than %u levels", QMP_DEPTH_MAX);
    message = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (message == NULL)
        return err_set(err, -EBADMSG, "Invalid JSON syntax: %s", why.text);
    *ret_message = message;
    return 1;
}

int qmp_reader_next(struct qmp_reader *reader, json_t **ret_message, struct err *err)
{
    const char *text = (const char *)reader->input.data;

    while (reader->scanned < reader->input.size) {
        bool ends = reader_step(reader, text[reader->scanned]);

        reader->scanned++;
        if (ends) {
            int r = parse_message(text + reader->start, reader->scanned - reader->start, ret_message, err);

            reader_drop(reader);
            return r;
        }
    }
    if (reader->depth == 0 && !reader->garbage)
        reader_drop(reader);
    return 0;
}

int qmp_command_parse(json_t *message, struct qmp_command *ret_command, struct err *err)
{
    json_t *execute = json_object_get(message, "execute");
    json_t *arguments = json_object_get(message, "arguments");
    const char *key;
    json_t *value;

    *ret_command = (struct qmp_command){.id = json_object_get(message, "id")};
    if (execute == NULL)
        return err_set(err, -EINVAL, "QMP input lacks member 'execute'");
    if (!json_is_string(execute))
        return err_set(err, -EINVAL, "QMP input member 'execute' must be a string");
    if (arguments != NULL && !json_is_object(arguments))
        return err_set(err, -EINVAL, "QMP input member 'arguments' must be an object");
    json_object_foreach (message, key, value) {
        if (strcmp(key, "execute") != 0 && strcmp(key, "arguments") != 0 && strcmp(key, "id") != 0)
            return err_set(err, -EINVAL, "QMP input member '%.64s' is unexpected", key);
    }
    ret_command->name = json_string_value(execute);
    ret_command->arguments = arguments;
    return 0;
}

static int append_chunk(const char *text, size_t size, void *ctx)
{
    return buffer_append(ctx, text, size) < 0 ? -1 : 0;
}

static void buffer_truncate(struct buffer *buffer, size_t size)
{
    buffer->size = size;
    if (buffer->data != NULL)
        buffer->data[size] = 0;
}

/* Consumes message. */
static int write_message(struct buffer *out, json_t *message)
{
    size_t before = out->size;
    int r = 0;

    if (message == NULL)
        return -ENOMEM;
    if (json_dump_callback(message, append_chunk, out, JSON_PRESERVE_ORDER) != 0 || buffer_append(out, "\r\n", 2) < 0) {
        buffer_truncate(out, before);
        r = -ENOBUFS;
    }
    json_decref(message);
    return r;
}

json_t *qmp_version(const char *program, const char *version)
{
    char package[64];

    snprintf(package, sizeof(package), "%s %s", program, version);
    /* Clients compare these numbers with releases of QEMU; what is spoken here is the interface of 7.2. */
    return json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", 7, "minor", 2, "micro", 0, "package", package);
}

int qmp_write_greeting(struct buffer *out, const char *program, const char *version)
{
    return write_message(out, json_pack("{s:{s:o, s:[]}}", "QMP", "version", qmp_version(program, version),
                                        "capabilities"));
}

static json_t *with_id(json_t *message, const json_t *id)
{
    if (message != NULL && id != NULL)
        json_object_set(message, "id", (json_t *)id);
    return message;
}

int qmp_write_return(struct buffer *out, const json_t *value, const json_t *id)
{
    json_t *message = value != NULL ? json_pack("{s:O}", "return", value) : json_pack("{s:{}}", "return");

    return write_message(out, with_id(message, id));
}

int qmp_write_error(struct buffer *out, const char *error_class, const char *description, const json_t *id)
{
    return write_message(out, with_id(json_pack("{s:{s:s, s:s}}", "error", "class", error_class, "desc", description), id));
}

int qmp_write_event(struct buffer *out, const char *name, const json_t *data, int64_t wall_ns)
{
    json_t *message = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)(wall_ns / 1000000000),
                                "microseconds", (json_int_t)(wall_ns % 1000000000 / 1000), "event", name);

    if (message != NULL && data != NULL)
        json_object_set(message, "data", (json_t *)data);
    return write_message(out, message);
}

int qmp_write_command(struct buffer *out, const char *name, const json_t *arguments)
{
    json_t *message = json_pack("{s:s}", "execute", name);

    if (message != NULL && arguments != NULL)
        json_object_set(message, "arguments", (json_t *)arguments);
    return write_message(out, message);
}
