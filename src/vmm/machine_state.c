/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saving a whole VM to a file and loading it again. */
#include "vmm/machine_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "memory/memory.h"
#include "state/section.h"
#include "vmm/board.h"
#include "vmm/machine.h"
#include "vmm/machine_cpu.h"
#include "x86/cpuid_xsave.h"
#include "x86/state.h"

#define SECTIONS_MAX (16u << 20) /* bytes */
#define RUN_MAX (1u << 20)       /* bytes of RAM in one run */
#define CPU_VERSION 1            /* of section cpu */

struct file_header {
    char magic[8];
    uint64_t memory_size;
    uint64_t sections_size; /* bytes that follow the header */
};
static const char magic[8] = "FERRYVM1";

/* Behind the sections: runs, the last one with size 0. */
struct run_header {
    uint64_t address; /* guest-physical */
    uint64_t size;    /* bytes that follow, whole pages */
};

const struct field machine_state_fields[] = {
    FIELD(1, struct machine_state, clock_ns),
    FIELD(2, struct machine_state, guest_clock_ns),
    FIELD(3, struct machine_state, cpus),
    FIELD_ARRAY(4, struct machine_state, halted),
    FIELD(5, struct machine_state, tsc_khz),
    FIELD_ARRAY(6, struct machine_state, xsave_offset),
    FIELD_END,
};

int machine_save_sections(struct machine *machine, struct buffer *out, struct err *err)
{
    struct machine_state own = {.clock_ns = clock_now(&machine->clock),
                                .guest_clock_ns = machine->guest_clock_ns,
                                .cpus = machine->cpu_count,
                                .tsc_khz = machine->engine_type->tsc_khz(machine->vm)};
    struct cpuid_xsave_layout layout;
    int r;

    cpuid_get_xsave_layout(&machine->cpuid, &layout);
    memcpy(own.xsave_offset, layout.offset, sizeof(own.xsave_offset));
    for (unsigned i = 0; i < machine->cpu_count; i++)
        own.halted[i] = machine->cpu[i].halted;
    r = section_write(out, "machine", 0, MACHINE_STATE_VERSION, machine_state_fields, &own);
    for (unsigned i = 0; r == 0 && i < machine->cpu_count; i++) {
        struct x86_state state = {0};

        r = machine->engine_type->vcpu_get_state(machine->cpu[i].vcpu, &state, err);
        if (r < 0)
            return r;
        state.msr.tsc = machine->tsc[i];
        r = section_write(out, "cpu", i, CPU_VERSION, x86_state_fields, &state);
    }
    return r == 0 ? board_save(machine->board, out, err) : r;
}

static bool page_is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, MEMORY_PAGE_SIZE - 1) == 0;
}

static int write_run(int fd, uint64_t address, const uint8_t *data, uint64_t size)
{
    const struct run_header header = {.address = address, .size = size};
    int r = fd_write_all(fd, &header, sizeof(header));

    return r == 0 && size > 0 ? fd_write_all(fd, data, size) : r;
}

/* Pages that are not zero among [at, end) of a region. */
static int save_extent(int fd, const struct memory_region *region, uint64_t at, uint64_t end)
{
    int r = 0;

    while (r == 0 && at < end) {
        uint64_t stop = at;

        while (stop < end && stop - at < RUN_MAX && !page_is_zero(region->host + stop))
            stop += MEMORY_PAGE_SIZE;
        if (stop > at)
            r = write_run(fd, region->address + at, region->host + at, stop - at);
        at = stop > at ? stop : at + MEMORY_PAGE_SIZE;
    }
    return r;
}

/* Asks the memfd for what was ever touched: looking at other pages would bring them into being. */
static int save_region(int fd, int memory_fd, const struct memory_region *region)
{
    uint64_t at = 0;
    int r = 0;

    while (r == 0 && at < region->size) {
        off_t data = lseek(memory_fd, region->offset + at, SEEK_DATA);
        off_t hole = data < 0 ? -1 : lseek(memory_fd, data, SEEK_HOLE);

        if (hole < 0)
            return errno == ENXIO ? 0 : -errno;
        at = align_down((uint64_t)data - region->offset, MEMORY_PAGE_SIZE);
        if (at >= region->size)
            break;
        hole = align_up((uint64_t)hole - region->offset, MEMORY_PAGE_SIZE);
        hole = (uint64_t)hole < region->size ? hole : (off_t)region->size;
        r = save_extent(fd, region, at, hole);
        at = hole;
    }
    return r;
}

