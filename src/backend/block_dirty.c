/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bitmap of changed blocks. */
#include "backend/block_dirty.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "backend/block.h"
#include "base/bits.h"

struct block_dirty {
    uint64_t blocks;
    size_t words;
    bool any;
    uint64_t word[];
};

int block_dirty_new(uint64_t size, struct block_dirty **ret_dirty)
{
    size_t words = block_bitmap_words(size);
    struct block_dirty *dirty = words < SIZE_MAX / 16 ? calloc(1, sizeof(*dirty) + words * sizeof(uint64_t)) : NULL;

    if (dirty == NULL)
        return -ENOMEM;
    dirty->blocks = size / BLOCK_DIRTY_SIZE + (size % BLOCK_DIRTY_SIZE != 0);
    dirty->words = words;
    *ret_dirty = dirty;
    return 0;
}

void block_dirty_free(struct block_dirty *dirty)
{
    free(dirty);
}

void block_dirty_mark(struct block_dirty *dirty, uint64_t offset, uint64_t size)
{
    uint64_t first = offset / BLOCK_DIRTY_SIZE, end;

    if (size == 0 || first >= dirty->blocks)
        return;
    end = size <= UINT64_MAX - offset ? (offset + size - 1) / BLOCK_DIRTY_SIZE + 1 : dirty->blocks;
    if (end > dirty->blocks)
        end = dirty->blocks;
    for (uint64_t block = first; block < end; block++)
        dirty->word[block / 64] |= BIT(block % 64);
    dirty->any = true;
}

void block_dirty_move(struct block_dirty *dirty, uint64_t *bitmap)
{
    for (size_t i = 0; dirty->any && i < dirty->words; i++) {
        bitmap[i] |= dirty->word[i];
        dirty->word[i] = 0;
    }
    dirty->any = false;
}
