/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ways between C and translated code, written into the code arena once: enter, exit, calls of the interpreter. */
#include "engine/dbt/arena.h"
#include "engine/dbt/entry_check.h"
#include "engine/dbt/fpu.h"
#include "engine/dbt/translate.h"

#define OTHER_STACK_RUNS 32

static const uint8_t callee_saved[] = {HOST_RBX, HOST_RBP, HOST_R12, HOST_R13, HOST_R14, HOST_R15};

static void emit_push(struct emitter *e, unsigned reg)
{
    if (reg >= 8)
        emit8(e, 0x41);
    emit8(e, 0x50 | (reg & 7));
}

static void emit_pop(struct emitter *e, unsigned reg)
{
    if (reg >= 8)
        emit8(e, 0x41);
    emit8(e, 0x58 | (reg & 7));
}

static void emit_guest_registers(struct emitter *e, bool load)
{
    for (unsigned guest = 0; guest < 16; guest++) {
        if (dbt_host_of[guest] == IN_MEMORY)
            continue;
        if (load)
            emit_load(e, dbt_host_of[guest], dbt_guest_slot(guest));
        else
            emit_store(e, dbt_guest_slot(guest), dbt_host_of[guest]);
    }
}

/* Whole registers, as wide as the guest has been offered: YMM where there is AVX. */
static void emit_vectors(struct emitter *e, bool avx, bool load)
{
    for (unsigned i = 0; i < 16; i++) {
        struct host_memory m = dbt_vcpu_at(offsetof(struct dbt_vcpu, vector) + 64 * i);

        if (avx) {
            emit8(e, 0xc5); /* vmovups ymm */
            emit8(e, i >= 8 ? 0x7c : 0xfc);
            emit8(e, load ? 0x10 : 0x11);
            emit_operand(e, i, m);
        } else {
            emit_memory(e, EMIT_0F, load ? 0x10 : 0x11, i, m);
        }
    }
}

static void emit_set_away(struct emitter *e, uint32_t value)
{
    emit_memory(e, 0, 0xc7, 0, VCPU(vectors_away));
    emit32(e, value);
}

/* If the host has the guest's vector registers, they go to memory. */
static void emit_put_vectors_away(struct emitter *e, bool avx)
{
    uint8_t *skip;

    emit_alu_memory_constant(e, 0, ALU_CMP, VCPU(vectors_away), 0);
    skip = emit_jump_if(e, IF_NE);
    emit_vectors(e, avx, false);
    emit_set_away(e, VECTORS_IN_MEMORY);
    if (avx) {
        emit8(e, 0xc5); /* vzeroupper */
        emit8(e, 0xf8);
        emit8(e, 0x77);
    }
    emit_patch(skip, e->at);
}

static void emit_enter(struct emitter *e)
{
    for (unsigned i = 0; i < ARRAY_SIZE(callee_saved); i++)
        emit_push(e, callee_saved[i]);
    emit_lea(e, true, ADDRESS, at_base(HOST_RDI, VCPU_BIAS));
    emit_push(e, ADDRESS); /* trampolines find the vCPU there again */
    emit_store(e, at_base(HOST_RDI, offsetof(struct dbt_vcpu, host_stack)), HOST_RSP);
    emit_move(e, SCRATCH, HOST_RSI);
    emit_move(e, HOST_RSP, ADDRESS);
    emit_guest_registers(e, true);
    emit_jump_register(e, SCRATCH);
}

static void emit_leave(struct emitter *e)
{
    emit_load(e, HOST_RSP, VCPU(host_stack));
    emit_pop(e, HOST_RDI);
    for (unsigned i = ARRAY_SIZE(callee_saved); i-- > 0;)
        emit_pop(e, callee_saved[i]);
    emit8(e, 0xc3);
}

static void emit_shift(struct emitter *e, bool left, unsigned reg, unsigned by)
{
    emit_registers(e, EMIT_W, 0xc1, left ? 4 : 5, reg);
    emit8(e, by);
}

static struct host_memory indexed(struct host_memory m, unsigned index, unsigned scale)
{
    m.index = (uint8_t)index;
    m.scale = (uint8_t)scale;
    return m;
}

