/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The smallest kernels of each format, made by hand, for tests and fuzz targets. Each fills at most IMAGE_MAX bytes. */
#ifndef FERRY_TESTS_BOOT_IMAGES_H
#define FERRY_TESTS_BOOT_IMAGES_H

#include <elf.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include <asm/bootparam.h>

#include "base/bits.h"
#include "boot/file.h"

#define IMAGE_MAX 16384
#define IMAGE_SETUP_SECTORS 4
#define IMAGE_PAYLOAD 1024
#define IMAGE_ADDRESS 0x200000u
#define IMAGE_ENTRY 0x200100u
#define IMAGE_CODE 0x400 /* offset of the code in ELF files */

static inline size_t image_bzimage(uint8_t *out)
{
    struct setup_header header = {.setup_sects = IMAGE_SETUP_SECTORS,
                                  .boot_flag = 0xaa55,
                                  .header = 0x53726448,
                                  .version = 0x20f,
                                  .loadflags = LOADED_HIGH,
                                  .syssize = IMAGE_PAYLOAD / 16,
                                  .jump = 0xeb | (sizeof(header) - offsetof(struct setup_header, header)) << 8,
                                  .initrd_addr_max = 0x7fffffff,
                                  .kernel_alignment = 0x200000,
                                  .relocatable_kernel = 1,
                                  .xloadflags = XLF_KERNEL_64,
                                  .cmdline_size = 2047,
                                  .pref_address = 0x1000000,
                                  .init_size = 0x100000,
                                  .code32_start = 0x100000};
    size_t setup = (IMAGE_SETUP_SECTORS + 1) * 512;

    memset(out, 0, IMAGE_MAX);
    memcpy(out + 0x1f1, &header, sizeof(header));
    memset(out + setup, 0x90, IMAGE_PAYLOAD);
    return setup + IMAGE_PAYLOAD;
}

static inline size_t image_pvh(uint8_t *out)
{
    struct {
        Elf64_Ehdr elf;
        Elf64_Phdr load, note;
        Elf64_Nhdr header;
        char name[4];
        uint32_t entry;
    } image = {
        .elf = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                .e_type = ET_EXEC,
                .e_machine = EM_X86_64,
                .e_version = EV_CURRENT,
                .e_phoff = sizeof(Elf64_Ehdr),
                .e_phentsize = sizeof(Elf64_Phdr),
                .e_phnum = 2},
        .load =
            {.p_type = PT_LOAD, .p_offset = IMAGE_CODE, .p_paddr = IMAGE_ADDRESS, .p_filesz = 0x200, .p_memsz = 0x3000},
        .note = {.p_type = PT_NOTE, .p_filesz = 20},
        .header = {.n_namesz = 4, .n_descsz = 4, .n_type = 18},
        .name = "Xen",
        .entry = IMAGE_ENTRY,
    };

    image.note.p_offset = (size_t)((char *)&image.header - (char *)&image);
    memset(out, 0, IMAGE_MAX);
    memcpy(out, &image, sizeof(image));
    memset(out + IMAGE_CODE, 0x90, 0x200);
    return IMAGE_CODE + 0x200;
}

static inline void image_multiboot_header(uint8_t *at, uint32_t flags)
{
    store_le32(at, 0x1badb002);
    store_le32(at + 4, flags);
    store_le32(at + 8, -(0x1badb002 + flags));
}

static inline size_t image_multiboot_elf(uint8_t *out)
{
    struct {
        Elf32_Ehdr elf;
        Elf32_Phdr load;
    } image = {
        .elf = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
                .e_type = ET_EXEC,
                .e_machine = EM_386,
                .e_version = EV_CURRENT,
                .e_entry = IMAGE_ENTRY,
                .e_phoff = sizeof(Elf32_Ehdr),
                .e_phentsize = sizeof(Elf32_Phdr),
                .e_phnum = 1},
        .load =
            {.p_type = PT_LOAD, .p_offset = IMAGE_CODE, .p_paddr = IMAGE_ADDRESS, .p_filesz = 0x200, .p_memsz = 0x3000},
    };

    memset(out, 0, IMAGE_MAX);
    memcpy(out, &image, sizeof(image));
    memset(out + IMAGE_CODE, 0x90, 0x200);
    image_multiboot_header(out + IMAGE_CODE, 0);
    return IMAGE_CODE + 0x200;
}

/* With the addresses in the header: the whole file from offset 0 at IMAGE_ADDRESS, header at offset 16. */
static inline size_t image_multiboot_flat(uint8_t *out)
{
    memset(out, 0x90, IMAGE_MAX);
    image_multiboot_header(out + 16, 1 << 16);
    store_le32(out + 28, IMAGE_ADDRESS + 16);
    store_le32(out + 32, IMAGE_ADDRESS);
    store_le32(out + 36, 0);
    store_le32(out + 40, IMAGE_ADDRESS + 0x3000);
    store_le32(out + 44, IMAGE_ENTRY);
    return 0x400;
}

/* A file in memory with these bytes; *fd is made at the first use (start with -1) and used again. */
static inline struct boot_file image_file(int *fd, const char *what, const uint8_t *data, size_t size)
{
    struct boot_file file = {.size = size, .path = "image", .what = what};

    if (*fd < 0)
        *fd = memfd_create(what, MFD_CLOEXEC);
    if (ftruncate(*fd, 0) < 0 || pwrite(*fd, data, size, 0) != (ssize_t)size)
        file.size = 0;
    file.fd = *fd;
    return file;
}

#endif
