/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net with a backend that records frames. */
#include "virtio_guest.h"

#include <linux/virtio_net.h>

#include "devices/virtio/net.h"

#define HEADER sizeof(struct virtio_net_hdr_v1)

struct wire { /* the backend: what the guest sent, and whether it takes more */
    struct net_backend backend;
    unsigned sent, resumed, offloads;
    bool full;
    size_t size;
    uint8_t frame[NET_FRAME_MAX];
};

struct net_test {
    struct guest *guest;
    struct wire wire;
    struct virtio_net_device_config config;
};

static bool wire_send(struct net_backend *backend, const struct iovec *iov, unsigned count)
{
    struct wire *wire = (struct wire *)backend;
    if (wire->full)
        return false;
    wire->size = 0;
    for (unsigned i = 0; i < count; i++) {
        memcpy(wire->frame + wire->size, iov[i].iov_base, iov[i].iov_len);
        wire->size += iov[i].iov_len;
    }
    wire->sent++;
    return true;
}

static void wire_resume(struct net_backend *backend)
{
    ((struct wire *)backend)->resumed++;
}

static void wire_set_offloads(struct net_backend *backend, unsigned offloads)
{
    ((struct wire *)backend)->offloads = offloads;
}

static const struct net_type wire_type = {
    .name = "wire", .send = wire_send, .resume = wire_resume, .set_offloads = wire_set_offloads};

static const uint8_t mac[6] = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc};

static struct net_test *net_test_new(unsigned header_size)
{
    struct net_test *t = calloc(1, sizeof(*t));
    t->guest = guest_new();
    t->wire.backend = (struct net_backend){
        .type = &wire_type, .header_size = header_size, .offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4};
    t->config.backend = &t->wire.backend;
    memcpy(t->config.mac, mac, 6);
    guest_attach(t->guest, &virtio_net_type, &t->config);
    return t;
}

static int setup(void **state)
{
    *state = net_test_new(0);
    guest_start(((struct net_test *)*state)->guest, ~BIT(VIRTIO_NET_F_CTRL_RX), 3);
    return 0;
}

static int teardown(void **state)
{
    struct net_test *t = *state;
    guest_free(t->guest);
    free(t);
    return 0;
}

static bool arrive(struct net_test *t, const void *frame, size_t size)
{
    assert_non_null(t->wire.backend.receive);
    return t->wire.backend.receive(t->wire.backend.card, frame, size);
}

static uint64_t give_buffer(struct guest *guest, uint32_t size)
{
    struct guest_buffer buffer = {guest_allocate(guest, size), size, true};
    guest_add(guest, 0, &buffer, 1);
    return buffer.address;
}

static uint8_t command(struct guest *guest, uint8_t class, uint8_t cmd, const void *data, uint32_t size)
{
    uint64_t header = guest_allocate(guest, 2 + size), ack = guest_allocate(guest, 1);
    uint8_t *bytes = guest_pointer(guest, header, 2 + size);
    bytes[0] = class;
    bytes[1] = cmd;
    memcpy(bytes + 2, data, size);
    struct guest_buffer buffers[] = {{header, 2, false}, {header + 2, size, false}, {ack, 1, true}};
    guest_transact(guest, 2, buffers, 3);
    return *(uint8_t *)guest_pointer(guest, ack, 1);
}

static void test_config(void **state)
{
    struct net_test *t = *state;
    assert_int_equal(guest_config_read(t->guest, 0, 4), 0x10411af4);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(guest_device_config(t->guest, i, 1), mac[i]);
    assert_int_equal(guest_device_config(t->guest, 6, 2), VIRTIO_NET_S_LINK_UP);
    assert_false(t->guest->features & BIT(VIRTIO_NET_F_CSUM)); /* this backend has no headers */
}

static void test_transmit(void **state)
{
    struct net_test *t = *state;
    uint64_t address = guest_allocate(t->guest, 200);
    memcpy(guest_pointer(t->guest, address + HEADER, 20), "to the other station", 20);
    struct guest_buffer buffers[] = {{address, 4, false}, {address + 4, 10, false}, {address + 14, 186, false}};
    assert_int_equal(guest_transact(t->guest, 1, buffers, 3), 0);
    assert_int_equal(t->wire.sent, 1);
    assert_int_equal(t->wire.size, 200 - HEADER);
    assert_memory_equal(t->wire.frame, "to the other station", 20);
}

