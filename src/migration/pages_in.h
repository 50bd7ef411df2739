/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PAGES messages from a channel into guest RAM: checked first, then received straight to where they belong. */
#ifndef FERRY_MIGRATION_PAGES_IN_H
#define FERRY_MIGRATION_PAGES_IN_H

#include "migration/stream.h"

struct compressor;
struct memory;
struct migration_progress;

/* The body of one PAGES message. compressor: the channel's. fresh: most of these pages have not been touched yet, so
 * they are written through the memfd, which is several times faster than having each of them faulted in. -EBADMSG with
 * a sentence: nothing was written. */
int pages_receive(struct channel *channel, const struct message *message, struct compressor *compressor, bool fresh,
                  struct memory *memory, struct migration_progress *progress, struct err *err);

#endif
