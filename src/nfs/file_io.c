/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads, writes and commits: requests are cut into parts of the size that the server takes; written data is kept until it
 * is committed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "nfs/file_internal.h"

static void finish_part(struct nfs_part *part, int result)
{
    struct nfs_io *io = part->io;

    if (part->kind == PART_WRITE)
        free(part->write);
    free(part);
    if (io == NULL)
        return;
    if (result < 0 && io->result == 0)
        io->result = result;
    if (--io->parts == 0)
        io->done(io);
}

static void push_ready(struct nfs_part *part)
{
    struct nfs_file *file = part->file;

    part->next = NULL;
    *file->ready_last = part;
    file->ready_last = &part->next;
}

/* To the front: it was begun before those that wait. */
static void push_back(struct nfs_part *part)
{
    struct nfs_file *file = part->file;

    part->next = file->ready;
    if (file->ready == NULL)
        file->ready_last = &part->next;
    file->ready = part;
}

static struct nfs_part *pop_ready(struct nfs_file *file)
{
    struct nfs_part *part = file->ready;

    file->ready = part->next;
    if (file->ready == NULL)
        file->ready_last = &file->ready;
    return part;
}

/* Bytes [offset, offset + size) of the vector, out of it or (write) into it. */
static void copy_iov(const struct nfs_io *io, uint64_t offset, void *data, size_t size, bool write)
{
    uint8_t *bytes = data;

    for (unsigned i = 0; i < io->iov_count && size > 0; i++) {
        size_t length = io->iov[i].iov_len, take;

        if (offset >= length) {
            offset -= length;
            continue;
        }
        take = length - offset < size ? length - offset : size;
        if (write)
            memcpy((uint8_t *)io->iov[i].iov_base + offset, bytes, take);
        else
            memcpy(bytes, (uint8_t *)io->iov[i].iov_base + offset, take);
        bytes += take;
        size -= take;
        offset = 0;
    }
}

static struct nfs_part *new_part(struct nfs_file *file, struct nfs_io *io, enum nfs_part_kind kind, uint64_t offset, uint32_t size)
{
    struct nfs_part *part = calloc(1, sizeof(*part));

    if (part == NULL)
        return NULL;
    *part = (struct nfs_part){.file = file, .io = io, .kind = kind, .offset = offset, .size = size};
    if (kind != PART_WRITE)
        return part;
    part->write = malloc(sizeof(*part->write) + size);
    if (part->write == NULL) {
        free(part);
        return NULL;
    }
    *part->write = (struct nfs_write){.offset = offset, .size = size};
    copy_iov(io, offset - io->offset, part->write->data, size, false);
    return part;
}

static void cut(struct nfs_file *file, struct nfs_io *io)
{
    enum nfs_part_kind kind = io->operation == NFS_IO_READ ? PART_READ : PART_WRITE;
    uint32_t most = kind == PART_READ ? file->read_max : file->write_max;

    for (uint64_t done = 0; done < io->size && io->result == 0;) {
        uint64_t left = io->size - done;
        uint32_t size = left < most ? (uint32_t)left : most;
        struct nfs_part *part = new_part(file, io, kind, io->offset + done, size);

        if (part == NULL) {
            io->result = -ENOMEM;
            return;
        }
        io->parts++;
        push_ready(part);
        done += size;
    }
}

void nfs_io_begin(struct nfs_file *file, struct nfs_io *io)
{
    struct nfs_part *part;

    io->result = 0;
    io->parts = 1; /* until all are cut */
    if (io->operation == NFS_IO_FLUSH) {
        part = new_part(file, io, PART_COMMIT, 0, 0);
        if (part != NULL) {
            io->parts++;
            push_ready(part);
        } else {
            io->result = -ENOMEM;
        }
    } else {
        cut(file, io);
    }
    if (--io->parts == 0)
        io->done(io);
}

