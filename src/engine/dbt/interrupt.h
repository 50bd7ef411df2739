/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events that instructions cause, and those that a restored state brings. */
#ifndef FERRY_ENGINE_DBT_INTERRUPT_H
#define FERRY_ENGINE_DBT_INTERRUPT_H

#include "engine/dbt/op.h"

/* INT n, INT3, INTO: a fault of the delivery is the instruction's own. */
void dbt_software_interrupt(struct dbt_vcpu *v, uint8_t vector);

op_fn *dbt_bind_interrupt(const struct decode *d, struct op *op);

#endif
