/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: what an NFS server answers. Bytes arrive as a stream; each record is read as the answer to every request. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "nfs/connection.h"
#include "nfs/reply.h"

static void parse(const uint8_t *record, size_t size, enum nfs_operation operation)
{
    struct nfs_filehandle fh;
    struct nfs_stateid stateid;
    struct nfs_attributes attributes;
    struct nfs_entry entry;
    struct nfs_reply reply;
    enum nfs_stability stability;
    uint8_t verifier[NFS_VERIFIER_SIZE];
    const uint8_t *data;
    uint64_t clientid;
    uint32_t count;
    size_t length;
    char text[32];
    bool end = false;
    volatile uint8_t last;

    if (nfs_reply_begin(&reply, record, size) < 0 || nfs_reply_next(&reply, NFS_PUTFH) != 0 ||
        nfs_reply_next(&reply, operation) != 0)
        return;
    switch (operation) {
    case NFS_GETFH:
        nfs_get_filehandle(&reply, &fh);
        break;
    case NFS_LOCK:
        nfs_get_stateid(&reply, &stateid);
        break;
    case NFS_SETCLIENTID:
        nfs_get_clientid(&reply, &clientid, verifier);
        break;
    case NFS_OPEN:
        nfs_get_open(&reply, &stateid, &end);
        break;
    case NFS_GETATTR:
        nfs_get_attributes(&reply.reader, &attributes);
        break;
    case NFS_READ:
        if (nfs_get_read(&reply, &data, &length, &end) == 0 && length > 0)
            last = data[length - 1];
        break;
    case NFS_WRITE:
        nfs_get_write(&reply, &count, &stability, verifier);
        break;
    case NFS_READLINK:
        nfs_get_link(&reply, text, sizeof(text));
        break;
    case NFS_READDIR:
        nfs_get_verifier(&reply, verifier);
        while (nfs_get_entry(&reply, &entry, &end) > 0)
            last = (uint8_t)entry.name[strlen(entry.name)];
        break;
    default:
        break;
    }
    (void)last;
}

static void parse_all(const uint8_t *record, size_t size)
{
    static const enum nfs_operation operations[] = {NFS_GETFH, NFS_LOCK,  NFS_SETCLIENTID, NFS_OPEN,   NFS_GETATTR,
                                                    NFS_READ,  NFS_WRITE, NFS_READLINK,    NFS_READDIR};

    for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        parse(record, size, operations[i]);
}

/* One good answer of each kind: accepted, PUTFH, the operation, a body that is long enough for all. */
size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const uint32_t operations[] = {NFS_GETFH, NFS_LOCK,  NFS_SETCLIENTID, NFS_OPEN,   NFS_GETATTR,
                                          NFS_READ,  NFS_WRITE, NFS_READLINK,    NFS_READDIR};
    uint32_t words[] = {7, 1, 0, 0, 0, 0, 0, 0, 2, NFS_PUTFH, 0, 0, 0, 1, 2, 4, 0x61620000, 1, 0, 1, 0, 1, 1, 4, 1, 0, 1, 0, 0};

    if (index >= sizeof(operations) / sizeof(operations[0]) || max < sizeof(words))
        return 0;
    words[11] = operations[index];
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = __builtin_bswap32(words[i]);
    memcpy(out, words, sizeof(words));
    return sizeof(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nfs_connection connection = {.record = malloc(NFS_RECORD_MAX)};
    const uint8_t *record;
    size_t length;
    int fds[2];

    connection.last = &connection.first;
    if (connection.record == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0) {
        free(connection.record);
        return 0;
    }
    connection.fd = fds[0];
    parse_all(data, size);
    if (send(fds[1], data, size, MSG_NOSIGNAL) > 0)
        while (nfs_connection_receive(&connection, &record, &length) > 0)
            parse_all(record, length);
    close(fds[1]);
    nfs_connection_close(&connection);
    return 0;
}
