/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executable memory: a memfd mapped once for writing and once for running. */
#include "engine/dbt/arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* Kernels before 6.3 do not know MFD_EXEC; later ones may be set up to refuse code in a memfd without it. */
static int open_memfd(size_t size)
{
    int fd = memfd_create("ferry-code", MFD_CLOEXEC | MFD_EXEC);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("ferry-code", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0) {
        int error = errno;

        close(fd);
        return -error;
    }
    return fd;
}

static int map_views(struct code_arena *arena)
{
    arena->write = mmap(NULL, arena->size, PROT_READ | PROT_WRITE, MAP_SHARED, arena->fd, 0);
    if (arena->write == MAP_FAILED) {
        arena->write = NULL;
        return -errno;
    }
    arena->execute = mmap(NULL, arena->size, PROT_READ | PROT_EXEC, MAP_SHARED, arena->fd, 0);
    if (arena->execute == MAP_FAILED) {
        arena->execute = NULL;
        return -errno;
    }
    return 0;
}

int code_arena_new(size_t size, struct code_arena **ret_arena)
{
    struct code_arena *arena = calloc(1, sizeof(*arena));
    int r;

    if (arena == NULL)
        return -ENOMEM;
    arena->size = align_up(size, 4096);
    arena->fd = open_memfd(arena->size);
    r = arena->fd < 0 ? arena->fd : map_views(arena);
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
    if (arena->fd >= 0)
        close(arena->fd);
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
