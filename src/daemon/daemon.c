/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's life: builds its parts in order, serves, and lets go of them; running VMs stay. */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/domain.h"
#include "daemon/files.h"
#include "daemon/host.h"
#include "daemon/migration.h"
#include "daemon/networks.h"
#include "daemon/server.h"
#include "daemon/storage.h"
#include "event/worker.h"

#define WORKERS 4
#define LOCK_NS (2 * NANOSECONDS_PER_SECOND)
#define FAREWELL_NS (3 * NANOSECONDS_PER_SECOND) /* that calls in progress are given at the end */

enum { EXIT_BAD = 2 };

struct signals {
    struct daemon *daemon;
    int fd;
    struct loop_source *source;
};

static void on_signal(void *ctx, unsigned events)
{
    struct signals *signals = ctx;
    struct signalfd_siginfo info;

    if (read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info) && info.ssi_signo != SIGHUP) {
        signals->daemon->stopping = true;
        loop_quit(signals->daemon->loop);
    }
}

static int watch_signals(struct signals *signals, struct err *err)
{
    sigset_t set;
    int r;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    r = signals->fd < 0 ? -errno : loop_add(signals->daemon->loop, signals->fd, LOOP_READ, on_signal, signals, &signals->source);
    return r < 0 ? err_set(err, r, "cannot watch signals: %s", strerror(-r)) : 0;
}

/* One ferryd a run directory: a second one would repair what the first is just making. The descriptor is for life. */
static int lock_directory(struct daemon *daemon, struct err *err)
{
    char path[PATH_MAX];
    int64_t end = host_monotonic_ns() + LOCK_NS;
    int fd;

    if (text_format(path, sizeof(path), "%s/ferryd.lock", daemon->config.run_dir) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the directory %s is too long", daemon->config.run_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || host_monotonic_ns() > end) {
            fd_close(&fd);
            return err_set(err, -EADDRINUSE, "another daemon uses %s already", daemon->config.run_dir);
        }
        usleep(10 * 1000); /* one that was killed may have left a child that has not become a VM yet */
    }
    return 0;
}

static int make_directories(struct daemon *daemon, struct err *err)
{
    int r = files_make_directory(daemon->config.state_dir, 0711, err);

    if (r == 0)
        r = files_make_directory(daemon->config.run_dir, 0711, err);
    if (r == 0)
        r = files_make_directory(daemon->config.log_dir, 0755, err);
    if (r == 0)
        r = lock_directory(daemon, err);
    if (r == 0) {
        file_sweep(daemon->config.state_dir);
        file_sweep(daemon->config.run_dir);
    }
    return r;
}

static int build(struct daemon *daemon, struct signals *signals, struct err *err)
{
    int r = loop_new(&daemon->loop);

    if (r == 0)
        r = worker_pool_new(daemon->loop, WORKERS, &daemon->pool);
    if (r == 0)
        r = scheduler_new(daemon->loop, daemon->pool, &daemon->scheduler);
    if (r < 0)
        return err_set(err, r, "cannot make the event loop: %s", strerror(-r));
    r = watch_signals(signals, err);
    if (r == 0)
        r = make_directories(daemon, err);
    if (r == 0)
        r = host_new(daemon, &daemon->host, err);
    if (r == 0)
        r = daemon_networks_new(daemon, &daemon->networks, err);
    if (r == 0)
        r = daemon_storage_new(daemon, &daemon->storage, err);
    if (r == 0)
        r = inventory_load(daemon, err);
    if (r == 0)
        r = server_new(daemon, &daemon->server, err);
    return r;
}

/* Calls in progress end, or are left behind: what they had done so far is in the files. */
static bool wait_for_calls(struct daemon *daemon)
{
    int64_t end = host_monotonic_ns() + FAREWELL_NS;

    while (scheduler_count(daemon->scheduler) > 0 && host_monotonic_ns() < end)
        loop_step(daemon->loop, 100);
    return scheduler_count(daemon->scheduler) == 0;
}

static void take_down(struct daemon *daemon, struct signals *signals)
{
    server_free(daemon->server);
    daemon->server = NULL;
    if (daemon->scheduler != NULL && !wait_for_calls(daemon)) {
        log_warning("ends with calls in progress");
        return; /* their stacks still point at everything */
    }
    inventory_free(daemon);
    migration_forget_given_up(daemon, NULL);
    daemon_storage_free(daemon->storage);
    daemon_networks_free(daemon->networks);
    host_free(daemon->host);
    scheduler_free(daemon->scheduler);
    worker_pool_free(daemon->pool);
    loop_remove(signals->source);
    fd_close(&signals->fd);
    loop_free(daemon->loop);
}

/* Tells a service manager that calls are served now: sd_notify(3). */
static void notify_ready(void)
{
    static const char ready[] = "READY=1";
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (name == NULL || text_format(address.sun_path, sizeof(address.sun_path), "%s", name) < 0)
        return;
    if (address.sun_path[0] == '@') /* how an abstract name is written */
        address.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, ready, strlen(ready), 0, (struct sockaddr *)&address,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))) < 0)
        log_warning("cannot tell the service manager that ferryd is ready: %s", strerror(errno));
    fd_close(&fd);
    unsetenv("NOTIFY_SOCKET");
}

int daemon_run(const struct daemon_config *config)
{
    struct daemon daemon = {.config = *config};
    struct signals signals = {.daemon = &daemon, .fd = -1};
    struct err err = ERR_INIT;
    int r = build(&daemon, &signals, &err);

    if (r == 0) {
        log_info("ferryd %s serves %s", FERRY_VERSION, config->socket_dir);
        notify_ready();
        r = loop_run(daemon.loop);
        if (r < 0)
            err_set(&err, r, "the event loop failed: %s", strerror(-r));
    }
    if (r < 0)
        log_error("%s", err.message);
    take_down(&daemon, &signals);
    return r < 0 ? EXIT_BAD : 0;
}
