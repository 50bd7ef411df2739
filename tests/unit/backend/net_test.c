/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network backends: user networking with frames made by hand, tap and bridge in a network namespace of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/net.h"
#include "base/clock.h"
#include "base/err.h"
#include "event/loop.h"

struct card {
    unsigned count, room;
    size_t size;
    uint8_t frame[2048]; /* the last one that `wanted` liked, or any */
    uint16_t wanted;     /* EtherType; 0: any */
    unsigned skip;       /* bytes of header in front */
};

static bool receive(void *ctx, const void *data, size_t size)
{
    struct card *card = ctx;
    const uint8_t *type = (const uint8_t *)data + card->skip + 12;
    if (card->wanted != 0 && (type[0] << 8 | type[1]) != card->wanted)
        return true;
    if (card->room == 0)
        return false;
    card->room--;
    card->count++;
    card->size = size < sizeof(card->frame) ? size : sizeof(card->frame);
    memcpy(card->frame, data, card->size);
    return true;
}

static bool wait_for(struct loop *loop, const struct card *card, unsigned count)
{
    int64_t end = host_monotonic_ns() + 5 * NANOSECONDS_PER_SECOND;
    while (card->count < count && host_monotonic_ns() < end)
        loop_step(loop, 20);
    return card->count >= count;
}

static bool send_frame(struct net_backend *backend, const void *frame, size_t size)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)frame, .iov_len = size};
    return backend->type->send(backend, &iov, 1);
}

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 1, 2, 3};

/* Ethernet and IPv4 headers, UDP, and the data; checksums right where they must be. Returns the frame's size. */
static size_t udp_frame(uint8_t *frame, const uint8_t *router_mac, uint32_t to, uint16_t port, const char *text)
{
    size_t length = strlen(text), size = 14 + 20 + 8 + length;
    memset(frame, 0, size);
    memcpy(frame, router_mac, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = 8;
    uint8_t *ip = frame + 14;
    ip[0] = 0x45;
    ip[3] = (uint8_t)(28 + length);
    ip[8] = 64;
    ip[9] = 17;
    memcpy(ip + 12, (uint8_t[]){10, 0, 2, 15}, 4);
    uint32_t address = htonl(to);
    memcpy(ip + 16, &address, 4);
    uint32_t sum = 0;
    for (unsigned i = 0; i < 20; i += 2)
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    sum = ~((sum & 0xffff) + (sum >> 16));
    ip[10] = (uint8_t)(sum >> 8);
    ip[11] = (uint8_t)sum;
    uint8_t *udp = ip + 20;
    udp[0] = 0x30; /* from port 12345 */
    udp[1] = 0x39;
    udp[2] = (uint8_t)(port >> 8);
    udp[3] = (uint8_t)port;
    udp[5] = (uint8_t)(8 + length);
    memcpy(udp + 8, text, length);
    return size;
}

/* Asks for the router's address by ARP. */
static void find_router(struct net_backend *backend, struct loop *loop, struct card *card, uint8_t *ret_mac)
{
    uint8_t arp[42] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    memcpy(arp + 6, guest_mac, 6);
    memcpy(arp + 12, (uint8_t[]){8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, 10);
    memcpy(arp + 22, guest_mac, 6);
    memcpy(arp + 28, (uint8_t[]){10, 0, 2, 15}, 4);
    memcpy(arp + 38, (uint8_t[]){10, 0, 2, 2}, 4);
    card->wanted = 0x0806;
    card->room = 1;
    assert_true(send_frame(backend, arp, sizeof(arp)));
    assert_true(wait_for(loop, card, 1));
    assert_memory_equal(card->frame, guest_mac, 6);
    memcpy(ret_mac, card->frame + 6, 6);
    *card = (struct card){.wanted = 0x0800, .room = 100};
}

static struct net_backend *open_net(const char *spec, struct loop *loop, struct card *card)
{
    struct net_backend *backend = NULL;
    struct err err = ERR_INIT;
    if (net_open(spec, loop, &backend, &err) < 0)
        fail_msg("%s", err.message);
    net_attach(backend, card, receive, NULL);
    return backend;
}

static int bound_socket(int type, struct sockaddr_in *ret_address)
{
    socklen_t size = sizeof(*ret_address);
    *ret_address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)ret_address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
    return fd;
}

static void test_user_reaches_the_host_and_back(void **state)
{
    struct loop *loop;
    struct card card = {0};
    struct sockaddr_in address, from;
    socklen_t from_size = sizeof(from);
    uint8_t router[6], frame[256], text[32] = {0};
    assert_int_equal(loop_new(&loop), 0);
    struct net_backend *backend = open_net("user", loop, &card);
    int fd = bound_socket(SOCK_DGRAM, &address);
    find_router(backend, loop, &card, router);
    size_t size = udp_frame(frame, router, 0x0a000202, ntohs(address.sin_port), "question");
    assert_true(send_frame(backend, frame, size));
    loop_step(loop, 0);
    assert_int_equal(recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &from_size), 8);
    assert_string_equal(text, "question");
    /* An answer finds a card without room first. */
    card.room = 0;
    assert_int_equal(sendto(fd, "answer", 6, 0, (struct sockaddr *)&from, from_size), 6);
    for (unsigned i = 0; i < 10; i++)
        loop_step(loop, 5);
    assert_int_equal(card.count, 0);
    card.room = 10;
    backend->type->resume(backend);
    assert_true(wait_for(loop, &card, 1));
    assert_memory_equal(card.frame + 42, "answer", 6);
    close(fd);
    net_close(backend);
    loop_free(loop);
}

