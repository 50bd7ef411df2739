/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-console: bytes between two queues and a character backend. */
#include <errno.h>
#include <linux/virtio_console.h>

#include "base/bits.h"
#include "devices/virtio/console.h"

enum { RECEIVE, TRANSMIT, QUEUES };

#define QUEUE_SIZE 64
#define PIECE 4096

struct console_state {
    struct virtio_state virtio;
    uint64_t transmitted; /* bytes of the first waiting transmit buffer that are out already */
    uint16_t columns, rows;
};

struct console {
    struct virtio virtio;
    struct character *character; /* NULL: none */
    uint16_t columns, rows;      /* of the host's side */
    struct console_state state;
};

static const struct field console_fields[] = {
    FIELD_STRUCT(1, struct console_state, virtio, virtio_state_fields),
    FIELD(2, struct console_state, transmitted),
    FIELD(3, struct console_state, columns),
    FIELD(4, struct console_state, rows),
    FIELD_END,
};

static struct console *to_console(struct virtio *virtio)
{
    return CONTAINER_OF(virtio, struct console, virtio);
}

static size_t out(struct console *console, const void *data, size_t size)
{
    return console->character == NULL ? size : console->character->write(console->character, data, size);
}

/* Sends what is left of the chain. If the backend takes no more now, writable() goes on behind what is out. */
static int send(struct virtio *virtio, const struct virtqueue *queue, const struct virtqueue_chain *chain)
{
    struct console *console = to_console(virtio);
    uint8_t piece[PIECE];
    while (console->state.transmitted < chain->readable_size) {
        size_t size = virtqueue_chain_read(queue, chain, console->state.transmitted, piece, sizeof(piece));
        size_t taken = out(console, piece, size);
        console->state.transmitted += taken;
        if (taken < size)
            return -EAGAIN;
        if (size == 0)
            break;
    }
    console->state.transmitted = 0;
    return 0;
}

static bool console_process(struct virtio *virtio, unsigned queue)
{
    struct console *console = to_console(virtio);
    if (queue == TRANSMIT)
        return virtio_serve(virtio, TRANSMIT, send);
    if (console->character != NULL && console->character->resume != NULL)
        console->character->resume(console->character);
    return false;
}

/* One buffer's worth: bytes taken, 0 when there is no buffer, -EBADMSG. */
static int receive(struct virtqueue *queue, const uint8_t *data, size_t size)
{
    struct virtqueue_chain chain;
    int r = virtqueue_pop(queue, &chain);
    if (r == 0 && virtqueue_arm(queue))
        r = virtqueue_pop(queue, &chain);
    if (r <= 0)
        return r;
    size_t taken = virtqueue_chain_write(queue, &chain, 0, data, size < PIECE ? size : PIECE);
    if (taken == 0 || virtqueue_push(queue, chain.head, (uint32_t)taken) < 0)
        return -EBADMSG;
    return (int)taken;
}

static size_t console_input(void *device, const uint8_t *data, size_t size)
{
    struct console *console = device;
    struct virtio *virtio = &console->virtio;
    size_t done = 0;
    while (done < size && virtio_ready(virtio) && virtio->state->queue[RECEIVE].enabled) {
        int n = receive(&virtio->queue[RECEIVE], data + done, size - done);
        if (n < 0)
            virtio_broken(virtio);
        if (n <= 0)
            break;
        done += (size_t)n;
        virtio_complete(virtio, RECEIVE);
    }
    return done;
}

static void console_writable(void *device)
{
    virtio_kick(&((struct console *)device)->virtio, TRANSMIT);
}

static void console_give_up(struct virtio *virtio)
{
    struct console *console = to_console(virtio);
    console->state.transmitted = 0;
    console->state.columns = console->columns;
    console->state.rows = console->rows;
}

static void console_config_read(struct virtio *virtio, unsigned offset, void *data, unsigned size)
{
    const struct console *console = to_console(virtio);
    struct virtio_console_config config = {
        .cols = console->state.columns, .rows = console->state.rows, .max_nr_ports = 1};
    memcpy(data, (const char *)&config + offset, size);
}

/* The emergency register: a byte from a kernel that has no queues yet, or no more (section 5.3.5). */
static void console_config_write(struct virtio *virtio, unsigned offset, const void *data, unsigned size)
{
    if (offset == offsetof(struct virtio_console_config, emerg_wr))
        out(to_console(virtio), data, 1);
}

static const struct virtio_type console_virtio = {
    .device_id = VIRTIO_ID_CONSOLE,
    .class_code = 0x078000,
    .config_size = sizeof(struct virtio_console_config),
    .config_read = console_config_read,
    .config_write = console_config_write,
    .process = console_process,
    .reset = console_give_up,
};

static int console_init(struct dev *dev, const void *config, struct err *err)
{
    struct console *console = CONTAINER_OF(dev, struct console, virtio.dev);
    const struct virtio_console_device_config *c = config;
    uint64_t features = BIT(VIRTIO_CONSOLE_F_EMERG_WRITE) | (c->columns != 0 ? BIT(VIRTIO_CONSOLE_F_SIZE) : 0);
    console->columns = c->columns;
    console->rows = c->rows;
    int r = virtio_init(&console->virtio, &console_virtio, &console->state.virtio, &c->place, features, QUEUES, QUEUE_SIZE,
                        err);
    if (r < 0 || c->character == NULL)
        return r;
    console->character = c->character;
    console->character->device = console;
    console->character->input = console_input;
    console->character->writable = console_writable;
    return 0;
}

static void console_fini(struct dev *dev)
{
    struct console *console = CONTAINER_OF(dev, struct console, virtio.dev);
    if (console->character != NULL) {
        console->character->input = NULL;
        console->character->writable = NULL;
    }
    virtio_fini(&console->virtio);
}

void virtio_console_resize(struct dev *dev, uint16_t columns, uint16_t rows)
{
    struct console *console = CONTAINER_OF(dev, struct console, virtio.dev);
    console->columns = console->state.columns = columns;
    console->rows = console->state.rows = rows;
    virtio_config_changed(&console->virtio);
}

const struct dev_type virtio_console_type = {
    .name = "virtio-console",
    .size = sizeof(struct console),
    .state_offset = offsetof(struct console, state),
    .state_size = sizeof(struct console_state),
    .fields = console_fields,
    .version = 1,
    .init = console_init,
    .reset = virtio_reset,
    .read = virtio_read,
    .write = virtio_write,
    .check = virtio_check,
    .loaded = virtio_loaded,
    .set_running = virtio_set_running,
    .fini = console_fini,
};
