/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images: opening, locking, and the way of a request to io_uring or to worker threads. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "backend/block_lock.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "event/worker.h"

#define SECTOR_SIZE 512u
#define WORKERS_MAX 4

struct block_image {
    int fd;
    uint64_t size;
    char *path;
    bool readonly, can_discard, no_lock;
    bool active;               /* the right to write is ours */
    struct block_ring *ring;   /* NULL: workers do everything */
    struct worker_pool *workers;
    unsigned in_flight;
    bool draining;
};

struct job { /* a request in a worker's hands */
    struct work work;
    struct block_image *image;
    struct block_request *request;
    int result;
};

uint64_t block_size(const struct block_image *image)
{
    return image->size;
}

bool block_readonly(const struct block_image *image)
{
    return image->readonly;
}

bool block_active(const struct block_image *image)
{
    return image->active;
}

const char *block_path(const struct block_image *image)
{
    return image->path;
}

bool block_can_discard(const struct block_image *image)
{
    return image->can_discard;
}

static void finish(struct block_image *image, struct block_request *request, int result)
{
    image->in_flight--;
    request->result = result;
    request->done(request);
}

static void job_run(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->result = block_file_execute(job->image->fd, job->request);
}

static void job_done(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    struct block_image *image = job->image;
    struct block_request *request = job->request;
    int result = job->result;
    free(job);
    finish(image, request, result);
}

/* While somebody waits for the image anyway the work is done on the spot: a drain may run in a thread, such as a vCPU's,
 * that is not allowed to start workers. */
static void submit_to_worker(struct block_image *image, struct block_request *request)
{
    if (image->draining) {
        finish(image, request, block_file_execute(image->fd, request));
        return;
    }
    struct job *job = malloc(sizeof(*job));
    int r = -ENOMEM;
    if (job != NULL) {
        *job = (struct job){.work = {.run = job_run, .done = job_done}, .image = image, .request = request};
        r = worker_pool_submit(image->workers, &job->work);
    }
    if (r < 0) {
        free(job);
        finish(image, request, r);
    }
}

/* Short transfers are rare and done again whole by a worker, which loops. */
static void ring_finished(void *ctx, struct block_request *request, int result)
{
    struct block_image *image = ctx;
    if (result == -EAGAIN)
        submit_to_worker(image, request);
    else
        finish(image, request, result);
}

static int check_request(const struct block_image *image, const struct block_request *request)
{
    bool changes = request->operation != BLOCK_READ && request->operation != BLOCK_FLUSH;
    if (!image->active)
        return -EPERM;
    if (changes && image->readonly)
        return -EROFS;
    if (request->offset > image->size || request->size > image->size - request->offset)
        return -EINVAL;
    return request->iov_count > BLOCK_IOV_MAX ? -EINVAL : 0;
}

void block_submit(struct block_image *image, struct block_request *request)
{
    int r = check_request(image, request);
    image->in_flight++;
    if (r < 0)
        finish(image, request, r);
    else if (image->ring != NULL && block_ring_does(request->operation))
        block_ring_submit(image->ring, request);
    else
        submit_to_worker(image, request);
}

void block_drain(struct block_image *image)
{
    image->draining = true;
    while (image->in_flight > 0)
        if (image->ring == NULL || !block_ring_wait(image->ring))
            worker_pool_drain(image->workers);
    image->draining = false;
}

