/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User networking: libslirp, a TCP/IP stack in this process that turns the guest's connections into sockets of ours.
 *
 * libslirp wants to be asked before every sleep which descriptors it waits for. The loop has no such moment, so we keep
 * those descriptors in an epoll set of our own, watch that one in the loop, and bring it up to date after everything
 * that may have changed libslirp's mind. */
#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <sys/epoll.h>
#include <sys/poll.h>
#include <unistd.h>

#include "backend/net_backends.h"
#include "base/bits.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "event/loop.h"

#define DESCRIPTORS_MAX 4096u
#define WAITING_MAX 256u /* frames for a card without room; what comes then is dropped, and TCP sends it again */
#define MILLISECOND INT64_C(1000000)

struct descriptor {
    int fd;
    uint32_t events;
    bool wanted;
};

struct waiting_frame {
    struct waiting_frame *next;
    size_t size;
    uint8_t data[];
};

struct user_timer {
    struct timer timer;
    struct net_user *user;
    SlirpTimerId id;
    void *opaque;
};

struct net_user {
    struct net_backend backend;
    struct loop *loop;
    Slirp *slirp;
    int epoll_fd;
    struct loop_source *source;
    struct timer timer; /* libslirp's next deadline, or at once: the descriptors are to be looked at */
    struct descriptor *watched;
    unsigned watched_count;
    struct pollfd *polled; /* while libslirp is being asked */
    unsigned polled_count;
    int64_t polled_at;     /* when libslirp was last told the time */
    struct waiting_frame *waiting, **waiting_end;
    unsigned waiting_count;
};

static int64_t now(const struct net_user *user)
{
    return clock_now(loop_timers(user->loop)->clock);
}

static short to_poll(int events)
{
    return (short)((events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
                   (events & SLIRP_POLL_PRI ? POLLPRI : 0));
}

static int from_poll(short events)
{
    return (events & POLLIN ? SLIRP_POLL_IN : 0) | (events & POLLOUT ? SLIRP_POLL_OUT : 0) |
           (events & POLLPRI ? SLIRP_POLL_PRI : 0) | (events & POLLERR ? SLIRP_POLL_ERR : 0) |
           (events & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static int add_poll(int fd, int events, void *opaque)
{
    struct net_user *user = opaque;
    if (user->polled_count == DESCRIPTORS_MAX)
        return -1;
    user->polled[user->polled_count] = (struct pollfd){.fd = fd, .events = to_poll(events)};
    return (int)user->polled_count++;
}

static int get_events(int index, void *opaque)
{
    const struct net_user *user = opaque;
    return index < 0 ? 0 : from_poll(user->polled[index].revents);
}

static struct descriptor *find_watched(struct net_user *user, int fd)
{
    for (unsigned i = 0; i < user->watched_count; i++)
        if (user->watched[i].fd == fd)
            return &user->watched[i];
    return NULL;
}

static void unwatch(struct net_user *user, struct descriptor *descriptor)
{
    epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, descriptor->fd, NULL);
    *descriptor = user->watched[--user->watched_count];
}

/* poll's and epoll's bits for these three events have the same values. */
static void watch(struct net_user *user, const struct pollfd *wanted)
{
    struct descriptor *descriptor = find_watched(user, wanted->fd);
    struct epoll_event event = {.events = (uint32_t)wanted->events, .data.fd = wanted->fd};
    if (descriptor == NULL) {
        if (user->watched_count == DESCRIPTORS_MAX || epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, wanted->fd, &event) < 0)
            return;
        descriptor = &user->watched[user->watched_count++];
        descriptor->fd = wanted->fd;
    } else if (descriptor->events != event.events) {
        epoll_ctl(user->epoll_fd, EPOLL_CTL_MOD, wanted->fd, &event);
    }
    descriptor->events = event.events;
    descriptor->wanted = true;
}

/* Asks libslirp what it waits for, and waits for that. */
static void refresh(struct net_user *user)
{
    uint32_t timeout = UINT32_MAX;
    user->polled_count = 0;
    slirp_pollfds_fill(user->slirp, &timeout, add_poll, user);
    for (unsigned i = 0; i < user->watched_count; i++)
        user->watched[i].wanted = false;
    for (unsigned i = 0; i < user->polled_count; i++)
        watch(user, &user->polled[i]);
    for (unsigned i = user->watched_count; i-- > 0;)
        if (!user->watched[i].wanted)
            unwatch(user, &user->watched[i]);
    if (timeout != UINT32_MAX)
        timer_set(&user->timer, now(user) + (int64_t)timeout * MILLISECOND);
}

static void serve(struct net_user *user)
{
    uint32_t timeout = UINT32_MAX;
    user->polled_count = 0;
    slirp_pollfds_fill(user->slirp, &timeout, add_poll, user);
    int r = poll(user->polled, user->polled_count, 0);
    slirp_pollfds_poll(user->slirp, r < 0, get_events, user);
    user->polled_at = now(user);
    refresh(user);
}

/* libslirp knows the time only from its last poll, and a socket made with a stale one would be thrown away as expired. */
static void update_time(struct net_user *user)
{
    if (now(user) - user->polled_at < 20 * MILLISECOND)
        return;
    slirp_pollfds_poll(user->slirp, 1, get_events, user); /* 1: no descriptors were looked at */
    user->polled_at = now(user);
}

static void descriptors_ready(void *ctx, unsigned events)
{
    serve(ctx);
}

static void timer_fired(void *ctx)
{
    serve(ctx);
}

/* Many frames may come in a row: the descriptors are looked at once behind them. */
static void refresh_soon(struct net_user *user)
{
    timer_set(&user->timer, now(user));
}

static void keep_frame(struct net_user *user, const void *data, size_t size)
{
    struct waiting_frame *frame = user->waiting_count < WAITING_MAX ? malloc(sizeof(*frame) + size) : NULL;
    if (frame == NULL)
        return;
    frame->next = NULL;
    frame->size = size;
    memcpy(frame->data, data, size);
    *user->waiting_end = frame;
    user->waiting_end = &frame->next;
    user->waiting_count++;
}

static void drop_first(struct net_user *user)
{
    struct waiting_frame *frame = user->waiting;
    user->waiting = frame->next;
    if (user->waiting == NULL)
        user->waiting_end = &user->waiting;
    user->waiting_count--;
    free(frame);
}

static ssize_t send_packet(const void *data, size_t size, void *opaque)
{
    struct net_user *user = opaque;
    if (size <= NET_FRAME_MAX && (user->waiting != NULL || !net_deliver(&user->backend, data, size)))
        keep_frame(user, data, size);
    return (ssize_t)size;
}

static void user_resume(struct net_backend *backend)
{
    struct net_user *user = CONTAINER_OF(backend, struct net_user, backend);
    while (user->waiting != NULL && net_deliver(backend, user->waiting->data, user->waiting->size))
        drop_first(user);
}

static bool user_send(struct net_backend *backend, const struct iovec *iov, unsigned count)
{
    struct net_user *user = CONTAINER_OF(backend, struct net_user, backend);
    uint8_t frame[NET_FRAME_MAX];
    size_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        if (iov[i].iov_len > sizeof(frame) - size)
            return true; /* larger than any frame: dropped */
        memcpy(frame + size, iov[i].iov_base, iov[i].iov_len);
        size += iov[i].iov_len;
    }
    update_time(user);
    slirp_input(user->slirp, frame, (int)size);
    refresh_soon(user);
    return true;
}

