/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-net: frames between two queues and a backend; a receive filter, set by the control queue. */
#include <errno.h>
#include <linux/virtio_net.h>

#include "base/bits.h"
#include "base/err.h"
#include "devices/virtio/net.h"
#include "devices/virtio/net_filter.h"

enum { RECEIVE, TRANSMIT, CONTROL, QUEUES };

#define QUEUE_SIZE 256

struct net_state {
    struct virtio_state virtio;
    struct net_filter filter;
    uint16_t link; /* VIRTIO_NET_S_* */
    uint8_t unplugged; /* 1: the cable is pulled out, and stays so when the guest starts anew */
};

struct net {
    struct virtio virtio;
    struct net_backend *backend; /* NULL: no link */
    uint8_t mac[6];              /* power-on address */
    bool receive_waits;          /* the backend has a frame that found no room */
    struct net_state state;
};

static const struct field net_fields[] = {
    FIELD_STRUCT(1, struct net_state, virtio, virtio_state_fields),
    FIELD_STRUCT(2, struct net_state, filter, net_filter_fields),
    FIELD(3, struct net_state, link),
    FIELD(4, struct net_state, unplugged),
    FIELD_END,
};

static struct net *to_net(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct net, virtio);
}

/* A frame on its way to the guest: header and bytes, as two pieces. */
struct frame {
    struct virtio_net_hdr_v1 header;
    const uint8_t *data;
    size_t size;
};

/* Writes [offset, offset + size) of header and data to the chain's start. */
static size_t write_part(const struct virtqueue *queue, const struct virtqueue_chain *chain, const struct frame *frame,
                         size_t offset)
{
    size_t total = sizeof(frame->header) + frame->size - offset, done = 0;
    if (total > chain->writable_size)
        total = chain->writable_size;
    if (offset < sizeof(frame->header)) {
        size_t size = sizeof(frame->header) - offset;
        done = virtqueue_chain_write(queue, chain, 0, (const uint8_t *)&frame->header + offset, size < total ? size : total);
    }
    if (done < total)
        virtqueue_chain_write(queue, chain, done, frame->data + offset + done - sizeof(frame->header), total - done);
    return total;
}

enum outcome { TAKEN, NO_ROOM, BROKEN };

/* The number of buffers stands in the first one's header and is known last (section 5.1.6.4). */
static int write_buffer_count(const struct virtqueue *queue, const struct virtqueue_chain *first, uint16_t count)
{
    size_t at = offsetof(struct virtio_net_hdr_v1, num_buffers);
    return virtqueue_chain_write(queue, first, at, &count, sizeof(count)) == sizeof(count) ? 0 : -EBADMSG;
}

/* Fills as many buffers as the frame takes; without mergeable buffers that is one, and a frame too large for it is lost. */
static enum outcome fill(struct net *net, struct virtqueue *queue, const struct frame *frame)
{
    struct virtqueue_chain first, other, *chain = &first;
    bool merge = virtio_has_feature(&net->virtio, VIRTIO_NET_F_MRG_RXBUF);
    size_t total = sizeof(frame->header) + frame->size, offset = 0;
    uint16_t count = 0;
    for (; offset < total; chain = &other) {
        int r = virtqueue_pop(queue, chain);
        if (r <= 0) {
            virtqueue_rewind(queue, count);
            return r == 0 ? NO_ROOM : BROKEN;
        }
        if (chain->writable_size == 0)
            return BROKEN;
        if (!merge && chain->writable_size < total) {
            virtqueue_unpop(queue);
            return TAKEN;
        }
        size_t written = write_part(queue, chain, frame, offset);
        if (virtqueue_push(queue, chain->head, (uint32_t)written) < 0)
            return BROKEN;
        offset += written;
        count++;
    }
    return write_buffer_count(queue, &first, count) < 0 ? BROKEN : TAKEN;
}

static enum outcome place(struct net *net, const struct frame *frame)
{
    struct virtqueue *queue = &net->virtio.queue[RECEIVE];
    enum outcome outcome = fill(net, queue, frame);
    if (outcome == NO_ROOM && virtqueue_arm(queue))
        outcome = fill(net, queue, frame); /* buffers came just now */
    if (outcome == TAKEN)
        virtio_complete(&net->virtio, RECEIVE);
    else if (outcome == BROKEN)
        virtio_broken(&net->virtio);
    return outcome;
}

/* A guest without a driver loses frames, as with a cable in a machine that is off; a stopped one keeps them waiting. */
static bool net_receive(void *card, const void *data, size_t size)
{
    struct net *net = card;
    struct frame frame = {.data = data, .size = size};
    unsigned header_size = net->backend->header_size;
    if (net->virtio.stopped) {
        net->receive_waits = true;
        return false;
    }
    if (!virtio_ready(&net->virtio) || !net->state.virtio.queue[RECEIVE].enabled || size < header_size || net->state.unplugged)
        return true;
    memcpy(&frame.header, data, header_size);
    frame.data += header_size;
    frame.size -= header_size;
    if (virtio_has_feature(&net->virtio, VIRTIO_NET_F_CTRL_RX) &&
        !net_filter_accepts(&net->state.filter, frame.data, frame.size))
        return true;
    net->receive_waits = place(net, &frame) == NO_ROOM;
    return !net->receive_waits;
}

