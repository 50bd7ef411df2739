/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The source's bundle of channels: a round of pages is shared out among them, each with a thread of its own but the
 * first, which the caller serves. */
#ifndef FERRY_MIGRATION_LINK_H
#define FERRY_MIGRATION_LINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "migration/parameters.h"

struct channel;
struct delta_cache;
struct link;
struct memory;
struct migration_progress;
struct rate;

/* memory, progress and cancel outlive the link. Pages are packed as `compression` says. */
int link_new(const struct memory *memory, struct migration_progress *progress, const _Atomic bool *cancel,
             enum migration_compression compression, struct link **ret_link);

/* From the second round on pages may go as differences to what is in that cache, which outlives the link. Before any
 * channel is added. */
void link_use_delta(struct link *link, struct delta_cache *cache);

/* Breaks what is under way, ends the threads and frees the channels. Accepts NULL. */
void link_free(struct link *link);

/* Takes the channel over, on failure too. Not while a round is under way. The first one is served by the caller of
 * link_round(). */
int link_add(struct link *link, struct channel *channel);

struct channel *link_first(const struct link *link);

/* From any thread: see channel_break(). */
void link_break(struct link *link);

/* Called by who serves the first channel, between two pieces of a round. */
typedef int link_between_fn(void *ctx);

/* Sends all pages of the bitmap and ROUND on every channel, within rate's limit (NULL: none). skip_zero: as in struct
 * page_sender. between (may be NULL): a negative errno of it ends the round. ret_waited_ns: how long the limit held the
 * first channel up. -EREMOTEIO: the other side has something to say on the first one. */
int link_round(struct link *link, const uint64_t *bitmap, unsigned number, struct rate *rate, bool skip_zero,
               link_between_fn *between, void *between_ctx, int64_t *ret_waited_ns);

/* From any thread: the round under way ends early, with ROUND all the same. */
void link_interrupt(struct link *link);

/* The first word of the bitmap that the round, under way or the last one, has not looked at: from there on pages are
 * read later than this call. */
size_t link_done(const struct link *link);

uint64_t link_sent(const struct link *link);        /* bytes on all channels */
uint64_t link_outstanding(const struct link *link); /* of these: see channel_outstanding() */

#endif
