/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images on NFS servers: requests go to the file's thread (nfs/file.h) and come back by an eventfd in the loop. */
#include <errno.h>
#include <pthread.h>

#include "backend/block_medium.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "event/loop.h"
#include "nfs/file.h"

struct block_nfs {
    struct block_medium medium;
    struct nfs_file *file;
    int done_fd;
    struct loop_source *source;
    unsigned under_way;   /* submitted and not told of; under the loop's lock */
    pthread_mutex_t lock; /* of `done` */
    pthread_cond_t came;
    struct nfs_io *done, **done_last;
};

struct nfs_request { /* a request on its way */
    struct nfs_io io;
    struct block_nfs *nfs;
    struct block_request *request;
};

static struct block_nfs *to_nfs(struct block_medium *medium)
{
    return CONTAINER_OF(medium, struct block_nfs, medium);
}

/* Tells of everything that has come. */
static bool deliver(struct block_nfs *nfs)
{
    struct nfs_io *io;

    pthread_mutex_lock(&nfs->lock);
    io = nfs->done;
    nfs->done = NULL;
    nfs->done_last = &nfs->done;
    pthread_mutex_unlock(&nfs->lock);
    if (io == NULL)
        return false;
    while (io != NULL) {
        struct nfs_request *own = CONTAINER_OF(io, struct nfs_request, io);
        struct block_request *request = own->request;
        int result = io->result;

        io = io->next;
        free(own);
        nfs->under_way--;
        nfs->medium.finished(nfs->medium.ctx, request, result);
    }
    return true;
}

static void on_done(void *ctx, unsigned events)
{
    struct block_nfs *nfs = ctx;

    eventfd_drain(nfs->done_fd);
    deliver(nfs);
}

/* In the file's thread. */
static void io_done(struct nfs_io *io)
{
    struct block_nfs *nfs = CONTAINER_OF(io, struct nfs_request, io)->nfs;

    io->next = NULL;
    pthread_mutex_lock(&nfs->lock);
    *nfs->done_last = io;
    nfs->done_last = &io->next;
    eventfd_signal(nfs->done_fd);
    pthread_cond_signal(&nfs->came);
    pthread_mutex_unlock(&nfs->lock);
}

static bool describe(const struct block_request *request, struct nfs_io *io)
{
    switch (request->operation) {
    case BLOCK_READ:
        io->operation = NFS_IO_READ;
        break;
    case BLOCK_WRITE:
        io->operation = NFS_IO_WRITE;
        break;
    case BLOCK_FLUSH:
        io->operation = NFS_IO_FLUSH;
        break;
    default:
        return false;
    }
    io->offset = request->offset;
    io->size = request->size;
    io->iov = request->iov;
    io->iov_count = request->iov_count;
    return true;
}

static bool nfs_submit(struct block_medium *medium, struct block_request *request)
{
    struct block_nfs *nfs = to_nfs(medium);
    struct nfs_request *own = calloc(1, sizeof(*own));

    if (own == NULL || !describe(request, &own->io)) {
        free(own);
        return false;
    }
    own->io.done = io_done;
    own->nfs = nfs;
    own->request = request;
    nfs->under_way++;
    nfs_file_submit(nfs->file, &own->io);
    return true;
}

static bool nfs_wait(struct block_medium *medium)
{
    struct block_nfs *nfs = to_nfs(medium);

    if (nfs->under_way == 0)
        return false;
    nfs_file_set_patience(nfs->file, false);
    pthread_mutex_lock(&nfs->lock);
    while (nfs->done == NULL)
        pthread_cond_wait(&nfs->came, &nfs->lock);
    pthread_mutex_unlock(&nfs->lock);
    nfs_file_set_patience(nfs->file, true);
    return deliver(nfs);
}

/* A request that somebody waits for on the spot. */
struct waiting {
    struct nfs_io io;
    pthread_mutex_t lock;
    pthread_cond_t came;
    bool done;
};

static void waiting_done(struct nfs_io *io)
{
    struct waiting *waiting = CONTAINER_OF(io, struct waiting, io);

    pthread_mutex_lock(&waiting->lock);
    waiting->done = true;
    pthread_cond_signal(&waiting->came);
    pthread_mutex_unlock(&waiting->lock);
}

