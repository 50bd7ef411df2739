/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exceptions and interrupts: raising from a handler, and delivery through IVT or IDT (SDM vol. 3 ch. 6). */
#ifndef FERRY_ENGINE_DBT_EXCEPTION_H
#define FERRY_ENGINE_DBT_EXCEPTION_H

#include "engine/dbt/vcpu.h"

/* Leave the executing instruction as a fault; it has changed nothing. RIP goes back to its first byte. */
_Noreturn void dbt_raise(struct dbt_vcpu *v, enum x86_vector vector); /* those without an error code */
_Noreturn void dbt_raise_error(struct dbt_vcpu *v, enum x86_vector vector, uint32_t error);
_Noreturn void dbt_raise_page_fault(struct dbt_vcpu *v, uint64_t linear, uint32_t error); /* sets CR2 */

/* Called by the run loop after a longjmp: takes RIP back, works out double and triple fault (then v->shutdown), and
 * delivers. May itself leave by longjmp again; that comes back here. */
void dbt_exception_raised(struct dbt_vcpu *v);

/* Delivery of other events between instructions. May leave by longjmp, which makes them double faults as the SDM rules. */
void dbt_deliver_interrupt(struct dbt_vcpu *v, uint8_t vector); /* external */
void dbt_deliver_nmi(struct dbt_vcpu *v);
void dbt_deliver_debug_trap(struct dbt_vcpu *v, uint64_t dr6_bits); /* #DB as a trap: RIP is the next instruction's */

/* When v->exception_restored, before the next instruction; clears it. May leave by longjmp. */
void dbt_deliver_restored_exception(struct dbt_vcpu *v);

/* INIT: the state that a CPU has after it, waiting for a SIPI unless it is the BSP. */
void dbt_cpu_init(struct dbt_vcpu *v);
void dbt_cpu_sipi(struct dbt_vcpu *v, uint8_t vector);

#endif
