/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting ferry-vmm, and keeping an eye on it.
 *
 * The VM holds a lock on a file of the run directory as long as it lives: the descriptor is taken before the fork and
 * inherited. So a ferryd that comes later knows whether there is one even before it can be talked to, and finds its process
 * number in the file. */
#include "daemon/process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/files.h"
#include "daemon/lifecycle.h"
#include "daemon/monitor.h"
#include "daemon/plug.h"
#include "daemon/tree.h"
#include "daemon/vmm_arguments.h"
#include "protocol/rpc.h"
#include "protocol/xml.h"

#define POLL_NS (10 * INT64_C(1000000))
#define START_NS (600 * NANOSECONDS_PER_SECOND) /* a saved VM may be large */
#define KILL_NS (30 * NANOSECONDS_PER_SECOND)
#define TERMINATE_NS (3 * NANOSECONDS_PER_SECOND) /* that a VM is given to end by itself */
#define LOG_TAIL 2048
#define FILES_MAX 1024 /* descriptors of a VM */

struct identity {
    bool change;
    uid_t uid;
    gid_t gid;
    char user[64];
};

static int find_identity(const struct daemon *daemon, struct identity *ret_identity, struct err *err)
{
    const char *user = daemon->config.user, *group = daemon->config.group;
    const struct passwd *account = user != NULL ? getpwnam(user) : NULL;
    const struct group *named = group != NULL ? getgrnam(group) : NULL;

    *ret_identity = (struct identity){0};
    if ((user == NULL && group == NULL) || geteuid() != 0)
        return 0;
    if (user != NULL && account == NULL)
        return err_set(err, RPC_FAULT(RPC_INTERNAL_ERROR), "there is no user '%s', which VMs are to run as (--user)", user);
    if (group != NULL && named == NULL)
        return err_set(err, RPC_FAULT(RPC_INTERNAL_ERROR), "there is no group '%s', which VMs are to run as (--group)", group);
    ret_identity->change = true;
    ret_identity->uid = account != NULL ? account->pw_uid : geteuid();
    ret_identity->gid = named != NULL ? named->gr_gid : account->pw_gid;
    text_format(ret_identity->user, sizeof(ret_identity->user), "%s", user != NULL ? user : "root");
    return 0;
}

/* What a child needs, gathered before the fork: behind it, only system calls. */
struct child {
    struct vmm_arguments *arguments;
    struct identity identity;
    int log_fd, lock_fd, pid_fd, null_fd;
};

static void keep_open(int fd)
{
    fcntl(fd, F_SETFD, 0);
}

static void child_fail(const char *what)
{
    dprintf(STDERR_FILENO, "ferryd: cannot start the VM: %s: %s\n", what, strerror(errno));
    _exit(127);
}

static void become_vmm(const struct child *child)
{
    const struct rlimit files = {FILES_MAX, FILES_MAX}, core = {0, 0};
    sigset_t none;

    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(child->null_fd, STDIN_FILENO);
    dup2(child->log_fd, STDOUT_FILENO);
    dup2(child->log_fd, STDERR_FILENO);
    if (dprintf(child->pid_fd, "%d\n", (int)getpid()) < 0)
        child_fail("its lock");
    keep_open(child->lock_fd);
    for (unsigned i = 0; i < child->arguments->fd_count; i++)
        keep_open(child->arguments->fds[i]);
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_CORE, &core);
    if (child->identity.change && (initgroups(child->identity.user, child->identity.gid) < 0 || setgid(child->identity.gid) < 0 ||
                                   setuid(child->identity.uid) < 0))
        child_fail("its user");
    execv(child->arguments->text[0], child->arguments->text);
    child_fail(child->arguments->text[0]);
}

int process_give(const struct daemon *daemon, const char *path, struct err *err)
{
    struct identity identity;
    int r = find_identity(daemon, &identity, err);

    if (r == 0 && identity.change && chown(path, identity.uid, identity.gid) < 0)
        r = err_set(err, -errno, "cannot give %s to the VM's user: %s", path, strerror(errno));
    return r;
}