void nfs_io_fail(struct nfs_file *file, int result)
{
    while (file->ready != NULL)
        finish_part(pop_ready(file), result);
}

/* What became of a request that was not answered, or refused for now. */
static void again(struct nfs_part *part, int result)
{
    if (nfs_status_is_patience(result))
        part->file->pause_until_ns = host_monotonic_ns() + NFS_RETRY_MS * INT64_C(1000000);
    if (nfs_status_is_lost_state(result))
        part->file->state_lost = true;
    push_back(part);
}

static bool to_be_repeated(int result)
{
    return result == -EPIPE || nfs_status_is_patience(result) || nfs_status_is_lost_state(result);
}

static int to_errno(int result)
{
    return result > 0 ? nfs_errno((uint32_t)result) : result;
}

/* Another verifier than before: the server lost what it had not committed, without our noticing. */
static void see_verifier(struct nfs_file *file, const uint8_t verifier[static NFS_VERIFIER_SIZE])
{
    if (file->has_verifier && memcmp(file->verifier, verifier, NFS_VERIFIER_SIZE) != 0)
        file->replay_wanted = file->uncommitted != NULL;
    memcpy(file->verifier, verifier, NFS_VERIFIER_SIZE);
    file->has_verifier = true;
}

static void keep(struct nfs_file *file, struct nfs_write *write, const uint8_t verifier[static NFS_VERIFIER_SIZE])
{
    memcpy(write->verifier, verifier, NFS_VERIFIER_SIZE);
    write->sequence = ++file->sequence;
    write->next = NULL;
    *file->uncommitted_last = write;
    file->uncommitted_last = &write->next;
    file->uncommitted_bytes += write->size;
}

static void read_done(struct nfs_part *part, int result, struct nfs_reply *reply)
{
    const uint8_t *data;
    size_t size = 0;
    bool end;

    if (result == 0)
        result = nfs_get_read(reply, &data, &size, &end);
    if (result == 0 && (size > part->size || (size == 0 && part->size > 0)))
        result = size > part->size ? -EBADMSG : -EIO; /* the file has become shorter */
    if (result == 0) {
        copy_iov(part->io, part->offset - part->io->offset, (void *)data, size, true);
        part->offset += size;
        part->size -= (uint32_t)size;
    }
    if (result == 0 && part->size > 0)
        push_back(part);
    else
        finish_part(part, to_errno(result));
}

/* The server took only the front: the rest becomes a request of its own. */
static int split(struct nfs_part *part, uint32_t count)
{
    struct nfs_write *write = part->write;
    uint32_t left = write->size - count;
    struct nfs_part *rest = calloc(1, sizeof(*rest));
    struct nfs_write *tail = malloc(sizeof(*tail) + left);

    if (rest == NULL || tail == NULL) {
        free(rest);
        free(tail);
        return -ENOMEM;
    }
    *rest = (struct nfs_part){.file = part->file, .io = part->io, .kind = PART_WRITE, .write = tail};
    *tail = (struct nfs_write){.offset = write->offset + count, .size = left};
    memcpy(tail->data, write->data + count, left);
    write->size = count;
    if (rest->io != NULL)
        rest->io->parts++;
    push_back(rest);
    return 0;
}

static void write_done(struct nfs_part *part, int result, struct nfs_reply *reply)
{
    struct nfs_file *file = part->file;
    uint8_t verifier[NFS_VERIFIER_SIZE];
    enum nfs_stability stability;
    uint32_t count;

    if (result == 0)
        result = nfs_get_write(reply, &count, &stability, verifier);
    if (result == 0 && (count > part->write->size || count == 0))
        result = -EBADMSG;
    if (result == 0 && count < part->write->size)
        result = split(part, count);
    if (result == 0) {
        see_verifier(file, verifier);
        if (stability == NFS_UNSTABLE) {
            keep(file, part->write, verifier);
            part->write = NULL;
        }
    }
    finish_part(part, to_errno(result));
}

