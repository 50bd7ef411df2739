/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the loaders of this room share: the opened image, the places in low memory that they fill, and one loader a
 * format. */
#ifndef FERRY_BOOT_LOADER_H
#define FERRY_BOOT_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/e820.h"
#include "boot/file.h"

struct err;
struct memory;
struct x86_state;

/* Below 640 KiB, high enough to be out of the way of images that are linked low. */
#define BOOT_AREA UINT64_C(0x90000)
#define BOOT_GDT UINT64_C(0x90000)
#define BOOT_INFO UINT64_C(0x91000)        /* boot_params, hvm_start_info or the Multiboot information; one page */
#define BOOT_PAGE_TABLES UINT64_C(0x92000) /* six pages: PML4, PDPT, four page directories */
#define BOOT_CMDLINE UINT64_C(0x98000)
#define BOOT_CMDLINE_MAX 0x7000u /* with the NUL */
#define BOOT_AREA_END UINT64_C(0x9f000)

struct boot_image {
    struct boot_file kernel;
    struct boot_file initrd; /* size 0: none */
    const char *cmdline;     /* never NULL */
    uint64_t rsdp;           /* guest-physical; 0: no ACPI */
    struct e820_map map;
};

/* Whether the file is in the format, judged by its magic numbers; false also when it can't be read. */
bool bzimage_probe(const struct boot_file *kernel);
bool multiboot_probe(const struct boot_file *kernel);
bool pvh_probe(const struct boot_file *kernel);

/* Load the image into memory and set bsp, which holds the reset state, for the entry. */
int bzimage_load(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err);
int multiboot_load(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err);
int pvh_load(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err);

/* Picks the loader. */
int boot_load_image(const struct boot_image *image, struct memory *memory, struct x86_state *bsp, struct err *err);

/* Puts the initrd as high as it fits, page aligned, between `lowest` and `limit` (exclusive) below 4 GiB.
 * Without an initrd the address is 0. */
int boot_load_initrd(const struct boot_image *image, struct memory *memory, uint64_t lowest, uint64_t limit,
                     uint64_t *ret_address, struct err *err);

/* Writes `first` (may be NULL), a blank and the image's command line to BOOT_CMDLINE; -E2BIG past maximum bytes with
 * NUL. */
int boot_write_cmdline(const struct boot_image *image, const char *first, uint64_t maximum, struct memory *memory,
                       struct err *err);

/* Says that a range of the kernel does not lie in RAM, or lies over BOOT_AREA; 0 when all is well. */
int boot_check_range(const struct boot_image *image, const struct memory *memory, uint64_t address, uint64_t size,
                     struct err *err);

/* CPU states at entry. Both write the GDT, the 64-bit one also page tables that map the first 4 GiB to themselves. */
int entry_flat32(struct memory *memory, struct x86_state *state, uint64_t rip, struct err *err);
int entry_long64(struct memory *memory, struct x86_state *state, uint64_t rip, struct err *err);

#endif
