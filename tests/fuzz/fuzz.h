/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a fuzz target consists of.
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)  // never crashes, always returns 0
 *     size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)    // optional: valid inputs to start from
 */
#ifndef FERRY_TESTS_FUZZ_FUZZ_H
#define FERRY_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes valid input number `index` (from 0) of at most max bytes and returns its size; 0: there are no more. */
size_t fuzz_seed(unsigned index, uint8_t *out, size_t max) __attribute__((weak));

/* fuzz_seed() of targets that read text. */
static inline size_t fuzz_text_seed(const char *const seeds[], size_t count, unsigned index, uint8_t *out, size_t max)
{
    size_t size = index < count ? strlen(seeds[index]) : 0;

    if (size == 0 || size > max)
        return 0;
    memcpy(out, seeds[index], size);
    return size;
}

/* The input as a text, for the caller to free; NULL: no memory. Not by strndup(), which strict sanitizers take to read on to a NUL. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (text == NULL)
        return NULL;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

#endif
