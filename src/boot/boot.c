/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way of a boot: open the files, make the memory map and the ACPI tables, pick the loader; and what loaders share.
 */
#include "boot/boot.h"

#include <errno.h>
#include <inttypes.h>

#include "base/bits.h"
#include "base/err.h"
#include "boot/acpi.h"
#include "boot/loader.h"
#include "memory/memory.h"
#include "x86/state.h"

int boot_check_range(const struct boot_image *image, const struct memory *memory, uint64_t address, uint64_t size,
                     struct err *err)
{
    const char *path = image->kernel.path;

    if (size > UINT64_MAX - address || memory_pointer(memory, address, size) == NULL)
        return err_set(err, -ENOMEM,
                       "the kernel %s needs RAM at 0x%" PRIx64 " to 0x%" PRIx64
                       ", which the guest doesn't have; give it more "
                       "memory",
                       path, address, address + size);
    if (address < BOOT_AREA_END && address + size > BOOT_AREA)
        return err_set(err, -ENOEXEC,
                       "the kernel %s wants to lie at 0x%" PRIx64 " to 0x%" PRIx64
                       ", over the loader's own area at 0x%x",
                       path, address, address + size, (unsigned)BOOT_AREA);
    if (address < ACPI_AREA_END && address + size > ACPI_AREA)
        return err_set(err, -ENOEXEC,
                       "the kernel %s wants to lie at 0x%" PRIx64 " to 0x%" PRIx64 ", over the ACPI tables at 0x%x",
                       path, address, address + size, (unsigned)ACPI_AREA);
    return 0;
}

int boot_load_initrd(const struct boot_image *image, struct memory *memory, uint64_t lowest, uint64_t limit,
                     uint64_t *ret_address, struct err *err)
{
    const struct boot_file *initrd = &image->initrd;
    uint64_t end = e820_low_end(&image->map), address;
    int r;

    if (initrd->size == 0) {
        *ret_address = 0;
        return 0;
    }
    if (end > limit)
        end = limit;
    address = initrd->size <= end ? align_down(end - initrd->size, MEMORY_PAGE_SIZE) : 0;
    if (address < lowest || address < MIB(1))
        return err_set(err, -ENOMEM,
                       "the initrd %s of %" PRIu64 " bytes does not fit between the kernel's end at 0x%" PRIx64
                       " and 0x%" PRIx64 "; give the guest more memory",
                       initrd->path, initrd->size, lowest, end);
    r = boot_file_load(initrd, 0, memory, address, initrd->size, err);
    if (r == 0)
        *ret_address = address;
    return r;
}

int boot_write_cmdline(const struct boot_image *image, const char *first, uint64_t maximum, struct memory *memory,
                       struct err *err)
{
    size_t head = first != NULL ? strlen(first) : 0, tail = strlen(image->cmdline);
    bool blank = head > 0 && tail > 0;
    uint64_t at = BOOT_CMDLINE;
    int r = 0;

    if (maximum > BOOT_CMDLINE_MAX)
        maximum = BOOT_CMDLINE_MAX;
    if (head + blank + tail + 1 > maximum)
        return err_set(err, -E2BIG, "the command line has %zu characters, the kernel %s takes at most %" PRIu64,
                       head + blank + tail, image->kernel.path, maximum - 1);
    if (head > 0)
        r = memory_write(memory, at, first, head);
    if (r == 0 && blank)
        r = memory_write(memory, at + head, " ", 1);
    if (r == 0)
        r = memory_write(memory, at + head + blank, image->cmdline, tail + 1);
    if (r < 0)
        return err_set(err, -ENOMEM,
                       "the guest has no RAM at 0x%x, where its command line goes; give it at least 1 MiB",
                       (unsigned)BOOT_CMDLINE);
    return 0;
}

int boot_load_image(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err)
{
    if (bzimage_probe(&image->kernel))
        return bzimage_load(image, memory, bsp, err);
    if (multiboot_probe(&image->kernel))
        return multiboot_load(image, memory, bsp, err);
    if (pvh_probe(&image->kernel))
        return pvh_load(image, memory, bsp, err);
    return err_set(err, -ENOEXEC, "%s is no kernel: neither a Linux bzImage, nor an ELF file, nor a Multiboot image",
                   image->kernel.path);
}

static int check_config(const struct boot_config *config, struct err *err)
{
    if (config->kernel == NULL)
        return err_set(err, -EINVAL, "there is no kernel to boot");
    if (config->cpus < 1 || config->cpus > BOOT_CPUS_MAX)
        return err_set(err, -EINVAL, "%u CPUs can't be described to the guest; 1 to %u can", config->cpus,
                       BOOT_CPUS_MAX);
    return 0;
}

static int open_files(const struct boot_config *config, struct boot_image *image, struct err *err)
{
    int r = boot_file_open(config->kernel, config->kernel_fd, "kernel", &image->kernel, err);

    if (r == 0 && config->initrd != NULL)
        r = boot_file_open(config->initrd, config->initrd_fd, "initrd", &image->initrd, err);
    return r;
}

int boot_load(const struct boot_config *config, struct memory *memory, struct x86_state *bsp, struct err *err)
{
    struct boot_image image = {.kernel = BOOT_FILE_NONE, .initrd = BOOT_FILE_NONE};
    struct acpi_config acpi = {.cpus = config->cpus, .hpet = config->hpet};
    struct x86_state state;
    int r = check_config(config, err);

    if (r < 0)
        return r;
    image.cmdline = config->cmdline != NULL ? config->cmdline : "";
    e820_build(memory, &image.map);
    r = open_files(config, &image, err);
    if (r == 0)
        r = acpi_write(&acpi, memory, &image.rsdp, err);
    if (r == 0) {
        x86_state_reset(&state, true);
        r = boot_load_image(&image, memory, &state, err);
    }
    if (r == 0)
        *bsp = state;
    boot_file_close(&image.initrd);
    boot_file_close(&image.kernel);
    return r;
}