static void guest_error(const char *message, void *opaque)
{
}

static int64_t clock_get_ns(void *opaque)
{
    return now(opaque);
}

static void user_timer_fired(void *ctx)
{
    struct user_timer *timer = ctx;
    slirp_handle_timer(timer->user->slirp, timer->id, timer->opaque);
}

static void *timer_new_opaque(SlirpTimerId id, void *cb_opaque, void *opaque)
{
    struct net_user *user = opaque;
    struct user_timer *timer = calloc(1, sizeof(*timer));
    if (timer == NULL)
        return NULL;
    *timer = (struct user_timer){.user = user, .id = id, .opaque = cb_opaque};
    timer_init(&timer->timer, loop_timers(user->loop), user_timer_fired, timer);
    return timer;
}

static void timer_free(void *ctx, void *opaque)
{
    struct user_timer *timer = ctx;
    if (timer != NULL)
        timer_cancel(&timer->timer);
    free(timer);
}

static void timer_mod(void *ctx, int64_t expire_ms, void *opaque)
{
    struct user_timer *timer = ctx;
    if (timer != NULL)
        timer_set(&timer->timer, expire_ms * MILLISECOND);
}

static void register_poll_fd(int fd, void *opaque)
{
}

/* About to be closed; its number may come again as another socket. */
static void unregister_poll_fd(int fd, void *opaque)
{
    struct net_user *user = opaque;
    struct descriptor *descriptor = find_watched(user, fd);
    if (descriptor != NULL)
        unwatch(user, descriptor);
}

static void notify(void *opaque)
{
    refresh_soon(opaque);
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_get_ns,
    .timer_new_opaque = timer_new_opaque,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = register_poll_fd,
    .unregister_poll_fd = unregister_poll_fd,
    .notify = notify,
};

static void user_free(struct net_backend *backend)
{
    struct net_user *user = CONTAINER_OF(backend, struct net_user, backend);
    if (user->slirp != NULL)
        slirp_cleanup(user->slirp);
    timer_cancel(&user->timer);
    loop_remove(user->source);
    fd_close(&user->epoll_fd);
    while (user->waiting != NULL)
        drop_first(user);
    free(user->watched);
    free(user->polled);
    free(user);
}

static const struct net_type user_type = {
    .name = "user", .send = user_send, .resume = user_resume, .free = user_free};

static struct in_addr address(uint32_t host_order)
{
    return (struct in_addr){.s_addr = htonl(host_order)};
}

#define NETWORK 0x0a000200u /* 10.0.2.0 */
#define GUEST (NETWORK + 15)

