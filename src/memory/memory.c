/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest-physical memory: regions of one memfd, mapped one by one. */
#include "memory/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"

#define PHYSICAL_ADDRESS_BITS 52 /* the most that x86-64 page tables can name */

int memory_new(struct memory **ret_memory, struct err *err)
{
    struct memory *memory = calloc(1, sizeof(*memory));
    if (memory == NULL)
        return err_set(err, -ENOMEM, "no memory for the guest's memory map");
    memory->fd = memfd_create("guest-ram", MFD_CLOEXEC);
    if (memory->fd < 0) {
        int r = err_set(err, -errno, "cannot create the file for guest memory: %s", strerror(errno));
        free(memory);
        return r;
    }
    *ret_memory = memory;
    return 0;
}

void memory_free(struct memory *memory)
{
    if (memory == NULL)
        return;
    for (unsigned i = 0; i < memory->region_count; i++)
        munmap(memory->region[i].host, memory->region[i].size);
    fd_close(&memory->fd);
    free(memory->dirty);
    free(memory->code_pages);
    free(memory);
}

/* All RAM and swap of the host, in bytes. */
static uint64_t host_memory(void)
{
    struct sysinfo info;
    if (sysinfo(&info) < 0)
        return UINT64_MAX;
    return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

static int check_region(const struct memory *memory, uint64_t address, uint64_t size, struct err *err)
{
    uint64_t limit = BIT(PHYSICAL_ADDRESS_BITS);
    if (size == 0 || (address | size) % MEMORY_PAGE_SIZE != 0 || size > limit || address > limit - size)
        return err_set(err, -EINVAL, "guest memory of %#llx bytes at %#llx is not made of whole pages below 2^%d",
                       (unsigned long long)size, (unsigned long long)address, PHYSICAL_ADDRESS_BITS);
    for (unsigned i = 0; i < memory->region_count; i++) {
        const struct memory_region *other = &memory->region[i];
        if (address < other->address + other->size && other->address < address + size)
            return err_set(err, -EINVAL, "guest memory at %#llx overlaps that at %#llx", (unsigned long long)address,
                           (unsigned long long)other->address);
    }
    if (memory->region_count == MEMORY_REGIONS_MAX)
        return err_set(err, -ENOSPC, "guest memory can't have more than %d regions", MEMORY_REGIONS_MAX);
    if (memory->size + size > host_memory())
        return err_set(err, -ENOMEM, "the guest would have %llu MiB of memory, and the host has only %llu MiB",
                       (unsigned long long)((memory->size + size) >> 20), (unsigned long long)(host_memory() >> 20));
    return 0;
}

/* Makes the two page maps large enough for `pages`. Harmless when the region then fails to come. */
static int grow_page_maps(struct memory *memory, uint64_t pages)
{
    size_t old_pages = memory->size >> MEMORY_PAGE_SHIFT, old_words = memory_bitmap_words(memory);
    size_t words = (pages + 63) / 64;
    void *dirty = calloc(words, sizeof(uint64_t));
    void *code_pages = calloc(pages, 1);
    if (dirty == NULL || code_pages == NULL) {
        free(dirty);
        free(code_pages);
        return -ENOMEM;
    }
    if (old_pages > 0) {
        memcpy(dirty, (void *)memory->dirty, old_words * sizeof(uint64_t));
        memcpy(code_pages, (void *)memory->code_pages, old_pages);
    }
    free(memory->dirty);
    free(memory->code_pages);
    memory->dirty = dirty;
    memory->code_pages = code_pages;
    return 0;
}

int memory_add(struct memory *memory, uint64_t address, uint64_t size, bool readonly, struct err *err)
{
    int r = check_region(memory, address, size, err);
    if (r < 0)
        return r;
    uint64_t total = memory->size + size;
    if (grow_page_maps(memory, total >> MEMORY_PAGE_SHIFT) < 0)
        return err_set(err, -ENOMEM, "no memory for the page maps of %llu MiB of guest memory",
                       (unsigned long long)(total >> 20));
    if (ftruncate(memory->fd, (off_t)total) < 0)
        return err_set(err, -errno, "cannot make guest memory %llu MiB large: %s", (unsigned long long)(total >> 20),
                       strerror(errno));
    void *host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, (off_t)memory->size);
    if (host == MAP_FAILED)
        return err_set(err, -errno, "cannot map %llu MiB of guest memory: %s", (unsigned long long)(size >> 20),
                       strerror(errno));
    memory->region[memory->region_count++] = (struct memory_region){
        .address = address,
        .size = size,
        .host = host,
        .offset = memory->size,
        .page = memory->size >> MEMORY_PAGE_SHIFT,
        .readonly = readonly,
    };
    memory->size = total;
    return 0;
}

const struct memory_region *memory_find(const struct memory *memory, uint64_t address)
{
    for (unsigned i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->region[i];
        if (address - region->address < region->size)
            return region;
    }
    return NULL;
}

void *memory_pointer(const struct memory *memory, uint64_t address, uint64_t size)
{
    const struct memory_region *region = memory_find(memory, address);
    if (region == NULL || region->readonly)
        return NULL;
    uint64_t offset = address - region->address;
    return size <= region->size - offset ? region->host + offset : NULL;
}

/* How many of size bytes at address lie in region, which holds address. */
static uint64_t part_in(const struct memory_region *region, uint64_t address, uint64_t size)
{
    uint64_t left = region->size - (address - region->address);
    return size < left ? size : left;
}

