/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the block files of this room: requests on a plain file descriptor, done here and now or by io_uring. */
#ifndef FERRY_BACKEND_BLOCK_FILE_H
#define FERRY_BACKEND_BLOCK_FILE_H

#include "backend/block.h"

/* Does the whole request, blocking. Returns its result. */
int block_file_execute(int fd, const struct block_request *request);

/* Whether holes can be punched. */
bool block_file_can_discard(int fd, uint64_t size);

struct block_ring;

/* finished: a request has ended with this result (0, or a negative errno; -EAGAIN: not done whole, do it otherwise). */
int block_ring_new(int fd, struct loop *loop, void (*finished)(void *ctx, struct block_request *request, int result),
                   void *ctx, struct block_ring **ret_ring);
void block_ring_free(struct block_ring *ring); /* nothing in flight; accepts NULL */

/* Whether the ring does this kind of operation. */
bool block_ring_does(enum block_operation operation);

/* Any number of requests: those past the ring's size wait. */
void block_ring_submit(struct block_ring *ring, struct block_request *request);

/* Waits until something has finished, and serves it. False: nothing was in flight. */
bool block_ring_wait(struct block_ring *ring);

#endif
