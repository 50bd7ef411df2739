/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's side of its migrations. The migration room's threads call in here; what touches the machine is done in
 * the loop's thread while they wait. Long because source and destination share what the two threads hand each other. */
#include "vmm/migrate.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backend/handover.h"
#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "migration/migration.h"
#include "vmm/board.h"
#include "vmm/describe.h"
#include "vmm/machine.h"
#include "vmm/machine_state.h"
#include "vmm/migrate_internal.h"

#define CHANNELS_MAX 16
#define TLS_DIRECTORY "/etc/pki/qemu" /* where libvirt's users have them */
#define FLUSH_SECONDS 2

/* Work of a migration thread, to be done in the loop's thread. */
struct call {
    migrate_work_fn *work;
    void *argument;
    struct err *err;
    int result;
    bool done;
};

struct migrate {
    struct machine *machine;
    struct migration_machine interface;
    struct migration_parameters parameters;
    struct migration_source *source; /* the last one, even when it is over */
    struct migration_destination *destination;
    bool arbiter; /* both sides can reach it */
    bool storage; /* disks that are not shared are copied */
    struct migrate_disks disks;

    struct address address; /* where a source is waited for */
    int listen_fd;
    struct loop_source *listening;
    bool serving; /* a session is under way */
    struct result {
        enum destination_outcome outcome;
        struct err err;
    } result;    /* of the session that is over */
    int next_fd; /* who came meanwhile; -1: nobody */

    enum machine_status status_before; /* the stop */