static void net_writable(void *card)
{
    virtio_kick(&((struct net *)card)->virtio, TRANSMIT);
}

static bool process_receive(struct net *net)
{
    if (net->receive_waits) {
        net->receive_waits = false;
        net->backend->type->resume(net->backend);
    }
    return false;
}

/* False: the backend takes nothing now. A frame that can't be mapped or is too large is lost. */
static bool send(struct net *net, const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    struct iovec iov[VIRTQUEUE_SIZE_MAX];
    unsigned header_size = net->backend != NULL ? net->backend->header_size : 0;
    uint64_t skip = sizeof(struct virtio_net_hdr_v1) - header_size, size = chain->readable_size - skip;
    if (net->backend == NULL || net->state.unplugged || size > NET_FRAME_MAX)
        return true;
    unsigned count = virtqueue_chain_map(queue, chain, false, skip, size, iov, NULL, ARRAY_SIZE(iov));
    return count == 0 || net->backend->type->send(net->backend, iov, count);
}

static bool process_transmit(struct net *net)
{
    struct virtqueue *queue = &net->virtio.queue[TRANSMIT];
    struct virtqueue_chain chain;
    int r = 1;
    bool blocked = false;
    for (unsigned i = 0; i < queue->state->size && !blocked && virtio_ready(&net->virtio); i++) {
        r = virtqueue_pop(queue, &chain);
        if (r <= 0)
            break;
        r = chain.readable_size < sizeof(struct virtio_net_hdr_v1) ? -EBADMSG : r;
        if (r < 0)
            break;
        blocked = !send(net, queue, &chain);
        if (blocked)
            virtqueue_unpop(queue);
        else
            r = virtqueue_push(queue, chain.head, 0) < 0 ? -EBADMSG : r;
        if (r < 0)
            break;
    }
    if (r < 0) {
        virtio_broken(&net->virtio);
        return false;
    }
    virtio_complete(&net->virtio, TRANSMIT);
    return !blocked && (r > 0 || virtqueue_arm(queue));
}

/* Section 5.1.6.5: class and command, then the command's data; one byte of answer. */
static int control(struct virtio *virtio, const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    struct net *net = to_net(virtio);
    struct virtio_net_ctrl_hdr header;
    uint8_t data[NET_FILTER_COMMAND_MAX], ack = VIRTIO_NET_ERR;
    if (chain->writable_size == 0 || virtqueue_chain_read(queue, chain, 0, &header, sizeof(header)) < sizeof(header))
        return -EBADMSG;
    size_t size = virtqueue_chain_read(queue, chain, sizeof(header), data, sizeof(data));
    if (chain->readable_size - sizeof(header) > sizeof(data))
        ack = VIRTIO_NET_ERR;
    else if (header.class == VIRTIO_NET_CTRL_ANNOUNCE && header.cmd == VIRTIO_NET_CTRL_ANNOUNCE_ACK) {
        net->state.link &= (uint16_t)~VIRTIO_NET_S_ANNOUNCE;
        ack = VIRTIO_NET_OK;
    } else if (net_filter_command(&net->state.filter, header.class, header.cmd, data, size) == 0)
        ack = VIRTIO_NET_OK;
    virtqueue_chain_write(queue, chain, 0, &ack, sizeof(ack));
    return sizeof(ack);
}

static bool net_process(struct virtio *virtio, unsigned queue)
{
    struct net *net = to_net(virtio);
    return queue == RECEIVE    ? process_receive(net)
           : queue == TRANSMIT ? process_transmit(net)
                               : virtio_serve(virtio, CONTROL, control);
}

static void set_offloads(struct net *net)
{
    unsigned offloads = (virtio_has_feature(&net->virtio, VIRTIO_NET_F_GUEST_CSUM) ? NET_OFFLOAD_CSUM : 0) |
                        (virtio_has_feature(&net->virtio, VIRTIO_NET_F_GUEST_TSO4) ? NET_OFFLOAD_TSO4 : 0) |
                        (virtio_has_feature(&net->virtio, VIRTIO_NET_F_GUEST_TSO6) ? NET_OFFLOAD_TSO6 : 0);
    if (net->backend != NULL && net->backend->type->set_offloads != NULL)
        net->backend->type->set_offloads(net->backend, offloads);
}

static void net_driver_ready(struct virtio *virtio)
{
    set_offloads(to_net(virtio));
}

static void net_give_up(struct virtio *virtio)
{
    struct net *net = to_net(virtio);
    virtio->state->driver_features = 0;
    set_offloads(net);
    net_filter_reset(&net->state.filter, net->mac);
    net->state.link = net->backend != NULL && !net->state.unplugged ? VIRTIO_NET_S_LINK_UP : 0;
    if (net->receive_waits) { /* what waited is lost, and the backend reads on */
        net->receive_waits = false;
        net->backend->type->resume(net->backend);
    }
}

