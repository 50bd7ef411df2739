/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM's migrations away: what the migration room asks of the source's machine, and the commands. */
#include <errno.h>
#include <stdlib.h>

#include "backend/block.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"
#include "vmm/board.h"
#include "vmm/describe.h"
#include "vmm/machine.h"
#include "vmm/machine_state.h"
#include "vmm/migrate.h"
#include "vmm/migrate_internal.h"
#include "vmm/plug.h"

#define FLUSH_NS (2 * NANOSECONDS_PER_SECOND)

static int examine_work(struct migrate *migrate, void *argument, struct err *err)
{
    struct buffer *description = argument;

    return describe_examine(migrate->machine, description->data, description->size, migrate->storage, &migrate->arbiter,
                            err);
}

static int examine(void *ctx, const void *description, size_t size, struct err *err)
{
    struct buffer view = {.data = (void *)description, .size = size};

    return migrate_in_loop(ctx, examine_work, &view, err);
}

/* A flush of the disks under way; the last of migrate and loop to let it go frees it. */
struct flushing {
    struct migrate *migrate; /* NULL: gone, or no longer waiting */
};

static void flush_done(void *ctx)
{
    struct flushing *flushing = ctx;

    if (flushing->migrate != NULL) {
        pthread_mutex_lock(&flushing->migrate->lock);
        flushing->migrate->flushing = NULL;
        pthread_cond_broadcast(&flushing->migrate->changed);
        pthread_mutex_unlock(&flushing->migrate->lock);
    }
    free(flushing);
}

static int flush_work(struct migrate *migrate, void *argument, struct err *err)
{
    struct flushing *flushing = migrate->flushing == NULL ? malloc(sizeof(*flushing)) : NULL;

    if (flushing == NULL)
        return 0;
    flushing->migrate = migrate;
    pthread_mutex_lock(&migrate->lock);
    migrate->flushing = flushing;
    pthread_mutex_unlock(&migrate->lock);
    board_flush_disks(migrate->machine->board, flush_done, flushing);
    return 0;
}

static void flush_disks(void *ctx)
{
    struct migrate *migrate = ctx;
    int64_t deadline = host_monotonic_ns() + FLUSH_NS;

    migrate_in_loop(migrate, flush_work, NULL, NULL);
    pthread_mutex_lock(&migrate->lock);
    while (migrate->flushing != NULL && !migrate->ending &&
           host_wait(&migrate->changed, &migrate->lock, deadline) != -ETIMEDOUT)
        ;
    pthread_mutex_unlock(&migrate->lock);
}

static int stop_work(struct migrate *migrate, void *argument, struct err *err)
{
    struct machine *machine = migrate->machine;
    int r = machine_hold(machine, &migrate->status_before);

    if (r < 0)
        return err_set(err, r, "the VM is %s", machine_status_name(machine));
    *(bool *)argument = migrate->status_before == MACHINE_RUNNING;
    return 0;
}

static int stop(void *ctx, bool *ret_running, struct err *err)
{
    return migrate_in_loop(ctx, stop_work, ret_running, err);
}

static int save_work(struct migrate *migrate, void *argument, struct err *err)
{
    return machine_save_sections(migrate->machine, argument, err);
}

static int save(void *ctx, struct buffer *out, struct err *err)
{
    return migrate_in_loop(ctx, save_work, out, err);
}

static int resume_work(struct migrate *migrate, void *argument, struct err *err)
{
    machine_unhold(migrate->machine, migrate->status_before);
    return 0;
}

static void resume(void *ctx)
{
    migrate_in_loop(ctx, resume_work, NULL, NULL);
}

static int gone_work(struct migrate *migrate, void *argument, struct err *err)
{
    machine_unhold(migrate->machine, MACHINE_POSTMIGRATE);
    return 0;
}

static void gone(void *ctx)
{
    migrate_in_loop(ctx, gone_work, NULL, NULL);
}

static int throttle_work(struct migrate *migrate, void *argument, struct err *err)
{
    machine_throttle(migrate->machine, *(unsigned *)argument);
    return 0;
}

