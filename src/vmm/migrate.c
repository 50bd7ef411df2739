/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's side of its migrations. The migration room's threads call in here; what touches the machine is done in
 * the loop's thread while they wait. Here is what both sides have in common. */
#include "vmm/migrate.h"

#include <errno.h>
#include <stdlib.h>

#include "backend/handover.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "event/loop.h"
#include "migration/migration.h"
#include "vmm/board.h"
#include "vmm/describe.h"
#include "vmm/machine.h"
#include "vmm/migrate_internal.h"

#define TLS_DIRECTORY "/etc/pki/qemu" /* where libvirt's users have them */

/* Work of a migration thread, to be done in the loop's thread. */
struct call {
    migrate_work_fn *work;
    void *argument;
    struct err *err;
    int result;
    bool done;
};

/* --- from a migration thread to the loop's and back ----------------------------------------------------- */

static void run_call(void *ctx)
{
    struct migrate *migrate = ctx;
    struct call *call;
    int r;

    pthread_mutex_lock(&migrate->lock);
    call = migrate->call;
    migrate->call = NULL;
    pthread_mutex_unlock(&migrate->lock);
    if (call == NULL)
        return;
    r = call->work(migrate, call->argument, call->err);
    pthread_mutex_lock(&migrate->lock);
    call->result = r;
    call->done = true;
    pthread_cond_broadcast(&migrate->changed);
    pthread_mutex_unlock(&migrate->lock);
}

int migrate_in_loop(struct migrate *migrate, migrate_work_fn *work, void *argument, struct err *err)
{
    struct call call = {.work = work, .argument = argument, .err = err, .result = -ECANCELED};

    pthread_mutex_lock(&migrate->lock);
    if (!migrate->ending && loop_defer(migrate->machine->loop, run_call, migrate) == 0) {
        migrate->call = &call;
        while (!call.done)
            pthread_cond_wait(&migrate->changed, &migrate->lock);
    } else {
        err_set(err, -ECANCELED, "the VM is being ended");
    }
    pthread_mutex_unlock(&migrate->lock);
    return call.result;
}

/* No call waits any more, and none will. */
static void end_calls(struct migrate *migrate)
{
    pthread_mutex_lock(&migrate->lock);
    migrate->ending = true;
    if (migrate->call != NULL) {
        err_set(migrate->call->err, -ECANCELED, "the VM is being ended");
        migrate->call->done = true;
        migrate->call = NULL;
        pthread_cond_broadcast(&migrate->changed);
    }
    pthread_mutex_unlock(&migrate->lock);
}

/* --- both sides ----------------------------------------------------------------------------------------- */

static int describe_work(struct migrate *migrate, void *argument, struct err *err)
{
    bool source = migrate->source != NULL;

    return describe_machine(migrate->machine, source, source && migrate->storage, migrate->arbiter, argument, err);
}

static int describe(void *ctx, struct buffer *out, struct err *err)
{
    return migrate_in_loop(ctx, describe_work, out, err);
}

static int take_work(struct migrate *migrate, void *argument, struct err *err)
{
    return board_activate_disks(migrate->machine->board, err);
}

static int take_disks(void *ctx, struct err *err)
{
    return migrate_in_loop(ctx, take_work, NULL, err);
}

static int release_work(struct migrate *migrate, void *argument, struct err *err)
{
    return board_inactivate_disks(migrate->machine->board, err);
}

static int release_disks(void *ctx, struct err *err)
{
    return migrate_in_loop(ctx, release_work, NULL, err);
}

static int disks_work(struct migrate *migrate, void *argument, struct err *err)
{
    return migrate_disks_open(&migrate->disks, migrate, migrate->machine->board, migrate->source == NULL, argument,
                              err);
}

static int copied_disks(void *ctx, struct migration_disks *ret_disks, struct err *err)
{
    return migrate_in_loop(ctx, disks_work, ret_disks, err);
}

struct decision {
    const char *session;
    bool mine;
};

static enum handover_side own_side(const struct migrate *migrate)
{
    return migrate->source != NULL ? HANDOVER_SOURCE : HANDOVER_DESTINATION;
}

static int decide_work(struct migrate *migrate, void *argument, struct err *err)
{
    const char *path = migrate->arbiter ? board_arbiter(migrate->machine->board) : NULL;
    struct decision *decision = argument;
    enum handover_side winner;
    int r = path == NULL ? -ENOENT : handover_decide(path, decision->session, own_side(migrate), &winner, err);

    if (r == 0)
        decision->mine = winner == own_side(migrate);
    return r == -ENOENT && path != NULL ? -EIO : r; /* -ENOENT is kept for "there is no arbiter" */
}