static bool is_memory(const struct memory *memory, uint64_t address, uint64_t size, bool writable)
{
    while (size > 0) {
        const struct memory_region *region = memory_find(memory, address);
        if (region == NULL || (writable && region->readonly))
            return false;
        uint64_t part = part_in(region, address, size);
        address += part;
        size -= part;
    }
    return true;
}

/* The guest uses its memory at the same time. A naturally aligned integer is moved in one piece, as drivers expect of
 * ring indices; everything else is bytes. */
static bool is_integer(const void *guest, uint64_t size)
{
    return size <= 8 && is_power_of_two(size) && (uintptr_t)guest % size == 0;
}

static void copy_from_guest(void *to, const void *guest, uint64_t size)
{
    uint64_t value;
    if (!is_integer(guest, size)) {
        memcpy(to, guest, size);
        return;
    }
    if (size == 8)
        value = __atomic_load_n((const uint64_t *)guest, __ATOMIC_RELAXED);
    else if (size == 4)
        value = __atomic_load_n((const uint32_t *)guest, __ATOMIC_RELAXED);
    else if (size == 2)
        value = __atomic_load_n((const uint16_t *)guest, __ATOMIC_RELAXED);
    else
        value = __atomic_load_n((const uint8_t *)guest, __ATOMIC_RELAXED);
    memcpy(to, &value, size);
}

static void copy_to_guest(void *guest, const void *from, uint64_t size)
{
    uint64_t value = 0;
    if (!is_integer(guest, size)) {
        memcpy(guest, from, size);
        return;
    }
    memcpy(&value, from, size);
    if (size == 8)
        __atomic_store_n((uint64_t *)guest, value, __ATOMIC_RELAXED);
    else if (size == 4)
        __atomic_store_n((uint32_t *)guest, (uint32_t)value, __ATOMIC_RELAXED);
    else if (size == 2)
        __atomic_store_n((uint16_t *)guest, (uint16_t)value, __ATOMIC_RELAXED);
    else
        __atomic_store_n((uint8_t *)guest, (uint8_t)value, __ATOMIC_RELAXED);
}

int memory_read(const struct memory *memory, uint64_t address, void *data, uint64_t size)
{
    if (!is_memory(memory, address, size, false))
        return -EFAULT;
    uint8_t *to = data;
    while (size > 0) {
        const struct memory_region *region = memory_find(memory, address);
        const uint8_t *from = region->host + (address - region->address);
        uint64_t part = part_in(region, address, size);
        copy_from_guest(to, from, part);
        address += part;
        to += part;
        size -= part;
    }
    return 0;
}

int memory_write(struct memory *memory, uint64_t address, const void *data, uint64_t size)
{
    if (!is_memory(memory, address, size, true))
        return -EFAULT;
    const uint8_t *from = data;
    while (size > 0) {
        const struct memory_region *region = memory_find(memory, address);
        uint8_t *to = region->host + (address - region->address);
        uint64_t part = part_in(region, address, size);
        copy_to_guest(to, from, part);
        memory_wrote(memory, address, part);
        address += part;
        from += part;
        size -= part;
    }
    return 0;
}

static void wrote_in_region(struct memory *memory, const struct memory_region *region, uint64_t address, uint64_t size)
{
    uint64_t first = memory_page_number(region, address), last = memory_page_number(region, address + size - 1);
    for (uint64_t page = first; page <= last; page++) {
        memory_mark_dirty(memory, page);
        if (atomic_load(&memory->code_pages[page]) != 0 && memory->code_written != NULL)
            memory->code_written(memory->code_written_ctx,
                                 region->address + ((page - region->page) << MEMORY_PAGE_SHIFT));
    }
}

void memory_wrote(struct memory *memory, uint64_t address, uint64_t size)
{
    /* The data must be visible before code_pages is read: an engine sets code_pages first and then reads the code. */
    atomic_thread_fence(memory_order_seq_cst);
    while (size > 0) {
        const struct memory_region *region = memory_find(memory, address);
        if (region == NULL)
            return;
        uint64_t part = part_in(region, address, size);
        wrote_in_region(memory, region, address, part);
        address += part;
        size -= part;
    }
}

size_t memory_bitmap_words(const struct memory *memory)
{
    return ((memory->size >> MEMORY_PAGE_SHIFT) + 63) / 64;
}

void memory_mark_dirty(struct memory *memory, uint64_t page_number)
{
    if (atomic_load_explicit(&memory->dirty_logging, memory_order_relaxed))
        atomic_fetch_or(&memory->dirty[page_number / 64], BIT(page_number % 64));
}

void memory_dirty_start(struct memory *memory)
{
    size_t words = memory_bitmap_words(memory);
    for (size_t i = 0; i < words; i++)
        atomic_store_explicit(&memory->dirty[i], 0, memory_order_relaxed);
    atomic_store(&memory->dirty_logging, true);
}

void memory_dirty_stop(struct memory *memory)
{
    atomic_store(&memory->dirty_logging, false);
}

uint64_t memory_dirty_fetch(struct memory *memory, uint64_t *ret_bitmap)
{
    size_t words = memory_bitmap_words(memory);
    uint64_t pages = 0;
    for (size_t i = 0; i < words; i++) {
        /* Most words are clean: look before taking the cache line for writing. */
        uint64_t word = atomic_load_explicit(&memory->dirty[i], memory_order_relaxed);
        ret_bitmap[i] = word != 0 ? atomic_exchange(&memory->dirty[i], 0) : 0;
        pages += (uint64_t)__builtin_popcountll(ret_bitmap[i]);
    }
    return pages;
}
