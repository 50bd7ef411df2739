/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87 and MMX instructions: the pending exception check, the pointers, and the environment in memory.
 *
 * With CR0.NE = 0 a real CPU asserts FERR# and waits for IRQ 13; here #MF is raised then too, which no system of the last decades
 * can tell. FCS and FDS read as zero, as on CPUs that deprecate them (CPUID.7.EBX bit 13). */
#include "engine/dbt/vector.h"

#include "engine/dbt/exception.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/softmmu.h"
#include "engine/dbt/thunk.h"

void dbt_x87_check(struct dbt_vcpu *v)
{
    uint16_t status;

    __asm__ volatile("fnstsw %0" : "=am"(status));
    if (UNLIKELY(status & X87_SUMMARY))
        dbt_raise(v, X86_MF);
}

static void note_masks(struct dbt_vcpu *v)
{
    uint16_t control, status;

    __asm__ volatile("fnstcw %0" : "=m"(control));
    __asm__ volatile("fnstsw %0" : "=am"(status));
    dbt_fpu_note_x87_masks(v, control, status);
}

static void note_pointers(struct dbt_vcpu *v, const struct op *op)
{
    v->fpu.ip = v->gpr[GPR_RIP] - op->length;
    v->fpu.opcode = (uint16_t)op->immediate;
}

/* op->immediate: the 11 bits of FOP. */
static void op_x87(struct dbt_vcpu *v, const struct op *op)
{
    dbt_x87_check(v);
    note_pointers(v, op);
    ((thunk_fn *)op->extra)(v, NULL);
}

/* A store with an unmasked exception may leave memory alone, and then a bounce buffer must hold what was there: so stores are
 * read-modify-write accesses. */
static void op_x87_memory(struct dbt_vcpu *v, const struct op *op)
{
    unsigned access = op->argument2 | ACCESS_READ;
    uint8_t bounce[16];
    uint64_t linear;
    void *p;

    dbt_x87_check(v);
    linear = dbt_address(v, op, op->memory_size, op->argument2);
    p = dbt_access_begin(v, linear, op->memory_size, access, bounce);
    note_pointers(v, op);
    v->fpu.dp = dbt_offset(v, op);
    ((thunk_fn *)op->extra)(v, p);
    dbt_access_end(v, linear, op->memory_size, access, p, bounce);
}

/* FNSTSW, FNSTCW and the like: these do not wait. */
static void op_x87_control(struct dbt_vcpu *v, const struct op *op)
{
    ((thunk_fn *)op->extra)(v, NULL);
}

static void op_x87_control_memory(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t bounce[16];
    uint64_t linear = dbt_address(v, op, op->memory_size, op->argument2);
    void *p = dbt_access_begin(v, linear, op->memory_size, op->argument2, bounce);

    ((thunk_fn *)op->extra)(v, p);
    dbt_access_end(v, linear, op->memory_size, op->argument2, p, bounce);
}

static void op_fninit(struct dbt_vcpu *v, const struct op *op)
{
    op_x87_control(v, op);
    v->fpu.ip = v->fpu.dp = v->fpu.opcode = 0;
    note_masks(v);
}

static void op_fnclex(struct dbt_vcpu *v, const struct op *op)
{
    op_x87_control(v, op);
    note_masks(v);
}

static void op_fldcw(struct dbt_vcpu *v, const struct op *op)
{
    dbt_x87_check(v);
    op_x87_control_memory(v, op);
    note_masks(v);
}

static void op_fwait(struct dbt_vcpu *v, const struct op *op)
{
    (void)op;
    dbt_x87_check(v);
}

/* The environment's pointers (SDM vol. 1 figures 8-9 to 8-12; the protected mode layouts). */
static void store_pointers(const struct dbt_vcpu *v, uint8_t *environment, bool narrow)
{
    if (narrow) {
        store_le16(environment + 6, (uint16_t)v->fpu.ip);
        store_le16(environment + 8, 0);
        store_le16(environment + 10, (uint16_t)v->fpu.dp);
        store_le16(environment + 12, 0);
        return;
    }
    store_le32(environment + 12, (uint32_t)v->fpu.ip);
    store_le32(environment + 16, (uint32_t)v->fpu.opcode << 16);
    store_le32(environment + 20, (uint32_t)v->fpu.dp);
    store_le16(environment + 24, 0);
}

