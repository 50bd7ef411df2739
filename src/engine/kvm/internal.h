/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this room share: the VM and the vCPU as KVM's file descriptors, and the functions between the files. */
#ifndef FERRY_ENGINE_KVM_INTERNAL_H
#define FERRY_ENGINE_KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/cpuid.h"
#include "x86/state.h"

#define KVM_DIRTY_RING_ENTRIES 4096u /* per vCPU; 16 bytes each */
#define KVM_REFUSALS_MAX 32

enum kvm_dirty_method { KVM_DIRTY_NONE, KVM_DIRTY_BITMAP, KVM_DIRTY_RING };

/* Something that the host would not take, and the first value with which it refused. */
struct kvm_refusal {
    enum kvm_refused { KVM_REFUSED_MSR, KVM_REFUSED_CPUID } what;
    uint32_t number; /* MSR, or CPUID leaf */
    uint64_t value;
};

struct kvm_route { /* an MSI route with the eventfd that raises it */
    int fd;        /* -1: free */
    uint64_t address;
    uint32_t data;
};

struct kvm_vcpu;

struct kvm_vm {
    struct engine_vm base;
    struct engine_config config;
    int system_fd, fd;
    unsigned capabilities;
    uint32_t tsc_khz; /* what guests are told */
    bool time_stands; /* deadlines of local APICs wait in kvm_vcpu.deadline for kvm_tsc_set() */
    struct engine_tsc host_tsc;
    size_t run_size; /* bytes of a vCPU's kvm_run mapping */
    size_t xsave_size;
    enum kvm_dirty_method dirty_method;
    bool manual_protect; /* bitmap: KVM_GET_DIRTY_LOG leaves the pages unprotected until KVM_CLEAR_DIRTY_LOG */

    pthread_mutex_t lock; /* everything below */
    struct kvm_vcpu *vcpu[ENGINE_CPUS_MAX];
    struct kvm_route *route;
    unsigned route_count, routes_max;
    uint64_t *dirty_bitmap; /* room for the largest region, while logging by bitmap */
    struct kvm_refusal refusal[KVM_REFUSALS_MAX];
    unsigned refusal_count;
};

struct kvm_statistics { /* written by the vCPU's thread alone */
    _Atomic uint64_t runs, port_exits, mmio_exits, kicks, dirty_ring_full;
};

struct kvm_vcpu {
    struct engine_vcpu base;
    struct kvm_vm *vm;
    unsigned id;
    int fd;
    struct kvm_run *run;
    struct cpuid_table cpuid; /* as asked for */
    uint64_t deadline; /* of the local APIC's timer, in TSC ticks, while the VM's time stands; 0: none */
    struct kvm_dirty_gfn *ring; /* NULL unless logging is by ring */
    uint32_t ring_next;
    _Atomic bool kicked;
    _Atomic int thread; /* kernel thread ID while inside vcpu_run, else 0 */
    struct kvm_statistics statistics;
};

static inline struct kvm_vm *kvm_vm_of(const struct engine_vm *vm)
{
    return (struct kvm_vm *)vm;
}

static inline struct kvm_vcpu *kvm_vcpu_of(const struct engine_vcpu *vcpu)
{
    return (struct kvm_vcpu *)vcpu;
}

/* host.c: the host's KVM as a whole. */

/* Opens /dev/kvm and checks version and the capabilities without which this engine can't work. -ENODEV, -EACCES, -ENOTSUP. */
int kvm_open(int *ret_fd, struct err *err);
/* ioctl that starts again when a signal cut it short; 0 or more, or -errno. */
int kvm_ioctl(int fd, unsigned long request, void *argument);
int kvm_ioctl_value(int fd, unsigned long request, unsigned long argument);
int kvm_supported_cpuid(struct cpuid_table *ret_table, struct err *err);
/* The same, of what a host's KVM_GET_SUPPORTED_CPUID said; tsc_deadline: it has KVM_CAP_TSC_DEADLINE_TIMER. */
void kvm_cpuid_offered(const struct kvm_cpuid2 *list, bool tsc_deadline, struct cpuid_table *ret_table);
void kvm_probe(struct engine_probe *ret_probe);

/* vm.c */
/* Notes a refusal, once for each kind and number. */
void kvm_refused(struct kvm_vm *vm, enum kvm_refused what, uint32_t number, uint64_t value);
int kvm_clock_get(struct engine_vm *base, uint64_t *ret_ns);

