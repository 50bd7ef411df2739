/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A vCPU on KVM: its file descriptor and mappings, the CPUID that it is given, and its reset state. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "engine/kvm/internal.h"
#include "x86/cpuid.h"
#include "x86/state.h"

static int try_cpuid(struct kvm_vcpu *vcpu, const struct cpuid_table *table)
{
    struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + table->count * sizeof(list->entries[0]));
    int r;

    if (list == NULL)
        return -ENOMEM;
    list->nent = table->count;
    for (unsigned i = 0; i < table->count; i++) {
        const struct cpuid_entry *entry = &table->entry[i];
        list->entries[i] = (struct kvm_cpuid_entry2){.function = entry->leaf,
                                                     .index = entry->subleaf,
                                                     .flags = entry->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                                     .eax = entry->eax,
                                                     .ebx = entry->ebx,
                                                     .ecx = entry->ecx,
                                                     .edx = entry->edx};
    }
    r = kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, list);
    free(list);
    return r;
}

/* Clears the features that are not supported, in the leaves that hold little else. */
static void intersect_entry(struct cpuid_entry *entry, const struct cpuid_entry *limit)
{
    if (entry->leaf != 1 && entry->leaf != 7 && entry->leaf != 0xd && entry->leaf != 0x80000001)
        return;
    if (entry->leaf == 7)
        entry->ebx &= limit->ebx;
    if (entry->leaf == 0xd)
        entry->eax &= limit->eax;
    if (entry->leaf != 0xd || entry->subleaf == 1)
        entry->ecx &= limit->ecx;
    entry->edx &= limit->edx;
}

static void intersect(struct cpuid_table *table, const struct cpuid_table *supported)
{
    for (unsigned i = 0; i < table->count; i++)
        for (unsigned k = 0; k < supported->count; k++)
            if (table->entry[i].leaf == supported->entry[k].leaf &&
                table->entry[i].subleaf == supported->entry[k].subleaf)
                intersect_entry(&table->entry[i], &supported->entry[k]);
}

int kvm_vcpu_set_cpuid(struct kvm_vcpu *vcpu, const struct cpuid_table *table, struct err *err)
{
    struct cpuid_table supported, limited = *table;
    int r = try_cpuid(vcpu, table);

    if (r == 0)
        return 0;
    kvm_refused(vcpu->vm, KVM_REFUSED_CPUID, 0, 0);
    if (kvm_supported_cpuid(&supported, err) < 0)
        return -EIO;
    intersect(&limited, &supported);
    r = try_cpuid(vcpu, &limited);
    if (r < 0)
        return err_set(err, r, "KVM refuses the CPUID table of CPU %u: %s: choose another CPU model", vcpu->id,
                       strerror(-r));
    return 0;
}

static int map_vcpu(struct kvm_vcpu *vcpu, struct err *err)
{
    struct kvm_vm *vm = vcpu->vm;
    void *p = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);

    if (p == MAP_FAILED)
        return err_set(err, -errno, "cannot map CPU %u: %s", vcpu->id, strerror(errno));
    vcpu->run = p;
    if (vm->dirty_method != KVM_DIRTY_RING)
        return 0;
    p = mmap(NULL, KVM_DIRTY_RING_ENTRIES * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd,
             KVM_DIRTY_LOG_PAGE_OFFSET * MEMORY_PAGE_SIZE);
    if (p == MAP_FAILED)
        return err_set(err, -errno, "cannot map the dirty ring of CPU %u: %s", vcpu->id, strerror(errno));
    vcpu->ring = p;
    return 0;
}

static int reset(struct kvm_vcpu *vcpu, struct err *err)
{
    struct x86_state *state = malloc(sizeof(*state));
    int r;

    if (state == NULL)
        return err_set(err, -ENOMEM, "no memory for a CPU's state");
    x86_state_reset(state, vcpu->id == 0);
    r = kvm_vcpu_set_state(&vcpu->base, state, err);
    free(state);
    return r;
}

static int set_up(struct kvm_vcpu *vcpu, const struct cpuid_table *cpuid, struct err *err)
{
    int r = kvm_ioctl_value(vcpu->vm->fd, KVM_CREATE_VCPU, vcpu->id);

    if (r < 0)
        return err_set(err, r, "KVM cannot make CPU %u: %s", vcpu->id, strerror(-r));
    vcpu->fd = r;
    r = map_vcpu(vcpu, err);
    if (r == 0)
        r = kvm_vcpu_set_cpuid(vcpu, cpuid, err);
    if (r == 0)
        r = kvm_tsc_init_vcpu(vcpu, err);
    if (r == 0)
        r = reset(vcpu, err);
    return r;
}

int kvm_vcpu_new(struct engine_vm *base, unsigned id, const struct cpuid_table *cpuid, struct engine_vcpu **ret_vcpu,
                 struct err *err)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    struct kvm_vcpu *vcpu;
    int r;

    if (id >= vm->config.cpus || vm->vcpu[id] != NULL)
        return err_set(err, -EINVAL, "CPU %u is not a new one of %u CPUs", id, vm->config.cpus);
    kvm_install_kick_handler();
    vcpu = calloc(1, sizeof(*vcpu));
    if (vcpu == NULL)
        return err_set(err, -ENOMEM, "no memory for CPU %u", id);
    vcpu->base.type = base->type;
    vcpu->vm = vm;
    vcpu->id = id;
    vcpu->cpuid = *cpuid;
    vcpu->fd = -1;
    r = set_up(vcpu, cpuid, err);
    if (r < 0) {
        kvm_vcpu_free(&vcpu->base);
        return r;
    }
    pthread_mutex_lock(&vm->lock);
    vm->vcpu[id] = vcpu;
    pthread_mutex_unlock(&vm->lock);
    *ret_vcpu = &vcpu->base;
    return 0;
}

void kvm_vcpu_free(struct engine_vcpu *base)
{
    struct kvm_vcpu *vcpu = kvm_vcpu_of(base);

    if (vcpu == NULL)
        return;
    pthread_mutex_lock(&vcpu->vm->lock);
    if (vcpu->vm->vcpu[vcpu->id] == vcpu)
        vcpu->vm->vcpu[vcpu->id] = NULL;
    pthread_mutex_unlock(&vcpu->vm->lock);
    if (vcpu->run != NULL)
        munmap(vcpu->run, vcpu->vm->run_size);
    if (vcpu->ring != NULL)
        munmap(vcpu->ring, KVM_DIRTY_RING_ENTRIES * sizeof(struct kvm_dirty_gfn));
    fd_close(&vcpu->fd);
    free(vcpu);
}

void kvm_vcpu_nmi(struct engine_vcpu *base)
{
    kvm_ioctl(kvm_vcpu_of(base)->fd, KVM_NMI, NULL);
}
