/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptors that came over the control socket and wait under a name until a command uses them. */
#ifndef FERRY_VMM_FD_STORE_H
#define FERRY_VMM_FD_STORE_H

#define FD_STORE_MAX 32      /* descriptors that wait */
#define FD_STORE_NAME_MAX 63 /* characters of a name */

struct err;

struct fd_store {
    struct {
        char name[FD_STORE_NAME_MAX + 1];
        int fd;
    } entry[FD_STORE_MAX];
    unsigned count;
    int received; /* came with the command under way; -1: none */
};

void fd_store_init(struct fd_store *store);
void fd_store_fini(struct fd_store *store); /* closes them all */

/* Keeps the descriptor that came with this command under the name; one that had it is closed. -EINVAL, -ENOSPC with a sentence;
 * the descriptor is closed then. */
int fd_store_keep(struct fd_store *store, const char *name, struct err *err);

/* Takes a descriptor out, which is the caller's then. -ENOENT with a sentence. */
int fd_store_take(struct fd_store *store, const char *name, int *ret_fd, struct err *err);

#endif
