/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PVH: an ELF kernel whose note names a 32-bit entry (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h).
 */
#include <errno.h>
#include <inttypes.h>

#include "base/bits.h"
#include "base/err.h"
#include "boot/elf.h"
#include "boot/loader.h"
#include "memory/memory.h"
#include "x86/state.h"

#define NOTE_NAME "Xen"
#define NOTE_PHYS32_ENTRY 18
#define START_MAGIC 0x336ec578u

struct start_info { /* hvm_start_info, version 1 */
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, map;
    uint32_t map_count, reserved;
};

struct module {
    uint64_t address, size, cmdline, reserved;
};

struct map_entry {
    uint64_t address, size;
    uint32_t type, reserved;
};

/* One page from BOOT_INFO on. */
struct start_page {
    struct start_info info;
    struct module module;
    struct map_entry map[E820_MAX];
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info");
_Static_assert(sizeof(struct start_page) <= MEMORY_PAGE_SIZE, "start information fits in its page");

bool pvh_probe(const struct boot_file *kernel)
{
    return elf_probe(kernel);
}

static int write_start_page(const struct boot_image *image, uint64_t initrd, struct memory *memory, struct err *err)
{
    struct start_page page = {
        .info = {.magic = START_MAGIC,
                 .version = 1,
                 .cmdline = BOOT_CMDLINE,
                 .rsdp = image->rsdp,
                 .map = BOOT_INFO + offsetof(struct start_page, map),
                 .map_count = image->map.count},
        .module = {.address = initrd, .size = image->initrd.size},
    };

    if (image->initrd.size > 0) {
        page.info.module_count = 1;
        page.info.modules = BOOT_INFO + offsetof(struct start_page, module);
    }
    for (unsigned i = 0; i < image->map.count; i++) {
        const struct e820_range *range = &image->map.range[i];

        page.map[i] = (struct map_entry){.address = range->address, .size = range->size, .type = range->type};
    }
    if (memory_write(memory, BOOT_INFO, &page, sizeof(page)) < 0)
        return err_set(err, -ENOMEM, "the guest has no RAM at 0x%x, where the start information goes",
                       (unsigned)BOOT_INFO);
    return 0;
}

static int find_entry(const struct boot_file *kernel, const struct elf_image *elf, uint64_t *ret_entry, struct err *err)
{
    int r = elf_find_note(kernel, elf, NOTE_NAME, NOTE_PHYS32_ENTRY, ret_entry, err);

    if (r == -ENOENT)
        return err_set(
            err, -ENOEXEC,
            "the ELF file %s has neither a PVH entry note nor a Multiboot header; a Linux kernel needs CONFIG_PVH",
            kernel->path);
    if (r == 0 && (*ret_entry > UINT32_MAX || !elf_holds(elf, *ret_entry)))
        return err_set(err, -ENOEXEC, "the kernel %s is corrupt: its PVH entry 0x%" PRIx64 " lies in no segment",
                       kernel->path, *ret_entry);
    return r;
}

int pvh_load(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err)
{
    uint64_t entry = 0, end = 0, initrd = 0;
    struct elf_image elf;
    int r = elf_read(&image->kernel, &elf, err);

    if (r == 0)
        r = find_entry(&image->kernel, &elf, &entry, err);
    if (r == 0)
        r = elf_load(image, &elf, memory, &end, err);
    if (r == 0)
        r = boot_load_initrd(image, memory, end, GIB(4), &initrd, err);
    if (r == 0)
        r = boot_write_cmdline(image, NULL, BOOT_CMDLINE_MAX, memory, err);
    if (r == 0)
        r = write_start_page(image, initrd, memory, err);
    if (r == 0)
        r = entry_flat32(memory, bsp, entry, err);
    if (r == 0)
        bsp->gpr[X86_RBX] = BOOT_INFO;
    return r;
}
