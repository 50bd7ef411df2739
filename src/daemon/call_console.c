/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DOMAIN_OPEN_CONSOLE: a stream to the terminal of a serial port or console. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "daemon/call.h"
#include "daemon/daemon.h"
#include "daemon/domain.h"
#include "daemon/stream.h"
#include "daemon/tree.h"
#include "protocol/xml.h"

enum { CONSOLE_FORCE = 1, CONSOLE_SAFE = 2 };

/* One user at a time of each terminal. */
struct session {
    struct session *next;
    struct stream *stream;
    struct scheduler *scheduler;
    char path[64];
    int fd;
    bool output_ended;
    struct wait_queue ended;
};

static struct session *sessions;

static struct session *find_session(const char *path)
{
    struct session *session = sessions;

    while (session != NULL && !text_equal(session->path, path))
        session = session->next;
    return session;
}

/* By alias or kind; none: the first console. */
static const xmlNode *find_device(const struct domain *domain, const char *name)
{
    const xmlNode *devices = definition_devices(domain->live);

    if (name == NULL)
        return xml_first(devices, "console") != NULL ? xml_first(devices, "console") : xml_first(devices, "serial");
    if (text_equal(name, "serial0"))
        return xml_first(devices, "serial");
    for (const xmlNode *at = xml_first(devices, "console"); at != NULL; at = xml_next(at, "console")) {
        if (text_equal(name, tree_is(xml_first(at, "target"), "type", "virtio") ? "console1" : "console0") ||
            tree_is(xml_first(at, "alias"), "name", name))
            return at;
    }
    return NULL;
}

static int find_terminal(struct call *call, const struct domain *domain, char path[static 64])
{
    const xmlNode *device = find_device(domain, call->arg[1].s);
    const char *terminal = xml_attribute(xml_first(device, "source"), "path");

    if (device == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_INTERNAL_ERROR), "cannot find console device '%.100s'",
                       call->arg[1].s != NULL ? call->arg[1].s : "default");
    if (!tree_is(device, "type", "pty") || terminal == NULL)
        return err_set(&call->err, RPC_FAULT(RPC_INTERNAL_ERROR), "character device %.100s is not using a PTY",
                       call->arg[1].s != NULL ? call->arg[1].s : "of the console");
    return text_format(path, 64, "%s", terminal);
}

static void end_session(struct session *session)
{
    struct session **link = &sessions;

    while (*link != session)
        link = &(*link)->next;
    *link = session->next;
}

/* From the terminal to the client, in a coroutine of its own. */
static void pump_output(void *ctx)
{
    struct session *session = ctx;
    char bytes[4096];

    while (!stream_aborted(session->stream)) {
        ssize_t got = read(session->fd, bytes, sizeof(bytes));

        if (got < 0 && errno == EAGAIN) {
            /* a look now and then: an end of the stream does not wake who waits for the terminal */
            coroutine_wait_fd(session->scheduler, session->fd, LOOP_READ, 200 * INT64_C(1000000));
            continue;
        }
        if (got <= 0 || stream_write(session->stream, bytes, got) < 0)
            break;
    }
    session->output_ended = true;
    stream_stop(session->stream);
    wait_queue_wake_all(&session->ended);
}

static int write_input(struct session *session, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(session->fd, bytes, size);

        if (done < 0 && errno == EAGAIN) {
            coroutine_sleep(session->scheduler, 10 * INT64_C(1000000));
            if (stream_aborted(session->stream))
                return -ECONNABORTED;
            continue;
        }
        if (done < 0)
            return -errno;
        bytes += done;
        size -= (size_t)done;
    }
    return 0;
}

static void pump_input(struct session *session)
{
    char bytes[4096];
    ssize_t got;

    while ((got = stream_read(session->stream, bytes, sizeof(bytes))) > 0) {
        if (write_input(session, bytes, got) < 0)
            break;
    }
}

/* force kicks the other user out. */
static int take_terminal(struct call *call, const char *path)
{
    struct session *other = find_session(path);

    if (other == NULL)
        return 0;
    if ((call->arg[2].u & CONSOLE_FORCE) == 0)
        return err_set(&call->err, RPC_FAULT(RPC_OPERATION_FAILED), "Active console session exists for this domain; --force takes it over");
    while ((other = find_session(path)) != NULL) {
        stream_stop(other->stream);
        wait_queue_wait(&other->ended, call->daemon->scheduler, WAIT_FOR_EVER);
    }
    return 0;
}

static int open_terminal(struct call *call, const char *path, int *ret_fd)
{
    struct termios settings;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return err_set(&call->err, -errno, "cannot open the terminal %s: %s", path, strerror(errno));
    if (tcgetattr(fd, &settings) == 0) {
        cfmakeraw(&settings);
        tcsetattr(fd, TCSANOW, &settings);
    }
    *ret_fd = fd;
    return 0;
}

static int serve(struct call *call, struct session *session)
{
    int r = stream_open(call, &session->stream);

    if (r < 0)
        return r;
    if (coroutine_start(session->scheduler, pump_output, session) < 0)
        session->output_ended = true;
    pump_input(session);
    stream_stop(session->stream);
    while (!session->output_ended)
        wait_queue_wait(&session->ended, session->scheduler, WAIT_FOR_EVER);
    stream_close(session->stream);
    return 0;
}

static int open_console(struct call *call)
{
    struct domain *domain = call_domain(call, call->arg[0].object);
    struct session session = {.fd = -1, .scheduler = call->daemon->scheduler};
    int r = domain == NULL ? call->err.code : domain_need_active(domain, &call->err);

    if (r == 0)
        r = call_check_flags(call, call->arg[2].u, CONSOLE_FORCE | CONSOLE_SAFE);
    if (r == 0)
        r = find_terminal(call, domain, session.path);
    if (r == 0)
        r = take_terminal(call, session.path);
    if (r == 0)
        r = open_terminal(call, session.path, &session.fd);
    if (r < 0)
        return r;
    session.next = sessions;
    sessions = &session;
    r = serve(call, &session);
    end_session(&session);
    wait_queue_wake_all(&session.ended);
    fd_close(&session.fd);
    return r;
}

const struct call_handler console_calls[] = {
    {REMOTE_DOMAIN_OPEN_CONSOLE, open_console},
    {0, NULL},
};
