/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Binds x87, MMX, SSE, AVX, BMI and their like: features and mode first, then a special handler or a thunk. */
#include "engine/dbt/vector.h"

#include "engine/dbt/exception.h"
#include "engine/dbt/feature.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/softmmu.h"
#include "engine/dbt/thunk.h"

#define OPERAND_MAX 64u

static inline void run(struct dbt_vcpu *v, const struct op *op, void *memory)
{
    thunk_fn *thunk = (thunk_fn *)op->extra;

    if (UNLIKELY(v->fpu.mxcsr_masks != MXCSR_MASKS))
        dbt_fpu_run_unmasked(v, thunk, memory);
    else
        thunk(v, memory);
}

static __attribute__((noinline)) void run_slow(struct dbt_vcpu *v, const struct op *op, uint64_t linear)
{
    _Alignas(OPERAND_MAX) uint8_t bounce[OPERAND_MAX];
    void *p = dbt_access_begin(v, linear, op->memory_size, op->argument2, bounce);

    run(v, op, p);
    dbt_access_end(v, linear, op->memory_size, op->argument2, p, bounce);
}

/* Register operands only. */
static void op_vector(struct dbt_vcpu *v, const struct op *op)
{
    run(v, op, NULL);
}

/* On silicon a misaligned operand is found before a non-canonical address, a segment's limit or a missing page. */
static inline uint64_t operand_address(struct dbt_vcpu *v, const struct op *op)
{
    if (op->argument != 0 && ((dbt_offset(v, op) + v->segment_base[op->segment]) & op->argument) != 0)
        dbt_raise_error(v, X86_GP, 0);
    return dbt_address(v, op, op->memory_size, op->argument2);
}

static void op_vector_load(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t linear = operand_address(v, op);
    void *p = dbt_read_fast(v, linear, op->memory_size);

    if (LIKELY(p != NULL))
        run(v, op, p);
    else
        run_slow(v, op, linear);
}

static void op_vector_store(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t linear = operand_address(v, op);
    void *p = dbt_write_fast(v, linear, op->memory_size);

    if (LIKELY(p != NULL))
        run(v, op, p);
    else
        run_slow(v, op, linear);
}

static void op_vector_modify(struct dbt_vcpu *v, const struct op *op)
{
    run_slow(v, op, operand_address(v, op));
}

static op_fn *vector_handler(const struct op *op)
{
    if (!(op->flags & OP_MEMORY))
        return op_vector;
    if (op->argument2 == ACCESS_READ)
        return op_vector_load;
    return op->argument2 == ACCESS_WRITE ? op_vector_store : op_vector_modify;
}

bool dbt_is_vector_handler(op_fn *execute)
{
    return execute == op_vector || execute == op_vector_load || execute == op_vector_store || execute == op_vector_modify;
}

/* The same with MMX registers, which are the x87 unit's. */
static void op_mmx(struct dbt_vcpu *v, const struct op *op)
{
    dbt_x87_check(v);
    vector_handler(op)(v, op);
}

bool dbt_is_mmx_handler(op_fn *execute)
{
    return execute == op_mmx;
}

static bool uses_mmx(const struct decode *d)
{
    for (unsigned i = 0; i < d->instruction->operand_count; i++) {
        if (d->operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            ZydisRegisterGetClass(d->operand[i].reg.value) == ZYDIS_REGCLASS_MMX)
            return true;
    }
    return d->instruction->mnemonic == ZYDIS_MNEMONIC_EMMS;
}

/* Legacy SSE wants its 16-byte operands aligned, but for those made for misaligned ones. Makers differ on SHA: Intel's manual wants
 * alignment, AMD's silicon does not; nobody relies on the fault. */
static bool legacy_unaligned(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return true;
    default:
        return false;
    }
}

static bool vex_aligned(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVDQA32:
    case ZYDIS_MNEMONIC_VMOVDQA64:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
        return true;
    default:
        return false;
    }
}

static uint8_t alignment_mask(const ZydisDecodedInstruction *in, unsigned size)
{
    bool aligned = in->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY
                       ? size == 16 && !legacy_unaligned(in->mnemonic) && in->meta.isa_set != ZYDIS_ISA_SET_SHA
                       : size >= 16 && vex_aligned(in->mnemonic);

    return aligned ? (uint8_t)(size - 1) : 0;
}

