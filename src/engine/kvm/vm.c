/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM on KVM: making and freeing it, its clock, its counters, and the table that puts this engine behind the seam. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "base/fd.h"
#include "base/text.h"
#include "engine/kvm/internal.h"
#include "engine/kvm/kvm.h"

/* Three pages of the TSS with which Intel hosts without unrestricted guest run real mode, and the page table for it: in the
 * hole below the firmware, where no RAM or device lies. */
#define TSS_ADDRESS UINT64_C(0xfffbd000)
#define IDENTITY_MAP_ADDRESS UINT64_C(0xfffbc000)

static bool host_has(const struct kvm_vm *vm, int capability)
{
    return kvm_ioctl_value(vm->fd, KVM_CHECK_EXTENSION, capability) > 0;
}

/* Reads "dirty=ring" or "dirty=bitmap"; KVM_DIRTY_NONE when nothing is said. */
static int parse_options(const char *options, enum kvm_dirty_method *ret_method, struct err *err)
{
    if (options == NULL || *options == 0)
        *ret_method = KVM_DIRTY_NONE;
    else if (text_equal(options, "dirty=ring"))
        *ret_method = KVM_DIRTY_RING;
    else if (text_equal(options, "dirty=bitmap"))
        *ret_method = KVM_DIRTY_BITMAP;
    else
        return err_set(err, -EINVAL, "unknown option \"%s\" of the kvm engine: there are dirty=ring and dirty=bitmap",
                       options);
    return 0;
}

/* The bitmap unless told otherwise. The ring costs less with large memories, but where KVM emulates whole stretches of guest code it
 * overflows between two looks at it and loses pages: seen in migrations under PVM. */
static int choose_dirty_method(struct kvm_vm *vm, struct err *err)
{
    enum kvm_dirty_method wish;
    int r = parse_options(vm->config.options, &wish, err);

    if (r < 0)
        return r;
    if (wish == KVM_DIRTY_RING && kvm_dirty_ring_enable(vm) == 0) {
        vm->dirty_method = KVM_DIRTY_RING;
        return 0;
    }
    if (wish == KVM_DIRTY_RING)
        return err_set(err, -ENOTSUP, "this host's KVM has no dirty ring: use dirty=bitmap");
    vm->dirty_method = KVM_DIRTY_BITMAP;
    if (kvm_ioctl_value(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) {
        struct kvm_enable_cap enable = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                                        .args = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE}};
        vm->manual_protect = kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &enable) == 0;
    }
    return 0;
}

static unsigned find_capabilities(const struct kvm_vm *vm)
{
    unsigned capabilities = ENGINE_IRQCHIP | ENGINE_DIRTY_LOG;

    if (host_has(vm, KVM_CAP_IRQFD))
        capabilities |= ENGINE_IRQFD;
    if (host_has(vm, KVM_CAP_IOEVENTFD))
        capabilities |= ENGINE_IOEVENTFD;
    if (vm->dirty_method == KVM_DIRTY_RING)
        capabilities |= ENGINE_DIRTY_RING;
    return capabilities;
}

static int set_special_addresses(struct kvm_vm *vm, struct err *err)
{
    uint64_t identity_map = IDENTITY_MAP_ADDRESS;
    int r = kvm_ioctl_value(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS);

    if (r == 0 && host_has(vm, KVM_CAP_SET_IDENTITY_MAP_ADDR))
        r = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
    if (r < 0)
        return err_set(err, r, "KVM refuses the addresses of its real-mode pages: %s", strerror(-r));
    return 0;
}