/* The jump table's slot gets the code in RAX; RCX is the CPL, 0 or 3. */
static void emit_refill(struct emitter *e)
{
    emit_alu_constant(e, 0, ALU_AND, HOST_RCX, 1);
    emit_registers(e, 0, 0x69, HOST_RCX, HOST_RCX); /* imul */
    emit32(e, JUMP_SLOTS);
    dbt_emit_jump_slot(e);
    emit_registers(e, 0, 0x03, SCRATCH, HOST_RCX);
    emit_store(e, indexed(VCPU(jump_table), SCRATCH, 3), HOST_RAX);
    emit_move(e, HOST_RCX, ADDRESS);
    emit_shift(e, false, HOST_RCX, 12);
    emit_memory(e, 0, 0x89, HOST_RCX, indexed(VCPU(jump_page), SCRATCH, 2));
}

/* From an offset in the arena to the address. */
static void emit_add_arena(struct emitter *e, const struct code_arena *arena, unsigned reg, unsigned uses)
{
    emit_constant(e, uses, (uint64_t)(uintptr_t)arena->execute);
    emit_registers(e, EMIT_W, 0x03, reg, uses);
}

/* Where the jump table has other code for the address in ADDRESS the reserve may have the right one. RAX and RCX are borrowed. Goes on
 * behind this if not, or if somebody wants attention: that code would come back here. */
static void emit_reserve(struct emitter *e, const struct code_arena *arena)
{
    uint8_t *attention, *not_there[2];

    emit_alu_memory_constant(e, 0, ALU_CMP, VCPU(attention), 0);
    attention = emit_jump_if(e, IF_NE);
    emit_store(e, VCPU(saved_rax), HOST_RAX);
    emit_store(e, VCPU(resume), HOST_RCX);
    emit_move(e, HOST_RAX, ADDRESS);
    emit_shift(e, false, HOST_RAX, JUMP_RESERVE_SHIFT);
    emit_registers(e, 0, 0x33, HOST_RAX, ADDRESS);
    emit_alu_constant(e, 0, ALU_AND, HOST_RAX, JUMP_RESERVE_SLOTS - 1);
    emit_shift(e, true, HOST_RAX, 4); /* times the size of an entry */
    emit_memory(e, EMIT_W, 0x03, HOST_RAX, VCPU(jump_reserve));
    emit_memory(e, EMIT_W, 0x3b, ADDRESS, at_base(HOST_RAX, offsetof(struct jump_reserve, linear)));
    not_there[0] = emit_jump_if(e, IF_NE);
    emit_memory(e, EMIT_0F, 0xb6, HOST_RCX, VCPU(cpl));
    emit_load32(e, SCRATCH, indexed(VCPU(jump_generation), HOST_RCX, 2));
    emit_memory(e, 0, 0x3b, SCRATCH, at_base(HOST_RAX, offsetof(struct jump_reserve, generation)));
    not_there[1] = emit_jump_if(e, IF_NE);
    emit_load32(e, HOST_RAX, at_base(HOST_RAX, offsetof(struct jump_reserve, code)));
    emit_add_arena(e, arena, HOST_RAX, SCRATCH);
    emit_refill(e);
    emit_move(e, SCRATCH, HOST_RAX);
    emit_load(e, HOST_RAX, VCPU(saved_rax));
    emit_load(e, HOST_RCX, VCPU(resume));
    emit_jump_register(e, SCRATCH);
    emit_patch(not_there[0], e->at);
    emit_patch(not_there[1], e->at);
    emit_load(e, HOST_RAX, VCPU(saved_rax));
    emit_load(e, HOST_RCX, VCPU(resume));
    emit_patch(attention, e->at);
}

/* SCRATCH is the result. */
static void emit_exit(struct emitter *e, bool avx)
{
    emit_guest_registers(e, false);
    emit_put_vectors_away(e, avx);
    emit_move(e, HOST_RAX, SCRATCH);
    emit_leave(e);
}

