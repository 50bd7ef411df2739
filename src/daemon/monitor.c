/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A QMP client on the event loop. */
#include "daemon/monitor.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "remote/channel.h"
#include "daemon/daemon.h"
#include "protocol/qmp.h"
#include "protocol/rpc.h"

/* Answers come in the order of the commands. */
struct pending {
    struct pending *next;
    struct wait_queue done;
    json_t *message;
    bool abandoned; /* its caller has given up: the answer is thrown away */
};

struct monitor {
    struct daemon *daemon;
    int fd;
    struct loop_source *source;
    struct qmp_reader reader;
    struct monitor_listener listener;
    struct pending *first, **last;
    json_t *greeting;
    struct wait_queue greeted;
    bool broken;
    unsigned references; /* calls that wait, and the owner */
};

static void release(struct monitor *monitor)
{
    if (--monitor->references > 0)
        return;
    while (monitor->first != NULL) { /* abandoned ones: nobody waits for them */
        struct pending *next = monitor->first->next;

        json_decref(monitor->first->message);
        free(monitor->first);
        monitor->first = next;
    }
    qmp_reader_fini(&monitor->reader);
    json_decref(monitor->greeting);
    free(monitor);
}

static void disconnect(struct monitor *monitor)
{
    monitor->broken = true;
    loop_remove(monitor->source);
    monitor->source = NULL;
    fd_close(&monitor->fd);
    wait_queue_wake_all(&monitor->greeted);
    for (struct pending *at = monitor->first; at != NULL; at = at->next)
        wait_queue_wake_all(&at->done);
}

void monitor_free(struct monitor *monitor)
{
    if (monitor == NULL)
        return;
    monitor->listener = (struct monitor_listener){0};
    disconnect(monitor);
    release(monitor);
}

static void take_answer(struct monitor *monitor, json_t *message)
{
    struct pending *pending = monitor->first;

    while (pending != NULL && pending->message != NULL)
        pending = pending->next;
    if (pending == NULL)
        return;
    pending->message = json_incref(message);
    wait_queue_wake_all(&pending->done);
    if (pending->abandoned && pending == monitor->first) {
        monitor->first = pending->next;
        if (monitor->first == NULL)
            monitor->last = &monitor->first;
        json_decref(pending->message);
        free(pending);
    }
}

static void take_message(struct monitor *monitor, json_t *message)
{
    const char *event = json_string_value(json_object_get(message, "event"));

    if (event != NULL && monitor->listener.event != NULL) {
        monitor->listener.event(monitor->listener.ctx, event, json_object_get(message, "data"));
    } else if (json_object_get(message, "QMP") != NULL) {
        json_decref(monitor->greeting);
        monitor->greeting = json_incref(message);
        wait_queue_wake_all(&monitor->greeted);
    } else if (event == NULL) {
        take_answer(monitor, message);
    }
}

