/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A helper program run to its end. */
#include "network/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"

extern char **environ;

/* Output goes to memory, not to a pipe: a process left behind may hold a pipe open. */
static int spawn(const char *const argv[], int output, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    posix_spawn_file_actions_adddup2(&actions, output, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int r = posix_spawnp(ret_pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* False: it did not end in time, and was killed. */
static bool wait_for(pid_t pid, int timeout_ms, int *ret_status)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    bool ended = fd < 0 || poll(&ready, 1, timeout_ms) != 0;
    fd_close(&fd);
    if (!ended)
        kill(pid, SIGKILL);
    while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
        ;
    return ended;
}

static void last_line(int output, char *ret_line, size_t size)
{
    ssize_t n = pread(output, ret_line, size - 1, 0);
    ret_line[n < 0 ? 0 : n] = '\0';
    size_t length = strlen(ret_line);
    while (length > 0 && ret_line[length - 1] == '\n')
        ret_line[--length] = '\0';
    char *line = strrchr(ret_line, '\n');
    if (line != NULL)
        memmove(ret_line, line + 1, strlen(line + 1) + 1);
}

int child_run(const char *const argv[], int timeout_ms, struct err *err)
{
    char line[256];
    pid_t pid;
    int status = 0, output = memfd_create("output", MFD_CLOEXEC);
    if (output < 0)
        return err_set(err, -errno, "cannot run %s: %s", argv[0], strerror(errno));
    int r = spawn(argv, output, &pid);
    if (r < 0) {
        fd_close(&output);
        return err_set(err, r, "cannot run %s: %s; is it installed?", argv[0], strerror(-r));
    }
    bool ended = wait_for(pid, timeout_ms, &status);
    last_line(output, line, sizeof(line));
    fd_close(&output);
    if (!ended)
        return err_set(err, -ETIMEDOUT, "%s did not end within %d seconds and was killed", argv[0], timeout_ms / 1000);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, -EIO, "%s failed: %s", argv[0], line[0] != '\0' ? line : "it gives no reason");
    return 0;
}
