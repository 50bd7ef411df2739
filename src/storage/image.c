/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images: looked at, and new ones of qcow2 (QEMU docs/interop/qcow2). */
#include "storage/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "storage/place.h"

#define QCOW2_MAGIC 0x514649fbu
#define CLUSTER_BITS 16u
#define CLUSTER (UINT64_C(1) << CLUSTER_BITS)
#define ISO_MARK 0x8001u /* of the first volume descriptor, ECMA-119 section 8.1 */

/* Offsets in the header. */
enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_BACKING_OFFSET = 8,
    AT_BACKING_SIZE = 16,
    AT_CLUSTER_BITS = 20,
    AT_SIZE = 24,
    AT_CRYPT = 32,
    AT_L1_SIZE = 36,
    AT_L1_OFFSET = 40,
    AT_REFCOUNT_OFFSET = 48,
    AT_REFCOUNT_CLUSTERS = 56,
    AT_SNAPSHOTS = 60,
    AT_INCOMPATIBLE = 72,
    AT_REFCOUNT_ORDER = 96,
    AT_HEADER_LENGTH = 100,
    HEADER_LENGTH = 104,
};
#define EXTENSION_BACKING_FORMAT 0xe2792acau

static uint32_t get_be32(const uint8_t *p)
{
    return __builtin_bswap32(load_le32(p));
}

static uint64_t get_be64(const uint8_t *p)
{
    return __builtin_bswap64(load_le64(p));
}

static void put_be32(uint8_t *p, uint32_t value)
{
    store_le32(p, __builtin_bswap32(value));
}

static void put_be64(uint8_t *p, uint64_t value)
{
    store_le64(p, __builtin_bswap64(value));
}

static int look_at_qcow2(struct storage_handle *handle, const uint8_t *header, struct image_facts *facts)
{
    uint64_t backing = get_be64(header + AT_BACKING_OFFSET);
    uint32_t size = get_be32(header + AT_BACKING_SIZE);

    facts->format = VOLUME_QCOW2;
    facts->capacity = get_be64(header + AT_SIZE);
    if (backing == 0 || size == 0 || size >= sizeof(facts->backing) || backing > handle_size(handle) ||
        size > handle_size(handle) - backing)
        return 0;
    facts->backing[size] = 0;
    return handle_read(handle, facts->backing, size, backing);
}

int image_look(struct storage_handle *handle, struct image_facts *ret_facts)
{
    struct image_facts facts = {.format = VOLUME_RAW, .capacity = handle_size(handle)};
    uint8_t header[HEADER_LENGTH], mark[5];
    int r = 0;

    if (handle_size(handle) >= sizeof(header)) {
        r = handle_read(handle, header, sizeof(header), 0);
        if (r == 0 && get_be32(header + AT_MAGIC) == QCOW2_MAGIC && get_be32(header + AT_VERSION) >= 2)
            r = look_at_qcow2(handle, header, &facts);
    }
    if (r == 0 && facts.format == VOLUME_RAW && handle_size(handle) >= ISO_MARK + sizeof(mark)) {
        r = handle_read(handle, mark, sizeof(mark), ISO_MARK);
        if (r == 0 && memcmp(mark, "CD001", sizeof(mark)) == 0)
            facts.format = VOLUME_ISO;
    }
    if (r == 0)
        *ret_facts = facts;
    return r;
}

/* Clusters in order: header, refcount table, refcount block, L1 table. One refcount block counts 32768 clusters, one L1 entry
 * maps 512 MiB. */
static uint64_t l1_entries(uint64_t capacity)
{
    uint64_t span = CLUSTER * (CLUSTER / 8);

    return capacity / span + (capacity % span != 0);
}

static uint64_t l1_clusters(uint64_t capacity)
{
    return align_up(l1_entries(capacity) * 8, CLUSTER) / CLUSTER;
}

uint64_t image_qcow2_size(uint64_t capacity)
{
    return capacity == 0 || capacity > IMAGE_QCOW2_MAX ? 0 : (3 + l1_clusters(capacity)) * CLUSTER;
}

static size_t put_backing(uint8_t *cluster, const char *backing, enum volume_format format)
{
    const char *name = volume_format_name(format == VOLUME_QCOW2 ? VOLUME_QCOW2 : VOLUME_RAW);
    size_t at = HEADER_LENGTH, length = strlen(name);

    put_be32(cluster + at, EXTENSION_BACKING_FORMAT);
    put_be32(cluster + at + 4, (uint32_t)length);
    memcpy(cluster + at + 8, name, length);
    at += 8 + align_up(length, 8) + 8; /* the end mark is zeros */
    put_be64(cluster + AT_BACKING_OFFSET, at);
    put_be32(cluster + AT_BACKING_SIZE, (uint32_t)strlen(backing));
    memcpy(cluster + at, backing, strlen(backing));
    return at + strlen(backing);
}