static void test_user_forwards_a_port(void **state)
{
    struct loop *loop;
    struct card card = {0};
    struct sockaddr_in address;
    uint8_t router[6];
    char spec[96];
    int fd = bound_socket(SOCK_STREAM, &address);
    close(fd); /* its port is free now */
    assert_int_equal(loop_new(&loop), 0);
    snprintf(spec, sizeof(spec), "user,hostfwd=tcp:127.0.0.1:%u-10.0.2.15:22", ntohs(address.sin_port));
    struct net_backend *backend = open_net(spec, loop, &card);
    find_router(backend, loop, &card, router);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_true(wait_for(loop, &card, 1)); /* the guest gets a SYN for its port 22 */
    assert_int_equal(card.frame[14 + 9], 6);
    assert_int_equal(card.frame[14 + 20 + 3], 22);
    assert_int_equal(card.frame[14 + 20 + 13] & 0x3f, 2);

    struct net_backend *second = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(net_open(spec, loop, &second, &err), -EADDRINUSE);
    assert_non_null(strstr(err.message, "cannot forward TCP port"));
    assert_null(second);
    close(fd);
    net_close(backend);
    loop_free(loop);
}

static void test_bad_options(void **state)
{
    static const char *const bad[] = {
        "", "wifi", "users", "user,", "user,foo=1", "user,hostfwd=", "user,hostfwd=tcp:1.2.3.4", "user,hostfwd=tcp::22-:",
        "user,hostfwd=tcp::99999-:22", "user,hostfwd=sctp::22-:22", "user,hostfwd=tcp:nowhere:22-:22", "tap=",
        "tap=a-name-that-is-too-long", "bridge=", "fd=", "fd=1", "fd=x", "fd=99999999999"};
    struct loop *loop;
    assert_int_equal(loop_new(&loop), 0);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct net_backend *backend = NULL;
        struct err err = ERR_INIT;
        assert_true(net_open(bad[i], loop, &backend, &err) < 0);
        assert_null(backend);
        assert_true(strlen(err.message) > 20);
    }
    struct net_backend *none = (struct net_backend *)&none;
    assert_int_equal(net_open("none", loop, &none, NULL), 0);
    assert_null(none);
    net_close(NULL);
    loop_free(loop);
}

/* Into a network namespace of our own, or skip: it needs root and the tun module. */
static void enter_namespace(void)
{
    if (access("/dev/net/tun", R_OK | W_OK) < 0 || unshare(CLONE_NEWNET) < 0) {
        print_message("skipped: no tap interfaces here (they need root and /dev/net/tun)\n");
        skip();
    }
}