/* Takes what the COMMIT covers off the list. Returns whether something it should have covered is left. */
static bool drop_committed(struct nfs_file *file, uint64_t boundary, const uint8_t verifier[static NFS_VERIFIER_SIZE])
{
    struct nfs_write **link = &file->uncommitted;
    bool left = false;

    while (*link != NULL) {
        struct nfs_write *write = *link;

        if (write->sequence <= boundary && memcmp(write->verifier, verifier, NFS_VERIFIER_SIZE) == 0 && !write->stale) {
            *link = write->next;
            file->uncommitted_bytes -= write->size;
            free(write);
            continue;
        }
        left |= write->sequence <= boundary;
        link = &write->next;
    }
    file->uncommitted_last = link;
    return left;
}

static void commit_done(struct nfs_part *part, int result, struct nfs_reply *reply)
{
    struct nfs_file *file = part->file;
    uint8_t verifier[NFS_VERIFIER_SIZE];

    if (result == 0)
        result = nfs_get_verifier(reply, verifier);
    if (result == 0) {
        see_verifier(file, verifier);
        if (drop_committed(file, part->boundary, verifier)) {
            file->replay_wanted = true;
            if (file->replay_error == 0) {
                push_back(part);
                return;
            }
            result = file->replay_error;
            file->replay_error = 0;
        }
    }
    if (part->io == NULL)
        file->commit_started = false;
    finish_part(part, to_errno(result));
}

static void part_done(struct nfs_pending *pending, int result, struct nfs_reply *reply)
{
    static const enum nfs_operation operations[] = {
        [PART_READ] = NFS_READ, [PART_WRITE] = NFS_WRITE, [PART_COMMIT] = NFS_COMMIT};
    struct nfs_part *part = CONTAINER_OF(pending, struct nfs_part, pending);

    part->file->in_flight--;
    if (result == 0)
        result = nfs_reply_next(reply, NFS_PUTFH);
    if (result == 0)
        result = nfs_reply_next(reply, operations[part->kind]);
    if (to_be_repeated(result))
        again(part, result);
    else if (part->kind == PART_READ)
        read_done(part, result, reply);
    else if (part->kind == PART_WRITE)
        write_done(part, result, reply);
    else
        commit_done(part, result, reply);
}

static int start_part(struct nfs_part *part)
{
    struct nfs_file *file = part->file;
    struct nfs_call call;

    part->pending.done = part_done;
    nfs_client_begin(&file->client, &call);
    nfs_put_filehandle(&call, &file->fh);
    if (part->kind == PART_READ)
        nfs_put_read(&call, nfs_state_for_io(file), part->offset, part->size);
    else if (part->kind == PART_WRITE)
        nfs_put_write(&call, nfs_state_for_io(file), part->write->offset, NFS_UNSTABLE, part->write->data, part->write->size);
    else
        nfs_put_commit(&call, 0, 0);
    part->boundary = file->sequence;
    return nfs_client_start(&file->client, &call, &part->pending);
}

/* So many uncommitted bytes that writes had better wait. */
static bool crowded(const struct nfs_file *file)
{
    return file->uncommitted_bytes >= 2 * (uint64_t)NFS_UNCOMMITTED_MAX;
}

static void start_own_commit(struct nfs_file *file)
{
    struct nfs_part *part;

    if (file->commit_started || file->uncommitted_bytes < NFS_UNCOMMITTED_MAX)
        return;
    part = new_part(file, NULL, PART_COMMIT, 0, 0);
    if (part == NULL)
        return;
    file->commit_started = true;
    push_back(part);
}

void nfs_io_start(struct nfs_file *file)
{
    start_own_commit(file);
    while (file->ready != NULL && file->in_flight < NFS_IN_FLIGHT_MAX && !file->replay_wanted && !file->state_lost) {
        struct nfs_part *part;
        int r;

        if (file->ready->kind == PART_WRITE && crowded(file) && file->commit_started)
            break;
        part = pop_ready(file);
        r = start_part(part);
        if (r == 0) {
            file->in_flight++;
        } else if (r == -EPIPE) {
            push_back(part);
            break;
        } else {
            finish_part(part, r);
        }
    }
}

