/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the files of a pool are: a directory of this host, or one on an NFS server that is not mounted.
 *
 * Files are named by single names; what would lead out of the place (a '/', "..", a link to elsewhere) is refused. All calls
 * may wait for disks and servers, and are made by one thread at a time. Results are 0 or negative errnos. */
#ifndef FERRY_STORAGE_PLACE_H
#define FERRY_STORAGE_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct storage_place;
struct storage_handle;

enum storage_kind { STORAGE_FILE, STORAGE_DIRECTORY, STORAGE_OTHER };

struct storage_file {
    char name[256];
    enum storage_kind kind;
    uint64_t size;      /* bytes */
    uint64_t allocated; /* bytes on the disk */
    mode_t mode;        /* permission bits */
    uid_t uid;
    gid_t gid;
    int64_t modified_s; /* since 1970 */
    uint32_t modified_ns;
};

struct storage_space { /* of the file system, bytes */
    uint64_t capacity, available;
};

/* Errors are sentences. */
int place_open_directory(const char *path, struct storage_place **ret_place, struct err *err);
int place_open_nfs(const char *url, struct storage_place **ret_place, struct err *err);
void place_close(struct storage_place *place); /* accepts NULL */

bool place_name_valid(const char *name);
int place_space(struct storage_place *place, struct storage_space *ret_space);
int place_list(struct storage_place *place, int (*found)(void *ctx, const struct storage_file *file), void *ctx);
int place_look(struct storage_place *place, const char *name, struct storage_file *ret_file);

/* What a new file is to be. */
struct storage_new {
    const char *name;
    mode_t mode;
    uid_t uid; /* -1: who makes it; likewise gid. Servers decide by themselves whose it is */
    gid_t gid;
    uint64_t size;     /* bytes, all zeros */
    uint64_t allocate; /* so many of them get their space now, where the place can do that */
};
/* A new file, open for writing: -EEXIST. It has its name from handle_publish() on, so that nobody ever finds a part of it, whatever
 * happens before; where the place can't do that it has the name at once. */
int place_create(struct storage_place *place, const struct storage_new *new_file, struct storage_handle **ret_handle, struct err *err);
int handle_publish(struct storage_handle *handle, const char *name);
/* Instead of handle_close(), of a file that is not wanted after all. */
void handle_discard(struct storage_handle *handle, struct storage_place *place, const char *name);
/* allocate: its space is there afterwards; -EOPNOTSUPP where the place can't do that. */
int place_resize(struct storage_place *place, const char *name, uint64_t size, bool allocate);
int place_remove(struct storage_place *place, const char *name);

/* An open file, which outlives its place. */
int place_open(struct storage_place *place, const char *name, bool writable, struct storage_handle **ret_handle, struct err *err);
int handle_read(struct storage_handle *handle, void *data, size_t size, uint64_t offset); /* exactly; -EIO past the end */
int handle_write(struct storage_handle *handle, const void *data, size_t size, uint64_t offset);
int handle_flush(struct storage_handle *handle);
uint64_t handle_size(const struct storage_handle *handle);
void handle_close(struct storage_handle *handle); /* accepts NULL */

#endif