static int packet_socket(const char *name)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(name)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void test_tap(void **state)
{
    struct loop *loop;
    struct card card = {.wanted = 0x88b5, .skip = NET_HEADER_SIZE, .room = 0};
    uint8_t frame[NET_HEADER_SIZE + 60] = {0}, back[256];
    enter_namespace();
    assert_int_equal(loop_new(&loop), 0);
    struct net_backend *backend = open_net("tap=ferrytest", loop, &card);
    assert_int_equal(backend->header_size, NET_HEADER_SIZE);
    assert_true(backend->offloads & NET_OFFLOAD_TSO4);
    backend->type->set_offloads(backend, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
    int fd = packet_socket("ferrytest");
    memset(frame + NET_HEADER_SIZE, 0xff, 6);
    memcpy(frame + NET_HEADER_SIZE + 6, guest_mac, 6);
    memcpy(frame + NET_HEADER_SIZE + 12, "\x88\xb5payload", 9);

    assert_true(send_frame(backend, frame, sizeof(frame))); /* guest to host */
    do
        assert_true(recv(fd, back, sizeof(back), 0) > 0);
    while (memcmp(back + 12, "\x88\xb5", 2) != 0);
    assert_memory_equal(back, frame + NET_HEADER_SIZE, 60);

    net_announce(backend, guest_mac);
    do
        assert_true(recv(fd, back, sizeof(back), 0) > 0);
    while (memcmp(back + 12, "\x80\x35", 2) != 0);
    assert_memory_equal(back, "\xff\xff\xff\xff\xff\xff\x52\x54\x00\x01\x02\x03", 12);
    assert_memory_equal(back + 14, "\0\1\x08\0\6\4\0\3\x52\x54\x00\x01\x02\x03\0\0\0\0\x52\x54\x00\x01\x02\x03\0\0\0\0", 28);

    assert_int_equal(send(fd, frame + NET_HEADER_SIZE, 60, 0), 60); /* host to guest, without room first */
    for (unsigned i = 0; i < 10; i++)
        loop_step(loop, 5);
    assert_int_equal(card.count, 0);
    card.room = 10;
    backend->type->resume(backend);
    assert_true(wait_for(loop, &card, 1));
    assert_memory_equal(card.frame + NET_HEADER_SIZE, frame + NET_HEADER_SIZE, 60);

    struct net_backend *second = NULL;
    struct err err = ERR_INIT;
    assert_int_equal(net_open("tap=ferrytest", loop, &second, &err), -EBUSY);
    assert_non_null(strstr(err.message, "ferrytest is in use"));
    assert_null(second);
    close(fd);
    net_close(backend);
    assert_int_equal(if_nametoindex("ferrytest"), 0); /* nothing is left behind */
    loop_free(loop);
}

/* Somebody with more rights made the interface and hands its descriptor over. */
static void test_handed_over_tap(void **state)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "ferrygiven"};
    struct loop *loop;
    struct card card = {.room = 10};
    struct net_backend *backend = NULL;
    struct err err = ERR_INIT;
    char spec[32];
    enter_namespace();
    assert_int_equal(loop_new(&loop), 0);
    int other = open("/dev/null", O_RDWR | O_CLOEXEC);
    snprintf(spec, sizeof(spec), "fd=%d", other);
    assert_int_equal(net_open(spec, loop, &backend, &err), -EINVAL);
    assert_non_null(strstr(err.message, "not a tap interface"));
    assert_int_equal(fcntl(other, F_GETFD), -1); /* closed */
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    request.ifr_flags &= ~IFF_VNET_HDR;
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    snprintf(spec, sizeof(spec), "fd=%d", fd);
    assert_int_equal(net_open(spec, loop, &backend, &err), -EINVAL);
    assert_non_null(strstr(err.message, "IFF_VNET_HDR"));
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    request.ifr_flags |= IFF_VNET_HDR;
    assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
    snprintf(spec, sizeof(spec), "fd=%d", fd);
    backend = open_net(spec, loop, &card);
    assert_int_equal(backend->header_size, NET_HEADER_SIZE);
    net_close(backend);
    assert_int_equal(if_nametoindex("ferrygiven"), 0);
    loop_free(loop);
}

static void test_bridge(void **state)
{
    struct loop *loop;
    struct card card = {0};
    struct net_backend *backend = NULL;
    struct err err = ERR_INIT;
    enter_namespace();
    assert_int_equal(loop_new(&loop), 0);
    assert_int_equal(net_open("bridge=br-none", loop, &backend, &err), -ENODEV);
    assert_non_null(strstr(err.message, "br-none"));
    assert_int_equal(net_open("bridge=lo", loop, &backend, &err), -EINVAL);
    assert_non_null(strstr(err.message, "not a bridge"));
    assert_int_equal(if_nametoindex("ferry0"), 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ioctl(fd, SIOCBRADDBR, "br-test") < 0) {
        print_message("skipped: this kernel makes no bridges\n");
        close(fd);
        loop_free(loop);
        skip();
    }
    backend = open_net("bridge=br-test", loop, &card);
    assert_int_not_equal(if_nametoindex("ferry0"), 0);
    net_close(backend);
    assert_int_equal(if_nametoindex("ferry0"), 0);
    close(fd);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user_reaches_the_host_and_back),
        cmocka_unit_test(test_user_forwards_a_port),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_tap),
        cmocka_unit_test(test_handed_over_tap),
        cmocka_unit_test(test_bridge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
