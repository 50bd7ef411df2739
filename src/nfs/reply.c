/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decoding of NFSv4.0 replies. */
#include "nfs/reply.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"

enum { RPC_REPLY = 1, RPC_ACCEPTED = 0, ACCEPT_SUCCESS = 0, ACCEPT_PROGRAM_UNAVAILABLE = 1, ACCEPT_MISMATCH = 2 };
#define AUTH_MAX 400u /* bytes of a verifier, RFC 5531 section 8.2 */
#define TAG_MAX 1024u
#define RESULTS_MAX 64u

int nfs_errno(uint32_t status)
{
    static const struct {
        uint32_t status;
        int code;
    } table[] = {
        {1, EPERM},    {2, ENOENT},   {5, EIO},      {6, ENXIO},      {13, EACCES},       {17, EEXIST},
        {18, EXDEV},   {20, ENOTDIR}, {21, EISDIR},  {22, EINVAL},    {27, EFBIG},        {28, ENOSPC},
        {30, EROFS},   {31, EMLINK},  {63, ENAMETOOLONG}, {66, ENOTEMPTY}, {69, EDQUOT}, {70, ESTALE},
        {NFS_ERROR_DENIED, EAGAIN},   {NFS_ERROR_LOCKED, EAGAIN}, {NFS_ERROR_GRACE, EBUSY}, {NFS_ERROR_DELAY, EBUSY},
    };

    if (status == 0)
        return 0;
    for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
        if (table[i].status == status)
            return -table[i].code;
    }
    return -EREMOTEIO;
}

static int finish(const struct nfs_reply *reply)
{
    return reply->reader.failed ? -EBADMSG : 0;
}

int nfs_reply_xid(const void *record, size_t size, uint32_t *ret_xid)
{
    struct xdr_reader reader = {.data = record, .size = size};
    uint32_t xid = xdr_get_u32(&reader);

    if (reader.failed)
        return -EBADMSG;
    *ret_xid = xid;
    return 0;
}

static int check_accepted(uint32_t status)
{
    if (status == ACCEPT_SUCCESS)
        return 0;
    return status == ACCEPT_PROGRAM_UNAVAILABLE || status == ACCEPT_MISMATCH ? -EPROTONOSUPPORT : -EBADMSG;
}

int nfs_reply_begin(struct nfs_reply *reply, const void *record, size_t size)
{
    struct xdr_reader *reader = &reply->reader;
    size_t length;
    int r;

    *reply = (struct nfs_reply){.reader = {.data = record, .size = size}};
    xdr_get_u32(reader); /* xid */
    if (xdr_get_u32(reader) != RPC_REPLY)
        return -EBADMSG;
    if (xdr_get_u32(reader) != RPC_ACCEPTED)
        return reader->failed ? -EBADMSG : -EACCES;
    xdr_get_u32(reader); /* flavour of the verifier */
    xdr_get_opaque(reader, AUTH_MAX, &length);
    r = check_accepted(xdr_get_u32(reader));
    if (r < 0)
        return r;
    reply->status = xdr_get_u32(reader);
    xdr_get_opaque(reader, TAG_MAX, &length);
    reply->results = xdr_get_u32(reader);
    return reply->results > RESULTS_MAX ? -EBADMSG : finish(reply);
}

int nfs_reply_next(struct nfs_reply *reply, enum nfs_operation operation)
{
    uint32_t status;

    if (reply->results == 0)
        return reply->status != 0 && reply->status <= INT32_MAX ? (int)reply->status : -EBADMSG;
    reply->results--;
    if (xdr_get_u32(&reply->reader) != (uint32_t)operation)
        return -EBADMSG;
    status = xdr_get_u32(&reply->reader);
    return reply->reader.failed || status > INT32_MAX ? -EBADMSG : (int)status;
}

int nfs_get_filehandle(struct nfs_reply *reply, struct nfs_filehandle *ret_fh)
{
    size_t size;
    const uint8_t *data = xdr_get_opaque(&reply->reader, NFS_FH_MAX, &size);

    if (data == NULL || size == 0)
        return -EBADMSG;
    ret_fh->size = (uint32_t)size;
    memcpy(ret_fh->data, data, size);
    return 0;
}

