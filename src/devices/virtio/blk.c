/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk: each chain becomes one request to the image; data moves between image and guest RAM without a copy. */
#include <errno.h>
#include <linux/virtio_blk.h>

#include "base/bits.h"
#include "base/err.h"
#include "devices/virtio/blk.h"
#include "memory/memory.h"

#define SECTOR_SHIFT 9
#define SECTOR_SIZE 512u
#define QUEUE_SIZE 256
#define SEGMENTS_MAX 126u                /* of data in one request */
#define RANGE_SECTORS_MAX (1u << 21)     /* of one discard or write zeroes: 1 GiB */

struct blk_state {
    struct virtio_state virtio;
};

struct blk {
    struct virtio virtio;
    struct block_image *image;
    char serial[VIRTIO_BLK_ID_BYTES];
    unsigned epoch; /* counts resets: requests of an earlier one are only freed */
    struct blk_state state;
};

/* A request in flight owns everything that its completion needs. */
struct blk_request {
    struct block_request block;
    struct blk *blk;
    unsigned epoch, queue;
    uint16_t head;
    uint64_t status_address;
    uint64_t writable_size;
    unsigned segment_count; /* of guest memory that the image fills */
    struct virtqueue_segment segment[BLOCK_IOV_MAX];
};

static const struct field blk_fields[] = {
    FIELD_STRUCT(1, struct blk_state, virtio, virtio_state_fields),
    FIELD_END,
};

static struct blk *to_blk(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct blk, virtio);
}

static void complete(struct blk_request *request, uint8_t status)
{
    struct blk *blk = request->blk;
    struct virtio *virtio = &blk->virtio;
    struct memory *memory = virtio->dev.env->memory;
    unsigned queue = request->queue;
    uint16_t head = request->head;
    bool stale = request->epoch != blk->epoch;
    /* A failed read has filled nothing that the driver may rely on. */
    uint32_t written = status == VIRTIO_BLK_S_OK || request->writable_size == 1 ? (uint32_t)request->writable_size : 0;
    for (unsigned i = 0; i < request->segment_count; i++)
        memory_wrote(memory, request->segment[i].address, request->segment[i].size);
    if (!stale)
        memory_write(memory, request->status_address, &status, sizeof(status));
    free(request);
    if (stale)
        return;
    if (virtqueue_push(&virtio->queue[queue], head, written) < 0)
        virtio_broken(virtio);
    else
        virtio_complete(virtio, queue);
}