/* Calls function(vCPU, cold data, ADDRESS) with all of the guest's state in memory. */
static void emit_call_c(struct emitter *e, const struct code_arena *arena, bool avx, uintptr_t function)
{
    uint8_t *leave, *jump, *flags, *no_vectors;

    emit_pop(e, SCRATCH);
    emit_guest_registers(e, false);
    emit_add_arena(e, arena, SCRATCH, HOST_RAX);
    emit_load32(e, HOST_RAX, VCPU(vectors_away));
    emit_memory(e, 0, 0x89, HOST_RAX, VCPU(vectors_were_away));
    emit_put_vectors_away(e, avx);
    emit_lea(e, true, HOST_RDI, at_base(HOST_RSP, -(int32_t)VCPU_BIAS));
    emit_move(e, HOST_RSI, SCRATCH);
    emit_move(e, HOST_RDX, ADDRESS);
    emit_load(e, HOST_RSP, VCPU(host_stack));
    emit_constant(e, HOST_RAX, function);
    emit_registers(e, 0, 0xff, 2, HOST_RAX);
    emit_load(e, HOST_RSP, at_base(HOST_RSP, 0));

    emit_alu_constant(e, EMIT_W, ALU_CMP, HOST_RAX, CALL_LEAVE);
    leave = emit_jump_if(e, IF_E);
    emit_alu_constant(e, EMIT_W, ALU_CMP, HOST_RAX, CALL_JUMP);
    jump = emit_jump_if(e, IF_E);
    emit_move(e, ADDRESS, HOST_RAX);
    emit_alu_memory_constant(e, 0, ALU_CMP, VCPU(vectors_were_away), 0);
    no_vectors = emit_jump_if(e, IF_NE);
    emit_vectors(e, avx, true);
    emit_set_away(e, 0); /* an instruction that makes them the interpreter's leaves */
    emit_patch(no_vectors, e->at);
    emit_guest_registers(e, true);
    emit_alu_constant(e, EMIT_W, ALU_CMP, ADDRESS, CALL_NEXT_FLAGS);
    flags = emit_jump_if(e, IF_E);
    emit_memory(e, 0, 0xff, 4, VCPU(resume));
    emit_patch(flags, e->at);
    dbt_emit_restore_flags(e);
    emit_memory(e, 0, 0xff, 4, VCPU(resume));
    emit_patch(jump, e->at);
    emit_load(e, ADDRESS, VCPU(gpr[GPR_RIP]));
    emit_guest_registers(e, true);
    emit_memory(e, 0, 0xff, 4, VCPU(resume));
    emit_patch(leave, e->at);
    emit_registers(e, 0, 0x31, HOST_RAX, HOST_RAX);
    emit_leave(e);
}

static void emit_stack_limits(struct emitter *e, bool open)
{
    emit_memory(e, EMIT_W, 0xc7, 0, VCPU(stack_limit[0]));
    emit32(e, open ? 4096 - 8 + 1 : 0);
    emit_memory(e, EMIT_W, 0xc7, 0, VCPU(stack_limit[1]));
    emit32(e, open ? 4096 - 32 + 1 : 0);
}

/* The window that was open becomes the other one. Leaves SCRATCH as the page of ADDRESS. */
static void emit_keep_other_stack(struct emitter *e)
{
    emit_load(e, SCRATCH, VCPU(stack_base));
    emit_store(e, VCPU(other_stack_base), SCRATCH);
    emit_load(e, SCRATCH, VCPU(stack_limit[1]));
    emit_store(e, VCPU(other_stack_limit), SCRATCH);
    emit_load(e, SCRATCH, VCPU(stack_host));
    emit_store(e, VCPU(other_stack_host), SCRATCH);
    emit_move(e, SCRATCH, ADDRESS);
    emit_alu_constant(e, EMIT_W, ALU_AND, SCRATCH, -4096);
}

static void emit_exchange(struct emitter *e, struct host_memory a, struct host_memory b)
{
    emit_load(e, HOST_RAX, a);
    emit_load(e, SCRATCH, b);
    emit_store(e, b, HOST_RAX);
    emit_store(e, a, SCRATCH);
}

