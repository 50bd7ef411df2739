/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nfs://SERVER[:PORT]/PATH[?KEY=VALUE&...], as in RFC 2224 with libnfs's keys: version (4 is the only one), nfsport,
 * uid, gid. "%41" stands for a byte. */
#ifndef FERRY_NFS_URL_H
#define FERRY_NFS_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

#define NFS_PORT 2049

struct nfs_url {
    char server[256]; /* a name or an address */
    uint16_t port;
    char path[1024];  /* begins with '/', has no "." or ".." and no empty parts, does not end with '/' unless it is "/" */
    uid_t uid;        /* as whom: this process, unless the URL says otherwise */
    gid_t gid;
};

bool nfs_is_url(const char *text);

/* -EINVAL with a sentence. */
int nfs_url_parse(const char *text, struct nfs_url *ret_url, struct err *err);

/* Appends a slash and a name, escaped, to a URL without a query. False: it does not fit into size bytes. */
bool nfs_url_append(char *url, size_t size, const char *name);

#endif
