/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The part of ELF that kernels need: program headers, loading by physical address, notes. 32 and 64 bits. */
#ifndef FERRY_BOOT_ELF_H
#define FERRY_BOOT_ELF_H

#include <stdbool.h>
#include <stdint.h>

struct boot_image;
struct boot_file;
struct err;
struct memory;

#define ELF_SEGMENTS_MAX 64

struct elf_segment {
    uint32_t type;
    uint64_t offset, physical, virtual, file_size, memory_size; /* file_size <= memory_size, inside the file */
};

struct elf_image {
    bool is_64;
    uint64_t entry;
    unsigned count;
    struct elf_segment segment[ELF_SEGMENTS_MAX];
};

bool elf_probe(const struct boot_file *file);

/* Reads and checks the headers. */
int elf_read(const struct boot_file *file, struct elf_image *ret_image, struct err *err);

/* Loads the PT_LOAD segments, zeroing what the file does not fill. *ret_end: the highest address used, rounded up to
 * a page. */
int elf_load(const struct boot_image *image, const struct elf_image *elf, struct memory *memory, uint64_t *ret_end,
             struct err *err);

/* Whether an address lies in a loaded segment. */
bool elf_holds(const struct elf_image *elf, uint64_t physical);

/* A note's content of 4 or 8 bytes as a number. -ENOENT (err untouched) when there is none such. */
int elf_find_note(const struct boot_file *file, const struct elf_image *elf, const char *name, uint32_t type,
                  uint64_t *ret_value, struct err *err);

#endif
