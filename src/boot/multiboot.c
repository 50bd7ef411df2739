/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Multiboot 1 (GNU Multiboot Specification 0.6.96): ELF32, or any file whose header carries the load addresses. */
#include <errno.h>
#include <inttypes.h>

#include "base/bits.h"
#include "base/err.h"
#include "boot/elf.h"
#include "boot/loader.h"
#include "memory/memory.h"
#include "x86/state.h"

#define HEADER_MAGIC 0x1badb002u
#define HEADER_SEARCH 8192u /* it begins in the first so many bytes, aligned to 4 */
#define HEADER_HAS_ADDRESSES BIT(16)
#define HEADER_REQUIREMENTS 0xffffu /* bits that a loader must understand or refuse */
#define HEADER_KNOWN 0x3u           /* modules on page boundaries, memory information: both always given */
#define ENTRY_MAGIC 0x2badb002u

#define INFO_MEMORY BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODULES BIT(3)
#define INFO_MAP BIT(6)
#define INFO_LOADER_NAME BIT(9)

struct header {
    uint32_t magic, flags, checksum;
    uint32_t header_address, load_address, load_end, bss_end, entry; /* with HEADER_HAS_ADDRESSES only */
};

struct information {
    uint32_t flags, memory_lower, memory_upper, boot_device, cmdline, module_count, modules, symbols[4];
    uint32_t map_size, map, drives_size, drives, config_table, loader_name, apm, video[6];
};

struct module {
    uint32_t start, end, cmdline, reserved;
};

struct map_entry {
    uint32_t size; /* of the rest */
    uint64_t address, length;
    uint32_t type;
} __attribute__((packed));

/* One page from BOOT_INFO on. */
struct information_page {
    struct information info;
    struct module module;
    char loader_name[8];
    struct map_entry map[E820_MAX];
};
_Static_assert(offsetof(struct information, map_size) == 44, "Multiboot information");
_Static_assert(sizeof(struct information_page) <= MEMORY_PAGE_SIZE, "Multiboot information fits in its page");

/* Looks for the header; *ret_offset is where it begins in the file. */
static bool find_header(const struct boot_file *kernel, struct header *ret_header, uint64_t *ret_offset)
{
    uint8_t start[HEADER_SEARCH + sizeof(struct header)] = {0};
    uint64_t size = kernel->size < sizeof(start) ? kernel->size : sizeof(start);
    struct header header;

    if (boot_file_read(kernel, 0, start, size, NULL) < 0)
        return false;
    for (uint64_t at = 0; at + 12 <= size && at < HEADER_SEARCH; at += 4) {
        memcpy(&header, start + at, sizeof(header));
        if (header.magic == HEADER_MAGIC && header.magic + header.flags + header.checksum == 0) {
            *ret_header = header;
            *ret_offset = at;
            return true;
        }
    }
    return false;
}

bool multiboot_probe(const struct boot_file *kernel)
{
    struct header header;
    uint64_t offset;

    return find_header(kernel, &header, &offset);
}

static int corrupt(const struct boot_file *kernel, const char *why, struct err *err)
{
    return err_set(err, -ENOEXEC, "the kernel %s has a corrupt Multiboot header: %s", kernel->path, why);
}

/* Load by the header's own addresses. Zero in load_end means up to the end of the file, in bss_end no bss. */
static int load_by_header(const struct boot_image *image, const struct header *header, uint64_t header_offset,
                          struct memory *memory, uint64_t *ret_end, struct err *err)
{
    const struct boot_file *kernel = &image->kernel;
    uint64_t lead = header->header_address - header->load_address, load = header->load_address;
    uint64_t offset = header_offset - lead, size, end;
    uint8_t *host;
    int r;

    if (header->header_address < header->load_address || lead > header_offset)
        return corrupt(kernel, "the header would lie before the image", err);
    size = header->load_end != 0 ? (uint64_t)header->load_end - load : kernel->size - offset;
    if (header->load_end != 0 && header->load_end <= header->load_address)
        return corrupt(kernel, "the image ends before it begins", err);
    end = header->bss_end != 0 ? header->bss_end : load + size;
    if (end < load + size)
        return corrupt(kernel, "the bss ends inside the image", err);
    if (header->entry < load || header->entry >= end)
        return corrupt(kernel, "the entry lies outside the image", err);
    r = boot_check_range(image, memory, load, end - load, err);
    if (r == 0)
        r = boot_file_load(kernel, offset, memory, load, size, err);
    if (r < 0)
        return r;
    host = memory_pointer(memory, load, end - load);
    memset(host + size, 0, end - load - size);
    memory_wrote(memory, load + size, end - load - size);
    *ret_end = align_up(end, MEMORY_PAGE_SIZE);
    return 0;
}

