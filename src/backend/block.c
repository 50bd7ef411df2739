/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images: opening, locking, and the way of a request to its medium or to worker threads. */
#include <errno.h>
#include <unistd.h>

#include "backend/block_dirty.h"
#include "backend/block_lock.h"
#include "backend/block_medium.h"
#include "backend/qcow2.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "event/worker.h"
#include "nfs/url.h"

#define SECTOR_SIZE 512u
#define WORKERS_MAX 4

struct block_image {
    struct block_medium *medium;
    struct qcow2 *qcow2;       /* NULL: raw */
    uint64_t size;
    char *path;
    bool readonly, can_discard, no_lock;
    bool active;               /* the right to write is ours */
    uint64_t beacon;           /* 0: none is shown */
    struct block_dirty *dirty; /* NULL: not tracked */
    struct worker_pool *workers;
    unsigned in_flight;
    bool draining;
    struct block_counters counters;
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

const struct block_counters *block_counters(const struct block_image *image)
{
    return &image->counters;
}

static void count(struct block_counters *counters, const struct block_request *request, int result)
{
    if (result < 0) {
        counters->failed++;
        return;
    }
    counters->of[request->operation].operations++;
    counters->of[request->operation].bytes += request->size;
    counters->of[request->operation].nanoseconds += (uint64_t)(host_monotonic_ns() - request->submitted_ns);
}

static bool changes(const struct block_request *request)
{
    return request->operation != BLOCK_READ && request->operation != BLOCK_FLUSH;
}

static void finish(struct block_image *image, struct block_request *request, int result)
{
    image->in_flight--;
    count(&image->counters, request, result);
    if (image->dirty != NULL && changes(request)) /* failed or not: who knows what it has done */
        block_dirty_mark(image->dirty, request->offset, request->size);
    request->result = result;
    request->done(request);
}

/* Blocking; from any thread. */
static int execute(struct block_image *image, const struct block_request *request)
{
    return image->qcow2 != NULL ? qcow2_execute(image->qcow2, request) : image->medium->type->execute(image->medium, request);
}

static void job_run(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->result = execute(job->image, job->request);
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
        finish(image, request, execute(image, request));
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

/* What comes back half done is rare, and done again whole by a worker, which loops. */
static void medium_finished(void *ctx, struct block_request *request, int result)
{
    struct block_image *image = ctx;
    if (result == -EAGAIN)
        submit_to_worker(image, request);
    else
        finish(image, request, result);
}

static int check_request(const struct block_image *image, const struct block_request *request)
{
    if (!image->active)
        return -EPERM;
    if (changes(request) && image->readonly)
        return -EROFS;
    if (request->offset > image->size || request->size > image->size - request->offset)
        return -EINVAL;
    return request->iov_count > BLOCK_IOV_MAX ? -EINVAL : 0;
}

void block_submit(struct block_image *image, struct block_request *request)
{
    int r = check_request(image, request);
    image->in_flight++;
    request->submitted_ns = host_monotonic_ns();
    if (r < 0)
        finish(image, request, r);
    else if (image->qcow2 != NULL || !image->medium->type->submit(image->medium, request))
        submit_to_worker(image, request);
}

void block_drain(struct block_image *image)
{
    image->draining = true;
    while (image->in_flight > 0)
        if (!image->medium->type->wait(image->medium))
            worker_pool_drain(image->workers);
    image->draining = false;
}

static int image_size(struct block_image *image, struct err *err)
{
    uint64_t size = 0;
    int r = 0;
    if (image->qcow2 != NULL)
        size = qcow2_size(image->qcow2);
    else
        r = image->medium->type->size(image->medium, &size);
    if (r == -ENODEV)
        return err_set(err, -EINVAL, "disk image %s is neither a file nor a block device", image->path);
    if (r < 0)
        return err_set(err, r, "cannot find the size of disk image %s: %s", image->path, strerror(-r));
    image->size = align_down(size, SECTOR_SIZE);
    if (image->size == 0)
        return err_set(err, -EINVAL, "disk image %s is empty; give it a size first, for example truncate -s 10G %s", image->path,
                       image->path);
    return 0;
}

static int lock_image(const struct block_image *image, const struct block_config *config, struct err *err)
{
    if (config->no_lock)
        return 0;
    return block_lock_open(image->medium, image->path,
                           image->readonly ? BLOCK_LOCK_READ : config->incoming ? BLOCK_LOCK_CLAIM : BLOCK_LOCK_WRITE, err);
}

static int open_qcow2(struct block_image *image, struct loop *loop, struct err *err)
{
    const struct qcow2_config config = {.path = image->path, .readonly = image->readonly, .loop = loop};
    return qcow2_open(image->medium, &config, &image->qcow2, err);
}

static int open_medium(struct block_image *image, const struct block_config *config, struct loop *loop, struct err *err)
{
    int r;
    if (config->fd <= 0 && nfs_is_url(config->path))
        r = block_nfs_open(config, loop, &image->medium, err);
    else
        r = block_file_open(config, loop, &image->medium, err);
    if (r < 0)
        return r;
    image->medium->finished = medium_finished;
    image->medium->ctx = image;
    r = lock_image(image, config, err);
    if (r == 0 && config->format != NULL && text_equal(config->format, "qcow2"))
        r = open_qcow2(image, loop, err);
    return r < 0 ? r : image_size(image, err);
}

static int prepare(struct block_image *image, const struct block_config *config, struct loop *loop, struct err *err)
{
    int r = 0;
    image->readonly = config->readonly;
    image->no_lock = config->no_lock;
    image->active = config->readonly || !config->incoming;
    image->path = strdup(config->path);
    if (image->path == NULL || (r = worker_pool_new(loop, WORKERS_MAX, &image->workers)) < 0) {
        if (config->fd > 0)
            close(config->fd);
        return err_set(err, r < 0 ? r : -ENOMEM, "cannot prepare disk I/O for %s: %s", config->path, strerror(r < 0 ? -r : ENOMEM));
    }
    return open_medium(image, config, loop, err);
}

int block_open(const struct block_config *config, struct loop *loop, struct block_image **ret_image, struct err *err)
{
    struct block_image *image = calloc(1, sizeof(*image));
    int r = 0;
    if (config->format != NULL && !text_equal(config->format, "raw") && !text_equal(config->format, "qcow2"))
        r = err_set(err, -EINVAL, "disk format \"%s\" is unknown; there are raw and qcow2", config->format);
    else if (image == NULL)
        r = err_set(err, -ENOMEM, "no memory for disk image %s", config->path);
    if (r < 0) {
        if (config->fd > 0)
            close(config->fd);
        free(image);
        return r;
    }
    r = prepare(image, config, loop, err);
    if (r < 0) {
        block_close(image);
        return r;
    }
    image->can_discard = !image->readonly && (image->qcow2 != NULL || image->medium->type->can_discard(image->medium));
    *ret_image = image;
    return 0;
}

static int flush(struct block_image *image)
{
    const struct block_request request = {.operation = BLOCK_FLUSH};
    return execute(image, &request);
}

int block_inactivate(struct block_image *image, struct err *err)
{
    int r;
    if (image->readonly || !image->active)
        return 0;
    block_drain(image);
    r = flush(image);
    if (r < 0)
        return err_set(err, r, "cannot write disk image %s to stable storage: %s", image->path, strerror(-r));
    if (!image->no_lock)
        block_lock_release(image->medium);
    image->active = false;
    return 0;
}

int block_activate(struct block_image *image, struct err *err)
{
    int r = image->active || image->no_lock ? 0 : block_lock_take(image->medium, image->path, err);
    if (r == 0 && !image->active && image->qcow2 != NULL)
        r = qcow2_reload(image->qcow2, err);
    if (r == 0 && !image->active)
        r = image_size(image, err); /* it may have grown under the other one */
    if (r < 0)
        return r;
    image->active = true;
    return 0;
}

int block_track(struct block_image *image)
{
    block_untrack(image);
    return block_dirty_new(image->size, &image->dirty);
}

void block_untrack(struct block_image *image)
{
    block_dirty_free(image->dirty);
    image->dirty = NULL;
}

void block_take_dirty(struct block_image *image, uint64_t *bitmap)
{
    if (image->dirty != NULL)
        block_dirty_move(image->dirty, bitmap);
}

int block_execute(struct block_image *image, const struct block_request *request)
{
    int r = check_request(image, request);
    return r < 0 ? r : execute(image, request);
}

int block_find_data(struct block_image *image, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end)
{
    if (offset >= image->size) {
        *ret_start = *ret_end = image->size;
        return 0;
    }
    if (image->qcow2 != NULL)
        return qcow2_find_data(image->qcow2, offset, image->size, ret_start, ret_end);
    if (image->medium->type->find_data != NULL) {
        image->medium->type->find_data(image->medium, offset, image->size, ret_start, ret_end);
    } else {
        *ret_start = offset;
        *ret_end = image->size;
    }
    return 0;
}

int block_room(const struct block_image *image, struct block_room *ret_room)
{
    return image->medium->type->room != NULL ? image->medium->type->room(image->medium, ret_room) : -ENOTSUP;
}

int block_show_beacon(struct block_image *image, uint64_t *ret_beacon)
{
    block_hide_beacon(image);
    int r = block_lock_show_beacon(image->medium, &image->beacon);
    if (r == 0)
        *ret_beacon = image->beacon;
    return r;
}

void block_hide_beacon(struct block_image *image)
{
    if (image->beacon != 0)
        block_lock_hide_beacon(image->medium, image->beacon);
    image->beacon = 0;
}

bool block_sees_beacon(const struct block_image *image, uint64_t beacon)
{
    return block_lock_sees_beacon(image->medium, beacon);
}

void block_close(struct block_image *image)
{
    if (image == NULL)
        return;
    block_drain(image);
    if (image->medium != NULL && !image->readonly && image->active)
        flush(image);
    block_untrack(image);
    qcow2_close(image->qcow2);
    block_medium_close(image->medium);
    worker_pool_free(image->workers);
    free(image->path);
    free(image);
}
