/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Attributes: a bit mask of numbers, then the values in the order of the numbers. */
#include "nfs/attributes.h"

#include <errno.h>

#include "base/bits.h"
#include "nfs/call.h"
#include "protocol/xdr.h"

#define MASK_WORDS_MAX 8u
#define VALUES_MAX 4096u /* bytes */

enum {
    NUMBER_TYPE = 1,
    NUMBER_SIZE = 4,
    NUMBER_FILE_SYSTEM = 8,
    NUMBER_LEASE = 10,
    NUMBER_READ_MAX = 30,
    NUMBER_WRITE_MAX = 31,
    NUMBER_MODE = 33,
    NUMBER_SPACE_AVAILABLE = 42,
    NUMBER_SPACE_FREE = 43,
    NUMBER_SPACE_TOTAL = 44,
    NUMBER_SPACE_USED = 45,
    NUMBER_MODIFIED = 53,
};

enum value_kind { VALUE_U32, VALUE_U64, VALUE_U64_PAIR, VALUE_TIME };

static const struct attribute { /* by rising number */
    unsigned number, group;
    enum value_kind kind;
    size_t offset;
} table[] = {
    {NUMBER_TYPE, NFS_ATTRIBUTE_TYPE, VALUE_U32, offsetof(struct nfs_attributes, type)},
    {NUMBER_SIZE, NFS_ATTRIBUTE_SIZE, VALUE_U64, offsetof(struct nfs_attributes, size)},
    {NUMBER_FILE_SYSTEM, NFS_ATTRIBUTE_FILE_SYSTEM, VALUE_U64_PAIR, offsetof(struct nfs_attributes, file_system)},
    {NUMBER_LEASE, NFS_ATTRIBUTE_LEASE, VALUE_U32, offsetof(struct nfs_attributes, lease_seconds)},
    {NUMBER_READ_MAX, NFS_ATTRIBUTE_LIMITS, VALUE_U64, offsetof(struct nfs_attributes, read_max)},
    {NUMBER_WRITE_MAX, NFS_ATTRIBUTE_LIMITS, VALUE_U64, offsetof(struct nfs_attributes, write_max)},
    {NUMBER_MODE, NFS_ATTRIBUTE_MODE, VALUE_U32, offsetof(struct nfs_attributes, mode)},
    {NUMBER_SPACE_AVAILABLE, NFS_ATTRIBUTE_SPACE, VALUE_U64, offsetof(struct nfs_attributes, space_available)},
    {NUMBER_SPACE_FREE, NFS_ATTRIBUTE_SPACE, VALUE_U64, offsetof(struct nfs_attributes, space_free)},
    {NUMBER_SPACE_TOTAL, NFS_ATTRIBUTE_SPACE, VALUE_U64, offsetof(struct nfs_attributes, space_total)},
    {NUMBER_SPACE_USED, NFS_ATTRIBUTE_USED, VALUE_U64, offsetof(struct nfs_attributes, space_used)},
    {NUMBER_MODIFIED, NFS_ATTRIBUTE_TIME, VALUE_TIME, offsetof(struct nfs_attributes, modified_seconds)},
};

static void put_mask(struct xdr_writer *writer, uint64_t mask)
{
    xdr_put_u32(writer, 2);
    xdr_put_u32(writer, (uint32_t)mask);
    xdr_put_u32(writer, (uint32_t)(mask >> 32));
}

void nfs_put_attribute_mask(struct xdr_writer *writer, unsigned attributes)
{
    uint64_t mask = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if ((attributes & table[i].group) != 0)
            mask |= BIT(table[i].number);
    }
    put_mask(writer, mask);
}

void nfs_put_mode_attribute(struct xdr_writer *writer, uint32_t mode)
{
    put_mask(writer, BIT(NUMBER_MODE));
    xdr_put_u32(writer, 4);
    xdr_put_u32(writer, mode);
}

void nfs_put_size_attribute(struct xdr_writer *writer, uint64_t size)
{
    put_mask(writer, BIT(NUMBER_SIZE));
    xdr_put_u32(writer, 8);
    xdr_put_u64(writer, size);
}

/* Masks longer than two words must be zero there: we ask for nothing beyond. */
static int get_mask(struct xdr_reader *reader, uint64_t *ret_mask)
{
    uint32_t words = xdr_get_u32(reader);
    uint64_t mask = 0;

    if (words > MASK_WORDS_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < words; i++) {
        uint32_t word = xdr_get_u32(reader);

        if (i < 2)
            mask |= (uint64_t)word << i * 32;
        else if (word != 0)
            return -EBADMSG;
    }
    *ret_mask = mask;
    return reader->failed ? -EBADMSG : 0;
}

static void get_value(struct xdr_reader *values, const struct attribute *attribute, struct nfs_attributes *attributes)
{
    char *at = (char *)attributes + attribute->offset;

    if (attribute->kind == VALUE_U32)
        *(uint32_t *)at = xdr_get_u32(values);
    else
        *(uint64_t *)at = xdr_get_u64(values);
    if (attribute->kind == VALUE_U64_PAIR)
        ((uint64_t *)at)[1] = xdr_get_u64(values);
    if (attribute->kind == VALUE_TIME)
        attributes->modified_nanoseconds = xdr_get_u32(values);
}

int nfs_get_attributes(struct xdr_reader *reader, struct nfs_attributes *ret_attributes)
{
    struct nfs_attributes attributes = {.present = ~0u};
    struct xdr_reader values = {0};
    uint64_t mask;
    int r = get_mask(reader, &mask);

    values.data = xdr_get_opaque(reader, VALUES_MAX, &values.size);
    if (r < 0 || values.data == NULL)
        return -EBADMSG;
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if ((mask & BIT(table[i].number)) != 0)
            get_value(&values, &table[i], &attributes);
        else
            attributes.present &= ~table[i].group;
        mask &= ~BIT(table[i].number);
    }
    /* An attribute that was not asked for shifts all behind it. */
    if (mask != 0 || values.failed || values.size != 0)
        return -EBADMSG;
    *ret_attributes = attributes;
    return 0;
}
