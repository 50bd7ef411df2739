/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to this room: images of format qcow2 (QEMU's docs/interop/qcow2), versions 2 and 3, on a medium.
 *
 * Read and written: clusters of 512 bytes to 2 MiB, refcounts of 8 to 64 bits, zero clusters, clusters shared with internal snapshots
 * (copied when they are written), backing images. Read only: compressed clusters (zlib, zstd). Refused by a sentence:
 * encryption, external data files, extended L2 entries, lazy refcounts that were left dirty, images marked corrupt.
 *
 * Consistency: tables are changed in memory and written by qcow2_flush(), always in this order with the medium's flush between:
 * refcounts, refcount table, L2 tables (all data being there by then), L1 table. So at no instant does a table on the disk point to a
 * cluster that is not counted or not written; a crash can leave clusters that are counted and unused, no more. A cluster
 * that was given up is used again only when no table on the disk knows of it.
 *
 * All calls but open and close may come from several threads at once; they wait for the disk. */
#ifndef FERRY_BACKEND_QCOW2_H
#define FERRY_BACKEND_QCOW2_H

#include "backend/block_medium.h"

struct qcow2;

#define QCOW2_BACKING_DEPTH_MAX 16

struct qcow2_config {
    const char *path; /* of the image, for sentences and to find its backing image */
    bool readonly;
    unsigned depth;   /* of backing images above this one */
    struct loop *loop;
};

/* medium stays the caller's. Errors are sentences. */
int qcow2_open(struct block_medium *medium, const struct qcow2_config *config, struct qcow2 **ret_qcow2, struct err *err);
/* Without a flush. Accepts NULL. */
void qcow2_close(struct qcow2 *qcow2);

uint64_t qcow2_size(const struct qcow2 *qcow2); /* bytes that the guest sees */

/* Forgets everything that is known of the file and reads it anew: another process may have written to it. Nothing is under way. */
int qcow2_reload(struct qcow2 *qcow2, struct err *err);

/* As block_find_data(); size: where to stop looking. */
int qcow2_find_data(struct qcow2 *qcow2, uint64_t offset, uint64_t size, uint64_t *ret_start, uint64_t *ret_end);

/* Does the whole request. Returns its result. */
int qcow2_execute(struct qcow2 *qcow2, const struct block_request *request);

#endif
