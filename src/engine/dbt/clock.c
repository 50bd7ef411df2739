/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kvmclock: pvclock_vcpu_time_info and pvclock_wall_clock, with their version protocol. */
#include "engine/dbt/clock.h"

#include <time.h>
#include <x86intrin.h>

#include "base/clock.h"
#include "memory/memory.h"

struct time_page { /* pvclock_vcpu_time_info */
    uint32_t version; /* odd while it is written */
    uint32_t pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad2[2];
};

#define FLAG_TSC_STABLE 1

/* Clock and TSC advance from one common point, so that the pages of all vCPUs tell the very same time. */
static void take_base(struct dbt_vm *vm, uint64_t ns)
{
    vm->clock_base_tsc = __rdtsc();
    vm->clock_base_ns = ns;
}

static uint64_t now(struct dbt_vm *vm)
{
    int64_t start = host_monotonic_ns() + vm->clock_offset;

    if (vm->clock_base_tsc == 0)
        take_base(vm, start < 0 ? 0 : (uint64_t)start);
    return vm->clock_base_ns +
           (uint64_t)((unsigned __int128)(__rdtsc() - vm->clock_base_tsc) * 1000000 / vm->host_khz);
}

uint64_t dbt_clock_get(struct dbt_vm *vm)
{
    uint64_t ns;

    pthread_mutex_lock(&vm->clock_lock);
    ns = now(vm);
    pthread_mutex_unlock(&vm->clock_lock);
    return ns;
}

void dbt_clock_set(struct dbt_vm *vm, uint64_t ns)
{
    pthread_mutex_lock(&vm->clock_lock);
    vm->clock_offset = (int64_t)ns - host_monotonic_ns();
    take_base(vm, ns);
    pthread_mutex_unlock(&vm->clock_lock);
    for (unsigned i = 0; i < vm->cpus; i++)
        if (vm->vcpu[i] != NULL)
            dbt_clock_update(vm->vcpu[i]);
}

/* ns = ((ticks << shift) * mul) >> 32, with the largest mul that fits in 32 bits. */
static void scale(uint32_t khz, uint32_t *ret_mul, int8_t *ret_shift)
{
    uint64_t hz = (uint64_t)khz * 1000;
    int8_t shift = 0;

    while (hz > UINT64_C(2000000000)) {
        hz >>= 1;
        shift--;
    }
    while (hz <= UINT64_C(1000000000)) {
        hz <<= 1;
        shift++;
    }
    *ret_mul = (uint32_t)((UINT64_C(1000000000) << 32) / hz);
    *ret_shift = shift;
}

/* The address may be anything the guest says: what isn't RAM is ignored, as on KVM. */
static void write_page(struct dbt_vcpu *v, uint64_t address, struct time_page *page)
{
    uint32_t old;

    if (memory_read(v->memory, address, &old, sizeof(old)) < 0)
        return;
    page->version = (old + 1) | 1; /* the next odd number */
    if (memory_write(v->memory, address, &page->version, 4) < 0)
        return;
    atomic_thread_fence(memory_order_release);
    if (memory_write(v->memory, address + 4, &page->pad, sizeof(*page) - 4) < 0)
        return;
    atomic_thread_fence(memory_order_release);
    page->version++;
    memory_write(v->memory, address, &page->version, 4);
}

void dbt_clock_update(struct dbt_vcpu *v)
{
    struct time_page page = {.flags = FLAG_TSC_STABLE};

    if (!(v->msr.kvm_system_time & 1))
        return;
    scale(v->vm->tsc_multiplier != 0 ? v->vm->tsc_khz : v->vm->host_khz, &page.tsc_to_system_mul, &page.tsc_shift);
    dbt_clock_get(v->vm);
    pthread_mutex_lock(&v->vm->clock_lock);
    page.tsc_timestamp = dbt_tsc_scale(v->vm, v->vm->clock_base_tsc) + v->tsc_offset;
    page.system_time = v->vm->clock_base_ns;
    pthread_mutex_unlock(&v->vm->clock_lock);
    write_page(v, v->msr.kvm_system_time & ~UINT64_C(1), &page);
}

void dbt_clock_write_wall(struct dbt_vcpu *v, uint64_t address)
{
    struct timespec now;
    uint32_t page[3]; /* version, seconds, nanoseconds: the time of day at system time 0 */
    uint64_t boot;

    clock_gettime(CLOCK_REALTIME, &now);
    boot = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - dbt_clock_get(v->vm);
    if (memory_read(v->memory, address, &page[0], 4) < 0)
        return;
    page[0] = (page[0] | 1) + 1;
    page[1] = (uint32_t)(boot / 1000000000);
    page[2] = (uint32_t)(boot % 1000000000);
    memory_write(v->memory, address, page, sizeof(page));
}
