/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues, device side. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>

#include "base/bits.h"
#include "devices/virtio/queue.h"
#include "memory/memory.h"

const struct field virtqueue_state_fields[] = {
    FIELD(1, struct virtqueue_state, descriptor_table),
    FIELD(2, struct virtqueue_state, available_ring),
    FIELD(3, struct virtqueue_state, used_ring),
    FIELD(4, struct virtqueue_state, size),
    FIELD(5, struct virtqueue_state, vector),
    FIELD(6, struct virtqueue_state, next_available),
    FIELD(7, struct virtqueue_state, next_used),
    FIELD(8, struct virtqueue_state, signalled),
    FIELD(9, struct virtqueue_state, enabled),
    FIELD_END,
};

/* Both rings start with 16 bits of flags and 16 of index, and end with the 16-bit event index of the other side. */
#define RING_FLAGS 0
#define RING_INDEX 2
#define RING_ENTRIES 4

static uint64_t available_entry(const struct virtqueue_state *state, unsigned n)
{
    return state->available_ring + RING_ENTRIES + n * sizeof(uint16_t);
}

static uint64_t used_entry(const struct virtqueue_state *state, unsigned n)
{
    return state->used_ring + RING_ENTRIES + n * sizeof(struct vring_used_elem);
}

void virtqueue_reset(struct virtqueue *queue)
{
    *queue->state = (struct virtqueue_state){.size = queue->size_max, .vector = VIRTQUEUE_NO_VECTOR};
}

bool virtqueue_valid(const struct virtqueue *queue, const struct virtqueue_state *state)
{
    uint64_t size = state->size;
    if (!is_power_of_two(size) || size > queue->size_max)
        return false;
    if (state->descriptor_table % VRING_DESC_ALIGN_SIZE || state->available_ring % VRING_AVAIL_ALIGN_SIZE ||
        state->used_ring % VRING_USED_ALIGN_SIZE)
        return false;
    const struct memory *memory = queue->memory;
    return memory_pointer(memory, state->descriptor_table, size * sizeof(struct vring_desc)) != NULL &&
           memory_pointer(memory, state->available_ring, RING_ENTRIES + (size + 1) * sizeof(uint16_t)) != NULL &&
           memory_pointer(memory, state->used_ring,
                          RING_ENTRIES + size * sizeof(struct vring_used_elem) + sizeof(uint16_t)) != NULL;
}

static int add_segment(const struct virtqueue *queue, struct virtqueue_chain *chain, const struct vring_desc *descriptor)
{
    bool writable = (descriptor->flags & VRING_DESC_F_WRITE) != 0;
    if (!writable && chain->writable_count > 0)
        return -EBADMSG;
    if (descriptor->len == 0)
        return 0;
    if (memory_pointer(queue->memory, descriptor->addr, descriptor->len) == NULL)
        return -EBADMSG;
    chain->segment[chain->readable_count + chain->writable_count] =
        (struct virtqueue_segment){.address = descriptor->addr, .size = descriptor->len};
    chain->readable_count += !writable;
    chain->writable_count += writable;
    chain->readable_size += writable ? 0 : descriptor->len;
    chain->writable_size += writable ? descriptor->len : 0;
    return 0;
}

/* The table that a walk goes through: the queue's, then perhaps an indirect one. */
struct table {
    uint64_t address;
    uint32_t entries;
    bool indirect;
};

static int read_descriptor(const struct virtqueue *queue, const struct table *table, uint16_t index,
                           struct vring_desc *ret_descriptor)
{
    uint64_t address = table->address + index * sizeof(*ret_descriptor);
    if (index >= table->entries || memory_read(queue->memory, address, ret_descriptor, sizeof(*ret_descriptor)) < 0)
        return -EBADMSG;
    return 0;
}

