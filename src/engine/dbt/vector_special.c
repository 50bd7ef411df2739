/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vector instructions that are not thunks: MXCSR, VZEROUPPER, hints, fences and cache line operations. */
#include "engine/dbt/vector.h"

#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/softmmu.h"

static void op_ldmxcsr(struct dbt_vcpu *v, const struct op *op)
{
    uint32_t mxcsr = dbt_load32(v, dbt_address(v, op, 4, ACCESS_READ));

    if (mxcsr & ~MXCSR_VALID)
        dbt_raise_error(v, X86_GP, 0);
    dbt_fpu_set_mxcsr(v, mxcsr);
}

static void op_stmxcsr(struct dbt_vcpu *v, const struct op *op)
{
    dbt_store32(v, dbt_address(v, op, 4, ACCESS_WRITE), dbt_fpu_mxcsr(v));
}

static void zero_from(struct dbt_vcpu *v, unsigned byte)
{
    unsigned registers = dbt_code64(v) ? 16 : 8;

    for (unsigned i = 0; i < registers; i++)
        memset(v->vector[i] + byte, 0, sizeof(v->vector[i]) - byte);
}

static void op_vzeroupper(struct dbt_vcpu *v, const struct op *op)
{
    (void)op;
    zero_from(v, 16);
}

static void op_vzeroall(struct dbt_vcpu *v, const struct op *op)
{
    (void)op;
    zero_from(v, 0);
}

static void op_hint(struct dbt_vcpu *v, const struct op *op)
{
    (void)v;
    (void)op;
}

/* F3 90 with REX.B is no PAUSE, whatever the decoder says, but XCHG rAX, r8. */
static void op_exchange_r8(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t rax = v->gpr[X86_RAX], r8 = v->gpr[X86_R8];
    uint64_t keep = op->argument == 2 ? ~UINT64_C(0xffff) : 0;

    v->gpr[X86_RAX] = (rax & keep) | truncate_to(r8, op->argument);
    v->gpr[X86_R8] = (r8 & keep) | truncate_to(rax, op->argument);
}

/* The guest's stores are the host's, non-temporal ones included: one fence serves for all three. */
static void op_fence(struct dbt_vcpu *v, const struct op *op)
{
    (void)v;
    (void)op;
    __asm__ volatile("mfence" : : : "memory");
}

/* Caches are coherent, so flushing a line has no effect but the faults of a load of a byte. */
static void op_flush_line(struct dbt_vcpu *v, const struct op *op)
{
    dbt_probe(v, dbt_address(v, op, 1, ACCESS_READ), 1, ACCESS_READ);
    __asm__ volatile("mfence" : : : "memory");
}

static bool has_66(const ZydisDecodedInstruction *in)
{
    for (unsigned i = 0; i < in->raw.prefix_count; i++) {
        if (in->raw.prefixes[i].value == 0x66)
            return true;
    }
    return false;
}

static op_fn *bind_pause(const ZydisDecodedInstruction *in, struct op *op)
{
    if (!in->raw.rex.B)
        return op_hint;
    op->argument = in->raw.rex.W ? 8 : has_66(in) ? 2 : 4;
    return op_exchange_r8;
}

op_fn *dbt_bind_vector_special(const struct decode *d, struct op *op)
{
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
        return op_ldmxcsr;
    case ZYDIS_MNEMONIC_STMXCSR:
    case ZYDIS_MNEMONIC_VSTMXCSR:
        return op_stmxcsr;
    case ZYDIS_MNEMONIC_VZEROUPPER:
        return op_vzeroupper;
    case ZYDIS_MNEMONIC_VZEROALL:
        return op_vzeroall;
    case ZYDIS_MNEMONIC_PAUSE:
        return bind_pause(d->instruction, op);
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
    case ZYDIS_MNEMONIC_MFENCE:
        return op_fence;
    case ZYDIS_MNEMONIC_CLFLUSH:
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB:
        return op_flush_line;
    default:
        break;
    }
    switch (d->instruction->meta.isa_set) {
    case ZYDIS_ISA_SET_SSE_PREFETCH:
    case ZYDIS_ISA_SET_PREFETCH_NOP:
    case ZYDIS_ISA_SET_PREFETCHWT1:
    case ZYDIS_ISA_SET_CLDEMOTE:
    case ZYDIS_ISA_SET_MPX:
        return op_hint;
    default:
        return NULL;
    }
}
