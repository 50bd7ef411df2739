/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NFSv4 messages: requests by known bytes, replies cut off at every length, records in pieces. */
#include "check.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/fd.h"
#include "nfs/connection.h"
#include "nfs/reply.h"

static const struct nfs_credential somebody = {.machine = "host", .uid = 1, .gid = 2};

static uint32_t word(const struct nfs_call *call, size_t at)
{
    return __builtin_bswap32(load_le32(call->head.data + at));
}

static void test_request(void **state)
{
    const struct nfs_filehandle fh = {.size = 3, .data = "abc"};
    const struct nfs_stateid stateid = {.seqid = 9, .other = "0123456789a"};
    struct nfs_call call;

    nfs_call_begin(&call, 0x11223344, &somebody);
    nfs_put_filehandle(&call, &fh);
    nfs_put_write(&call, &stateid, 0x100000002, NFS_UNSTABLE, "hello", 5);
    assert_int_equal(nfs_call_end(&call), 0);
    assert_int_equal(call.head.size % 4, 0);
    assert_int_equal(word(&call, 0), 0x80000000 | (call.head.size - 4 + 8)); /* the data is padded to 8 */
    assert_int_equal(word(&call, 4), 0x11223344);
    assert_int_equal(word(&call, 8), 0);
    assert_int_equal(word(&call, 12), 2);
    assert_int_equal(word(&call, 16), 100003);
    assert_int_equal(word(&call, 20), 4);
    assert_int_equal(word(&call, 24), 1);
    assert_int_equal(word(&call, 28), 1);  /* AUTH_SYS */
    assert_int_equal(word(&call, 32), 24); /* stamp, "host", uid, gid, no groups */
    assert_int_equal(word(&call, call.count_at), 2);
    assert_int_equal(word(&call, call.count_at + 4), NFS_PUTFH);
    assert_int_equal(word(&call, call.count_at + 8), 3);
    assert_memory_equal(call.head.data + call.count_at + 12, "abc\0", 4);
    assert_int_equal(word(&call, call.head.size - 4), 5);
    assert_int_equal(word(&call, call.head.size - 8), 0);
    assert_int_equal(word(&call, call.head.size - 12), 2);
    assert_int_equal(word(&call, call.head.size - 16), 1);
    nfs_call_fini(&call);
}

static void test_request_too_long(void **state)
{
    struct nfs_call call;

    nfs_call_begin(&call, 1, &somebody);
    for (unsigned i = 0; i < 2000; i++)
        nfs_put_lookup(&call, "a-name-that-is-not-short", 24);
    assert_int_equal(nfs_call_end(&call), -ENOBUFS);
    nfs_call_fini(&call);
}

/* A reply: xid, REPLY, accepted, no verifier, success; then the COMPOUND. */
static size_t put_words(uint8_t *bytes, const uint32_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        store_le32(bytes + i * 4, __builtin_bswap32(words[i]));
    return count * 4;
}

static const uint32_t write_reply[] = {7, 1, 0, 0, 0, 0, 0, 0, 2, NFS_PUTFH, 0, NFS_WRITE, 0, 4096, NFS_UNSTABLE, 0x01020304, 5};

static int parse_write(const uint8_t *bytes, size_t size, uint32_t *ret_count)
{
    struct nfs_reply reply;
    uint8_t verifier[NFS_VERIFIER_SIZE];
    enum nfs_stability stability;
    int r = nfs_reply_begin(&reply, bytes, size);

    if (r == 0)
        r = nfs_reply_next(&reply, NFS_PUTFH);
    if (r == 0)
        r = nfs_reply_next(&reply, NFS_WRITE);
    return r != 0 ? r : nfs_get_write(&reply, ret_count, &stability, verifier);
}

static void test_reply(void **state)
{
    uint8_t bytes[sizeof(write_reply)];
    size_t size = put_words(bytes, write_reply, ARRAY_SIZE(write_reply));
    uint32_t count = 0, xid = 0;

    assert_int_equal(parse_write(bytes, size, &count), 0);
    assert_int_equal(count, 4096);
    assert_int_equal(nfs_reply_xid(bytes, size, &xid), 0);
    assert_int_equal(xid, 7);
    for (size_t cut = 0; cut < size; cut++) {
        count = 1;
        assert_int_equal(parse_write(bytes, cut, &count), -EBADMSG);
        assert_int_equal(count, 1);
    }
}

static int parse_changed(unsigned at, uint32_t value)
{
    uint32_t words[ARRAY_SIZE(write_reply)], count;
    uint8_t bytes[sizeof(words)];

    memcpy(words, write_reply, sizeof(words));
    words[at] = value;
    return parse_write(bytes, put_words(bytes, words, ARRAY_SIZE(words)), &count);
}

