/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The time stamp counter on KVM: its frequency, scaled by the CPU where it can, and its value. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/fd.h"
#include "engine/kvm/internal.h"
#include "x86/cpuid_tsc.h"

#define MSR_TSC 0x10
#define MSR_TSC_DEADLINE 0x6e0

/* Kernels before 5.19 tell the frequency to a vCPU only. */
static int khz_of_a_vcpu(int vm_fd)
{
    int vcpu_fd = kvm_ioctl(vm_fd, KVM_CREATE_VCPU, NULL), khz = vcpu_fd;

    if (vcpu_fd >= 0)
        khz = kvm_ioctl(vcpu_fd, KVM_GET_TSC_KHZ, NULL);
    fd_close(&vcpu_fd);
    return khz;
}

/* Asks a VM made for the question. */
static int read_host_tsc(int system_fd, struct engine_tsc *ret_tsc, struct err *err)
{
    int vm_fd = kvm_ioctl(system_fd, KVM_CREATE_VM, NULL), khz;

    if (vm_fd < 0)
        return err_set(err, vm_fd, "KVM cannot make a VM: %s", strerror(-vm_fd));
    khz = kvm_ioctl(vm_fd, KVM_GET_TSC_KHZ, NULL);
    if (khz <= 0)
        khz = khz_of_a_vcpu(vm_fd);
    *ret_tsc = (struct engine_tsc){.khz = khz > 0 ? (uint32_t)khz : 0,
                                   .scales = kvm_ioctl_value(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0};
    fd_close(&vm_fd);
    return khz > 0 ? 0 : err_set(err, -EIO, "KVM does not know this host's TSC frequency: use --engine dbt");
}

int kvm_host_tsc(struct engine_tsc *ret_tsc, struct err *err)
{
    int fd, r = kvm_open(&fd, err);

    if (r < 0)
        return r;
    r = read_host_tsc(fd, ret_tsc, err);
    fd_close(&fd);
    return r;
}

/* Within the tolerance KVM itself lets a guest's counter run at the host's frequency. Beyond it, without hardware for scaling, it says yes
 * to higher ones and lets the counter leap at every entry: guests can't have that. */
static int check(const struct engine_tsc *host, uint32_t khz, struct err *err)
{
    if (host->scales || cpuid_tsc_is_within(khz, host->khz, CPUID_TSC_TOLERANCE_PPM))
        return 0;
    return err_set(err, -ENOTSUP,
                   "a guest's time stamp counter can't run at %u kHz here: this host's runs at %u kHz, and KVM has no TSC scaling on "
                   "it; use --engine dbt here, or make the VM with --cpu MODEL,tsc-frequency=%llu",
                   khz, host->khz, host->khz * 1000ull);
}

int kvm_tsc_init(struct kvm_vm *vm, struct err *err)
{
    int r = read_host_tsc(vm->system_fd, &vm->host_tsc, err);

    vm->time_stands = true;
    vm->tsc_khz = vm->config.tsc_khz != 0 ? vm->config.tsc_khz : vm->host_tsc.khz;
    return r < 0 ? r : check(&vm->host_tsc, vm->tsc_khz, err);
}

static int set_khz(struct kvm_vcpu *vcpu, uint32_t khz, struct err *err)
{
    int present = kvm_ioctl(vcpu->fd, KVM_GET_TSC_KHZ, NULL), r;

    if (present == (int)khz)
        return 0;
    r = kvm_ioctl_value(vcpu->fd, KVM_SET_TSC_KHZ, khz);
    return r < 0 ? err_set(err, -ENOTSUP, "KVM refuses to run the time stamp counter of CPU %u at %u kHz (the host's runs at %u): %s",
                           vcpu->id, khz, vcpu->vm->host_tsc.khz, strerror(-r))
                 : 0;
}

int kvm_tsc_init_vcpu(struct kvm_vcpu *vcpu, struct err *err)
{
    return set_khz(vcpu, vcpu->vm->tsc_khz, err);
}

uint32_t kvm_tsc_khz(const struct engine_vm *base)
{
    return kvm_vm_of(base)->tsc_khz;
}

static int set_vcpu(struct kvm_vcpu *vcpu, uint32_t khz, struct err *err)
{
    struct cpuid_table table = vcpu->cpuid;
    int r = set_khz(vcpu, khz, err);

    cpuid_set_tsc_khz(&table, khz);
    if (r == 0)
        r = kvm_vcpu_set_cpuid(vcpu, &table, err);
    if (r == 0)
        vcpu->cpuid = table;
    return r;
}

int kvm_tsc_set_khz(struct engine_vm *base, uint32_t khz, struct err *err)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    int r = check(&vm->host_tsc, khz, err);

    if (r < 0 || khz == vm->tsc_khz)
        return r;
    for (unsigned i = 0; r == 0 && i < vm->config.cpus; i++)
        r = vm->vcpu[i] != NULL ? set_vcpu(vm->vcpu[i], khz, err) : 0;
    if (r == 0)
        vm->tsc_khz = khz;
    for (unsigned i = 0; r < 0 && i < vm->config.cpus; i++)
        if (vm->vcpu[i] != NULL)
            set_vcpu(vm->vcpu[i], vm->tsc_khz, NULL);
    return r;
}

