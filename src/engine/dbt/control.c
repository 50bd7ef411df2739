/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Near control flow: JMP Jcc CALL RET LOOP JCXZ. Every one of them ends its block. */
#include "engine/dbt/alu.h"
#include "engine/dbt/translation.h"

/* Where a near branch may go: canonical, or within CS's limit. Raises #GP(0) before anything changes. */
static uint64_t checked_target(struct dbt_vcpu *v, uint64_t target)
{
    if (dbt_code64(v)) {
        if (UNLIKELY(!dbt_canonical(target)))
            dbt_raise_error(v, X86_GP, 0);
    } else if (UNLIKELY(target > v->segment[X86_CS].limit)) {
        dbt_raise_error(v, X86_GP, 0);
    }
    return target;
}

static uint64_t relative_target(struct dbt_vcpu *v, const struct op *op)
{
    return checked_target(v, truncate_to(v->gpr[GPR_RIP] + op->immediate, op->size));
}

static uint64_t indirect_target(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t linear;

    if (!(op->flags & OP_MEMORY))
        return checked_target(v, truncate_to(v->gpr[op->reg[0]], op->size));
    linear = dbt_address(v, op, op->size, ACCESS_READ);
    return checked_target(v, op->size == 8 ? dbt_load64(v, linear) : op->size == 4 ? dbt_load32(v, linear)
                                                                                   : dbt_load16(v, linear));
}

static void jump_relative(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[GPR_RIP] = relative_target(v, op);
}

static void jump_indirect(struct dbt_vcpu *v, const struct op *op)
{
    v->gpr[GPR_RIP] = indirect_target(v, op);
}

static void call_relative(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t target = relative_target(v, op);

    dbt_push(v, v->gpr[GPR_RIP], op->size);
    v->gpr[GPR_RIP] = target;
}

static void call_indirect(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t target = indirect_target(v, op);

    dbt_push(v, v->gpr[GPR_RIP], op->size);
    v->gpr[GPR_RIP] = target;
}

static void ret64(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t sp = v->gpr[X86_RSP];
    const volatile uint64_t_unaligned *p = dbt_read_fast(v, sp, 8);
    uint64_t target = LIKELY(p != NULL) ? *p : dbt_load64(v, dbt_segment_address(v, X86_SS, sp, 8, ACCESS_READ));

    target = checked_target(v, target);
    v->gpr[X86_RSP] += 8 + op->immediate;
    v->gpr[GPR_RIP] = target;
}

static void ret_sized(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t old = v->gpr[X86_RSP], target = dbt_pop(v, op->size);

    if (target > v->segment[X86_CS].limit && !dbt_code64(v)) {
        v->gpr[X86_RSP] = old;
        dbt_raise_error(v, X86_GP, 0);
    }
    if (v->mode & MODE_STACK32)
        gpr32_set(v, X86_RSP, (uint32_t)(v->gpr[X86_RSP] + op->immediate));
    else
        *gpr16(v, X86_RSP) = (uint16_t)(v->gpr[X86_RSP] + op->immediate);
    v->gpr[GPR_RIP] = target;
}

int64_t dbt_stack_effect(const struct op *op)
{
    if (op->execute == call_indirect)
        return 8;
    return op->execute == ret64 ? -(int64_t)(8 + op->immediate) : 0;
}