/* The directory belongs to the VM's user: its control socket comes there. */
static int make_directory(struct domain *domain, struct err *err)
{
    char path[PATH_MAX];
    int r;

    domain_path(domain, FILE_DIRECTORY, path);
    r = files_make_directory(path, 0700, err);
    return r < 0 ? r : process_give(domain->daemon, path, err);
}

/* The VM keeps a descriptor that it can't write by: what the file says about its process is ferryd's. */
static int open_lock(struct domain *domain, int *ret_pid_fd, struct err *err)
{
    char path[PATH_MAX];
    int pid_fd, r = 0;

    domain_path(domain, FILE_LOCK, path);
    pid_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    domain->lock_fd = pid_fd >= 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (domain->lock_fd < 0 || flock(domain->lock_fd, LOCK_EX | LOCK_NB) < 0)
        r = err_set(err, -errno, "cannot lock %s: %s", path, errno == EWOULDBLOCK ? "a VM holds it" : strerror(errno));
    if (r == 0 && ftruncate(pid_fd, 0) < 0)
        r = err_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
    if (r < 0) {
        fd_close(&pid_fd);
        fd_close(&domain->lock_fd);
        return r;
    }
    *ret_pid_fd = pid_fd;
    return 0;
}

static int open_log(struct domain *domain, struct err *err)
{
    char path[PATH_MAX];
    int fd;

    domain_path(domain, FILE_LOG, path);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 ? fd : err_set(err, -errno, "cannot open the log %s: %s", path, strerror(errno));
}

static void log_arguments(int fd, const struct vmm_arguments *arguments)
{
    char when[32] = "";
    time_t now = time(NULL);
    struct tm parts;

    if (gmtime_r(&now, &parts) != NULL)
        strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &parts);
    dprintf(fd, "%s: starting", when);
    for (unsigned i = 0; i < arguments->count; i++)
        dprintf(fd, " %s", arguments->text[i]);
    dprintf(fd, "\n");
}

static void on_process(void *ctx, unsigned events)
{
    lifecycle_ended(ctx);
}

static int watch_process(struct domain *domain, struct err *err)
{
    int r;

    domain->pidfd = (int)syscall(SYS_pidfd_open, domain->pid, 0);
    r = domain->pidfd < 0 ? -errno : loop_add(domain->daemon->loop, domain->pidfd, LOOP_READ, on_process, domain, &domain->pid_source);
    return r < 0 ? err_set(err, r, "cannot watch the VM's process: %s", strerror(-r)) : 0;
}

static int spawn(struct domain *domain, struct child *child, struct err *err)
{
    pid_t pid;

    log_arguments(child->log_fd, child->arguments);
    pid = fork();
    if (pid < 0)
        return err_set(err, -errno, "cannot start a process: %s", strerror(errno));
    if (pid == 0)
        become_vmm(child);
    domain->pid = pid;
    return 0;
}

static void on_event(void *ctx, const char *name, const json_t *data)
{
    lifecycle_event(ctx, name, data);
}

/* The socket lies where the VM's user may put another: who answers must be the process that was started. */
static int connect_monitor(struct domain *domain, pid_t pid, struct err *err)
{
    const struct monitor_listener listener = {.event = on_event, .ctx = domain};
    char path[PATH_MAX];
    int r;

    domain_path(domain, FILE_CONTROL, path);
    r = monitor_connect(domain->daemon, path, &listener, &domain->monitor, err);
    if (r == 0 && monitor_pid(domain->monitor) != pid) {
        monitor_free(domain->monitor);
        domain->monitor = NULL;
        r = err_set(err, -EPERM, "another process than the VM's answers at %s", path);
    }
    return r;
}

