/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The image below a qcow2 image: raw or qcow2, read only, found beside the one above when its name is relative. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block_lock.h"
#include "backend/qcow2_internal.h"
#include "base/err.h"
#include "base/text.h"
#include "nfs/url.h"

struct qcow2_backing {
    struct block_medium *medium;
    struct qcow2 *qcow2; /* NULL: raw */
    uint64_t size;
};

/* Beside the image above, whose query (of a URL) holds for this one too. */
static int find(const char *above, const char *name, char path[static PATH_MAX])
{
    bool url = nfs_is_url(above);
    const char *query = url ? strchr(above, '?') : NULL;
    size_t length = query != NULL ? (size_t)(query - above) : strlen(above);

    if (nfs_is_url(name) || (name[0] == '/' && !url))
        return text_format(path, PATH_MAX, "%s", name);
    if (name[0] == '/')
        return -ENOTSUP;
    while (length > 0 && above[length - 1] != '/')
        length--;
    return text_format(path, PATH_MAX, "%.*s%s%s", (int)length, above, name, query != NULL ? query : "");
}

static int open_medium(struct qcow2_backing *backing, const char *path, struct loop *loop, struct err *err)
{
    const struct block_config config = {.path = path, .readonly = true, .io = "threads"};
    int r = nfs_is_url(path) ? block_nfs_open(&config, loop, &backing->medium, err)
                             : block_file_open(&config, loop, &backing->medium, err);

    if (r == 0)
        r = block_lock_open(backing->medium, path, BLOCK_LOCK_READ, err);
    if (r == 0) {
        r = backing->medium->type->size(backing->medium, &backing->size);
        if (r < 0)
            err_set(err, r, "cannot find the size of disk image %s: %s", path, strerror(-r));
    }
    return r;
}

static int open_image(struct qcow2_backing *backing, const struct qcow2_config *config, const char *format,
                      struct err *err)
{
    const char *path = config->path;
    int r = open_medium(backing, path, config->loop, err);

    if (r < 0 || text_equal(format, "raw"))
        return r;
    if (!text_equal(format, "qcow2"))
        return err_set(err, -ENOTSUP, "disk image %s is of format %s; raw and qcow2 are known", path, format);
    r = qcow2_open(backing->medium, config, &backing->qcow2, err);
    if (r == 0)
        backing->size = qcow2_size(backing->qcow2);
    return r;
}

int qcow2_backing_open(struct qcow2 *q, const char *name, const char *format, struct err *err)
{
    char path[PATH_MAX];
    struct qcow2_backing *backing;
    struct qcow2_config config;
    int r;

    if (q->config.depth >= QCOW2_BACKING_DEPTH_MAX)
        return err_set(err, -ELOOP, "disk image %s has more than %d images below it", q->path, QCOW2_BACKING_DEPTH_MAX);
    if (find(q->path, name, path) < 0)
        return err_set(err, -ENOTSUP, "disk image %s has backing image %s, which can't be found from there", q->path,
                       name);
    backing = calloc(1, sizeof(*backing));
    if (backing == NULL)
        return err_set(err, -ENOMEM, "no memory for disk image %s", path);
    config =
        (struct qcow2_config){.path = path, .readonly = true, .depth = q->config.depth + 1, .loop = q->config.loop};
    r = open_image(backing, &config, format, err);
    if (r < 0) {
        if (q->config.depth == 0)
            err_prefix(err, "the images below %s", q->path);
        qcow2_backing_close(backing);
        return r;
    }
    q->backing = backing;
    return 0;
}

void qcow2_backing_close(struct qcow2_backing *backing)
{
    if (backing == NULL)
        return;
    qcow2_close(backing->qcow2);
    block_medium_close(backing->medium);
    free(backing);
}

int qcow2_backing_read(struct qcow2_backing *backing, void *data, size_t size, uint64_t offset)
{
    struct block_request request;
    uint64_t there = offset >= backing->size ? 0 : backing->size - offset;

    if (there < size) {
        memset((uint8_t *)data + there, 0, size - (size_t)there);
        size = (size_t)there;
    }
    if (size == 0)
        return 0;
    request.operation = BLOCK_READ;
    request.offset = offset;
    request.size = size;
    request.iov[0] = (struct iovec){.iov_base = data, .iov_len = size};
    request.iov_count = 1;
    request.unmap = false;
    return backing->qcow2 != NULL ? qcow2_execute(backing->qcow2, &request)
                                  : backing->medium->type->execute(backing->medium, &request);
}