static void test_replies_that_say_no(void **state)
{
    assert_int_equal(parse_changed(1, 0), -EBADMSG);           /* a call */
    assert_int_equal(parse_changed(2, 1), -EACCES);            /* denied */
    assert_int_equal(parse_changed(4, 5), -EBADMSG);           /* a verifier longer than what is there */
    assert_int_equal(parse_changed(5, 2), -EPROTONOSUPPORT);   /* another version */
    assert_int_equal(parse_changed(8, 1000), -EBADMSG);        /* too many results */
    assert_int_equal(parse_changed(9, NFS_READ), -EBADMSG);    /* of another operation */
    assert_int_equal(parse_changed(12, 28), 28);               /* NFS4ERR_NOSPC */
    assert_int_equal(parse_changed(14, 3), -EBADMSG);          /* no such stability */
    assert_int_equal(nfs_errno(28), -ENOSPC);
    assert_int_equal(nfs_errno(NFS_ERROR_DENIED), -EAGAIN);
    assert_int_equal(nfs_errno(12345), -EREMOTEIO);
    assert_int_equal(nfs_errno(0), 0);
}

static void test_attributes(void **state)
{
    /* mask: size and mode; 12 bytes of values */
    static const uint32_t words[] = {2, 1u << 4, 1u << 1, 12, 1, 2, 0644};
    uint8_t bytes[sizeof(words)];
    struct xdr_reader reader = {.data = bytes, .size = put_words(bytes, words, ARRAY_SIZE(words))};
    struct nfs_attributes attributes;

    assert_int_equal(nfs_get_attributes(&reader, &attributes), 0);
    assert_int_equal(attributes.present, ~0u & ~(unsigned)(NFS_ATTRIBUTE_TYPE | NFS_ATTRIBUTE_LEASE | NFS_ATTRIBUTE_LIMITS |
                                                           NFS_ATTRIBUTE_SPACE | NFS_ATTRIBUTE_TIME | NFS_ATTRIBUTE_USED |
                                                           NFS_ATTRIBUTE_FILE_SYSTEM));
    assert_int_equal(attributes.size, 0x100000002);
    assert_int_equal(attributes.mode, 0644);
    store_le32(bytes + 4, __builtin_bswap32(1u << 4 | 1u << 5)); /* one that we did not ask for */
    reader = (struct xdr_reader){.data = bytes, .size = sizeof(bytes)};
    assert_int_equal(nfs_get_attributes(&reader, &attributes), -EBADMSG);
}

static void test_room(void **state)
{
    /* mask: file system; available, free, total, used; 48 bytes of values */
    static const uint32_t words[] = {2, 1u << 8, 0xfu << 10, 48, 1, 2, 3, 4, 0, 5, 0, 6, 0, 7, 1, 8};
    uint8_t bytes[sizeof(words)];
    struct xdr_reader reader = {.data = bytes, .size = put_words(bytes, words, ARRAY_SIZE(words))};
    struct nfs_attributes attributes;

    assert_int_equal(nfs_get_attributes(&reader, &attributes), 0);
    assert_int_equal(attributes.present, NFS_ATTRIBUTE_SPACE | NFS_ATTRIBUTE_USED | NFS_ATTRIBUTE_FILE_SYSTEM |
                                         (~0u << 9)); /* groups that there are not */
    assert_true(attributes.file_system[0] == 0x100000002 && attributes.file_system[1] == 0x300000004);
    assert_true(attributes.space_available == 5 && attributes.space_total == 7 && attributes.space_used == 0x100000008);
}

static void send_bytes(int fd, const void *data, size_t size)
{
    assert_int_equal(fd_write_all(fd, data, size), 0);
}

static void test_records_in_pieces(void **state)
{
    static const uint8_t stream[] = {0, 0, 0, 3, 'a', 'b', 'c', 0x80, 0, 0, 2, 'd', 'e', 0x80, 0, 0, 1, 'f'};
    struct nfs_connection connection = {.record = malloc(NFS_RECORD_MAX)};
    const uint8_t *record = NULL;
    size_t size = 0;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    connection.fd = fds[0];
    connection.last = &connection.first;
    for (unsigned i = 0; i < 13; i++) {
        assert_int_equal(nfs_connection_receive(&connection, &record, &size), 0);
        send_bytes(fds[1], stream + i, 1);
    }
    assert_int_equal(nfs_connection_receive(&connection, &record, &size), 1);
    assert_int_equal(size, 5);
    assert_memory_equal(record, "abcde", 5);
    send_bytes(fds[1], stream + 13, 5);
    assert_int_equal(nfs_connection_receive(&connection, &record, &size), 1);
    assert_int_equal(size, 1);
    assert_int_equal(record[0], 'f');
    send_bytes(fds[1], "\x80\xff\xff\xff", 4);
    assert_int_equal(nfs_connection_receive(&connection, &record, &size), -EMSGSIZE);
    close(fds[1]);
    nfs_connection_close(&connection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),    cmocka_unit_test(test_request_too_long),
        cmocka_unit_test(test_reply),      cmocka_unit_test(test_replies_that_say_no),
        cmocka_unit_test(test_attributes), cmocka_unit_test(test_room), cmocka_unit_test(test_records_in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
