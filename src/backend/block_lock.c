/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Locks of disk images, and the order in which they are taken. */
#include "backend/block_lock.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

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

/* Behind the ranges above, and before the end of what an off_t can name. */
#define BEACON_FIRST (FAR + (INT64_C(1) << 32))

int block_lock_show_beacon(struct block_medium *medium, uint64_t *ret_offset)
{
    uint64_t random;
    struct range range = {.length = 1};
    int r;

    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -errno;
    range.start = BEACON_FIRST + random % (INT64_MAX - BEACON_FIRST - 1);
    r = set(medium, range, BLOCK_LOCK_SHARED);
    if (r == 0)
        *ret_offset = range.start;
    return r;
}

void block_lock_hide_beacon(struct block_medium *medium, uint64_t offset)
{
    if (offset >= BEACON_FIRST && offset < INT64_MAX)
        set(medium, (struct range){offset, 1}, BLOCK_UNLOCK);
}

bool block_lock_sees_beacon(struct block_medium *medium, uint64_t offset)
{
    return offset >= BEACON_FIRST && offset < INT64_MAX && look(medium, (struct range){offset, 1}) == -EAGAIN;
}