static uint8_t to_status(int result)
{
    return result == 0 ? VIRTIO_BLK_S_OK : result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static void image_done(struct block_request *block)
{
    struct blk_request *request = CONTAINER_OF(block, struct blk_request, block);
    struct blk *blk = request->blk;
    /* A driver that doesn't know about flushing relies on write-through (section 5.2.6.2). */
    if (block->result == 0 && block->operation == BLOCK_WRITE && !virtio_has_feature(&blk->virtio, VIRTIO_BLK_F_FLUSH)) {
        block->operation = BLOCK_FLUSH;
        block->offset = block->size = 0;
        block_submit(blk->image, block);
        return;
    }
    complete(request, to_status(block->result));
}

static void submit(struct blk_request *request, enum block_operation operation, uint64_t offset, uint64_t size)
{
    request->block.operation = operation;
    request->block.offset = offset;
    request->block.size = size;
    request->block.done = image_done;
    block_submit(request->blk->image, &request->block);
}

/* Multiplying by the sector size must not wrap; what lies behind the end of the image is refused by the image. */
static bool sector_possible(const struct blk *blk, uint64_t sector)
{
    return sector <= block_size(blk->image) >> SECTOR_SHIFT;
}

static void transfer(struct blk_request *request, const struct virtqueue *queue, const struct virtqueue_chain *chain,
                     const struct virtio_blk_outhdr *header)
{
    bool read = header->type == VIRTIO_BLK_T_IN;
    uint64_t size = read ? chain->writable_size - 1 : chain->readable_size - sizeof(*header);
    if (size % SECTOR_SIZE != 0 || !sector_possible(request->blk, header->sector)) {
        complete(request, VIRTIO_BLK_S_IOERR);
        return;
    }
    if (size == 0) {
        complete(request, VIRTIO_BLK_S_OK);
        return;
    }
    unsigned count = virtqueue_chain_map(queue, chain, read, read ? 0 : sizeof(*header), size, request->block.iov,
                                         request->segment, BLOCK_IOV_MAX);
    if (count == 0) {
        complete(request, VIRTIO_BLK_S_IOERR);
        return;
    }
    request->block.iov_count = count;
    request->segment_count = read ? count : 0;
    submit(request, read ? BLOCK_READ : BLOCK_WRITE, header->sector << SECTOR_SHIFT, size);
}

static void discard_or_zero(struct blk_request *request, const struct virtqueue *queue,
                            const struct virtqueue_chain *chain, uint32_t type)
{
    struct blk *blk = request->blk;
    struct virtio_blk_discard_write_zeroes range;
    bool discard = type == VIRTIO_BLK_T_DISCARD;
    uint32_t allowed = discard ? 0 : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    size_t at = sizeof(struct virtio_blk_outhdr);
    uint8_t status = VIRTIO_BLK_S_OK;
    if (!virtio_has_feature(&blk->virtio, discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES))
        status = VIRTIO_BLK_S_UNSUPP;
    else if (chain->readable_size != at + sizeof(range))
        status = VIRTIO_BLK_S_IOERR;
    else if (virtqueue_chain_read(queue, chain, at, &range, sizeof(range)) < sizeof(range))
        status = VIRTIO_BLK_S_IOERR;
    else if ((range.flags & ~allowed) != 0)
        status = VIRTIO_BLK_S_UNSUPP;
    else if (range.num_sectors > RANGE_SECTORS_MAX || !sector_possible(blk, range.sector))
        status = VIRTIO_BLK_S_IOERR;
    if (status != VIRTIO_BLK_S_OK) {
        complete(request, status);
        return;
    }
    request->block.unmap = (range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
    submit(request, discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES, range.sector << SECTOR_SHIFT,
           (uint64_t)range.num_sectors << SECTOR_SHIFT);
}

static void get_id(struct blk_request *request, const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    uint64_t size = chain->writable_size - 1;
    if (size > sizeof(request->blk->serial))
        size = sizeof(request->blk->serial);
    virtqueue_chain_write(queue, chain, 0, request->blk->serial, size);
    complete(request, VIRTIO_BLK_S_OK);
}

static void dispatch(struct blk_request *request, const struct virtqueue *queue, const struct virtqueue_chain *chain,
                     const struct virtio_blk_outhdr *header)
{
    switch (header->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        transfer(request, queue, chain, header);
        break;
    case VIRTIO_BLK_T_FLUSH:
        submit(request, BLOCK_FLUSH, 0, 0);
        break;
    case VIRTIO_BLK_T_GET_ID:
        get_id(request, queue, chain);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        discard_or_zero(request, queue, chain, header->type);
        break;
    default:
        complete(request, VIRTIO_BLK_S_UNSUPP);
        break;
    }
}

/* The frame is the device's business, however the driver cut it into descriptors (section 2.7.4): 16 bytes of header
 * first, one byte of status last. Without both of them there is nothing to answer to. */
static int start(struct blk *blk, unsigned number, const struct virtqueue_chain *chain, struct blk_request *request)
{
    const struct virtqueue *queue = &blk->virtio.queue[number];
    struct virtio_blk_outhdr header;
    struct virtqueue_segment status;
    struct iovec unused;
    if (virtqueue_chain_read(queue, chain, 0, &header, sizeof(header)) < sizeof(header) || chain->writable_size == 0 ||
        virtqueue_chain_map(queue, chain, true, chain->writable_size - 1, 1, &unused, &status, 1) != 1)
        return -EBADMSG;
    request->blk = blk;
    request->epoch = blk->epoch;
    request->queue = number;
    request->head = chain->head;
    request->status_address = status.address;
    request->writable_size = chain->writable_size;
    request->segment_count = 0;
    request->block.iov_count = 0;
    request->block.unmap = false;
    dispatch(request, queue, chain, &header);
    return 0;
}

static bool blk_process(struct virtio *virtio, unsigned number)
{
    struct virtqueue *queue = &virtio->queue[number];
    struct virtqueue_chain chain;
    for (unsigned i = 0; i < queue->state->size && virtio_ready(virtio); i++) {
        int r = virtqueue_pop(queue, &chain);
        if (r == 0)
            return virtqueue_arm(queue);
        struct blk_request *request = r > 0 ? malloc(sizeof(*request)) : NULL;
        if (r > 0 && request == NULL) {
            virtqueue_unpop(queue);
            return true;
        }
        if (r > 0)
            r = start(to_blk(virtio), number, &chain, request);
        if (r < 0) {
            free(request);
            virtio_broken(virtio);
            return false;
        }
    }
    return true;
}

/* DMA must have ended when the guest sees its reset done, so this waits for what is in flight. */
static void blk_give_up(struct virtio *virtio)
{
    to_blk(virtio)->epoch++;
    block_drain(to_blk(virtio)->image);
}

static void blk_set_running(struct virtio *virtio, bool running)
{
    if (!running)
        block_drain(to_blk(virtio)->image);
}

static void blk_saving(struct dev *dev)
{
    block_drain(CONTAINER_OF(dev, struct blk, virtio.dev)->image);
}

static void blk_config_read(struct virtio *virtio, unsigned offset, void *data, unsigned size)
{
    struct blk *blk = to_blk(virtio);
    struct virtio_blk_config config = {
        .capacity = block_size(blk->image) >> SECTOR_SHIFT,
        .seg_max = SEGMENTS_MAX,
        .blk_size = SECTOR_SIZE,
        .physical_block_exp = 3, /* pages of 4 KiB are what the host moves best */
        .min_io_size = 8,
        .wce = 1,
        .num_queues = (uint16_t)virtio->queue_count,
        .max_discard_sectors = RANGE_SECTORS_MAX,
        .max_discard_seg = 1,
        .discard_sector_alignment = 8,
        .max_write_zeroes_sectors = RANGE_SECTORS_MAX,
        .max_write_zeroes_seg = 1,
        .write_zeroes_may_unmap = 1,
    };
    memcpy(data, (const char *)&config + offset, size);
}

static const struct virtio_type blk_virtio = {
    .device_id = VIRTIO_ID_BLOCK,
    .class_code = 0x010000,
    .config_size = offsetof(struct virtio_blk_config, max_secure_erase_sectors),
    .config_read = blk_config_read,
    .process = blk_process,
    .reset = blk_give_up,
    .set_running = blk_set_running,
};

static uint64_t offered(const struct block_image *image, unsigned queues)
{
    uint64_t features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
                        BIT(VIRTIO_BLK_F_FLUSH);
    if (block_readonly(image))
        features |= BIT(VIRTIO_BLK_F_RO);
    else
        features |= BIT(VIRTIO_BLK_F_WRITE_ZEROES);
    if (block_can_discard(image))
        features |= BIT(VIRTIO_BLK_F_DISCARD);
    return queues > 1 ? features | BIT(VIRTIO_BLK_F_MQ) : features;
}

static int blk_init(struct dev *dev, const void *config, struct err *err)
{
    struct blk *blk = CONTAINER_OF(dev, struct blk, virtio.dev);
    const struct virtio_blk_device_config *c = config;
    unsigned queues = c->queues == 0 ? 1 : c->queues;
    const char *serial = c->serial == NULL ? "" : c->serial;
    if (queues > VIRTIO_BLK_QUEUES_MAX)
        return err_set(err, -EINVAL, "a virtio disk has at most %d queues, not %u", VIRTIO_BLK_QUEUES_MAX, queues);
    if (strlen(serial) > sizeof(blk->serial))
        return err_set(err, -EINVAL, "disk serial \"%s\" is longer than %zu characters", serial, sizeof(blk->serial));
    memcpy(blk->serial, serial, strlen(serial));
    blk->image = c->image;
    return virtio_init(&blk->virtio, &blk_virtio, &blk->state.virtio, &c->place, offered(c->image, queues), queues,
                       QUEUE_SIZE, err);
}

static void blk_fini(struct dev *dev)
{
    struct blk *blk = CONTAINER_OF(dev, struct blk, virtio.dev);
    if (blk->image != NULL)
        blk_give_up(&blk->virtio);
    virtio_fini(&blk->virtio);
}

const struct dev_type virtio_blk_type = {
    .name = "virtio-blk",
    .size = sizeof(struct blk),
    .state_offset = offsetof(struct blk, state),
    .state_size = sizeof(struct blk_state),
    .fields = blk_fields,
    .version = 1,
    .init = blk_init,
    .reset = virtio_reset,
    .read = virtio_read,
    .write = virtio_write,
    .saving = blk_saving,
    .check = virtio_check,
    .loaded = virtio_loaded,
    .set_running = virtio_set_running,
    .fini = blk_fini,
};
