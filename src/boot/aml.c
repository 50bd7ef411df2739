/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AML byte code: opcodes of ACPI 6.5 table 20.2, resource descriptors of section 6.4. */
#include "boot/aml.h"

#include "base/bits.h"

enum {
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXTENDED = 0x5b,
    OP_LOCAL_0 = 0x60,
    OP_ARGUMENT_0 = 0x68,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_NOTIFY = 0x86,
    OP_IF = 0xa0,
    OP_RETURN = 0xa4,
    EXTENDED_REGION = 0x80,
    EXTENDED_FIELD = 0x81,
    EXTENDED_DEVICE = 0x82,
};

enum {
    RESOURCE_IRQ = 0x22,
    RESOURCE_IO = 0x47,
    RESOURCE_END = 0x79,
    RESOURCE_MEMORY32 = 0x86,
    RESOURCE_DWORD = 0x87,
    RESOURCE_WORD = 0x88,
    RESOURCE_QWORD = 0x8a,
};

enum { WINDOW_MEMORY = 0, WINDOW_IO = 1, WINDOW_BUS = 2 };
#define WINDOW_FIXED 0x0c /* minimum and maximum fixed, positive decode, produced for the children */
#define WINDOW_IO_ENTIRE 0x03
#define WINDOW_MEMORY_WRITABLE 0x01

static void put(struct aml *aml, const void *bytes, size_t count)
{
    if (aml->failed || count > aml->capacity - aml->size) {
        aml->failed = true;
        return;
    }
    memcpy(aml->data + aml->size, bytes, count);
    aml->size += count;
}

static void put_number(struct aml *aml, uint64_t value, unsigned bytes)
{
    put(aml, &value, bytes); /* little-endian, as the host is */
}

/* Moves what stands behind `at` and puts bytes in there. */
static void insert(struct aml *aml, size_t at, const void *bytes, size_t count)
{
    size_t behind = aml->size - at;

    put(aml, bytes, count);
    if (aml->failed)
        return;
    memmove(aml->data + at + count, aml->data + at, behind);
    memcpy(aml->data + at, bytes, count);
}

static size_t encode_integer(uint64_t value, uint8_t out[static 9])
{
    unsigned bytes = value <= UINT8_MAX ? 1 : value <= UINT16_MAX ? 2 : value <= UINT32_MAX ? 4 : 8;

    out[0] = bytes == 1 ? OP_BYTE : bytes == 2 ? OP_WORD : bytes == 4 ? OP_DWORD : OP_QWORD;
    if (value <= 1) { /* Zero and One are opcodes */
        out[0] = (uint8_t)value;
        return 1;
    }
    memcpy(out + 1, &value, bytes);
    return 1 + bytes;
}

void aml_integer(struct aml *aml, uint64_t value)
{
    uint8_t bytes[9];

    put(aml, bytes, encode_integer(value, bytes));
}

void aml_string(struct aml *aml, const char *text)
{
    put_number(aml, OP_STRING, 1);
    put(aml, text, strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Three letters of five bits and four hex digits, big-endian (section 19.3.4). */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 3; i++)
        value = value << 5 | (uint32_t)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        value = value << 4 | hex_digit(id[i]);
    put_number(aml, OP_DWORD, 1);
    put_number(aml, __builtin_bswap32(value), 4);
}

static void put_path(struct aml *aml, const char *path)
{
    unsigned segments = 1;

    if (*path == '\\') {
        put_number(aml, '\\', 1);
        path++;
    }
    for (const char *c = path; *c != 0; c++)
        segments += *c == '.';
    if (segments == 2)
        put_number(aml, OP_DUAL_NAME, 1);
    else if (segments > 2)
        put_number(aml, OP_MULTI_NAME | segments << 8, 2);
    for (unsigned i = 0; i < segments; i++, path += *path == '.')
        for (unsigned j = 0; j < 4; j++)
            put_number(aml, *path != 0 && *path != '.' ? (uint8_t)*path++ : '_', 1);
}

void aml_name(struct aml *aml, const char *path)
{
    put_number(aml, OP_NAME, 1);
    put_path(aml, path);
}

static void open_block(struct aml *aml, bool template)
{
    if (aml->depth == AML_DEPTH_MAX) {
        aml->failed = true;
        return;
    }
    aml->open[aml->depth].at = aml->size;
    aml->open[aml->depth++].template = template;
}

void aml_scope(struct aml *aml, const char *path)
{
    put_number(aml, OP_SCOPE, 1);
    open_block(aml, false);
    put_path(aml, path);
}

void aml_device(struct aml *aml, const char *path)
{
    put_number(aml, OP_EXTENDED | EXTENDED_DEVICE << 8, 2);
    open_block(aml, false);
    put_path(aml, path);
}

void aml_method(struct aml *aml, const char *path, unsigned arguments)
{
    put_number(aml, OP_METHOD, 1);
    open_block(aml, false);
    put_path(aml, path);
    put_number(aml, arguments, 1);
}

void aml_package(struct aml *aml, unsigned elements)
{
    put_number(aml, OP_PACKAGE, 1);
    open_block(aml, false);
    put_number(aml, elements, 1);
}

void aml_template(struct aml *aml)
{
    put_number(aml, OP_BUFFER, 1);
    open_block(aml, true);
}

/* PkgLength (section 20.2.4) counts itself; up to 63 it is one byte, else the first byte's top bits say how many
 * follow. */
