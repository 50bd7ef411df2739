/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The run loop of a vCPU of the translator engine. */
#ifndef FERRY_ENGINE_DBT_RUN_H
#define FERRY_ENGINE_DBT_RUN_H

#include "engine/dbt/vcpu.h"

/* Runs guest code until a kick, a shutdown or an eternal halt. */
void dbt_run(struct dbt_vcpu *v, struct exit *ret_exit);

#endif
