/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers and bodies of migration messages. */
#include "migration/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/text.h"
#include "migration/channel.h"

#define MAGIC 0x47494d46u /* "FMIG" */
#define PIECE 65536u

struct message_kind {
    const char *name;
    bool from_source;
    unsigned flags;    /* the highest value of the header's flags */
    uint32_t size_max; /* of the body */
};

static const struct message_kind kinds[] = {
    [MESSAGE_HELLO] = {"HELLO", true, 0, STREAM_HELLO_SIZE},
    [MESSAGE_DESCRIPTION] = {"DESCRIPTION", true, 0, STREAM_DESCRIPTION_MAX},
    [MESSAGE_PAGES] = {"PAGES", true, PAGES_LZ4, STREAM_RUNS_MAX *STREAM_RUN_SIZE * 2 + STREAM_CONTENTS_MAX},
    [MESSAGE_ROUND] = {"ROUND", true, 0, 0},
    [MESSAGE_STATE] = {"STATE", true, 0, STREAM_STATE_MAX},
    [MESSAGE_COMMIT] = {"COMMIT", true, 0, 0},
    [MESSAGE_CANCEL] = {"CANCEL", true, 0, STREAM_SENTENCE_MAX},
    [MESSAGE_PROBE] = {"PROBE", true, 0, STREAM_CONTENTS_MAX},
    [MESSAGE_POSTCOPY] = {"POSTCOPY", true, 0, STREAM_BITMAP_MAX},
    [MESSAGE_DONE] = {"DONE", true, 0, 0},
    [MESSAGE_COMPARE] = {"COMPARE", true, 0, STREAM_COMPARE_SIZE},
    [MESSAGE_BLOCKS] = {"BLOCKS", true, PAGES_LZ4, STREAM_EXTENT_SIZE + STREAM_CONTENTS_MAX},
    [MESSAGE_SYNC] = {"SYNC", true, 0, 0},
    [MESSAGE_WELCOME] = {"WELCOME", false, 0, 0},
    [MESSAGE_ACCEPT] = {"ACCEPT", false, 0, STREAM_DESCRIPTION_MAX},
    [MESSAGE_REFUSE] = {"REFUSE", false, 0, STREAM_SENTENCE_MAX},
    [MESSAGE_ROUND_DONE] = {"ROUND_DONE", false, 0, 0},
    [MESSAGE_READY] = {"READY", false, 0, 0},
    [MESSAGE_TAKEN] = {"TAKEN", false, 0, 0},
    [MESSAGE_WANT] = {"WANT", false, 0, 8},
    [MESSAGE_ALL] = {"ALL", false, 0, 0},
    [MESSAGE_MISSING] = {"MISSING", false, 0, STREAM_BITMAP_MAX},
    [MESSAGE_DIGESTS] = {"DIGESTS", false, 0, STREAM_COMPARE_MAX *STREAM_DIGEST_SIZE},
    [MESSAGE_SYNCED] = {"SYNCED", false, 0, 0},
};

static const struct message_kind *kind_of(unsigned type)
{
    return type < ARRAY_SIZE(kinds) && kinds[type].name != NULL ? &kinds[type] : NULL;
}

const char *message_name(unsigned type)
{
    const struct message_kind *kind = kind_of(type);

    return kind != NULL ? kind->name : "unknown";
}

void message_pack(const struct message *message, uint8_t bytes[static STREAM_HEADER_SIZE])
{
    store_le32(bytes, MAGIC);
    store_le16(bytes + 4, (uint16_t)message->type);
    store_le16(bytes + 6, (uint16_t)message->flags);
    store_le32(bytes + 8, message->argument);
    store_le32(bytes + 12, message->size);
}

int stream_send(struct channel *channel, enum message_type type, uint32_t argument, const void *body, size_t size,
                bool *ret_untouched)
{
    const struct message message = {.type = type, .argument = argument, .size = (uint32_t)size};
    uint8_t header[STREAM_HEADER_SIZE];
    struct iovec iov[2] = {{header, sizeof(header)}, {(void *)body, size}};

    message_pack(&message, header);
    return channel_send(channel, iov, 2, ret_untouched);
}

int stream_lost(struct err *err, int r, const char *whom)
{
    if (r == -EPIPE)
        return err_set(err, r, "the connection was closed by the %s", whom);
    if (r == -ECANCELED)
        return err_set(err, r, "it was cancelled");
    if (r == -EACCES)
        return err_set(err, r, "the %s refuses this side's certificate: is it for this role, of the same authority, and valid today?",
                       whom);
    return err_set(err, r, "the connection to the %s broke: %s", whom, strerror(-r));
}

