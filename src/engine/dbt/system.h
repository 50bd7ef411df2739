/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System instructions: their binders, one a file, and the few functions that they share. */
#ifndef FERRY_ENGINE_DBT_SYSTEM_H
#define FERRY_ENGINE_DBT_SYSTEM_H

#include "engine/dbt/op.h"

op_fn *dbt_bind_segment(const struct decode *d, struct op *op);     /* segment_ops.c */
op_fn *dbt_bind_syscall(const struct decode *d, struct op *op);     /* syscall.c */
op_fn *dbt_bind_control_register(const struct decode *d, struct op *op); /* control_register.c */
op_fn *dbt_bind_table(const struct decode *d, struct op *op);       /* table_register.c */
op_fn *dbt_bind_flags(const struct decode *d, struct op *op);       /* flags.c */
op_fn *dbt_bind_machine(const struct decode *d, struct op *op);     /* machine.c */

/* #GP(0) unless CPL is 0. */
void dbt_require_supervisor(struct dbt_vcpu *v);

/* Writes a control register with all checks: what MOV CR and a few others do. */
void dbt_write_cr0(struct dbt_vcpu *v, uint64_t value);

/* v->fast_call for the present STAR. */
void dbt_prepare_fast_call(struct dbt_vcpu *v);

/* 0, or -EINVAL for #GP; nothing changed then. */
int dbt_read_msr(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret_value);
int dbt_write_msr(struct dbt_vcpu *v, uint32_t msr, uint64_t value);

/* What CPUID returns to this vCPU now: the table with the bits that follow CR4, XCR0 and the APIC base. */
void dbt_cpuid(struct dbt_vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t ret[static 4]);

/* Stores to a register of 2, 4 or 8 bytes. */
static inline void dbt_set_register(struct dbt_vcpu *v, unsigned number, unsigned size, uint64_t value)
{
    if (size == 2)
        *gpr16(v, number) = (uint16_t)value;
    else
        v->gpr[number] = size == 4 ? (uint32_t)value : value;
}

/* Plain number of a register operand. */
static inline uint8_t dbt_register_number(const struct decode *d, unsigned operand)
{
    return (uint8_t)ZydisRegisterGetId(d->operand[operand].reg.value);
}

static inline bool dbt_operand_is_register(const struct decode *d, unsigned operand)
{
    return d->instruction->operand_count > operand && d->operand[operand].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

#endif