uint64_t kvm_vcpu_tsc(struct engine_vcpu *base)
{
    uint64_t tsc = 0;

    kvm_get_msr(kvm_vcpu_of(base), MSR_TSC, &tsc);
    return tsc;
}

/* KVM's timers and counters run on while no vCPU does. A deadline that they met there would come too early once kvm_tsc_set() has put the
 * counter back, so it is taken away; also one that KVM has met and not yet told the guest. */
static void hold_deadlines(struct kvm_vm *vm)
{
    if (vm->time_stands)
        return;
    for (unsigned i = 0; i < vm->config.cpus; i++) {
        struct kvm_vcpu *vcpu = vm->vcpu[i];

        if (vcpu == NULL)
            continue;
        vcpu->deadline = 0;
        kvm_get_msr(vcpu, MSR_TSC_DEADLINE, &vcpu->deadline); /* a CPU without it has none armed */
        if (vcpu->deadline != 0)
            kvm_set_msr(vcpu, MSR_TSC_DEADLINE, 0);
    }
    vm->time_stands = true;
}

static void release_deadlines(struct kvm_vm *vm)
{
    vm->time_stands = false;
    for (unsigned i = 0; i < vm->config.cpus; i++) {
        struct kvm_vcpu *vcpu = vm->vcpu[i];

        if (vcpu != NULL && vcpu->deadline != 0 && kvm_set_msr(vcpu, MSR_TSC_DEADLINE, vcpu->deadline) < 0)
            kvm_refused(vm, KVM_REFUSED_MSR, MSR_TSC_DEADLINE, vcpu->deadline);
    }
}

/* They can only be read one behind the other. Less than a second away from the first one's is the time that this took, or what
 * kvm_tsc_set would make the same anyhow. */
void kvm_tsc_get(struct engine_vm *base, uint64_t *ret_tsc)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    uint64_t first = 0, second = vm->tsc_khz * UINT64_C(1000);

    hold_deadlines(vm);
    for (unsigned i = 0; i < vm->config.cpus; i++) {
        if (vm->vcpu[i] == NULL)
            continue;
        ret_tsc[i] = kvm_vcpu_tsc(&vm->vcpu[i]->base);
        if (i == 0)
            first = ret_tsc[i];
        else if (ret_tsc[i] - first < second || first - ret_tsc[i] < second)
            ret_tsc[i] = first;
    }
}

/* KVM gives values that were meant for the same moment the same offset: it takes writes within a second of each other so. */
void kvm_tsc_set(struct engine_vm *base, const uint64_t *tsc)
{
    struct kvm_vm *vm = kvm_vm_of(base);

    for (unsigned i = 0; i < vm->config.cpus; i++)
        if (vm->vcpu[i] != NULL)
            kvm_set_msr(vm->vcpu[i], MSR_TSC, tsc[i]);
    release_deadlines(vm);
}
