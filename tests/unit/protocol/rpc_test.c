/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The RPC codec: bytes as libvirt's clients send them, layouts, limits, and the table of procedures. */
#include <errno.h>

#include "base/arena.h"
#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "check.h"
#include "protocol/remote.h"
#include "protocol/rpc.h"

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

static int decode(const char *layout, const struct buffer *bytes, struct arena *arena, struct rpc_value *values)
{
    struct xdr_reader reader = {.data = bytes->data, .size = bytes->size};

    return rpc_decode(layout, &reader, arena, values);
}

/* What virsh sends first: AUTH_LIST with serial 0. */
static void test_first_packet(void **state)
{
    static const uint8_t expected[] = {0, 0, 0, 0x1c, 0x20, 0, 0x80, 0x86, 0, 0, 0, 1, 0, 0, 0, 0x42,
                                       0, 0, 0, 0,    0,    0, 0,    0,    0, 0, 0, 0};
    const struct rpc_header header = {.program = RPC_PROGRAM_REMOTE, .version = 1, .procedure = REMOTE_AUTH_LIST};
    struct buffer bytes = BUFFER_INIT(100);
    struct xdr_writer writer = {.out = &bytes};
    struct rpc_header back;
    size_t size = 0;

    rpc_put_header(&writer, &header);
    rpc_set_length(&bytes, 0);
    assert_int_equal(bytes.size, sizeof(expected));
    assert_memory_equal(bytes.data, expected, sizeof(expected));
    assert_int_equal(rpc_packet_size(bytes.data, bytes.size, &size), 0);
    assert_int_equal(size, sizeof(expected));
    struct xdr_reader reader = {.data = bytes.data + 4, .size = bytes.size - 4};
    rpc_get_header(&reader, &back);
    assert_int_equal(back.procedure, REMOTE_AUTH_LIST);
    assert_false(reader.failed);
    buffer_fini(&bytes);
}

static void test_packet_sizes(void **state)
{
    static const struct {
        uint8_t bytes[4];
        int result;
    } cases[] = {
        {{0, 0, 0, 0x1b}, -EBADMSG}, {{0, 0, 0, 0x18}, -EBADMSG}, {{0, 0, 0, 0x1c}, 0},
        {{0, 0, 0, 0x1d}, 0},        {{2, 0, 0, 4}, 0},           {{2, 0, 0, 8}, -EBADMSG}, {{0xff, 0xff, 0xff, 0xfc}, -EBADMSG},
    };
    size_t size = 77;

    assert_int_equal(rpc_packet_size(cases[0].bytes, 3, &size), 0);
    assert_int_equal(size, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
        assert_int_equal(rpc_packet_size(cases[i].bytes, 4, &size), cases[i].result);
}

static void test_every_kind_of_field(void **state)
{
    struct buffer bytes = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &bytes};
    struct arena arena = ARENA_INIT(1 << 20);
    struct rpc_value value[RPC_VALUES_MAX];
    struct rpc_param_list params;

    xdr_put_i32(&writer, -5);
    xdr_put_u64(&writer, UINT64_C(1) << 40);
    xdr_put_string(&writer, "hello");
    xdr_put_optional_string(&writer, NULL);
    xdr_put_opaque(&writer, "ab\0c", 4);
    rpc_put_domain(&writer, "fw1", uuid, 7);
    xdr_put_bool(&writer, false);
    params = rpc_params_begin(&writer);
    rpc_params_i32(&params, -1, "state");
    rpc_params_u64(&params, 9, "block.%u.reads", 3u);
    rpc_params_string(&params, "vda", "name");
    rpc_params_end(&params);
    xdr_put_u32(&writer, 2);
    xdr_put_string(&writer, "one");
    xdr_put_i32(&writer, 1);
    xdr_put_string(&writer, "two");
    xdr_put_i32(&writer, 2);
    assert_int_equal(writer.error, 0);
    assert_int_equal(decode("i H s S o D ?N T [s i]", &bytes, &arena, value), 9);
    assert_int_equal(value[0].i, -5);
    assert_true(value[1].H == UINT64_C(1) << 40);
    assert_string_equal(value[2].s, "hello");
    assert_null(value[3].s);
    assert_memory_equal(value[4].bytes.data, "ab\0c", 4);
    assert_string_equal(value[5].object->name, "fw1");
    assert_memory_equal(value[5].object->uuid, uuid, 16);
    assert_int_equal(value[5].object->id, 7);
    assert_null(value[6].object);
    assert_int_equal(value[7].params.count, 3);
    assert_string_equal(value[7].params.param[1].name, "block.3.reads");
    assert_int_equal(value[8].list.count, 2);
    assert_string_equal(value[8].list.items[2].s, "two");
    assert_int_equal(value[8].list.items[3].i, 2);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        struct xdr_reader reader = {.data = bytes.data, .size = cut};

        assert_int_equal(rpc_decode("i H s S o D ?N T [s i]", &reader, &arena, value), -EBADMSG);
    }
    xdr_put_u32(&writer, 0);
    assert_int_equal(decode("i H s S o D ?N T [s i]", &bytes, &arena, value), -EBADMSG); /* something behind */
    arena_fini(&arena);
    buffer_fini(&bytes);
}

