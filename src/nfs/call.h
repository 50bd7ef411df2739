/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NFSv4.0 requests: one COMPOUND of operations (RFC 7530 sections 16 and 17) in an ONC RPC call (RFC 5531) with a record
 * mark in front.
 *
 *     struct nfs_call call;
 *     nfs_call_begin(&call, xid, &credential);
 *     nfs_put_filehandle(&call, &fh);              // each adds one operation
 *     nfs_put_commit(&call, 0, 0);
 *     r = nfs_call_end(&call);                     // 0, -ENOMEM, -ENOBUFS: what went wrong on the way shows here
 *     ... send call.head, then call.data of call.data_size bytes and zeros up to a multiple of four ...
 *     nfs_call_fini(&call);
 */
#ifndef FERRY_NFS_CALL_H
#define FERRY_NFS_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buffer.h"
#include "protocol/xdr.h"

#define NFS_FH_MAX 128u
#define NFS_VERIFIER_SIZE 8u
#define NFS_CALL_HEAD_MAX (16u * 1024)

struct nfs_filehandle {
    uint32_t size;
    uint8_t data[NFS_FH_MAX];
};

struct nfs_stateid {
    uint32_t seqid;
    uint8_t other[12];
};

struct nfs_credential { /* AUTH_SYS */
    char machine[64];
    uid_t uid;
    gid_t gid;
};

struct nfs_owner { /* of opens, of locks */
    uint64_t clientid;
    const char *name;
};

struct nfs_call {
    struct buffer head;
    struct xdr_writer writer;
    uint32_t xid;
    size_t count_at;
    uint32_t count;
    const void *data; /* of a WRITE, which is the last operation; stays the caller's */
    size_t data_size;
};

/* Operations. */
enum nfs_operation {
    NFS_CLOSE = 4,
    NFS_COMMIT = 5,
    NFS_CREATE = 6,
    NFS_GETATTR = 9,
    NFS_GETFH = 10,
    NFS_LOCK = 12,
    NFS_LOCKT = 13,
    NFS_LOCKU = 14,
    NFS_LOOKUP = 15,
    NFS_OPEN = 18,
    NFS_OPEN_CONFIRM = 20,
    NFS_PUTFH = 22,
    NFS_PUTROOTFH = 24,
    NFS_READ = 25,
    NFS_READDIR = 26,
    NFS_READLINK = 27,
    NFS_REMOVE = 28,
    NFS_RENEW = 30,
    NFS_SETATTR = 34,
    NFS_SETCLIENTID = 35,
    NFS_SETCLIENTID_CONFIRM = 36,
    NFS_WRITE = 38,
};

enum nfs_access { NFS_ACCESS_READ = 1, NFS_ACCESS_WRITE = 2 };
enum nfs_lock_type { NFS_LOCK_READ = 1, NFS_LOCK_WRITE = 2 };
enum nfs_stability { NFS_UNSTABLE = 0, NFS_DATA_SYNC = 1, NFS_FILE_SYNC = 2 };

/* Attributes that are asked for together; attributes.h decodes them. */
enum {
    NFS_ATTRIBUTE_TYPE = 1 << 0,
    NFS_ATTRIBUTE_SIZE = 1 << 1,
    NFS_ATTRIBUTE_LEASE = 1 << 2,
    NFS_ATTRIBUTE_LIMITS = 1 << 3, /* of one read and one write */
    NFS_ATTRIBUTE_SPACE = 1 << 4,  /* of the file system: available, free, total */
    NFS_ATTRIBUTE_MODE = 1 << 5,
    NFS_ATTRIBUTE_TIME = 1 << 6,   /* of the last modification */
    NFS_ATTRIBUTE_USED = 1 << 7,   /* by the file */
    NFS_ATTRIBUTE_FILE_SYSTEM = 1 << 8, /* which one of the server's it is */
};

void nfs_call_begin(struct nfs_call *call, uint32_t xid, const struct nfs_credential *credential);
int nfs_call_end(struct nfs_call *call);
void nfs_call_fini(struct nfs_call *call);

void nfs_put_root(struct nfs_call *call);
void nfs_put_filehandle(struct nfs_call *call, const struct nfs_filehandle *fh);
void nfs_put_lookup(struct nfs_call *call, const char *name, size_t length);
void nfs_put_getfh(struct nfs_call *call);
void nfs_put_getattr(struct nfs_call *call, unsigned attributes);

/* name: the client's own, the same for as long as it lives; verifier: another one after it has started anew. */
void nfs_put_setclientid(struct nfs_call *call, const char *name, const uint8_t verifier[static NFS_VERIFIER_SIZE]);
void nfs_put_setclientid_confirm(struct nfs_call *call, uint64_t clientid, const uint8_t verifier[static NFS_VERIFIER_SIZE]);
void nfs_put_renew(struct nfs_call *call, uint64_t clientid);

/* Opens name in the current directory (NULL: reclaims the current filehandle after a restart of the server). create: makes
 * it with that mode unless it exists; exclusive: fails if it does. */
struct nfs_open {
    uint32_t seqid;
    unsigned access;
    struct nfs_owner owner;
    const char *name;
    bool create, exclusive;
    uint32_t mode;
};
void nfs_put_open(struct nfs_call *call, const struct nfs_open *open);
void nfs_put_open_confirm(struct nfs_call *call, const struct nfs_stateid *stateid, uint32_t seqid);
void nfs_put_close(struct nfs_call *call, uint32_t seqid, const struct nfs_stateid *stateid);

struct nfs_lock {
    enum nfs_lock_type type;
    bool reclaim;
    uint64_t offset, length;
    bool first;                    /* by this owner: open_seqid and open_stateid count, lock_stateid does not */
    uint32_t open_seqid, lock_seqid;
    struct nfs_stateid open_stateid, lock_stateid;
    struct nfs_owner owner;
};
void nfs_put_lock(struct nfs_call *call, const struct nfs_lock *lock);
void nfs_put_unlock(struct nfs_call *call, const struct nfs_lock *lock);
/* Whether the owner could get it: another one's lock is NFS_ERROR_DENIED. */
void nfs_put_lock_test(struct nfs_call *call, const struct nfs_lock *lock);

void nfs_put_read(struct nfs_call *call, const struct nfs_stateid *stateid, uint64_t offset, uint32_t size);
void nfs_put_write(struct nfs_call *call, const struct nfs_stateid *stateid, uint64_t offset, enum nfs_stability stability,
                   const void *data, size_t size);
void nfs_put_commit(struct nfs_call *call, uint64_t offset, uint32_t size); /* size 0: to the end */
void nfs_put_set_size(struct nfs_call *call, const struct nfs_stateid *stateid, uint64_t size);

/* In the current directory. */
void nfs_put_symlink(struct nfs_call *call, const char *name, const char *target);
void nfs_put_readlink(struct nfs_call *call);
void nfs_put_remove(struct nfs_call *call, const char *name);
void nfs_put_readdir(struct nfs_call *call, uint64_t cookie, const uint8_t verifier[static NFS_VERIFIER_SIZE], uint32_t size,
                     unsigned attributes);

#endif
