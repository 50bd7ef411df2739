/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What two machines must agree on before one's guest can move to the other: the DESCRIPTION of docs/formats/migration.md. */
#ifndef FERRY_VMM_DESCRIBE_H
#define FERRY_VMM_DESCRIBE_H

#include <stdbool.h>
#include <stddef.h>

struct buffer;
struct err;
struct machine;

/* Whether this side could make an arbiter's decision: it has a disk that is written to, in a directory that it may write to. */
bool describe_can_arbitrate(const struct machine *machine);

/* Appends the description, one JSON object. */
int describe_machine(struct machine *machine, bool arbiter, struct buffer *out, struct err *err);

/* The destination looks at the source's. ret_arbiter: both can reach it. -EINVAL and others with a sentence that names both sides'
 * values and what to change. */
int describe_check(struct machine *machine, const void *description, size_t size, bool *ret_arbiter, struct err *err);

/* The source looks at the destination's answer. */
int describe_examine(struct machine *machine, const void *description, size_t size, bool *ret_arbiter, struct err *err);

#endif
