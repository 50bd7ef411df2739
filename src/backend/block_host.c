/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images in files and block devices of this host: io_uring where there is one, blocking calls in workers elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "backend/block_file.h"
#include "backend/block_medium.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"

struct block_host {
    struct block_medium medium;
    int fd;
    struct block_ring *ring; /* NULL: there is none */
};

static struct block_host *to_host(struct block_medium *medium)
{
    return CONTAINER_OF(medium, struct block_host, medium);
}

static int host_execute(struct block_medium *medium, const struct block_request *request)
{
    return block_file_execute(to_host(medium)->fd, request);
}

static bool host_submit(struct block_medium *medium, struct block_request *request)
{
    struct block_host *host = to_host(medium);

    if (host->ring == NULL || !block_ring_does(request->operation))
        return false;
    block_ring_submit(host->ring, request);
    return true;
}

static bool host_wait(struct block_medium *medium)
{
    struct block_host *host = to_host(medium);

    return host->ring != NULL && block_ring_wait(host->ring);
}

static void ring_finished(void *ctx, struct block_request *request, int result)
{
    struct block_host *host = ctx;

    host->medium.finished(host->medium.ctx, request, result);
}

static int host_size(struct block_medium *medium, uint64_t *ret_size)
{
    struct block_host *host = to_host(medium);
    struct stat st;

    if (fstat(host->fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode))
        *ret_size = (uint64_t)st.st_size;
    else if (!S_ISBLK(st.st_mode))
        return -ENODEV;
    else if (ioctl(host->fd, BLKGETSIZE64, ret_size) < 0)
        return -errno;
    return 0;
}

static bool host_can_discard(struct block_medium *medium)
{
    uint64_t size = 0;

    return host_size(medium, &size) == 0 && block_file_can_discard(to_host(medium)->fd, size);
}

static int host_room(struct block_medium *medium, struct block_room *ret_room)
{
    int fd = to_host(medium)->fd;
    struct statvfs fs;
    struct stat st;

    if (fstat(fd, &st) < 0 || fstatvfs(fd, &fs) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -ENOTSUP;
    *ret_room = (struct block_room){
        .device = st.st_dev, .used = (uint64_t)st.st_blocks * 512, .left = (uint64_t)fs.f_bavail * fs.f_frsize};
    return 0;
}

static void host_find_data(struct block_medium *medium, uint64_t offset, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
    int fd = to_host(medium)->fd;
    off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;

    *ret_start = data >= 0 ? (uint64_t)data : errno == ENXIO ? size : offset;
    *ret_end = size;
    if (data < 0 || *ret_start >= size) {
        *ret_start = *ret_start < size ? *ret_start : size;
        return;
    }
    hole = lseek(fd, data, SEEK_HOLE);
    if (hole > data && (uint64_t)hole < size)
        *ret_end = (uint64_t)hole;
}

static int host_lock(struct block_medium *medium, uint64_t start, uint64_t length, enum block_lock_wish wish)
{
    static const short types[] = {[BLOCK_UNLOCK] = F_UNLCK, [BLOCK_LOCK_SHARED] = F_RDLCK, [BLOCK_LOCK_EXCLUSIVE] = F_WRLCK};
    struct flock lock = {.l_type = types[wish], .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)length};

    return fcntl(to_host(medium)->fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno == EACCES ? -EAGAIN : -errno;
}

static int host_look(struct block_medium *medium, uint64_t start, uint64_t length)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)length};

    if (fcntl(to_host(medium)->fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

static void host_close(struct block_medium *medium)
{
    struct block_host *host = to_host(medium);

    block_ring_free(host->ring);
    fd_close(&host->fd);
    free(host);
}

static const struct block_medium_type host_type = {
    .execute = host_execute,
    .submit = host_submit,
    .wait = host_wait,
    .size = host_size,
    .can_discard = host_can_discard,
    .find_data = host_find_data,
    .room = host_room,
    .lock = host_lock,
    .look = host_look,
    .close = host_close,
};

static int open_path(struct block_host *host, const struct block_config *config, struct err *err)
{
    host->fd = open(config->path, (config->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (host->fd < 0) {
        bool hint = !config->readonly && (errno == EACCES || errno == EROFS) && access(config->path, R_OK) == 0;
        return err_set(err, -errno, "cannot open disk image %s: %s%s", config->path, strerror(errno),
                       hint ? "; it can be read, so readonly=on would work" : "");
    }
    return 0;
}

static int open_ring(struct block_host *host, const struct block_config *config, struct loop *loop, struct err *err)
{
    const char *io = config->io != NULL ? config->io : "auto";
    bool automatic = text_equal(io, "auto");
    int r;

    if (!automatic && !text_equal(io, "uring") && !text_equal(io, "threads"))
        return err_set(err, -EINVAL, "disk I/O \"%s\" is unknown; there are auto, uring and threads", io);
    if (text_equal(io, "threads"))
        return 0;
    r = block_ring_new(host->fd, loop, ring_finished, host, &host->ring);
    if (r < 0 && !automatic)
        return err_set(err, r, "this host gives no io_uring (%s); io=threads works everywhere", strerror(-r));
    return 0;
}

int block_file_open(const struct block_config *config, struct loop *loop, struct block_medium **ret_medium, struct err *err)
{
    struct block_host *host = calloc(1, sizeof(*host));
    int r = 0;

    if (host == NULL) {
        if (config->fd > 0)
            close(config->fd);
        return err_set(err, -ENOMEM, "no memory for disk image %s", config->path);
    }
    host->medium.type = &host_type;
    host->fd = config->fd > 0 ? config->fd : -1;
    if (host->fd < 0)
        r = open_path(host, config, err);
    if (r == 0)
        r = open_ring(host, config, loop, err);
    if (r < 0) {
        host_close(&host->medium);
        return r;
    }
    *ret_medium = &host->medium;
    return 0;
}
