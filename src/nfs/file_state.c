/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the server remembers of an open file (RFC 7530 section 9): the open, the locks, and their sequence numbers. */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "nfs/file_internal.h"

#define GRACE_PATIENCE_NS (150 * NANOSECONDS_PER_SECOND)

bool nfs_status_is_lost_state(int status)
{
    return status == NFS_ERROR_STALE_CLIENTID || status == NFS_ERROR_STALE_STATEID || status == NFS_ERROR_BAD_STATEID ||
           status == NFS_ERROR_EXPIRED || status == NFS_ERROR_ADMIN_REVOKED;
}

bool nfs_status_is_patience(int status)
{
    return status == NFS_ERROR_DELAY || status == NFS_ERROR_GRACE || status == NFS_ERROR_RESOURCE ||
           status == NFS_ERROR_OLD_STATEID; /* a lock was changed meanwhile */
}

/* Section 9.1.7: which answers leave an owner's sequence number where it was. */
static bool sequence_advances(int status)
{
    return status >= 0 && status != NFS_ERROR_STALE_CLIENTID && status != NFS_ERROR_STALE_STATEID &&
           status != NFS_ERROR_BAD_STATEID && status != NFS_ERROR_BAD_SEQID && status != NFS_ERROR_BADXDR &&
           status != NFS_ERROR_RESOURCE && status != NFS_ERROR_NOFILEHANDLE && status != NFS_ERROR_MOVED;
}

static void new_open_owner(struct nfs_file *file)
{
    snprintf(file->open_owner, sizeof(file->open_owner), "open %u", file->owner_number++);
    file->open_seqid = 1;
}

static void new_lock_owner(struct nfs_file *file)
{
    snprintf(file->lock_owner, sizeof(file->lock_owner), "lock %u", file->owner_number++);
    file->lock_seqid = 1;
    file->has_lock_stateid = false;
}

/* Opening by path, and reclaiming by filehandle. */

struct opening {
    struct nfs_file *file;
    const char *path; /* NULL: reclaim */
    struct nfs_filehandle fh;
    struct nfs_attributes attributes;
    struct nfs_stateid stateid;
    bool confirm;
    int open_status; /* of the OPEN itself: -1 when it was not reached */
};

static int parse_open(void *ctx, struct nfs_reply *reply)
{
    struct opening *opening = ctx;
    int r = opening->path != NULL ? nfs_reply_parent(reply, opening->path) : nfs_reply_next(reply, NFS_PUTFH);

    if (r != 0)
        return r;
    r = opening->open_status = nfs_reply_next(reply, NFS_OPEN);
    if (r == 0)
        r = nfs_get_open(reply, &opening->stateid, &opening->confirm);
    if (r == 0)
        r = nfs_reply_next(reply, NFS_GETFH);
    if (r == 0)
        r = nfs_get_filehandle(reply, &opening->fh);
    if (r == 0)
        r = nfs_reply_next(reply, NFS_GETATTR);
    return r != 0 ? r : nfs_get_attributes(&reply->reader, &opening->attributes);
}

static int parse_open_confirm(void *ctx, struct nfs_reply *reply)
{
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, NFS_OPEN_CONFIRM);
    return r != 0 ? r : nfs_get_stateid(reply, ctx);
}

static int confirm(struct nfs_file *file, struct opening *opening)
{
    struct nfs_call call;
    int r;

    nfs_client_begin(&file->client, &call);
    nfs_put_filehandle(&call, &opening->fh);
    nfs_put_open_confirm(&call, &opening->stateid, file->open_seqid);
    r = nfs_client_call(&file->client, &call, parse_open_confirm, &opening->stateid);
    if (sequence_advances(r))
        file->open_seqid++;
    return r;
}

