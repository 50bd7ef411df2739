/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kvmclock: the paravirtual clock pages that guests read (Linux Documentation/virt/kvm/x86/msr.rst). */
#ifndef FERRY_ENGINE_DBT_CLOCK_H
#define FERRY_ENGINE_DBT_CLOCK_H

#include "engine/dbt/vcpu.h"

/* Nanoseconds since the VM's boot, and setting it: shifts vm->clock_offset. */
uint64_t dbt_clock_get(struct dbt_vm *vm);
void dbt_clock_set(struct dbt_vm *vm, uint64_t ns);

/* Writes the vCPU's time page anew, if the guest has registered one: after it did so, and when the TSC or the clock were set. */
void dbt_clock_update(struct dbt_vcpu *v);

/* Writes the wall clock page at a guest-physical address. */
void dbt_clock_write_wall(struct dbt_vcpu *v, uint64_t address);

#endif
