/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM's migrations to here: what the migration room asks of the destination's machine, the socket at which a source is
 * waited for, and the commands. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "event/loop.h"
#include "vmm/describe.h"
#include "vmm/machine.h"
#include "vmm/machine_state.h"
#include "vmm/migrate.h"
#include "vmm/migrate_internal.h"

#define CHANNELS_MAX 16
/* Without a sign of life, before the loop is taken to wait for memory. A page comes soon while there is a connection,
 * and a busy host takes its time. */
#define BEAT_PATIENCE_NS (2 * NANOSECONDS_PER_SECOND)
#define BEAT_PATIENCE_LOST_NS 300000000

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
    const struct migration_parameters *parameters = &migrate->parameters;
    bool running = *(bool *)argument && !machine->stays_paused;

    loop_remove(migrate->listening); /* who comes from now on is accept_late()'s */
    migrate->listening = NULL;
    machine->announce_when_running = true;
    machine->announce_after_move = (struct announce_parameters){.initial_ms = parameters->announce_initial_ms,
                                                                .max_ms = parameters->announce_max_ms,
                                                                .rounds = parameters->announce_rounds,
                                                                .step_ms = parameters->announce_step_ms};
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

static void beat(void *ctx)
{
    struct migrate *migrate = ctx;

    migrate->beat_missing = false;
}

static void stalled(void *ctx)
{
    struct migrate *migrate = ctx;
    bool lost = migration_destination_progress(migrate->destination)->status == MIGRATION_POSTCOPY_PAUSED;
    int64_t patience_ns = lost ? BEAT_PATIENCE_LOST_NS : BEAT_PATIENCE_NS;

    if (!migrate->beat_missing) {
        migrate->beat_ns = host_monotonic_ns();
        migrate->beat_missing = true;
        if (loop_defer(migrate->machine->loop, beat, migrate) < 0)
            migrate->beat_missing = false;
    } else if (host_monotonic_ns() - migrate->beat_ns > patience_ns) {
        pthread_mutex_lock(&migrate->stand_in_lock);
        if (migrate->stand_in != NULL)
            migrate->stand_in(migrate->stand_in_ctx);
        pthread_mutex_unlock(&migrate->stand_in_lock);
    }
}

void migrate_set_stand_in(struct machine *machine, migrate_stand_in_fn *fn, void *ctx)
{
    struct migrate *migrate = machine->migrate;

    pthread_mutex_lock(&migrate->stand_in_lock);
    migrate->stand_in = fn;
    migrate->stand_in_ctx = ctx;
    pthread_mutex_unlock(&migrate->stand_in_lock);
}

void migrate_fill_destination(struct migration_machine *interface)
{
    interface->check = check;
    interface->load = load;
    interface->run = run;
    interface->accept = accept_late;
    interface->stalled = stalled;
}

/* --- sessions ------------------------------------------------------------------------------------------- */

static void close_listener(struct migrate *migrate)
{
    if (migrate->listen_fd >= 0 && migrate->address.kind == ADDRESS_UNIX)
        unlink(migrate->address.path);
    fd_close(&migrate->listen_fd);
}

void migrate_stop_listening(struct migrate *migrate)
{
    loop_remove(migrate->listening);
    migrate->listening = NULL;
    close_listener(migrate);
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

    if (result->outcome != DESTINATION_AGAIN || migrate->listen_fd < 0) {
        migrate_stop_listening(migrate);
        fd_close(&migrate->interface.userfault_device);
    }
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
        migrate_stop_listening(migrate);
    return r;
}

bool migrate_waits_at(const struct machine *machine, struct sockaddr *ret_address, socklen_t *size)
{
    struct migrate *migrate = machine->migrate;
    bool waits;

    pthread_mutex_lock(&migrate->lock);
    waits = migrate->listen_fd >= 0 && getsockname(migrate->listen_fd, ret_address, size) == 0;
    pthread_mutex_unlock(&migrate->lock);
    return waits;
}

/* At another address than before; the migration's thread looks at the descriptor. */
static int listen_instead(struct migrate *migrate, const struct address *address, struct err *err)
{
    int fd, r = address_listen(address, &fd, err);

    if (r < 0)
        return r;
    pthread_mutex_lock(&migrate->lock);
    close_listener(migrate);
    migrate->listen_fd = fd;
    migrate->address = *address;
    pthread_mutex_unlock(&migrate->lock);
    return 0;
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