static void fill_header(uint8_t *cluster, uint64_t capacity)
{
    put_be32(cluster + AT_MAGIC, QCOW2_MAGIC);
    put_be32(cluster + AT_VERSION, 3);
    put_be32(cluster + AT_CLUSTER_BITS, CLUSTER_BITS);
    put_be64(cluster + AT_SIZE, capacity);
    put_be32(cluster + AT_L1_SIZE, (uint32_t)l1_entries(capacity));
    put_be64(cluster + AT_L1_OFFSET, 3 * CLUSTER);
    put_be64(cluster + AT_REFCOUNT_OFFSET, CLUSTER);
    put_be32(cluster + AT_REFCOUNT_CLUSTERS, 1);
    put_be32(cluster + AT_REFCOUNT_ORDER, 4);
    put_be32(cluster + AT_HEADER_LENGTH, HEADER_LENGTH);
}

int image_write_qcow2(struct storage_handle *handle, uint64_t capacity, const char *backing, enum volume_format backing_format)
{
    uint64_t used = 3 + l1_clusters(capacity);
    uint8_t *cluster;
    int r;

    if (image_qcow2_size(capacity) == 0 || (backing != NULL && strlen(backing) > 1023))
        return -EFBIG;
    cluster = calloc(3, CLUSTER);
    if (cluster == NULL)
        return -ENOMEM;
    fill_header(cluster, capacity);
    if (backing != NULL)
        put_backing(cluster, backing, backing_format);
    put_be64(cluster + CLUSTER, 2 * CLUSTER);
    for (uint64_t i = 0; i < used; i++)
        cluster[2 * CLUSTER + 2 * i + 1] = 1;
    r = handle_write(handle, cluster, 3 * CLUSTER, 0);
    if (r == 0)
        r = handle_flush(handle);
    free(cluster);
    return r;
}

static int check_growable(const uint8_t *header, uint64_t size)
{
    uint32_t version = get_be32(header + AT_VERSION), cluster_bits = get_be32(header + AT_CLUSTER_BITS);
    uint64_t table = get_be64(header + AT_L1_OFFSET);

    if (get_be32(header + AT_MAGIC) != QCOW2_MAGIC || version < 2 || cluster_bits < 9 || cluster_bits > 21)
        return -EINVAL;
    if (size < get_be64(header + AT_SIZE) || table == 0 || table > INT64_MAX / 2 || (table & ((UINT64_C(1) << cluster_bits) - 1)) != 0)
        return -EINVAL;
    if (version > 3 || get_be32(header + AT_CRYPT) != 0 || get_be32(header + AT_SNAPSHOTS) != 0 ||
        (version == 3 && get_be64(header + AT_INCOMPATIBLE) != 0))
        return -ENOTSUP;
    return 0;
}

/* More entries of the L1 table, within the clusters that it has: all zeros, before the header tells of them. */
static int grow_table(struct storage_handle *handle, const uint8_t *header, uint64_t size, uint32_t *ret_entries)
{
    const uint64_t cluster = UINT64_C(1) << get_be32(header + AT_CLUSTER_BITS), span = cluster * (cluster / 8);
    uint64_t have = get_be32(header + AT_L1_SIZE), need = size / span + (size % span != 0);
    uint8_t zeros[512] = {0};
    int r = 0;

    *ret_entries = (uint32_t)have;
    if (need <= have)
        return 0;
    if (need > align_up(have * 8, cluster) / 8)
        return -EFBIG;
    for (uint64_t at = have; r == 0 && at < need; at += sizeof(zeros) / 8) {
        uint64_t count = need - at < sizeof(zeros) / 8 ? need - at : sizeof(zeros) / 8;

        r = handle_write(handle, zeros, count * 8, get_be64(header + AT_L1_OFFSET) + at * 8);
    }
    *ret_entries = (uint32_t)need;
    return r == 0 ? handle_flush(handle) : r;
}

int image_grow_qcow2(struct storage_handle *handle, uint64_t size)
{
    uint8_t sector[512];
    uint32_t entries = 0;
    int r;

    if (handle_size(handle) < sizeof(sector) || size > INT64_MAX - 511)
        return size > INT64_MAX - 511 ? -EFBIG : -EINVAL;
    size = align_up(size, 512);
    r = handle_read(handle, sector, sizeof(sector), 0);
    if (r == 0)
        r = check_growable(sector, size);
    if (r == 0)
        r = grow_table(handle, sector, size, &entries);
    if (r < 0)
        return r;
    put_be64(sector + AT_SIZE, size);
    put_be32(sector + AT_L1_SIZE, entries);
    r = handle_write(handle, sector, sizeof(sector), 0); /* one sector: a crash leaves the old one or the new one */
    return r == 0 ? handle_flush(handle) : r;
}
