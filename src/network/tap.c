/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tap interfaces for the cards of VMs. */
#include "network/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/text.h"
#include "network/link.h"

#define HEADER_SIZE 12 /* of struct virtio_net_hdr_v1 */

static int make_interface(const char *name, struct tap *tap, struct err *err)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int header_size = HEADER_SIZE;
    if (text_format(request.ifr_name, sizeof(request.ifr_name), "%s", name) < 0)
        return err_set(err, -EINVAL, "\"%s\" can't be an interface's name: they have at most %d characters", name,
                       IFNAMSIZ - 1);
    tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap->fd < 0)
        return err_set(err, -errno, "cannot open /dev/net/tun: %s; is the tun module loaded?", strerror(errno));
    if (ioctl(tap->fd, TUNSETIFF, &request) < 0)
        return err_set(err, -errno, "cannot make tap interface %s: %s", name, strerror(errno));
    if (ioctl(tap->fd, TUNSETVNETHDRSZ, &header_size) < 0 || ioctl(tap->fd, TUNSETOFFLOAD, 0UL) < 0)
        return err_set(err, -errno, "tap interface %s can't carry virtio headers: %s", request.ifr_name,
                       strerror(errno));
    memcpy(tap->name, request.ifr_name, IFNAMSIZ);
    return 0;
}

int tap_open(const char *bridge, const char *name, const uint8_t card_mac[static 6], unsigned mtu, struct tap *ret_tap,
             struct err *err)
{
    struct tap tap = {.fd = -1};
    struct link_status status;
    /* A card that begins with fe itself would meet its own address on the bridge. */
    uint8_t mac[6] = {
        card_mac[0] == 0xfe ? 0xfa : 0xfe, card_mac[1], card_mac[2], card_mac[3], card_mac[4], card_mac[5]};
    int r = link_query(bridge, &status, err);
    if (r == 0 && !status.exists)
        r = err_set(err, -ENODEV, "there is no bridge %s on this host", bridge);
    if (r == 0 && status.exists && !status.is_bridge)
        r = err_set(err, -EINVAL, "interface %s is not a bridge", bridge);
    if (r == 0)
        r = make_interface(name == NULL ? "vnet%d" : name, &tap, err);
    if (r == 0)
        r = link_change(tap.name, &(struct link_change){.mac = mac, .mtu = mtu != 0 ? mtu : status.mtu}, err);
    if (r == 0)
        r = link_change(tap.name, &(struct link_change){.master = bridge, .up = true}, err);
    if (r < 0)
        fd_close(&tap.fd);
    else
        *ret_tap = tap;
    return r;
}
