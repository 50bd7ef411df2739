/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host side of a disk: an image that is read and written asynchronously, whatever its format and wherever it lies: a
 * path names a file or block device of this host, nfs://SERVER/PATH a file on an NFS server (nfs/url.h).
 *
 * All calls under the loop's lock. Completions arrive in the event loop's thread, under its lock, in any order; those of
 * requests that are refused at once arrive inside block_submit(), and those of a drain inside block_drain(). A request
 * and its buffers belong to the image until its `done` has been called. */
#ifndef FERRY_BACKEND_BLOCK_H
#define FERRY_BACKEND_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct loop;
struct block_image;

enum block_operation { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

#define BLOCK_IOV_MAX 130

struct block_request {
    enum block_operation operation;
    uint64_t offset;            /* bytes */
    uint64_t size;              /* bytes; of all of iov for read and write */
    struct iovec iov[BLOCK_IOV_MAX];
    unsigned iov_count;
    bool unmap;                 /* write zeroes: space may be given back to the host */
    int result;                 /* 0 or negative errno, set before done() */
    void (*done)(struct block_request *request);
    void *owner;                /* the device's */
    void *image_private;
    int64_t submitted_ns;       /* the image's */
};

/* What has come to its end since the image was opened, at the level of the guest's requests. */
struct block_counters {
    struct {
        uint64_t operations, bytes, nanoseconds;
    } of[BLOCK_WRITE_ZEROES + 1]; /* by enum block_operation */
    uint64_t failed;
};

struct block_config {
    const char *path;
    int fd;                     /* above 0: the image is open already and path only its name; the image's own from then on,
                                 * also on failure */
    const char *format;         /* "raw", "qcow2"; NULL = raw */
    bool readonly;
    bool incoming;              /* another process still writes: open without the right to, until block_activate() */
    bool no_lock;               /* tests only */
    const char *io;             /* "auto" (NULL), "uring", "threads" */
    /* What a person should know about it later on, such as that its server went away. From any thread; may be NULL. */
    void (*notice)(void *ctx, const char *sentence);
    void *notice_ctx;
    int (*confine)(void);       /* called first in a thread that the image starts for itself alone; may be NULL */
};

/* Opens and locks the image: writers exclusively, readers shared (open file description locks). Errors are sentences.
 * The size is the image's, rounded down to whole sectors of 512 bytes. */
int block_open(const struct block_config *config, struct loop *loop, struct block_image **ret_image, struct err *err);

/* Waits for requests in flight, flushes, unlocks. Accepts NULL. */
void block_close(struct block_image *image);

uint64_t block_size(const struct block_image *image); /* bytes */
bool block_readonly(const struct block_image *image);
bool block_can_discard(const struct block_image *image);
const struct block_counters *block_counters(const struct block_image *image);

/* Never fails: errors arrive as result. */
void block_submit(struct block_image *image, struct block_request *request);

/* Waits (serving only this image) until nothing is in flight: for stop and migration. */
void block_drain(struct block_image *image);

/* A handover of the right to write, between two processes that both have the image open; at most one is active at a
 * time, and no third process gets in between. Requests to an inactive image end with -EPERM. Images that are read-only are
 * always active, and both calls do nothing.
 *
 * inactivate: waits for requests in flight, writes everything to stable storage, lets the lock go. On failure the image is
 * active still.
 * activate: takes the lock, and forgets whatever was known of the contents. -EBUSY with a sentence: another process has it. */
int block_inactivate(struct block_image *image, struct err *err);
int block_activate(struct block_image *image, struct err *err);
bool block_active(const struct block_image *image);

/* Lets another process see by its own open image whether it is the same file, on one host or through a shared file system with locks:
 * show draws a new number, which the other one is told. One beacon an image; hiding none does nothing. */
int block_show_beacon(struct block_image *image, uint64_t *ret_beacon);
void block_hide_beacon(struct block_image *image);
bool block_sees_beacon(const struct block_image *image, uint64_t beacon);

/* What the image's file takes of its file system, here or on its server; asked of the open file, so its path need not be reachable any
 * more. */
struct block_room {
    uint64_t device;     /* the same for files of one file system */
    uint64_t used, left; /* bytes: of the file; that its file system can still give */
};

/* -ENOTSUP: it is no ordinary file, or its server does not tell. */
int block_room(const struct block_image *image, struct block_room *ret_room);

/* For whoever copies the image while it is in use. */

#define BLOCK_DIRTY_SIZE (64u << 10) /* bytes that one bit of a bitmap stands for */

static inline size_t block_bitmap_words(uint64_t size)
{
    return (size_t)(size / (UINT64_C(64) * BLOCK_DIRTY_SIZE) + (size % (UINT64_C(64) * BLOCK_DIRTY_SIZE) != 0));
}

/* From now on, remembers which blocks requests change; again: forgets which. A block whose request is not done yet is not
 * among them: it will be. -ENOMEM. take: adds them to a bitmap of block_bitmap_words(block_size()) words, and forgets them. */
int block_track(struct block_image *image);
void block_untrack(struct block_image *image); /* accepts an image that is not tracked */
void block_take_dirty(struct block_image *image, uint64_t *bitmap);

/* Does a request of its own beside those of the device, and waits for it; from any thread, without the lock, as long as the image
 * stays open and, to write, active. block_drain() does not wait for it. Returns its result. */
int block_execute(struct block_image *image, const struct block_request *request);

/* Likewise: the first range at or behind offset that may hold anything but zeros; *ret_start is the image's size when there is none. */
int block_find_data(struct block_image *image, uint64_t offset, uint64_t *ret_start, uint64_t *ret_end);

/* The path it was opened by. */
const char *block_path(const struct block_image *image);

#endif
