/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What two machines must agree on before one's guest can move to the other: the DESCRIPTION of
 * docs/formats/migration.md.
 *
 * Loop thread, lock held. */
#ifndef FERRY_VMM_DESCRIBE_H
#define FERRY_VMM_DESCRIBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block_image;
struct board;
struct buffer;
struct err;
struct machine;
struct memory;

/* Whether this side could make an arbiter's decision: it has a disk that is written to and not copied, in a directory that it may
 * write to. storage: which ones are copied may not be known yet, so all of them must be such. */
bool describe_can_arbitrate(const struct machine *machine, bool storage);

/* No disk is marked as copied (plug.h) until describe_check() or describe_examine() marks it. */
void describe_forget_copies(const struct machine *machine);

/* Appends the description, one JSON object. The source's shows beacons on its disks, until describe_end(). storage: it wants disks
 * copied that are not shared. */
int describe_machine(struct machine *machine, bool source, bool storage, bool arbiter, struct buffer *out, struct err *err);
void describe_end(struct machine *machine);

/* The destination looks at the source's. ret_arbiter: both can reach it. -EINVAL and others with a sentence that names
 * both sides' values and what to change. */
int describe_check(struct machine *machine, const void *description, size_t size, bool *ret_arbiter, struct err *err);

/* The source looks at the destination's answer. *arbiter: it can reach it; behind: so can the destination. */
int describe_examine(struct machine *machine, const void *description, size_t size, bool storage, bool *arbiter, struct err *err);

/* Parts of a description, new references. */
json_t *describe_memory(const struct memory *memory);
json_t *describe_disks(const struct board *board, bool beacons);
json_t *describe_networks(const struct board *board);

/* Bytes that an image takes on its file system; its size where that can't be told. */
uint64_t describe_disk_used(const struct block_image *image);

/* What this host could still give, in bytes. */
uint64_t describe_free_memory(void);

#endif
