/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages, pages and addresses of a migration, byte by byte. */
#include "check.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "memory/memory.h"
#include "migration/address.h"
#include "migration/channel.h"
#include "migration/compress.h"
#include "migration/delta.h"
#include "migration/pages_in.h"
#include "migration/pages_out.h"
#include "migration/progress.h"

struct line {
    struct channel *out, *in;
};

static struct line line_new(void)
{
    struct line line;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(channel_new(pair[0], &line.out), 0);
    assert_int_equal(channel_new(pair[1], &line.in), 0);
    return line;
}

static void line_free(struct line line)
{
    channel_free(line.out);
    channel_free(line.in);
}

static void test_header(void **state)
{
    static const uint8_t expected[] = {'F', 'M', 'I', 'G', 3, 0, 2, 0, 7, 0, 0, 0, 0, 1, 0, 0};
    const struct message message = {.type = MESSAGE_PAGES, .flags = 2, .argument = 7, .size = 256};
    uint8_t bytes[STREAM_HEADER_SIZE];

    message_pack(&message, bytes);
    assert_memory_equal(bytes, expected, sizeof(expected));
}

static void test_senders(void **state)
{
    struct line line = line_new();
    struct message message;
    struct err err = ERR_INIT;

    assert_int_equal(stream_send(line.out, MESSAGE_COMMIT, 0, NULL, 0, NULL), 0);
    assert_int_equal(stream_send(line.out, MESSAGE_COMMIT, 0, NULL, 0, NULL), 0);
    assert_int_equal(stream_receive(line.in, true, &message, &err), 0);
    assert_int_equal(message.type, MESSAGE_COMMIT);
    assert_int_equal(stream_receive(line.in, false, &message, &err), -EBADMSG);
    line_free(line);
}

static void test_closed(void **state)
{
    struct line line = line_new();
    bool untouched = false;
    uint8_t byte;

    assert_false(channel_closed(line.in));
    channel_break(line.out);
    assert_true(channel_closed(line.in));
    assert_int_equal(channel_receive(line.in, &byte, 1), -EPIPE);
    assert_int_equal(stream_send(line.in, MESSAGE_COMMIT, 0, NULL, 0, &untouched), -EPIPE);
    assert_true(untouched);
    assert_int_equal(channel_receive(line.out, &byte, 1), -ECANCELED);
    line_free(line);
}

static void test_patience(void **state)
{
    struct line line = line_new();
    uint8_t byte;

    channel_set_patience(line.in, 10);
    assert_int_equal(channel_receive(line.in, &byte, 1), -ETIMEDOUT);
    assert_int_equal(channel_wait(line.in, 1), -ETIMEDOUT);
    line_free(line);
}

static struct memory *memory_with(uint64_t low, uint64_t high)
{
    struct memory *memory;

    assert_int_equal(memory_new(&memory, NULL), 0);
    assert_int_equal(memory_add(memory, 0, low, false, NULL), 0);
    assert_int_equal(memory_add(memory, MIB(16), high, false, NULL), 0);
    return memory;
}

static void receive_pages(struct line line, struct memory *memory, struct migration_progress *progress)
{
    struct compressor *compressor;
    struct message message;
    struct err err = ERR_INIT;

    assert_int_equal(compressor_new(COMPRESSION_NONE, &compressor), 0);
    while (channel_wait(line.in, 0) == 0) {
        assert_int_equal(stream_receive(line.in, true, &message, &err), 0);
        assert_int_equal(message.type, MESSAGE_PAGES);
        assert_int_equal(pages_receive(line.in, &message, compressor, true, memory, progress, &err), 0);
    }
    compressor_free(compressor);
}

