/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model-specific registers of struct x86_msrs between KVM and us, tolerant of those that a host refuses.
 *
 * A register that can't be read does not exist for the guest: it keeps its reset value, silently. One that can't be
 * written matters only if the value is another: it is noted (kvm_refused), or, where no 64-bit kernel runs without it,
 * an error. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "engine/kvm/internal.h"
#include "x86/state.h"

#define MSR_TSC 0x10
#define WALL_CLOCK_SIZE 12u /* struct pvclock_wall_clock */
#define TSC_SECONDS_MAX 5 /* more may not pass between setting the TSC and reading it */

struct msr_slot {
    uint32_t index;
    uint16_t offset; /* in struct x86_msrs */
    bool essential;
    uint64_t reset;
};

#define OFFSET(member) offsetof(struct x86_msrs, member)
static const struct msr_slot slots[] = {
    {MSR_TSC, OFFSET(tsc), false, 0},
    {0x3a, OFFSET(feature_control), false, 0},
    {0x3b, OFFSET(tsc_adjust), false, 0},
    {0x48, OFFSET(spec_ctrl), false, 0},
    {0x9e, OFFSET(smbase), false, 0x30000},
    {0x174, OFFSET(sysenter_cs), true, 0},
    {0x175, OFFSET(sysenter_esp), true, 0},
    {0x176, OFFSET(sysenter_eip), true, 0},
    {0x17a, OFFSET(mcg_status), false, 0},
    {0x17b, OFFSET(mcg_ctl), false, 0},
    {0x1a0, OFFSET(misc_enable), false, 1},
    {0x1d9, OFFSET(debugctl), false, 0},
    {0x200, OFFSET(mtrr_base[0]), false, 0},
    {0x201, OFFSET(mtrr_mask[0]), false, 0},
    {0x202, OFFSET(mtrr_base[1]), false, 0},
    {0x203, OFFSET(mtrr_mask[1]), false, 0},
    {0x204, OFFSET(mtrr_base[2]), false, 0},
    {0x205, OFFSET(mtrr_mask[2]), false, 0},
    {0x206, OFFSET(mtrr_base[3]), false, 0},
    {0x207, OFFSET(mtrr_mask[3]), false, 0},
    {0x208, OFFSET(mtrr_base[4]), false, 0},
    {0x209, OFFSET(mtrr_mask[4]), false, 0},
    {0x20a, OFFSET(mtrr_base[5]), false, 0},
    {0x20b, OFFSET(mtrr_mask[5]), false, 0},
    {0x20c, OFFSET(mtrr_base[6]), false, 0},
    {0x20d, OFFSET(mtrr_mask[6]), false, 0},
    {0x20e, OFFSET(mtrr_base[7]), false, 0},
    {0x20f, OFFSET(mtrr_mask[7]), false, 0},
    {0x250, OFFSET(mtrr_fixed[0]), false, 0},
    {0x258, OFFSET(mtrr_fixed[1]), false, 0},
    {0x259, OFFSET(mtrr_fixed[2]), false, 0},
    {0x268, OFFSET(mtrr_fixed[3]), false, 0},
    {0x269, OFFSET(mtrr_fixed[4]), false, 0},
    {0x26a, OFFSET(mtrr_fixed[5]), false, 0},
    {0x26b, OFFSET(mtrr_fixed[6]), false, 0},
    {0x26c, OFFSET(mtrr_fixed[7]), false, 0},
    {0x26d, OFFSET(mtrr_fixed[8]), false, 0},
    {0x26e, OFFSET(mtrr_fixed[9]), false, 0},
    {0x26f, OFFSET(mtrr_fixed[10]), false, 0},
    {0x277, OFFSET(pat), true, 0x0007040600070406},
    {0x2ff, OFFSET(mtrr_def_type), false, 0},
    {0x6e1, OFFSET(pkrs), false, 0},
    {0xda0, OFFSET(xss), false, 0},
    {0xc0000081, OFFSET(star), true, 0},
    {0xc0000082, OFFSET(lstar), true, 0},
    {0xc0000083, OFFSET(cstar), true, 0},
    {0xc0000084, OFFSET(sfmask), true, 0},
    {0xc0000102, OFFSET(kernel_gs_base), true, 0},
    {0xc0000103, OFFSET(tsc_aux), false, 0},
    {0xc001011f, OFFSET(virt_spec_ctrl), false, 0},
    {0x4b564d00, OFFSET(kvm_wall_clock), false, 0},
    {0x4b564d01, OFFSET(kvm_system_time), false, 0},
};

struct msr_list { /* struct kvm_msrs with room for all */
    _Alignas(struct kvm_msrs) uint8_t bytes[sizeof(struct kvm_msrs) + ARRAY_SIZE(slots) * sizeof(struct kvm_msr_entry)];
};

/* efer is not among them: it is set with the control registers. */
static uint64_t *member(struct x86_msrs *msrs, const struct msr_slot *slot)
{
    return (uint64_t *)((uint8_t *)msrs + slot->offset);
}