static void test_transmit_waits_for_the_backend(void **state)
{
    struct net_test *t = *state;
    struct guest_buffer buffer = {guest_allocate(t->guest, 100), 100, false};
    struct vring_used_elem element;
    t->wire.full = true;
    guest_add(t->guest, 1, &buffer, 1);
    guest_add(t->guest, 1, &buffer, 1);
    guest_notify(t->guest, 1);
    guest_settle(t->guest);
    assert_int_equal(t->wire.sent, 0);
    t->wire.full = false;
    t->wire.backend.writable(t->wire.backend.card);
    assert_true(guest_wait(t->guest, 1, &element));
    assert_true(guest_wait(t->guest, 1, &element));
    assert_int_equal(t->wire.sent, 2);
}

static void test_receive(void **state)
{
    struct net_test *t = *state;
    uint8_t frame[100] = "fedcba a frame of a hundred bytes";
    struct vring_used_elem element;
    uint64_t address = give_buffer(t->guest, 2000);
    assert_true(arrive(t, frame, sizeof(frame)));
    assert_true(guest_wait(t->guest, 0, &element));
    assert_int_equal(element.len, HEADER + 100);
    struct virtio_net_hdr_v1 header;
    memcpy(&header, guest_pointer(t->guest, address, HEADER), HEADER);
    assert_int_equal(header.num_buffers, 1);
    assert_int_equal(header.flags, 0);
    assert_memory_equal(guest_pointer(t->guest, address + HEADER, 100), frame, 100);
    assert_int_equal(t->guest->messages[1], 1);
}

static void test_receive_into_several_buffers(void **state)
{
    struct net_test *t = *state;
    uint8_t frame[1000];
    uint64_t address[3];
    struct vring_used_elem element;
    for (unsigned i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i * 3);
    for (unsigned i = 0; i < 2; i++)
        address[i] = give_buffer(t->guest, 400);
    assert_false(arrive(t, frame, sizeof(frame))); /* no room: nothing is used */
    assert_int_equal(load_le16(guest_pointer(t->guest, t->guest->queue[0].used + 2, 2)), 0);
    address[2] = give_buffer(t->guest, 400);
    guest_notify(t->guest, 0);
    guest_settle(t->guest);
    assert_int_equal(t->wire.resumed, 1);
    assert_true(arrive(t, frame, sizeof(frame)));
    uint32_t expected[] = {400, 400, 212};
    size_t done = 0;
    for (unsigned i = 0; i < 3; i++) {
        size_t skip = i == 0 ? HEADER : 0;
        assert_true(guest_wait(t->guest, 0, &element));
        assert_int_equal(element.len, expected[i]);
        assert_memory_equal(guest_pointer(t->guest, address[i] + skip, expected[i] - skip), frame + done, expected[i] - skip);
        done += expected[i] - skip;
    }
    assert_int_equal(load_le16(guest_pointer(t->guest, address[0] + 10, 2)), 3);
    assert_int_equal(t->guest->messages[1], 1);
}

static void test_without_mergeable_buffers(void **state)
{
    struct net_test *t = net_test_new(0);
    uint8_t frame[1000] = {0};
    struct vring_used_elem element;
    guest_start(t->guest, 0, 2);
    give_buffer(t->guest, 400);
    assert_true(arrive(t, frame, sizeof(frame))); /* too large: lost, and the buffer stays */
    assert_true(arrive(t, frame, 300));
    assert_true(guest_wait(t->guest, 0, &element));
    assert_int_equal(element.len, 300 + HEADER);
    guest_free(t->guest);
    free(t);
}

