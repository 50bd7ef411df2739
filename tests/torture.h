/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Allocation torture: runs a piece of code again and again, each time failing the next of its allocations.
 *
 * A program that includes this header is linked with torture_link_args (tests/meson.build), which lead malloc, calloc
 * and realloc of our own code here; what libraries allocate for themselves is left alone.
 *
 *     torture(fn, ctx);   // calls fn with allocation 1 failing, then 2, ... until a run needed none that failed
 *
 * fn gives 0 when all went well. With a failing allocation it has to give -ENOMEM, and to leak nothing: the count of
 * what is allocated must be what it was. */
#ifndef FERRY_TESTS_TORTURE_H
#define FERRY_TESTS_TORTURE_H

#include <errno.h>

#include "check.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *pointer, size_t size);
void __real_free(void *pointer);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *pointer, size_t size);
void __wrap_free(void *pointer);

static long torture_countdown; /* allocations until one fails; 0: none does */
static long torture_live;      /* allocated and not freed */
static bool torture_hit;

static bool torture_fails(void)
{
    if (torture_countdown == 0 || --torture_countdown > 0)
        return false;
    torture_hit = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    void *pointer = torture_fails() ? NULL : __real_malloc(size);
    torture_live += pointer != NULL;
    return pointer;
}

void *__wrap_calloc(size_t count, size_t size)
{
    void *pointer = torture_fails() ? NULL : __real_calloc(count, size);
    torture_live += pointer != NULL;
    return pointer;
}

void *__wrap_realloc(void *pointer, size_t size)
{
    void *moved = torture_fails() ? NULL : __real_realloc(pointer, size);
    torture_live += pointer == NULL && moved != NULL;
    return moved;
}

void __wrap_free(void *pointer)
{
    torture_live -= pointer != NULL;
    __real_free(pointer);
}

typedef int torture_fn(void *ctx);

/* Returns how many allocations the code makes. */
static inline long torture(torture_fn *fn, void *ctx)
{
    for (long n = 1;; n++) {
        long before = torture_live;
        torture_countdown = n;
        torture_hit = false;
        int r = fn(ctx);
        torture_countdown = 0;
        assert_int_equal(torture_live, before);
        if (!torture_hit) {
            assert_int_equal(r, 0);
            return n - 1;
        }
        assert_int_equal(r, -ENOMEM);
    }
}

#endif
