/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that ferryd remembers by: written so that after a crash there is the old one or the new one, whole. */
#ifndef FERRY_DAEMON_FILES_H
#define FERRY_DAEMON_FILES_H

#include <stdbool.h>
#include <stddef.h>

struct err;

/* Makes path and what is missing above it. */
int files_make_directory(const char *path, unsigned mode, struct err *err);

/* Temporary beside it, fsync, rename, fsync of the directory. */
int files_write(const char *path, const void *data, size_t size, unsigned mode, struct err *err);

/* Whole text files, at most max bytes, into an allocation with a NUL behind. */
int files_read(const char *path, size_t max, char **ret_text, struct err *err);

/* Calls fn for each name in the directory that ends in suffix; a directory that does not exist is empty. */
typedef void files_each_fn(void *ctx, const char *name);
void files_each(const char *directory, const char *suffix, files_each_fn *fn, void *ctx);

#endif