static int write_file(struct machine *machine, int fd, const struct buffer *sections)
{
    struct file_header header = {.memory_size = machine->memory->size, .sections_size = sections->size};
    int r;

    memcpy(header.magic, magic, sizeof(magic));
    r = fd_write_all(fd, &header, sizeof(header));
    if (r == 0)
        r = fd_write_all(fd, sections->data, sections->size);
    for (unsigned i = 0; r == 0 && i < machine->memory->region_count; i++)
        r = save_region(fd, machine->memory->fd, &machine->memory->region[i]);
    if (r == 0)
        r = write_run(fd, 0, NULL, 0);
    return r == 0 && fsync(fd) < 0 ? -errno : r;
}

static int save_to(struct machine *machine, const char *path, const char *temporary, struct err *err)
{
    struct buffer sections = BUFFER_INIT(SECTIONS_MAX);
    int r = machine_save_sections(machine, &sections, err);
    int fd;

    if (r < 0) {
        buffer_fini(&sections);
        return err != NULL && err->code != 0 ? err_prefix(err, "cannot save the VM")
                                             : err_set(err, r, "cannot save the VM: %s", strerror(-r));
    }
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : write_file(machine, fd, &sections);
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0 && fd >= 0)
        unlink(temporary);
    fd_close(&fd);
    buffer_fini(&sections);
    return r < 0 ? err_set(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int machine_save(struct machine *machine, const char *path, struct err *err)
{
    char temporary[4096];

    if (text_format(temporary, sizeof(temporary), "%s.part", path) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the file is too long");
    machine_pause(machine);
    return save_to(machine, path, temporary, err);
}

static int load_machine_section(struct machine *machine, const struct section *section, struct err *err)
{
    struct machine_state own = {0};
    struct cpuid_xsave_layout layout;
    int r = section_check_version(section, MACHINE_STATE_VERSION, err);

    if (r == 0)
        r = section_read(section, machine_state_fields, &own, sizeof(own), err);
    if (r < 0)
        return r;
    if (own.cpus != machine->cpu_count)
        return err_set(err, -EINVAL, "it was saved with %u CPUs, and this VM has %u: give --cpus %u", own.cpus,
                       machine->cpu_count, own.cpus);
    if (own.clock_ns < 0)
        return err_set(err, -EINVAL, "its clock is negative");
    r = own.tsc_khz != 0 ? machine_cpus_set_tsc_khz(machine, own.tsc_khz, err) : 0;
    if (r < 0)
        return r;
    memcpy(layout.offset, own.xsave_offset, sizeof(layout.offset));
    r = machine_cpus_set_xsave_layout(machine, &layout, err);
    if (r < 0)
        return r;
    clock_init_stopped(&machine->clock, own.clock_ns);
    machine->guest_clock_ns = own.guest_clock_ns;
    for (unsigned i = 0; i < machine->cpu_count; i++)
        machine->cpu[i].halted = own.halted[i] != 0;
    return 0;
}

static int load_cpu_section(struct machine *machine, const struct section *section, struct err *err)
{
    struct x86_state state = {0};
    int r;

    if (section->instance >= machine->cpu_count)
        return err_set(err, -EINVAL, "it has a CPU %u, and this VM has %u CPUs", section->instance, machine->cpu_count);
    r = section_check_version(section, CPU_VERSION, err);
    if (r == 0)
        r = section_read(section, x86_state_fields, &state, sizeof(state), err);
    if (r == 0)
        r = x86_state_check(&state, err);
    if (r == 0)
        r = machine->engine_type->vcpu_set_state(machine->cpu[section->instance].vcpu, &state, err);
    if (r == 0)
        machine->tsc[section->instance] = state.msr.tsc;
    return r;
}

static int load_section(struct machine *machine, const struct section *section, struct err *err)
{
    int r;

    if (text_equal(section->name, "machine"))
        return load_machine_section(machine, section, err);
    if (text_equal(section->name, "cpu"))
        return load_cpu_section(machine, section, err);
    r = board_load(machine->board, section, err);
    if (r == -ENOENT)
        return err_set(err, r, "it has a device %s %u, and this VM has none: give the same options as then",
                       section->name, section->instance);
    return r;
}

/* The sections that this VM's state has. */
static bool expected_section(const struct machine *machine, unsigned i, struct board_section *ret_section)
{
    if (i > machine->cpu_count)
        return board_section(machine->board, i - 1 - machine->cpu_count, ret_section);
    *ret_section = i == 0 ? (struct board_section){.name = "machine"} : (struct board_section){.name = "cpu", .instance = i - 1};
    return true;
}

/* Notes it; refuses one that was there before. */
static int see_section(const struct machine *machine, const struct section *section, bool *seen, struct err *err)
{
    struct board_section own;

    for (unsigned i = 0; expected_section(machine, i, &own); i++) {
        if (!text_equal(own.name, section->name) || own.instance != section->instance)
            continue;
        if (seen[i])
            return err_set(err, -EBADMSG, "section %s %u comes twice", own.name, own.instance);
        seen[i] = true;
    }
    return 0; /* what is of no device, load_section() refuses */
}

static int miss_sections(const struct machine *machine, const bool *seen, struct err *err)
{
    struct board_section own;

    for (unsigned i = 0; expected_section(machine, i, &own); i++)
        if (!seen[i])
            return err_set(err, -EBADMSG, "section %s %u is missing", own.name, own.instance);
    return 0;
}

static int load_each(struct machine *machine, struct section_reader *reader, bool *seen, struct err *err)
{
    struct section section;
    int r;

    while ((r = section_next(reader, &section, err)) > 0) {
        r = see_section(machine, &section, seen, err);
        if (r == 0)
            r = load_section(machine, &section, err);
        if (r < 0)
            return r;
    }
    return r;
}

static int load_sections(struct machine *machine, const void *sections, size_t size, struct err *err)
{
    struct section_reader reader;
    struct board_section own;
    unsigned count = 0;
    bool *seen;
    int r;

    while (expected_section(machine, count, &own))
        count++;
    seen = calloc(count, sizeof(*seen));
    if (seen == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    section_reader_init(&reader, sections, size);
    board_load_begin(machine->board);
    r = load_each(machine, &reader, seen, err);
    if (r == 0)
        r = board_load_end(machine->board, err);
    if (r == 0)
        r = miss_sections(machine, seen, err);
    free(seen);
    return r;
}

int machine_load_sections(struct machine *machine, const void *sections, size_t size, struct err *err)
{
    int r = load_sections(machine, sections, size, err);

    machine->unusable = r < 0;
    return r < 0 ? err_prefix(err, "cannot load the state") : 0;
}

static int read_sections(struct machine *machine, int fd, struct buffer *sections, struct err *err)
{
    struct file_header header;
    uint8_t piece[4096];
    int r = fd_read_all(fd, &header, sizeof(header));

    if (r < 0 || memcmp(header.magic, magic, sizeof(magic)) != 0 || header.sections_size > SECTIONS_MAX)
        return err_set(err, -EBADMSG, "it is no saved VM");
    if (header.memory_size != machine->memory->size)
        return err_set(err, -EINVAL, "it was saved with %llu MiB of memory, and this VM has %llu MiB",
                       (unsigned long long)header.memory_size >> 20, (unsigned long long)machine->memory->size >> 20);
    for (uint64_t left = header.sections_size; r == 0 && left > 0;) {
        size_t size = left < sizeof(piece) ? left : sizeof(piece);

        r = fd_read_all(fd, piece, size);
        if (r == 0)
            r = buffer_append(sections, piece, size);
        left -= size;
    }
    return r < 0 ? err_set(err, r, "it ends early: %s", strerror(-r)) : 0;
}

static int read_memory(struct machine *machine, int fd, struct err *err)
{
    struct memory *memory = machine->memory;
    struct run_header run;

    for (unsigned i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->region[i];

        if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, region->offset, region->size) < 0)
            return err_set(err, -errno, "cannot empty the VM's memory: %s", strerror(errno));
        memory_wrote(memory, region->address, region->size);
    }
    for (;;) {
        void *host;
        int r = fd_read_all(fd, &run, sizeof(run));

        if (r == 0 && run.size == 0)
            return 0;
        host = r == 0 && run.size <= RUN_MAX ? memory_pointer(memory, run.address, run.size) : NULL;
        if (host == NULL)
            return err_set(err, -EBADMSG, "its memory is damaged");
        r = fd_read_all(fd, host, run.size);
        if (r < 0)
            return err_set(err, r, "it ends early: %s", strerror(-r));
        memory_wrote(memory, run.address, run.size);
    }
}

/* Memory first: devices look at their queues when they are loaded. */
static int load_from(struct machine *machine, int fd, struct err *err)
{
    struct buffer sections = BUFFER_INIT(SECTIONS_MAX);
    int r = read_sections(machine, fd, &sections, err);

    if (r == 0)
        r = read_memory(machine, fd, err);
    if (r == 0)
        r = load_sections(machine, sections.data, sections.size, err);
    buffer_fini(&sections);
    return r;
}

int machine_load(struct machine *machine, const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r;

    if (fd < 0)
        return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
    r = load_from(machine, fd, err);
    fd_close(&fd);
    machine->status = MACHINE_PAUSED;
    machine->unusable = r < 0;
    return r < 0 ? err_prefix(err, "cannot load the VM from %s", path) : 0;
}