static int create(struct kvm_vm *vm, struct err *err)
{
    int r = kvm_open(&vm->system_fd, err);

    if (r < 0)
        return r;
    r = kvm_ioctl(vm->system_fd, KVM_CREATE_VM, NULL);
    if (r < 0)
        return err_set(err, r, "KVM cannot make a VM: %s", strerror(-r));
    vm->fd = r;
    r = kvm_ioctl(vm->system_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (r < (int)sizeof(struct kvm_run))
        return err_set(err, -EIO, "KVM tells an impossible size of a vCPU's mapping: %d", r);
    vm->run_size = (size_t)r;
    r = kvm_ioctl_value(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    vm->xsave_size = r > (int)sizeof(struct kvm_xsave) ? (size_t)r : sizeof(struct kvm_xsave);
    return 0;
}

static int set_up(struct kvm_vm *vm, struct err *err)
{
    int (*const steps[])(struct kvm_vm *, struct err *) = {
        create, set_special_addresses, choose_dirty_method, kvm_tsc_init, kvm_irqchip_new,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        int r = steps[i](vm, err);
        if (r < 0)
            return r;
    }
    vm->capabilities = find_capabilities(vm);
    return kvm_slots_set(vm, false, err);
}

static void kvm_vm_free(struct engine_vm *base)
{
    struct kvm_vm *vm = kvm_vm_of(base);

    if (vm == NULL)
        return;
    fd_close(&vm->fd);
    fd_close(&vm->system_fd);
    pthread_mutex_destroy(&vm->lock);
    free(vm->dirty_bitmap);
    free(vm->route);
    free(vm);
}

static int kvm_vm_new(const struct engine_config *config, struct engine_vm **ret_vm, struct err *err)
{
    struct kvm_vm *vm;
    int r;

    if (config->cpus == 0 || config->cpus > ENGINE_CPUS_MAX)
        return err_set(err, -EINVAL, "a VM has 1 to %u CPUs, not %u", ENGINE_CPUS_MAX, config->cpus);
    if (!config->use_irqchip)
        return err_set(err, -ENOTSUP, "the kvm engine keeps the interrupt controllers in the kernel only: run it with "
                                      "its own irqchip, or use --engine dbt");
    vm = calloc(1, sizeof(*vm));
    if (vm == NULL)
        return err_set(err, -ENOMEM, "no memory for a VM");
    vm->base.type = &kvm_engine_type;
    vm->config = *config;
    vm->system_fd = vm->fd = -1;
    pthread_mutex_init(&vm->lock, NULL);
    r = set_up(vm, err);
    if (r < 0) {
        kvm_vm_free(&vm->base);
        return r;
    }
    *ret_vm = &vm->base;
    return 0;
}

static unsigned kvm_capabilities(const struct engine_vm *base)
{
    return kvm_vm_of(base)->capabilities;
}

int kvm_clock_get(struct engine_vm *base, uint64_t *ret_ns)
{
    struct kvm_clock_data clock;
    int r = kvm_ioctl(kvm_vm_of(base)->fd, KVM_GET_CLOCK, &clock);

    if (r < 0)
        return r;
    *ret_ns = clock.clock;
    return 0;
}

static int kvm_clock_set(struct engine_vm *base, uint64_t ns)
{
    struct kvm_clock_data clock = {.clock = ns};

    return kvm_ioctl(kvm_vm_of(base)->fd, KVM_SET_CLOCK, &clock);
}

/* What the hook gets to say; the same words stand in the statistics. */
static void describe_refusal(const struct kvm_refusal *refusal, char *out, size_t size)
{
    unsigned long long value = refusal->value;

    if (refusal->what == KVM_REFUSED_CPUID)
        text_format(out, size, "KVM refuses the CPU's CPUID table: features that it does not support are left out");
    else
        text_format(out, size, "KVM does not take the value %#llx for MSR %#x: the guest runs without it", value, refusal->number);
}

void kvm_refused(struct kvm_vm *vm, enum kvm_refused what, uint32_t number, uint64_t value)
{
    struct kvm_refusal refusal = {.what = what, .number = number, .value = value};
    bool known = false;
    char sentence[160];

    pthread_mutex_lock(&vm->lock);
    for (unsigned i = 0; i < vm->refusal_count; i++)
        known |= vm->refusal[i].what == refusal.what && vm->refusal[i].number == number;
    if (!known && vm->refusal_count < KVM_REFUSALS_MAX)
        vm->refusal[vm->refusal_count++] = refusal;
    pthread_mutex_unlock(&vm->lock);
    if (known || vm->config.hooks.notice == NULL)
        return;
    describe_refusal(&refusal, sentence, sizeof(sentence));
    vm->config.hooks.notice(vm->config.hooks.ctx, sentence);
}

static void add_line(char *out, size_t size, const char *name, unsigned long long value)
{
    size_t used = strlen(out);

    text_format(out + used, size - used, "%s %llu\n", name, value);
}

static void print_refusals(struct kvm_vm *vm, char *out, size_t size)
{
    static const char *const names[] = {"refused-msr", "refused-cpuid"};

    for (unsigned i = 0; i < vm->refusal_count; i++) {
        char name[64];
        text_format(name, sizeof(name), "%s-%#x", names[vm->refusal[i].what], vm->refusal[i].number);
        add_line(out, size, name, vm->refusal[i].value);
    }
}

static void kvm_print_statistics(struct engine_vm *base, char *out, size_t size)
{
    struct kvm_vm *vm = kvm_vm_of(base);
    unsigned long long runs = 0, port = 0, mmio = 0, kicks = 0, full = 0;

    pthread_mutex_lock(&vm->lock);
    for (unsigned i = 0; i < ENGINE_CPUS_MAX; i++) {
        if (vm->vcpu[i] == NULL)
            continue;
        runs += vm->vcpu[i]->statistics.runs;
        port += vm->vcpu[i]->statistics.port_exits;
        mmio += vm->vcpu[i]->statistics.mmio_exits;
        kicks += vm->vcpu[i]->statistics.kicks;
        full += vm->vcpu[i]->statistics.dirty_ring_full;
    }
    add_line(out, size, "runs", runs);
    add_line(out, size, "port-exits", port);
    add_line(out, size, "mmio-exits", mmio);
    add_line(out, size, "kicks", kicks);
    add_line(out, size, "dirty-ring-full-exits", full);
    print_refusals(vm, out, size);
    pthread_mutex_unlock(&vm->lock);
}

const struct engine_type kvm_engine_type = {
    .name = "kvm",
    .probe = kvm_probe,
    .supported_cpuid = kvm_supported_cpuid,
    .vm_new = kvm_vm_new,
    .vm_free = kvm_vm_free,
    .capabilities = kvm_capabilities,
    .host_tsc = kvm_host_tsc,
    .tsc_khz = kvm_tsc_khz,
    .tsc_set_khz = kvm_tsc_set_khz,
    .tsc_get = kvm_tsc_get,
    .tsc_set = kvm_tsc_set,
    .vcpu_new = kvm_vcpu_new,
    .vcpu_free = kvm_vcpu_free,
    .vcpu_run = kvm_vcpu_run,
    .vcpu_kick = kvm_vcpu_kick,
    .vcpu_get_state = kvm_vcpu_get_state,
    .vcpu_set_state = kvm_vcpu_set_state,
    .vcpu_nmi = kvm_vcpu_nmi,
    .vcpu_tsc = kvm_vcpu_tsc,
    .irq_line = kvm_irq_line,
    .msi = kvm_msi,
    .irqchip_get = kvm_irqchip_get,
    .irqchip_set = kvm_irqchip_set,
    .lapic_get = kvm_lapic_get,
    .lapic_set = kvm_lapic_set,
    .irqfd_msi = kvm_irqfd_msi,
    .doorbell_add = kvm_doorbell_add,
    .doorbell_remove = kvm_doorbell_remove,
    .dirty_start = kvm_dirty_start,
    .dirty_fetch = kvm_dirty_fetch,
    .dirty_stop = kvm_dirty_stop,
    .clock_get = kvm_clock_get,
    .clock_set = kvm_clock_set,
    .print_statistics = kvm_print_statistics,
};
