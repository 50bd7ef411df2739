/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a virtio device: status, features, queues, notifications and interrupts. Registers are in transport.c. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/fd.h"
#include "devices/virtio/virtio.h"
#include "event/loop.h"

const struct field virtio_state_fields[] = {
    FIELD_STRUCT(1, struct virtio_state, pci, pci_state_fields),
    FIELD(2, struct virtio_state, driver_features),
    FIELD(3, struct virtio_state, device_feature_select),
    FIELD(4, struct virtio_state, driver_feature_select),
    FIELD(5, struct virtio_state, config_vector),
    FIELD(6, struct virtio_state, queue_select),
    FIELD(7, struct virtio_state, status),
    FIELD(8, struct virtio_state, isr),
    FIELD(9, struct virtio_state, config_generation),
    FIELD_STRUCTS(10, struct virtio_state, queue, virtqueue_state_fields),
    FIELD_END,
};

#define TRANSPORT_FEATURES (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

bool virtio_ready(const struct virtio *virtio)
{
    uint8_t status = virtio->state->status;
    return (status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_NEEDS_RESET) && !virtio->stopped &&
           pci_bus_master(&virtio->function);
}

static void interrupt(struct virtio *virtio, uint8_t reason, uint16_t vector)
{
    if (pci_msix_enabled(&virtio->function)) {
        pci_msix_signal(&virtio->function, vector);
        return;
    }
    virtio->state->isr |= reason;
    pci_set_intx(&virtio->function, true);
}

#define ISR_QUEUE 1

void virtio_complete(struct virtio *virtio, unsigned queue)
{
    if (virtqueue_publish(&virtio->queue[queue]) < 0)
        virtio_broken(virtio);
    else if (virtqueue_wants_interrupt(&virtio->queue[queue]))
        interrupt(virtio, ISR_QUEUE, virtio->state->queue[queue].vector);
}

bool virtio_serve(struct virtio *virtio, unsigned number, virtio_serve_fn *serve)
{
    struct virtqueue *queue = &virtio->queue[number];
    struct virtqueue_chain chain;
    for (unsigned i = 0; i < queue->state->size; i++) {
        int r = virtqueue_pop(queue, &chain);
        if (r == 0)
            return virtqueue_arm(queue);
        if (r > 0)
            r = serve(virtio, queue, &chain);
        if (r == -EAGAIN) {
            virtqueue_unpop(queue);
            return false;
        }
        if (r >= 0)
            r = virtqueue_push(queue, chain.head, (uint32_t)r);
        if (r < 0) {
            virtio_broken(virtio);
            return false;
        }
        virtio_complete(virtio, number);
    }
    return true;
}