/* A new open owner each time: an answer that was lost leaves no riddle behind. */
static int open_once(struct nfs_file *file, struct opening *opening)
{
    struct nfs_open open = {.access = NFS_ACCESS_READ | (file->config.readonly ? 0u : NFS_ACCESS_WRITE)};
    struct nfs_call call;
    int r;

    new_open_owner(file);
    open.seqid = file->open_seqid;
    open.owner = (struct nfs_owner){.clientid = file->client.clientid, .name = file->open_owner};
    opening->open_status = -1;
    nfs_client_begin(&file->client, &call);
    if (opening->path == NULL)
        nfs_put_filehandle(&call, &file->fh);
    else if (!nfs_put_parent(&call, opening->path, &open.name))
        call.writer.error = -EISDIR;
    nfs_put_open(&call, &open);
    nfs_put_getfh(&call);
    nfs_put_getattr(&call, NFS_ATTRIBUTE_TYPE | NFS_ATTRIBUTE_SIZE | NFS_ATTRIBUTE_LEASE | NFS_ATTRIBUTE_LIMITS);
    r = nfs_client_call(&file->client, &call, parse_open, opening);
    if (sequence_advances(opening->open_status))
        file->open_seqid++;
    if (r == 0 && opening->confirm)
        r = confirm(file, opening);
    if (r == 0)
        file->open_stateid = opening->stateid;
    return r;
}

static uint32_t limit(uint64_t server)
{
    return server == 0 || server > NFS_TRANSFER_MAX ? NFS_TRANSFER_MAX : (uint32_t)server;
}

static int take_attributes(struct nfs_file *file, const struct nfs_attributes *attributes)
{
    if ((attributes->present & (NFS_ATTRIBUTE_TYPE | NFS_ATTRIBUTE_SIZE)) != (NFS_ATTRIBUTE_TYPE | NFS_ATTRIBUTE_SIZE))
        return -EBADMSG;
    if (attributes->type != NFS_TYPE_FILE)
        return -EISDIR;
    file->size = attributes->size;
    file->read_max = limit((attributes->present & NFS_ATTRIBUTE_LIMITS) != 0 ? attributes->read_max : 65536);
    file->write_max = limit((attributes->present & NFS_ATTRIBUTE_LIMITS) != 0 ? attributes->write_max : 65536);
    file->lease_s = (attributes->present & NFS_ATTRIBUTE_LEASE) != 0 && attributes->lease_seconds > 0
                        ? attributes->lease_seconds
                        : 30;
    return 0;
}

static void pause_a_moment(void)
{
    const struct timespec moment = {.tv_nsec = NFS_RETRY_MS * 1000000};

    nanosleep(&moment, NULL);
}

static int open_patiently(struct nfs_file *file, struct opening *opening)
{
    int64_t deadline = host_monotonic_ns() + GRACE_PATIENCE_NS;
    int r;

    while (nfs_status_is_patience(r = open_once(file, opening)) && host_monotonic_ns() < deadline && !file->client.cancelled)
        pause_a_moment();
    return r;
}

static int explain(const struct nfs_file *file, int r, struct err *err)
{
    if (r == NFS_ERROR_GRACE)
        return err_set(err, -EBUSY, "the NFS server of %s has started anew and waits for its former clients; try again a little later",
                       file->url);
    if (r == -EPIPE)
        return err_set(err, r, "the NFS server of %s hung up", file->url);
    if (r == -EPROTONOSUPPORT)
        return err_set(err, r, "the NFS server of %s does not speak version 4.0", file->url);
    if (r == -EBADMSG)
        return err_set(err, r, "the NFS server of %s answers what can't be understood", file->url);
    r = r > 0 ? nfs_errno((uint32_t)r) : r;
    return err_set(err, r, "cannot open %s: %s", file->url, strerror(-r));
}

int nfs_state_open(struct nfs_file *file, struct err *err)
{
    struct opening opening = {.file = file, .path = file->where.path};
    int r = nfs_client_connect(&file->client, err);

    if (r < 0)
        return r;
    r = nfs_client_identify(&file->client);
    if (r == 0)
        r = open_patiently(file, &opening);
    if (r == 0)
        r = take_attributes(file, &opening.attributes);
    if (r != 0)
        return explain(file, r, err);
    file->fh = opening.fh;
    file->open = true;
    new_lock_owner(file);
    return 0;
}

static int parse_attributes(void *ctx, struct nfs_reply *reply)
{
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, NFS_GETATTR);
    return r == 0 ? nfs_get_attributes(&reply->reader, ctx) : r;
}

