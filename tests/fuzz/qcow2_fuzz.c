/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: qcow2 images from somebody hostile. The input is the image's file; a few requests are made of it, of
 * which none may touch anything outside of the medium. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2.h"
#include "base/bits.h"
#include "fuzz.h"

#define FILE_MAX (1u << 20)
#define PIECE 3000u

struct memory_medium {
    struct block_medium medium;
    uint8_t *data;
    uint64_t size;
};

static int execute(struct block_medium *medium, const struct block_request *request)
{
    struct memory_medium *memory = CONTAINER_OF(medium, struct memory_medium, medium);
    uint64_t at = request->offset;

    if (request->operation == BLOCK_FLUSH || request->operation == BLOCK_DISCARD)
        return 0;
    for (unsigned i = 0; i < request->iov_count; i++) {
        size_t length = request->iov[i].iov_len;

        if (at > FILE_MAX || length > FILE_MAX - at || (request->operation == BLOCK_READ && at + length > memory->size))
            return request->operation == BLOCK_READ ? -EIO : -ENOSPC;
        if (request->operation == BLOCK_READ)
            memcpy(request->iov[i].iov_base, memory->data + at, length);
        else
            memcpy(memory->data + at, request->iov[i].iov_base, length);
        at += length;
        if (request->operation == BLOCK_WRITE && at > memory->size)
            memory->size = at;
    }
    return 0;
}

static int size(struct block_medium *medium, uint64_t *ret_size)
{
    *ret_size = CONTAINER_OF(medium, struct memory_medium, medium)->size;
    return 0;
}

static const struct block_medium_type memory_type = {.execute = execute, .size = size};

static void put(uint8_t *out, size_t at, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        out[at + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

/* Clusters of 512 bytes: header, refcount table, refcount block, L1, L2, data. index: version 2 or 3, and kinds of the
 * entry. */
size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const uint64_t entries[] = {UINT64_C(1) << 63 | 2560, 1, UINT64_C(1) << 62 | 2560, 0, 2560};

    if (index >= 10 || max < 3072)
        return 0;
    memset(out, 0, 3072);
    put(out, 0, 4, 0x514649fb);
    put(out, 4, 4, index < 5 ? 3 : 2);
    put(out, 20, 4, 9);
    put(out, 24, 8, 64 * 1024);
    put(out, 36, 4, 2);
    put(out, 40, 8, 1536);
    put(out, 48, 8, 512);
    put(out, 56, 4, 1);
    put(out, 96, 4, 4);
    put(out, 100, 4, index < 5 ? 104 : 72);
    put(out, 512, 8, 1024);
    for (unsigned i = 0; i < 6; i++)
        put(out, 1024 + 2 * i, 2, 1);
    put(out, 1536, 8, UINT64_C(1) << 63 | 2048);
    put(out, 2048, 8, entries[index % 5]);
    put(out, 2056, 8, entries[(index + 1) % 5]);
    return 3072;
}

static void request(struct qcow2 *q, enum block_operation operation, uint64_t offset, uint64_t bytes, uint8_t *data)
{
    struct block_request r = {
        .operation = operation, .offset = offset, .size = bytes, .unmap = offset % 2 != 0, .iov_count = 1};

    if (offset > qcow2_size(q) || bytes > qcow2_size(q) - offset)
        return;
    r.iov[0] = (struct iovec){.iov_base = data, .iov_len = bytes};
    qcow2_execute(q, &r);
}

static void use(struct qcow2 *q, const uint8_t *choices, size_t count)
{
    static const enum block_operation operations[] = {BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_DISCARD,
                                                      BLOCK_FLUSH};
    uint8_t data[PIECE] = {0};

    for (size_t i = 0; i + 4 <= count && i < 80; i += 4) {
        uint64_t offset = (uint64_t)(choices[i + 1] << 8 | choices[i + 2]) * 64 % (qcow2_size(q) + 1);

        request(q, operations[choices[i] % 5], offset, 1 + choices[i + 3] * 11u % PIECE, data);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    struct memory_medium memory = {
        .medium.type = &memory_type, .data = calloc(1, FILE_MAX), .size = length < FILE_MAX ? length : FILE_MAX};
    const struct qcow2_config config = {.path = "image", .readonly = length % 3 == 0};
    struct qcow2 *q;

    if (memory.data == NULL)
        return 0;
    memcpy(memory.data, data, memory.size);
    if (memory.size >= 16)
        memset(memory.data + 8, 0, 8); /* no image below: its name would be a file of this host's */
    if (qcow2_open(&memory.medium, &config, &q, NULL) == 0) {
        use(q, data + length / 2, length - length / 2);
        qcow2_close(q);
    }
    free(memory.data);
    return 0;
}