/* Whether the child has ended; it stays for its watcher to collect. */
static bool has_ended(const struct domain *domain)
{
    siginfo_t info = {0};

    return waitid(P_PID, domain->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == domain->pid;
}

/* The last line that the VM wrote: why it ended. */
static int last_words(struct domain *domain, struct err *err)
{
    char path[PATH_MAX], tail[LOG_TAIL + 1];
    const char *line = tail;
    int fd;
    ssize_t size = 0;

    domain_path(domain, FILE_LOG, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        off_t end = lseek(fd, 0, SEEK_END);
        size = pread(fd, tail, LOG_TAIL, end > LOG_TAIL ? end - LOG_TAIL : 0);
    }
    fd_close(&fd);
    tail[size > 0 ? size : 0] = 0;
    while (size > 0 && tail[size - 1] == '\n')
        tail[--size] = 0;
    line = strrchr(tail, '\n') != NULL ? strrchr(tail, '\n') + 1 : tail;
    if (text_starts_with(line, "ferry: "))
        line += strlen("ferry: ");
    return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "the VM could not start: %.400s", *line != 0 ? line : "it said nothing");
}

static int wait_for_monitor(struct domain *domain, struct err *err)
{
    int64_t end = host_monotonic_ns() + START_NS;
    int r;

    while ((r = connect_monitor(domain, domain->pid, err)) < 0) {
        if (domain->pid <= 0)
            return err_set(err, RPC_FAULT(RPC_OPERATION_ABORTED), "the domain was destroyed while it started");
        if (has_ended(domain))
            return last_words(domain, err);
        if ((r != -ENOENT && r != -ECONNREFUSED) || host_monotonic_ns() > end)
            return r;
        coroutine_sleep(domain->daemon->scheduler, POLL_NS);
    }
    return 0;
}

static void fill_character(struct domain *domain, const char *element, const char *type, const char *path)
{
    xmlNode *device = tree_first(definition_devices(domain->live), element);

    while (device != NULL && type != NULL && !tree_is(tree_first(device, "target"), "type", type))
        device = tree_next(device, element);
    if (device == NULL || !tree_is(device, "type", "pty"))
        return;
    if (tree_first(device, "source") == NULL)
        xmlAddPrevSibling(tree_first(device, "target"), xmlNewDocNode(domain->live->doc, NULL, (const xmlChar *)"source", NULL));
    tree_set(tree_first(device, "source"), "path", "%s", path);
    if (text_equal(element, "console"))
        tree_set(device, "tty", "%s", path);
}

/* "pty:/dev/pts/N". ferryd opens it with its own rights: a VM must not name anything else. */
static bool is_terminal(const char *name)
{
    static const char prefix[] = "pty:/dev/pts/";
    uint64_t number;

    return text_starts_with(name, prefix) && text_parse_u64(name + sizeof(prefix) - 1, &number) == 0;
}

/* The VM's terminals into domain->live, from what it says about itself. */
static int describe(struct domain *domain, struct err *err)
{
    json_t *list = NULL, *entry;
    size_t i;
    int r = monitor_call(domain->monitor, "query-chardev", NULL, &list, err);

    json_array_foreach (list, i, entry) {
        const char *label = json_string_value(json_object_get(entry, "label"));
        const char *name = json_string_value(json_object_get(entry, "filename"));

        if (label == NULL || name == NULL || !is_terminal(name))
            continue;
        if (text_equal(label, "serial0")) {
            fill_character(domain, "serial", NULL, name + 4);
            fill_character(domain, "console", "serial", name + 4);
        } else {
            fill_character(domain, "console", "virtio", name + 4);
        }
    }
    json_decref(list);
    return r;
}

static int launch(struct domain *domain, struct vmm_arguments *arguments, const struct identity *identity, int pid_fd, struct err *err)
{
    struct child child = {.arguments = arguments, .identity = *identity, .lock_fd = domain->lock_fd, .pid_fd = pid_fd};
    int r;

    child.log_fd = open_log(domain, err);
    if (child.log_fd < 0)
        return child.log_fd;
    child.null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    r = spawn(domain, &child, err);
    fd_close(&child.log_fd);
    fd_close(&child.null_fd);
    return r;
}

