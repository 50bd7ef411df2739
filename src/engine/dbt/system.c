/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The binder of system instructions, and the check of port accesses by the TSS. */
#include "engine/dbt/system.h"

#include "engine/dbt/far.h"
#include "engine/dbt/interrupt.h"

op_fn *dbt_bind_system(const struct decode *d, struct op *op)
{
    static op_fn *(*const binders[])(const struct decode *, struct op *) = {
        dbt_bind_segment, dbt_bind_control_register, dbt_bind_flags,     dbt_bind_far,     dbt_bind_iret,
        dbt_bind_syscall, dbt_bind_interrupt,        dbt_bind_machine,   dbt_bind_table,
    };
    struct op as_decoded = *op;

    for (unsigned i = 0; i < ARRAY_SIZE(binders); i++) {
        op_fn *execute = binders[i](d, op);

        if (execute != NULL)
            return execute;
        *op = as_decoded;
    }
    return NULL;
}

/* SDM vol. 1 section 19.5.2: two bytes are read, so the map must reach one byte further than it needs. */
static bool permitted(struct dbt_vcpu *v, uint16_t port, unsigned size)
{
    uint32_t offset, bits;

    if (!(v->tr.type & 8) || v->tr.limit < 0x67)
        return false;
    offset = (uint32_t)dbt_load_system(v, v->tr.base + 0x66, 2) + port / 8;
    if (offset + 1 > v->tr.limit)
        return false;
    bits = (uint32_t)dbt_load_system(v, v->tr.base + offset, 2) >> (port & 7);
    return (bits & ((1u << size) - 1)) == 0;
}

void dbt_check_port(struct dbt_vcpu *v, uint16_t port, unsigned size)
{
    bool vm86 = (v->rflags & X86_VM) && (v->cr0 & X86_CR0_PE);

    if (!(v->cr0 & X86_CR0_PE) || (!vm86 && v->cpl <= (v->rflags >> 12 & 3)))
        return;
    if (!permitted(v, port, size))
        dbt_raise_error(v, X86_GP, 0);
}
