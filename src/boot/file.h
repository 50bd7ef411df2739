/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image file on the host, read by pieces, straight into guest memory where possible. */
#ifndef FERRY_BOOT_FILE_H
#define FERRY_BOOT_FILE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct memory;

struct boot_file {
    int fd;
    uint64_t size;    /* bytes, at the time it was opened */
    const char *path; /* borrowed */
    const char *what; /* "kernel", "initrd": for messages */
    bool borrowed;    /* fd is somebody else's */
};

#define BOOT_FILE_NONE ((struct boot_file){.fd = -1})

/* Opens a regular, non-empty file for reading; open_fd above 0: it is open there already, stays the caller's, and path only its name. */
int boot_file_open(const char *path, int open_fd, const char *what, struct boot_file *ret_file, struct err *err);
void boot_file_close(struct boot_file *file);

/* Reads exactly size bytes at offset; -ENOEXEC when the file is shorter. */
int boot_file_read(const struct boot_file *file, uint64_t offset, void *data, uint64_t size, struct err *err);

/* The same into guest memory; -ENOMEM when the target is not RAM. */
int boot_file_load(const struct boot_file *file, uint64_t offset, struct memory *memory, uint64_t address,
                   uint64_t size, struct err *err);

#endif
