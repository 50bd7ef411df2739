/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYSCALL from 64-bit user code and SYSRET to it without C: the common case by the vCPU's fields, all else is the interpreter's.
 *
 * What is common: the same mode of code on both sides, no trap and no alignment check by flags, nothing that waits for interrupts to be
 * enabled, and everything that C would have to choose is chosen: segments for the present STAR (syscall.c), TLBs of the present space
 * (tlb.c), jump tables of that mode, no mirror. */
#include "engine/dbt/state.h"
#include "engine/dbt/translate.h"

#define MISSES_MAX 12u

struct misses { /* jumps to the interpreter */
    uint8_t *distance[MISSES_MAX];
    unsigned count;
};

static void emit_miss_if(struct emitter *e, struct misses *misses, unsigned condition)
{
    misses->distance[misses->count++] = emit_jump_if(e, condition);
}

/* What was pushed for the interpreter waits: the vCPU's fields are where RSP is without it. */
static void emit_take_pushed(struct emitter *e)
{
    emit_bytes(e, (const uint8_t[]){0x41, 0x5b}, 2); /* pop SCRATCH */
    emit_store(e, VCPU(resume), SCRATCH);
}

static void emit_test(struct emitter *e, unsigned reg, uint32_t bits)
{
    emit_registers(e, 0, 0xf7, 0, reg);
    emit32(e, bits);
}

static struct host_memory table_mode(unsigned user)
{
    return dbt_vcpu_at(offsetof(struct dbt_vcpu, jump_table_mode) + 4 * user);
}

/* EFER.SCE, and the segments in v->fast_call are those of the present STAR. */
static void emit_check_registers(struct emitter *e, struct misses *misses)
{
    emit_memory(e, EMIT_BYTE, 0xf6, 0, VCPU(msr.efer)); /* test */
    emit8(e, X86_EFER_SCE);
    emit_miss_if(e, misses, IF_E);
    emit_load(e, SCRATCH, VCPU(msr.star));
    emit_memory(e, EMIT_W, 0x3b, SCRATCH, VCPU(fast_call.star));
    emit_miss_if(e, misses, IF_NE);
}

/* The jump table of the other side is for the same mode of code. */
static void emit_check_table(struct emitter *e, struct misses *misses, unsigned user)
{
    emit_load32(e, SCRATCH, VCPU(mode));
    if (user)
        emit_alu_constant(e, 0, ALU_OR, SCRATCH, MODE_USER);
    emit_memory(e, 0, 0x3b, SCRATCH, table_mode(user));
    emit_miss_if(e, misses, IF_NE);
}

static void emit_check_tlb(struct emitter *e, struct misses *misses, struct host_memory tlb)
{
    emit_alu_memory_constant(e, EMIT_W, ALU_CMP, tlb, 0);
    emit_miss_if(e, misses, IF_E);
}

/* RFLAGS = ADDRESS, which has no TF, RF, VM and AC. */
static void emit_set_flags(struct emitter *e)
{
    emit_move(e, SCRATCH, ADDRESS);
    emit_registers(e, 0, 0xc1, 5, SCRATCH); /* shr */
    emit8(e, 11);
    emit_alu_constant(e, 0, ALU_AND, SCRATCH, 1);
    emit_memory(e, EMIT_BYTE, 0x88, SCRATCH, VCPU(overflow));
    emit_move(e, SCRATCH, ADDRESS);
    emit_alu_constant(e, 0, ALU_AND, SCRATCH, ARITHMETIC_FLAGS);
    emit_alu_constant(e, 0, ALU_OR, SCRATCH, 2);
    emit_memory(e, EMIT_BYTE, 0x88, SCRATCH, VCPU(flags));
    emit_alu_constant(e, 0, ALU_AND, ADDRESS, (int32_t)(RFLAGS_WRITABLE & ~(uint64_t)(ARITHMETIC_FLAGS | X86_OF)));
    emit_alu_constant(e, 0, ALU_OR, ADDRESS, 2);
    emit_store(e, VCPU(rflags), ADDRESS);
}

/* CS, SS, CPL, the TLB; the stack windows belong to the other one's rights. */
static void emit_change_privilege(struct emitter *e, unsigned user)
{
    size_t from = user ? offsetof(struct dbt_vcpu, fast_call.sysret) : offsetof(struct dbt_vcpu, fast_call.syscall);

    _Static_assert(X86_SS == X86_CS + 1 && sizeof(struct x86_segment) % 8 == 0, "both are copied at once");
    for (unsigned i = 0; i < 2 * sizeof(struct x86_segment); i += 8) {
        emit_load(e, SCRATCH, dbt_vcpu_at(from + i));
        emit_store(e, dbt_vcpu_at(offsetof(struct dbt_vcpu, segment[X86_CS]) + i), SCRATCH);
    }
    emit_memory(e, EMIT_BYTE, 0xc6, 0, VCPU(cpl));
    emit8(e, user ? 3 : 0);
    emit_load(e, SCRATCH, user ? VCPU(user_tlb) : VCPU(supervisor_tlb[0]));
    emit_store(e, VCPU(tlb), SCRATCH);
    emit_memory(e, 0, 0xc7, 0, VCPU(tlb_mode));
    emit32(e, user ? TLB_USER : TLB_SUPERVISOR);
    emit_registers(e, 0, 0x31, SCRATCH, SCRATCH);
    emit_store(e, VCPU(stack_limit[0]), SCRATCH);
    emit_store(e, VCPU(stack_limit[1]), SCRATCH);
    emit_store(e, VCPU(other_stack_limit), SCRATCH);
    emit_memory(e, 0, 0x89, SCRATCH, VCPU(last_indirect));
}

