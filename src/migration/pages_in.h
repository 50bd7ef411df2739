/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PAGES messages from a channel into guest RAM: checked first. */
#ifndef FERRY_MIGRATION_PAGES_IN_H
#define FERRY_MIGRATION_PAGES_IN_H

#include "migration/stream.h"

struct compressor;
struct memory;
struct migration_progress;

/* The body of one PAGES message. compressor: the channel's. deltas: differences may be among them. -EBADMSG with a
 * sentence: what the table or the sizes say is wrong, and nothing was written; or a difference is, and what stood
 * before it was. */
int pages_receive(struct channel *channel, const struct message *message, struct compressor *compressor, bool deltas,
                  struct memory *memory, struct migration_progress *progress, struct err *err);

/* What follows the first `head` bytes of a PAGES or BLOCKS, which have come: so many bytes, unpacked, which are the compressor's until
 * the next call. */
int pages_receive_contents(struct channel *channel, const struct message *message, size_t head, struct compressor *compressor,
                           uint64_t contents, const uint8_t **ret_data, struct err *err);

#endif
