/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The thread of an open file, and how requests reach it. */
#include "nfs/file.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "nfs/file_internal.h"

#define RECONNECT_MS 300
#define PATIENCE_NS (NFS_PATIENCE_S * NANOSECONDS_PER_SECOND)
#define MILLISECOND INT64_C(1000000)

static void notice(struct nfs_file *file, const char *sentence)
{
    char text[ERR_MESSAGE_MAX];

    snprintf(text, sizeof(text), "%s: %s", file->url, sentence);
    if (file->config.notice != NULL)
        file->config.notice(file->config.ctx, text);
}

/* Takes what came from other threads. */
static struct nfs_command *collect(struct nfs_file *file)
{
    struct nfs_command *command;
    struct nfs_io *io;

    eventfd_drain(file->wake_fd);
    pthread_mutex_lock(&file->lock);
    io = file->submitted;
    file->submitted = NULL;
    file->submitted_last = &file->submitted;
    command = file->commands;
    if (command != NULL) {
        file->commands = command->next;
        if (file->commands == NULL)
            file->commands_last = &file->commands;
    }
    pthread_mutex_unlock(&file->lock);
    while (io != NULL) {
        struct nfs_io *next = io->next;

        nfs_io_begin(file, io);
        io = next;
    }
    return command;
}

static void answer(struct nfs_file *file, struct nfs_command *command, int result)
{
    pthread_mutex_lock(&file->lock);
    command->result = result > 0 ? nfs_errno((uint32_t)result) : result;
    command->done = true;
    pthread_cond_broadcast(&file->answered);
    pthread_mutex_unlock(&file->lock);
}

static bool flag(struct nfs_file *file, const bool *member)
{
    bool value;

    pthread_mutex_lock(&file->lock);
    value = *member;
    pthread_mutex_unlock(&file->lock);
    return value;
}

static void lose(struct nfs_file *file, int status)
{
    file->dead = -EIO;
    notice(file, status == NFS_ERROR_NO_GRACE || status == NFS_ERROR_RECLAIM_BAD || status == NFS_ERROR_RECLAIM_CONFLICT
                     ? "the server has forgotten that it is ours, and somebody else may have had it since; it can't be used any more"
                     : "the server does not give it back; it can't be used any more");
}

static int go_away(struct nfs_file *file)
{
    nfs_client_disconnect(&file->client);
    if (!file->away) {
        file->away_since_ns = host_monotonic_ns();
        notice(file, "the server does not answer; requests wait for it");
    }
    file->away = true;
    return -EPIPE;
}

static void come_back(struct nfs_file *file, bool restarted)
{
    file->state_lost = false;
    if (restarted)
        nfs_io_mark_stale(file);
    if (file->away || restarted)
        notice(file, restarted ? "the server has started anew; what it had not committed is written again"
                               : "the server answers again");
    file->away = false;
}

/* 0: the server is there and knows us. -EPIPE: later. */
static int recover(struct nfs_file *file)
{
    bool restarted = false;
    int r = 0;

    if (file->client.connection.fd < 0)
        r = nfs_client_connect(&file->client, NULL);
    if (r == 0)
        r = nfs_state_recover(file, &restarted);
    if (r < 0 || nfs_status_is_patience(r))
        return go_away(file);
    if (r > 0)
        lose(file, r);
    else
        come_back(file, restarted);
    return 0;
}

/* A command is repeated until the server has said yes or no. */
static int run_command(struct nfs_file *file, struct nfs_command *command)
{
    for (;;) {
        int r = file->dead < 0 ? file->dead : command->run(file, command);

        if (r == -EPIPE || nfs_status_is_lost_state(r)) {
            const struct timespec moment = {.tv_nsec = RECONNECT_MS * MILLISECOND};

            file->state_lost |= nfs_status_is_lost_state(r);
            if (flag(file, &file->impatient) && file->away && host_monotonic_ns() - file->away_since_ns > PATIENCE_NS)
                return -ETIMEDOUT;
            if (recover(file) < 0)
                nanosleep(&moment, NULL);
        } else if (nfs_status_is_patience(r)) {
            const struct timespec moment = {.tv_nsec = NFS_RETRY_MS * MILLISECOND};

            nanosleep(&moment, NULL);
        } else {
            return r;
        }
    }
}

static void serve_io(struct nfs_file *file)
{
    if (file->replay_wanted && file->in_flight == 0 && host_monotonic_ns() >= file->pause_until_ns)
        nfs_io_replay(file);
    if (host_monotonic_ns() >= file->pause_until_ns)
        nfs_io_start(file);
}