/* The other window is open. Leaves ADDRESS alone. The return address stays in v->pushed meanwhile. */
static void emit_exchange_stacks(struct emitter *e)
{
    emit_lea(e, true, HOST_RSP, at_base(HOST_RSP, 8));
    emit_store(e, VCPU(saved_rax), HOST_RAX);
    emit_exchange(e, VCPU(stack_base), VCPU(other_stack_base));
    emit_exchange(e, VCPU(stack_host), VCPU(other_stack_host));
    emit_exchange(e, VCPU(stack_limit[1]), VCPU(other_stack_limit));
    emit_lea(e, true, SCRATCH, at_base(SCRATCH, 32 - 8));
    emit_store(e, VCPU(stack_limit[0]), SCRATCH);
    emit_memory(e, 0, 0xc7, 0, VCPU(other_stack_runs));
    emit32(e, OTHER_STACK_RUNS);
    emit_load(e, HOST_RAX, VCPU(saved_rax));
    emit_lea(e, true, HOST_RSP, at_base(HOST_RSP, -8));
    emit8(e, 0xc3);
}

/* The stack's page as the TLB has it: if the guest may write there the window opens; if it only reads, the page serves this once.
 * Else, or if the operand does not lie in it as it should, it is an access like any other. RAX is borrowed. */
static void emit_stack(struct emitter *e, const struct code_arena *arena, const uint8_t *access)
{
    uint8_t *not_there[2], *read_only, *found, *not_whole, *not_aligned;

    emit_pop(e, SCRATCH);
    emit_store(e, VCPU(saved_rax), HOST_RAX);
    emit_add_arena(e, arena, SCRATCH, HOST_RAX);
    emit_store(e, VCPU(resume), SCRATCH);
    dbt_emit_tlb_entry(e, HOST_RAX);
    emit_move(e, SCRATCH, ADDRESS);
    emit_alu_constant(e, EMIT_W, ALU_AND, SCRATCH, -4096);
    emit_memory(e, EMIT_W, 0x3b, SCRATCH, at_base(HOST_RAX, offsetof(struct tlb_entry, write)));
    read_only = emit_jump_if(e, IF_NE);
    emit_keep_other_stack(e);
    emit_stack_limits(e, true);
    found = emit_jump(e);
    emit_patch(read_only, e->at);
    emit_memory(e, EMIT_W, 0x3b, SCRATCH, at_base(HOST_RAX, offsetof(struct tlb_entry, read)));
    not_there[0] = emit_jump_if(e, IF_NE);
    emit_load(e, SCRATCH, VCPU(resume));
    emit_memory(e, EMIT_BYTE, 0xf6, 0, at_base(SCRATCH, offsetof(struct cold_data, access))); /* test */
    emit8(e, ACCESS_WRITE);
    not_there[1] = emit_jump_if(e, IF_NE);
    emit_move(e, SCRATCH, ADDRESS);
    emit_alu_constant(e, EMIT_W, ALU_AND, SCRATCH, -4096);
    emit_stack_limits(e, false);
    emit_patch(found, e->at);
    emit_store(e, VCPU(stack_base), SCRATCH);
    emit_load(e, SCRATCH, at_base(HOST_RAX, offsetof(struct tlb_entry, host)));
    emit_store(e, VCPU(stack_host), SCRATCH);
    emit_load(e, SCRATCH, VCPU(resume));
    emit_memory(e, EMIT_W, 0x2b, ADDRESS, VCPU(stack_base));
    emit_memory(e, EMIT_0F, 0xb6, HOST_RAX, at_base(SCRATCH, offsetof(struct cold_data, size)));
    emit_registers(e, 0, 0x03, HOST_RAX, ADDRESS);
    emit_alu_constant(e, 0, ALU_CMP, HOST_RAX, 4096);
    not_whole = emit_jump_if(e, IF_A);
    emit_memory(e, EMIT_0F, 0xb6, HOST_RAX, at_base(SCRATCH, offsetof(struct cold_data, align)));
    emit_registers(e, 0, 0x85, HOST_RAX, ADDRESS);
    not_aligned = emit_jump_if(e, IF_NE);
    emit_memory(e, EMIT_W, 0x63, HOST_RAX, at_base(SCRATCH, offsetof(struct cold_data, retry))); /* movsxd */
    emit_registers(e, EMIT_W, 0x03, SCRATCH, HOST_RAX);
    emit_load(e, HOST_RAX, VCPU(saved_rax));
    emit_memory(e, EMIT_W, 0x03, ADDRESS, VCPU(stack_host));
    emit_jump_register(e, SCRATCH);

    emit_patch(not_whole, e->at);
    emit_patch(not_aligned, e->at);
    emit_memory(e, EMIT_W, 0x03, ADDRESS, VCPU(stack_base));
    emit_patch(not_there[0], e->at);
    emit_patch(not_there[1], e->at);
    emit_load(e, SCRATCH, VCPU(resume));
    emit_constant(e, HOST_RAX, (uint64_t)(uintptr_t)arena->execute);
    emit_registers(e, EMIT_W, 0x2b, SCRATCH, HOST_RAX);
    emit_load(e, HOST_RAX, VCPU(saved_rax));
    emit_push(e, SCRATCH);
    emit_jump_to(e, access);
}