int stream_receive(struct channel *channel, bool from_source, struct message *ret_message, struct err *err)
{
    uint8_t header[STREAM_HEADER_SIZE];
    const char *whom = from_source ? "source" : "destination";
    int r = channel_receive(channel, header, sizeof(header));
    const struct message_kind *kind;
    struct message message;

    if (r < 0)
        return stream_lost(err, r, whom);
    if (load_le32(header) != MAGIC)
        return err_set(err, -EBADMSG, "what came from the %s is no migration stream of Ferry", whom);
    message = (struct message){.type = load_le16(header + 4),
                               .flags = load_le16(header + 6),
                               .argument = load_le32(header + 8),
                               .size = load_le32(header + 12)};
    kind = kind_of(message.type);
    if (kind == NULL || kind->from_source != from_source)
        return err_set(err, -EBADMSG, "the %s sent a message of type %u, which is not for it to send", whom,
                       message.type);
    if (message.flags > kind->flags || message.size > kind->size_max)
        return err_set(err, -EBADMSG, "the %s sent a %s with impossible values: flags %u, %u bytes", whom, kind->name,
                       message.flags, message.size);
    *ret_message = message;
    return 0;
}

/* In pieces, so that memory is given as it is filled. */
int stream_receive_body(struct channel *channel, const struct message *message, struct buffer *out, struct err *err)
{
    uint8_t *piece = malloc(PIECE);
    int r = piece == NULL ? -ENOMEM : 0;

    for (uint32_t left = message->size; r == 0 && left > 0;) {
        uint32_t size = left < PIECE ? left : PIECE;

        r = channel_receive(channel, piece, size);
        if (r == 0)
            r = buffer_append(out, piece, size);
        left -= size;
    }
    free(piece);
    if (r == -ENOMEM || r == -ENOBUFS)
        return err_set(err, r, "no memory for the %u bytes of a %s", message->size, message_name(message->type));
    return r < 0 ? stream_lost(err, r, message->type < MESSAGE_WELCOME ? "source" : "destination") : 0;
}

int stream_receive_sentence(struct channel *channel, const struct message *message, int code, const char *what, struct err *err)
{
    struct buffer text = BUFFER_INIT(STREAM_SENTENCE_MAX);
    int r = stream_receive_body(channel, message, &text, err);

    if (r == 0)
        r = err_set(err, code, "%s: %s", what, text.data != NULL ? (const char *)text.data : "it says no more");
    buffer_fini(&text);
    return r;
}

int stream_skip(struct channel *channel, uint32_t size, struct err *err)
{
    uint8_t piece[16384];
    int r = 0;

    while (r == 0 && size > 0) {
        uint32_t part = size < sizeof(piece) ? size : (uint32_t)sizeof(piece);

        r = channel_receive(channel, piece, part);
        size -= part;
    }
    return r < 0 ? stream_lost(err, r, "source") : 0;
}

int stream_send_hello(struct channel *channel, const struct hello *hello)
{
    uint8_t body[STREAM_HELLO_SIZE];

    store_le16(body, (uint16_t)hello->version);
    store_le16(body + 2, (uint16_t)hello->oldest);
    store_le32(body + 4, hello->flags);
    memcpy(body + 8, hello->session, STREAM_SESSION_SIZE);
    return stream_send(channel, MESSAGE_HELLO, hello->channel, body, sizeof(body), NULL);
}

int stream_receive_hello(struct channel *channel, struct hello *ret_hello, struct err *err)
{
    uint8_t body[STREAM_HELLO_SIZE];
    struct message message;
    int r = stream_receive(channel, true, &message, err);

    if (r < 0)
        return r;
    if (message.type != MESSAGE_HELLO || message.size != sizeof(body))
        return err_set(err, -EBADMSG, "the source began with %s instead of HELLO", message_name(message.type));
    r = channel_receive(channel, body, sizeof(body));
    if (r < 0)
        return stream_lost(err, r, "source");
    for (unsigned i = 0; i < STREAM_SESSION_SIZE; i++) {
        uint8_t c = body[8 + i];

        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return err_set(err, -EBADMSG, "the source's HELLO names no session");
    }
    if ((load_le32(body + 4) & ~(uint32_t)SESSION_KNOWN) != 0)
        return err_set(err, -EBADMSG, "the source's HELLO asks for what this Ferry does not know: flags %#x",
                       load_le32(body + 4));
    *ret_hello = (struct hello){.channel = message.argument,
                                .version = load_le16(body),
                                .oldest = load_le16(body + 2),
                                .flags = load_le32(body + 4)};
    memcpy(ret_hello->session, body + 8, STREAM_SESSION_SIZE);
    return 0;
}

void extent_pack(const struct extent *extent, uint8_t bytes[static STREAM_EXTENT_SIZE])
{
    store_le64(bytes, extent->block);
    store_le32(bytes + 8, extent->count);
    store_le32(bytes + 12, extent->kind);
}

struct extent extent_unpack(const uint8_t bytes[static STREAM_EXTENT_SIZE])
{
    return (struct extent){.block = load_le64(bytes), .count = load_le32(bytes + 8), .kind = load_le32(bytes + 12)};
}
