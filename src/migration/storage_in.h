/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The destination's part in copying disks: it compares, writes, and puts on stable storage. */
#ifndef FERRY_MIGRATION_STORAGE_IN_H
#define FERRY_MIGRATION_STORAGE_IN_H

#include "migration/disks.h"
#include "migration/stream.h"

struct channel;
struct compressor;
struct migration_progress;
struct storage_in;

/* disks and progress outlive it. -ENOMEM with a sentence. */
int storage_in_new(const struct migration_disks *disks, struct migration_progress *progress,
                   struct storage_in **ret_storage, struct err *err);
void storage_in_free(struct storage_in *storage); /* accepts NULL */

/* Serves a COMPARE, BLOCKS or SYNC whose header has come, with its answer. -EBADMSG and others with a sentence. */
int storage_in_serve(struct storage_in *storage, struct channel *channel, const struct message *message,
                     struct compressor *compressor, struct err *err);

/* Everything that was written is on stable storage. Accepts NULL. */
int storage_in_flush(struct storage_in *storage, struct err *err);

#endif
