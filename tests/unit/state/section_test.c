/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of sections and fields: round trips, growth of formats, and every kind of damage. */
#include "check.h"

#include <errno.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/checksum.h"
#include "base/err.h"
#include "state/irqchip.h"
#include "state/section.h"

#define HEADER_SIZE 16
#define CHECKSUM_SIZE 4

struct inner {
    uint8_t a;
    uint32_t b;
};

struct outer {
    bool flag;
    uint8_t bytes[3];
    uint16_t half;
    uint64_t wide;
    int64_t time;
    struct inner one, many[2];
};

static const struct field inner_fields[] = {
    FIELD(1, struct inner, a),
    FIELD(2, struct inner, b),
    FIELD_END,
};

static const struct field outer_fields[] = {
    FIELD(1, struct outer, flag),
    FIELD_ARRAY(2, struct outer, bytes),
    FIELD(3, struct outer, half),
    FIELD(4, struct outer, wide),
    FIELD(5, struct outer, time),
    FIELD_STRUCT(6, struct outer, one, inner_fields),
    FIELD_STRUCTS(7, struct outer, many, inner_fields),
    FIELD_END,
};

static const struct outer sample = {
    .flag = true,
    .bytes = {1, 2, 3},
    .half = 0x1234,
    .wide = UINT64_C(0x123456789abcdef0),
    .time = -5,
    .one = {.a = 9, .b = 0xdeadbeef},
    .many = {{.a = 1, .b = 2}, {.a = 3, .b = 4}},
};

static void assert_equal_to_sample(const struct outer *object)
{
    assert_true(object->flag);
    assert_memory_equal(object->bytes, sample.bytes, 3);
    assert_int_equal(object->half, sample.half);
    assert_true(object->wide == sample.wide && object->time == sample.time);
    assert_int_equal(object->one.b, sample.one.b);
    assert_int_equal(object->many[1].a, 3);
    assert_int_equal(object->many[1].b, 4);
}

/* A stream of one section with the sample. The caller ends it. */
static struct buffer sample_stream(void)
{
    struct buffer stream = BUFFER_INIT(4096);
    assert_int_equal(section_write(&stream, "sample", 7, 2, outer_fields, &sample), 0);
    return stream;
}

static void test_round_trip(void **state)
{
    struct buffer stream = sample_stream();
    struct section_reader reader;
    struct section section;
    struct err err = ERR_INIT;
    assert_int_equal(section_write(&stream, "empty", 0, 1, NULL, NULL), 0);

    section_reader_init(&reader, stream.data, stream.size);
    assert_int_equal(section_next(&reader, &section, &err), 1);
    assert_string_equal(section.name, "sample");
    assert_int_equal(section.instance, 7);
    assert_int_equal(section.version, 2);
    struct outer object = {0};
    assert_int_equal(section_read(&section, outer_fields, &object, sizeof(object), &err), 0);
    assert_equal_to_sample(&object);

    assert_int_equal(section_next(&reader, &section, &err), 1);
    assert_string_equal(section.name, "empty");
    assert_int_equal(section.size, 0);
    assert_int_equal(section_read(&section, NULL, NULL, 0, &err), 0);
    assert_int_equal(section_next(&reader, &section, &err), 0);
    assert_int_equal(section_next(&reader, &section, &err), 0);
    assert_int_equal(err.code, 0);
    buffer_fini(&stream);
}

/* The layout of docs/formats/state.md, byte by byte: it must never change. */
static void test_golden(void **state)
{
    static const struct field fields[] = {FIELD(3, struct inner, b), FIELD_END};
    static const uint8_t golden[] = {
        'F',  'S',  'C',  'T',  2, 0, 2, 0, 7, 0, 0, 0, 12, 0, 0, 0, /* header */
        'p',  'c',  3,    0,    4, 0, 4, 0, 0, 0,                    /* name, field header */
        0x0d, 0x0c, 0x0b, 0x0a,                                      /* value */
    };
    struct inner object = {.b = 0x0a0b0c0d};
    struct buffer stream = BUFFER_INIT(100);
    assert_int_equal(section_write(&stream, "pc", 7, 2, fields, &object), 0);
    assert_int_equal(stream.size, sizeof(golden) + CHECKSUM_SIZE);
    assert_memory_equal(stream.data, golden, sizeof(golden));
    assert_int_equal(load_le32(stream.data + sizeof(golden)), crc32c(0, golden, sizeof(golden)));
    buffer_fini(&stream);
}

