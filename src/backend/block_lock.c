/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Locks of disk images, and the order in which they are taken. */
#include "backend/block_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

#define FAR (INT64_C(1) << 62)

struct range {
    off_t start, length;
};

static const struct range data = {0, FAR}, claim = {FAR, 1}, readers = {FAR + 1, 1};

static int set(int fd, struct range range, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = range.start, .l_len = range.length};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno == EACCES ? -EAGAIN : -errno;
}

/* Whether somebody else holds any lock on the range: 0, -EAGAIN, or another error. */
static int look(int fd, struct range range)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = range.start, .l_len = range.length};

    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

static int refused(int r, const char *path, const char *why, struct err *err)
{
    if (r != -EAGAIN)
        return err_set(err, r, "cannot lock disk image %s: %s", path, strerror(-r));
    return err_set(err, -EBUSY, "disk image %s is in use by %s", path, why);
}

static int open_to_write(int fd, const char *path, struct err *err)
{
    int r = set(fd, claim, F_WRLCK);

    if (r == 0)
        r = look(fd, readers);
    if (r == 0)
        r = set(fd, data, F_WRLCK);
    if (r == 0)
        r = set(fd, claim, F_RDLCK);
    return r == 0 ? 0 : refused(r, path, "another virtual machine; stop that one first, or give both of them the image with "
                                         "readonly=on", err);
}

static int open_to_read(int fd, const char *path, struct err *err)
{
    int r = set(fd, readers, F_RDLCK);

    if (r == 0)
        r = look(fd, claim);
    if (r == 0)
        r = set(fd, data, F_RDLCK);
    return r == 0 ? 0 : refused(r, path, "a virtual machine that writes to it; stop that one first", err);
}

static int open_to_claim(int fd, const char *path, struct err *err)
{
    int r = set(fd, claim, F_RDLCK);

    if (r == 0)
        r = look(fd, readers);
    return r == 0 ? 0 : refused(r, path, "virtual machines that only read it; stop those first", err);
}

int block_lock_open(int fd, const char *path, enum block_lock_kind kind, struct err *err)
{
    switch (kind) {
    case BLOCK_LOCK_READ:
        return open_to_read(fd, path, err);
    case BLOCK_LOCK_WRITE:
        return open_to_write(fd, path, err);
    case BLOCK_LOCK_CLAIM:
        return open_to_claim(fd, path, err);
    }
    return -EINVAL;
}

int block_lock_take(int fd, const char *path, struct err *err)
{
    int r = set(fd, data, F_WRLCK);

    return r == 0 ? 0 : refused(r, path, "another virtual machine, which writes to it", err);
}

void block_lock_release(int fd)
{
    set(fd, data, F_UNLCK);
}