/* On to the code for ADDRESS. */
static void emit_go_on(struct emitter *e, unsigned user)
{
    struct host_memory table = dbt_vcpu_at(offsetof(struct dbt_vcpu, jump_table) + user * sizeof(((struct dbt_vcpu *)NULL)->jump_table[0]));

    dbt_emit_jump_slot(e);
    table.index = SCRATCH;
    table.scale = 3;
    emit_memory(e, 0, 0xff, 4, table);
}

static void emit_misses(struct emitter *e, const struct misses *misses, const uint8_t *interpret)
{
    for (unsigned i = 0; i < misses->count; i++)
        emit_patch(misses->distance[i], e->at);
    emit_memory(e, 0, 0xff, 6, VCPU(resume)); /* push */
    emit_jump_to(e, interpret);
}

/* At CPL 3 with the next instruction's address in ADDRESS and the flags in memory. */
static void emit_syscall(struct emitter *e, const uint8_t *interpret)
{
    struct misses misses = {.count = 0};

    emit_take_pushed(e);
    emit_check_registers(e, &misses);
    emit_check_table(e, &misses, 0);
    emit_memory(e, 0, 0xf7, 0, VCPU(rflags)); /* test */
    emit32(e, X86_TF | X86_RF | X86_AC);
    emit_miss_if(e, &misses, IF_NE);
    emit_check_tlb(e, &misses, VCPU(supervisor_tlb[0]));

    emit_move(e, HOST_RCX, ADDRESS);
    emit_memory(e, EMIT_0F, 0xb6, SCRATCH, VCPU(overflow)); /* movzx */
    emit_registers(e, 0, 0xc1, 4, SCRATCH); /* shl */
    emit8(e, 11);
    emit_memory(e, EMIT_0F, 0xb6, ADDRESS, VCPU(flags));
    emit_registers(e, EMIT_W, 0x09, ADDRESS, SCRATCH); /* or */
    emit_memory(e, EMIT_W, 0x0b, SCRATCH, VCPU(rflags));
    emit_store(e, VCPU(gpr[X86_R11]), SCRATCH);
    emit_load(e, ADDRESS, VCPU(msr.sfmask));
    emit_registers(e, EMIT_W, 0xf7, 2, ADDRESS); /* not */
    emit_registers(e, EMIT_W, 0x21, SCRATCH, ADDRESS); /* and */
    emit_set_flags(e);
    emit_change_privilege(e, 0);
    emit_load(e, ADDRESS, VCPU(msr.lstar));
    emit_go_on(e, 0);
    emit_misses(e, &misses, interpret);
}

static void emit_sysret(struct emitter *e, const uint8_t *interpret)
{
    struct misses misses = {.count = 0};

    emit_take_pushed(e);
    emit_alu_memory_constant(e, EMIT_BYTE, ALU_CMP, VCPU(cpl), 0);
    emit_miss_if(e, &misses, IF_NE);
    emit_check_registers(e, &misses);
    emit_alu_memory_constant(e, EMIT_BYTE, ALU_CMP, VCPU(mirrored), 0);
    emit_miss_if(e, &misses, IF_NE);
    emit_check_table(e, &misses, 1);
    emit_check_tlb(e, &misses, VCPU(user_tlb));
    emit_alu_memory_constant(e, EMIT_BYTE, ALU_CMP, VCPU(interrupt_line), 0);
    emit_miss_if(e, &misses, IF_NE);
    emit_move(e, ADDRESS, HOST_RCX); /* canonical? */
    emit_registers(e, EMIT_W, 0xc1, 4, ADDRESS); /* shl */
    emit8(e, 16);
    emit_registers(e, EMIT_W, 0xc1, 7, ADDRESS); /* sar */
    emit8(e, 16);
    emit_registers(e, EMIT_W, 0x3b, ADDRESS, HOST_RCX);
    emit_miss_if(e, &misses, IF_NE);
    emit_load(e, ADDRESS, VCPU(gpr[X86_R11]));
    emit_test(e, ADDRESS, X86_TF | X86_AC);
    emit_miss_if(e, &misses, IF_NE);

    emit_alu_constant(e, 0, ALU_AND, ADDRESS, ~(int32_t)(X86_RF | X86_VM));
    emit_set_flags(e);
    emit_change_privilege(e, 1);
    emit_move(e, ADDRESS, HOST_RCX);
    emit_go_on(e, 1);
    emit_misses(e, &misses, interpret);
}

void dbt_emit_syscall_trampolines(struct emitter *e, struct trampolines *trampolines)
{
    trampolines->syscall = e->at;
    emit_syscall(e, trampolines->interpret);
    trampolines->sysret = e->at;
    emit_sysret(e, trampolines->interpret);
}