static void test_write_refuses(void **state)
{
    static uint8_t huge[SECTION_BODY_MAX];
    const struct field too_big[] = {{.tag = 1, .width = 1, .count = sizeof(huge), .name = "huge"}, FIELD_END};
    const struct field odd[] = {{.tag = 1, .width = 3, .count = 1, .name = "odd"}, FIELD_END};
    struct buffer stream = BUFFER_INIT(64);
    assert_int_equal(buffer_append(&stream, "before", 6), 0);
    assert_int_equal(section_write(&stream, "", 0, 1, NULL, NULL), -EINVAL);
    assert_int_equal(section_write(&stream, "a-name-of-thirty-two-characters-", 0, 1, NULL, NULL), -EINVAL);
    assert_int_equal(section_write(&stream, "big", 0, 1, too_big, huge), -EINVAL);
    assert_int_equal(section_write(&stream, "odd", 0, 1, odd, huge), -EINVAL);
    assert_int_equal(section_write(&stream, "sample", 0, 1, outer_fields, &sample), -ENOBUFS);
    assert_int_equal(stream.size, 6);
    assert_int_equal(section_write(&stream, "fits", 0, 1, NULL, NULL), 0);
    buffer_fini(&stream);
}

/* Every section cut off at every byte: refused, the output untouched. */
static void test_cut_off(void **state)
{
    struct buffer stream = sample_stream();
    for (size_t size = 1; size < stream.size; size++) {
        struct section_reader reader;
        struct section section = {.instance = 99};
        struct err err = ERR_INIT;
        section_reader_init(&reader, stream.data, size);
        assert_int_equal(section_next(&reader, &section, &err), -EBADMSG);
        assert_int_equal(section.instance, 99);
        assert_true(err.message[0] != '\0');
    }
    buffer_fini(&stream);
}