static void test_headers_of_the_backend_pass_through(void **state)
{
    struct net_test *t = net_test_new(NET_HEADER_SIZE);
    uint8_t frame[100] = {VIRTIO_NET_HDR_F_NEEDS_CSUM, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0, 1, 2, 3};
    struct vring_used_elem element;
    guest_start(t->guest, ~BIT(VIRTIO_NET_F_CTRL_RX), 3);
    assert_true(t->guest->features & BIT(VIRTIO_NET_F_HOST_TSO4));
    assert_false(t->guest->features & BIT(VIRTIO_NET_F_HOST_TSO6));
    assert_int_equal(t->wire.offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
    uint64_t address = give_buffer(t->guest, 200);
    assert_true(arrive(t, frame, sizeof(frame)));
    assert_true(guest_wait(t->guest, 0, &element));
    assert_int_equal(element.len, 100);
    frame[10] = 1; /* num_buffers */
    assert_memory_equal(guest_pointer(t->guest, address, 100), frame, 100);
    struct guest_buffer buffer = {address, 100, false};
    guest_transact(t->guest, 1, &buffer, 1);
    assert_memory_equal(t->wire.frame, frame, 100);
    guest_set_common(t->guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_int_equal(t->wire.offloads, 0);
    guest_free(t->guest);
    free(t);
}

static bool accepted(struct net_test *t, const char *to)
{
    uint8_t frame[60] = {0};
    struct vring_used_elem element;
    memcpy(frame, to, 6);
    give_buffer(t->guest, 100);
    uint16_t before = load_le16(guest_pointer(t->guest, t->guest->queue[0].used + 2, 2));
    assert_true(arrive(t, frame, sizeof(frame)));
    if (load_le16(guest_pointer(t->guest, t->guest->queue[0].used + 2, 2)) == before)
        return false;
    assert_true(guest_wait(t->guest, 0, &element));
    return true;
}

static void test_filter(void **state)
{
    struct net_test *t = net_test_new(0);
    struct guest *guest = t->guest;
    uint8_t on = 1, off = 0;
    uint8_t table[] = {1, 0, 0, 0, 2, 2, 2, 2, 2, 2, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1};
    guest_start(guest, ~UINT64_C(0), 3);
    assert_true(accepted(t, "\x02other"));
    assert_int_equal(command(guest, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), VIRTIO_NET_OK);
    assert_false(accepted(t, "\x02other"));
    assert_true(accepted(t, (const char *)mac));
    assert_true(accepted(t, "\xff\xff\xff\xff\xff\xff"));
    assert_false(accepted(t, "\x01\x00\x5e\x00\x00\x01"));
    assert_int_equal(command(guest, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)), VIRTIO_NET_OK);
    assert_true(accepted(t, "\x01\x00\x5e\x00\x00\x01"));
    assert_true(accepted(t, "\x02\x02\x02\x02\x02\x02"));
    assert_int_equal(command(guest, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, &on, 1), VIRTIO_NET_OK);
    assert_false(accepted(t, "\xff\xff\xff\xff\xff\xff"));
    assert_int_equal(command(guest, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "\x02hello", 6), VIRTIO_NET_OK);
    assert_false(accepted(t, (const char *)mac));
    assert_true(accepted(t, "\x02hello"));
    uint8_t now[6];
    virtio_net_mac(guest->dev, now);
    assert_memory_equal(now, "\x02hello", 6);
    guest_migrate(guest, &virtio_net_type, &t->config);
    assert_true(accepted(t, "\x02hello"));
    assert_false(accepted(t, (const char *)mac));
    guest_free(t->guest);
    free(t);
}

static void test_bad_commands_change_nothing(void **state)
{
    struct net_test *t = *state;
    uint8_t table[4096] = {0xff, 0xff, 0xff, 0xff};
    assert_int_equal(command(t->guest, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 20), VIRTIO_NET_ERR);
    assert_int_equal(command(t->guest, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 3), VIRTIO_NET_ERR);
    assert_int_equal(command(t->guest, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, table, 5), VIRTIO_NET_ERR);
    assert_int_equal(command(t->guest, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, table, 2), VIRTIO_NET_ERR);
    assert_int_equal(command(t->guest, VIRTIO_NET_CTRL_RX, 200, table, 1), VIRTIO_NET_ERR);
    assert_int_equal(command(t->guest, 99, 0, table, 1), VIRTIO_NET_ERR);
    assert_int_equal(command(t->guest, VIRTIO_NET_CTRL_MAC, 0, table, sizeof(table)), VIRTIO_NET_ERR);
    assert_int_equal(guest_status(t->guest) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void test_vlan_filter(void **state)
{
    struct net_test *t = *state;
    struct guest *guest = t->guest;
    uint8_t on = 0, frame[60] = {0};
    memcpy(frame, mac, 6);
    memcpy(frame + 12, "\x81\x00\x00\x05", 4);
    guest_negotiate(guest, ~UINT64_C(0));
    guest_start(guest, ~UINT64_C(0), 3);
    assert_int_equal(command(guest, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), VIRTIO_NET_OK);
    assert_int_equal(command(guest, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\x06\x00", 2), VIRTIO_NET_OK);
    give_buffer(guest, 100);
    assert_true(arrive(t, frame, sizeof(frame)));
    assert_int_equal(load_le16(guest_pointer(guest, guest->queue[0].used + 2, 2)), 0);
    frame[15] = 6;
    assert_true(arrive(t, frame, sizeof(frame)));
    assert_int_equal(load_le16(guest_pointer(guest, guest->queue[0].used + 2, 2)), 1);
}

static void test_announce(void **state)
{
    struct net_test *t = *state;
    struct guest *guest = t->guest;
    uint64_t generation = guest_common(guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
    assert_true(virtio_net_announce(guest->dev));
    assert_int_equal(guest->messages[0], 1);
    assert_int_equal(guest_common(guest, VIRTIO_PCI_COMMON_CFGGENERATION, 1), generation + 1);
    assert_int_equal(guest_device_config(guest, 6, 2), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
    assert_int_equal(command(guest, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 0), VIRTIO_NET_OK);
    assert_int_equal(guest_device_config(guest, 6, 2), VIRTIO_NET_S_LINK_UP);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_false(virtio_net_announce(guest->dev));
}

static void test_the_cable_is_pulled_out_and_plugged_in(void **state)
{
    struct net_test *t = *state;
    struct guest *guest = t->guest;
    struct guest_buffer frame = {guest_allocate(guest, 100), 100, false};
    uint8_t bytes[60] = {0};
    virtio_net_set_link(guest->dev, false);
    assert_int_equal(guest->messages[0], 1);
    assert_int_equal(guest_device_config(guest, 6, 2), 0);
    virtio_net_set_link(guest->dev, false); /* no news, no interrupt */
    assert_int_equal(guest->messages[0], 1);
    give_buffer(guest, 100);
    assert_true(arrive(t, bytes, sizeof(bytes)));
    assert_int_equal(load_le16(guest_pointer(guest, guest->queue[0].used + 2, 2)), 0);
    uint64_t sent = t->wire.sent;
    guest_transact(guest, 1, &frame, 1);
    assert_int_equal(t->wire.sent, sent);
    guest_set_common(guest, VIRTIO_PCI_COMMON_STATUS, 1, 0); /* a guest that starts anew finds it as it was */
    assert_int_equal(guest_device_config(guest, 6, 2), 0);
    guest_start(guest, ~BIT(VIRTIO_NET_F_CTRL_RX), 3);
    virtio_net_set_link(guest->dev, true);
    assert_int_equal(guest_device_config(guest, 6, 2), VIRTIO_NET_S_LINK_UP);
    give_buffer(guest, 100);
    assert_true(arrive(t, bytes, sizeof(bytes)));
    assert_int_equal(load_le16(guest_pointer(guest, guest->queue[0].used + 2, 2)), 1);
}

static void test_without_driver_frames_are_lost_and_stopped_they_wait(void **state)
{
    struct net_test *t = *state;
    uint8_t frame[60] = {0};
    give_buffer(t->guest, 100);
    dev_set_running(t->guest->dev, false);
    assert_false(arrive(t, frame, sizeof(frame)));
    assert_int_equal(load_le16(guest_pointer(t->guest, t->guest->queue[0].used + 2, 2)), 0);
    dev_set_running(t->guest->dev, true);
    assert_int_equal(t->wire.resumed, 1);
    assert_true(arrive(t, frame, sizeof(frame)));
    guest_set_common(t->guest, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    assert_true(arrive(t, frame, sizeof(frame)));
    assert_int_equal(load_le16(guest_pointer(t->guest, t->guest->queue[0].used + 2, 2)), 1);
}

static void test_broken_frames(void **state)
{
    struct net_test *t = *state;
    struct guest_buffer small = {guest_allocate(t->guest, 100), 11, false};
    guest_add(t->guest, 1, &small, 1); /* no room for a header */
    guest_notify(t->guest, 1);
    guest_settle(t->guest);
    assert_true(guest_status(t->guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
    guest_start(t->guest, ~BIT(VIRTIO_NET_F_CTRL_RX), 3);
    small.writable = true; /* the first buffer can't hold the count of buffers */
    small.size = 4;
    guest_add(t->guest, 0, &small, 1);
    give_buffer(t->guest, 1000);
    arrive(t, "0123456789abcdefgh", 18);
    assert_true(guest_status(t->guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
    guest_start(t->guest, ~BIT(VIRTIO_NET_F_CTRL_RX), 3);
    small.writable = false; /* nothing to write to */
    guest_add(t->guest, 0, &small, 1);
    arrive(t, "0123456789abcdefgh", 18);
    assert_true(guest_status(t->guest) & VIRTIO_CONFIG_S_NEEDS_RESET);
    guest_start(t->guest, 0, 2);
    uint64_t sent = t->wire.sent;
    struct guest_buffer big = {0, GUEST_RAM, false}; /* more than any frame: lost */
    guest_transact(t->guest, 1, &big, 1);
    assert_int_equal(t->wire.sent, sent);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_config),
        TEST(test_transmit),
        TEST(test_transmit_waits_for_the_backend),
        TEST(test_receive),
        TEST(test_receive_into_several_buffers),
        cmocka_unit_test(test_without_mergeable_buffers),
        cmocka_unit_test(test_headers_of_the_backend_pass_through),
        cmocka_unit_test(test_filter),
        TEST(test_bad_commands_change_nothing),
        TEST(test_vlan_filter),
        TEST(test_announce),
        TEST(test_the_cable_is_pulled_out_and_plugged_in),
        TEST(test_without_driver_frames_are_lost_and_stopped_they_wait),
        TEST(test_broken_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