static int decide(void *ctx, const char *session, bool *ret_mine, struct err *err)
{
    struct decision decision = {.session = session};
    int r = migrate_in_loop(ctx, decide_work, &decision, err);

    if (r == 0)
        *ret_mine = decision.mine;
    return r;
}

static int forget_work(struct migrate *migrate, void *argument, struct err *err)
{
    const char *path = migrate->arbiter ? board_arbiter(migrate->machine->board) : NULL;

    if (path != NULL)
        handover_forget(path, argument);
    return 0;
}

/* When calls are no longer served, the loop's thread waits for this one, and nothing changes under its hands. */
static void forget(void *ctx, const char *session)
{
    if (migrate_in_loop(ctx, forget_work, (void *)session, NULL) == -ECANCELED)
        forget_work(ctx, (void *)session, NULL);
}

struct news {
    struct news *next;
    enum migration_status status; /* MIGRATION_NONE: a round */
    unsigned round;
};

static void log_downtime(const struct migrate *migrate)
{
    char text[1024];

    migration_downtime_sentence(migration_source_progress(migrate->source), migrate->parameters.downtime_limit_ms, text,
                                sizeof(text));
    if (text[0] != 0)
        log_warning("%s", text);
}

/* What people are to read, once. */
static void log_status(struct migrate *migrate, enum migration_status status)
{
    char text[1024];

    if (status == MIGRATION_COMPLETED && migrate->source != NULL)
        log_downtime(migrate);
    migrate_message(migrate->machine, text, sizeof(text));
    if (status == MIGRATION_FAILED && migrate->source != NULL)
        log_error("the migration failed %s", text);
    else if (status == MIGRATION_UNSETTLED || status == MIGRATION_POSTCOPY_PAUSED ||
             (status == MIGRATION_COMPLETED && text[0] != 0))
        log_warning("%s", text);
}

static void tell(struct migrate *migrate, const struct news *news)
{
    struct machine *machine = migrate->machine;

    machine->migration_status = news->status;
    machine->migration_round = news->round;
    if (news->status != MIGRATION_NONE || news->round == 0)
        log_status(migrate, news->status);
    if (news->round == 0 && migrate->source != NULL && migration_status_over(news->status))
        describe_end(machine);
    if (migrate->parameters.events)
        machine_send_event(machine, news->round > 0 ? MACHINE_EVENT_MIGRATION_PASS : MACHINE_EVENT_MIGRATION);
}

static struct news *take_news(struct migrate *migrate)
{
    struct news *news;

    pthread_mutex_lock(&migrate->lock);
    news = migrate->news;
    if (news != NULL)
        migrate->news = news->next;
    pthread_mutex_unlock(&migrate->lock);
    return news;
}

bool migrate_take_news(struct machine *machine, enum migration_status *ret_status, bool *ret_event)
{
    struct news *news = take_news(machine->migrate);

    if (news == NULL)
        return false;
    log_status(machine->migrate, news->status);
    *ret_status = news->status;
    *ret_event = machine->migrate->parameters.events;
    free(news);
    return true;
}

static void tell_all(void *ctx)
{
    struct news *news;

    while ((news = take_news(ctx)) != NULL) {
        tell(ctx, news);
        free(news);
    }
}

static void send_news(struct migrate *migrate, enum migration_status status, unsigned round)
{
    struct news *news = malloc(sizeof(*news)), **end;

    if (news == NULL)
        return;
    *news = (struct news){.status = status, .round = round};
    pthread_mutex_lock(&migrate->lock);
    for (end = &migrate->news; *end != NULL; end = &(*end)->next)
        ;
    *end = news;
    pthread_mutex_unlock(&migrate->lock);
    loop_defer(migrate->machine->loop, tell_all, migrate); /* if it can't, the next ones tell of these too */
}

static void changed(void *ctx, enum migration_status status)
{
    send_news(ctx, status, 0);
}

static void passed(void *ctx, unsigned round)
{
    send_news(ctx, MIGRATION_NONE, round);
}

/* --- commands ------------------------------------------------------------------------------------------- */