/* false: the connection is of no use any more. */
static bool read_messages(struct monitor *monitor)
{
    char bytes[16384];
    struct err err = ERR_INIT;
    json_t *message;
    ssize_t got = recv(monitor->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    int r;

    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    if (qmp_reader_feed(&monitor->reader, bytes, got) < 0)
        return false;
    while (!monitor->broken && (r = qmp_reader_next(&monitor->reader, &message, &err)) != 0) {
        if (r < 0)
            return false;
        take_message(monitor, message);
        json_decref(message);
    }
    return true;
}

static void on_ready(void *ctx, unsigned events)
{
    struct monitor *monitor = ctx;
    struct monitor_listener listener;

    monitor->references++;
    if (!monitor->broken && !read_messages(monitor)) {
        listener = monitor->listener;
        disconnect(monitor);
        if (listener.hung_up != NULL)
            listener.hung_up(listener.ctx);
    }
    release(monitor);
}

static int open_socket(const char *path, int *ret_fd, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, r;

    if (text_format(address.sun_path, sizeof(address.sun_path), "%s", path) < 0)
        return err_set(err, -ENAMETOOLONG, "the name of the control socket %s is longer than %zu bytes: use a shorter run directory", path,
                       sizeof(address.sun_path) - 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        r = err_set(err, -errno, "cannot reach the VM at %s: %s", path, strerror(errno));
        fd_close(&fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static int negotiate(struct monitor *monitor, struct err *err)
{
    while (monitor->greeting == NULL && !monitor->broken) {
        if (wait_queue_wait(&monitor->greeted, monitor->daemon->scheduler, MONITOR_PATIENCE_NS) < 0)
            return err_set(err, -ETIMEDOUT, "the VM does not greet at its control socket");
    }
    return monitor_call(monitor, "qmp_capabilities", NULL, NULL, err);
}

int monitor_connect(struct daemon *daemon, const char *path, const struct monitor_listener *listener, struct monitor **ret_monitor,
                    struct err *err)
{
    struct monitor *monitor;
    int fd = -1, r = open_socket(path, &fd, err);

    if (r < 0)
        return r;
    monitor = calloc(1, sizeof(*monitor));
    if (monitor == NULL) {
        close(fd);
        return err_set(err, -ENOMEM, "out of memory");
    }
    *monitor = (struct monitor){.daemon = daemon, .fd = fd, .references = 1};
    monitor->last = &monitor->first;
    qmp_reader_init(&monitor->reader);
    r = loop_add(daemon->loop, fd, LOOP_READ, on_ready, monitor, &monitor->source);
    if (r == 0)
        r = negotiate(monitor, err);
    if (r < 0) {
        monitor_free(monitor);
        return r;
    }
    monitor->listener = *listener;
    *ret_monitor = monitor;
    return 0;
}

pid_t monitor_pid(const struct monitor *monitor)
{
    struct ucred credentials = {0};
    socklen_t size = sizeof(credentials);

    return getsockopt(monitor->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 ? credentials.pid : -1;
}

/* Commands are short: they fit into the socket's buffer, or the VM does not read. */
static int send_command(struct monitor *monitor, const char *command, const json_t *arguments, int fd, struct err *err)
{
    struct buffer out = BUFFER_INIT(QMP_MESSAGE_MAX);
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.bytes = {0}};
    struct iovec piece;
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    int r = qmp_write_command(&out, command, arguments);

    piece = (struct iovec){.iov_base = out.data, .iov_len = out.size};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.bytes);
        *CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &fd, sizeof(fd));
    }
    if (r == 0 && sendmsg(monitor->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)out.size)
        r = errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
    buffer_fini(&out);
    return r < 0 ? err_set(err, r, "cannot send %s to the VM: %s", command, strerror(-r)) : 0;
}

/* What the answer says. */
static int take_result(const char *command, json_t *message, json_t **ret_value, struct err *err)
{
    const json_t *error = json_object_get(message, "error");
    const char *text = json_string_value(json_object_get(error, "desc"));

    if (error != NULL)
        return err_set(err, RPC_FAULT(RPC_OPERATION_FAILED), "the VM refuses %s: %s", command, text != NULL ? text : "without a reason");
    if (ret_value != NULL)
        *ret_value = json_incref(json_object_get(message, "return"));
    return 0;
}

static void unlink_pending(struct monitor *monitor, struct pending *pending)
{
    struct pending **link = &monitor->first;

    while (*link != pending)
        link = &(*link)->next;
    *link = pending->next;
    if (*link == NULL)
        monitor->last = link;
    json_decref(pending->message);
    free(pending);
}

static int wait_for_answer(struct monitor *monitor, struct pending *pending, const char *command, int64_t nanoseconds, json_t **ret_value,
                           struct err *err)
{
    int r = 0;

    while (r == 0 && pending->message == NULL && !monitor->broken)
        r = wait_queue_wait(&pending->done, monitor->daemon->scheduler, nanoseconds);
    if (pending->message != NULL) {
        r = take_result(command, pending->message, ret_value, err);
    } else if (monitor->broken) {
        r = err_set(err, -EPIPE, "the VM ended while it was asked for %s", command);
    } else {
        pending->abandoned = true;
        return err_set(err, -ETIMEDOUT, "the VM does not answer to %s", command);
    }
    unlink_pending(monitor, pending);
    return r;
}

int monitor_call_fd(struct monitor *monitor, const char *command, json_t *arguments, int fd, int64_t nanoseconds, json_t **ret_value,
                    struct err *err)
{
    struct pending *pending = calloc(1, sizeof(*pending));
    int r;

    if (pending == NULL || monitor == NULL || monitor->broken) {
        free(pending);
        json_decref(arguments);
        return err_set(err, -EPIPE, "the VM has ended");
    }
    r = send_command(monitor, command, arguments, fd, err);
    json_decref(arguments);
    if (r < 0) {
        free(pending);
        return r;
    }
    *monitor->last = pending;
    monitor->last = &pending->next;
    monitor->references++;
    r = wait_for_answer(monitor, pending, command, nanoseconds, ret_value, err);
    release(monitor);
    return r;
}

int monitor_call(struct monitor *monitor, const char *command, json_t *arguments, json_t **ret_value, struct err *err)
{
    return monitor_call_fd(monitor, command, arguments, -1, MONITOR_PATIENCE_NS, ret_value, err);
}