static int64_t renew_at(const struct nfs_file *file)
{
    return file->client.spoken_ns + file->lease_s * NANOSECONDS_PER_SECOND / 3;
}

static int wait_ms(const struct nfs_file *file)
{
    int64_t until = renew_at(file), now = host_monotonic_ns();

    if (file->pause_until_ns > now && file->pause_until_ns < until)
        until = file->pause_until_ns;
    return until <= now ? 0 : (int)((until - now) / MILLISECOND) + 1;
}

/* One round with the server there. */
static void serve(struct nfs_file *file)
{
    serve_io(file);
    nfs_client_step(&file->client, wait_ms(file));
    if (file->client.connection.fd >= 0 && host_monotonic_ns() >= renew_at(file)) {
        int r = nfs_client_renew(&file->client);

        file->state_lost |= nfs_status_is_lost_state(r);
    }
}

static void sleep_until_woken(const struct nfs_file *file, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = file->wake_fd, .events = POLLIN};

    poll(&poll_fd, 1, timeout_ms);
}

/* One round without: requests wait, unless somebody has lost patience. */
static void wait_for_server(struct nfs_file *file)
{
    if (file->client.connection.fd < 0 && !file->away)
        go_away(file);
    if (flag(file, &file->impatient) && host_monotonic_ns() - file->away_since_ns > PATIENCE_NS)
        nfs_io_fail(file, -ETIMEDOUT);
    if (recover(file) < 0)
        sleep_until_woken(file, RECONNECT_MS);
}

static void round_of_work(struct nfs_file *file)
{
    struct nfs_command *command = collect(file);

    if (command != NULL)
        answer(file, command, run_command(file, command));
    if (file->dead < 0) {
        nfs_client_disconnect(&file->client);
        nfs_io_fail(file, file->dead);
        sleep_until_woken(file, -1);
    } else if (!file->open) {
        sleep_until_woken(file, -1);
    } else if (file->client.connection.fd < 0 || (file->state_lost && file->in_flight == 0)) {
        wait_for_server(file);
    } else {
        serve(file);
    }
}

static void *file_thread(void *ctx)
{
    struct nfs_file *file = ctx;

    pthread_setname_np(pthread_self(), "nfs");
    file->confined = file->config.confine != NULL ? file->config.confine() : 0;
    while (!flag(file, &file->stopping))
        round_of_work(file);
    return NULL;
}

/* Signals are other threads' business, but for the sandbox's. */
static int start_thread(struct nfs_file *file)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    sigdelset(&all, SIGSYS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&file->thread, NULL, file_thread, file);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

static int execute(struct nfs_file *file, struct nfs_command *command)
{
    command->next = NULL;
    command->done = false;
    pthread_mutex_lock(&file->lock);
    *file->commands_last = command;
    file->commands_last = &command->next;
    eventfd_signal(file->wake_fd);
    while (!command->done)
        pthread_cond_wait(&file->answered, &file->lock);
    pthread_mutex_unlock(&file->lock);
    return command->result;
}

void nfs_file_submit(struct nfs_file *file, struct nfs_io *io)
{
    io->next = NULL;
    pthread_mutex_lock(&file->lock);
    *file->submitted_last = io;
    file->submitted_last = &io->next;
    pthread_mutex_unlock(&file->lock);
    eventfd_signal(file->wake_fd);
}

void nfs_file_set_patience(struct nfs_file *file, bool patient)
{
    pthread_mutex_lock(&file->lock);
    file->impatient = !patient;
    pthread_mutex_unlock(&file->lock);
    eventfd_signal(file->wake_fd);
}

/* Opening is not repeated: a person waits for an answer. */
static int run_open(struct nfs_file *file, struct nfs_command *command)
{
    int r = file->confined < 0 ? err_set(command->err, file->confined, "cannot confine the thread of %s: %s", file->url,
                                         strerror(-file->confined))
                               : nfs_state_open(file, command->err);

    return r == -EPIPE ? -ECONNRESET : r;
}

static int run_size(struct nfs_file *file, struct nfs_command *command)
{
    return nfs_state_look_at_size(file);
}

static int run_room(struct nfs_file *file, struct nfs_command *command)
{
    return nfs_state_look_at_room(file, command->room);
}

static int run_lock(struct nfs_file *file, struct nfs_command *command)
{
    const struct nfs_held wish = {.offset = command->lock.offset, .length = command->lock.length, .wish = command->wish};

    return nfs_state_lock(file, &wish);
}

static int run_look(struct nfs_file *file, struct nfs_command *command)
{
    return nfs_state_look_at_lock(file, command->lock.offset, command->lock.length);
}

