/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions that cause events: INT n, INT3, INTO, INT1, BOUND, UD0 to UD2, HLT. */
#include "engine/dbt/interrupt.h"

#include "engine/dbt/exception.h"
#include "engine/dbt/softmmu.h"

static void interrupt(struct dbt_vcpu *v, const struct op *op)
{
    if ((v->rflags & X86_VM) && (v->cr0 & X86_CR0_PE) && (v->rflags & X86_IOPL) != X86_IOPL)
        dbt_raise_error(v, X86_GP, 0);
    dbt_software_interrupt(v, (uint8_t)op->immediate);
}

static void breakpoint(struct dbt_vcpu *v, const struct op *op)
{
    dbt_software_interrupt(v, X86_BP);
}

static void overflow(struct dbt_vcpu *v, const struct op *op)
{
    if (v->overflow)
        dbt_software_interrupt(v, X86_OF_TRAP);
}

/* INT1 is a trap without a cause in DR6. */
static void debug_interrupt(struct dbt_vcpu *v, const struct op *op)
{
    v->op = NULL;
    dbt_deliver_debug_trap(v, v->dr6 & 0xf);
    v->op = op;
    dbt_end_block(v);
}

static void bound(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t address = dbt_address(v, op, op->size * 2u, ACCESS_READ);
    int32_t index, low, high;

    if (op->size == 2) {
        uint32_t both = dbt_load32(v, address);
        index = (int16_t)v->gpr[op->reg[0]];
        low = (int16_t)both;
        high = (int16_t)(both >> 16);
    } else {
        uint64_t both = dbt_load64(v, address);
        index = (int32_t)v->gpr[op->reg[0]];
        low = (int32_t)both;
        high = (int32_t)(both >> 32);
    }
    if (index < low || index > high)
        dbt_raise(v, X86_BR);
}

/* The run loop sleeps; RIP is behind the instruction, where the waking interrupt returns to. */
static void halt(struct dbt_vcpu *v, const struct op *op)
{
    if (v->cpl != 0)
        dbt_raise_error(v, X86_GP, 0);
    v->run_state = X86_HALTED;
    dbt_set_attention(v, ATTENTION_INTERRUPT);
    dbt_end_block(v);
}

op_fn *dbt_bind_interrupt(const struct decode *d, struct op *op)
{
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
        return dbt_op_undefined;
    case ZYDIS_MNEMONIC_BOUND:
        op->size = (uint8_t)(d->instruction->operand_width / 8);
        return bound;
    default:
        break;
    }
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_INT:
        op->flags |= OP_END;
        op->immediate = d->operand[0].imm.value.u & 0xff;
        return interrupt;
    case ZYDIS_MNEMONIC_INT3:
        op->flags |= OP_END;
        return breakpoint;
    case ZYDIS_MNEMONIC_INTO:
        op->flags |= OP_END;
        return overflow;
    case ZYDIS_MNEMONIC_INT1:
        op->flags |= OP_END;
        return debug_interrupt;
    case ZYDIS_MNEMONIC_HLT:
        op->flags |= OP_END;
        return halt;
    default:
        return NULL;
    }
}
