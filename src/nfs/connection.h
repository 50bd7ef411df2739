/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A TCP connection to an NFS server: whole requests out, whole records in (RFC 5531 section 11), never blocking but to connect. */
#ifndef FERRY_NFS_CONNECTION_H
#define FERRY_NFS_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "nfs/call.h"

struct err;

#define NFS_TRANSFER_MAX (1u << 20)                  /* bytes of data in one READ or WRITE */
#define NFS_RECORD_MAX (NFS_TRANSFER_MAX + 64u * 1024) /* bytes of one record that are taken */

struct nfs_address {
    struct sockaddr_storage address;
    socklen_t size;
    char server[256]; /* as it was given, for sentences */
};

struct nfs_outgoing {
    struct nfs_outgoing *next;
    struct nfs_call call;
    size_t sent; /* bytes of head, data and padding */
};

struct nfs_connection {
    int fd; /* -1: none */
    struct nfs_outgoing *first, **last;
    uint8_t *record;         /* NFS_RECORD_MAX bytes */
    size_t record_size;
    uint8_t mark[4];
    unsigned mark_size;      /* bytes of it that have come */
    uint32_t fragment_left;
    bool fragment_last;
};

/* Looks the name up, which may block. */
int nfs_address_find(const char *server, uint16_t port, struct nfs_address *ret_address, struct err *err);

/* Connects within timeout_ms. On failure a sentence, and connection->fd is -1. */
int nfs_connection_open(struct nfs_connection *connection, const struct nfs_address *address, int timeout_ms, struct err *err);
void nfs_connection_close(struct nfs_connection *connection); /* accepts a zeroed one with fd -1; drops what is unsent */

/* Queues a finished call, which is the connection's from then on (also on failure, -ENOMEM); its data must stay until the
 * reply has come or the connection is closed. */
int nfs_connection_queue(struct nfs_connection *connection, struct nfs_call *call);
bool nfs_connection_has_output(const struct nfs_connection *connection);

/* Sends what the socket takes. 0, or a negative errno: the connection is lost. */
int nfs_connection_send(struct nfs_connection *connection);

/* 1: *ret_record is a whole record, valid until the next call; 0: not yet; negative: the connection is lost. */
int nfs_connection_receive(struct nfs_connection *connection, const uint8_t **ret_record, size_t *ret_size);

#endif
