/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination's part in copying disks: comparing, writing, and what a source may not send. */
#include "check.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bits.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/progress.h"
#include "migration/storage.h"
#include "migration/storage_in.h"

#define BLOCK STREAM_BLOCK_SIZE
#define SIZE (5 * BLOCK + 512) /* the last block is short */

struct fixture {
    uint8_t disk[SIZE];
    unsigned flushes, reads;
    int failure;
    struct migration_disks disks;
    struct migration_progress progress;
    struct storage_in *storage;
    struct compressor *compressor;
    struct channel *out, *in;
};

static const char *name(void *ctx, unsigned disk)
{
    return "some.img";
}

static int read_disk(void *ctx, unsigned disk, uint64_t offset, void *data, size_t size)
{
    struct fixture *f = ctx;

    assert_true(offset <= SIZE && size <= SIZE - offset);
    f->reads++;
    memcpy(data, f->disk + offset, size);
    return f->failure;
}

static int write_disk(void *ctx, unsigned disk, uint64_t offset, const void *data, uint64_t size)
{
    struct fixture *f = ctx;

    assert_true(offset <= SIZE && size <= SIZE - offset);
    if (data != NULL)
        memcpy(f->disk + offset, data, size);
    else
        memset(f->disk + offset, 0, size);
    return f->failure;
}

static int flush_disk(void *ctx, unsigned disk)
{
    ((struct fixture *)ctx)->flushes++;
    return 0;
}

