/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: virtio-net with a hostile driver, and frames from a backend with headers. */
#include "virtio_fuzz.h"

#include "devices/virtio/net.h"

static bool drop(struct net_backend *backend, const struct iovec *iov, unsigned count)
{
    static uint8_t frame[NET_FRAME_MAX];
    size_t total = 0;
    for (unsigned i = 0; i < count; i++) {
        memcpy(frame + total, iov[i].iov_base, iov[i].iov_len);
        total += iov[i].iov_len;
    }
    return total % 7 != 0; /* now and then there is no room */
}

static void nothing(struct net_backend *backend)
{
}

static const struct net_type type = {.name = "fuzz", .send = drop, .resume = nothing};
static struct net_backend backend = {
    .type = &type, .header_size = NET_HEADER_SIZE, .offloads = NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6};

static int fuzz_make(struct fuzz_machine *machine, const struct virtio_place *place)
{
    struct virtio_net_device_config config = {.place = *place, .backend = &backend, .mac = {2, 0, 0, 0, 0, 1}};
    return dev_new(&virtio_net_type, 0, &machine->env, &config, &machine->dev, NULL);
}

static void fuzz_feed(struct fuzz_machine *machine, const uint8_t *data, size_t size)
{
    static uint8_t frame[NET_FRAME_MAX];
    memcpy(frame, data, size);
    backend.receive(backend.card, frame, size % 2 == 0 ? size : size * 500);
    backend.writable(backend.card);
    virtio_net_announce(machine->dev);
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    return index < 3 ? fuzz_chain_seed(out, max, index, 0x0000010000000001) : 0;
}
