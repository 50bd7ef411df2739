/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Comma-separated values of options: "FILE,key=value,key=value". A doubled comma stands for a comma in a value. */
#ifndef FERRY_VMM_SUBOPTIONS_H
#define FERRY_VMM_SUBOPTIONS_H

#include <stdbool.h>

struct err;

/* Cuts the next piece off *text: returns a new string (caller frees) and moves *text on; NULL at the end or without
 * memory. */
char *suboption_next(const char **text);

/* Splits "key=value" in place: returns the value, NULL when there is no '='. */
char *suboption_value(char *piece);

/* "on" or "off" (also yes/no, true/false). -EINVAL with a sentence. */
int suboption_bool(const char *key, const char *value, bool *ret_value, struct err *err);

#endif
