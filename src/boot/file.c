/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading image files with their bounds checked. */
#include "boot/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "memory/memory.h"

static int check_file(const struct boot_file *file, struct err *err, uint64_t *ret_size)
{
    struct stat status;

    if (fstat(file->fd, &status) < 0 || !S_ISREG(status.st_mode))
        return err_set(err, -EINVAL, "the %s %s is not a regular file", file->what, file->path);
    if (status.st_size == 0)
        return err_set(err, -ENOEXEC, "the %s %s is empty", file->what, file->path);
    *ret_size = (uint64_t)status.st_size;
    return 0;
}

int boot_file_open(const char *path, int open_fd, const char *what, struct boot_file *ret_file, struct err *err)
{
    struct boot_file file = {.fd = open_fd, .path = path, .what = what, .borrowed = open_fd > 0};
    int r;

    if (!file.borrowed)
        file.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file.fd < 0)
        return err_set(err, -errno, "cannot open the %s %s: %s", what, path, strerror(errno));
    r = check_file(&file, err, &file.size);
    if (r < 0)
        boot_file_close(&file);
    else
        *ret_file = file;
    return r;
}

void boot_file_close(struct boot_file *file)
{
    if (!file->borrowed)
        fd_close(&file->fd);
    file->fd = -1;
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *data, uint64_t size, struct err *err)
{
    int r;

    if (offset > file->size || size > file->size - offset)
        return err_set(err, -ENOEXEC,
                       "the %s %s is cut short: %" PRIu64 " bytes at offset %" PRIu64 " lie past its end", file->what,
                       file->path, size, offset);
    r = fd_pread_all(file->fd, data, size, offset);
    if (r < 0)
        return err_set(err, r, "cannot read the %s %s: %s", file->what, file->path, strerror(-r));
    return 0;
}

/* Into the file behind guest RAM, inside the kernel: a third of the time of a read into the mapping, which takes a page
 * fault for every page. Returns how much it has moved; the rest is left to the caller. */
static uint64_t send(const struct boot_file *file, uint64_t offset, struct memory *memory, uint64_t address,
                     uint64_t size)
{
    const struct memory_region *region = memory_find(memory, address);
    off_t from = (off_t)offset, to = (off_t)(region->offset + (address - region->address));
    uint64_t sent = 0;
    ssize_t n = 1;

    if (offset > file->size || size > file->size - offset || lseek(memory->fd, to, SEEK_SET) != to)
        return 0;
    while (sent < size && n > 0) {
        n = sendfile(memory->fd, file->fd, &from, size - sent);
        sent += n > 0 ? (uint64_t)n : 0;
    }
    return sent;
}

int boot_file_load(const struct boot_file *file, uint64_t offset, struct memory *memory, uint64_t address,
                   uint64_t size, struct err *err)
{
    uint8_t *target = memory_pointer(memory, address, size);
    uint64_t sent;
    int r;

    if (target == NULL)
        return err_set(err, -ENOMEM,
                       "the %s %s wants %" PRIu64 " bytes at address 0x%" PRIx64 ", where the guest has no RAM",
                       file->what, file->path, size, address);
    sent = size > 0 ? send(file, offset, memory, address, size) : 0;
    r = boot_file_read(file, offset + sent, target + sent, size - sent, err);
    if (r == 0)
        memory_wrote(memory, address, size);
    return r;
}
