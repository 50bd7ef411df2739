/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File attributes of NFSv4.0 (RFC 7530 section 5), as many as we ask for. */
#ifndef FERRY_NFS_ATTRIBUTES_H
#define FERRY_NFS_ATTRIBUTES_H

#include <stdint.h>

struct xdr_reader;
struct xdr_writer;

enum nfs_type { NFS_TYPE_FILE = 1, NFS_TYPE_DIRECTORY = 2, NFS_TYPE_LINK = 5 };

struct nfs_attributes {
    unsigned present; /* NFS_ATTRIBUTE_*: all members of the group came */
    uint32_t type;
    uint64_t size;
    uint32_t lease_seconds;
    uint64_t read_max, write_max;
    uint64_t space_available, space_free, space_total, space_used;
    uint64_t file_system[2]; /* major, minor */
    uint32_t mode;
    int64_t modified_seconds;
    uint32_t modified_nanoseconds;
};

/* attributes: NFS_ATTRIBUTE_*. */
void nfs_put_attribute_mask(struct xdr_writer *writer, unsigned attributes);
void nfs_put_mode_attribute(struct xdr_writer *writer, uint32_t mode);
void nfs_put_size_attribute(struct xdr_writer *writer, uint64_t size);

/* 0, or -EBADMSG: not what may come as an answer to nfs_put_attribute_mask(). */
int nfs_get_attributes(struct xdr_reader *reader, struct nfs_attributes *ret_attributes);

#endif