static void describe_memory(const struct decode *d, struct op *op)
{
    for (unsigned i = 0; i < d->instruction->operand_count_visible; i++) {
        const ZydisDecodedOperand *o = &d->operand[i];
        unsigned size = o->size / 8;

        if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
            continue;
        op->memory_size = (uint8_t)(size > 255 ? 0 : size);
        op->argument2 = (uint8_t)((o->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? ACCESS_READ : 0) |
                                  (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? ACCESS_WRITE : 0));
        op->argument = alignment_mask(d->instruction, size);
    }
}

/* What the mode makes of the instruction: NULL if it may run. */
static op_fn *refuse_by_mode(uint32_t mode, enum feature_gate gate, ZydisMnemonic mnemonic)
{
    uint32_t need = 0;
    op_fn *emulated = dbt_op_undefined;

    switch (gate) {
    case GATE_NONE:
    case GATE_NOT_MINE:
        return NULL;
    case GATE_X87:
        if (mnemonic == ZYDIS_MNEMONIC_FWAIT)
            return (mode & (MODE_MP | MODE_TS)) == (MODE_MP | MODE_TS) ? dbt_op_device_not_available : NULL;
        emulated = dbt_op_device_not_available;
        break;
    case GATE_MMX:
        break;
    case GATE_SSE:
        need = MODE_SSE;
        break;
    case GATE_AVX:
        need = MODE_AVX;
        break;
    case GATE_AVX512:
        need = MODE_AVX512;
        break;
    case GATE_VEX_GPR:
        return mode & MODE_PROTECTED ? NULL : dbt_op_undefined;
    case GATE_XSAVE:
        need = MODE_XSAVE;
        break;
    case GATE_OSXSAVE:
        return mode & MODE_XSAVE ? NULL : dbt_op_undefined;
    }
    if ((mode & need) != need)
        return dbt_op_undefined;
    if ((mode & MODE_EM) && (gate == GATE_X87 || gate == GATE_MMX || gate == GATE_SSE))
        return emulated;
    return mode & MODE_TS ? dbt_op_device_not_available : NULL;
}

/* VPINSRQ and VPEXTRQ outside of 64-bit mode, where the decoder ignores W. */
static bool wide_element_outside_64(const struct decode *d)
{
    ZydisMnemonic mnemonic = d->instruction->mnemonic;

    return (mnemonic == ZYDIS_MNEMONIC_VPINSRD || mnemonic == ZYDIS_MNEMONIC_VPEXTRD) && d->instruction->raw.vex.W &&
           d->instruction->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

/* On a CPU without them TZCNT and LZCNT are BSF and BSR with a prefix that means nothing. */
static bool degrades(const ZydisDecodedInstruction *in)
{
    return in->mnemonic == ZYDIS_MNEMONIC_TZCNT || in->mnemonic == ZYDIS_MNEMONIC_LZCNT;
}

/* The owner of the blocks keeps thunks from running out (dbt_thunks_full()); should one be missing all the same, the instruction
 * starts anew in another block. */
static void op_no_thunk(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[GPR_RIP] -= op->length;
    dbt_end_block(v);
}

static op_fn *bind_thunk(const struct decode *d, struct op *op, unsigned flags, enum feature_gate gate)
{
    thunk_fn *thunk = dbt_thunk(d, flags);

    if (thunk == NULL)
        return op_no_thunk;
    op->extra = (void *)thunk;
    if (gate == GATE_X87)
        return dbt_bind_x87(d, op);
    return uses_mmx(d) ? op_mmx : vector_handler(op);
}

op_fn *dbt_bind_vector(const struct decode *d, struct op *op)
{
    const ZydisDecodedInstruction *in = d->instruction;
    enum feature_gate gate = dbt_feature_gate(in);
    unsigned flags = 0;
    op_fn *handler;

    if (gate == GATE_NOT_MINE)
        return NULL;
    if (!dbt_feature_offered(d->v, in)) {
        if (!degrades(in))
            return dbt_op_undefined;
        flags = THUNK_WITHOUT_REP;
        gate = GATE_NONE;
    }
    handler = refuse_by_mode(d->mode, in->mnemonic == ZYDIS_MNEMONIC_TZCNT ? GATE_NONE : gate, in->mnemonic);
    if (handler != NULL)
        return handler;
    if (wide_element_outside_64(d))
        return dbt_op_undefined;
    describe_memory(d, op);
    handler = dbt_bind_xsave(d, op);
    if (handler == NULL)
        handler = dbt_bind_vector_special(d, op);
    if (handler == NULL)
        handler = dbt_bind_vector_masked(d, op);
    return handler != NULL ? handler : bind_thunk(d, op, flags, gate);
}