/* vcpu.c */
int kvm_vcpu_new(struct engine_vm *base, unsigned id, const struct cpuid_table *cpuid, struct engine_vcpu **ret_vcpu,
                 struct err *err);
void kvm_vcpu_free(struct engine_vcpu *base);
void kvm_vcpu_nmi(struct engine_vcpu *base);
int kvm_vcpu_set_cpuid(struct kvm_vcpu *vcpu, const struct cpuid_table *table, struct err *err);

/* tsc.c */
int kvm_tsc_init(struct kvm_vm *vm, struct err *err);
/* Gives a vCPU the VM's frequency. */
int kvm_tsc_init_vcpu(struct kvm_vcpu *vcpu, struct err *err);
int kvm_host_tsc(struct engine_tsc *ret_tsc, struct err *err);
uint32_t kvm_tsc_khz(const struct engine_vm *base);
int kvm_tsc_set_khz(struct engine_vm *base, uint32_t khz, struct err *err);
void kvm_tsc_get(struct engine_vm *base, uint64_t *ret_tsc);
void kvm_tsc_set(struct engine_vm *base, const uint64_t *tsc);
uint64_t kvm_vcpu_tsc(struct engine_vcpu *base);

/* run.c */
/* Once per process, before threads that run vCPUs may be confined to few system calls. */
void kvm_install_kick_handler(void);
void kvm_vcpu_run(struct engine_vcpu *base, struct exit *ret_exit);
void kvm_vcpu_kick(struct engine_vcpu *base);

/* state.c, msr.c, xsave.c */
int kvm_vcpu_get_state(struct engine_vcpu *base, struct x86_state *ret_state, struct err *err);
int kvm_vcpu_set_state(struct engine_vcpu *base, const struct x86_state *state, struct err *err);
/* All MSRs of x86_msrs but efer, which kvm_get_msrs leaves as it is. */
int kvm_get_msrs(struct kvm_vcpu *vcpu, struct x86_msrs *ret_msrs, struct err *err);
int kvm_set_msrs(struct kvm_vcpu *vcpu, const struct x86_msrs *msrs, struct err *err);
int kvm_get_xsave(struct kvm_vcpu *vcpu, struct x86_state *state, struct err *err);
int kvm_set_xsave(struct kvm_vcpu *vcpu, const struct x86_state *state, struct err *err);
/* One MSR; -EINVAL when the host refuses. */
int kvm_get_msr(struct kvm_vcpu *vcpu, uint32_t index, uint64_t *ret_value);
int kvm_set_msr(struct kvm_vcpu *vcpu, uint32_t index, uint64_t value);

/* irqchip.c */
int kvm_irqchip_new(struct kvm_vm *vm, struct err *err);
int kvm_irqchip_get(struct engine_vm *base, struct irqchip_state *ret_state, struct err *err);
int kvm_irqchip_set(struct engine_vm *base, const struct irqchip_state *state, struct err *err);
int kvm_lapic_get(struct engine_vcpu *base, struct lapic_state *ret_state, struct err *err);
int kvm_lapic_set(struct engine_vcpu *base, const struct lapic_state *state, struct err *err);

/* event.c: interrupts and doorbells by eventfd. */
int kvm_routing_update(struct kvm_vm *vm);
int kvm_irq_line(struct engine_vm *base, unsigned gsi, bool level);
int kvm_msi(struct engine_vm *base, uint64_t address, uint32_t data);
int kvm_irqfd_msi(struct engine_vm *base, unsigned route, int fd, uint64_t address, uint32_t data);
int kvm_doorbell_add(struct engine_vm *base, const struct engine_doorbell *doorbell);
int kvm_doorbell_remove(struct engine_vm *base, const struct engine_doorbell *doorbell);

/* dirty.c */
int kvm_slots_set(struct kvm_vm *vm, bool logging, struct err *err);
/* Takes the dirty ring into use; before the first vCPU. */
int kvm_dirty_ring_enable(struct kvm_vm *vm);
/* Moves what the rings hold into the memory room's bitmap. */
int kvm_dirty_ring_harvest(struct kvm_vm *vm);
int kvm_dirty_start(struct engine_vm *base, struct err *err);
int kvm_dirty_fetch(struct engine_vm *base, uint64_t *ret_bitmap, uint64_t *ret_pages, struct err *err);
void kvm_dirty_stop(struct engine_vm *base);

#endif
