/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Character backends on file descriptors: standard input and output, a file, a pseudo-terminal, nothing. */
#include "backend/character.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "event/loop.h"

#define WRITE_MAX 4096u /* a pipe that poll() calls writable takes so much without blocking (PIPE_BUF) */
#define PTY_POLL_NS (NANOSECONDS_PER_SECOND / 4)

struct fd_character {
    struct character character;
    struct loop *loop;
    int in_fd, out_fd;              /* -1: none */
    bool pty, connected, in_ended, out_ended;
    struct loop_source *in_source;  /* NULL while input stands still */
    struct loop_source *out_source; /* only while output waits for room */
    struct timer timer;             /* pty: looks for a reader; else: reads what epoll can't watch, such as a file */
    uint8_t buffer[1024];           /* input that the device has not taken yet */
    size_t start, end;
};

static struct fd_character *to_fd(struct character *character)
{
    return CONTAINER_OF(character, struct fd_character, character);
}

static int64_t now(const struct fd_character *c)
{
    return clock_now(loop_timers(c->loop)->clock);
}

static void stop_input(struct fd_character *c)
{
    loop_remove(c->in_source);
    c->in_source = NULL;
}

static void stop_output(struct fd_character *c)
{
    loop_remove(c->out_source);
    c->out_source = NULL;
}

/* False: the device has no room for all of it. */
static bool deliver(struct fd_character *c)
{
    while (c->start < c->end) {
        size_t size = c->end - c->start;
        size_t taken = c->character.input != NULL ? c->character.input(c->character.device, c->buffer + c->start, size)
                                                  : size;
        c->start += taken;
        if (taken == 0)
            return false;
    }
    return true;
}

static void tell_writable(struct fd_character *c)
{
    if (c->character.writable != NULL)
        c->character.writable(c->character.device);
}

/* The reader has gone: nothing to read, everything written is dropped, and now and then a look whether somebody came. */
static void disconnected(struct fd_character *c)
{
    stop_input(c);
    stop_output(c);
    c->connected = false;
    timer_set(&c->timer, now(c) + PTY_POLL_NS);
    tell_writable(c);
}

static void input_ready(void *ctx, unsigned events)
{
    struct fd_character *c = ctx;
    ssize_t n = read(c->in_fd, c->buffer, sizeof(c->buffer));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 && c->pty) {
        disconnected(c);
        return;
    }
    if (n <= 0) {
        c->in_ended = true;
        stop_input(c);
        return;
    }
    c->start = 0;
    c->end = (size_t)n;
    if (!deliver(c))
        stop_input(c); /* removed, not masked: a hang-up would be reported all the time */
}

static void start_input(struct fd_character *c)
{
    if (c->in_fd < 0 || c->in_ended || c->in_source != NULL || !c->connected)
        return;
    if (loop_add(c->loop, c->in_fd, LOOP_READ, input_ready, c, &c->in_source) == -EPERM)
        timer_set(&c->timer, now(c));
}

static void look_for_reader(struct fd_character *c)
{
    struct pollfd poll_fd = {.fd = c->in_fd};
    if (poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & POLLHUP)) {
        timer_set(&c->timer, now(c) + PTY_POLL_NS);
        return;
    }
    c->connected = true;
    start_input(c);
    tell_writable(c);
}

static void timer_fired(void *ctx)
{
    struct fd_character *c = ctx;
    if (c->pty) {
        look_for_reader(c);
        return;
    }
    if (deliver(c))
        input_ready(c, LOOP_READ);
    if (!c->in_ended && c->start == c->end)
        timer_set(&c->timer, now(c));
}

static void fd_resume(struct character *character)
{
    struct fd_character *c = to_fd(character);
    if (deliver(c))
        start_input(c);
}

static void output_ready(void *ctx, unsigned events)
{
    struct fd_character *c = ctx;
    stop_output(c);
    if (c->pty && (events & LOOP_HANGUP))
        disconnected(c);
    else
        tell_writable(c);
}

/* One piece without blocking. 0: no room now; the fd's end has gone: all taken, that is dropped. */
static size_t write_piece(struct fd_character *c, const void *data, size_t size)
{
    struct pollfd poll_fd = {.fd = c->out_fd, .events = POLLOUT};
    if (poll(&poll_fd, 1, 0) <= 0)
        return 0;
    ssize_t n = write(c->out_fd, data, size < WRITE_MAX ? size : WRITE_MAX);
    if (n >= 0)
        return (size_t)n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    if (!c->pty)
        c->out_ended = true;
    return size;
}