/* Every single bit flipped is noticed. */
static void test_flipped_bits(void **state)
{
    struct buffer stream = sample_stream();
    for (size_t bit = 0; bit < stream.size * 8; bit++) {
        struct section_reader reader;
        struct section section;
        stream.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        section_reader_init(&reader, stream.data, stream.size);
        assert_int_equal(section_next(&reader, &section, NULL), -EBADMSG);
        stream.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    buffer_fini(&stream);
}

static void repair(struct buffer *stream)
{
    size_t covered = stream->size - CHECKSUM_SIZE;
    store_le32(stream->data + covered, crc32c(0, stream->data, covered));
}

static int next_of(struct buffer *stream, struct section *ret_section)
{
    struct section_reader reader;
    repair(stream);
    section_reader_init(&reader, stream->data, stream->size);
    return section_next(&reader, ret_section, NULL);
}

/* Lies in a header whose checksum is right. */
static void test_header_lies(void **state)
{
    static const struct {
        size_t offset;
        uint8_t value;
    } lies[] = {
        {6, 0},
        {6, 32},
        {6, 255},
        {7, 1},
        {14, 0xff},
        {15, 0xff},
        {HEADER_SIZE, 0},
        {HEADER_SIZE, '/'},
        {HEADER_SIZE, 0x1b},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        struct buffer stream = sample_stream();
        struct section section;
        assert_int_equal(next_of(&stream, &section), 1);
        stream.data[lies[i].offset] = lies[i].value;
        assert_int_equal(next_of(&stream, &section), -EBADMSG);
        buffer_fini(&stream);
    }
}

static int read_body(const uint8_t *body, size_t size, struct outer *object, struct err *err)
{
    struct section section = {.name = "sample", .body = body, .size = size};
    return section_read(&section, outer_fields, object, sizeof(*object), err);
}

static void test_missing_and_unknown_tags(void **state)
{
    static const uint8_t body[] = {
        99, 0, 0, 0, 5, 0, 0, 0, 1, 2, 3,  4, 5, /* a structure from the future */
        3,  0, 2, 0, 2, 0, 0, 0, 5, 6, 99, 0, 0, 0, 0, 0, 0, 0,
    };
    struct outer object = {.wide = 42};
    assert_int_equal(read_body(body, sizeof(body), &object, NULL), 0);
    assert_int_equal(object.half, 0x0605);
    assert_int_equal(object.wide, 42);
}

#define BODY(...) ((const uint8_t[]){__VA_ARGS__}), sizeof((const uint8_t[]){__VA_ARGS__})

static void test_damaged_bodies(void **state)
{
    const struct {
        const uint8_t *data;
        size_t size;
        const char *says;
    } bodies[] = {
        {BODY(1, 0, 1), "cut off in its header"},
        {BODY(0, 0, 1, 0, 1, 0, 0, 0, 1), "tag 0"},
        {BODY(3, 0, 2, 0, 3, 0, 0, 0, 1, 2), "cut off"},
        {BODY(3, 0, 2, 0, 0xff, 0xff, 0xff, 0xff, 1, 2), "cut off"},
        {BODY(77, 0, 2, 0, 0xff, 0xff, 0xff, 0xff, 1, 2), "cut off"},
        {BODY(3, 0, 1, 0, 2, 0, 0, 0, 1, 2), "another width"},
        {BODY(3, 0, 2, 0, 1, 0, 0, 0, 1), "another size"},
        {BODY(3, 0, 2, 0, 0, 0, 0, 0), "another size"},
        {BODY(2, 0, 1, 0, 4, 0, 0, 0, 1, 2, 3, 4), "another size"},
        {BODY(1, 0, 1, 0, 1, 0, 0, 0, 2), "boolean"},
        {BODY(3, 0, 2, 0, 2, 0, 0, 0, 1, 2, 3, 0, 2, 0, 2, 0, 0, 0, 1, 2), "twice"},
        {BODY(6, 0, 4, 0, 4, 0, 0, 0, 0, 0, 0, 0), "structure"},
        {BODY(6, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0), "cut off"},
        {BODY(6, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0), "cut off"},
        {BODY(6, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7), "more elements"},
        {BODY(7, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0), "cut off"},
        {BODY(6, 0, 0, 0, 13, 0, 0, 0, 9, 0, 0, 0, 1, 0, 2, 0, 1, 0, 0, 0, 7), "one[0]"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        struct err err = ERR_INIT;
        struct outer object;
        memcpy(&object, &sample, sizeof(object)); /* padding included, which is compared too */
        assert_int_equal(read_body(bodies[i].data, bodies[i].size, &object, &err), -EBADMSG);
        assert_non_null(strstr(err.message, bodies[i].says));
        assert_memory_equal(&object, &sample, sizeof(object));
    }
}

/* No input can make the reader allocate: what it needs is the size of the object, known before. */
static void test_claims_cost_nothing(void **state)
{
    struct buffer stream = BUFFER_INIT(64);
    struct section section;
    assert_int_equal(section_write(&stream, "x", 0, 1, NULL, NULL), 0);
    store_le32(stream.data + 12, SECTION_BODY_MAX); /* allowed, but not there */
    assert_int_equal(next_of(&stream, &section), -EBADMSG);
    store_le32(stream.data + 12, SECTION_BODY_MAX + 1);
    assert_int_equal(next_of(&stream, &section), -EBADMSG);
    store_le32(stream.data + 12, UINT32_MAX);
    assert_int_equal(next_of(&stream, &section), -EBADMSG);
    buffer_fini(&stream);
}

static void test_irqchip_round_trip(void **state)
{
    struct lapic_state lapic, lapic_read = {0};
    struct pit_state pit, pit_read = {0};
    struct buffer stream = BUFFER_INIT(8192);
    struct section_reader reader;
    struct section section;
    memset(&lapic, 0xa5, sizeof(lapic));
    memset(&pit, 0x5a, sizeof(pit));
    assert_int_equal(section_write(&stream, "lapic", 0, 1, lapic_state_fields, &lapic), 0);
    assert_int_equal(section_write(&stream, "pit", 0, 1, pit_state_fields, &pit), 0);
    section_reader_init(&reader, stream.data, stream.size);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    assert_int_equal(section_read(&section, lapic_state_fields, &lapic_read, sizeof(lapic_read), NULL), 0);
    assert_int_equal(section_next(&reader, &section, NULL), 1);
    assert_int_equal(section_read(&section, pit_state_fields, &pit_read, sizeof(pit_read), NULL), 0);
    /* Written again, they give the same bytes: every member is in its table. */
    struct buffer again = BUFFER_INIT(8192);
    assert_int_equal(section_write(&again, "lapic", 0, 1, lapic_state_fields, &lapic_read), 0);
    assert_int_equal(section_write(&again, "pit", 0, 1, pit_state_fields, &pit_read), 0);
    assert_int_equal(again.size, stream.size);
    assert_memory_equal(again.data, stream.data, stream.size);
    buffer_fini(&again);
    buffer_fini(&stream);
}

/* Tags unique, sizes that of the members, nothing behind the struct's end. */
static void assert_table_is_sound(const struct field *fields, size_t size)
{
    for (const struct field *f = fields; f->tag != 0; f++) {
        assert_non_null(f->name);
        assert_true(f->offset + (size_t)f->width * f->count <= size);
        for (const struct field *g = fields; g != f; g++)
            assert_int_not_equal(g->tag, f->tag);
        if (f->table != NULL)
            assert_table_is_sound(f->table, f->width);
    }
}

static void test_tables(void **state)
{
    assert_table_is_sound(pic_state_fields, sizeof(struct pic_state));
    assert_table_is_sound(pit_state_fields, sizeof(struct pit_state));
    assert_table_is_sound(ioapic_state_fields, sizeof(struct ioapic_state));
    assert_table_is_sound(lapic_state_fields, sizeof(struct lapic_state));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_write_refuses),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_header_lies),
        cmocka_unit_test(test_missing_and_unknown_tags),
        cmocka_unit_test(test_damaged_bodies),
        cmocka_unit_test(test_claims_cost_nothing),
        cmocka_unit_test(test_irqchip_round_trip),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
