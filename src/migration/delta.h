/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages that are sent again as differences to what was sent before: RUN_DELTA of docs/formats/migration.md, and the
 * source's cache of what the destination has. */
#ifndef FERRY_MIGRATION_DELTA_H
#define FERRY_MIGRATION_DELTA_H

#include <stddef.h>
#include <stdint.h>

#define DELTA_SIZE_MAX 2048 /* bytes; what is longer is sent whole */

struct delta_cache;
struct migration_progress;

/* What makes the page `from` into the page `to`: its size, 1 to DELTA_SIZE_MAX; 0: they are equal; -EOVERFLOW: longer.
 */
int delta_encode(const uint8_t *from, const uint8_t *to, uint8_t *ret_delta);

/* Makes the page into what the delta says. -EBADMSG: that is none, and the page is as it was. */
int delta_apply(uint8_t *page, const uint8_t *delta, size_t size);

/* Of at most so many bytes of pages, at least one page; memory comes as it is filled. progress outlives it. */
int delta_cache_new(uint64_t size, struct migration_progress *progress, struct delta_cache **ret_cache);
void delta_cache_free(struct delta_cache *cache); /* accepts NULL */

/* This is what page `number` will be on the destination after this round; from any thread, each page by one at a time.
 * Answers as delta_encode(), from what the destination has had; -ENOENT: that is not known. */
int delta_cache_update(struct delta_cache *cache, uint64_t number, unsigned round, const uint8_t *page,
                       uint8_t *ret_delta);

/* The page is sent as something else. */
void delta_cache_drop(struct delta_cache *cache, uint64_t number);

#endif
