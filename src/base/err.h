/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors that a person will read: a code and one sentence.
 *
 * The house idiom: functions return 0 or a negative errno. Those whose failure ends up before a person take an
 * optional `struct err *` as their last argument and fill it on failure only. Output parameters are called `ret_...`
 * and stay untouched on failure.
 *
 *     if (fd < 0)
 *         return err_set(err, -errno, "cannot open disk %s: %s", path, strerror(errno));
 */
#ifndef FERRY_BASE_ERR_H
#define FERRY_BASE_ERR_H

#include <stdarg.h>

#define ERR_MESSAGE_MAX 512

struct err {
    int code; /* negative errno; 0 = nothing set */
    char message[ERR_MESSAGE_MAX];
};

#define ERR_INIT ((struct err){0})

/* Fills err (which may be NULL) with the code and the formatted sentence, cut to fit. Returns code. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *err, int code, const char *format, ...);

/* Puts the formatted text and ": " in front of what err already says. Returns err's code (0 if err is NULL). */
__attribute__((format(printf, 2, 3))) int err_prefix(struct err *err, const char *format, ...);

#endif
