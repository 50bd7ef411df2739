/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the programs share. They are ordinary static Linux programs which run on the bare machine and in guests: what they print must
 * be the same there and here. A line is one fact; "BAD" stands in the lines that no processor prints. */
#ifndef FERRY_TESTS_SYSTEM_REPORT_H
#define FERRY_TESTS_SYSTEM_REPORT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static int report_bad; /* exit code */

static inline void report(const char *name, bool good)
{
    printf("%s: %s\n", name, good ? "good" : "BAD");
    fflush(stdout);
    report_bad |= !good;
}

/* For what must work on every Linux. */
static inline void need(bool condition, const char *what)
{
    if (!condition) {
        printf("BAD: no %s\n", what);
        exit(2);
    }
}

#endif
