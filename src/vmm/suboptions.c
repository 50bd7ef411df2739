/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comma-separated values of options. */
#include "vmm/suboptions.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/text.h"

char *suboption_next(const char **text)
{
    const char *in = *text;
    char *piece, *out;

    if (*in == 0)
        return NULL;
    piece = out = malloc(strlen(in) + 1);
    if (piece == NULL)
        return NULL;
    for (; *in != 0; in++) {
        if (*in == ',' && *++in != ',')
            break;
        *out++ = *in;
    }
    *out = 0;
    *text = in;
    return piece;
}

char *suboption_value(char *piece)
{
    char *equals = strchr(piece, '=');

    if (equals == NULL)
        return NULL;
    *equals = 0;
    return equals + 1;
}

int suboption_bool(const char *key, const char *value, bool *ret_value, struct err *err)
{
    static const char *const words[][2] = {{"off", "on"}, {"no", "yes"}, {"false", "true"}};

    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (unsigned j = 0; j < 2; j++) {
            if (text_equal(value, words[i][j])) {
                *ret_value = j;
                return 0;
            }
        }
    }
    return err_set(err, -EINVAL, "%s must be on or off, not '%s'", key, value);
}