int nfs_get_stateid(struct nfs_reply *reply, struct nfs_stateid *ret_stateid)
{
    uint32_t seqid = xdr_get_u32(&reply->reader);
    const uint8_t *other = xdr_get_fixed(&reply->reader, sizeof(ret_stateid->other));

    if (other == NULL)
        return -EBADMSG;
    ret_stateid->seqid = seqid;
    memcpy(ret_stateid->other, other, sizeof(ret_stateid->other));
    return 0;
}

int nfs_get_verifier(struct nfs_reply *reply, uint8_t ret_verifier[static NFS_VERIFIER_SIZE])
{
    const uint8_t *verifier = xdr_get_fixed(&reply->reader, NFS_VERIFIER_SIZE);

    if (verifier == NULL)
        return -EBADMSG;
    memcpy(ret_verifier, verifier, NFS_VERIFIER_SIZE);
    return 0;
}

int nfs_get_clientid(struct nfs_reply *reply, uint64_t *ret_clientid, uint8_t ret_verifier[static NFS_VERIFIER_SIZE])
{
    uint64_t clientid = xdr_get_u64(&reply->reader);
    int r = nfs_get_verifier(reply, ret_verifier);

    if (r == 0)
        *ret_clientid = clientid;
    return r;
}

/* Attributes that were set, and the delegation, of which there is none: the server has no way to call us back. */
static void skip_open_rest(struct xdr_reader *reader)
{
    uint32_t words = xdr_get_u32(reader);

    for (uint32_t i = 0; i < words && !reader->failed; i++)
        xdr_get_u32(reader);
    if (xdr_get_u32(reader) != 0)
        reader->failed = true;
}

int nfs_get_open(struct nfs_reply *reply, struct nfs_stateid *ret_stateid, bool *ret_confirm)
{
    enum { FLAG_CONFIRM = 2 };
    struct xdr_reader *reader = &reply->reader;
    struct nfs_stateid stateid;
    uint32_t flags;
    int r = nfs_get_stateid(reply, &stateid);

    xdr_get_u32(reader); /* change: atomic, before, after */
    xdr_get_u64(reader);
    xdr_get_u64(reader);
    flags = xdr_get_u32(reader);
    skip_open_rest(reader);
    if (r < 0 || reader->failed)
        return -EBADMSG;
    *ret_stateid = stateid;
    *ret_confirm = (flags & FLAG_CONFIRM) != 0;
    return 0;
}

int nfs_get_read(struct nfs_reply *reply, const uint8_t **ret_data, size_t *ret_size, bool *ret_end)
{
    uint32_t end = xdr_get_u32(&reply->reader);
    size_t size;
    const uint8_t *data = xdr_get_opaque(&reply->reader, XDR_STRING_MAX, &size);

    if (data == NULL)
        return -EBADMSG;
    *ret_data = data;
    *ret_size = size;
    *ret_end = end != 0;
    return 0;
}

int nfs_get_write(struct nfs_reply *reply, uint32_t *ret_count, enum nfs_stability *ret_stability,
                  uint8_t ret_verifier[static NFS_VERIFIER_SIZE])
{
    uint32_t count = xdr_get_u32(&reply->reader), stability = xdr_get_u32(&reply->reader);
    int r = stability > NFS_FILE_SYNC ? -EBADMSG : nfs_get_verifier(reply, ret_verifier);

    if (r == 0) {
        *ret_count = count;
        *ret_stability = (enum nfs_stability)stability;
    }
    return r;
}

static int get_text(struct nfs_reply *reply, char *text, size_t size)
{
    size_t length;
    const uint8_t *data = xdr_get_opaque(&reply->reader, size - 1, &length);

    if (data == NULL || memchr(data, 0, length) != NULL)
        return -EBADMSG;
    memcpy(text, data, length);
    text[length] = 0;
    return 0;
}

int nfs_get_link(struct nfs_reply *reply, char *text, size_t size)
{
    return get_text(reply, text, size);
}

int nfs_get_entry(struct nfs_reply *reply, struct nfs_entry *ret_entry, bool *ret_end)
{
    int r;

    if (xdr_get_u32(&reply->reader) == 0) {
        *ret_end = xdr_get_u32(&reply->reader) != 0;
        return finish(reply);
    }
    ret_entry->cookie = xdr_get_u64(&reply->reader);
    r = get_text(reply, ret_entry->name, sizeof(ret_entry->name));
    if (r == 0)
        r = nfs_get_attributes(&reply->reader, &ret_entry->attributes);
    return r < 0 ? r : reply->reader.failed ? -EBADMSG : 1;
}