/* Sections 2.7.5.3.1 and 2.7.5.3.2: one level, ends the chain, whole descriptors. */
static int enter_indirect(const struct virtqueue *queue, const struct vring_desc *descriptor, struct table *table)
{
    uint32_t entries = descriptor->len / sizeof(struct vring_desc);
    if (!queue->indirect || table->indirect || (descriptor->flags & VRING_DESC_F_NEXT) ||
        descriptor->len % sizeof(struct vring_desc) != 0 || entries == 0 || entries > UINT16_MAX + 1u ||
        memory_pointer(queue->memory, descriptor->addr, descriptor->len) == NULL)
        return -EBADMSG;
    *table = (struct table){.address = descriptor->addr, .entries = entries, .indirect = true};
    return 0;
}

static int walk(const struct virtqueue *queue, struct virtqueue_chain *chain)
{
    struct table table = {.address = queue->state->descriptor_table, .entries = queue->state->size};
    uint16_t index = chain->head;
    /* Every turn is a descriptor of a chain that may have `size` of them: a loop in the chain ends here too. */
    for (unsigned turn = 0; turn <= queue->state->size; turn++) {
        struct vring_desc descriptor;
        int r = read_descriptor(queue, &table, index, &descriptor);
        if (r < 0)
            return r;
        if (descriptor.flags & VRING_DESC_F_INDIRECT) {
            r = enter_indirect(queue, &descriptor, &table);
            index = 0;
        } else {
            r = turn < (unsigned)queue->state->size + table.indirect ? add_segment(queue, chain, &descriptor) : -EBADMSG;
            if (r == 0 && !(descriptor.flags & VRING_DESC_F_NEXT))
                return 0;
            index = descriptor.next;
        }
        if (r < 0)
            return r;
    }
    return -EBADMSG;
}

static int available_index(const struct virtqueue *queue, uint16_t *ret_index)
{
    if (memory_read(queue->memory, queue->state->available_ring + RING_INDEX, ret_index, sizeof(*ret_index)) < 0)
        return -EBADMSG;
    atomic_thread_fence(memory_order_acquire); /* entries are read after the index that covers them */
    return 0;
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *ret_chain)
{
    struct virtqueue_state *state = queue->state;
    uint16_t index, head;
    if (!state->enabled || !virtqueue_valid(queue, state) || available_index(queue, &index) < 0)
        return -EBADMSG;
    uint16_t waiting = (uint16_t)(index - state->next_available);
    /* What is taken and not yet given back is bounded as well: the guest can't offer one buffer twice without end. */
    uint16_t taken = (uint16_t)(state->next_available - state->next_used);
    if (waiting == 0)
        return 0;
    if (waiting > state->size || taken >= state->size)
        return -EBADMSG;
    unsigned slot = state->next_available & (state->size - 1u);
    if (memory_read(queue->memory, available_entry(state, slot), &head, sizeof(head)) < 0)
        return -EBADMSG;
    ret_chain->head = head;
    ret_chain->readable_count = ret_chain->writable_count = 0;
    ret_chain->readable_size = ret_chain->writable_size = 0;
    int r = walk(queue, ret_chain);
    if (r < 0)
        return r;
    state->next_available++;
    return 1;
}

void virtqueue_unpop(struct virtqueue *queue)
{
    queue->state->next_available--;
}

void virtqueue_rewind(struct virtqueue *queue, unsigned chains)
{
    queue->state->next_available = (uint16_t)(queue->state->next_available - chains);
    queue->state->next_used = (uint16_t)(queue->state->next_used - chains);
}

int virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
    struct virtqueue_state *state = queue->state;
    struct vring_used_elem element = {.id = head, .len = written};
    if (!state->enabled || !virtqueue_valid(queue, state))
        return -EBADMSG;
    uint64_t address = used_entry(state, state->next_used & (state->size - 1u));
    if (memory_write(queue->memory, address, &element, sizeof(element)) < 0)
        return -EBADMSG;
    state->next_used++;
    return 0;
}

