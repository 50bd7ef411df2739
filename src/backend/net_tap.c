/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tap interfaces, alone or as ports of a bridge. Frames carry a virtio-net header, so that checksums and segmentation are
 * left to whoever does them best. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <unistd.h>

#include "backend/net_backends.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "event/loop.h"

#define FRAMES_PER_CALL 64 /* then others in the loop have their turn */

struct net_tap {
    struct net_backend backend;
    struct loop *loop;
    int fd;
    struct loop_source *source; /* NULL while there is nothing to watch for */
    bool reading, writing;
    size_t kept;                /* bytes of a frame in `frame` that the card had no room for */
    uint8_t frame[NET_FRAME_MAX];
};

static struct net_tap *to_tap(struct net_backend *backend)
{
    return CONTAINER_OF(backend, struct net_tap, backend);
}

static void tap_ready(void *ctx, unsigned events);

/* Removed rather than masked when idle: an interface that was deleted reports a hang-up for ever. */
static void watch(struct net_tap *tap)
{
    unsigned events = (tap->reading ? LOOP_READ : 0) | (tap->writing ? LOOP_WRITE : 0);
    if (events == 0) {
        loop_remove(tap->source);
        tap->source = NULL;
    } else if (tap->source != NULL) {
        loop_modify(tap->source, events);
    } else {
        loop_add(tap->loop, tap->fd, events, tap_ready, tap, &tap->source);
    }
}

static bool deliver_kept(struct net_tap *tap)
{
    if (tap->kept > 0 && !net_deliver(&tap->backend, tap->frame, tap->kept))
        return false;
    tap->kept = 0;
    return true;
}

static void read_frames(struct net_tap *tap)
{
    for (unsigned i = 0; i < FRAMES_PER_CALL && tap->reading; i++) {
        ssize_t n = read(tap->fd, tap->frame, sizeof(tap->frame));
        if (n <= 0) {
            tap->reading = n < 0 && (errno == EAGAIN || errno == EINTR); /* else the interface is gone */
            return;
        }
        tap->kept = (size_t)n;
        tap->reading = deliver_kept(tap);
    }
}

static void tap_ready(void *ctx, unsigned events)
{
    struct net_tap *tap = ctx;
    bool was_writing = tap->writing;
    tap->writing = false;
    if (was_writing && tap->backend.writable != NULL)
        tap->backend.writable(tap->backend.card);
    if (tap->reading)
        read_frames(tap);
    watch(tap);
}

static void tap_resume(struct net_backend *backend)
{
    struct net_tap *tap = to_tap(backend);
    if (!deliver_kept(tap))
        return;
    tap->reading = true;
    watch(tap);
}

static bool tap_send(struct net_backend *backend, const struct iovec *iov, unsigned count)
{
    struct net_tap *tap = to_tap(backend);
    if (writev(tap->fd, iov, (int)count) >= 0 || (errno != EAGAIN && errno != EINTR))
        return true; /* sent, or not sendable: an interface that is down loses frames as a pulled cable does */
    tap->writing = true;
    watch(tap);
    return false;
}

static void tap_set_offloads(struct net_backend *backend, unsigned offloads)
{
    unsigned long flags = (offloads & NET_OFFLOAD_CSUM ? TUN_F_CSUM : 0) | (offloads & NET_OFFLOAD_TSO4 ? TUN_F_TSO4 : 0) |
                          (offloads & NET_OFFLOAD_TSO6 ? TUN_F_TSO6 : 0);
    ioctl(to_tap(backend)->fd, TUNSETOFFLOAD, flags);
}

static void tap_free(struct net_backend *backend)
{
    struct net_tap *tap = to_tap(backend);
    loop_remove(tap->source);
    fd_close(&tap->fd);
    free(tap);
}

static const struct net_type tap_type = {
    .name = "tap",
    .send = tap_send,
    .resume = tap_resume,
    .set_offloads = tap_set_offloads,
    .free = tap_free,
};

static int open_failed(const char *name, int code, struct err *err)
{
    if (code == -EBUSY)
        return err_set(err, code, "tap interface %s is in use by another program; stop that one, or use another interface", name);
    if (code == -EPERM || code == -EACCES)
        return err_set(err, code,
                       "no permission to use tap interface %s; have it made for this user with: ip tuntap add %s mode tap user NAME",
                       name, name);
    return err_set(err, code, "cannot open tap interface %s: %s", name, strerror(-code));
}

static int carry_headers(struct net_tap *tap, const char *name, struct err *err)
{
    int header_size = NET_HEADER_SIZE;
    if (ioctl(tap->fd, TUNSETVNETHDRSZ, &header_size) < 0 || ioctl(tap->fd, TUNSETOFFLOAD, 0UL) < 0)
        return err_set(err, -errno, "tap interface %s can't carry virtio headers: %s", name, strerror(errno));
    return 0;
}

/* name may be a pattern with %d; ret_name is what the kernel made of it. */
static int open_interface(struct net_tap *tap, const char *name, char ret_name[static IFNAMSIZ], struct err *err)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (strlen(name) == 0 || strlen(name) >= IFNAMSIZ)
        return err_set(err, -EINVAL, "\"%s\" can't be an interface's name: they have 1 to %d characters", name, IFNAMSIZ - 1);
    memcpy(request.ifr_name, name, strlen(name) + 1);
    tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap->fd < 0)
        return err_set(err, -errno, "cannot open /dev/net/tun: %s; is the tun module loaded?", strerror(errno));
    if (ioctl(tap->fd, TUNSETIFF, &request) < 0)
        return open_failed(name, -errno, err);
    memcpy(ret_name, request.ifr_name, IFNAMSIZ);
    return carry_headers(tap, name, err);
}

