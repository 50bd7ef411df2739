/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arguments of QMP commands that take more than one of a fixed type. Sentences are QEMU's; -EINVAL. */
#ifndef FERRY_VMM_CONTROL_ARGUMENTS_H
#define FERRY_VMM_CONTROL_ARGUMENTS_H

#include <jansson.h>
#include <stdbool.h>

struct err;

/* Refuses what is not among `allowed`, which ends with NULL. */
int control_check_keys(json_t *arguments, const char *const allowed[], struct err *err);

/* The arguments' own string; NULL when it is not needed and not there. */
int control_get_text(json_t *arguments, const char *key, bool needed, const char **ret_text, struct err *err);

/* False when it is not there. */
int control_get_flag(json_t *arguments, const char *key, bool *ret_value, struct err *err);

#endif
