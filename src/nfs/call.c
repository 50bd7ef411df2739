/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encoding of NFSv4.0 requests. */
#include "nfs/call.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "nfs/attributes.h"

enum { RPC_CALL = 0, RPC_VERSION = 2, NFS_PROGRAM = 100003, NFS_VERSION = 4, PROCEDURE_COMPOUND = 1 };
enum { AUTH_NONE = 0, AUTH_SYS = 1 };
#define RECORD_LAST 0x80000000u

static void put_u32(struct nfs_call *call, uint32_t value)
{
    xdr_put_u32(&call->writer, value);
}

static void put_text(struct nfs_call *call, const char *text)
{
    xdr_put_opaque(&call->writer, text, strlen(text));
}

static void put_operation(struct nfs_call *call, enum nfs_operation operation)
{
    put_u32(call, operation);
    call->count++;
}

static void put_credential(struct nfs_call *call, const struct nfs_credential *credential)
{
    uint32_t name = (uint32_t)strlen(credential->machine);

    put_u32(call, AUTH_SYS);
    put_u32(call, 4 + 4 + (uint32_t)align_up(name, 4) + 4 + 4 + 4);
    put_u32(call, 0); /* stamp */
    put_text(call, credential->machine);
    put_u32(call, credential->uid);
    put_u32(call, credential->gid);
    put_u32(call, 0); /* further groups */
    put_u32(call, AUTH_NONE);
    put_u32(call, 0);
}

void nfs_call_begin(struct nfs_call *call, uint32_t xid, const struct nfs_credential *credential)
{
    *call = (struct nfs_call){.head = BUFFER_INIT(NFS_CALL_HEAD_MAX), .xid = xid};
    call->writer.out = &call->head;
    put_u32(call, 0); /* the record mark */
    put_u32(call, xid);
    put_u32(call, RPC_CALL);
    put_u32(call, RPC_VERSION);
    put_u32(call, NFS_PROGRAM);
    put_u32(call, NFS_VERSION);
    put_u32(call, PROCEDURE_COMPOUND);
    put_credential(call, credential);
    put_u32(call, 0); /* tag */
    put_u32(call, 0); /* minor version */
    call->count_at = call->head.size;
    put_u32(call, 0); /* number of operations */
}

static void patch(struct nfs_call *call, size_t at, uint32_t value)
{
    store_le32(call->head.data + at, __builtin_bswap32(value));
}

int nfs_call_end(struct nfs_call *call)
{
    if (call->writer.error < 0)
        return call->writer.error;
    patch(call, call->count_at, call->count);
    patch(call, 0, RECORD_LAST | (uint32_t)(call->head.size - 4 + align_up(call->data_size, 4)));
    return 0;
}

void nfs_call_fini(struct nfs_call *call)
{
    buffer_fini(&call->head);
}

void nfs_put_root(struct nfs_call *call)
{
    put_operation(call, NFS_PUTROOTFH);
}

void nfs_put_filehandle(struct nfs_call *call, const struct nfs_filehandle *fh)
{
    put_operation(call, NFS_PUTFH);
    xdr_put_opaque(&call->writer, fh->data, fh->size);
}

void nfs_put_lookup(struct nfs_call *call, const char *name, size_t length)
{
    put_operation(call, NFS_LOOKUP);
    xdr_put_opaque(&call->writer, name, length);
}

void nfs_put_getfh(struct nfs_call *call)
{
    put_operation(call, NFS_GETFH);
}

void nfs_put_getattr(struct nfs_call *call, unsigned attributes)
{
    put_operation(call, NFS_GETATTR);
    nfs_put_attribute_mask(&call->writer, attributes);
}

static void put_verifier(struct nfs_call *call, const uint8_t verifier[static NFS_VERIFIER_SIZE])
{
    xdr_put_fixed(&call->writer, verifier, NFS_VERIFIER_SIZE);
}

/* No callbacks: the address is none, so the server hands out no delegations. */
void nfs_put_setclientid(struct nfs_call *call, const char *name, const uint8_t verifier[static NFS_VERIFIER_SIZE])
{
    put_operation(call, NFS_SETCLIENTID);
    put_verifier(call, verifier);
    put_text(call, name);
    put_u32(call, 0); /* callback program */
    put_text(call, "tcp");
    put_text(call, "0.0.0.0.0.0");
    put_u32(call, 0); /* callback identity */
}

void nfs_put_setclientid_confirm(struct nfs_call *call, uint64_t clientid, const uint8_t verifier[static NFS_VERIFIER_SIZE])
{
    put_operation(call, NFS_SETCLIENTID_CONFIRM);
    xdr_put_u64(&call->writer, clientid);
    put_verifier(call, verifier);
}

void nfs_put_renew(struct nfs_call *call, uint64_t clientid)
{
    put_operation(call, NFS_RENEW);
    xdr_put_u64(&call->writer, clientid);
}

static void put_owner(struct nfs_call *call, const struct nfs_owner *owner)
{
    xdr_put_u64(&call->writer, owner->clientid);
    put_text(call, owner->name);
}

static void put_stateid(struct nfs_call *call, const struct nfs_stateid *stateid)
{
    put_u32(call, stateid->seqid);
    xdr_put_fixed(&call->writer, stateid->other, sizeof(stateid->other));
}

