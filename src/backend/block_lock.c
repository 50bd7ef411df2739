/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Locks of disk images, and the order in which they are taken. */
#include "backend/block_lock.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "backend/block_medium.h"
#include "base/err.h"

#define FAR (UINT64_C(1) << 62)

struct range {
    uint64_t start, length;
};

static const struct range data = {0, FAR}, claim = {FAR, 1}, readers = {FAR + 1, 1};

static int set(struct block_medium *medium, struct range range, enum block_lock_wish wish)
{
    return medium->type->lock(medium, range.start, range.length, wish);
}

/* Whether somebody else holds any lock on the range: 0, -EAGAIN, or another error. */
static int look(struct block_medium *medium, struct range range)
{
    return medium->type->look(medium, range.start, range.length);
}

static int refused(int r, const char *path, const char *why, struct err *err)
{
    if (r != -EAGAIN)
        return err_set(err, r, "cannot lock disk image %s: %s", path, strerror(-r));
    return err_set(err, -EBUSY, "disk image %s is in use by %s", path, why);
}

static int open_to_write(struct block_medium *medium, const char *path, struct err *err)
{
    int r = set(medium, claim, BLOCK_LOCK_EXCLUSIVE);

    if (r == 0)
        r = look(medium, readers);
    if (r == 0)
        r = set(medium, data, BLOCK_LOCK_EXCLUSIVE);
    if (r == 0)
        r = set(medium, claim, BLOCK_LOCK_SHARED);
    return r == 0 ? 0 : refused(r, path, "another virtual machine; stop that one first, or give both of them the image with "
                                         "readonly=on", err);
}

static int open_to_read(struct block_medium *medium, const char *path, struct err *err)
{
    int r = set(medium, readers, BLOCK_LOCK_SHARED);

    if (r == 0)
        r = look(medium, claim);
    if (r == 0)
        r = set(medium, data, BLOCK_LOCK_SHARED);
    return r == 0 ? 0 : refused(r, path, "a virtual machine that writes to it; stop that one first", err);
}

static int open_to_claim(struct block_medium *medium, const char *path, struct err *err)
{
    int r = set(medium, claim, BLOCK_LOCK_SHARED);

    if (r == 0)
        r = look(medium, readers);
    return r == 0 ? 0 : refused(r, path, "virtual machines that only read it; stop those first", err);
}

int block_lock_open(struct block_medium *medium, const char *path, enum block_lock_kind kind, struct err *err)
{
    switch (kind) {
    case BLOCK_LOCK_READ:
        return open_to_read(medium, path, err);
    case BLOCK_LOCK_WRITE:
        return open_to_write(medium, path, err);
    case BLOCK_LOCK_CLAIM:
        return open_to_claim(medium, path, err);
    }
    return -EINVAL;
}

int block_lock_take(struct block_medium *medium, const char *path, struct err *err)
{
    int r = set(medium, data, BLOCK_LOCK_EXCLUSIVE);

    return r == 0 ? 0 : refused(r, path, "another virtual machine, which writes to it", err);
}

void block_lock_release(struct block_medium *medium)
{
    set(medium, data, BLOCK_UNLOCK);
}
