/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the block files of this room: who may have an image open, by byte-range locks that belong to one opening of it
 * (open file description locks, or those of NFSv4), reach across hosts, and vanish with the process however it ends.
 *
 * Three ranges, the last two far behind the end of any image:
 *   data     the one that may write holds it exclusively, readers share it; programs that lock images by bytes of
 *            their own (QEMU: 100 to 250) meet this one
 *   claim    shared by the one that writes and by the one that waits to take over (a migration's destination)
 *   readers  shared by readers
 * During a handover `data` is free for a moment, but `claim` is not, so no third one gets in. Whoever opens sets its own
 * mark first and then looks at the other's, so of a writer and a reader that come together at most one stays. */
#ifndef FERRY_BACKEND_BLOCK_LOCK_H
#define FERRY_BACKEND_BLOCK_LOCK_H

#include <stdbool.h>
#include <stdint.h>

struct block_medium;
struct err;

enum block_lock_kind { BLOCK_LOCK_READ, BLOCK_LOCK_WRITE, BLOCK_LOCK_CLAIM };

/* What opening takes. -EBUSY with a sentence that names the image; nothing is held then once the medium is closed. */
int block_lock_open(struct block_medium *medium, const char *path, enum block_lock_kind kind, struct err *err);

/* From claim to write, and back. Taking: -EBUSY while another process writes. */
int block_lock_take(struct block_medium *medium, const char *path, struct err *err);
void block_lock_release(struct block_medium *medium);

/* A beacon: a lock of one byte far behind the image's end, at an offset drawn at random, by which another process recognizes the
 * file. 0 and *ret_offset (at least 2^62), or -errno; hiding one that is not shown does nothing. */
int block_lock_show_beacon(struct block_medium *medium, uint64_t *ret_offset);
void block_lock_hide_beacon(struct block_medium *medium, uint64_t offset);
bool block_lock_sees_beacon(struct block_medium *medium, uint64_t offset);

#endif
