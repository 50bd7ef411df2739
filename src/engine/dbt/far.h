/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Far transfers: what RET and IRET check alike. */
#ifndef FERRY_ENGINE_DBT_FAR_H
#define FERRY_ENGINE_DBT_FAR_H

#include "engine/dbt/segment.h"

/* The code segment to return to (its RPL is the new CPL), or a fault. */
struct descriptor dbt_check_return_code(struct dbt_vcpu *v, uint16_t selector);

/* The stack segment to return to, null where 64-bit mode allows it. */
struct x86_segment dbt_check_return_stack(struct dbt_vcpu *v, uint16_t selector, const struct x86_segment *cs);

op_fn *dbt_bind_far(const struct decode *d, struct op *op);
op_fn *dbt_bind_iret(const struct decode *d, struct op *op);

#endif
