/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Block requests on a file descriptor by blocking system calls: what worker threads do. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_file.h"

/* Drops `size` bytes from the front of the vector. */
static void advance(struct iovec **iov, unsigned *count, size_t size)
{
    while (*count > 0 && size >= (*iov)->iov_len) {
        size -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (*count > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + size;
        (*iov)->iov_len -= size;
    }
}

static int transfer(int fd, const struct block_request *request)
{
    struct iovec copy[BLOCK_IOV_MAX], *iov = copy;
    unsigned count = request->iov_count;
    off_t offset = (off_t)request->offset;
    memcpy(copy, request->iov, count * sizeof(copy[0]));
    while (count > 0) {
        ssize_t n = request->operation == BLOCK_READ ? preadv(fd, iov, (int)count, offset)
                                                     : pwritev(fd, iov, (int)count, offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO; /* the file has become shorter */
        offset += n;
        advance(&iov, &count, (size_t)n);
    }
    return 0;
}

static bool is_device(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISBLK(st.st_mode);
}

static int punch(int fd, const struct block_request *request)
{
    uint64_t range[2] = {request->offset, request->size};
    int r = is_device(fd) ? ioctl(fd, BLKDISCARD, range)
                          : fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)range[0], (off_t)range[1]);
    return r < 0 ? -errno : 0;
}

static int write_zeros(int fd, uint64_t offset, uint64_t size)
{
    static const uint8_t zeros[65536];
    while (size > 0) {
        ssize_t n = pwrite(fd, zeros, size < sizeof(zeros) ? size : sizeof(zeros), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        offset += (uint64_t)n;
        size -= (uint64_t)n;
    }
    return 0;
}

/* A hole in a file reads as zeros; what a device reads after a discard is its own affair, so devices aren't punched. */
static int zero(int fd, const struct block_request *request)
{
    if (request->unmap && !is_device(fd) && punch(fd, request) == 0)
        return 0;
    int mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    if (fallocate(fd, mode, (off_t)request->offset, (off_t)request->size) == 0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENODEV ? write_zeros(fd, request->offset, request->size) : -errno;
}

int block_file_execute(int fd, const struct block_request *request)
{
    int r;
    switch (request->operation) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return transfer(fd, request);
    case BLOCK_FLUSH:
        return fdatasync(fd) < 0 ? -errno : 0;
    case BLOCK_DISCARD:
        r = request->size == 0 ? 0 : punch(fd, request);
        return r == -EOPNOTSUPP ? 0 : r; /* a discard is a hint */
    case BLOCK_WRITE_ZEROES:
        return request->size == 0 ? 0 : zero(fd, request);
    }
    return -EINVAL;
}

bool block_file_can_discard(int fd, uint64_t size)
{
    /* Punching behind the end of the file changes nothing and still says whether it could. */
    return is_device(fd) || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)size, 4096) == 0;
}