static void net_set_running(struct virtio *virtio, bool running)
{
    struct net *net = to_net(virtio);
    /* Nobody notifies a queue after a stop: what waits is fetched from here, once the device runs again. */
    if (running && net->receive_waits) {
        virtio->stopped = false;
        process_receive(net);
    }
}

static void net_config_read(struct virtio *virtio, unsigned offset, void *data, unsigned size)
{
    struct net *net = to_net(virtio);
    struct virtio_net_config config = {.status = net->state.link, .max_virtqueue_pairs = 1};
    memcpy(config.mac, net->state.filter.mac, sizeof(config.mac));
    memcpy(data, (const char *)&config + offset, size);
}

static const struct virtio_type net_virtio = {
    .device_id = VIRTIO_ID_NET,
    .class_code = 0x020000,
    .config_size = offsetof(struct virtio_net_config, mtu),
    .config_read = net_config_read,
    .process = net_process,
    .driver_ready = net_driver_ready,
    .reset = net_give_up,
    .set_running = net_set_running,
};

static uint64_t offered(const struct net_backend *backend)
{
    uint64_t features = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
                        BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
                        BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);
    unsigned offloads = backend != NULL && backend->header_size > 0 ? backend->offloads : 0;
    if (!(offloads & NET_OFFLOAD_CSUM))
        return features; /* segmentation needs it (section 5.1.3.1) */
    features |= BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM);
    if (offloads & NET_OFFLOAD_TSO4)
        features |= BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO4);
    if (offloads & NET_OFFLOAD_TSO6)
        features |= BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_GUEST_TSO6);
    return features;
}

static int net_init(struct dev *dev, const void *config, struct err *err)
{
    struct net *net = CONTAINER_OF(dev, struct net, virtio.dev);
    const struct virtio_net_device_config *c = config;
    if (c->mac[0] & 1)
        return err_set(err, -EINVAL, "a network card's address can't be a group address (first byte 0x%02x is odd)", c->mac[0]);
    memcpy(net->mac, c->mac, sizeof(net->mac));
    int r = virtio_init(&net->virtio, &net_virtio, &net->state.virtio, &c->place, offered(c->backend), QUEUES, QUEUE_SIZE,
                        err);
    if (r < 0)
        return r;
    net->backend = c->backend;
    if (net->backend != NULL)
        net_attach(net->backend, net, net_receive, net_writable);
    return 0;
}

static int net_check(const struct dev *dev, const void *state, struct err *err)
{
    const struct net_state *loaded = state;
    int r = net_filter_check(&loaded->filter, err);
    if (r == 0 && (loaded->link & ~(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE)) != 0)
        r = err_set(err, -EBADMSG, "link status 0x%x does not exist", loaded->link);
    if (r == 0 && loaded->unplugged > 1)
        r = err_set(err, -EBADMSG, "the cable is neither in nor out: %u", loaded->unplugged);
    return r < 0 ? r : virtio_check(dev, &loaded->virtio, err);
}

static void net_fini(struct dev *dev)
{
    struct net *net = CONTAINER_OF(dev, struct net, virtio.dev);
    if (net->backend != NULL)
        net_attach(net->backend, NULL, NULL, NULL);
    virtio_fini(&net->virtio);
}

bool virtio_net_announce(struct dev *dev)
{
    struct net *net = CONTAINER_OF(dev, struct net, virtio.dev);
    if (!(net->state.virtio.status & VIRTIO_CONFIG_S_DRIVER_OK) ||
        !virtio_has_feature(&net->virtio, VIRTIO_NET_F_GUEST_ANNOUNCE))
        return false;
    net->state.link |= VIRTIO_NET_S_ANNOUNCE;
    virtio_config_changed(&net->virtio);
    return true;
}

void virtio_net_set_link(struct dev *dev, bool up)
{
    struct net *net = CONTAINER_OF(dev, struct net, virtio.dev);
    if (net->state.unplugged == !up)
        return;
    net->state.unplugged = !up;
    net->state.link &= (uint16_t)~VIRTIO_NET_S_LINK_UP;
    if (up && net->backend != NULL)
        net->state.link |= VIRTIO_NET_S_LINK_UP;
    virtio_config_changed(&net->virtio);
}

void virtio_net_mac(const struct dev *dev, uint8_t ret_mac[static 6])
{
    memcpy(ret_mac, CONTAINER_OF(dev, const struct net, virtio.dev)->state.filter.mac, 6);
}

const struct dev_type virtio_net_type = {
    .name = "virtio-net",
    .size = sizeof(struct net),
    .state_offset = offsetof(struct net, state),
    .state_size = sizeof(struct net_state),
    .fields = net_fields,
    .version = 1,
    .init = net_init,
    .reset = virtio_reset,
    .read = virtio_read,
    .write = virtio_write,
    .check = net_check,
    .loaded = virtio_loaded,
    .set_running = virtio_set_running,
    .fini = net_fini,
};
