/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory in KVM's slots (one a region), and its log of dirty pages, by ring or by bitmap.
 *
 * Either way a page is reported to the memory room before KVM is told to watch it again, so a write between the two is
 * reported twice rather than never. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "engine/kvm/internal.h"

/* Slot i holds region i. */
static int set_slot(struct kvm_vm *vm, unsigned slot, bool logging)
{
    const struct memory_region *region = &vm->config.memory->region[slot];
    struct kvm_userspace_memory_region request = {.slot = slot,
                                                  .guest_phys_addr = region->address,
                                                  .memory_size = region->size,
                                                  .userspace_addr = (uintptr_t)region->host};

    if (region->readonly)
        request.flags |= KVM_MEM_READONLY;
    else if (logging)
        request.flags |= KVM_MEM_LOG_DIRTY_PAGES;
    return kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &request);
}

int kvm_slots_set(struct kvm_vm *vm, bool logging, struct err *err)
{
    for (unsigned i = 0; i < vm->config.memory->region_count; i++) {
        int r = set_slot(vm, i, logging);
        if (r < 0)
            return err_set(err, r, "KVM refuses %llu bytes of memory at %#llx: %s",
                           (unsigned long long)vm->config.memory->region[i].size,
                           (unsigned long long)vm->config.memory->region[i].address, strerror(-r));
    }
    return 0;
}

int kvm_dirty_ring_enable(struct kvm_vm *vm)
{
    static const int capabilities[] = {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING};

    for (unsigned i = 0; i < ARRAY_SIZE(capabilities); i++) {
        struct kvm_enable_cap enable = {.cap = (uint32_t)capabilities[i],
                                        .args = {KVM_DIRTY_RING_ENTRIES * sizeof(struct kvm_dirty_gfn)}};
        int bytes_max = kvm_ioctl_value(vm->fd, KVM_CHECK_EXTENSION, (unsigned long)capabilities[i]);

        if (bytes_max >= (int)enable.args[0] && kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &enable) == 0)
            return 0;
    }
    return -ENOTSUP;
}

static void mark(struct kvm_vm *vm, uint32_t slot, uint64_t page)
{
    const struct memory *memory = vm->config.memory;

    /* The high half of a slot number is the address space (SMM's is 1); both show the same memory. */
    slot &= 0xffff;
    if (slot < memory->region_count && page < memory->region[slot].size >> MEMORY_PAGE_SHIFT)
        memory_mark_dirty(vm->config.memory, memory->region[slot].page + page);
}

/* The entry's flags pass ownership: DIRTY from KVM to us, RESET back; acquire and release order its other members. */
static void harvest_vcpu(struct kvm_vcpu *vcpu)
{
    for (;;) {
        struct kvm_dirty_gfn *entry = &vcpu->ring[vcpu->ring_next % KVM_DIRTY_RING_ENTRIES];

        if (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
            return;
        mark(vcpu->vm, entry->slot, entry->offset);
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        vcpu->ring_next++;
    }
}

/* Lock held. */
static int harvest(struct kvm_vm *vm)
{
    int r;

    for (unsigned i = 0; i < ENGINE_CPUS_MAX; i++)
        if (vm->vcpu[i] != NULL && vm->vcpu[i]->ring != NULL)
            harvest_vcpu(vm->vcpu[i]);
    r = kvm_ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, NULL);
    return r < 0 ? r : 0;
}

int kvm_dirty_ring_harvest(struct kvm_vm *vm)
{
    int r;

    pthread_mutex_lock(&vm->lock);
    r = harvest(vm);
    pthread_mutex_unlock(&vm->lock);
    return r;
}

static uint64_t largest_region(const struct memory *memory)
{
    uint64_t largest = 0;

    for (unsigned i = 0; i < memory->region_count; i++)
        if (memory->region[i].size > largest)
            largest = memory->region[i].size;
    return largest;
}

static int sync_region(struct kvm_vm *vm, uint32_t slot)
{
    uint64_t pages = vm->config.memory->region[slot].size >> MEMORY_PAGE_SHIFT;
    struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = vm->dirty_bitmap};
    struct kvm_clear_dirty_log clear = {.slot = slot, .num_pages = (uint32_t)pages, .dirty_bitmap = vm->dirty_bitmap};
    bool any = false;
    int r = kvm_ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log);

    if (r < 0)
        return r;
    for (uint64_t word = 0; word < (pages + 63) / 64; word++) {
        for (uint64_t bits = vm->dirty_bitmap[word]; bits != 0; bits &= bits - 1)
            mark(vm, slot, word * 64 + (unsigned)__builtin_ctzll(bits));
        any |= vm->dirty_bitmap[word] != 0;
    }
    return any && vm->manual_protect ? kvm_ioctl(vm->fd, KVM_CLEAR_DIRTY_LOG, &clear) : 0;
}

/* Lock held. */
static int sync_bitmap(struct kvm_vm *vm)
{
    int r = 0;

    for (unsigned i = 0; r >= 0 && vm->dirty_bitmap != NULL && i < vm->config.memory->region_count; i++)
        if (!vm->config.memory->region[i].readonly)
            r = sync_region(vm, i);
    return r;
}

static int make_bitmap(struct kvm_vm *vm)
{
    uint64_t *bitmap = calloc((largest_region(vm->config.memory) >> MEMORY_PAGE_SHIFT) / 64 + 1, sizeof(uint64_t));

    if (bitmap == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&vm->lock);
    free(vm->dirty_bitmap);
    vm->dirty_bitmap = bitmap;
    pthread_mutex_unlock(&vm->lock);
    return 0;
}

int kvm_dirty_start(struct engine_vm *base, struct err *err)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    int r;

    if (vm->dirty_method == KVM_DIRTY_BITMAP && make_bitmap(vm) < 0)
        return err_set(err, -ENOMEM, "no memory for the log of dirty pages");
    memory_dirty_start(vm->config.memory);
    r = kvm_slots_set(vm, true, err);
    if (r < 0)
        kvm_dirty_stop(base);
    return r;
}

int kvm_dirty_fetch(struct engine_vm *base, uint64_t *ret_bitmap, uint64_t *ret_pages, struct err *err)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    int r;

    /* Under one lock: of pages that another CPU's harvest has marked and not yet reset, this fetch must not take the marks. */
    pthread_mutex_lock(&vm->lock);
    r = vm->dirty_method == KVM_DIRTY_RING ? harvest(vm) : sync_bitmap(vm);
    if (r >= 0)
        *ret_pages = memory_dirty_fetch(vm->config.memory, ret_bitmap);
    pthread_mutex_unlock(&vm->lock);
    return r < 0 ? err_set(err, r, "KVM does not give its log of dirty pages: %s", strerror(-r)) : 0;
}

void kvm_dirty_stop(struct engine_vm *base)
{
    struct kvm_vm *vm = kvm_vm_of(base);

    kvm_slots_set(vm, false, NULL);
    if (vm->dirty_method == KVM_DIRTY_RING)
        kvm_dirty_ring_harvest(vm); /* leaves the rings empty */
    memory_dirty_stop(vm->config.memory);
    pthread_mutex_lock(&vm->lock);
    free(vm->dirty_bitmap);
    vm->dirty_bitmap = NULL;
    pthread_mutex_unlock(&vm->lock);
}
