/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An arena: many small allocations that live and die together, with a hard maximum for all of them.
 *
 *     struct arena arena = ARENA_INIT(1024 * 1024);
 *     char *name = arena_text(&arena, bytes, count);   // NULL: out of memory, or past the maximum
 *     arena_fini(&arena);                              // everything at once
 */
#ifndef FERRY_BASE_ARENA_H
#define FERRY_BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunk;
    size_t total;
    size_t maximum;
};

#define ARENA_INIT(max) ((struct arena){.maximum = (max)})

/* Zeroed and aligned for anything; NULL when memory is out or the maximum reached. */
void *arena_alloc(struct arena *arena, size_t size);

/* A copy of size bytes with a NUL behind it. */
char *arena_text(struct arena *arena, const void *text, size_t size);

void arena_fini(struct arena *arena);

#endif
