/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every unit test includes: cmocka with the headers that it needs in front of it. */
#ifndef FERRY_TESTS_CHECK_H
#define FERRY_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Skips the running test with a reason that the summary of `make check` repeats. */
#define SKIP(...)            \
    do {                     \
        printf("SKIPPED: "); \
        printf(__VA_ARGS__); \
        printf("\n");        \
        fflush(stdout);      \
        skip();              \
    } while (0)

#endif