static int wait_for(struct block_nfs *nfs, const struct block_request *request)
{
    struct waiting waiting = {.io.done = waiting_done, .lock = PTHREAD_MUTEX_INITIALIZER, .came = PTHREAD_COND_INITIALIZER};

    if (!describe(request, &waiting.io))
        return -EOPNOTSUPP;
    nfs_file_submit(nfs->file, &waiting.io);
    pthread_mutex_lock(&waiting.lock);
    while (!waiting.done)
        pthread_cond_wait(&waiting.came, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    return waiting.io.result;
}

/* NFS 4.0 can't punch holes. */
static int write_zeros(struct block_nfs *nfs, uint64_t offset, uint64_t size)
{
    static uint8_t zeros[256 * 1024];
    struct block_request request = {.operation = BLOCK_WRITE, .iov_count = 1};
    int r = 0;

    while (r == 0 && size > 0) {
        request.offset = offset;
        request.size = size < sizeof(zeros) ? size : sizeof(zeros);
        request.iov[0] = (struct iovec){.iov_base = zeros, .iov_len = request.size};
        r = wait_for(nfs, &request);
        offset += request.size;
        size -= request.size;
    }
    return r;
}

static int nfs_execute(struct block_medium *medium, const struct block_request *request)
{
    switch (request->operation) {
    case BLOCK_DISCARD:
        return 0; /* a hint */
    case BLOCK_WRITE_ZEROES:
        return write_zeros(to_nfs(medium), request->offset, request->size);
    default:
        return wait_for(to_nfs(medium), request);
    }
}

static int nfs_size(struct block_medium *medium, uint64_t *ret_size)
{
    struct block_nfs *nfs = to_nfs(medium);
    int r = nfs_file_look_at_size(nfs->file);

    if (r == 0)
        *ret_size = nfs_file_size(nfs->file);
    return r;
}

static int nfs_room(struct block_medium *medium, struct block_room *ret_room)
{
    struct nfs_room room;
    int r = nfs_file_look_at_room(to_nfs(medium)->file, &room);

    if (r == 0)
        *ret_room = (struct block_room){.device = room.file_system, .used = room.used, .left = room.left};
    return r;
}

static bool nfs_can_discard(struct block_medium *medium)
{
    return false;
}

static int nfs_lock(struct block_medium *medium, uint64_t start, uint64_t length, enum block_lock_wish wish)
{
    static const enum nfs_lock_wish wishes[] = {
        [BLOCK_UNLOCK] = NFS_WISH_NONE, [BLOCK_LOCK_SHARED] = NFS_WISH_READ, [BLOCK_LOCK_EXCLUSIVE] = NFS_WISH_WRITE};

    return nfs_file_lock(to_nfs(medium)->file, start, length, wishes[wish]);
}

static int nfs_look(struct block_medium *medium, uint64_t start, uint64_t length)
{
    return nfs_file_look_at_lock(to_nfs(medium)->file, start, length);
}

static void nfs_close(struct block_medium *medium)
{
    struct block_nfs *nfs = to_nfs(medium);

    nfs_file_close(nfs->file);
    loop_remove(nfs->source);
    fd_close(&nfs->done_fd);
    pthread_cond_destroy(&nfs->came);
    pthread_mutex_destroy(&nfs->lock);
    free(nfs);
}

static const struct block_medium_type nfs_type = {
    .execute = nfs_execute,
    .submit = nfs_submit,
    .wait = nfs_wait,
    .size = nfs_size,
    .can_discard = nfs_can_discard,
    .room = nfs_room,
    .lock = nfs_lock,
    .look = nfs_look,
    .close = nfs_close,
};

int block_nfs_open(const struct block_config *config, struct loop *loop, struct block_medium **ret_medium, struct err *err)
{
    const struct nfs_file_config file = {
        .url = config->path, .readonly = config->readonly, .notice = config->notice, .ctx = config->notice_ctx,
        .confine = config->confine};
    struct block_nfs *nfs = calloc(1, sizeof(*nfs));
    int r;

    if (nfs == NULL)
        return err_set(err, -ENOMEM, "no memory for disk image %s", config->path);
    nfs->medium.type = &nfs_type;
    nfs->done_last = &nfs->done;
    nfs->done_fd = -1;
    pthread_mutex_init(&nfs->lock, NULL);
    pthread_cond_init(&nfs->came, NULL);
    r = eventfd_new(&nfs->done_fd);
    if (r == 0)
        r = loop_add(loop, nfs->done_fd, LOOP_READ, on_done, nfs, &nfs->source);
    r = r < 0 ? err_set(err, r, "cannot prepare disk I/O for %s: %s", config->path, strerror(-r))
              : nfs_file_open(&file, &nfs->file, err);
    if (r < 0) {
        nfs_close(&nfs->medium);
        return r;
    }
    *ret_medium = &nfs->medium;
    return 0;
}
