/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the block files of this room: which blocks of an image were changed, for whoever copies it while it is in use. */
#ifndef FERRY_BACKEND_BLOCK_DIRTY_H
#define FERRY_BACKEND_BLOCK_DIRTY_H

#include <stdint.h>

struct block_dirty;

/* Of an image of that many bytes; nothing is marked. -ENOMEM. */
int block_dirty_new(uint64_t size, struct block_dirty **ret_dirty);
void block_dirty_free(struct block_dirty *dirty); /* accepts NULL */

/* Marks the blocks that the range touches; what lies past the end is left out. */
void block_dirty_mark(struct block_dirty *dirty, uint64_t offset, uint64_t size);

/* Adds the marks to a bitmap of as many words, and takes them away here. */
void block_dirty_move(struct block_dirty *dirty, uint64_t *bitmap);

#endif