/* KVM handles a list up to the first entry that it refuses, so pass the rest again behind each refusal. done[i]: taken. */
static int transfer(struct kvm_vcpu *vcpu, unsigned long request, struct kvm_msr_entry *all, unsigned count, bool *done)
{
    struct msr_list storage;
    struct kvm_msrs *list = (struct kvm_msrs *)storage.bytes;
    unsigned first = 0;

    while (first < count) {
        int r;

        *list = (struct kvm_msrs){.nmsrs = count - first};
        memcpy(list->entries, all + first, (count - first) * sizeof(all[0]));
        r = kvm_ioctl(vcpu->fd, request, list);
        if (r < 0)
            return r;
        memcpy(all + first, list->entries, (size_t)r * sizeof(all[0]));
        for (int i = 0; i < r; i++)
            done[first + (unsigned)i] = true;
        first += (unsigned)r + 1;
    }
    return 0;
}

int kvm_get_msrs(struct kvm_vcpu *vcpu, struct x86_msrs *ret_msrs, struct err *err)
{
    struct kvm_msr_entry entries[ARRAY_SIZE(slots)] = {0};
    bool done[ARRAY_SIZE(slots)] = {0};
    int r;

    for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
        entries[i].index = slots[i].index;
    r = transfer(vcpu, KVM_GET_MSRS, entries, ARRAY_SIZE(slots), done);
    if (r < 0)
        return err_set(err, r, "KVM does not give the MSRs of CPU %u: %s", vcpu->id, strerror(-r));
    for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
        *member(ret_msrs, &slots[i]) = done[i] ? entries[i].data : slots[i].reset;
    return 0;
}

/* Whether the host keeps the value: some take a write and forget it, and some can't offset the TSC, which runs on. */
static bool is_kept(struct kvm_vcpu *vcpu, const struct msr_slot *slot, bool taken, uint64_t set, uint64_t found)
{
    if (set == slot->reset)
        return true; /* nothing is lost */
    if (slot->index == MSR_TSC)
        return taken && found - set < (uint64_t)vcpu->vm->tsc_khz * 1000 * TSC_SECONDS_MAX;
    return taken && found == set;
}

/* Where the guest has its wall clock KVM writes the time of day as the MSR is set, by a clock that is not yet the VM's. The guest has
 * memory of its own there; only when it sets the MSR itself does it ask for that. */
static int set_but_guest_memory(struct kvm_vcpu *vcpu, struct kvm_msr_entry *entries, unsigned count, uint64_t wall_clock, bool *done)
{
    struct memory *memory = vcpu->vm->config.memory;
    uint8_t page[WALL_CLOCK_SIZE];
    bool there = wall_clock != 0 && memory_read(memory, wall_clock, page, sizeof(page)) == 0;
    int r = transfer(vcpu, KVM_SET_MSRS, entries, count, done);

    if (there)
        memory_write(memory, wall_clock, page, sizeof(page));
    return r;
}

int kvm_set_msrs(struct kvm_vcpu *vcpu, const struct x86_msrs *msrs, struct err *err)
{
    struct kvm_msr_entry entries[ARRAY_SIZE(slots)] = {0};
    bool done[ARRAY_SIZE(slots)] = {0};
    struct x86_msrs set = *msrs, found;
    int r;

    for (unsigned i = 0; i < ARRAY_SIZE(slots); i++)
        entries[i] = (struct kvm_msr_entry){.index = slots[i].index, .data = *member(&set, &slots[i])};
    r = set_but_guest_memory(vcpu, entries, ARRAY_SIZE(slots), msrs->kvm_wall_clock, done);
    if (r < 0)
        return err_set(err, r, "KVM refuses the MSRs of CPU %u: %s", vcpu->id, strerror(-r));
    r = kvm_get_msrs(vcpu, &found, err);
    for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(slots); i++) {
        if (is_kept(vcpu, &slots[i], done[i], entries[i].data, *member(&found, &slots[i])))
            continue;
        if (slots[i].essential)
            return err_set(err, -EINVAL, "KVM refuses the value %#llx for MSR %#x of CPU %u",
                           (unsigned long long)entries[i].data, slots[i].index, vcpu->id);
        kvm_refused(vcpu->vm, KVM_REFUSED_MSR, slots[i].index, entries[i].data);
    }
    return r;
}

int kvm_get_msr(struct kvm_vcpu *vcpu, uint32_t index, uint64_t *ret_value)
{
    struct kvm_msr_entry entry = {.index = index};
    bool done = false;
    int r = transfer(vcpu, KVM_GET_MSRS, &entry, 1, &done);

    if (r < 0)
        return r;
    if (!done)
        return -EINVAL;
    *ret_value = entry.data;
    return 0;
}

int kvm_set_msr(struct kvm_vcpu *vcpu, uint32_t index, uint64_t value)
{
    struct kvm_msr_entry entry = {.index = index, .data = value};
    bool done = false;
    int r = transfer(vcpu, KVM_SET_MSRS, &entry, 1, &done);

    return r < 0 ? r : done ? 0 : -EINVAL;
}