void virtio_broken(struct virtio *virtio)
{
    struct virtio_state *state = virtio->state;
    if (state->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    state->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (state->status & VIRTIO_CONFIG_S_DRIVER_OK)
        interrupt(virtio, VIRTIO_PCI_ISR_CONFIG, state->config_vector);
}

void virtio_config_changed(struct virtio *virtio)
{
    virtio->state->config_generation++;
    if (virtio->state->status & VIRTIO_CONFIG_S_DRIVER_OK)
        interrupt(virtio, VIRTIO_PCI_ISR_CONFIG, virtio->state->config_vector);
}

static void process(struct virtio *virtio, unsigned queue)
{
    if (virtio_ready(virtio) && virtio->state->queue[queue].enabled && virtio->type->process(virtio, queue))
        virtio_kick(virtio, queue);
}

static void notified(void *ctx, unsigned events)
{
    struct virtio_notifier *notifier = ctx;
    eventfd_drain(notifier->fd);
    process(notifier->virtio, (unsigned)(notifier - notifier->virtio->notifier));
}

void virtio_kick(struct virtio *virtio, unsigned queue)
{
    if (virtio->dev.env->loop != NULL)
        eventfd_signal(virtio->notifier[queue].fd);
    else
        process(virtio, queue);
}

void virtio_kick_all(struct virtio *virtio)
{
    for (unsigned i = 0; i < virtio->queue_count && virtio_ready(virtio); i++)
        if (virtio->state->queue[i].enabled)
            virtio_kick(virtio, i);
}

static void apply_features(struct virtio *virtio)
{
    for (unsigned i = 0; i < virtio->queue_count; i++) {
        virtio->queue[i].indirect = virtio_has_feature(virtio, VIRTIO_RING_F_INDIRECT_DESC);
        virtio->queue[i].event_index = virtio_has_feature(virtio, VIRTIO_RING_F_EVENT_IDX);
    }
}

static bool features_acceptable(const struct virtio *virtio, uint64_t features)
{
    return (features & ~virtio->features) == 0 && (features & BIT(VIRTIO_F_VERSION_1)) != 0;
}

static void driver_ready(struct virtio *virtio)
{
    if (virtio->type->driver_ready != NULL)
        virtio->type->driver_ready(virtio);
    virtio_kick_all(virtio);
}

/* Section 2.1: bits are only ever added; FEATURES_OK sticks only if the features are ours, DRIVER_OK only after it. */
void virtio_set_status(struct virtio *virtio, uint8_t status)
{
    struct virtio_state *state = virtio->state;
    uint8_t added = status & ~state->status & ~VIRTIO_CONFIG_S_NEEDS_RESET;
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !features_acceptable(virtio, state->driver_features))
        added &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) != 0)
        apply_features(virtio);
    if (!((state->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
        added &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
    state->status |= added;
    if (added & VIRTIO_CONFIG_S_DRIVER_OK)
        driver_ready(virtio);
}

void virtio_enable_queue(struct virtio *virtio, unsigned queue)
{
    struct virtqueue_state *state = &virtio->state->queue[queue];
    if (state->enabled)
        return;
    if (!virtqueue_valid(&virtio->queue[queue], state)) {
        virtio_broken(virtio);
        return;
    }
    state->enabled = true;
    virtio_kick(virtio, queue);
}

void virtio_device_reset(struct virtio *virtio)
{
    struct virtio_state *state = virtio->state;
    state->status = 0; /* first: what the device gives up must not reach the rings */
    if (virtio->type->reset != NULL)
        virtio->type->reset(virtio);
    state->driver_features = 0;
    state->device_feature_select = state->driver_feature_select = 0;
    state->config_vector = VIRTIO_MSI_NO_VECTOR;
    state->queue_select = 0;
    state->isr = 0;
    for (unsigned i = 0; i < virtio->queue_count; i++)
        virtqueue_reset(&virtio->queue[i]);
    apply_features(virtio);
    pci_set_intx(&virtio->function, false);
}

void virtio_reset(struct dev *dev)
{
    struct virtio *virtio = CONTAINER_OF(dev, struct virtio, dev);
    virtio_device_reset(virtio);
    virtio->state->config_generation = 0;
    pci_reset(&virtio->function);
}

static int open_notifiers(struct virtio *virtio, struct err *err)
{
    struct loop *loop = virtio->dev.env->loop;
    for (unsigned i = 0; loop != NULL && i < virtio->queue_count; i++) {
        struct virtio_notifier *notifier = &virtio->notifier[i];
        notifier->virtio = virtio;
        int r = eventfd_new(&notifier->fd);
        if (r == 0)
            r = loop_add(loop, notifier->fd, LOOP_READ, notified, notifier, &notifier->source);
        if (r < 0)
            return err_set(err, r, "cannot make the doorbell of a %s queue: %s", virtio->dev.type->name, strerror(-r));
    }
    return 0;
}

int virtio_init(struct virtio *virtio, const struct virtio_type *type, struct virtio_state *state,
                const struct virtio_place *place, uint64_t features, unsigned queue_count, uint16_t queue_size,
                struct err *err)
{
    virtio->type = type;
    virtio->state = state;
    virtio->doorbells = place->doorbells;
    virtio->features = features | TRANSPORT_FEATURES;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
        virtio->notifier[i].fd = -1;
    if (queue_count > VIRTIO_QUEUES_MAX || queue_size > VIRTQUEUE_SIZE_MAX || !is_power_of_two(queue_size))
        return err_set(err, -EINVAL, "%s can't have %u queues of %u buffers", virtio->dev.type->name, queue_count,
                       queue_size);
    virtio->queue_count = queue_count;
    for (unsigned i = 0; i < queue_count; i++)
        virtio->queue[i] = (struct virtqueue){
            .state = &state->queue[i], .memory = virtio->dev.env->memory, .size_max = queue_size};
    int r = open_notifiers(virtio, err);
    return r < 0 ? r : virtio_transport_init(virtio, place, err);
}

void virtio_fini(struct virtio *virtio)
{
    pci_function_fini(&virtio->function);
    for (unsigned i = 0; i < virtio->queue_count; i++) {
        loop_remove(virtio->notifier[i].source);
        fd_close(&virtio->notifier[i].fd);
    }
}

static int check_queue(const struct virtio *virtio, unsigned i, const struct virtqueue_state *queue, struct err *err)
{
    if (queue->enabled > 1 || (queue->enabled && i >= virtio->queue_count))
        return err_set(err, -EBADMSG, "queue %u can't be enabled", i);
    if (!queue->enabled)
        return 0;
    if (!virtqueue_valid(&virtio->queue[i], queue))
        return err_set(err, -EBADMSG, "queue %u has a size or addresses that this VM can't have", i);
    if ((uint16_t)(queue->next_available - queue->next_used) > queue->size)
        return err_set(err, -EBADMSG, "queue %u has more buffers in use than its size of %u", i, queue->size);
    return 0;
}

int virtio_check(const struct dev *dev, const void *loaded, struct err *err)
{
    const struct virtio *virtio = CONTAINER_OF(dev, const struct virtio, dev);
    const struct virtio_state *state = loaded;
    if ((state->status & VIRTIO_CONFIG_S_FEATURES_OK) && !features_acceptable(virtio, state->driver_features))
        return err_set(err, -EBADMSG, "the guest uses features 0x%llx and this device offers 0x%llx",
                       (unsigned long long)state->driver_features, (unsigned long long)virtio->features);
    if ((state->status & VIRTIO_CONFIG_S_DRIVER_OK) && !(state->status & VIRTIO_CONFIG_S_FEATURES_OK))
        return err_set(err, -EBADMSG, "status 0x%x has a ready driver without agreed features", state->status);
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
        int r = check_queue(virtio, i, &state->queue[i], err);
        if (r < 0)
            return r;
    }
    return pci_check(&virtio->function, &state->pci, err);
}

void virtio_loaded(struct dev *dev)
{
    struct virtio *virtio = CONTAINER_OF(dev, struct virtio, dev);
    apply_features(virtio);
    pci_loaded(&virtio->function);
    if (virtio->state->status & VIRTIO_CONFIG_S_DRIVER_OK)
        driver_ready(virtio);
}

void virtio_set_running(struct dev *dev, bool running)
{
    struct virtio *virtio = CONTAINER_OF(dev, struct virtio, dev);
    if (virtio->type->set_running != NULL)
        virtio->type->set_running(virtio, running);
    virtio->stopped = !running;
    virtio_kick_all(virtio);
}