void nfs_put_open(struct nfs_call *call, const struct nfs_open *open)
{
    enum { NOCREATE = 0, CREATE = 1, UNCHECKED = 0, GUARDED = 1, CLAIM_NULL = 0, CLAIM_PREVIOUS = 1, DELEGATE_NONE = 0 };

    put_operation(call, NFS_OPEN);
    put_u32(call, open->seqid);
    put_u32(call, open->access);
    put_u32(call, 0); /* denies nobody */
    put_owner(call, &open->owner);
    put_u32(call, open->create ? CREATE : NOCREATE);
    if (open->create) {
        put_u32(call, open->exclusive ? GUARDED : UNCHECKED);
        nfs_put_mode_attribute(&call->writer, open->mode);
    }
    put_u32(call, open->name != NULL ? CLAIM_NULL : CLAIM_PREVIOUS);
    if (open->name != NULL)
        put_text(call, open->name);
    else
        put_u32(call, DELEGATE_NONE);
}

void nfs_put_open_confirm(struct nfs_call *call, const struct nfs_stateid *stateid, uint32_t seqid)
{
    put_operation(call, NFS_OPEN_CONFIRM);
    put_stateid(call, stateid);
    put_u32(call, seqid);
}

void nfs_put_close(struct nfs_call *call, uint32_t seqid, const struct nfs_stateid *stateid)
{
    put_operation(call, NFS_CLOSE);
    put_u32(call, seqid);
    put_stateid(call, stateid);
}

void nfs_put_lock(struct nfs_call *call, const struct nfs_lock *lock)
{
    put_operation(call, NFS_LOCK);
    put_u32(call, lock->type);
    put_u32(call, lock->reclaim);
    xdr_put_u64(&call->writer, lock->offset);
    xdr_put_u64(&call->writer, lock->length);
    put_u32(call, lock->first);
    if (lock->first) {
        put_u32(call, lock->open_seqid);
        put_stateid(call, &lock->open_stateid);
        put_u32(call, lock->lock_seqid);
        put_owner(call, &lock->owner);
    } else {
        put_stateid(call, &lock->lock_stateid);
        put_u32(call, lock->lock_seqid);
    }
}

void nfs_put_unlock(struct nfs_call *call, const struct nfs_lock *lock)
{
    put_operation(call, NFS_LOCKU);
    put_u32(call, lock->type);
    put_u32(call, lock->lock_seqid);
    put_stateid(call, &lock->lock_stateid);
    xdr_put_u64(&call->writer, lock->offset);
    xdr_put_u64(&call->writer, lock->length);
}

void nfs_put_lock_test(struct nfs_call *call, const struct nfs_lock *lock)
{
    put_operation(call, NFS_LOCKT);
    put_u32(call, lock->type);
    xdr_put_u64(&call->writer, lock->offset);
    xdr_put_u64(&call->writer, lock->length);
    put_owner(call, &lock->owner);
}

void nfs_put_read(struct nfs_call *call, const struct nfs_stateid *stateid, uint64_t offset, uint32_t size)
{
    put_operation(call, NFS_READ);
    put_stateid(call, stateid);
    xdr_put_u64(&call->writer, offset);
    put_u32(call, size);
}

void nfs_put_write(struct nfs_call *call, const struct nfs_stateid *stateid, uint64_t offset, enum nfs_stability stability,
                   const void *data, size_t size)
{
    put_operation(call, NFS_WRITE);
    put_stateid(call, stateid);
    xdr_put_u64(&call->writer, offset);
    put_u32(call, stability);
    put_u32(call, (uint32_t)size);
    call->data = data;
    call->data_size = size;
}

void nfs_put_commit(struct nfs_call *call, uint64_t offset, uint32_t size)
{
    put_operation(call, NFS_COMMIT);
    xdr_put_u64(&call->writer, offset);
    put_u32(call, size);
}

void nfs_put_set_size(struct nfs_call *call, const struct nfs_stateid *stateid, uint64_t size)
{
    put_operation(call, NFS_SETATTR);
    put_stateid(call, stateid);
    nfs_put_size_attribute(&call->writer, size);
}

void nfs_put_symlink(struct nfs_call *call, const char *name, const char *target)
{
    enum { TYPE_LINK = 5 };

    put_operation(call, NFS_CREATE);
    put_u32(call, TYPE_LINK);
    put_text(call, target);
    put_text(call, name);
    put_u32(call, 0); /* no attributes */
    put_u32(call, 0);
}

void nfs_put_readlink(struct nfs_call *call)
{
    put_operation(call, NFS_READLINK);
}

void nfs_put_remove(struct nfs_call *call, const char *name)
{
    put_operation(call, NFS_REMOVE);
    put_text(call, name);
}

void nfs_put_readdir(struct nfs_call *call, uint64_t cookie, const uint8_t verifier[static NFS_VERIFIER_SIZE], uint32_t size,
                     unsigned attributes)
{
    put_operation(call, NFS_READDIR);
    xdr_put_u64(&call->writer, cookie);
    put_verifier(call, verifier);
    put_u32(call, size / 4); /* a hint for the names alone */
    put_u32(call, size);
    nfs_put_attribute_mask(&call->writer, attributes);
}