static void load_pointers(struct dbt_vcpu *v, const uint8_t *environment, bool narrow)
{
    v->fpu.ip = narrow ? load_le16(environment + 6) : load_le32(environment + 12);
    v->fpu.dp = narrow ? load_le16(environment + 10) : load_le32(environment + 20);
    v->fpu.opcode = narrow ? 0 : load_le16(environment + 18) & 0x7ff;
}

/* FNSTENV and FNSAVE, on a copy, for the unit's own pointers are addresses of ours. */
static void op_store_environment(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t bounce[108], copy[108];
    uint64_t linear = dbt_address(v, op, op->memory_size, ACCESS_WRITE);
    void *p = dbt_access_begin(v, linear, op->memory_size, ACCESS_WRITE, bounce);
    bool narrow = op->memory_size == 14 || op->memory_size == 94;

    ((thunk_fn *)op->extra)(v, copy);
    store_pointers(v, copy, narrow);
    memcpy(p, copy, op->memory_size);
    dbt_access_end(v, linear, op->memory_size, ACCESS_WRITE, p, bounce);
    if (op->memory_size >= 94) /* FNSAVE initialises */
        v->fpu.ip = v->fpu.dp = v->fpu.opcode = 0;
    note_masks(v); /* FNSTENV masks all exceptions */
}

static void op_load_environment(struct dbt_vcpu *v, const struct op *op)
{
    uint8_t bounce[108], copy[108];
    uint64_t linear;

    dbt_x87_check(v);
    linear = dbt_address(v, op, op->memory_size, ACCESS_READ);
    memcpy(copy, dbt_access_begin(v, linear, op->memory_size, ACCESS_READ, bounce), op->memory_size);
    ((thunk_fn *)op->extra)(v, copy);
    load_pointers(v, copy, op->memory_size == 14 || op->memory_size == 94);
    note_masks(v);
}

enum x87_kind dbt_x87_kind(op_fn *execute)
{
    if (execute == op_x87 || execute == op_x87_memory)
        return X87_COMPUTE;
    if (execute == op_x87_control || execute == op_x87_control_memory || execute == op_fnclex)
        return X87_CONTROL;
    if (execute == op_fldcw)
        return X87_LOAD_CONTROL;
    if (execute == op_fninit)
        return X87_INIT;
    return execute == op_fwait ? X87_WAIT : X87_NOT_PLAIN;
}

op_fn *dbt_bind_x87(const struct decode *d, struct op *op)
{
    const ZydisDecodedInstruction *in = d->instruction;
    bool memory = op->flags & OP_MEMORY;

    if (in->mnemonic == ZYDIS_MNEMONIC_FWAIT)
        return op_fwait;
    op->immediate = (uint64_t)(in->opcode & 7) << 8 | (in->raw.modrm.mod << 6) | in->raw.modrm.reg << 3 | in->raw.modrm.rm;
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE:
        return op_store_environment;
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FRSTOR:
        return op_load_environment;
    case ZYDIS_MNEMONIC_FNINIT:
        return op_fninit;
    case ZYDIS_MNEMONIC_FLDCW:
        return op_fldcw;
    case ZYDIS_MNEMONIC_FNCLEX:
        return op_fnclex;
    case ZYDIS_MNEMONIC_FNSTSW:
    case ZYDIS_MNEMONIC_FNSTCW:
    case ZYDIS_MNEMONIC_FENI8087_NOP:
    case ZYDIS_MNEMONIC_FDISI8087_NOP:
    case ZYDIS_MNEMONIC_FSETPM287_NOP:
        return memory ? op_x87_control_memory : op_x87_control;
    default:
        return memory ? op_x87_memory : op_x87;
    }
}
