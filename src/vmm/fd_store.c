/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A short list of named descriptors. */
#include "vmm/fd_store.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"

void fd_store_init(struct fd_store *store)
{
    *store = (struct fd_store){.received = -1};
}

void fd_store_fini(struct fd_store *store)
{
    for (unsigned i = 0; i < store->count; i++)
        fd_close(&store->entry[i].fd);
    store->count = 0;
    fd_close(&store->received);
}

static int find(const struct fd_store *store, const char *name)
{
    for (unsigned i = 0; i < store->count; i++) {
        if (text_equal(store->entry[i].name, name))
            return (int)i;
    }
    return -ENOENT;
}

static int check(const struct fd_store *store, const char *name, int at, struct err *err)
{
    if (store->received < 0)
        return err_set(err, -EINVAL, "No file descriptor supplied via SCM_RIGHTS");
    if (name[0] == 0 || strlen(name) > FD_STORE_NAME_MAX)
        return err_set(err, -EINVAL, "a descriptor's name has 1 to %d characters", FD_STORE_NAME_MAX);
    if (at < 0 && store->count == FD_STORE_MAX)
        return err_set(err, -ENOSPC, "%d descriptors wait already; close some with closefd", FD_STORE_MAX);
    return 0;
}

int fd_store_keep(struct fd_store *store, const char *name, struct err *err)
{
    int at = find(store, name), r = check(store, name, at, err);

    if (r < 0) {
        fd_close(&store->received);
        return r;
    }
    if (at < 0)
        at = (int)store->count++;
    else
        fd_close(&store->entry[at].fd);
    memcpy(store->entry[at].name, name, strlen(name) + 1);
    store->entry[at].fd = store->received;
    store->received = -1;
    return 0;
}

int fd_store_take(struct fd_store *store, const char *name, int *ret_fd, struct err *err)
{
    int at = find(store, name);

    if (at < 0)
        return err_set(err, -ENOENT, "no descriptor called '%.80s' came over the control socket", name);
    *ret_fd = store->entry[at].fd;
    store->entry[at] = store->entry[--store->count];
    return 0;
}
