/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Doorbells of one VM: a short list under a read-write lock. */
#include "engine/dbt/doorbell.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/fd.h"

#define DOORBELLS_MAX 256

struct dbt_doorbells {
    pthread_rwlock_t lock;
    unsigned count;
    struct engine_doorbell list[DOORBELLS_MAX];
};

int dbt_doorbells_new(struct dbt_doorbells **ret)
{
    struct dbt_doorbells *doorbells = calloc(1, sizeof(*doorbells));

    if (doorbells == NULL)
        return -ENOMEM;
    pthread_rwlock_init(&doorbells->lock, NULL);
    *ret = doorbells;
    return 0;
}

void dbt_doorbells_free(struct dbt_doorbells *doorbells)
{
    if (doorbells == NULL)
        return;
    pthread_rwlock_destroy(&doorbells->lock);
    free(doorbells);
}

static bool same_place(const struct engine_doorbell *a, const struct engine_doorbell *b)
{
    return a->port == b->port && a->address == b->address && (a->size == b->size || a->size == 0 || b->size == 0) &&
           (!a->match || !b->match || a->value == b->value);
}

static int find(const struct dbt_doorbells *doorbells, const struct engine_doorbell *wanted)
{
    for (unsigned i = 0; i < doorbells->count; i++)
        if (same_place(&doorbells->list[i], wanted))
            return (int)i;
    return -ENOENT;
}

int dbt_doorbell_add(struct dbt_doorbells *doorbells, const struct engine_doorbell *doorbell)
{
    int r = 0;

    pthread_rwlock_wrlock(&doorbells->lock);
    if (find(doorbells, doorbell) >= 0)
        r = -EEXIST;
    else if (doorbells->count == DOORBELLS_MAX)
        r = -ENOSPC;
    else
        doorbells->list[doorbells->count++] = *doorbell;
    pthread_rwlock_unlock(&doorbells->lock);
    return r;
}

int dbt_doorbell_remove(struct dbt_doorbells *doorbells, const struct engine_doorbell *doorbell)
{
    int i;

    pthread_rwlock_wrlock(&doorbells->lock);
    i = find(doorbells, doorbell);
    if (i >= 0)
        doorbells->list[i] = doorbells->list[--doorbells->count];
    pthread_rwlock_unlock(&doorbells->lock);
    return i < 0 ? i : 0;
}

bool dbt_doorbell_ring(struct dbt_doorbells *doorbells, bool port, uint64_t address, unsigned size, uint64_t value)
{
    struct engine_doorbell write = {.port = port, .address = address, .size = size, .match = true, .value = value};
    int i;

    pthread_rwlock_rdlock(&doorbells->lock);
    i = find(doorbells, &write);
    if (i >= 0)
        eventfd_signal(doorbells->list[i].fd);
    pthread_rwlock_unlock(&doorbells->lock);
    return i >= 0;
}
