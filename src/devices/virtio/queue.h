/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues (virtio 1.2 section 2.7), device side: take chains of buffers, give them back, interrupt.
 *
 * The rings lie in guest memory and the guest may change them at any time. So: the addresses and the size are frozen
 * while the queue is enabled; each descriptor is copied once and the copy is checked; a chain is at most as long as the
 * queue; every access checks again that it hits RAM. What the rules forbid gives -EBADMSG, and the caller then calls
 * virtio_broken(). */
#ifndef FERRY_DEVICES_VIRTIO_QUEUE_H
#define FERRY_DEVICES_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "state/field.h"

struct memory;

#define VIRTQUEUE_SIZE_MAX 256u
#define VIRTQUEUE_NO_VECTOR 0xffffu

struct virtqueue_state { /* saved */
    uint64_t descriptor_table, available_ring, used_ring; /* guest-physical */
    uint16_t size;
    uint16_t vector;
    uint16_t next_available; /* index of the next chain to take */
    uint16_t next_used;      /* index of the next used element to write */
    uint16_t signalled;      /* next_used when the driver was last considered for an interrupt */
    uint8_t enabled;
};
extern const struct field virtqueue_state_fields[];

struct virtqueue {
    struct virtqueue_state *state;
    struct memory *memory;
    uint16_t size_max;
    bool indirect, event_index; /* negotiated */
};

struct virtqueue_segment {
    uint64_t address; /* guest-physical */
    uint32_t size;    /* bytes, not 0 */
};

/* A chain of buffers: first all that the device reads, then all that it may write. */
struct virtqueue_chain {
    uint16_t head;
    unsigned readable_count, writable_count;
    uint64_t readable_size, writable_size; /* bytes */
    struct virtqueue_segment segment[VIRTQUEUE_SIZE_MAX];
};

void virtqueue_reset(struct virtqueue *queue);

/* Whether size and addresses are possible: a power of two up to the maximum, aligned, whole rings in RAM. */
bool virtqueue_valid(const struct virtqueue *queue, const struct virtqueue_state *state);

/* 1: chain filled; 0: no more; -EBADMSG: the guest broke the rules. Every segment lies in RAM. */
int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *ret_chain);

/* Puts the chain that was popped last back, to be popped again. */
void virtqueue_unpop(struct virtqueue *queue);

/* Takes back the last `chains` chains, which were popped, pushed and not published. */
void virtqueue_rewind(struct virtqueue *queue, unsigned chains);

/* Gives the chain back, `written` bytes of its writable part having been filled. Not visible to the driver until
 * virtqueue_publish(), so that several chains can appear at once. -EBADMSG. */
int virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written);
int virtqueue_publish(struct virtqueue *queue);

/* After pushing: whether the driver wants an interrupt for what was published since the last call. */
bool virtqueue_wants_interrupt(struct virtqueue *queue);

/* Asks the driver to notify when it adds a chain to the now empty queue. True: it has done so meanwhile; look again. */
bool virtqueue_arm(struct virtqueue *queue);

/* Copies between the chain's readable or writable part, from offset on, and data. Returns bytes copied: less than size
 * where the part ends. */
size_t virtqueue_chain_read(const struct virtqueue *queue, const struct virtqueue_chain *chain, uint64_t offset,
                            void *data, size_t size);
size_t virtqueue_chain_write(const struct virtqueue *queue, const struct virtqueue_chain *chain, uint64_t offset,
                             const void *data, size_t size);

/* Host and guest addresses of [offset, offset + size) of the readable or writable part. Returns the number of elements;
 * 0 when there are more than max, or the part is shorter. ret_segments (max of them) may be NULL. */
unsigned virtqueue_chain_map(const struct virtqueue *queue, const struct virtqueue_chain *chain, bool writable,
                             uint64_t offset, uint64_t size, struct iovec *ret_iov,
                             struct virtqueue_segment *ret_segments, unsigned max);

#endif