/* By bytes, as a file of the finest grain would. */
static int find_data(void *ctx, unsigned disk, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end)
{
    const struct fixture *f = ctx;
    uint64_t end;

    while (offset < SIZE && f->disk[offset] == 0)
        offset++;
    for (end = offset; end < SIZE && f->disk[end] != 0;)
        end++;
    *ret_start = offset;
    *ret_end = end;
    return 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int pair[2], buffer = 1 << 20;

    f->disks = (struct migration_disks){.ctx = f, .count = 1, .size = {SIZE}, .name = name, .read = read_disk,
                                        .write = write_disk, .flush = flush_disk, .find_data = find_data};
    assert_int_equal(storage_in_new(&f->disks, &f->progress, &f->storage, NULL), 0);
    assert_int_equal(f->progress.disk_total, SIZE);
    assert_int_equal(compressor_new(COMPRESSION_ZSTD, &f->compressor), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    assert_int_equal(channel_new(pair[0], &f->out), 0);
    assert_int_equal(channel_new(pair[1], &f->in), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    channel_free(f->out);
    channel_free(f->in);
    storage_in_free(f->storage);
    compressor_free(f->compressor);
    free(f);
    return 0;
}

/* What the destination makes of a message. */
static int serve(struct fixture *f, enum message_type type, uint32_t argument, const void *body, size_t size, struct err *err)
{
    struct message message;

    assert_int_equal(stream_send(f->out, type, argument, body, size, NULL), 0);
    assert_int_equal(stream_receive(f->in, true, &message, err), 0);
    return storage_in_serve(f->storage, f->in, &message, f->compressor, err);
}

static int send_blocks(struct fixture *f, uint64_t block, uint32_t count, uint32_t kind, const void *contents, size_t size)
{
    static uint8_t body[STREAM_EXTENT_SIZE + 6 * BLOCK];
    struct err err = ERR_INIT;
    int r;

    extent_pack(&(struct extent){block, count, kind}, body);
    memcpy(body + STREAM_EXTENT_SIZE, contents, size);
    r = serve(f, MESSAGE_BLOCKS, 0, body, STREAM_EXTENT_SIZE + size, &err);
    assert_int_equal(r < 0, err.message[0] != 0);
    return r;
}

static int compare(struct fixture *f, uint32_t disk, uint64_t first, uint32_t count, uint8_t *ret_digests, size_t *ret_size)
{
    uint8_t body[STREAM_COMPARE_SIZE];
    struct err err = ERR_INIT;
    struct message answer;
    int r;

    store_le64(body, first);
    store_le32(body + 8, count);
    r = serve(f, MESSAGE_COMPARE, disk, body, sizeof(body), &err);
    if (r < 0)
        return r;
    assert_int_equal(stream_receive(f->out, false, &answer, &err), 0);
    assert_int_equal(answer.type, MESSAGE_DIGESTS);
    *ret_size = answer.size;
    return answer.size > 0 ? channel_receive(f->out, ret_digests, answer.size) : 0;
}

static void test_blocks(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[SIZE];
    struct err err = ERR_INIT;
    struct message answer;

    memset(data, 'x', sizeof(data));
    assert_int_equal(send_blocks(f, 0, 6, RUN_CONTENTS, data, SIZE), 0);
    assert_memory_equal(f->disk, data, SIZE);
    assert_int_equal(send_blocks(f, 4, 2, RUN_ZERO, "", 0), 0);
    assert_int_equal(f->disk[4 * BLOCK - 1], 'x');
    assert_true(storage_is_zero(f->disk + 4 * BLOCK, SIZE - 4 * BLOCK));
    assert_int_equal(f->flushes, 0);
    assert_int_equal(serve(f, MESSAGE_SYNC, 7, NULL, 0, &err), 0);
    assert_int_equal(stream_receive(f->out, false, &answer, &err), 0);
    assert_int_equal(answer.type, MESSAGE_SYNCED);
    assert_int_equal(answer.argument, 7);
    assert_int_equal(f->flushes, 1);
    assert_int_equal(storage_in_flush(f->storage, &err), 0);
    assert_int_equal(f->flushes, 1); /* nothing was written since */
    assert_int_equal(storage_in_flush(NULL, &err), 0);
}

static void test_comparing(void **state)
{
    struct fixture *f = *state;
    uint8_t digests[6 * STREAM_DIGEST_SIZE], expected[STREAM_DIGEST_SIZE];
    size_t size = 1;

    assert_int_equal(compare(f, 0, 0, 6, digests, &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(f->reads, 0); /* holes are not read */
    f->disk[2 * BLOCK + 5] = 1;
    f->disk[SIZE - 1] = 2;
    assert_int_equal(compare(f, 0, 0, 6, digests, &size), 0);
    assert_int_equal(size, sizeof(digests));
    assert_int_equal(f->reads, 2);
    for (unsigned i = 0; i < 6; i++) {
        memset(expected, 0, sizeof(expected));
        if (i == 2 || i == 5)
            assert_int_equal(storage_digest(f->disk + i * BLOCK, storage_bytes(SIZE, i, 1), expected), 0);
        assert_memory_equal(digests + i * STREAM_DIGEST_SIZE, expected, sizeof(expected));
    }
    assert_int_equal(compare(f, 0, 3, 2, digests, &size), 0);
    assert_int_equal(size, 0);
}

static void test_hostile(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t block;
        uint32_t count, kind;
        size_t size;
    } bad[] = {{6, 1, RUN_CONTENTS, BLOCK},          {5, 2, RUN_CONTENTS, BLOCK + 512}, {0, 0, RUN_CONTENTS, 0},
               {UINT64_MAX, 2, RUN_ZERO, 0},         {0, 1, 2, BLOCK},                  {0, 2, RUN_CONTENTS, BLOCK},
               {5, 1, RUN_CONTENTS, BLOCK},          {0, 1, RUN_ZERO, 1},               {0, 7, RUN_ZERO, 0}};
    static uint8_t data[2 * BLOCK];
    uint8_t digest[STREAM_DIGEST_SIZE];
    struct err err = ERR_INIT;
    size_t size;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(send_blocks(f, bad[i].block, bad[i].count, bad[i].kind, data, bad[i].size), -EBADMSG);
        teardown(state);
        setup(state);
        f = *state;
    }
    assert_int_equal(serve(f, MESSAGE_BLOCKS, 1, data, STREAM_EXTENT_SIZE, &err), -EBADMSG);
    assert_int_equal(serve(f, MESSAGE_BLOCKS, 0, data, 3, &err), -EBADMSG);
    teardown(state);
    setup(state);
    f = *state;
    assert_int_equal(compare(f, 0, 0, 7, digest, &size), -EBADMSG);
    assert_int_equal(compare(f, 0, 0, 0, digest, &size), -EBADMSG);
    assert_int_equal(compare(f, 0, UINT64_MAX, 2, digest, &size), -EBADMSG);
    assert_int_equal(compare(f, 1, 0, 1, digest, &size), -EBADMSG);
}

static void test_disk_that_fails(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[BLOCK];
    uint8_t body[STREAM_EXTENT_SIZE + sizeof(data)];
    struct err err = ERR_INIT;

    f->failure = -ENOSPC;
    extent_pack(&(struct extent){0, 1, RUN_CONTENTS}, body);
    memcpy(body + STREAM_EXTENT_SIZE, data, sizeof(data));
    assert_int_equal(serve(f, MESSAGE_BLOCKS, 0, body, sizeof(body), &err), -ENOSPC);
    assert_string_equal(err.message, "cannot write disk some.img on the destination: No space left on device");
}

static void test_packed(void **state)
{
    struct fixture *f = *state;
    static uint8_t data[2 * BLOCK], body[STREAM_HEADER_SIZE + STREAM_EXTENT_SIZE];
    struct message message = {.type = MESSAGE_BLOCKS}, received;
    struct iovec contents = {data, sizeof(data)}, iov[2] = {{body, sizeof(body)}};
    struct err err = ERR_INIT;
    const void *packed;
    size_t size;

    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i / 100);
    assert_true(compressor_pack(f->compressor, &contents, 1, sizeof(data), &message.flags, &packed, &size));
    message.size = (uint32_t)(STREAM_EXTENT_SIZE + size);
    message_pack(&message, body);
    extent_pack(&(struct extent){1, 2, RUN_CONTENTS}, body + STREAM_HEADER_SIZE);
    iov[1] = (struct iovec){(void *)packed, size};
    assert_int_equal(channel_send(f->out, iov, 2, NULL), 0);
    assert_int_equal(stream_receive(f->in, true, &received, &err), 0);
    assert_int_equal(storage_in_serve(f->storage, f->in, &received, f->compressor, &err), 0);
    assert_memory_equal(f->disk + BLOCK, data, sizeof(data));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_blocks), TEST(test_comparing), TEST(test_hostile), TEST(test_disk_that_fails), TEST(test_packed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
