/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-rng: fills buffers with the host's random bytes. */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "base/bits.h"
#include "devices/virtio/rng.h"

#define QUEUE_SIZE 16
#define BYTES_PER_BUFFER 1024 /* a buffer may come back filled in part (section 5.4.6.1) */

struct rng_state {
    struct virtio_state virtio;
};

struct rng {
    struct virtio virtio;
    struct rng_state state;
};

static const struct field rng_fields[] = {
    FIELD_STRUCT(1, struct rng_state, virtio, virtio_state_fields),
    FIELD_END,
};

static int fill(struct virtio *virtio, const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    uint8_t bytes[BYTES_PER_BUFFER];
    size_t size = chain->writable_size < sizeof(bytes) ? chain->writable_size : sizeof(bytes);
    if (size == 0)
        return -EBADMSG;
    ssize_t n = getrandom(bytes, size, GRND_NONBLOCK);
    return n <= 0 ? 0 : (int)virtqueue_chain_write(queue, chain, 0, bytes, (size_t)n);
}

static bool rng_process(struct virtio *virtio, unsigned number)
{
    return virtio_serve(virtio, number, fill);
}

static const struct virtio_type rng_virtio = {
    .device_id = VIRTIO_ID_RNG,
    .class_code = 0x00ff00,
    .process = rng_process,
};

static int rng_init(struct dev *dev, const void *config, struct err *err)
{
    struct rng *rng = CONTAINER_OF(dev, struct rng, virtio.dev);
    const struct virtio_rng_device_config *c = config;
    return virtio_init(&rng->virtio, &rng_virtio, &rng->state.virtio, &c->place, 0, 1, QUEUE_SIZE, err);
}

static void rng_fini(struct dev *dev)
{
    virtio_fini(CONTAINER_OF(dev, struct virtio, dev));
}

const struct dev_type virtio_rng_type = {
    .name = "virtio-rng",
    .size = sizeof(struct rng),
    .state_offset = offsetof(struct rng, state),
    .state_size = sizeof(struct rng_state),
    .fields = rng_fields,
    .version = 1,
    .init = rng_init,
    .reset = virtio_reset,
    .read = virtio_read,
    .write = virtio_write,
    .check = virtio_check,
    .loaded = virtio_loaded,
    .set_running = virtio_set_running,
    .fini = rng_fini,
};
