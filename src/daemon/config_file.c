/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads ferryd.conf. */
#include "daemon/config_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"

#define FILE_MAX (256u * 1024)
#define BLANKS " \t\r"

static char *skip_blanks(char *text)
{
    return text + strspn(text, BLANKS);
}

/* Whether nothing but a comment is left. */
static int nothing_behind(const char *text)
{
    text += strspn(text, BLANKS);
    return *text == 0 || *text == '#';
}

/* Cuts the value out of what stands behind '='. NULL: it is none. */
static char *take_value(char *text)
{
    char *value = skip_blanks(text), *end;

    if (*value == '"') {
        value++;
        end = strchr(value, '"');
        if (end == NULL || !nothing_behind(end + 1))
            return NULL;
    } else {
        end = value + strcspn(value, BLANKS "#\"");
        if (end == value || !nothing_behind(end))
            return NULL;
    }
    *end = 0;
    return value;
}

static int read_line(char *line, config_file_fn *fn, void *ctx, struct err *err)
{
    char *key = skip_blanks(line), *equals = strchr(key, '='), *value;

    if (nothing_behind(key))
        return 0;
    if (equals == NULL || equals == key)
        return err_set(err, -EINVAL, "\"%.60s\" is not of the form key = value", key);
    value = take_value(equals + 1);
    if (value == NULL)
        return err_set(err, -EINVAL, "the value of \"%.60s\" must be one word, or text in double quotes", key);
    key[strcspn(key, BLANKS "=")] = 0;
    return fn(ctx, key, value, err);
}

int config_file_read(const char *path, config_file_fn *fn, void *ctx, struct err *err)
{
    void *text;
    size_t size;
    unsigned number = 0;
    int r = fd_read_file(path, FILE_MAX, &text, &size);

    if (r < 0)
        return err_set(err, r, "cannot read the configuration %s: %s", path, strerror(-r));
    for (char *line = text, *next; r == 0 && line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = 0;
        number++;
        r = read_line(line, fn, ctx, err);
    }
    free(text);
    if (r < 0)
        err_prefix(err, "%s, line %u", path, number);
    return r;
}