int process_start(struct domain *domain, const struct process_options *options, struct err *err)
{
    struct vmm_arguments arguments = {0};
    struct identity identity;
    int pid_fd = -1, r;

    domain_write_status(domain); /* before there is anything to be found again by it */
    r = find_identity(domain->daemon, &identity, err);
    if (r == 0)
        r = make_directory(domain, err);
    if (r == 0)
        r = open_lock(domain, &pid_fd, err);
    if (r == 0)
        r = vmm_arguments_make(domain, options, &arguments, err);
    if (r == 0)
        r = launch(domain, &arguments, &identity, pid_fd, err);
    vmm_arguments_fini(&arguments);
    fd_close(&pid_fd);
    fd_close(&domain->lock_fd); /* the VM's copy holds the lock */
    if (r == 0)
        r = wait_for_monitor(domain, err);
    if (r == 0)
        r = watch_process(domain, err);
    if (r == 0)
        r = describe(domain, err);
    if (r == 0 && options->incoming == NULL)
        r = plug_set_links(domain, err);
    if (r < 0) {
        process_kill(domain);
        process_clear(domain);
    }
    return r;
}

/* By its lock. */
static bool lives(struct domain *domain)
{
    char path[PATH_MAX];
    bool held;
    int fd;

    domain_path(domain, FILE_LOCK, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    held = flock(fd, LOCK_EX | LOCK_NB) < 0;
    fd_close(&fd);
    return held;
}

static pid_t locked_pid(struct domain *domain)
{
    char path[PATH_MAX];
    char *text = NULL;
    pid_t pid = -1;

    domain_path(domain, FILE_LOCK, path);
    if (files_read(path, 64, &text, NULL) == 0)
        pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    return pid > 1 ? pid : -1;
}

bool process_find(struct domain *domain, struct err *err)
{
    int r = -ESRCH;

    while (lives(domain) && (r = connect_monitor(domain, locked_pid(domain), err)) < 0 && (r == -ENOENT || r == -ECONNREFUSED))
        coroutine_sleep(domain->daemon->scheduler, POLL_NS);
    if (r < 0)
        return false;
    domain->pid = monitor_pid(domain->monitor);
    return watch_process(domain, err) == 0;
}

static bool gone(struct domain *domain)
{
    siginfo_t info;

    waitid(P_PID, domain->pid, &info, WEXITED | WNOHANG); /* collects our own child; of another's there is nothing to collect */
    return kill(domain->pid, 0) < 0 || !lives(domain);
}

static bool gone_within(struct domain *domain, int64_t nanoseconds)
{
    int64_t end = host_monotonic_ns() + nanoseconds;

    while (!gone(domain) && host_monotonic_ns() < end)
        coroutine_sleep(domain->daemon->scheduler, POLL_NS);
    return gone(domain);
}

/* Asked first: locks on NFS servers are given back only by who still can, and else stay until a lease has run out. */
void process_kill(struct domain *domain)
{
    if (domain->pid <= 0)
        domain->pid = lives(domain) ? locked_pid(domain) : -1;
    if (domain->pid <= 0)
        return;
    loop_remove(domain->pid_source);
    domain->pid_source = NULL;
    kill(domain->pid, SIGTERM);
    if (gone_within(domain, TERMINATE_NS))
        return;
    kill(domain->pid, SIGKILL);
    gone_within(domain, KILL_NS);
}

void process_clear(struct domain *domain)
{
    char path[PATH_MAX];
    siginfo_t info;

    monitor_free(domain->monitor);
    domain->monitor = NULL;
    loop_remove(domain->pid_source);
    domain->pid_source = NULL;
    if (domain->pid > 0)
        waitid(P_PID, domain->pid, &info, WEXITED | WNOHANG);
    domain->pid = -1;
    fd_close(&domain->pidfd);
    fd_close(&domain->lock_fd);
    domain_path(domain, FILE_CONTROL, path);
    unlink(path);
    domain_path(domain, FILE_DIRECTORY, path);
    rmdir(path);
    domain_path(domain, FILE_STATUS, path);
    unlink(path);
    domain_path(domain, FILE_LOCK, path);
    unlink(path);
}