#define JCC(cc)                                                        \
    static void j##cc(struct dbt_vcpu *v, const struct op *op)         \
    {                                                                  \
        if (dbt_condition(v, CC_##cc))                                 \
            v->gpr[GPR_RIP] = relative_target(v, op);                  \
    }
DBT_FOR_CONDITIONS(JCC)
#define JCC_ROW(cc) j##cc,
static op_fn *const jcc[16] = {DBT_FOR_CONDITIONS(JCC_ROW)};

/* rCX by address size. */
static uint64_t counter(const struct dbt_vcpu *v, const struct op *op)
{
    return truncate_to(v->gpr[X86_RCX], op->argument);
}

static void count_down(struct dbt_vcpu *v, const struct op *op)
{
    uint64_t count = v->gpr[X86_RCX] - 1;

    if (op->argument == 8)
        v->gpr[X86_RCX] = count;
    else if (op->argument == 4)
        gpr32_set(v, X86_RCX, (uint32_t)count);
    else
        *gpr16(v, X86_RCX) = (uint16_t)count;
}

static void loop_if(struct dbt_vcpu *v, const struct op *op, bool condition)
{
    bool taken = truncate_to(counter(v, op) - 1, op->argument) != 0 && condition;
    uint64_t target = taken ? relative_target(v, op) : v->gpr[GPR_RIP];

    count_down(v, op);
    v->gpr[GPR_RIP] = target;
}

static void loop(struct dbt_vcpu *v, const struct op *op)
{
    loop_if(v, op, true);
}

static void loope(struct dbt_vcpu *v, const struct op *op)
{
    loop_if(v, op, dbt_condition(v, CC_E));
}

static void loopne(struct dbt_vcpu *v, const struct op *op)
{
    loop_if(v, op, dbt_condition(v, CC_NE));
}

static void jcxz(struct dbt_vcpu *v, const struct op *op)
{
    if (counter(v, op) == 0)
        v->gpr[GPR_RIP] = relative_target(v, op);
}

static const struct {
    ZydisMnemonic jump, set, move;
} conditions[16] = {
    {ZYDIS_MNEMONIC_JO, ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_CMOVO},
    {ZYDIS_MNEMONIC_JNO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_CMOVNO},
    {ZYDIS_MNEMONIC_JB, ZYDIS_MNEMONIC_SETB, ZYDIS_MNEMONIC_CMOVB},
    {ZYDIS_MNEMONIC_JNB, ZYDIS_MNEMONIC_SETNB, ZYDIS_MNEMONIC_CMOVNB},
    {ZYDIS_MNEMONIC_JZ, ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_CMOVZ},
    {ZYDIS_MNEMONIC_JNZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_CMOVNZ},
    {ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_CMOVBE},
    {ZYDIS_MNEMONIC_JNBE, ZYDIS_MNEMONIC_SETNBE, ZYDIS_MNEMONIC_CMOVNBE},
    {ZYDIS_MNEMONIC_JS, ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_CMOVS},
    {ZYDIS_MNEMONIC_JNS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_CMOVNS},
    {ZYDIS_MNEMONIC_JP, ZYDIS_MNEMONIC_SETP, ZYDIS_MNEMONIC_CMOVP},
    {ZYDIS_MNEMONIC_JNP, ZYDIS_MNEMONIC_SETNP, ZYDIS_MNEMONIC_CMOVNP},
    {ZYDIS_MNEMONIC_JL, ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_CMOVL},
    {ZYDIS_MNEMONIC_JNL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_CMOVNL},
    {ZYDIS_MNEMONIC_JLE, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_CMOVLE},
    {ZYDIS_MNEMONIC_JNLE, ZYDIS_MNEMONIC_SETNLE, ZYDIS_MNEMONIC_CMOVNLE},
};

int dbt_jump_condition(ZydisMnemonic mnemonic)
{
    for (int i = 0; i < 16; i++)
        if (conditions[i].jump == mnemonic)
            return i;
    return -1;
}

int dbt_set_condition(ZydisMnemonic mnemonic)
{
    for (int i = 0; i < 16; i++)
        if (conditions[i].set == mnemonic)
            return i;
    return -1;
}

int dbt_move_condition(ZydisMnemonic mnemonic)
{
    for (int i = 0; i < 16; i++)
        if (conditions[i].move == mnemonic)
            return i;
    return -1;
}

static op_fn *bind_near(const struct decode *d, struct op *op, op_fn *relative, op_fn *indirect)
{
    if (d->instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return NULL;
    op->flags |= OP_END;
    if (!(op->flags & OP_MEMORY))
        op->segment = X86_SS;
    return dbt_is_immediate(d, 0) ? relative : indirect;
}

static op_fn *bind_return(const struct decode *d, struct op *op)
{
    if (d->instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return NULL;
    op->flags |= OP_END;
    op->segment = X86_SS;
    op->immediate = dbt_is_immediate(d, 0) ? d->operand[0].imm.value.u & 0xffff : 0;
    return (d->mode & MODE_CODE_MASK) == MODE_CODE64 ? ret64 : ret_sized;
}

static op_fn *bind_counted(const struct decode *d, struct op *op, op_fn *handler)
{
    op->flags |= OP_END;
    op->argument = d->instruction->address_width / 8;
    return handler;
}

op_fn *dbt_bind_control(const struct decode *d, struct op *op)
{
    int condition = dbt_jump_condition(d->instruction->mnemonic);

    if (condition >= 0) {
        op->flags |= OP_END;
        return jcc[condition];
    }
    switch (d->instruction->mnemonic) {
    case ZYDIS_MNEMONIC_JMP: return bind_near(d, op, jump_relative, jump_indirect);
    case ZYDIS_MNEMONIC_CALL: return bind_near(d, op, call_relative, call_indirect);
    case ZYDIS_MNEMONIC_RET: return bind_return(d, op);
    case ZYDIS_MNEMONIC_LOOP: return bind_counted(d, op, loop);
    case ZYDIS_MNEMONIC_LOOPE: return bind_counted(d, op, loope);
    case ZYDIS_MNEMONIC_LOOPNE: return bind_counted(d, op, loopne);
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ: return bind_counted(d, op, jcxz);
    default: return NULL;
    }
}
