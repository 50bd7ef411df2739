/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Doorbells: guest writes that signal an eventfd without any hook, as KVM's ioeventfd does. */
#ifndef FERRY_ENGINE_DBT_DOORBELL_H
#define FERRY_ENGINE_DBT_DOORBELL_H

#include "engine/engine.h"

struct dbt_doorbells;

int dbt_doorbells_new(struct dbt_doorbells **ret);
void dbt_doorbells_free(struct dbt_doorbells *doorbells);
int dbt_doorbell_add(struct dbt_doorbells *doorbells, const struct engine_doorbell *doorbell);    /* -EEXIST, -ENOSPC */
int dbt_doorbell_remove(struct dbt_doorbells *doorbells, const struct engine_doorbell *doorbell); /* -ENOENT */

/* Signals the doorbell that this write hits; false: there is none. From any thread. */
bool dbt_doorbell_ring(struct dbt_doorbells *doorbells, bool port, uint64_t address, unsigned size, uint64_t value);

#endif
