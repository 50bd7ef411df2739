/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The devices that kvm-unit-tests expects. */
#include "devices/pc/testdev.h"

#include <string.h>

#include "base/bits.h"

#define MEMORY_SIZE 65536
#define LINES 24

struct testdev_state {
    uint8_t latch[4];
    uint8_t byte;
    uint8_t memory[MEMORY_SIZE];
};

static const struct field testdev_fields[] = {
    FIELD_ARRAY(1, struct testdev_state, latch),
    FIELD(2, struct testdev_state, byte),
    FIELD_ARRAY(3, struct testdev_state, memory),
    FIELD_END,
};

struct testdev {
    struct dev dev;
    struct testdev_state s;
    struct testdev_config config;
};

static uint64_t load(const uint8_t *bytes, uint64_t offset, uint64_t limit, unsigned size)
{
    uint64_t value = 0;

    if (offset + size <= limit)
        memcpy(&value, bytes + offset, size);
    return value;
}

static void store(uint8_t *bytes, uint64_t offset, uint64_t limit, unsigned size, uint64_t value)
{
    if (offset + size <= limit)
        memcpy(bytes + offset, &value, size);
}

static uint64_t testdev_read(struct dev *dev, unsigned window, uint64_t offset, unsigned size)
{
    struct testdev *t = CONTAINER_OF(dev, struct testdev, dev);

    switch (window) {
    case TESTDEV_WINDOW_LATCH:
        return load(t->s.latch, offset, sizeof(t->s.latch), size);
    case TESTDEV_WINDOW_BYTE:
        return t->s.byte;
    case TESTDEV_WINDOW_MEMORY:
        return load(t->s.memory, offset, MEMORY_SIZE, size);
    default:
        return 0;
    }
}

static void testdev_write(struct dev *dev, unsigned window, uint64_t offset, unsigned size, uint64_t value)
{
    struct testdev *t = CONTAINER_OF(dev, struct testdev, dev);

    switch (window) {
    case TESTDEV_WINDOW_LATCH:
        store(t->s.latch, offset, sizeof(t->s.latch), size, value);
        break;
    case TESTDEV_WINDOW_BYTE:
        t->s.byte = value;
        break;
    case TESTDEV_WINDOW_MEMORY:
        store(t->s.memory, offset, MEMORY_SIZE, size, value);
        break;
    case TESTDEV_WINDOW_EXIT:
        t->config.exit(t->config.ctx, value);
        break;
    case TESTDEV_WINDOW_IRQ:
        if (offset < LINES)
            t->config.set_line(t->config.ctx, offset, (value & 1) != 0);
        break;
    }
}

static int testdev_init(struct dev *dev, const void *config, struct err *err)
{
    CONTAINER_OF(dev, struct testdev, dev)->config = *(const struct testdev_config *)config;
    return 0;
}

static void testdev_reset(struct dev *dev)
{
    struct testdev *t = CONTAINER_OF(dev, struct testdev, dev);

    memset(&t->s, 0, sizeof(t->s));
}

const struct dev_type testdev_type = {
    .name = "testdev",
    .size = sizeof(struct testdev),
    .state_offset = offsetof(struct testdev, s),
    .state_size = sizeof(struct testdev_state),
    .fields = testdev_fields,
    .version = 1,
    .init = testdev_init,
    .reset = testdev_reset,
    .read = testdev_read,
    .write = testdev_write,
};
