/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest-physical memory: the RAM of one VM (one memfd), checked access for devices, the log of dirty pages.
 *
 * Thread-safety: regions are added before the vCPUs start; after that every call may come from any thread.
 * Nobody but an engine's checked TLB keeps raw host pointers past one operation, except I/O in flight, which is told
 * of by memory_wrote() when it has landed. */
#ifndef FERRY_MEMORY_MEMORY_H
#define FERRY_MEMORY_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define MEMORY_PAGE_SHIFT 12
#define MEMORY_PAGE_SIZE 4096u
#define MEMORY_REGIONS_MAX 8

struct memory_region {
    uint64_t address; /* guest-physical, page aligned */
    uint64_t size;    /* bytes, page aligned */
    uint8_t *host;    /* where it is mapped here */
    uint64_t offset;  /* in the memfd */
    uint64_t page;    /* number of its first page in the dirty bitmap and in code_pages */
    bool readonly;    /* ROM: the guest's stores are dropped; devices' memory_write() refuses */
};

/* Called (from any thread) after something other than a vCPU wrote to a page that holds translated code. */
typedef void memory_code_written_fn(void *ctx, uint64_t address);

struct memory {
    int fd;
    uint64_t size; /* of all regions together: bytes */
    unsigned region_count;
    struct memory_region region[MEMORY_REGIONS_MAX];
    _Atomic bool dirty_logging;
    _Atomic uint64_t *dirty;     /* one bit a page, numbered through all regions in order */
    _Atomic uint8_t *code_pages; /* one byte a page: not 0 while an engine caches decoded code of that page */
    memory_code_written_fn *code_written;
    void *code_written_ctx;
};

/* An empty memory. */
int memory_new(struct memory **ret_memory, struct err *err);
void memory_free(struct memory *memory); /* accepts NULL */

/* Adds zeroed RAM at address; both page aligned, not overlapping. -EINVAL, -ENOMEM (also when the guest would have more
 * than the host's RAM and swap together), -ENOSPC (too many regions). Read-only memory is filled through
 * memory_find()->host. Moves dirty and code_pages. */
int memory_add(struct memory *memory, uint64_t address, uint64_t size, bool readonly, struct err *err);

/* The region that holds address, or NULL. */
const struct memory_region *memory_find(const struct memory *memory, uint64_t address);

/* Host address of `size` bytes at address if all of them lie in one writable region, else NULL. size may be 0. ROM
 * gives NULL, so that no DMA can write to it; its readers use memory_read() or memory_find(). */
void *memory_pointer(const struct memory *memory, uint64_t address, uint64_t size);

/* Number of the page for the dirty bitmap; address must lie in RAM. */
static inline uint64_t memory_page_number(const struct memory_region *region, uint64_t address)
{
    return region->page + ((address - region->address) >> MEMORY_PAGE_SHIFT);
}

/* Copies; may cross regions that touch. -EFAULT (nothing copied) when any byte is not memory, or to be written and ROM.
 * A naturally aligned access of 1, 2, 4 or 8 bytes is made in one piece. A write marks pages dirty and tells the engine
 * of code pages. */
int memory_read(const struct memory *memory, uint64_t address, void *data, uint64_t size);
int memory_write(struct memory *memory, uint64_t address, const void *data, uint64_t size);

/* Says that somebody wrote size bytes at address through memory_pointer(): marks dirty, drops cached code. Bytes
 * outside memory are ignored. */
void memory_wrote(struct memory *memory, uint64_t address, uint64_t size);

/* The dirty log. Start clears the bitmap; marks count only while logging; fetch copies it out to ret_bitmap
 * (memory_bitmap_words() words), clears what it copied, and returns the number of dirty pages; stop ends logging.
 * Marking is lock-free. */
void memory_dirty_start(struct memory *memory);
void memory_dirty_stop(struct memory *memory);
uint64_t memory_dirty_fetch(struct memory *memory, uint64_t *ret_bitmap);
size_t memory_bitmap_words(const struct memory *memory);
void memory_mark_dirty(struct memory *memory, uint64_t page_number);

#endif