/* Pages of both regions, one of which was full and becomes zero, in any pattern. Returns the bytes sent. */
static uint64_t send_pages(enum migration_compression compression)
{
    struct memory *from = memory_with(KIB(256), KIB(64)), *to = memory_with(KIB(256), KIB(64));
    struct migration_progress out = {0}, in = {0};
    static _Atomic bool cancel;
    struct page_sender *sender = calloc(1, sizeof(*sender));
    struct line line = line_new();
    uint64_t bitmap[2] = {0};
    const uint8_t zero[4096] = {0};

    sender->channel = line.out;
    sender->memory = from;
    sender->progress = &out;
    sender->cancel = &cancel;
    assert_int_equal(compressor_new(compression, &sender->compressor), 0);
    for (uint64_t page = 0; page < 80; page += page % 7 == 0 ? 1 : 3) {
        uint8_t *host = page < 64 ? from->region[0].host + page * 4096 : from->region[1].host + (page - 64) * 4096;

        memset(host, (int)page, 4096); /* page 0 stays zero */
        bitmap[page / 64] |= BIT(page % 64);
    }
    memset(to->region[0].host, 0xff, 4096);
    assert_int_equal(page_sender_send(sender, bitmap, 0, 2), 0);
    receive_pages(line, to, &in);
    for (unsigned i = 0; i < 2; i++)
        assert_memory_equal(from->region[i].host, to->region[i].host, from->region[i].size);
    assert_memory_equal(to->region[0].host, zero, sizeof(zero));
    assert_int_equal(out.duplicate, 1);
    assert_int_equal(in.duplicate, 1);
    assert_int_equal(in.normal, out.normal);
    compressor_free(sender->compressor);
    free(sender);
    line_free(line);
    memory_free(from);
    memory_free(to);
    return out.transferred;
}

static void test_pages(void **state)
{
    uint64_t plain = send_pages(COMPRESSION_NONE);

    assert_true(send_pages(COMPRESSION_ZSTD) < plain / 10);
    assert_true(send_pages(COMPRESSION_LZ4) < plain / 10);
    send_pages(COMPRESSION_AUTO);
}

/* Pages that change a little go as differences from the third sending on, packed or not; those that become zero, or go whole in
 * between, do not spoil it. */
static void send_deltas(enum migration_compression compression)
{
    struct memory *from = memory_with(KIB(256), KIB(64)), *to = memory_with(KIB(256), KIB(64));
    struct migration_progress out = {0}, in = {0};
    static _Atomic bool cancel;
    struct page_sender *sender = calloc(1, sizeof(*sender));
    const uint64_t bitmap[2] = {UINT64_MAX, UINT16_MAX};
    struct line line = line_new();

    sender->channel = line.out;
    sender->memory = from;
    sender->progress = &out;
    sender->cancel = &cancel;
    assert_int_equal(delta_cache_new(KIB(512), &out, &sender->delta), 0);
    assert_int_equal(compressor_new(compression, &sender->compressor), 0);
    srandom(3);
    for (sender->round = 1; sender->round < 12; sender->round++) {
        for (unsigned i = 0; i < 2; i++)
            for (uint64_t at = 0; at < from->region[i].size; at += 64)
                from->region[i].host[at + (unsigned)random() % 64] = (uint8_t)random();
        memset(from->region[0].host + (sender->round % 5) * KIB(16), 0, KIB(8));
        sender->skip_zero = sender->round == 1;
        sender->whole_ns = sender->round == 7 ? 1 : INT64_C(1000000000);
        assert_int_equal(page_sender_send(sender, bitmap, 0, 2), 0);
        receive_pages(line, to, &in);
        for (unsigned i = 0; i < 2; i++)
            assert_memory_equal(from->region[i].host, to->region[i].host, from->region[i].size);
    }
    assert_true(out.delta_pages > 400);
    assert_true(out.delta_bytes < out.delta_pages * 512);
    delta_cache_free(sender->delta);
    compressor_free(sender->compressor);
    page_sender_fini(sender);
    free(sender);
    line_free(line);
    memory_free(from);
    memory_free(to);
}

static void test_deltas(void **state)
{
    send_deltas(COMPRESSION_NONE);
    send_deltas(COMPRESSION_ZSTD);
    send_deltas(COMPRESSION_LZ4);
}

static void test_pages_in_use(void **state)
{
    struct memory *memory = memory_with(KIB(256), KIB(64));
    uint64_t bitmap[2];

    assert_int_equal(pages_in_use(memory, bitmap), 0);
    memory->region[0].host[5 * 4096 + 1] = 1;
    memory->region[1].host[0] = 1;
    assert_int_equal(pages_in_use(memory, bitmap), 2);
    assert_true(bitmap[0] == BIT(5) && bitmap[1] == BIT(0));
    memory_free(memory);
}