struct forward {
    bool udp;
    struct in_addr host, guest;
    uint16_t host_port, guest_port;
};

/* "[ADDR]:PORT" of `size` bytes; address stays as it is where none is given. */
static int parse_endpoint(const char *text, size_t size, struct in_addr *address_out, uint16_t *ret_port)
{
    char copy[64];
    uint64_t port;
    if (size >= sizeof(copy))
        return -EINVAL;
    memcpy(copy, text, size);
    copy[size] = '\0';
    char *colon = strrchr(copy, ':');
    if (colon == NULL || text_parse_u64(colon + 1, &port) < 0 || port == 0 || port > 65535)
        return -EINVAL;
    *colon = '\0';
    if (copy[0] != '\0' && inet_pton(AF_INET, copy, address_out) != 1)
        return -EINVAL;
    *ret_port = (uint16_t)port;
    return 0;
}

/* "PROTO:[ADDR]:PORT-[ADDR]:PORT" of `size` bytes. */
static int parse_forward(const char *text, size_t size, struct forward *ret_forward)
{
    struct forward forward = {.host = address(INADDR_ANY), .guest = address(GUEST)};
    const char *dash = memchr(text, '-', size);
    if (size < 4 || dash == NULL || (strncmp(text, "tcp:", 4) != 0 && strncmp(text, "udp:", 4) != 0))
        return -EINVAL;
    forward.udp = text[0] == 'u';
    if (parse_endpoint(text + 4, (size_t)(dash - text) - 4, &forward.host, &forward.host_port) < 0 ||
        parse_endpoint(dash + 1, size - (size_t)(dash + 1 - text), &forward.guest, &forward.guest_port) < 0)
        return -EINVAL;
    *ret_forward = forward;
    return 0;
}

static int add_forward(struct net_user *user, const char *text, size_t size, struct err *err)
{
    struct forward f;
    char host[INET_ADDRSTRLEN];
    if (parse_forward(text, size, &f) < 0)
        return err_set(err, -EINVAL,
                       "hostfwd \"%.*s\" is not understood; it looks like tcp:127.0.0.1:2222-10.0.2.15:22 or tcp::2222-:22",
                       (int)size, text);
    if (slirp_add_hostfwd(user->slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) == 0)
        return 0;
    int code = errno > 0 ? -errno : -EINVAL;
    return err_set(err, code, "cannot forward %s port %u of host address %s: %s", f.udp ? "UDP" : "TCP", f.host_port,
                   inet_ntop(AF_INET, &f.host, host, sizeof(host)), strerror(-code));
}

static int apply_options(struct net_user *user, const char *options, struct err *err)
{
    static const char prefix[] = "hostfwd=";
    while (*options == ',') {
        options++;
        size_t size = strcspn(options, ",");
        if (!text_starts_with(options, prefix))
            return err_set(err, -EINVAL, "user networking does not know \"%.*s\"; there is hostfwd=PROTO:[ADDR]:PORT-[ADDR]:PORT",
                           (int)size, options);
        int r = add_forward(user, options + strlen(prefix), size - strlen(prefix), err);
        if (r < 0)
            return r;
        options += size;
    }
    return 0;
}

static int open_parts(struct net_user *user)
{
    user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (user->epoll_fd < 0)
        return -errno;
    user->watched = calloc(DESCRIPTORS_MAX, sizeof(*user->watched));
    user->polled = calloc(DESCRIPTORS_MAX, sizeof(*user->polled));
    if (user->watched == NULL || user->polled == NULL)
        return -ENOMEM;
    return loop_add(user->loop, user->epoll_fd, LOOP_READ, descriptors_ready, user, &user->source);
}

static Slirp *start_slirp(struct net_user *user)
{
    SlirpConfig config = {
        .version = SLIRP_CONFIG_VERSION_MAX,
        .in_enabled = true,
        .vnetwork = address(NETWORK),
        .vnetmask = address(0xffffff00),
        .vhost = address(NETWORK + 2),
        .vnameserver = address(NETWORK + 3),
        .vdhcp_start = address(GUEST),
        .vhostname = "ferry",
    };
    return slirp_new(&config, &callbacks, user);
}

int net_user_open(const char *options, struct loop *loop, struct net_backend **ret_backend, struct err *err)
{
    struct net_user *user = calloc(1, sizeof(*user));
    if (user == NULL)
        return err_set(err, -ENOMEM, "no memory for user networking");
    user->backend.type = &user_type;
    user->loop = loop;
    user->epoll_fd = -1;
    user->waiting_end = &user->waiting;
    timer_init(&user->timer, loop_timers(loop), timer_fired, user);
    int r = open_parts(user);
    if (r == 0 && (user->slirp = start_slirp(user)) == NULL)
        r = -EINVAL;
    r = r < 0 ? err_set(err, r, "cannot start user networking: %s", strerror(-r)) : apply_options(user, options, err);
    if (r < 0) {
        user_free(&user->backend);
        return r;
    }
    refresh_soon(user);
    *ret_backend = &user->backend;
    return 0;
}
