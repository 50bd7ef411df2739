/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The firmware configuration port: a selector, and the bytes of the selected number one after the other. */
#include "devices/pc/fw_cfg.h"

#include "base/bits.h"

enum { KEY_MEMORY = 0x03, KEY_CPUS = 0x05, KEY_MEMORY_LIMIT = 0x11 };

struct fw_cfg_state {
    uint16_t key;
    uint32_t position; /* bytes read since the selection */
};

static const struct field fw_cfg_fields[] = {
    FIELD(1, struct fw_cfg_state, key),
    FIELD(2, struct fw_cfg_state, position),
    FIELD_END,
};

struct fw_cfg {
    struct dev dev;
    struct fw_cfg_state s;
    struct fw_cfg_config config;
};

static uint8_t next_byte(struct fw_cfg *f)
{
    uint64_t value = f->s.key == KEY_MEMORY ? f->config.memory : f->s.key == KEY_CPUS ? f->config.cpus : 0;
    uint32_t position = f->s.position;

    if (position >= sizeof(value))
        return 0;
    f->s.position++;
    return value >> (8 * position);
}

static uint64_t fw_cfg_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct fw_cfg *f = CONTAINER_OF(dev, struct fw_cfg, dev);

    return offset == 1 && size == 1 ? next_byte(f) : truncate_to(UINT64_MAX, size);
}

static void fw_cfg_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct fw_cfg *f = CONTAINER_OF(dev, struct fw_cfg, dev);

    if (offset == 0 && size == 2)
        f->s = (struct fw_cfg_state){.key = value};
}

static int fw_cfg_init(struct dev *dev, const void *config, struct err *err)
{
    CONTAINER_OF(dev, struct fw_cfg, dev)->config = *(const struct fw_cfg_config *)config;
    return 0;
}

static void fw_cfg_reset(struct dev *dev)
{
    CONTAINER_OF(dev, struct fw_cfg, dev)->s = (struct fw_cfg_state){0};
}

const struct dev_type fw_cfg_type = {
    .name = "fw-cfg",
    .size = sizeof(struct fw_cfg),
    .state_offset = offsetof(struct fw_cfg, s),
    .state_size = sizeof(struct fw_cfg_state),
    .fields = fw_cfg_fields,
    .version = 1,
    .init = fw_cfg_init,
    .reset = fw_cfg_reset,
    .read = fw_cfg_read,
    .write = fw_cfg_write,
};
