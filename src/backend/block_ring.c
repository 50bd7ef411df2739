/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block requests on a file descriptor by io_uring; an eventfd in the loop tells of completions. */
#include <errno.h>
#include <liburing.h>

#include "backend/block_file.h"
#include "base/fd.h"
#include "event/loop.h"

#define RING_ENTRIES 128u

struct block_ring {
    struct io_uring uring;
    int fd, event_fd;
    struct loop_source *source;
    unsigned in_flight;
    struct block_request *waiting, **waiting_end; /* linked by image_private */
    void (*finished)(void *ctx, struct block_request *request, int result);
    void *ctx;
};

bool block_ring_does(enum block_operation operation)
{
    return operation == BLOCK_READ || operation == BLOCK_WRITE || operation == BLOCK_FLUSH;
}

static void prepare(struct io_uring_sqe *sqe, int fd, struct block_request *request)
{
    if (request->operation == BLOCK_READ)
        io_uring_prep_readv(sqe, fd, request->iov, request->iov_count, request->offset);
    else if (request->operation == BLOCK_WRITE)
        io_uring_prep_writev(sqe, fd, request->iov, request->iov_count, request->offset);
    else
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data(sqe, request);
}

/* Hands waiting requests to the kernel while there is room. A submission that fails stays in the ring for the next. */
static void start(struct block_ring *ring)
{
    while (ring->waiting != NULL && ring->in_flight < RING_ENTRIES) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
        if (sqe == NULL)
            break;
        struct block_request *request = ring->waiting;
        ring->waiting = request->image_private;
        if (ring->waiting == NULL)
            ring->waiting_end = &ring->waiting;
        prepare(sqe, ring->fd, request);
        ring->in_flight++;
    }
    io_uring_submit(&ring->uring);
}

void block_ring_submit(struct block_ring *ring, struct block_request *request)
{
    request->image_private = NULL;
    *ring->waiting_end = request;
    ring->waiting_end = (struct block_request **)&request->image_private;
    start(ring);
}

static int outcome(const struct block_request *request, int n)
{
    if (n == -EINTR || (n >= 0 && request->operation != BLOCK_FLUSH && (uint64_t)n != request->size))
        return -EAGAIN;
    return n < 0 ? n : 0;
}

/* The completion's request may submit others from within finished(). */
static void reap(struct block_ring *ring)
{
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        struct block_request *request = io_uring_cqe_get_data(cqe);
        int n = cqe->res;
        io_uring_cqe_seen(&ring->uring, cqe);
        ring->in_flight--;
        ring->finished(ring->ctx, request, outcome(request, n));
    }
    start(ring);
}

static void completed(void *ctx, unsigned events)
{
    struct block_ring *ring = ctx;
    eventfd_drain(ring->event_fd);
    reap(ring);
}

bool block_ring_wait(struct block_ring *ring)
{
    struct io_uring_cqe *cqe;
    if (ring->in_flight == 0)
        return false;
    io_uring_submit_and_wait(&ring->uring, 1);
    if (io_uring_peek_cqe(&ring->uring, &cqe) == 0)
        reap(ring);
    return true;
}

int block_ring_new(int fd, struct loop *loop, void (*finished)(void *ctx, struct block_request *request, int result),
                   void *ctx, struct block_ring **ret_ring)
{
    struct block_ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL)
        return -ENOMEM;
    ring->fd = fd;
    ring->event_fd = -1;
    ring->waiting_end = &ring->waiting;
    ring->finished = finished;
    ring->ctx = ctx;
    int r = io_uring_queue_init(RING_ENTRIES, &ring->uring, 0);
    if (r < 0) {
        free(ring);
        return r;
    }
    r = eventfd_new(&ring->event_fd);
    if (r == 0)
        r = io_uring_register_eventfd(&ring->uring, ring->event_fd);
    if (r == 0)
        r = loop_add(loop, ring->event_fd, LOOP_READ, completed, ring, &ring->source);
    if (r < 0) {
        block_ring_free(ring);
        return r;
    }
    *ret_ring = ring;
    return 0;
}

void block_ring_free(struct block_ring *ring)
{
    if (ring == NULL)
        return;
    loop_remove(ring->source);
    io_uring_queue_exit(&ring->uring);
    fd_close(&ring->event_fd);
    free(ring);
}
