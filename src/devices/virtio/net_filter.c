/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receive filter of a network card. */
#include "devices/virtio/net_filter.h"

#include <errno.h>
#include <linux/virtio_net.h>

#include "base/bits.h"
#include "base/err.h"

const struct field net_filter_fields[] = {
    FIELD_ARRAY(1, struct net_filter, mac),
    FIELD(2, struct net_filter, promiscuous),
    FIELD(3, struct net_filter, all_multicast),
    FIELD(4, struct net_filter, all_unicast),
    FIELD(5, struct net_filter, no_multicast),
    FIELD(6, struct net_filter, no_unicast),
    FIELD(7, struct net_filter, no_broadcast),
    FIELD(8, struct net_filter, unicast_overflow),
    FIELD(9, struct net_filter, multicast_overflow),
    FIELD(10, struct net_filter, vlan_filter),
    FIELD(11, struct net_filter, unicast_count),
    FIELD(12, struct net_filter, multicast_count),
    FIELD_ARRAY(13, struct net_filter, unicast),
    FIELD_ARRAY(14, struct net_filter, multicast),
    FIELD_ARRAY(15, struct net_filter, vlan),
    FIELD_END,
};

#define MAC_SIZE 6
#define VLAN_MAX 4095
#define ETHERTYPE_OFFSET 12
#define ETHERTYPE_VLAN 0x8100

/* Until a driver says otherwise everything comes through. */
void net_filter_reset(struct net_filter *filter, const uint8_t mac[static MAC_SIZE])
{
    *filter = (struct net_filter){.promiscuous = true};
    memcpy(filter->mac, mac, MAC_SIZE);
}

static bool in_table(const uint8_t *table, uint32_t count, const uint8_t *mac)
{
    for (uint32_t i = 0; i < count; i++)
        if (memcmp(table + i * MAC_SIZE, mac, MAC_SIZE) == 0)
            return true;
    return false;
}

static unsigned big_endian16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static bool vlan_accepted(const struct net_filter *filter, const uint8_t *frame, size_t size)
{
    if (!filter->vlan_filter || size < ETHERTYPE_OFFSET + 4 || big_endian16(frame + ETHERTYPE_OFFSET) != ETHERTYPE_VLAN)
        return true;
    unsigned vlan = big_endian16(frame + ETHERTYPE_OFFSET + 2) & VLAN_MAX;
    return filter->vlan[vlan / 64] >> vlan % 64 & 1;
}

bool net_filter_accepts(const struct net_filter *filter, const uint8_t *frame, size_t size)
{
    static const uint8_t broadcast[MAC_SIZE] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (size < ETHERTYPE_OFFSET + 2)
        return false;
    if (filter->promiscuous)
        return true;
    if (!vlan_accepted(filter, frame, size))
        return false;
    if (memcmp(frame, broadcast, MAC_SIZE) == 0)
        return !filter->no_broadcast;
    if (frame[0] & 1)
        return !filter->no_multicast && (filter->all_multicast || filter->multicast_overflow ||
                                         in_table(filter->multicast, filter->multicast_count, frame));
    return !filter->no_unicast && (filter->all_unicast || filter->unicast_overflow ||
                                   memcmp(frame, filter->mac, MAC_SIZE) == 0 ||
                                   in_table(filter->unicast, filter->unicast_count, frame));
}

static int set_mode(struct net_filter *filter, uint8_t command, const uint8_t *data, size_t size)
{
    uint8_t *const mode[] = {
        [VIRTIO_NET_CTRL_RX_PROMISC] = &filter->promiscuous, [VIRTIO_NET_CTRL_RX_ALLMULTI] = &filter->all_multicast,
        [VIRTIO_NET_CTRL_RX_ALLUNI] = &filter->all_unicast,  [VIRTIO_NET_CTRL_RX_NOMULTI] = &filter->no_multicast,
        [VIRTIO_NET_CTRL_RX_NOUNI] = &filter->no_unicast,    [VIRTIO_NET_CTRL_RX_NOBCAST] = &filter->no_broadcast,
    };
    if (command >= ARRAY_SIZE(mode) || size != 1)
        return -EINVAL;
    *mode[command] = data[0] != 0;
    return 0;
}

/* One of the two tables: 32 bits of count, then addresses. Returns the bytes it took, or -EINVAL. */
static int take_table(const uint8_t *data, size_t size, uint8_t *table, uint32_t *ret_count, uint8_t *ret_overflow)
{
    if (size < sizeof(uint32_t))
        return -EINVAL;
    uint32_t count = load_le32(data);
    if (count > (size - sizeof(uint32_t)) / MAC_SIZE)
        return -EINVAL;
    *ret_overflow = count > NET_FILTER_ADDRESSES;
    *ret_count = *ret_overflow ? 0 : count;
    memcpy(table, data + sizeof(uint32_t), *ret_count * MAC_SIZE);
    return (int)(sizeof(uint32_t) + count * MAC_SIZE);
}

static int set_tables(struct net_filter *filter, const uint8_t *data, size_t size)
{
    struct net_filter wanted = *filter;
    int n = take_table(data, size, wanted.unicast, &wanted.unicast_count, &wanted.unicast_overflow);
    if (n < 0)
        return n;
    data += n;
    size -= (size_t)n;
    n = take_table(data, size, wanted.multicast, &wanted.multicast_count, &wanted.multicast_overflow);
    if (n < 0 || (size_t)n != size)
        return -EINVAL;
    *filter = wanted;
    return 0;
}

static int set_mac(struct net_filter *filter, uint8_t command, const uint8_t *data, size_t size)
{
    if (command == VIRTIO_NET_CTRL_MAC_TABLE_SET)
        return set_tables(filter, data, size);
    if (command != VIRTIO_NET_CTRL_MAC_ADDR_SET || size != MAC_SIZE)
        return -EINVAL;
    memcpy(filter->mac, data, MAC_SIZE);
    return 0;
}

static int set_vlan(struct net_filter *filter, uint8_t command, const uint8_t *data, size_t size)
{
    if (command > VIRTIO_NET_CTRL_VLAN_DEL || size != sizeof(uint16_t) || load_le16(data) > VLAN_MAX)
        return -EINVAL;
    unsigned vlan = load_le16(data);
    filter->vlan_filter = true;
    if (command == VIRTIO_NET_CTRL_VLAN_ADD)
        filter->vlan[vlan / 64] |= BIT(vlan % 64);
    else
        filter->vlan[vlan / 64] &= ~BIT(vlan % 64);
    return 0;
}

int net_filter_command(struct net_filter *filter, uint8_t class, uint8_t command, const uint8_t *data, size_t size)
{
    switch (class) {
    case VIRTIO_NET_CTRL_RX:
        return set_mode(filter, command, data, size);
    case VIRTIO_NET_CTRL_MAC:
        return set_mac(filter, command, data, size);
    case VIRTIO_NET_CTRL_VLAN:
        return set_vlan(filter, command, data, size);
    default:
        return -EINVAL;
    }
}

int net_filter_check(const struct net_filter *filter, struct err *err)
{
    if (filter->unicast_count > NET_FILTER_ADDRESSES || filter->multicast_count > NET_FILTER_ADDRESSES)
        return err_set(err, -EBADMSG, "the address table has %u and %u entries of at most %d each", filter->unicast_count,
                       filter->multicast_count, NET_FILTER_ADDRESSES);
    return 0;
}