    pthread_mutex_t lock; /* of the members below */
    pthread_cond_t changed;
    struct call *call;         /* waits for the loop's thread */
    struct news *news;         /* to be told, oldest first */
    struct flushing *flushing; /* of the disks; NULL: none under way */
    bool ending;
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
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FLUSH_SECONDS;
    migrate_in_loop(migrate, flush_work, NULL, NULL);
    pthread_mutex_lock(&migrate->lock);
    while (migrate->flushing != NULL && !migrate->ending)
        if (pthread_cond_timedwait(&migrate->changed, &migrate->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&migrate->lock);
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

/* What people are to read, once. */
static void log_status(struct migrate *migrate, enum migration_status status)
{
    char text[1024];

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

/* --- the source ----------------------------------------------------------------------------------------- */

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

/* --- the destination ------------------------------------------------------------------------------------ */

static int check_work(struct migrate *migrate, void *argument, struct err *err)
{
    struct buffer *description = argument;

    return describe_check(migrate->machine, description->data, description->size, &migrate->arbiter, err);
}

static int check(void *ctx, const void *description, size_t size, struct err *err)
{
    struct buffer view = {.data = (void *)description, .size = size};

    return migrate_in_loop(ctx, check_work, &view, err);
}

static int load_work(struct migrate *migrate, void *argument, struct err *err)
{
    struct buffer *state = argument;

    return machine_load_sections(migrate->machine, state->data, state->size, err);
}

static int load(void *ctx, const void *state, size_t size, struct err *err)
{
    struct buffer view = {.data = (void *)state, .size = size};

    return migrate_in_loop(ctx, load_work, &view, err);
}

static int run_work(struct migrate *migrate, void *argument, struct err *err)
{
    struct machine *machine = migrate->machine;
    bool running = *(bool *)argument && !machine->config->paused;

    machine->announce_when_running = true;
    machine_unhold(machine, running ? MACHINE_RUNNING : MACHINE_PAUSED);
    return 0;
}

static void run(void *ctx, bool running)
{
    migrate_in_loop(ctx, run_work, &running, NULL);
}

static int accept_late(void *ctx)
{
    struct migrate *migrate = ctx;

    int fd = -1;

    pthread_mutex_lock(&migrate->lock);
    if (migrate->listen_fd >= 0)
        fd = accept4(migrate->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    pthread_mutex_unlock(&migrate->lock);
    return fd;
}

static void stop_listening(struct migrate *migrate)
{
    loop_remove(migrate->listening);
    migrate->listening = NULL;
    if (migrate->listen_fd >= 0 && migrate->address.kind == ADDRESS_UNIX)
        unlink(migrate->address.path);
    fd_close(&migrate->listen_fd);
    fd_close(&migrate->next_fd);
}

static migration_finished_fn finished;

static int serve(struct migrate *migrate, int fd, struct err *err)
{
    int r;

    r = migration_destination_start(&migrate->interface, fd, migrate->address.tls, CHANNELS_MAX, finished, migrate,
                                    &migrate->destination, err);
    migrate->serving = r == 0;
    return r;
}

static void serve_next(struct migrate *migrate)
{
    struct err err = ERR_INIT;
    int fd = migrate->next_fd;

    migrate->next_fd = -1;
    if (serve(migrate, fd, &err) < 0)
        log_error("%s", err.message);
}

static void give_up(struct migrate *migrate, const struct err *err)
{
    struct machine *machine = migrate->machine;

    if (machine->crash_message[0] == 0)
        text_format(machine->crash_message, sizeof(machine->crash_message),
                    "the migration to here failed: %s; the VM did not run here", err->message);
    machine_exit(machine, MACHINE_EXIT_BAD_INPUT, false);
}

static void session_over(void *ctx)
{
    struct migrate *migrate = ctx;
    const struct result *result = &migrate->result;

    if (result->outcome != DESTINATION_AGAIN || migrate->listen_fd < 0)
        stop_listening(migrate);
    if (result->outcome == DESTINATION_ENDED || (result->outcome == DESTINATION_AGAIN && migrate->listen_fd < 0)) {
        give_up(migrate, &result->err);
    } else if (result->outcome == DESTINATION_AGAIN) {
        if (result->err.code != -EPIPE) /* it only asked, or was refused before */
            log_warning("a migration to here was not begun: %s; waiting for another", result->err.message);
        migration_destination_free(migrate->destination);
        migrate->destination = NULL;
        migrate->serving = false;
        if (migrate->next_fd >= 0)
            serve_next(migrate);
    }
}

static void finished(void *ctx, enum destination_outcome outcome, const struct err *err)
{
    struct migrate *migrate = ctx;

    migrate->result = (struct result){.outcome = outcome, .err = *err};
    loop_defer(migrate->machine->loop, session_over, migrate);
}

static void on_connection(void *ctx, unsigned events)
{
    struct migrate *migrate = ctx;
    struct err err = ERR_INIT;
    int fd = accept4(migrate->listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0 || (migrate->serving && migration_destination_add(migrate->destination, fd)))
        return;
    if (migrate->serving) {
        fd_close(&migrate->next_fd);
        migrate->next_fd = fd;
    } else if (serve(migrate, fd, &err) < 0) {
        log_error("%s", err.message);
    }
}

int migrate_incoming(struct machine *machine, const char *uri, struct err *err)
{
    struct migrate *migrate = machine->migrate;
    int r;

    if (machine->status != MACHINE_INMIGRATE)
        return err_set(err, -EINVAL, "the VM was not started with --incoming, so none can come here");
    if (migrate->listen_fd >= 0 || migrate->serving)
        return err_set(err, -EBUSY, "a migration is waited for already");
    if (text_equal(uri, "defer"))
        return 0;
    r = address_parse(uri, &migrate->address, err);
    if (r == 0 && migrate->address.kind == ADDRESS_FD)
        return serve(migrate, migrate->address.fd, err);
    if (r == 0)
        r = address_listen(&migrate->address, &migrate->listen_fd, err);
    if (r == 0) {
        r = loop_add(machine->loop, migrate->listen_fd, LOOP_READ, on_connection, migrate, &migrate->listening);
        if (r < 0)
            err_set(err, r, "cannot watch the socket for migrations: %s", strerror(-r));
    }
    if (r < 0)
        stop_listening(migrate);
    return r;
}

/* --- commands ------------------------------------------------------------------------------------------- */

static bool source_active(const struct migrate *migrate)
{
    return migrate->source != NULL && !migration_status_over(migration_source_progress(migrate->source)->status);
}

int migrate_check_idle(const struct machine *machine, struct err *err)
{
    if (machine->status == MACHINE_INMIGRATE)
        return err_set(err, -EBUSY, "the VM waits for a migration to here");
    if (machine->status == MACHINE_POSTMIGRATE)
        return err_set(err, -EBUSY, "the VM has gone to another host");
    if (migrate_lacks_memory(machine))
        return err_set(err, -EBUSY, "memory of this VM is still on its way from another host");
    if (source_active(machine->migrate))
        return err_set(err, -EBUSY, "the VM is being migrated: wait for its end, or migrate_cancel");
    return 0;
}

int migrate_outgoing(struct machine *machine, const char *uri, bool dry_run, bool storage, struct err *err)
{
    struct migrate *migrate = machine->migrate;
    struct migration_parameters parameters = migrate->parameters;
    struct address address;
    int r = migrate_check_idle(machine, err);

    if (r == 0 && machine->unusable)
        r = err_set(err, -EINVAL, "the VM's state is incomplete since a load failed");
    if (r == 0)
        r = address_parse(uri, &address, err);
    if (r < 0)
        return r;
    migration_source_free(migrate->source);
    migrate->source = NULL;
    migrate->storage = parameters.storage = parameters.storage || storage;
    describe_forget_copies(machine);
    migrate->arbiter = describe_can_arbitrate(machine, migrate->storage);
    return migration_source_start(&migrate->interface, &address, &parameters, dry_run, &migrate->source, err);
}

int migrate_cancel(struct machine *machine, struct err *err)
{
    return source_active(machine->migrate) ? migration_source_cancel(machine->migrate->source, err) : 0;
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

/* At another address than before. The migration's thread looks at the descriptor too. */
static int listen_instead(struct migrate *migrate, const struct address *address, struct err *err)
{
    int fd, r = address_listen(address, &fd, err);

    if (r < 0)
        return r;
    pthread_mutex_lock(&migrate->lock);
    stop_listening(migrate);
    migrate->listen_fd = fd;
    pthread_mutex_unlock(&migrate->lock);
    migrate->address = *address;
    r = loop_add(migrate->machine->loop, fd, LOOP_READ, on_connection, migrate, &migrate->listening);
    return r < 0 ? err_set(err, r, "cannot watch the socket for migrations: %s", strerror(-r)) : 0;
}

int migrate_recover(struct machine *machine, const char *uri, struct err *err)
{
    struct migrate *migrate = machine->migrate;
    const struct migration_progress *progress =
        migrate->destination != NULL ? migration_destination_progress(migrate->destination) : NULL;
    struct address address;
    int r = address_parse(uri, &address, err);

    if (r < 0)
        return r;
    if (progress == NULL || progress->status != MIGRATION_POSTCOPY_PAUSED)
        return err_set(err, -EINVAL, "there is nothing to recover: no post-copy to here has lost its connection");
    if (address.kind == ADDRESS_FD || address.tls != migrate->address.tls)
        return err_set(err, -EINVAL, "post-copy began %s TLS and goes on so, at an address that can be listened at",
                       migrate->address.tls ? "with" : "without");
    return listen_instead(migrate, &address, err);
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
        .describe = describe,
        .take_disks = take_disks,
        .release_disks = release_disks,
        .decide = decide,
        .forget = forget,
        .copied_disks = copied_disks,
        .changed = changed,
        .passed = passed,
        .examine = examine,
        .flush_disks = flush_disks,
        .stop = stop,
        .save = save,
        .resume = resume,
        .gone = gone,
        .throttle = throttle,
        .check = check,
        .load = load,
        .run = run,
        .accept = accept_late,
    };
    pthread_mutex_init(&migrate->lock, NULL);
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
    stop_listening(migrate);
    for (struct news *news; (news = take_news(migrate)) != NULL;)
        free(news);
    if (migrate->flushing != NULL)
        migrate->flushing->migrate = NULL;
    pthread_cond_destroy(&migrate->changed);
    pthread_mutex_destroy(&migrate->lock);
    free(migrate);
}