/* Writing again. */

struct rewrite {
    uint32_t count;
    enum nfs_stability stability;
    uint8_t verifier[NFS_VERIFIER_SIZE];
};

static int parse_rewrite(void *ctx, struct nfs_reply *reply)
{
    struct rewrite *rewrite = ctx;
    int r = nfs_reply_next(reply, NFS_PUTFH);

    if (r == 0)
        r = nfs_reply_next(reply, NFS_WRITE);
    return r != 0 ? r : nfs_get_write(reply, &rewrite->count, &rewrite->stability, rewrite->verifier);
}

static int rewrite_once(struct nfs_file *file, const struct nfs_write *write, uint32_t done, struct rewrite *rewrite)
{
    struct nfs_call call;
    int r;

    nfs_client_begin(&file->client, &call);
    nfs_put_filehandle(&call, &file->fh);
    nfs_put_write(&call, nfs_state_for_io(file), write->offset + done, NFS_UNSTABLE, write->data + done, write->size - done);
    r = nfs_client_call(&file->client, &call, parse_rewrite, rewrite);
    return r == 0 && (rewrite->count == 0 || rewrite->count > write->size - done) ? -EBADMSG : r;
}

/* 0: the server has it whole, by one verifier. */
static int rewrite(struct nfs_file *file, struct nfs_write *write)
{
    struct rewrite answer;

    for (uint32_t done = 0; done < write->size; done += answer.count) {
        int r = rewrite_once(file, write, done, &answer);

        if (r != 0)
            return r;
        if (done > 0 && memcmp(write->verifier, answer.verifier, NFS_VERIFIER_SIZE) != 0)
            return NFS_ERROR_DELAY; /* it started anew half-way */
        memcpy(write->verifier, answer.verifier, NFS_VERIFIER_SIZE);
    }
    memcpy(file->verifier, write->verifier, NFS_VERIFIER_SIZE);
    file->has_verifier = true;
    write->stale = false;
    return 0;
}

/* In the order of the answers, so that of two writes to one place the later one stays. Those behind the first that needs it
 * are written again too: they may lie over it. */
int nfs_io_replay(struct nfs_file *file)
{
    bool begun = false;

    file->replay_wanted = false;
    for (struct nfs_write *write = file->uncommitted; write != NULL; write = write->next) {
        int r;

        if (!begun && !write->stale && memcmp(write->verifier, file->verifier, NFS_VERIFIER_SIZE) == 0)
            continue;
        begun = true;
        r = rewrite(file, write);
        if (r == 0)
            continue;
        if (nfs_status_is_lost_state(r))
            file->state_lost = true;
        else if (nfs_status_is_patience(r))
            file->pause_until_ns = host_monotonic_ns() + NFS_RETRY_MS * INT64_C(1000000);
        else if (r != -EPIPE)
            file->replay_error = to_errno(r);
        file->replay_wanted = r == -EPIPE || to_be_repeated(r);
        if (file->replay_wanted)
            return r == -EPIPE ? -EPIPE : 0;
    }
    return 0;
}

void nfs_io_mark_stale(struct nfs_file *file)
{
    for (struct nfs_write *write = file->uncommitted; write != NULL; write = write->next)
        write->stale = true;
    file->replay_wanted = file->uncommitted != NULL;
    file->has_verifier = false;
}

void nfs_io_drop_uncommitted(struct nfs_file *file)
{
    while (file->uncommitted != NULL) {
        struct nfs_write *next = file->uncommitted->next;

        free(file->uncommitted);
        file->uncommitted = next;
    }
    file->uncommitted_last = &file->uncommitted;
    file->uncommitted_bytes = 0;
}
