/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of the vector binder (dbt_bind_vector) that have a file of their own.
 *
 * Before these are asked the binder has checked features and mode, set op->memory_size, put the thunk into op->extra where one is
 * wanted, the access (ACCESS_*) into op->argument2 and the alignment mask into op->argument. */
#ifndef FERRY_ENGINE_DBT_VECTOR_H
#define FERRY_ENGINE_DBT_VECTOR_H

#include "engine/dbt/op.h"

/* Whether a handler does nothing but run the instruction itself on vector and general registers, with the operand described above. */
bool dbt_is_vector_handler(op_fn *execute);

/* The same, behind a look for a pending x87 exception. */
bool dbt_is_mmx_handler(op_fn *execute);

op_fn *dbt_bind_x87(const struct decode *d, struct op *op);

/* What an x87 handler does besides the instruction itself. */
enum x87_kind {
    X87_NOT_PLAIN,    /* more than the following */
    X87_COMPUTE,      /* waits, and keeps FIP, FOP (op->immediate) and, with a memory operand, FDP */
    X87_CONTROL,      /* nothing */
    X87_LOAD_CONTROL, /* FLDCW: waits, and changes the masks */
    X87_INIT,         /* FNINIT: pointers are zero */
    X87_WAIT,         /* FWAIT: there is no instruction */
};
enum x87_kind dbt_x87_kind(op_fn *execute);

/* These are asked before a thunk is made; NULL: not mine. */
op_fn *dbt_bind_xsave(const struct decode *d, struct op *op);          /* FXSAVE and XSAVE families, XGETBV, XSETBV, PKRU */
op_fn *dbt_bind_vector_special(const struct decode *d, struct op *op); /* MXCSR, VZEROUPPER, hints, fences, cache lines */
op_fn *dbt_bind_vector_masked(const struct decode *d, struct op *op);  /* masked moves, gathers, scatters */

#endif