static int get_attributes(struct nfs_file *file, unsigned wanted, struct nfs_attributes *ret_attributes)
{
    struct nfs_call call;

    nfs_client_begin(&file->client, &call);
    nfs_put_filehandle(&call, &file->fh);
    nfs_put_getattr(&call, wanted);
    return nfs_client_call(&file->client, &call, parse_attributes, ret_attributes);
}

int nfs_state_look_at_size(struct nfs_file *file)
{
    struct nfs_attributes attributes;
    int r = get_attributes(file, NFS_ATTRIBUTE_SIZE, &attributes);

    if (r == 0 && (attributes.present & NFS_ATTRIBUTE_SIZE) == 0)
        r = -EBADMSG;
    if (r == 0)
        file->size = attributes.size;
    return r;
}

/* A server's numbers say nothing of another server's: FNV-1a over its name. */
static uint64_t name_file_system(const char *server, const uint64_t number[2])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ number[0] ^ number[1] << 32;

    for (; *server != 0; server++)
        hash = (hash ^ (uint8_t)*server) * UINT64_C(0x100000001b3);
    return hash;
}

int nfs_state_look_at_room(struct nfs_file *file, struct nfs_room *ret_room)
{
    const unsigned wanted = NFS_ATTRIBUTE_SPACE | NFS_ATTRIBUTE_USED | NFS_ATTRIBUTE_FILE_SYSTEM;
    struct nfs_attributes attributes;
    int r = get_attributes(file, wanted, &attributes);

    if (r != 0)
        return r;
    if ((attributes.present & wanted) != wanted)
        return -ENOTSUP;
    *ret_room = (struct nfs_room){.file_system = name_file_system(file->where.server, attributes.file_system),
                                  .used = attributes.space_used,
                                  .left = attributes.space_available};
    return 0;
}

/* Locks. */

struct locking {
    enum nfs_operation operation;
    struct nfs_stateid stateid;
};

static int parse_lock(void *ctx, struct nfs_reply *reply)
{
    struct locking *locking = ctx;
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, locking->operation);
    return r != 0 || locking->operation == NFS_LOCKT ? r : nfs_get_stateid(reply, &locking->stateid);
}

static struct nfs_lock describe(const struct nfs_file *file, uint64_t offset, uint64_t length, enum nfs_lock_wish wish, bool reclaim)
{
    return (struct nfs_lock){
        .type = wish == NFS_WISH_READ ? NFS_LOCK_READ : NFS_LOCK_WRITE,
        .reclaim = reclaim,
        .offset = offset,
        .length = length,
        .first = !file->has_lock_stateid,
        .open_seqid = file->open_seqid,
        .lock_seqid = file->lock_seqid,
        .open_stateid = file->open_stateid,
        .lock_stateid = file->lock_stateid,
        .owner = {.clientid = file->client.clientid, .name = file->lock_owner},
    };
}

/* One LOCK or LOCKU, with the sequence numbers as they are: said again after a lost connection it is recognized. */
static int lock_once(struct nfs_file *file, const struct nfs_lock *lock, enum nfs_operation operation)
{
    struct locking locking = {.operation = operation};
    struct nfs_call call;
    int r;

    nfs_client_begin(&file->client, &call);
    nfs_put_filehandle(&call, &file->fh);
    if (operation == NFS_LOCK)
        nfs_put_lock(&call, lock);
    else
        nfs_put_unlock(&call, lock);
    r = nfs_client_call(&file->client, &call, parse_lock, &locking);
    if (sequence_advances(r)) {
        file->lock_seqid++;
        if (lock->first)
            file->open_seqid++;
    }
    if (r == 0) {
        file->lock_stateid = locking.stateid;
        file->has_lock_stateid = true;
    } else if (r > 0 && lock->first) {
        new_lock_owner(file); /* whether the server remembers that one is its own affair */
    }
    return r;
}

static struct nfs_held *find_held(struct nfs_file *file, uint64_t offset, uint64_t length)
{
    struct nfs_held *free_entry = NULL;

    for (unsigned i = 0; i < NFS_LOCKS_MAX; i++) {
        struct nfs_held *held = &file->held[i];

        if (held->wish != NFS_WISH_NONE && held->offset == offset && held->length == length)
            return held;
        if (held->wish == NFS_WISH_NONE)
            free_entry = held;
    }
    return free_entry;
}

