/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The time stamp counter: the host's frequency, the VM's, and the ratio between them. */
#include "engine/dbt/tsc.h"

#include <cpuid.h>
#include <x86intrin.h>

#include "base/bits.h"
#include "base/clock.h"
#include "engine/dbt/clock.h"
#include "engine/dbt/translation.h"
#include "x86/cpuid_tsc.h"

/* Two hosts of one frequency that both measured it differ by this much, and their crystals as well. */
#define TOLERANCE_PPM 50

/* The TSC frequency that CPUID tells: leaf 0x15 (SDM), or the hypervisor's 0x40000010 in kHz. 0: it doesn't. */
static uint32_t told_tsc_khz(void)
{
    uint32_t a, b, c, d;

    if (__get_cpuid(0x15, &a, &b, &c, &d) && a != 0 && b != 0 && c != 0)
        return (uint32_t)((uint64_t)c * b / a / 1000);
    __cpuid(1, a, b, c, d);
    if (!(c & BIT(31)))
        return 0;
    __cpuid(0x40000000, a, b, c, d);
    if (a < 0x40000010 || a > 0x400000ff)
        return 0;
    __cpuid(0x40000010, a, b, c, d);
    return a;
}

struct moment {
    int64_t ns;
    uint64_t tsc;
};

/* Both clocks at one time: of a few readings that which took least. */
static struct moment read_clocks(void)
{
    struct moment best = {0};
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t before = __rdtsc();
        int64_t ns = host_monotonic_ns();
        uint64_t took = __rdtsc() - before;

        if (took < least) {
            least = took;
            best = (struct moment){.ns = ns, .tsc = before + took / 2};
        }
    }
    return best;
}

/* Measured for 3 ms where nobody tells: exact to about 10 ppm. */
static uint32_t host_tsc_khz(void)
{
    uint32_t told = told_tsc_khz();
    struct moment start, end;

    if (told != 0)
        return told;
    start = read_clocks();
    while (host_monotonic_ns() - start.ns < 3 * 1000 * 1000)
        ;
    end = read_clocks();
    return (uint32_t)((end.tsc - start.tsc) * 1000000 / (uint64_t)(end.ns - start.ns));
}

/* 0: the same, within the tolerance. */
static uint64_t multiplier_for(uint32_t khz, uint32_t host_khz)
{
    if (cpuid_tsc_is_within(khz, host_khz, TOLERANCE_PPM))
        return 0;
    return (uint64_t)(((unsigned __int128)khz << TSC_FRACTION_BITS) / host_khz);
}

void dbt_tsc_init(struct dbt_vm *vm, uint32_t khz)
{
    vm->host_khz = host_tsc_khz();
    vm->tsc_khz = khz != 0 ? khz : vm->host_khz;
    vm->tsc_multiplier = multiplier_for(vm->tsc_khz, vm->host_khz);
}

int dbt_host_tsc(struct engine_tsc *ret_tsc, struct err *err)
{
    *ret_tsc = (struct engine_tsc){.khz = host_tsc_khz(), .scales = true};
    return 0;
}

uint32_t dbt_tsc_khz(const struct engine_vm *vm)
{
    return ((const struct dbt_vm *)vm)->tsc_khz;
}

/* Translations hold the ratio. */
int dbt_tsc_set_khz(struct engine_vm *engine_vm, uint32_t khz, struct err *err)
{
    struct dbt_vm *vm = (struct dbt_vm *)engine_vm;

    vm->tsc_khz = khz;
    vm->tsc_multiplier = multiplier_for(khz, vm->host_khz);
    for (unsigned i = 0; i < vm->cpus; i++) {
        if (vm->vcpu[i] == NULL)
            continue;
        cpuid_set_tsc_khz(&vm->vcpu[i]->cpuid, khz);
        dbt_translations_clear(vm->vcpu[i]);
    }
    return 0;
}

void dbt_tsc_get(struct engine_vm *engine_vm, uint64_t *ret_tsc)
{
    const struct dbt_vm *vm = (const struct dbt_vm *)engine_vm;
    uint64_t now = dbt_tsc_scale(vm, __rdtsc());

    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->vcpu[i] != NULL)
            ret_tsc[i] = now + vm->vcpu[i]->tsc_offset;
}

void dbt_tsc_set(struct engine_vm *engine_vm, const uint64_t *tsc)
{
    struct dbt_vm *vm = (struct dbt_vm *)engine_vm;
    uint64_t now = dbt_tsc_scale(vm, __rdtsc());

    for (unsigned i = 0; i < vm->cpus; i++) {
        if (vm->vcpu[i] == NULL)
            continue;
        vm->vcpu[i]->tsc_offset = tsc[i] - now;
        dbt_clock_update(vm->vcpu[i]);
    }
}
