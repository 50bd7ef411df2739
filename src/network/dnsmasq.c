/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dnsmasq(8) as a network's DHCP and DNS server: started, found again, told of changes, stopped. */
#include "network/dnsmasq.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/text.h"
#include "network/child.h"
#include "network/definition.h"
#include "network/dnsmasq_private.h"

#define START_MS 20000 /* more than enough, also on a host that swaps */
#define STOP_MS 2000   /* then it is killed */
#define FILE_MAX (4u * 1024 * 1024)

bool dnsmasq_wanted(const struct network_definition *definition)
{
    return definition->forward != NETWORK_BRIDGE &&
           (definition->ip6.there || (definition->ip4.there && (definition->dns || definition->ip4.has_dhcp)));
}

int dnsmasq_path(const struct dnsmasq_place *place, const char *name, const char *suffix,
                 char ret_path[static PATH_MAX])
{
    bool lease = text_equal(suffix, "leases");
    return text_format(ret_path, PATH_MAX, "%s/%s.%s", lease ? place->lease_directory : place->run_directory, name,
                       suffix);
}

static int write_file(const struct dnsmasq_place *place, const struct network_definition *definition,
                      const char *suffix,
                      int (*format)(const struct dnsmasq_place *, const struct network_definition *, struct buffer *),
                      struct err *err)
{
    char path[PATH_MAX];
    struct buffer text = BUFFER_INIT(FILE_MAX);
    int r = dnsmasq_path(place, definition->name, suffix, path);
    if (r == 0)
        r = format(place, definition, &text);
    if (r == 0) /* readable for the user that dnsmasq becomes */
        r = file_write_atomic(path, text.data, text.size, 0644);
    buffer_fini(&text);
    return r < 0 ? err_set(err, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

static int write_hosts(const struct dnsmasq_place *place, const struct network_definition *definition, struct err *err)
{
    int r = write_file(place, definition, "hostsfile", dnsmasq_format_dhcp_hosts, err);
    return r < 0 ? r : write_file(place, definition, "addnhosts", dnsmasq_format_dns_hosts, err);
}

/* Whether the process runs with this configuration: a number in a file may belong to somebody else by now. */
static bool runs_with(pid_t pid, const char *configuration)
{
    char path[64], line[PATH_MAX + 512], expected[PATH_MAX + 16];
    if (text_format(path, sizeof(path), "/proc/%d/cmdline", pid) < 0 ||
        text_format(expected, sizeof(expected), "--conf-file=%s", configuration) < 0)
        return false;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t size = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[size] = '\0';
    for (size_t at = 0; at < size; at += strlen(line + at) + 1)
        if (text_equal(line + at, expected))
            return true;
    return false;
}

static int read_pid(const struct dnsmasq_place *place, const char *name, pid_t *ret_pid)
{
    char path[PATH_MAX];
    void *data;
    size_t size;
    uint64_t pid;
    int r = dnsmasq_path(place, name, "pid", path);
    if (r == 0)
        r = fd_read_file(path, 64, &data, &size);
    if (r < 0)
        return r;
    ((char *)data)[strcspn(data, "\n")] = '\0';
    r = text_parse_u64(data, &pid);
    free(data);
    if (r < 0 || pid == 0 || pid > INT32_MAX)
        return -EINVAL;
    *ret_pid = (pid_t)pid;
    return 0;
}

int dnsmasq_find(const struct dnsmasq_place *place, const char *name, int *ret_pidfd)
{
    char configuration[PATH_MAX];
    pid_t pid;
    if (dnsmasq_path(place, name, "conf", configuration) < 0 || read_pid(place, name, &pid) < 0)
        return -ESRCH;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* first: from here on the number can't change its owner unseen */
    if (fd < 0 || !runs_with(pid, configuration)) {
        fd_close(&fd);
        return -ESRCH;
    }
    *ret_pidfd = fd;
    return 0;
}

static bool send_signal(int pidfd, int signal)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0;
}

static void end_process(const struct dnsmasq_place *place, const char *name)
{
    int fd;
    if (dnsmasq_find(place, name, &fd) < 0)
        return;
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    if (send_signal(fd, SIGTERM) && poll(&ended, 1, STOP_MS) == 0) {
        send_signal(fd, SIGKILL);
        poll(&ended, 1, STOP_MS);
    }
    fd_close(&fd);
}

void dnsmasq_stop(const struct dnsmasq_place *place, const char *name)
{
    static const char *const suffixes[] = {"pid", "conf", "hostsfile", "addnhosts"};
    char path[PATH_MAX];
    end_process(place, name);
    for (unsigned i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
        if (dnsmasq_path(place, name, suffixes[i], path) == 0)
            unlink(path);
}

void dnsmasq_forget_leases(const struct dnsmasq_place *place, const char *name)
{
    char path[PATH_MAX];
    if (dnsmasq_path(place, name, "leases", path) == 0)
        unlink(path);
}

int dnsmasq_start(const struct dnsmasq_place *place, const struct network_definition *definition, struct err *err)
{
    char configuration[PATH_MAX], option[PATH_MAX + 16];
    end_process(place, definition->name);
    int r = write_hosts(place, definition, err);
    if (r == 0)
        r = write_file(place, definition, "conf", dnsmasq_format, err);
    if (r == 0)
        r = dnsmasq_path(place, definition->name, "conf", configuration);
    if (r == 0)
        r = text_format(option, sizeof(option), "--conf-file=%s", configuration);
    if (r == 0) /* it leaves a daemon behind once it serves */
        r = child_run((const char *const[]){place->program, option, NULL}, START_MS, err);
    if (r < 0)
        dnsmasq_stop(place, definition->name);
    return r;
}

int dnsmasq_update(const struct dnsmasq_place *place, const struct network_definition *definition, bool hosts_only,
                   struct err *err)
{
    int fd;
    if (!hosts_only || dnsmasq_find(place, definition->name, &fd) < 0)
        return dnsmasq_start(place, definition, err);
    int r = write_hosts(place, definition, err);
    if (r == 0 && !send_signal(fd, SIGHUP))
        r = err_set(err, -errno, "cannot tell the network's dnsmasq of the change: %s", strerror(errno));
    fd_close(&fd);
    return r;
}
