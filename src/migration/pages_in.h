/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PAGES messages from a channel into guest RAM: checked first. */
#ifndef FERRY_MIGRATION_PAGES_IN_H
#define FERRY_MIGRATION_PAGES_IN_H

#include "migration/stream.h"

struct compressor;
struct memory;
struct migration_progress;

/* The body of one PAGES message. compressor: the channel's. -EBADMSG with a sentence: nothing was written. */
int pages_receive(struct channel *channel, const struct message *message, struct compressor *compressor,
                  struct memory *memory, struct migration_progress *progress, struct err *err);

#endif