static size_t encode_length(size_t body, uint8_t out[static 4])
{
    unsigned follow = body + 1 <= 0x3f ? 0 : body + 2 <= 0xfff ? 1 : body + 3 <= 0xfffff ? 2 : 3;
    size_t length = body + 1 + follow;

    out[0] = follow == 0 ? (uint8_t)length : (uint8_t)(follow << 6 | (length & 0xf));
    for (unsigned i = 1; i <= follow; i++)
        out[i] = (uint8_t)(length >> (4 + 8 * (i - 1)));
    return 1 + follow;
}

void aml_end(struct aml *aml)
{
    uint8_t bytes[9];
    size_t at;

    if (aml->failed || aml->depth == 0) {
        aml->failed = true;
        return;
    }
    at = aml->open[--aml->depth].at;
    if (aml->open[aml->depth].template) {
        put_number(aml, RESOURCE_END, 2); /* its checksum byte 0: none */
        insert(aml, at, bytes, encode_integer(aml->size - at, bytes));
    }
    insert(aml, at, bytes, encode_length(aml->size - at, bytes));
}

void aml_return_argument(struct aml *aml, unsigned number)
{
    put_number(aml, OP_RETURN | (OP_ARGUMENT_0 + number) << 8, 2);
}

void aml_region_io(struct aml *aml, const char *path, uint16_t base, unsigned size)
{
    enum { SPACE_PORT = 1 };

    put_number(aml, OP_EXTENDED | EXTENDED_REGION << 8, 2);
    put_path(aml, path);
    put_number(aml, SPACE_PORT, 1);
    aml_integer(aml, base);
    aml_integer(aml, size);
}

void aml_field_dwords(struct aml *aml, const char *region)
{
    enum { ACCESS_DWORD = 3, WRITE_AS_ZEROS = 2 << 5 };

    put_number(aml, OP_EXTENDED | EXTENDED_FIELD << 8, 2);
    open_block(aml, false);
    put_path(aml, region);
    put_number(aml, ACCESS_DWORD | WRITE_AS_ZEROS, 1);
}

void aml_field_unit(struct aml *aml, const char *name)
{
    put_path(aml, name);
    put_number(aml, 32, 1); /* bits, as a PkgLength of one byte */
}

void aml_local(struct aml *aml, unsigned number)
{
    put_number(aml, OP_LOCAL_0 + number, 1);
}

void aml_path(struct aml *aml, const char *path)
{
    put_path(aml, path);
}

void aml_store(struct aml *aml)
{
    put_number(aml, OP_STORE, 1);
}

void aml_if_local_and(struct aml *aml, unsigned number, uint32_t mask)
{
    put_number(aml, OP_IF, 1);
    open_block(aml, false);
    put_number(aml, OP_AND, 1);
    aml_local(aml, number);
    aml_integer(aml, mask);
    put_number(aml, 0, 1); /* the result goes nowhere else */
}

void aml_notify(struct aml *aml, const char *path, unsigned value)
{
    put_number(aml, OP_NOTIFY, 1);
    put_path(aml, path);
    aml_integer(aml, value);
}

void aml_io(struct aml *aml, uint16_t base, uint8_t count)
{
    put_number(aml, RESOURCE_IO, 1);
    put_number(aml, 1, 1); /* decodes 16 bits */
    put_number(aml, base, 2);
    put_number(aml, base, 2);
    put_number(aml, 1, 1); /* alignment */
    put_number(aml, count, 1);
}

void aml_irq(struct aml *aml, unsigned number)
{
    put_number(aml, RESOURCE_IRQ, 1);
    put_number(aml, BIT(number), 2);
}

void aml_memory32(struct aml *aml, uint32_t base, uint32_t size)
{
    put_number(aml, RESOURCE_MEMORY32, 1);
    put_number(aml, 9, 2);
    put_number(aml, 1, 1); /* writable */
    put_number(aml, base, 4);
    put_number(aml, size, 4);
}

static void window(struct aml *aml, uint8_t tag, unsigned width, uint8_t kind, uint8_t specific, uint64_t base,
                   uint64_t size)
{
    put_number(aml, tag, 1);
    put_number(aml, 3 + 5 * width, 2);
    put_number(aml, kind, 1);
    put_number(aml, WINDOW_FIXED, 1);
    put_number(aml, specific, 1);
    put_number(aml, 0, width); /* granularity */
    put_number(aml, base, width);
    put_number(aml, base + size - 1, width);
    put_number(aml, 0, width); /* translation */
    put_number(aml, size, width);
}

void aml_window_bus(struct aml *aml, uint16_t first, uint16_t last)
{
    window(aml, RESOURCE_WORD, 2, WINDOW_BUS, 0, first, last - first + 1u);
}

void aml_window_io(struct aml *aml, uint16_t base, uint32_t size)
{
    window(aml, RESOURCE_WORD, 2, WINDOW_IO, WINDOW_IO_ENTIRE, base, size);
}

void aml_window_memory32(struct aml *aml, uint32_t base, uint32_t size)
{
    window(aml, RESOURCE_DWORD, 4, WINDOW_MEMORY, WINDOW_MEMORY_WRITABLE, base, size);
}

void aml_window_memory64(struct aml *aml, uint64_t base, uint64_t size)
{
    window(aml, RESOURCE_QWORD, 8, WINDOW_MEMORY, WINDOW_MEMORY_WRITABLE, base, size);
}
