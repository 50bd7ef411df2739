/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: virtio-blk and the transport, with a hostile driver. The image is an anonymous file. */
#include "virtio_fuzz.h"

#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/text.h"
#include "devices/virtio/blk.h"

static int fuzz_make(struct fuzz_machine *machine, const struct virtio_place *place)
{
    struct virtio_blk_device_config config = {.place = *place, .serial = "FUZZ", .queues = 2};
    char path[32];
    int fd = memfd_create("image", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 65536) < 0 || text_format(path, sizeof(path), "/proc/self/fd/%d", fd) < 0)
        return -1;
    int r = block_open(&(struct block_config){.path = path, .no_lock = true}, machine->env.loop, &config.image, NULL);
    return r < 0 ? r : dev_new(&virtio_blk_type, 0, &machine->env, &config, &machine->dev, NULL);
}

static void fuzz_feed(struct fuzz_machine *machine, const uint8_t *data, size_t size)
{
}

size_t fuzz_seed(unsigned index, uint8_t *out, size_t max)
{
    static const uint32_t types[] = {VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,
                                     VIRTIO_BLK_T_GET_ID,  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
    return index < ARRAY_SIZE(types) ? fuzz_chain_seed(out, max, index & 1, types[index]) : 0;
}
