/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One directory on an NFSv4 server: its entries, made, looked at, resized and removed by name. Every call blocks until the
 * server has answered; for worker threads. A connection that broke is made anew once.
 *
 * Names are single: no '/', not "." nor "..", else -EINVAL. Errors are negative errnos as the system calls of that name have. */
#ifndef FERRY_NFS_TREE_H
#define FERRY_NFS_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs/reply.h"
#include "nfs/url.h"

struct err;
struct nfs_tree;

#define NFS_TREE_ENTRIES_MAX 100000u

/* url names a directory. Errors are sentences. */
int nfs_tree_open(const char *url, struct nfs_tree **ret_tree, struct err *err);
/* The directory that the file of the URL is in; ret_name is the file's name there. */
int nfs_tree_open_parent(const char *url, struct nfs_tree **ret_tree, char *ret_name, size_t size, struct err *err);
void nfs_tree_close(struct nfs_tree *tree); /* accepts NULL */

/* Of the directory's file system: NFS_ATTRIBUTE_SPACE. */
int nfs_tree_space(struct nfs_tree *tree, struct nfs_attributes *ret_attributes);

/* Calls found for each entry with its type, size, bytes used, mode and time, until it returns other than 0, which is returned. */
int nfs_tree_list(struct nfs_tree *tree, int (*found)(void *ctx, const struct nfs_entry *entry), void *ctx);

int nfs_tree_look(struct nfs_tree *tree, const char *name, struct nfs_attributes *ret_attributes);
int nfs_tree_create(struct nfs_tree *tree, const char *name, uint32_t mode, uint64_t size); /* a new file, full of zeros; -EEXIST */
int nfs_tree_resize(struct nfs_tree *tree, const char *name, uint64_t size);
int nfs_tree_remove(struct nfs_tree *tree, const char *name);
int nfs_tree_symlink(struct nfs_tree *tree, const char *name, const char *target);
int nfs_tree_readlink(struct nfs_tree *tree, const char *name, char *text, size_t size);

#endif
