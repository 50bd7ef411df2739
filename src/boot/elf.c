/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ELF for kernels (System V ABI, chapters 4 and 5). Every number of the file is checked before it is used. */
#include "boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>

#include "base/bits.h"
#include "base/err.h"
#include "boot/loader.h"
#include "memory/memory.h"

#define NOTES_MAX KIB(64) /* bytes of one note segment that are looked at */

static int corrupt(const struct boot_file *file, const char *why, struct err *err)
{
    return err_set(err, -ENOEXEC, "the kernel %s is a corrupt ELF file: %s", file->path, why);
}

bool elf_probe(const struct boot_file *file)
{
    char magic[SELFMAG];

    return boot_file_read(file, 0, magic, sizeof(magic), NULL) == 0 && memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int check_segment(const struct boot_file *file, const struct elf_segment *segment, struct err *err)
{
    if (segment->type != PT_LOAD && segment->type != PT_NOTE)
        return 0;
    if (segment->offset > file->size || segment->file_size > file->size - segment->offset)
        return corrupt(file, "a segment lies past the end of the file", err);
    if (segment->type == PT_LOAD && segment->file_size > segment->memory_size)
        return corrupt(file, "a segment is larger in the file than in memory", err);
    if (segment->memory_size > UINT64_MAX - segment->physical)
        return corrupt(file, "a segment wraps around the address space", err);
    return 0;
}

static int read_segment(const struct boot_file *file, uint64_t offset, bool is_64, struct elf_segment *ret_segment,
                        struct err *err)
{
    union {
        Elf32_Phdr narrow;
        Elf64_Phdr wide;
    } header;
    int r = boot_file_read(file, offset, &header, is_64 ? sizeof(header.wide) : sizeof(header.narrow), err);

    if (r < 0)
        return r;
    if (is_64)
        *ret_segment = (struct elf_segment){header.wide.p_type,  header.wide.p_offset, header.wide.p_paddr,
                                            header.wide.p_vaddr, header.wide.p_filesz, header.wide.p_memsz};
    else
        *ret_segment = (struct elf_segment){header.narrow.p_type,  header.narrow.p_offset, header.narrow.p_paddr,
                                            header.narrow.p_vaddr, header.narrow.p_filesz, header.narrow.p_memsz};
    return check_segment(file, ret_segment, err);
}

static int read_segments(const struct boot_file *file, uint64_t table, unsigned entry_size, unsigned count,
                         struct elf_image *elf, struct err *err)
{
    if (entry_size != (elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return corrupt(file, "its program headers have a wrong size", err);
    if (count == 0 || count > ELF_SEGMENTS_MAX)
        return corrupt(file, "it has no program headers or too many", err);
    if (table > file->size)
        return corrupt(file, "its program headers lie past its end", err);
    for (elf->count = 0; elf->count < count; elf->count++) {
        int r =
            read_segment(file, table + (uint64_t)elf->count * entry_size, elf->is_64, &elf->segment[elf->count], err);

        if (r < 0)
            return r;
    }
    return 0;
}

static int read_32(const struct boot_file *file, struct elf_image *elf, struct err *err)
{
    Elf32_Ehdr header;
    int r = boot_file_read(file, 0, &header, sizeof(header), err);

    if (r < 0)
        return r;
    if (header.e_machine != EM_386 || header.e_type != ET_EXEC)
        return corrupt(file, "it is no x86 executable", err);
    elf->entry = header.e_entry;
    return read_segments(file, header.e_phoff, header.e_phentsize, header.e_phnum, elf, err);
}

static int read_64(const struct boot_file *file, struct elf_image *elf, struct err *err)
{
    Elf64_Ehdr header;
    int r = boot_file_read(file, 0, &header, sizeof(header), err);

    if (r < 0)
        return r;
    if (header.e_machine != EM_X86_64 || (header.e_type != ET_EXEC && header.e_type != ET_DYN))
        return corrupt(file, "it is no x86 executable", err);
    elf->entry = header.e_entry;
    elf->is_64 = true;
    return read_segments(file, header.e_phoff, header.e_phentsize, header.e_phnum, elf, err);
}

int elf_read(const struct boot_file *file, struct elf_image *ret_image, struct err *err)
{
    unsigned char ident[EI_NIDENT];
    struct elf_image elf = {0};
    int r = boot_file_read(file, 0, ident, sizeof(ident), err);

    if (r < 0)
        return r;
    if (ident[EI_DATA] != ELFDATA2LSB || ident[EI_VERSION] != EV_CURRENT)
        return corrupt(file, "it is not little-endian or of an unknown version", err);
    if (ident[EI_CLASS] == ELFCLASS32)
        r = read_32(file, &elf, err);
    else if (ident[EI_CLASS] == ELFCLASS64)
        r = read_64(file, &elf, err);
    else
        r = corrupt(file, "it is neither of 32 nor of 64 bits", err);
    if (r == 0)
        *ret_image = elf;
    return r;
}

static int load_segment(const struct boot_image *image, const struct elf_segment *segment, struct memory *memory,
                        struct err *err)
{
    uint64_t rest = segment->memory_size - segment->file_size;
    uint8_t *host;
    int r = boot_check_range(image, memory, segment->physical, segment->memory_size, err);

    if (r == 0)
        r = boot_file_load(&image->kernel, segment->offset, memory, segment->physical, segment->file_size, err);
    if (r < 0)
        return r;
    host = memory_pointer(memory, segment->physical, segment->memory_size);
    memset(host + segment->file_size, 0, rest);
    memory_wrote(memory, segment->physical + segment->file_size, rest);
    return 0;
}

int elf_load(const struct boot_image *image, const struct elf_image *elf, struct memory *memory, uint64_t *ret_end,
             struct err *err)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < elf->count; i++) {
        const struct elf_segment *segment = &elf->segment[i];
        int r;

        if (segment->type != PT_LOAD || segment->memory_size == 0)
            continue;
        r = load_segment(image, segment, memory, err);
        if (r < 0)
            return r;
        if (segment->physical + segment->memory_size > end)
            end = segment->physical + segment->memory_size;
    }
    if (end == 0)
        return corrupt(&image->kernel, "it has nothing to load", err);
    *ret_end = align_up(end, MEMORY_PAGE_SIZE);
    return 0;
}

bool elf_holds(const struct elf_image *elf, uint64_t physical)
{
    for (unsigned i = 0; i < elf->count; i++) {
        const struct elf_segment *segment = &elf->segment[i];

        if (segment->type == PT_LOAD && physical >= segment->physical &&
            physical - segment->physical < segment->memory_size)
            return true;
    }
    return false;
}

/* One note: header, name padded to 4, content padded to 4. Returns its size in the buffer, 0 when it is cut short. */
static uint64_t parse_note(const uint8_t *at, uint64_t left, Elf64_Nhdr *ret_header, const uint8_t **ret_name,
                           const uint8_t **ret_content)
{
    uint64_t name_size, size;

    if (left < sizeof(*ret_header))
        return 0;
    memcpy(ret_header, at, sizeof(*ret_header));
    name_size = align_up(ret_header->n_namesz, 4);
    size = sizeof(*ret_header) + name_size + align_up(ret_header->n_descsz, 4);
    if (sizeof(*ret_header) + name_size + ret_header->n_descsz > left)
        return 0;
    *ret_name = at + sizeof(*ret_header);
    *ret_content = *ret_name + name_size;
    return size < left ? size : left;
}

static int search_notes(const uint8_t *at, uint64_t left, const char *name, uint32_t type, uint64_t *ret_value)
{
    const uint8_t *note_name, *content;
    Elf64_Nhdr header;
    uint64_t size;

    while ((size = parse_note(at, left, &header, &note_name, &content)) != 0) {
        if (header.n_type == type && header.n_namesz == strlen(name) + 1 &&
            memcmp(note_name, name, header.n_namesz) == 0 && (header.n_descsz == 4 || header.n_descsz == 8)) {
            *ret_value = header.n_descsz == 4 ? load_le32(content) : load_le64(content);
            return 0;
        }
        at += size;
        left -= size;
    }
    return -ENOENT;
}

static int search_segment(const struct boot_file *file, const struct elf_segment *segment, const char *name,
                          uint32_t type, uint64_t *ret_value, struct err *err)
{
    uint64_t size = segment->file_size < NOTES_MAX ? segment->file_size : NOTES_MAX;
    uint8_t *notes = malloc(size + 1);
    int r;

    if (notes == NULL)
        return err_set(err, -ENOMEM, "no memory to read the notes of the kernel %s", file->path);
    r = boot_file_read(file, segment->offset, notes, size, err);
    if (r == 0)
        r = search_notes(notes, size, name, type, ret_value);
    free(notes);
    return r;
}

int elf_find_note(const struct boot_file *file, const struct elf_image *elf, const char *name, uint32_t type,
                  uint64_t *ret_value, struct err *err)
{
    for (unsigned i = 0; i < elf->count; i++) {
        int r;

        if (elf->segment[i].type != PT_NOTE)
            continue;
        r = search_segment(file, &elf->segment[i], name, type, ret_value, err);
        if (r != -ENOENT)
            return r;
    }
    return -ENOENT;
}