/* Back to the linear address: the entry is still the one that was looked at. */
static uint8_t *emit_missed(struct emitter *e, bool write, const uint8_t *function)
{
    uint8_t *start = e->at;

    emit_memory(e, EMIT_W, 0x33, ADDRESS, at_base(SCRATCH, dbt_tag_offset(write ? ACCESS_WRITE : ACCESS_READ)));
    emit_jump_to(e, function);
    return start;
}

/* At the head of a translation that uses vectors. Those with unmasked exceptions are the interpreter's: then it leaves. */
static void emit_load_vectors(struct emitter *e, bool avx)
{
    uint8_t *refused;

    emit_alu_memory_constant(e, 0, ALU_CMP, VCPU(vectors_away), VECTORS_IN_MEMORY);
    refused = emit_jump_if(e, IF_NE);
    emit_vectors(e, avx, true);
    emit_set_away(e, 0);
    emit_jump_register(e, SCRATCH);
    emit_patch(refused, e->at);
    emit_registers(e, 0, 0x31, SCRATCH, SCRATCH);
    emit_exit(e, avx);
}

enter_fn *dbt_emit_trampolines(struct dbt_vcpu *v, struct code_arena *arena, struct trampolines *ret_trampolines)
{
    struct emitter e = {.at = arena->write};
    bool avx = dbt_cpuid_bit(v, 1, 0, CPUID_ECX, 28);
    enter_fn *enter = (enter_fn *)(uintptr_t)arena->execute;

    emit_enter(&e);
    ret_trampolines->exit_to_address = e.at;
    emit_reserve(&e, arena);
    emit_store(&e, VCPU(gpr[GPR_RIP]), ADDRESS);
    emit_registers(&e, 0, 0x31, SCRATCH, SCRATCH);
    ret_trampolines->exit = e.at;
    emit_exit(&e, avx);
    ret_trampolines->interpret = e.at;
    emit_call_c(&e, arena, avx, (uintptr_t)dbt_translated_interpret);
    dbt_emit_syscall_trampolines(&e, ret_trampolines);
    ret_trampolines->access = e.at;
    emit_call_c(&e, arena, avx, (uintptr_t)dbt_translated_access);
    ret_trampolines->shared = e.at;
    emit_call_c(&e, arena, avx, (uintptr_t)dbt_translated_shared);
    ret_trampolines->entered = e.at;
    emit_call_c(&e, arena, avx, (uintptr_t)dbt_translated_entered);
    ret_trampolines->elsewhere = e.at;
    emit_call_c(&e, arena, avx, (uintptr_t)dbt_translated_elsewhere);
    ret_trampolines->stack = e.at;
    emit_stack(&e, arena, ret_trampolines->access);
    for (unsigned write = 0; write < 2; write++) {
        ret_trampolines->missed[write] = emit_missed(&e, write, ret_trampolines->access);
        ret_trampolines->missed_shared[write] = emit_missed(&e, write, ret_trampolines->shared);
    }
    ret_trampolines->exchange_stacks = e.at;
    emit_exchange_stacks(&e);
    ret_trampolines->load_vectors = e.at;
    emit_load_vectors(&e, avx);
    arena->used = (size_t)(e.at - arena->write);
    return enter;
}
