/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executable memory: the same pages mapped once for writing and once for running. */
#include "engine/dbt/arena.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bits.h"

/* Shared memory without a name; a second view of it is what mremap() makes of no length at all. perf(1) takes such memory for
 * generated code and asks its map for names. */
static int map_views(struct code_arena *arena)
{
    arena->write = mmap(NULL, arena->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena->write == MAP_FAILED) {
        arena->write = NULL;
        return -errno;
    }
    arena->execute = mremap(arena->write, 0, arena->size, MREMAP_MAYMOVE);
    if (arena->execute == MAP_FAILED) {
        arena->execute = NULL;
        return -errno;
    }
    return mprotect(arena->execute, arena->size, PROT_READ | PROT_EXEC) < 0 ? -errno : 0;
}

int code_arena_new(size_t size, struct code_arena **ret_arena)
{
    struct code_arena *arena = calloc(1, sizeof(*arena));
    int r;

    if (arena == NULL)
        return -ENOMEM;
    arena->size = align_up(size, 4096);
    r = map_views(arena);
    if (r < 0) {
        code_arena_free(arena);
        return r;
    }
    *ret_arena = arena;
    return 0;
}

void code_arena_free(struct code_arena *arena)
{
    if (arena == NULL)
        return;
    if (arena->write != NULL)
        munmap(arena->write, arena->size);
    if (arena->execute != NULL)
        munmap(arena->execute, arena->size);
    free(arena);
}

void *code_arena_add(struct code_arena *arena, const void *code, size_t size)
{
    size_t at = align_up(arena->used, 16);

    if (at > arena->size || size > arena->size - at)
        return NULL;
    memcpy(arena->write + at, code, size);
    arena->used = at + size;
    return arena->execute + at;
}

void code_arena_clear(struct code_arena *arena)
{
    arena->used = 0;
}