int virtqueue_publish(struct virtqueue *queue)
{
    const struct virtqueue_state *state = queue->state;
    atomic_thread_fence(memory_order_release); /* elements and data are there before the index says so */
    if (memory_write(queue->memory, state->used_ring + RING_INDEX, &state->next_used, sizeof(state->next_used)) < 0)
        return -EBADMSG;
    return 0;
}

bool virtqueue_wants_interrupt(struct virtqueue *queue)
{
    struct virtqueue_state *state = queue->state;
    uint16_t before = state->signalled, value;
    state->signalled = state->next_used;
    if (before == state->next_used)
        return false;
    /* The index must be out before we look whether the driver waits for it (section 2.7.7.2). */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t address = queue->event_index ? available_entry(state, state->size) : state->available_ring + RING_FLAGS;
    if (memory_read(queue->memory, address, &value, sizeof(value)) < 0)
        return false;
    return queue->event_index ? vring_need_event(value, state->next_used, before)
                              : !(value & VRING_AVAIL_F_NO_INTERRUPT);
}

bool virtqueue_arm(struct virtqueue *queue)
{
    const struct virtqueue_state *state = queue->state;
    uint16_t index;
    if (queue->event_index) {
        uint64_t address = used_entry(state, state->size);
        if (memory_write(queue->memory, address, &state->next_available, sizeof(state->next_available)) < 0)
            return false;
        /* The wish must be out before the last look, or both sides could miss each other (section 2.7.10). */
        atomic_thread_fence(memory_order_seq_cst);
    }
    return available_index(queue, &index) == 0 && index != state->next_available;
}

static size_t chain_copy(const struct virtqueue *queue, const struct virtqueue_chain *chain, bool writable,
                         uint64_t offset, uint8_t *data, size_t size)
{
    const struct virtqueue_segment *segment = chain->segment + (writable ? chain->readable_count : 0);
    unsigned count = writable ? chain->writable_count : chain->readable_count;
    size_t done = 0;
    for (; count > 0 && done < size; count--, segment++) {
        if (offset >= segment->size) {
            offset -= segment->size;
            continue;
        }
        uint64_t left = segment->size - offset, part = left < size - done ? left : size - done;
        int r = writable ? memory_write(queue->memory, segment->address + offset, data + done, part)
                         : memory_read(queue->memory, segment->address + offset, data + done, part);
        if (r < 0)
            break;
        done += part;
        offset = 0;
    }
    return done;
}

size_t virtqueue_chain_read(const struct virtqueue *queue, const struct virtqueue_chain *chain, uint64_t offset,
                            void *data, size_t size)
{
    return chain_copy(queue, chain, false, offset, data, size);
}

size_t virtqueue_chain_write(const struct virtqueue *queue, const struct virtqueue_chain *chain, uint64_t offset,
                             const void *data, size_t size)
{
    return chain_copy(queue, chain, true, offset, (uint8_t *)(uintptr_t)data, size);
}

unsigned virtqueue_chain_map(const struct virtqueue *queue, const struct virtqueue_chain *chain, bool writable,
                             uint64_t offset, uint64_t size, struct iovec *ret_iov,
                             struct virtqueue_segment *ret_segments, unsigned max)
{
    const struct virtqueue_segment *segment = chain->segment + (writable ? chain->readable_count : 0);
    unsigned left = writable ? chain->writable_count : chain->readable_count, count = 0;
    for (; left > 0 && size > 0; left--, segment++) {
        if (offset >= segment->size) {
            offset -= segment->size;
            continue;
        }
        uint64_t part = segment->size - offset < size ? segment->size - offset : size;
        void *host = memory_pointer(queue->memory, segment->address + offset, part);
        if (host == NULL || count == max)
            return 0;
        ret_iov[count] = (struct iovec){.iov_base = host, .iov_len = part};
        if (ret_segments != NULL)
            ret_segments[count] = (struct virtqueue_segment){.address = segment->address + offset, .size = (uint32_t)part};
        count++;
        size -= part;
        offset = 0;
    }
    return size == 0 ? count : 0;
}