static int load_elf(const struct boot_image *image, struct memory *memory, uint64_t *ret_entry, uint64_t *ret_end,
                    struct err *err)
{
    struct elf_image elf;
    int r;

    if (!elf_probe(&image->kernel))
        return corrupt(&image->kernel, "the file is no ELF file, and the header has no addresses", err);
    r = elf_read(&image->kernel, &elf, err);
    if (r < 0)
        return r;
    if (elf.is_64)
        return err_set(err, -ENOEXEC,
                       "the Multiboot kernel %s is a 64-bit ELF file; Multiboot 1 knows 32-bit ones only",
                       image->kernel.path);
    if (!elf_holds(&elf, elf.entry))
        return corrupt(&image->kernel, "the entry lies outside the image", err);
    *ret_entry = elf.entry;
    return elf_load(image, &elf, memory, ret_end, err);
}

static int load_image(const struct boot_image *image, struct memory *memory, uint64_t *ret_entry, uint64_t *ret_end,
                      struct err *err)
{
    struct header header;
    uint64_t offset;

    if (!find_header(&image->kernel, &header, &offset))
        return corrupt(&image->kernel, "it is gone", err);
    if (header.flags & HEADER_REQUIREMENTS & ~HEADER_KNOWN)
        return err_set(err, -ENOEXEC, "the Multiboot kernel %s asks for features 0x%x that are not offered",
                       image->kernel.path, header.flags & HEADER_REQUIREMENTS & ~HEADER_KNOWN);
    if (!(header.flags & HEADER_HAS_ADDRESSES))
        return load_elf(image, memory, ret_entry, ret_end, err);
    *ret_entry = header.entry;
    return load_by_header(image, &header, offset, memory, ret_end, err);
}

static void fill_map(const struct e820_map *map, struct information_page *page)
{
    page->info.map = (uint32_t)(BOOT_INFO + offsetof(struct information_page, map));
    page->info.map_size = map->count * sizeof(page->map[0]);
    for (unsigned i = 0; i < map->count; i++) {
        const struct e820_range *range = &map->range[i];

        page->map[i] = (struct map_entry){.size = sizeof(page->map[0]) - sizeof(page->map[0].size),
                                          .address = range->address,
                                          .length = range->size,
                                          .type = range->type};
    }
}

static int write_information(const struct boot_image *image, uint64_t initrd, struct memory *memory, struct err *err)
{
    uint64_t upper = e820_low_end(&image->map);
    struct information_page page = {
        .info = {.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_LOADER_NAME,
                 .memory_lower = 639,
                 .memory_upper = upper > MIB(1) ? (uint32_t)((upper - MIB(1)) / 1024) : 0,
                 .cmdline = (uint32_t)BOOT_CMDLINE,
                 .modules = (uint32_t)(BOOT_INFO + offsetof(struct information_page, module)),
                 .loader_name = (uint32_t)(BOOT_INFO + offsetof(struct information_page, loader_name))},
        .loader_name = "ferry",
    };

    if (image->initrd.size > 0) {
        page.info.module_count = 1;
        page.module = (struct module){.start = (uint32_t)initrd,
                                      .end = (uint32_t)(initrd + image->initrd.size),
                                      .cmdline = (uint32_t)BOOT_CMDLINE};
    }
    fill_map(&image->map, &page);
    if (memory_write(memory, BOOT_INFO, &page, sizeof(page)) < 0)
        return err_set(err, -ENOMEM, "the guest has no RAM at 0x%x, where the Multiboot information goes",
                       (unsigned)BOOT_INFO);
    return 0;
}

int multiboot_load(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err)
{
    uint64_t entry = 0, end = 0, initrd = 0;
    int r = load_image(image, memory, &entry, &end, err);

    if (r == 0)
        r = boot_load_initrd(image, memory, end, GIB(4), &initrd, err);
    if (r == 0)
        r = boot_write_cmdline(image, image->kernel.path, BOOT_CMDLINE_MAX, memory, err);
    if (r == 0)
        r = write_information(image, initrd, memory, err);
    if (r == 0)
        r = entry_flat32(memory, bsp, entry, err);
    if (r == 0) {
        bsp->gpr[X86_RAX] = ENTRY_MAGIC;
        bsp->gpr[X86_RBX] = BOOT_INFO;
    }
    return r;
}
