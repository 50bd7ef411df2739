/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arena: a list of chunks, the newest of which is cut up. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>

#define CHUNK_SIZE 4096

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used;
    alignas(max_align_t) uint8_t data[];
};

static struct arena_chunk *add_chunk(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk;

    if (size < CHUNK_SIZE)
        size = CHUNK_SIZE;
    if (size > arena->maximum || arena->total > arena->maximum - size)
        return NULL;
    chunk = calloc(1, sizeof(*chunk) + size);
    if (chunk == NULL)
        return NULL;
    chunk->size = size;
    chunk->next = arena->chunk;
    arena->chunk = chunk;
    arena->total += size;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    struct arena_chunk *chunk = arena->chunk;
    void *result;

    if (size > arena->maximum)
        return NULL;
    size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (chunk == NULL || chunk->size - chunk->used < size)
        chunk = add_chunk(arena, size);
    if (chunk == NULL)
        return NULL;
    result = chunk->data + chunk->used;
    chunk->used += size;
    return result;
}

char *arena_text(struct arena *arena, const void *text, size_t size)
{
    char *copy = arena_alloc(arena, size + 1);

    if (copy != NULL && size > 0)
        memcpy(copy, text, size);
    return copy;
}

void arena_fini(struct arena *arena)
{
    while (arena->chunk != NULL) {
        struct arena_chunk *next = arena->chunk->next;

        free(arena->chunk);
        arena->chunk = next;
    }
    arena->total = 0;
}
