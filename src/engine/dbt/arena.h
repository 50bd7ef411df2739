/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executable memory: the same pages mapped twice, a view to write and a view to run, never both in one. */
#ifndef FERRY_ENGINE_DBT_ARENA_H
#define FERRY_ENGINE_DBT_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct code_arena {
    uint8_t *write;   /* the writable view */
    uint8_t *execute; /* the executable view */
    size_t size, used; /* bytes */
};

int code_arena_new(size_t size, struct code_arena **ret_arena);
void code_arena_free(struct code_arena *arena); /* accepts NULL */

/* Copies code in, 16-byte aligned; returns its executable address, or NULL when full. */
void *code_arena_add(struct code_arena *arena, const void *code, size_t size);

/* Forgets everything; no code of it may be running. */
void code_arena_clear(struct code_arena *arena);

#endif