static int bring_up(int socket_fd, const char *name, struct err *err)
{
    struct ifreq request = {0};
    memcpy(request.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
    if (ioctl(socket_fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP))
        return 0;
    request.ifr_flags |= IFF_UP;
    if (ioctl(socket_fd, SIOCSIFFLAGS, &request) < 0)
        return err_set(err, -errno, "tap interface %s is down and can't be brought up: %s; use: ip link set %s up", name,
                       strerror(errno), name);
    return 0;
}

static int join_bridge(int socket_fd, const char *bridge, const char *name, struct err *err)
{
    struct ifreq request = {.ifr_ifindex = (int)if_nametoindex(name)};
    size_t length = strlen(bridge);
    if (length == 0 || length >= IFNAMSIZ || if_nametoindex(bridge) == 0)
        return err_set(err, -ENODEV, "there is no bridge \"%s\"; make one with: ip link add NAME type bridge", bridge);
    memcpy(request.ifr_name, bridge, length + 1);
    if (ioctl(socket_fd, SIOCBRADDIF, &request) == 0)
        return 0;
    if (errno == EOPNOTSUPP)
        return err_set(err, -EINVAL, "interface %s is not a bridge", bridge);
    return err_set(err, -errno, "cannot make %s a port of bridge %s: %s", name, bridge, strerror(errno));
}

/* NULL without memory; fd stays the caller's then. */
static struct net_tap *tap_new(struct loop *loop, int fd)
{
    struct net_tap *tap = calloc(1, sizeof(*tap));
    if (tap == NULL)
        return NULL;
    tap->backend = (struct net_backend){.type = &tap_type,
                                        .header_size = NET_HEADER_SIZE,
                                        .offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6};
    tap->loop = loop;
    tap->fd = fd;
    return tap;
}

static struct net_backend *tap_begin(struct net_tap *tap)
{
    tap->reading = true;
    watch(tap);
    return &tap->backend;
}

/* bridge: NULL for none. Whatever fails, closing the descriptor takes an interface that we made away again. */
static int open_tap(const char *name, const char *bridge, struct loop *loop, struct net_backend **ret_backend, struct err *err)
{
    char actual[IFNAMSIZ];
    struct net_tap *tap = tap_new(loop, -1);
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r = tap == NULL || socket_fd < 0 ? err_set(err, -ENOMEM, "no memory or descriptor for tap interface %s", name) : 0;
    if (r == 0)
        r = open_interface(tap, name, actual, err);
    if (r == 0 && bridge != NULL)
        r = join_bridge(socket_fd, bridge, actual, err);
    if (r == 0)
        r = bring_up(socket_fd, actual, err);
    fd_close(&socket_fd);
    if (r < 0) {
        if (tap != NULL)
            tap_free(&tap->backend);
        return r;
    }
    *ret_backend = tap_begin(tap);
    return 0;
}

int net_tap_open(const char *name, struct loop *loop, struct net_backend **ret_backend, struct err *err)
{
    return open_tap(name, NULL, loop, ret_backend, err);
}

int net_bridge_open(const char *bridge, struct loop *loop, struct net_backend **ret_backend, struct err *err)
{
    return open_tap("ferry%d", bridge, loop, ret_backend, err);
}

/* Whether the descriptor is a tap interface that puts a virtio-net header in front of frames, and which. */
static int look_at(int fd, char ret_name[static IFNAMSIZ], struct err *err)
{
    struct ifreq request = {0};
    if (ioctl(fd, TUNGETIFF, &request) < 0)
        return err_set(err, -EINVAL, "descriptor %d is not a tap interface: %s", fd, strerror(errno));
    if ((request.ifr_flags & IFF_TAP) == 0 || (request.ifr_flags & IFF_NO_PI) == 0 || (request.ifr_flags & IFF_VNET_HDR) == 0)
        return err_set(err, -EINVAL, "interface %s can't be used: it must be a tap interface with the flags IFF_NO_PI and "
                       "IFF_VNET_HDR", request.ifr_name);
    memcpy(ret_name, request.ifr_name, IFNAMSIZ);
    return 0;
}

int net_fd_open(const char *number, struct loop *loop, struct net_backend **ret_backend, struct err *err)
{
    char name[IFNAMSIZ];
    uint64_t value;
    if (text_parse_u64(number, &value) < 0 || value < 3 || value > INT_MAX)
        return err_set(err, -EINVAL, "fd=%s is no descriptor that could be a tap interface", number);
    int fd = (int)value;
    int r = look_at(fd, name, err);
    struct net_tap *tap = r == 0 ? tap_new(loop, fd) : NULL;
    if (r == 0 && tap == NULL)
        r = err_set(err, -ENOMEM, "no memory for tap interface %s", name);
    if (r == 0)
        r = carry_headers(tap, name, err);
    if (r == 0 && (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0))
        r = err_set(err, -errno, "cannot use tap interface %s: %s", name, strerror(errno));
    if (r < 0) {
        if (tap != NULL)
            tap->fd = -1;
        free(tap);
        close(fd);
        return r;
    }
    *ret_backend = tap_begin(tap);
    return 0;
}
