/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file on an NFSv4 server, open for long: reads, writes and flushes by many at a time, locks that hold, and no write that
 * was acknowledged is lost when the server or the network goes away and comes back.
 *
 * A thread of its own does everything that waits for the server; the calls here may come from any thread. While the server is
 * away requests wait. When it comes back:
 *   - if it still knows us, what was not answered is said again;
 *   - if it started anew, the open and the locks are reclaimed in its grace period, and every write that it had not
 *     committed is written again before anything else happens (RFC 7530 sections 9.6, 16.36.4);
 *   - if neither is possible, somebody else may have had the file in between: then all requests end with -EIO, for good.
 * Writes are kept in memory until a COMMIT with the verifier that they were answered with (a flush, or by itself past
 * NFS_UNCOMMITTED_MAX bytes). */
#ifndef FERRY_NFS_FILE_H
#define FERRY_NFS_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct nfs_file;

#define NFS_UNCOMMITTED_MAX (32u << 20)

enum nfs_io_operation { NFS_IO_READ, NFS_IO_WRITE, NFS_IO_FLUSH };

struct nfs_io {
    enum nfs_io_operation operation;
    uint64_t offset, size;
    const struct iovec *iov; /* of size bytes; unused by a flush. Stays the caller's until done() */
    unsigned iov_count;
    int result;              /* 0 or a negative errno, set before done() */
    void (*done)(struct nfs_io *io); /* in the file's thread; it must not wait for the file */
    struct nfs_io *next;     /* the file's own, as is the next one */
    unsigned parts;
};

struct nfs_file_config {
    const char *url;
    bool readonly;
    /* What a person should know: the server went away, came back, or the file is lost. In the file's thread; may be NULL. */
    void (*notice)(void *ctx, const char *sentence);
    void *ctx;
    /* The first thing that the file's thread does: gives up rights that it does not need. 0, or a negative errno. May be NULL. */
    int (*confine)(void);
};

/* Errors are sentences. A server in its grace period is waited for. */
int nfs_file_open(const struct nfs_file_config *config, struct nfs_file **ret_file, struct err *err);

/* Waits for requests under way and commits; a server that is away is waited for NFS_PATIENCE_S seconds only. Accepts NULL. */
void nfs_file_close(struct nfs_file *file);
#define NFS_PATIENCE_S 30

uint64_t nfs_file_size(const struct nfs_file *file); /* when it was opened, or last looked at */
int nfs_file_look_at_size(struct nfs_file *file);

/* What the file takes of the server's file system. -ENOTSUP: the server does not tell. */
struct nfs_room {
    uint64_t file_system; /* the same for files of one, and most likely for no others */
    uint64_t used, left;  /* bytes: of the file; that there are for us */
};
int nfs_file_look_at_room(struct nfs_file *file, struct nfs_room *ret_room);

void nfs_file_submit(struct nfs_file *file, struct nfs_io *io);

/* Without patience what waits for a server that has been away for NFS_PATIENCE_S seconds ends with -ETIMEDOUT: for those
 * who can't wait for ever. A new file has patience. */
void nfs_file_set_patience(struct nfs_file *file, bool patient);

/* Byte-range locks of this file against all others, POSIX rules (a later one replaces an earlier one of the same range).
 * -EAGAIN: somebody else's is in the way. At most NFS_LOCKS_MAX ranges. */
enum nfs_lock_wish { NFS_WISH_NONE, NFS_WISH_READ, NFS_WISH_WRITE };
#define NFS_LOCKS_MAX 4
int nfs_file_lock(struct nfs_file *file, uint64_t offset, uint64_t length, enum nfs_lock_wish wish);

/* Whether somebody else holds a lock on the range: 0, -EAGAIN. */
int nfs_file_look_at_lock(struct nfs_file *file, uint64_t offset, uint64_t length);

#endif
