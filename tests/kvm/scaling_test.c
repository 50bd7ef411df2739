/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kvm engine on a host whose processor scales the time stamp counter, and on one that does not: ioctl() is stood in for, since the host
 * of the test may be neither. */
#include "../check.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "base/err.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/cpuid.h"

enum { CPUS = 2, FDS = 1024 };

static struct {
    bool scales;
    unsigned fails;                 /* which KVM_SET_TSC_KHZ from now on, from 1; 0: none */
    uint32_t khz[FDS], told[FDS];   /* by vCPU descriptor: what was set, and what CPUID was made to tell */
} host;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static int set_khz(int fd, uint32_t khz)
{
    if (host.fails > 0 && --host.fails == 0) {
        errno = EINVAL;
        return -1;
    }
    host.khz[fd] = khz;
    return 0;
}

static void note_cpuid(int fd, const struct kvm_cpuid2 *list)
{
    for (unsigned i = 0; i < list->nent; i++)
        if (list->entries[i].function == 0x40000010)
            host.told[fd] = list->entries[i].eax;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    assert_true(fd >= 0 && fd < FDS);
    if (request == KVM_CHECK_EXTENSION && (uintptr_t)argument == KVM_CAP_TSC_CONTROL)
        return host.scales;
    if (request == KVM_SET_TSC_KHZ)
        return set_khz(fd, (uint32_t)(uintptr_t)argument);
    if (request == KVM_GET_TSC_KHZ && host.khz[fd] != 0)
        return (int)host.khz[fd];
    if (request == KVM_SET_CPUID2)
        note_cpuid(fd, argument);
    return __real_ioctl(fd, request, argument);
}

static const struct engine_type *type;
static struct engine_tsc real;
static struct memory *memory;
static struct engine_vm *vm;
static struct engine_vcpu *vcpu[CPUS];

static int make(uint32_t khz, struct err *err)
{
    struct engine_config config = {.cpus = CPUS, .use_irqchip = true, .tsc_khz = khz};
    struct cpuid_table supported, cpuid;
    int r;

    assert_int_equal(memory_new(&memory, NULL), 0);
    assert_int_equal(memory_add(memory, 0, MIB(1), false, NULL), 0);
    config.memory = memory;
    r = type->vm_new(&config, &vm, err);
    if (r < 0)
        return r;
    assert_int_equal(type->supported_cpuid(&supported, NULL), 0);
    assert_int_equal(cpuid_build(&(struct cpuid_request){.model = "x86-64-v1", .supported = &supported, .cpus = CPUS, .tsc_khz = khz},
                                 &cpuid, err), 0);
    for (unsigned i = 0; r == 0 && i < CPUS; i++) {
        struct cpuid_table own = cpuid;

        cpuid_for_cpu(&own, i);
        r = type->vcpu_new(vm, i, &own, &vcpu[i], err);
    }
    return r;
}

static int tear_down(void **state)
{
    for (unsigned i = 0; i < CPUS; i++) {
        type->vcpu_free(vcpu[i]);
        vcpu[i] = NULL;
    }
    type->vm_free(vm);
    memory_free(memory);
    vm = NULL;
    memory = NULL;
    memset(&host, 0, sizeof(host));
    return 0;
}

/* How many vCPUs run at that frequency, and tell it. */
static unsigned running_at(uint32_t khz)
{
    unsigned count = 0;

    for (unsigned fd = 0; fd < FDS; fd++)
        count += host.khz[fd] == khz && host.told[fd] == khz;
    return count;
}

static void test_scaled(void **state)
{
    struct engine_tsc tsc;
    struct err err = ERR_INIT;

    host.scales = true;
    assert_int_equal(type->host_tsc(&tsc, NULL), 0);
    assert_true(tsc.scales && tsc.khz == real.khz);
    if (make(real.khz / 2, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(type->tsc_khz(vm), real.khz / 2);
    assert_int_equal(running_at(real.khz / 2), CPUS);
    assert_int_equal(type->tsc_set_khz(vm, real.khz * 2, &err), 0); /* for a VM that comes here */
    assert_int_equal(type->tsc_khz(vm), real.khz * 2);
    assert_int_equal(running_at(real.khz * 2), CPUS);
}

/* The second vCPU's is refused: the first one's goes back. */
static void test_refused_half_way(void **state)
{
    struct err err = ERR_INIT;
    char frequency[16];

    host.scales = true;
    assert_int_equal(make(real.khz / 2, &err), 0);
    host.fails = 2;
    assert_int_equal(type->tsc_set_khz(vm, real.khz * 2, &err), -ENOTSUP);
    snprintf(frequency, sizeof(frequency), "%u kHz", real.khz * 2);
    assert_non_null(strstr(err.message, frequency));
    assert_non_null(strstr(err.message, "the host's runs at"));
    assert_int_equal(type->tsc_khz(vm), real.khz / 2);
    assert_int_equal(running_at(real.khz / 2), CPUS);
}

static void test_not_scaled(void **state)
{
    struct err err = ERR_INIT;
    char here[24], there[24];

    assert_int_equal(make(real.khz + real.khz / 5000, &err), 0); /* 200 ppm: KVM's own tolerance */
    assert_int_equal(type->tsc_set_khz(vm, real.khz * 2, &err), -ENOTSUP);
    snprintf(here, sizeof(here), "runs at %u kHz", real.khz);
    snprintf(there, sizeof(there), "can't run at %u kHz", real.khz * 2);
    assert_non_null(strstr(err.message, here));
    assert_non_null(strstr(err.message, there));
    assert_non_null(strstr(err.message, "--engine dbt"));
    assert_int_equal(type->tsc_khz(vm), real.khz + real.khz / 5000);
}

static void test_never_made(void **state)
{
    struct err err = ERR_INIT;

    assert_int_equal(make(real.khz / 2, &err), -ENOTSUP);
    assert_non_null(strstr(err.message, "KVM has no TSC scaling"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_scaled, tear_down),
        cmocka_unit_test_teardown(test_refused_half_way, tear_down),
        cmocka_unit_test_teardown(test_not_scaled, tear_down),
        cmocka_unit_test_teardown(test_never_made, tear_down),
    };
    struct err err = ERR_INIT;

    if (engine_choose("kvm", &type, NULL, 0, &err) < 0 || type->host_tsc(&real, &err) < 0) {
        printf("SKIPPED: %s\n", err.message);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