static void throttle(void *ctx, unsigned percent)
{
    migrate_in_loop(ctx, throttle_work, &percent, NULL);
}

void migrate_abandon_flush(struct migrate *migrate)
{
    if (migrate->flushing != NULL)
        migrate->flushing->migrate = NULL;
}

void migrate_fill_source(struct migration_machine *interface)
{
    interface->examine = examine;
    interface->flush_disks = flush_disks;
    interface->stop = stop;
    interface->save = save;
    interface->resume = resume;
    interface->gone = gone;
    interface->throttle = throttle;
}

/* --- commands ------------------------------------------------------------------------------------------- */

bool migrate_source_active(const struct migrate *migrate)
{
    return migrate->source != NULL && !migration_status_over(migration_source_progress(migrate->source)->status);
}

static struct plug_backend *find_disk(const struct machine *machine, const char *id)
{
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++)
        if (text_equal(card->backend->id, id))
            return card->backend;
    return NULL;
}

static int check_choice(const struct machine *machine, const struct migrate_order *order, struct err *err)
{
    for (unsigned i = 0; i < order->disks; i++) {
        const struct plug_backend *backend = find_disk(machine, order->disk[i]);

        if (backend == NULL)
            return err_set(err, -ENOENT, "the VM has no disk '%.64s' that could be copied", order->disk[i]);
        if (block_readonly(backend->image))
            return err_set(err, -EINVAL, "disk '%.64s' is read-only, so it is not copied: both sides must see the same file",
                           order->disk[i]);
    }
    return 0;
}

/* What was not chosen is not offered to the destination. */
static void choose(const struct machine *machine, const struct migrate_order *order)
{
    const struct plug_card *card;

    for (unsigned i = 0; (card = plug_disk(machine->board, i)) != NULL; i++)
        card->backend->kept = order->disks > 0;
    for (unsigned i = 0; i < order->disks; i++)
        find_disk(machine, order->disk[i])->kept = false;
}

int migrate_outgoing(struct machine *machine, const struct migrate_order *order, struct err *err)
{
    struct migrate *migrate = machine->migrate;
    struct migration_parameters parameters = migrate->parameters;
    struct address address;
    int r = migrate_check_idle(machine, err);

    if (r == 0 && machine->unusable)
        r = err_set(err, -EINVAL, "the VM's state is incomplete since a load failed");
    if (r == 0)
        r = address_parse(order->uri, &address, err);
    if (r == 0)
        r = check_choice(machine, order, err);
    if (r < 0)
        return r;
    migration_source_free(migrate->source);
    migrate->source = NULL;
    migrate->storage = parameters.storage = parameters.storage || order->storage;
    describe_forget_copies(machine);
    choose(machine, order);
    migrate->arbiter = describe_can_arbitrate(machine, migrate->storage);
    return migration_source_start(&migrate->interface, &address, &parameters, order->dry_run, &migrate->source, err);
}

int migrate_cancel(struct machine *machine, struct err *err)
{
    return migrate_source_active(machine->migrate) ? migration_source_cancel(machine->migrate->source, err) : 0;
}

int migrate_start_postcopy(struct machine *machine, struct err *err)
{
    struct migrate *migrate = machine->migrate;

    if (migrate->source == NULL)
        return err_set(err, -EINVAL, "there is no migration");
    return migration_source_start_postcopy(migrate->source, err);
}

int migrate_pause(struct machine *machine, struct err *err)
{
    struct migrate *migrate = machine->migrate;

    if (migrate->source == NULL)
        return err_set(err, -EINVAL, "there is no migration from here to pause");
    return migration_source_pause(migrate->source, err);
}

int migrate_resume(struct machine *machine, const char *uri, struct err *err)
{
    struct migrate *migrate = machine->migrate;
    struct address address;
    int r = address_parse(uri, &address, err);

    if (r < 0)
        return r;
    if (migrate->source == NULL)
        return err_set(err, -EINVAL, "there is no migration to resume");
    return migration_source_resume(migrate->source, &address, err);
}