int nfs_state_lock(struct nfs_file *file, const struct nfs_held *wish)
{
    struct nfs_held *held = find_held(file, wish->offset, wish->length);
    struct nfs_lock lock = describe(file, wish->offset, wish->length, wish->wish, false);
    int r = 0;

    if (held == NULL)
        return -ENOLCK;
    if (wish->wish != NFS_WISH_NONE || held->wish != NFS_WISH_NONE)
        r = lock_once(file, &lock, wish->wish == NFS_WISH_NONE ? NFS_LOCKU : NFS_LOCK);
    if (r == 0)
        *held = *wish;
    return r;
}

int nfs_state_look_at_lock(struct nfs_file *file, uint64_t offset, uint64_t length)
{
    struct nfs_lock lock = describe(file, offset, length, NFS_WISH_WRITE, false);
    struct locking locking = {.operation = NFS_LOCKT};
    struct nfs_call call;

    nfs_client_begin(&file->client, &call);
    nfs_put_filehandle(&call, &file->fh);
    nfs_put_lock_test(&call, &lock);
    return nfs_client_call(&file->client, &call, parse_lock, &locking);
}

static int parse_close(void *ctx, struct nfs_reply *reply)
{
    int r = nfs_reply_next(reply, NFS_PUTFH);

    return r != 0 ? r : nfs_reply_next(reply, NFS_CLOSE);
}

void nfs_state_close(struct nfs_file *file)
{
    struct nfs_call call;

    for (unsigned i = 0; i < NFS_LOCKS_MAX; i++) {
        struct nfs_held none = {.offset = file->held[i].offset, .length = file->held[i].length};

        if (file->held[i].wish != NFS_WISH_NONE)
            nfs_state_lock(file, &none);
    }
    nfs_client_begin(&file->client, &call);
    nfs_put_filehandle(&call, &file->fh);
    nfs_put_close(&call, file->open_seqid, &file->open_stateid);
    nfs_client_call(&file->client, &call, parse_close, NULL);
}

/* Recovery. */

static int reclaim_locks(struct nfs_file *file)
{
    int r = 0;

    new_lock_owner(file);
    for (unsigned i = 0; r == 0 && i < NFS_LOCKS_MAX; i++) {
        const struct nfs_held *held = &file->held[i];
        struct nfs_lock lock = describe(file, held->offset, held->length, held->wish, true);

        if (held->wish != NFS_WISH_NONE)
            r = lock_once(file, &lock, NFS_LOCK);
    }
    return r;
}

static int reclaim(struct nfs_file *file)
{
    struct opening opening = {.file = file};
    int r = open_patiently(file, &opening);

    return r != 0 ? r : reclaim_locks(file);
}

/* Who only reads has nothing to lose by opening again; its locks may be refused. */
static int open_again(struct nfs_file *file)
{
    struct opening opening = {.file = file, .path = file->where.path};
    int r = open_patiently(file, &opening);

    new_lock_owner(file);
    for (unsigned i = 0; r == 0 && i < NFS_LOCKS_MAX; i++) {
        struct nfs_held held = file->held[i];

        file->held[i].wish = NFS_WISH_NONE;
        if (held.wish != NFS_WISH_NONE)
            r = nfs_state_lock(file, &held);
    }
    return r;
}

int nfs_state_recover(struct nfs_file *file, bool *ret_restarted)
{
    int r = file->client.has_clientid ? nfs_client_renew(&file->client) : NFS_ERROR_STALE_CLIENTID;

    if (r < 0)
        return r;
    if (r == 0 && !file->state_lost)
        return 0;
    *ret_restarted = true;
    /* An attempt that broke off may have left half of our state there: a client with another verifier starts clean. */
    if (file->state_lost)
        file->client.verifier[0]++;
    file->state_lost = true;
    r = nfs_client_identify(&file->client);
    if (r == 0)
        r = reclaim(file);
    if (r > 0 && file->config.readonly)
        r = open_again(file);
    return r;
}

const struct nfs_stateid *nfs_state_for_io(const struct nfs_file *file)
{
    return file->has_lock_stateid ? &file->lock_stateid : &file->open_stateid;
}
