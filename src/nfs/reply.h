/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NFSv4.0 replies: RPC header, status of the COMPOUND, and the results of its operations one by one. Nothing that the
 * server sends is believed: every function says -EBADMSG when something is not there. */
#ifndef FERRY_NFS_REPLY_H
#define FERRY_NFS_REPLY_H

#include "nfs/attributes.h"
#include "nfs/call.h"

/* Status numbers that decide what to do; positive, as on the wire. */
enum nfs_error {
    NFS_ERROR_NOENT = 2,
    NFS_ERROR_EXIST = 17,
    NFS_ERROR_DELAY = 10008,
    NFS_ERROR_DENIED = 10010,
    NFS_ERROR_EXPIRED = 10011,
    NFS_ERROR_LOCKED = 10012,
    NFS_ERROR_GRACE = 10013,
    NFS_ERROR_CLID_INUSE = 10017,
    NFS_ERROR_RESOURCE = 10018,
    NFS_ERROR_MOVED = 10019,
    NFS_ERROR_NOFILEHANDLE = 10020,
    NFS_ERROR_STALE_CLIENTID = 10022,
    NFS_ERROR_STALE_STATEID = 10023,
    NFS_ERROR_OLD_STATEID = 10024,
    NFS_ERROR_BAD_STATEID = 10025,
    NFS_ERROR_BAD_SEQID = 10026,
    NFS_ERROR_NO_GRACE = 10033,
    NFS_ERROR_RECLAIM_BAD = 10034,
    NFS_ERROR_RECLAIM_CONFLICT = 10035,
    NFS_ERROR_BADXDR = 10036,
    NFS_ERROR_ADMIN_REVOKED = 10047,
};

/* The negative errno that says the most. */
int nfs_errno(uint32_t status);

struct nfs_reply {
    struct xdr_reader reader;
    uint32_t status;  /* of the first operation that failed, or 0 */
    uint32_t results; /* that are left */
};

/* The number that tells whose reply a record is. */
int nfs_reply_xid(const void *record, size_t size, uint32_t *ret_xid);

/* -EACCES: the server does not take the credential; -EPROTONOSUPPORT: it does not speak NFSv4. */
int nfs_reply_begin(struct nfs_reply *reply, const void *record, size_t size);

/* The next result must be of this operation. 0: its status is 0 and its body follows; positive: its status. */
int nfs_reply_next(struct nfs_reply *reply, enum nfs_operation operation);

/* Bodies. */
int nfs_get_filehandle(struct nfs_reply *reply, struct nfs_filehandle *ret_fh);
int nfs_get_stateid(struct nfs_reply *reply, struct nfs_stateid *ret_stateid);
int nfs_get_clientid(struct nfs_reply *reply, uint64_t *ret_clientid, uint8_t ret_verifier[static NFS_VERIFIER_SIZE]);
int nfs_get_verifier(struct nfs_reply *reply, uint8_t ret_verifier[static NFS_VERIFIER_SIZE]);
int nfs_get_open(struct nfs_reply *reply, struct nfs_stateid *ret_stateid, bool *ret_confirm);
int nfs_get_read(struct nfs_reply *reply, const uint8_t **ret_data, size_t *ret_size, bool *ret_end);
int nfs_get_write(struct nfs_reply *reply, uint32_t *ret_count, enum nfs_stability *ret_stability,
                  uint8_t ret_verifier[static NFS_VERIFIER_SIZE]);
int nfs_get_link(struct nfs_reply *reply, char *text, size_t size);

/* READDIR: the verifier by nfs_get_verifier(), then entries until this returns 0; *ret_end then: no others follow. 1: an entry. */
struct nfs_entry {
    uint64_t cookie;
    char name[256];
    struct nfs_attributes attributes;
};
int nfs_get_entry(struct nfs_reply *reply, struct nfs_entry *ret_entry, bool *ret_end);

#endif
