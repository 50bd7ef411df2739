/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named documents in a directory, each in a file NAME.xml that is there as a whole or not at all, some of them marked: a mark is a
 * symbolic link autostart/NAME.xml. Names have no slash and no dot in front; whoever makes them sees to that. Results are 0 or negative
 * errnos. */
#ifndef FERRY_BASE_STORE_H
#define FERRY_BASE_STORE_H

#include <stdbool.h>
#include <stddef.h>

struct err;

/* Makes the directory; with_marks: and that of the marks. */
int store_make(const char *directory, bool with_marks);
int store_write(const char *directory, const char *name, const void *data, size_t size);
/* Free *ret_text (NUL behind it) with free(). */
int store_read(const char *directory, const char *name, size_t max, char **ret_text);
int store_remove(const char *directory, const char *name); /* and its mark; no error if there is none */

int store_mark(const char *directory, const char *name, bool marked);
bool store_marked(const char *directory, const char *name);

/* Calls found with each name, in no order. */
int store_each(const char *directory, void (*found)(void *ctx, const char *name), void *ctx, struct err *err);

#endif
