/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-balloon: pages that the guest gives up become holes in its memory file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>

#include "base/bits.h"
#include "devices/virtio/balloon.h"
#include "memory/memory.h"

enum { INFLATE, DEFLATE, QUEUES };

#define QUEUE_SIZE 128
#define PAGES_PER_CHAIN 16384u /* more in one chain are ignored: drivers send some hundreds */
#define BATCH 256u

struct balloon_state {
    struct virtio_state virtio;
    uint32_t target; /* pages that the guest is asked for */
    uint32_t actual; /* pages that it says it has given */
};

struct balloon {
    struct virtio virtio;
    struct virtio_balloon_device_config config;
    struct balloon_state state;
};

static const struct field balloon_fields[] = {
    FIELD_STRUCT(1, struct balloon_state, virtio, virtio_state_fields),
    FIELD(2, struct balloon_state, target),
    FIELD(3, struct balloon_state, actual),
    FIELD_END,
};

static struct balloon *to_balloon(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct balloon, virtio);
}

/* Pages first..last, if they are RAM of one region. What was there is gone: for the dirty log that is a write. */
static void give_to_host(struct memory *memory, uint32_t first, uint32_t last)
{
    uint64_t address = (uint64_t)first << VIRTIO_BALLOON_PFN_SHIFT;
    uint64_t size = (uint64_t)(last - first + 1) << VIRTIO_BALLOON_PFN_SHIFT;
    const struct memory_region *region = memory_find(memory, address);
    if (memory_pointer(memory, address, size) == NULL)
        return;
    uint64_t offset = region->offset + (address - region->address);
    if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0)
        memory_wrote(memory, address, size);
}

/* Neighbours go together, in whichever direction the driver lists them. */
static void inflate_batch(struct memory *memory, const uint32_t *page, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        uint32_t first = page[i], last = page[i];
        for (i++; i < count; i++) {
            if (last != UINT32_MAX && page[i] == last + 1)
                last++;
            else if (first != 0 && page[i] == first - 1)
                first--;
            else
                break;
        }
        give_to_host(memory, first, last);
    }
}

static int inflate(struct virtio *virtio, const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    uint32_t page[BATCH];
    for (uint64_t done = 0; done < PAGES_PER_CHAIN; done += BATCH) {
        size_t size = virtqueue_chain_read(queue, chain, done * sizeof(page[0]), page, sizeof(page));
        inflate_batch(virtio->dev.env->memory, page, (unsigned)(size / sizeof(page[0])));
        if (size < sizeof(page))
            break;
    }
    return 0;
}

/* Needs nothing: a page comes back when it is touched. */
static int deflate(struct virtio *virtio, const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    return 0;
}

static bool balloon_process(struct virtio *virtio, unsigned number)
{
    return virtio_serve(virtio, number, number == INFLATE ? inflate : deflate);
}

static void set_actual(struct balloon *balloon, uint32_t pages)
{
    if (balloon->state.actual == pages)
        return;
    balloon->state.actual = pages;
    if (balloon->config.changed != NULL)
        balloon->config.changed(balloon->config.ctx, (uint64_t)pages << VIRTIO_BALLOON_PFN_SHIFT);
}

static void balloon_give_up(struct virtio *virtio)
{
    set_actual(to_balloon(virtio), 0);
}

static void balloon_config_read(struct virtio *virtio, unsigned offset, void *data, unsigned size)
{
    const struct balloon *balloon = to_balloon(virtio);
    struct virtio_balloon_config config = {.num_pages = balloon->state.target, .actual = balloon->state.actual};
    memcpy(data, (const char *)&config + offset, size);
}

static void balloon_config_write(struct virtio *virtio, unsigned offset, const void *data, unsigned size)
{
    if (offset == offsetof(struct virtio_balloon_config, actual) && size == sizeof(uint32_t))
        set_actual(to_balloon(virtio), load_le32(data));
}

static const struct virtio_type balloon_virtio = {
    .device_id = VIRTIO_ID_BALLOON,
    .class_code = 0x00ff00,
    .config_size = offsetof(struct virtio_balloon_config, free_page_hint_cmd_id),
    .config_read = balloon_config_read,
    .config_write = balloon_config_write,
    .process = balloon_process,
    .reset = balloon_give_up,
};

static int balloon_init(struct dev *dev, const void *config, struct err *err)
{
    struct balloon *balloon = CONTAINER_OF(dev, struct balloon, virtio.dev);
    balloon->config = *(const struct virtio_balloon_device_config *)config;
    return virtio_init(&balloon->virtio, &balloon_virtio, &balloon->state.virtio, &balloon->config.place,
                       BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM), QUEUES, QUEUE_SIZE, err);
}

static void balloon_fini(struct dev *dev)
{
    virtio_fini(CONTAINER_OF(dev, struct virtio, dev));
}

void virtio_balloon_set_target(struct dev *dev, uint64_t bytes)
{
    struct balloon *balloon = CONTAINER_OF(dev, struct balloon, virtio.dev);
    uint64_t pages = bytes >> VIRTIO_BALLOON_PFN_SHIFT;
    balloon->state.target = pages > UINT32_MAX ? UINT32_MAX : (uint32_t)pages;
    virtio_config_changed(&balloon->virtio);
}

uint64_t virtio_balloon_actual(const struct dev *dev)
{
    const struct balloon *balloon = CONTAINER_OF(dev, const struct balloon, virtio.dev);
    return (uint64_t)balloon->state.actual << VIRTIO_BALLOON_PFN_SHIFT;
}

const struct dev_type virtio_balloon_type = {
    .name = "virtio-balloon",
    .size = sizeof(struct balloon),
    .state_offset = offsetof(struct balloon, state),
    .state_size = sizeof(struct balloon_state),
    .fields = balloon_fields,
    .version = 1,
    .init = balloon_init,
    .reset = virtio_reset,
    .read = virtio_read,
    .write = virtio_write,
    .check = virtio_check,
    .loaded = virtio_loaded,
    .set_running = virtio_set_running,
    .fini = balloon_fini,
};
