/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The messages of a migration on a channel. Layout and meaning: docs/formats/migration.md. */
#ifndef FERRY_MIGRATION_STREAM_H
#define FERRY_MIGRATION_STREAM_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/bits.h"
#include "base/err.h"

struct buffer;
struct channel;

#define STREAM_VERSION 1
#define STREAM_VERSION_OLDEST 1
#define STREAM_HEADER_SIZE 16
#define STREAM_RUNS_MAX 512
#define STREAM_RUN_SIZE 16
#define STREAM_CONTENTS_MAX (4u << 20) /* bytes of pages in one message */
#define STREAM_DESCRIPTION_MAX (256u << 10)
#define STREAM_STATE_MAX (16u << 20)
#define STREAM_SENTENCE_MAX 480
#define STREAM_SESSION_SIZE 32 /* hexadecimal digits */
#define STREAM_HELLO_SIZE (8 + STREAM_SESSION_SIZE)
#define STREAM_CHANNELS_MAX 16
#define STREAM_PAGES_CHANNEL 0xffff /* HELLO's number of the channel of post-copy */
#define STREAM_BITMAP_MAX (64u << 20)
#define STREAM_BLOCK_SIZE (64u << 10) /* of disks; the last one of a disk may be shorter */
#define STREAM_EXTENT_SIZE 16         /* what a BLOCKS begins with */
#define STREAM_EXTENT_MAX (STREAM_CONTENTS_MAX / STREAM_BLOCK_SIZE) /* blocks with contents in one message */
#define STREAM_COMPARE_SIZE 12
#define STREAM_COMPARE_MAX 4096u /* blocks */
#define STREAM_DIGEST_SIZE 16

enum message_type {
    MESSAGE_HELLO = 1,
    MESSAGE_DESCRIPTION,
    MESSAGE_PAGES,
    MESSAGE_ROUND,
    MESSAGE_STATE,
    MESSAGE_COMMIT,
    MESSAGE_CANCEL,
    MESSAGE_PROBE,
    MESSAGE_POSTCOPY,
    MESSAGE_DONE,
    MESSAGE_COMPARE,
    MESSAGE_BLOCKS,
    MESSAGE_SYNC,
    MESSAGE_WELCOME = 65,
    MESSAGE_ACCEPT,
    MESSAGE_REFUSE,
    MESSAGE_ROUND_DONE,
    MESSAGE_READY,
    MESSAGE_TAKEN,
    MESSAGE_WANT,
    MESSAGE_ALL,
    MESSAGE_MISSING,
    MESSAGE_DIGESTS,
    MESSAGE_SYNCED,
};

enum { /* flags of HELLO's body */
       SESSION_DRY_RUN = 1 << 0,
       SESSION_POSTCOPY = 1 << 1,
       SESSION_RESUME = 1 << 2,
       SESSION_STORAGE = 1 << 3,
       SESSION_DELTA = 1 << 4,
       SESSION_KNOWN = (1 << 5) - 1,
};
enum { RUN_CONTENTS = 0, RUN_ZERO = 1, RUN_DELTA = 2 };
/* Of BLOCKS: kinds as of runs. */
struct extent {
    uint64_t block;
    uint32_t count, kind;
};
enum { PAGES_PLAIN = 0, PAGES_ZSTD = 1, PAGES_LZ4 = 2 };

struct message {
    enum message_type type;
    unsigned flags;
    uint32_t argument;
    uint32_t size; /* of the body */
};

struct hello {
    unsigned channel, version, oldest;
    uint32_t flags;
    char session[STREAM_SESSION_SIZE + 1];
};

/* "COMMIT" and so on, for errors. */
const char *message_name(unsigned type);

/* Writes a header into bytes. */
void message_pack(const struct message *message, uint8_t bytes[static STREAM_HEADER_SIZE]);

/* Sends a message with its body (may be empty). ret_untouched as in channel_send(). */
int stream_send(struct channel *channel, enum message_type type, uint32_t argument, const void *body, size_t size,
                bool *ret_untouched);

/* Receives a header and checks it, sender's side included: from_source says whose messages are welcome. -EBADMSG with a
 * sentence, or what channel_receive() returns, with a sentence as well. The body is still to be received. */
int stream_receive(struct channel *channel, bool from_source, struct message *ret_message, struct err *err);

/* Receives the body of a message, behind what `out` holds. */
int stream_receive_body(struct channel *channel, const struct message *message, struct buffer *out, struct err *err);

/* Receives a body that is a sentence: always `code`, with `what` and that sentence in err, or a negative errno of the receiving. */
int stream_receive_sentence(struct channel *channel, const struct message *message, int code, const char *what, struct err *err);

/* Receives a body from the source whose bytes mean nothing. */
int stream_skip(struct channel *channel, uint32_t size, struct err *err);

int stream_send_hello(struct channel *channel, const struct hello *hello);
int stream_receive_hello(struct channel *channel, struct hello *ret_hello, struct err *err);

void extent_pack(const struct extent *extent, uint8_t bytes[static STREAM_EXTENT_SIZE]);
struct extent extent_unpack(const uint8_t bytes[static STREAM_EXTENT_SIZE]);

/* The sentence for a channel that failed with r. */
int stream_lost(struct err *err, int r, const char *whom);

#endif