/* A run that is refused, and nothing was written. */
static void expect_refused(uint64_t address, uint32_t pages, uint32_t kind, uint32_t runs, uint32_t flags, size_t contents)
{
    struct memory *memory = memory_with(KIB(64), KIB(64));
    static struct migration_progress progress;
    const struct message message = {
        .type = MESSAGE_PAGES, .argument = runs, .flags = flags, .size = (uint32_t)(STREAM_RUN_SIZE + contents)};
    struct line line = line_new();
    struct compressor *compressor;
    static uint8_t garbage[8192];
    uint8_t run[STREAM_RUN_SIZE];
    struct iovec iov[2] = {{run, sizeof(run)}, {garbage, contents}};
    struct err err = ERR_INIT;

    assert_int_equal(compressor_new(COMPRESSION_NONE, &compressor), 0);
    store_le64(run, address);
    store_le32(run + 8, pages);
    store_le32(run + 12, kind);
    assert_int_equal(channel_send(line.out, iov, 2, NULL), 0);
    assert_int_equal(pages_receive(line.in, &message, compressor, true, memory, &progress, &err), -EBADMSG);
    assert_int_not_equal(err.code, 0);
    compressor_free(compressor);
    line_free(line);
    memory_free(memory);
}

static void test_hostile_pages(void **state)
{
    expect_refused(1, 1, RUN_CONTENTS, 1, 0, 4096);
    expect_refused(KIB(60), 2, RUN_CONTENTS, 1, 0, 8192);
    expect_refused(KIB(64), 1, RUN_ZERO, 1, 0, 0);
    expect_refused(MIB(16) - 4096, 1, RUN_ZERO, 1, 0, 0);
    expect_refused(UINT64_MAX - 4095, 2, RUN_ZERO, 1, 0, 0);
    expect_refused(0, 0, RUN_ZERO, 1, 0, 0);
    expect_refused(0, UINT32_MAX, RUN_ZERO, 1, 0, 0);
    expect_refused(0, 1, 3, 1, 0, 0);
    expect_refused(0, 0, RUN_DELTA, 1, 0, 0);
    expect_refused(0, 2049, RUN_DELTA, 1, 0, 2049);
    expect_refused(0, 3, RUN_DELTA, 1, 0, 3); /* zeros are no difference */
    expect_refused(MIB(1), 3, RUN_DELTA, 1, 0, 3);
    expect_refused(0, 1, RUN_CONTENTS, 1, 0, 4095);
    expect_refused(0, 1, RUN_CONTENTS, 0, 0, 4096);
    expect_refused(0, 1, RUN_CONTENTS, STREAM_RUNS_MAX + 1, 0, 4096);
    expect_refused(0, 1, RUN_CONTENTS, 2, 0, 0);
    expect_refused(0, 1, RUN_CONTENTS, 1, PAGES_ZSTD, 100);
    expect_refused(0, 1, RUN_CONTENTS, 1, PAGES_LZ4, 100);
}

static void test_addresses(void **state)
{
    static const char *const bad[] = {"", "tcp", "tcp:host", "tcp:host:", "tcp:host:99999", "unix:", "fd:-1", "fd:99999", "exec:x"};
    struct address address;

    assert_int_equal(address_parse("tcp:0:4444", &address, NULL), 0);
    assert_string_equal(address.host, "");
    assert_int_equal(address_parse("tcp:[::1]:4444", &address, NULL), 0);
    assert_string_equal(address.host, "::1");
    assert_string_equal(address.port, "4444");
    assert_int_equal(address_parse("unix:/tmp/x", &address, NULL), 0);
    assert_string_equal(address.path, "/tmp/x");
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err err = ERR_INIT;

        assert_int_equal(address_parse(bad[i], &address, &err), -EINVAL);
        assert_int_not_equal(err.message[0], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_senders),
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_deltas),
        cmocka_unit_test(test_pages_in_use),
        cmocka_unit_test(test_hostile_pages),
        cmocka_unit_test(test_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