static void expect_refused(const char *layout, const void *data, size_t size)
{
    struct arena arena = ARENA_INIT(RPC_DECODED_MAX);
    struct xdr_reader reader = {.data = data, .size = size};
    struct rpc_value value[RPC_VALUES_MAX];

    assert_int_equal(rpc_decode(layout, &reader, &arena, value), -EBADMSG);
    arena_fini(&arena);
}

static void test_limits(void **state)
{
    expect_refused("[s]", "\0\0\x40\x01\0\0\0\0\0\0\0\0", 12);   /* more elements than bytes could hold */
    expect_refused("s", "\xff\xff\xff\xff", 4);                   /* a string of 4 GiB */
    expect_refused("s", "\0\0\0\3a\0b\0", 8);                     /* a NUL inside */
    expect_refused("S", "\0\0\0\2\0\0\0\0", 8);                   /* neither there nor absent */
    expect_refused("T", "\0\0\0\1\0\0\0\1x\0\0\0\0\0\0\x09\0\0\0\0", 20); /* a parameter of no type */
}

static void test_errors(void **state)
{
    struct buffer bytes = BUFFER_INIT(4096);
    struct xdr_writer writer = {.out = &bytes};
    struct err err = ERR_INIT;
    struct xdr_reader reader;

    rpc_put_error(&writer, RPC_NO_DOMAIN, 10, "no domain 'fw1'");
    reader = (struct xdr_reader){.data = bytes.data, .size = bytes.size};
    assert_int_equal(rpc_get_error(&reader, &err), RPC_FAULT(RPC_NO_DOMAIN));
    assert_string_equal(err.message, "no domain 'fw1'");
    assert_int_equal(rpc_error_code(RPC_FAULT(RPC_NO_DOMAIN)), RPC_NO_DOMAIN);
    assert_int_equal(rpc_error_code(-EINVAL), RPC_INVALID_ARGUMENT);
    assert_int_equal(rpc_error_code(-EIO), RPC_SYSTEM_ERROR);
    buffer_fini(&bytes);
}

/* The table can be decoded by, and nobody who may only read may start something. */
static void test_table(void **state)
{
    static const char *const changing[] = {"CREATE", "DEFINE_XML", "DESTROY", "SET_", "ATTACH", "DETACH", "SAVE_FLAGS", "RESTORE",
                                           "MIGRATE_P", "MIGRATE_B", "MIGRATE_C", "MIGRATE_F", "UPLOAD", "DOWNLOAD", "SHUTDOWN",
                                           "REBOOT", "RESET", "SUSPEND", "RESUME", "UNDEFINE", "CONSOLE", "RENAME", "DELETE",
                                           "UPDATE_DEVICE", "NETWORK_UPDATE", "ABORT", "MONITOR"};
    unsigned found = 0;

    for (int32_t number = 0; number < 500; number++) {
        const struct remote_call *call = remote_find(RPC_PROGRAM_REMOTE, number);
        struct arena arena = ARENA_INIT(4096);
        struct xdr_reader reader = {0};
        struct rpc_value value[RPC_VALUES_MAX];

        if (call == NULL)
            continue;
        found++;
        assert_int_equal(rpc_decode(call->arguments, &reader, &arena, value), call->arguments[0] == 0 ? 0 : -EBADMSG);
        for (unsigned i = 0; i < ARRAY_SIZE(changing); i++) {
            if (strstr(call->name, changing[i]) != NULL && strstr(call->name, "EVENT") == NULL)
                assert_int_equal(call->access, REMOTE_WRITE);
        }
        arena_fini(&arena);
    }
    assert_true(found > 200);
    assert_null(remote_find(RPC_PROGRAM_REMOTE, 4711));
    assert_string_equal(remote_find(RPC_PROGRAM_QEMU, 1)->name, "DOMAIN_MONITOR_COMMAND");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_packet), cmocka_unit_test(test_packet_sizes), cmocka_unit_test(test_every_kind_of_field),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_errors),       cmocka_unit_test(test_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
