/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files that must survive a crash: written whole or not at all. All return 0 or a negative errno. */
#ifndef FERRY_BASE_FILE_H
#define FERRY_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/* Replaces the file at path: temporary file beside it, fsync, rename, fsync of the directory. On failure the old file
 * is as it was and no temporary file stays. */
int file_write_atomic(const char *path, const void *data, size_t size, mode_t mode);

/* Removes the temporary files that a crash in the midst of file_write_atomic() left below the directory. Only by whoever alone
 * writes there, and before it does. */
void file_sweep(const char *directory);

/* Removes the file and makes that durable; no error if there is none. */
int file_remove(const char *path);

/* Makes the directory and those above it that are missing, with that mode. No error if it is there. */
int directory_make(const char *path, mode_t mode);

#endif
