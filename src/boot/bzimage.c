/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Linux bzImage (Documentation/arch/x86/boot.rst in the kernel's source).
 *
 * The file is a real-mode part, which is not run here, with the setup header in it, and the protected-mode part behind
 * it. We fill boot_params ("zero page"): the file's setup header, our own fields, the memory map. */
#include <errno.h>
#include <inttypes.h>

#include <asm/bootparam.h>

#include "base/bits.h"
#include "base/err.h"
#include "boot/loader.h"
#include "memory/memory.h"
#include "x86/state.h"

#define HEADER_OFFSET offsetof(struct boot_params, hdr) /* the same in the file and in boot_params */
#define HEADER_MAGIC 0x53726448u                        /* "HdrS" */
#define BOOT_FLAG 0xaa55u
#define VERSION_MIN 0x20a /* pref_address, init_size: Linux 2.6.31 */
#define VERSION_64 0x20c  /* xloadflags */
#define SECTOR 512u
#define LOADER_UNDEFINED 0xff
#define ENTRY_64_OFFSET 0x200

static int read_header(const struct boot_file *kernel, struct setup_header *ret_header, struct err *err)
{
    return boot_file_read(kernel, HEADER_OFFSET, ret_header, sizeof(*ret_header), err);
}

bool bzimage_probe(const struct boot_file *kernel)
{
    struct setup_header header;

    return read_header(kernel, &header, NULL) == 0 && header.boot_flag == BOOT_FLAG && header.header == HEADER_MAGIC;
}

/* Bytes of the header that the file really has: it ends where the jump at 0x200 leads to. The rest belongs to code. */
static void cut_header(struct setup_header *header)
{
    size_t end = offsetof(struct setup_header, header) + (header->jump >> 8);

    if (end < sizeof(*header))
        memset((char *)header + end, 0, sizeof(*header) - end);
}

static int check_header(const struct boot_file *kernel, const struct setup_header *header, struct err *err)
{
    if (header->version < VERSION_MIN)
        return err_set(err, -ENOEXEC,
                       "the kernel %s speaks boot protocol %u.%02u, too old; 2.10 (Linux 2.6.31) is the oldest",
                       kernel->path, header->version >> 8, header->version & 0xff);
    if (!(header->loadflags & LOADED_HIGH))
        return err_set(err, -ENOEXEC, "the kernel %s is a zImage, to be loaded below 1 MiB; only bzImage is supported",
                       kernel->path);
    if (!is_power_of_two(header->kernel_alignment))
        return err_set(err, -ENOEXEC, "the kernel %s is corrupt: its alignment 0x%x is no power of two", kernel->path,
                       header->kernel_alignment);
    return 0;
}

/* Offset of the protected-mode part; its size is that of the file's rest. */
static int find_payload(const struct boot_file *kernel, const struct setup_header *header, uint64_t *ret_offset,
                        struct err *err)
{
    uint64_t offset = ((header->setup_sects == 0 ? 4 : header->setup_sects) + 1) * SECTOR;
    uint64_t wanted = (uint64_t)header->syssize * 16;

    if (wanted <= ENTRY_64_OFFSET)
        return err_set(err, -ENOEXEC, "the kernel %s is corrupt: its code has only %" PRIu64 " bytes", kernel->path,
                       wanted);
    /* The last paragraph may be incomplete. */
    if (kernel->size < offset || kernel->size - offset + 15 < wanted)
        return err_set(err, -ENOEXEC, "the kernel %s is cut short: it should have %" PRIu64 " bytes and has %" PRIu64,
                       kernel->path, offset + wanted, kernel->size);
    *ret_offset = offset;
    return 0;
}

/* Where the kernel goes: where it prefers to lie, or as low as it goes when RAM ends before. */
static int place(const struct boot_image *image, const struct memory *memory, const struct setup_header *header,
                 uint64_t size, uint64_t *ret_address, struct err *err)
{
    uint64_t low_end = e820_low_end(&image->map), address = header->pref_address;

    if (header->relocatable_kernel) {
        address = align_up(address, header->kernel_alignment);
        if (address < MIB(1) || address > low_end || size > low_end - address)
            address = align_up(MIB(1), header->kernel_alignment);
    } else if (address == 0) {
        address = header->code32_start;
    }
    if (address < MIB(1) || address >= GIB(4))
        return err_set(err, -ENOEXEC, "the kernel %s is corrupt: it wants to lie at 0x%" PRIx64, image->kernel.path,
                       address);
    *ret_address = address;
    return boot_check_range(image, memory, address, size, err);
}

static void fill_map(const struct e820_map *map, struct boot_params *params)
{
    params->e820_entries = (uint8_t)map->count;
    for (unsigned i = 0; i < map->count; i++) {
        const struct e820_range *range = &map->range[i];

        params->e820_table[i] =
            (struct boot_e820_entry){.addr = range->address, .size = range->size, .type = range->type};
    }
}

static int write_params(const struct boot_image *image, const struct setup_header *header, uint64_t load,
                        uint64_t initrd, struct memory *memory, struct err *err)
{
    struct boot_params params = {.hdr = *header, .acpi_rsdp_addr = image->rsdp};

    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.vid_mode = 0xffff; /* "normal" */
    params.hdr.code32_start = (uint32_t)load;
    params.hdr.cmd_line_ptr = (uint32_t)BOOT_CMDLINE;
    params.hdr.ramdisk_image = (uint32_t)initrd;
    params.hdr.ramdisk_size = (uint32_t)image->initrd.size;
    params.hdr.setup_data = 0;
    fill_map(&image->map, &params);
    if (memory_write(memory, BOOT_INFO, &params, sizeof(params)) < 0)
        return err_set(err, -ENOMEM, "the guest has no RAM at 0x%x, where Linux's boot parameters go",
                       (unsigned)BOOT_INFO);
    return 0;
}

static int enter(const struct setup_header *header, uint64_t load, struct memory *memory, struct x86_state *bsp,
                 struct err *err)
{
    bool has_64 = header->version >= VERSION_64 && (header->xloadflags & XLF_KERNEL_64);
    int r = has_64 ? entry_long64(memory, bsp, load + ENTRY_64_OFFSET, err) : entry_flat32(memory, bsp, load, err);

    if (r == 0)
        bsp->gpr[X86_RSI] = BOOT_INFO;
    return r;
}

int bzimage_load(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err)
{
    const struct boot_file *kernel = &image->kernel;
    uint64_t offset = 0, load = 0, initrd = 0, size, span;
    struct setup_header header;
    int r = read_header(kernel, &header, err);

    if (r < 0)
        return r;
    cut_header(&header);
    r = check_header(kernel, &header, err);
    if (r == 0)
        r = find_payload(kernel, &header, &offset, err);
    if (r < 0)
        return r;
    size = kernel->size - offset;
    span = header.init_size > size ? header.init_size : size;
    r = place(image, memory, &header, span, &load, err);
    if (r == 0)
        r = boot_file_load(kernel, offset, memory, load, size, err);
    if (r == 0)
        r = boot_load_initrd(image, memory, load + span, (uint64_t)header.initrd_addr_max + 1, &initrd, err);
    if (r == 0)
        r = boot_write_cmdline(image, NULL, (uint64_t)header.cmdline_size + 1, memory, err);
    if (r == 0)
        r = write_params(image, &header, load, initrd, memory, err);
    return r == 0 ? enter(&header, load, memory, bsp, err) : r;
}
