/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File descriptors: whole reads and writes, close that forgets. All return 0 or a negative errno. */
#ifndef FERRY_BASE_FD_H
#define FERRY_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Closes *fd if it is not negative, and sets it to -1. errno is kept. */
void fd_close(int *fd);

/* Reads or writes exactly size bytes, across short counts and EINTR; -EIO when a file ends early. */
int fd_read_all(int fd, void *data, size_t size);
int fd_write_all(int fd, const void *data, size_t size);
int fd_pread_all(int fd, void *data, size_t size, uint64_t offset);
int fd_pwrite_all(int fd, const void *data, size_t size, uint64_t offset);

int fd_set_nonblocking(int fd);

/* Reads a whole regular file into a new allocation that the caller frees, with a NUL behind it; -EFBIG when larger
 * than max, -EISDIR and -EINVAL when it is not a regular file. */
int fd_read_file(const char *path, size_t max, void **ret_data, size_t *ret_size);

/* An eventfd (non-blocking, close-on-exec), its signal, and its drain. */
int eventfd_new(int *ret_fd);
void eventfd_signal(int fd);
void eventfd_drain(int fd);

#endif