static int image_size(struct block_image *image, const char *path, struct err *err)
{
    struct stat st;
    uint64_t size = 0;
    if (fstat(image->fd, &st) < 0)
        return err_set(err, -errno, "cannot look at disk image %s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode))
        size = (uint64_t)st.st_size;
    else if (!S_ISBLK(st.st_mode))
        return err_set(err, -EINVAL, "disk image %s is neither a file nor a block device", path);
    else if (ioctl(image->fd, BLKGETSIZE64, &size) < 0)
        return err_set(err, -errno, "cannot find the size of block device %s: %s", path, strerror(errno));
    image->size = align_down(size, SECTOR_SIZE);
    if (image->size == 0)
        return err_set(err, -EINVAL, "disk image %s is empty; give it a size first, for example truncate -s 10G %s", path,
                       path);
    return 0;
}

static int lock_image(const struct block_image *image, const struct block_config *config, struct err *err)
{
    if (config->no_lock)
        return 0;
    return block_lock_open(image->fd, image->path,
                           image->readonly ? BLOCK_LOCK_READ : config->incoming ? BLOCK_LOCK_CLAIM : BLOCK_LOCK_WRITE, err);
}

static int open_file(struct block_image *image, const struct block_config *config, struct err *err)
{
    if (config->fd > 0)
        image->fd = config->fd;
    else
        image->fd = open(config->path, (config->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (image->fd < 0) {
        bool hint = !config->readonly && (errno == EACCES || errno == EROFS) && access(config->path, R_OK) == 0;
        return err_set(err, -errno, "cannot open disk image %s: %s%s", config->path, strerror(errno),
                       hint ? "; it can be read, so readonly=on would work" : "");
    }
    int r = image_size(image, config->path, err);
    return r < 0 ? r : lock_image(image, config, err);
}

static int open_workers(struct block_image *image, const struct block_config *config, struct loop *loop, struct err *err)
{
    const char *io = config->io != NULL ? config->io : "auto";
    bool automatic = text_equal(io, "auto");
    if (!automatic && !text_equal(io, "uring") && !text_equal(io, "threads"))
        return err_set(err, -EINVAL, "disk I/O \"%s\" is unknown; there are auto, uring and threads", io);
    int r = worker_pool_new(loop, WORKERS_MAX, &image->workers);
    if (r < 0)
        return err_set(err, r, "cannot prepare disk I/O for %s: %s", config->path, strerror(-r));
    if (text_equal(io, "threads"))
        return 0;
    r = block_ring_new(image->fd, loop, ring_finished, image, &image->ring);
    if (r < 0 && !automatic)
        return err_set(err, r, "this host gives no io_uring (%s); io=threads works everywhere", strerror(-r));
    return 0;
}

int block_open(const struct block_config *config, struct loop *loop, struct block_image **ret_image, struct err *err)
{
    if (config->format != NULL && !text_equal(config->format, "raw"))
        return err_set(err, -EINVAL, "disk format \"%s\" is unknown; there is raw", config->format);
    struct block_image *image = calloc(1, sizeof(*image));
    if (image == NULL)
        return err_set(err, -ENOMEM, "no memory for disk image %s", config->path);
    image->fd = -1;
    image->readonly = config->readonly;
    image->no_lock = config->no_lock;
    image->active = config->readonly || !config->incoming;
    image->path = strdup(config->path);
    int r = image->path == NULL ? err_set(err, -ENOMEM, "no memory for disk image %s", config->path)
                                : open_file(image, config, err);
    if (r == 0)
        r = open_workers(image, config, loop, err);
    if (r < 0) {
        block_close(image);
        return r;
    }
    image->can_discard = !image->readonly && block_file_can_discard(image->fd, image->size);
    *ret_image = image;
    return 0;
}

int block_inactivate(struct block_image *image, struct err *err)
{
    if (image->readonly || !image->active)
        return 0;
    block_drain(image);
    if (fdatasync(image->fd) < 0)
        return err_set(err, -errno, "cannot write disk image %s to stable storage: %s", image->path, strerror(errno));
    if (!image->no_lock)
        block_lock_release(image->fd);
    image->active = false;
    return 0;
}

int block_activate(struct block_image *image, struct err *err)
{
    int r = image->active || image->no_lock ? 0 : block_lock_take(image->fd, image->path, err);
    if (r == 0 && !image->active)
        r = image_size(image, image->path, err); /* it may have grown under the other one */
    if (r < 0)
        return r;
    image->active = true;
    return 0;
}

void block_close(struct block_image *image)
{
    if (image == NULL)
        return;
    block_drain(image);
    if (image->fd >= 0 && !image->readonly && image->active)
        fdatasync(image->fd);
    block_ring_free(image->ring);
    worker_pool_free(image->workers);
    fd_close(&image->fd);
    free(image->path);
    free(image);
}