static size_t fd_write(struct character *character, const void *data, size_t size)
{
    struct fd_character *c = to_fd(character);
    size_t done = 0;
    if (c->out_fd < 0 || c->out_ended || !c->connected)
        return size;
    while (done < size) {
        size_t n = write_piece(c, (const char *)data + done, size - done);
        if (n == 0)
            break;
        done += n;
    }
    if (done < size && c->out_source == NULL)
        loop_add(c->loop, c->out_fd, LOOP_WRITE, output_ready, c, &c->out_source);
    return done;
}

static void fd_free(struct character *character)
{
    struct fd_character *c = to_fd(character);
    stop_input(c);
    stop_output(c);
    timer_cancel(&c->timer);
    if (c->in_fd > STDERR_FILENO)
        fd_close(&c->in_fd);
    if (c->out_fd > STDERR_FILENO)
        fd_close(&c->out_fd);
    free(c);
}

/* A pseudo-terminal whose slave side passes bytes as they are. */
static int open_pty(struct fd_character *c, struct err *err)
{
    struct termios settings;
    int slave = -1;
    c->pty = true;
    c->in_fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (c->in_fd < 0 || grantpt(c->in_fd) < 0 || unlockpt(c->in_fd) < 0 ||
        ptsname_r(c->in_fd, c->character.path, sizeof(c->character.path)) != 0)
        return err_set(err, -errno, "cannot make a pseudo-terminal: %s", strerror(errno));
    c->out_fd = fcntl(c->in_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    slave = open(c->character.path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (c->out_fd < 0 || slave < 0 || tcgetattr(slave, &settings) < 0) {
        int r = err_set(err, -errno, "cannot set up pseudo-terminal %s: %s", c->character.path, strerror(errno));
        fd_close(&slave);
        return r;
    }
    cfmakeraw(&settings);
    tcsetattr(slave, TCSANOW, &settings);
    fd_close(&slave);
    disconnected(c);
    return 0;
}

static int open_file(struct fd_character *c, const char *path, struct err *err)
{
    c->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    if (c->out_fd < 0)
        return err_set(err, -errno, "cannot open %s for output: %s", path, strerror(errno));
    return 0;
}

static int take_fd(struct fd_character *c, const char *number, struct err *err)
{
    uint64_t fd;
    if (text_parse_u64(number, &fd) < 0 || fd <= STDERR_FILENO || fd > INT_MAX || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_set(err, -EBADF, "fd=%s is not the number of an open file", number);
    c->out_fd = (int)fd;
    return 0;
}

static int open_spec(struct fd_character *c, const char *spec, struct err *err)
{
    c->in_fd = c->out_fd = -1;
    c->connected = true;
    if (text_equal(spec, "stdio")) {
        c->in_fd = STDIN_FILENO;
        c->out_fd = STDOUT_FILENO;
        start_input(c);
        return 0;
    }
    if (text_equal(spec, "pty"))
        return open_pty(c, err);
    if (text_starts_with(spec, "file:") && spec[5] != '\0')
        return open_file(c, spec + 5, err);
    if (text_starts_with(spec, "fd="))
        return take_fd(c, spec + 3, err);
    if (text_equal(spec, "none"))
        return 0;
    return err_set(err, -EINVAL, "character backend \"%s\" is unknown; there are stdio, file:PATH, fd=N, pty and none", spec);
}

int character_open(const char *spec, struct loop *loop, struct character **ret_character, struct err *err)
{
    struct fd_character *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set(err, -ENOMEM, "no memory for character backend %s", spec);
    c->character = (struct character){.write = fd_write, .resume = fd_resume, .free = fd_free};
    c->loop = loop;
    timer_init(&c->timer, loop_timers(loop), timer_fired, c);
    int r = open_spec(c, spec, err);
    if (r < 0) {
        fd_free(&c->character);
        return r;
    }
    *ret_character = &c->character;
    return 0;
}

void character_close(struct character *character)
{
    if (character != NULL)
        character->free(character);
}
