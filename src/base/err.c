/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors that a person will read. */
#include "base/err.h"

#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    /* Formatted apart, so that the arguments may contain err's own message. */
    char message[ERR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    memcpy(err->message, message, sizeof(message));
    err->code = code;
    return code;
}

int err_prefix(struct err *err, const char *format, ...)
{
    if (err == NULL)
        return 0;
    char message[ERR_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    size_t length = strlen(message);
    snprintf(message + length, sizeof(message) - length, ": %s", err->message);
    memcpy(err->message, message, sizeof(message));
    return err->code;
}