int migrate_check_idle(const struct machine *machine, struct err *err)
{
    if (machine->status == MACHINE_INMIGRATE)
        return err_set(err, -EBUSY, "the VM waits for a migration to here");
    if (machine->status == MACHINE_POSTMIGRATE)
        return err_set(err, -EBUSY, "the VM has gone to another host");
    if (migrate_lacks_memory(machine))
        return err_set(err, -EBUSY, "memory of this VM is still on its way from another host");
    if (migrate_source_active(machine->migrate))
        return err_set(err, -EBUSY, "the VM is being migrated: wait for its end, or migrate_cancel");
    return 0;
}

int migrate_settle(struct machine *machine, bool run_here, struct err *err)
{
    struct migrate *migrate = machine->migrate;

    if (migrate->source != NULL)
        return migration_source_settle(migrate->source, run_here, err);
    if (migrate->destination != NULL)
        return migration_destination_settle(migrate->destination, run_here, err);
    if (machine->status == MACHINE_INMIGRATE && !run_here) /* nobody has come */
        return 0;
    return err_set(err, -EINVAL, "there is nothing to settle: there was no migration");
}

bool migrate_lacks_memory(const struct machine *machine)
{
    const struct migrate *migrate = machine->migrate;
    enum migration_status status;

    if (migrate == NULL || migrate->destination == NULL)
        return false;
    status = (enum migration_status)migration_destination_progress(migrate->destination)->status;
    return status >= MIGRATION_POSTCOPY && status <= MIGRATION_POSTCOPY_RECOVER;
}

const struct migration_parameters *migrate_parameters(const struct machine *machine)
{
    return &machine->migrate->parameters;
}

void migrate_set_parameters(struct machine *machine, const struct migration_parameters *parameters)
{
    machine->migrate->parameters = *parameters;
    if (machine->migrate->source != NULL)
        migration_source_set_parameters(machine->migrate->source, parameters);
}

const struct migration_progress *migrate_progress(const struct machine *machine)
{
    const struct migrate *migrate = machine->migrate;

    if (migrate->source != NULL)
        return migration_source_progress(migrate->source);
    return migrate->destination != NULL ? migration_destination_progress(migrate->destination) : NULL;
}

bool migrate_is_under_way(const struct machine *machine)
{
    return migrate_source_active(machine->migrate);
}

bool migrate_is_source(const struct machine *machine)
{
    return machine->migrate->source != NULL;
}

void migrate_message(const struct machine *machine, char *ret_text, size_t size)
{
    const struct migrate *migrate = machine->migrate;

    ret_text[0] = 0;
    if (migrate->source != NULL)
        migration_source_message(migrate->source, ret_text, size);
    else if (migrate->destination != NULL)
        migration_destination_message(migrate->destination, ret_text, size);
}

int migrate_new(struct machine *machine, struct err *err)
{
    struct migrate *migrate = calloc(1, sizeof(*migrate));

    if (migrate == NULL)
        return err_set(err, -ENOMEM, "out of memory");
    migrate->machine = machine;
    migrate->listen_fd = migrate->next_fd = -1;
    migrate->parameters = MIGRATION_PARAMETERS_DEFAULT;
    migrate->interface = (struct migration_machine){
        .ctx = migrate,
        .memory = machine->memory,
        .engine_type = machine->engine_type,
        .vm = machine->vm,
        .tls_directory = machine->config->tls_directory != NULL ? machine->config->tls_directory : TLS_DIRECTORY,
        .userfault_device = machine->config->userfault_fd > 0 ? machine->config->userfault_fd : -1,
        .describe = describe,
        .take_disks = take_disks,
        .release_disks = release_disks,
        .decide = decide,
        .forget = forget,
        .copied_disks = copied_disks,
        .changed = changed,
        .passed = passed,
    };
    migrate_fill_source(&migrate->interface);
    migrate_fill_destination(&migrate->interface);
    pthread_mutex_init(&migrate->lock, NULL);
    pthread_mutex_init(&migrate->stand_in_lock, NULL);
    pthread_cond_init(&migrate->changed, NULL);
    machine->migrate = migrate;
    return 0;
}

void migrate_free(struct migrate *migrate)
{
    if (migrate == NULL)
        return;
    end_calls(migrate);
    migration_source_free(migrate->source);
    migration_destination_free(migrate->destination);
    migrate_stop_listening(migrate);
    fd_close(&migrate->interface.userfault_device);
    for (struct news *news; (news = take_news(migrate)) != NULL;)
        free(news);
    migrate_abandon_flush(migrate);
    pthread_cond_destroy(&migrate->changed);
    pthread_mutex_destroy(&migrate->stand_in_lock);
    pthread_mutex_destroy(&migrate->lock);
    free(migrate);
}
