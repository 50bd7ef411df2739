/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Post-copy on the destination: the guest runs before all of its memory is here; a page that it touches and that is
 * missing is asked for, and its thread waits (userfaultfd). docs/formats/migration.md, "Post-copy". */
#ifndef FERRY_MIGRATION_POSTCOPY_H
#define FERRY_MIGRATION_POSTCOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define POSTCOPY_SILENCE_MS 15000 /* without a byte in a message, or between two while somebody waits for a page: the connection is lost */

struct channel;
struct compressor;
struct memory;
struct migration_progress;
struct postcopy;

/* Whether this host lets the process do that. userfault_device: see userfault.h. -ENOTSUP and others with a sentence that says what to
 * change. */
int postcopy_check(int userfault_device, struct err *err);

/* Takes out of memory what `missing` says (one bit a page, memory_bitmap_words() words, copied), and has everybody wait
 * for it from now on. memory and progress outlive it. */
int postcopy_new(struct memory *memory, int userfault_device, const uint64_t *missing, struct migration_progress *progress,
                 struct postcopy **ret_postcopy, struct err *err);

/* Accepts NULL. Pages that are still missing are zero then. */
void postcopy_free(struct postcopy *postcopy);

/* Serves one channel, which stays the caller's as its compressor does, until all pages are here (0, and the source knows), or it breaks (a
 * negative errno and a sentence; may be called again with another channel). */
int postcopy_serve(struct postcopy *postcopy, struct channel *channel, struct compressor *compressor, struct err *err);

/* Whether nothing is missing any more. Not while it serves. */
bool postcopy_complete(const struct postcopy *postcopy);

/* What is missing now: bits as for postcopy_new(). Not while it serves. */
const uint64_t *postcopy_missing(const struct postcopy *postcopy);

#endif
