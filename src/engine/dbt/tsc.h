/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine's table about the time stamp counter; engine.h says what each does. */
#ifndef FERRY_ENGINE_DBT_TSC_H
#define FERRY_ENGINE_DBT_TSC_H

#include "engine/dbt/vcpu.h"
#include "engine/engine.h"

/* khz: what the guest is told; 0: the host's. */
void dbt_tsc_init(struct dbt_vm *vm, uint32_t khz);

int dbt_host_tsc(struct engine_tsc *ret_tsc, struct err *err);
uint32_t dbt_tsc_khz(const struct engine_vm *vm);
int dbt_tsc_set_khz(struct engine_vm *engine_vm, uint32_t khz, struct err *err);
void dbt_tsc_get(struct engine_vm *engine_vm, uint64_t *ret_tsc);
void dbt_tsc_set(struct engine_vm *engine_vm, const uint64_t *tsc);

#endif