static int run_close(struct nfs_file *file, struct nfs_command *command)
{
    if (file->client.connection.fd >= 0 && !file->state_lost)
        nfs_state_close(file);
    return 0;
}

static void free_file(struct nfs_file *file)
{
    nfs_io_drop_uncommitted(file);
    nfs_client_fini(&file->client);
    pthread_cond_destroy(&file->answered);
    pthread_mutex_destroy(&file->lock);
    fd_close(&file->wake_fd);
    free(file->url);
    free(file);
}

static struct nfs_file *allocate(const struct nfs_file_config *config)
{
    struct nfs_file *file = calloc(1, sizeof(*file));

    if (file == NULL)
        return NULL;
    file->config = *config;
    file->url = strdup(config->url);
    file->wake_fd = file->client.connection.fd = -1;
    file->submitted_last = &file->submitted;
    file->commands_last = &file->commands;
    file->ready_last = &file->ready;
    file->uncommitted_last = &file->uncommitted;
    pthread_mutex_init(&file->lock, NULL);
    pthread_cond_init(&file->answered, NULL);
    if (file->url == NULL || eventfd_new(&file->wake_fd) < 0) {
        free_file(file);
        return NULL;
    }
    return file;
}

static void stop_thread(struct nfs_file *file)
{
    pthread_mutex_lock(&file->lock);
    file->stopping = true;
    pthread_mutex_unlock(&file->lock);
    eventfd_signal(file->wake_fd);
    pthread_join(file->thread, NULL);
}

int nfs_file_open(const struct nfs_file_config *config, struct nfs_file **ret_file, struct err *err)
{
    struct nfs_command command = {.run = run_open, .err = err};
    struct nfs_file *file = allocate(config);
    int r;

    if (file == NULL)
        return err_set(err, -ENOMEM, "no memory for %s", config->url);
    r = nfs_url_parse(config->url, &file->where, err);
    if (r == 0)
        r = nfs_client_init(&file->client, &file->where, err);
    if (r == 0) {
        file->client.wake_fd = file->wake_fd;
        r = start_thread(file);
        if (r < 0)
            err_set(err, r, "cannot start a thread for %s: %s", config->url, strerror(-r));
    }
    if (r < 0) {
        free_file(file);
        return r;
    }
    r = execute(file, &command);
    if (r < 0) {
        stop_thread(file);
        free_file(file);
        return r;
    }
    *ret_file = file;
    return 0;
}

/* A flush of our own, waited for. */
struct last_flush {
    struct nfs_io io;
    struct nfs_file *file;
    bool done;
};

static void last_flush_done(struct nfs_io *io)
{
    struct last_flush *flush = CONTAINER_OF(io, struct last_flush, io);

    pthread_mutex_lock(&flush->file->lock);
    flush->done = true;
    pthread_cond_broadcast(&flush->file->answered);
    pthread_mutex_unlock(&flush->file->lock);
}

void nfs_file_close(struct nfs_file *file)
{
    struct last_flush flush = {.io = {.operation = NFS_IO_FLUSH, .done = last_flush_done}, .file = file};
    struct nfs_command command = {.run = run_close};

    if (file == NULL)
        return;
    nfs_file_set_patience(file, false);
    nfs_file_submit(file, &flush.io);
    pthread_mutex_lock(&file->lock);
    while (!flush.done)
        pthread_cond_wait(&file->answered, &file->lock);
    pthread_mutex_unlock(&file->lock);
    execute(file, &command);
    stop_thread(file);
    free_file(file);
}

uint64_t nfs_file_size(const struct nfs_file *file)
{
    return file->size;
}

int nfs_file_look_at_size(struct nfs_file *file)
{
    struct nfs_command command = {.run = run_size};

    return execute(file, &command);
}

int nfs_file_look_at_room(struct nfs_file *file, struct nfs_room *ret_room)
{
    struct nfs_room room;
    struct nfs_command command = {.run = run_room, .room = &room};
    int r = execute(file, &command);

    if (r == 0)
        *ret_room = room;
    return r;
}

int nfs_file_lock(struct nfs_file *file, uint64_t offset, uint64_t length, enum nfs_lock_wish wish)
{
    struct nfs_command command = {.run = run_lock, .lock = {.offset = offset, .length = length}, .wish = wish};

    return execute(file, &command);
}

int nfs_file_look_at_lock(struct nfs_file *file, uint64_t offset, uint64_t length)
{
    struct nfs_command command = {.run = run_look, .lock = {.offset = offset, .length = length}};

    return execute(file, &command);
}
