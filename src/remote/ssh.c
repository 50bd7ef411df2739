/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starts and ends ssh. */
#include "remote/ssh.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "remote/uri.h"

extern char **environ;

#define ARGUMENTS_MAX 24

struct ssh_command {
    const char *arguments[ARGUMENTS_MAX];
    unsigned count;
    char known_hosts[PATH_MAX + 32], script[1024];
};

static void add(struct ssh_command *command, const char *argument)
{
    command->arguments[command->count++] = argument;
    command->arguments[command->count] = NULL;
}

/* The script goes through the other host's shell. */
static int write_script(const struct remote_uri *uri, struct ssh_command *command, struct err *err)
{
    const char *nc = uri->netcat[0] != 0 ? uri->netcat : "nc", *socket = uri->socket[0] != 0 ? uri->socket : REMOTE_SYSTEM_SOCKET;

    if (strchr(nc, '\'') != NULL || strchr(socket, '\'') != NULL)
        return err_set(err, -EINVAL, "socket and netcat of the URI can't have quotation marks");
    if (uri->socket[0] != 0 || uri->netcat[0] != 0)
        return text_format(command->script, sizeof(command->script), "exec '%s' -U '%s'", nc, socket);
    return text_format(command->script, sizeof(command->script),
                       "if command -v virt-ssh-helper >/dev/null 2>&1; then exec virt-ssh-helper qemu:///system; "
                       "else exec '%s' -U '%s'; fi",
                       nc, socket);
}

static int fill(const struct remote_uri *uri, bool interactive, struct ssh_command *command, struct err *err)
{
    int r = write_script(uri, command, err);

    if (r < 0)
        return r;
    add(command, "ssh");
    add(command, "-T");
    add(command, "-enone");
    if (!interactive || uri->no_tty)
        add(command, "-oBatchMode=yes");
    if (uri->no_verify)
        add(command, "-oStrictHostKeyChecking=no");
    if (uri->known_hosts[0] != 0 &&
        text_format(command->known_hosts, sizeof(command->known_hosts), "-oUserKnownHostsFile=%s", uri->known_hosts) == 0)
        add(command, command->known_hosts);
    if (uri->keyfile[0] != 0) {
        add(command, "-i");
        add(command, uri->keyfile);
    }
    if (uri->port[0] != 0) {
        add(command, "-p");
        add(command, uri->port);
    }
    if (uri->user[0] != 0) {
        add(command, "-l");
        add(command, uri->user);
    }
    add(command, "--");
    add(command, uri->host);
    add(command, command->script);
    return 0;
}

/* With no signal blocked or ignored, whatever the caller's are; nothing of the caller's is open in it but what it is given. */
static int spawn(const struct ssh_command *command, int fd, int errors, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int r;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
    if (errors >= 0)
        posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    r = posix_spawnp(ret_pid, "ssh", &actions, &attributes, (char *const *)command->arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

int remote_ssh_start(const struct remote_uri *uri, bool interactive, struct remote_ssh *ret_ssh, int *ret_fd, struct err *err)
{
    struct ssh_command command = {.count = 0};
    struct remote_ssh ssh = {.errors = -1};
    int fds[2] = {-1, -1}, r = fill(uri, interactive, &command, err);

    if (r < 0)
        return r;
    if (!interactive)
        ssh.errors = memfd_create("ssh", MFD_CLOEXEC);
    if ((!interactive && ssh.errors < 0) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        r = -errno;
    if (r == 0)
        r = spawn(&command, fds[1], ssh.errors, &ssh.pid);
    if (r < 0)
        err_set(err, r, "cannot start ssh: %s; is openssh-client installed?", strerror(-r));
    fd_close(&fds[1]);
    if (r < 0) {
        fd_close(&fds[0]);
        fd_close(&ssh.errors);
        return r;
    }
    *ret_ssh = ssh;
    *ret_fd = fds[0];
    return 0;
}

void remote_ssh_explain(const struct remote_ssh *ssh, struct err *err)
{
    char text[512], sentence[ERR_MESSAGE_MAX];
    ssize_t got;
    char *line;

    if (ssh->pid <= 0 || ssh->errors < 0)
        return;
    got = pread(ssh->errors, text, sizeof(text) - 1, 0);
    text[got > 0 ? got : 0] = 0;
    while (got > 0 && (text[got - 1] == '\n' || text[got - 1] == '\r'))
        text[--got] = 0;
    line = strrchr(text, '\n');
    line = line != NULL ? line + 1 : text;
    if (line[0] == 0 || text_format(sentence, sizeof(sentence), "%s: %s", err->message, line) < 0)
        return;
    err_set(err, err->code, "%s", sentence);
}

void remote_ssh_end(struct remote_ssh *ssh)
{
    if (ssh->pid <= 0)
        return;
    kill(ssh->pid, SIGTERM);
    waitpid(ssh->pid, NULL, 0);
    fd_close(&ssh->errors);
    *ssh = (struct remote_ssh){0};
}
