/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory operands of 64-bit code in a mirror whose upper windows are at one distance from the host's addresses: the GS base.
 *
 * An operand is then the guest's own, with a GS prefix, if the registers that it is made of are known to lead into a window or near
 * one: nothing else is ever mapped within REACH of the windows. So what is known of registers is followed through a translation. A register
 * of which nothing is known is compared once (COLD_ELSEWHERE); what was accessed without a fault lies in a window; moves and
 * additions of what is known are known. The lower window is at the guest's own addresses: there numbers below its end do, without
 * a prefix. Why that is safe: docs/decisions/0011-direct-operands.md.
 *
 * RSP points into an upper window, or STACK_REACH beside it, wherever such a translation is entered or left. */
#include "engine/dbt/mirror.h"

#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"

#define REACH MIRROR_REACH
#define STACK_REACH 131072
#define NUMBER_32 ((struct place){PLACE_NUMBER, 0, UINT32_MAX})
#define AT_STACK ((struct place){PLACE_WINDOW, -STACK_REACH, STACK_REACH})

static const struct place unknown = {PLACE_UNKNOWN, 0, 0};

/* --- what is known --------------------------------------------------------------------------------------------------------- */

static struct place number(int64_t low, int64_t high)
{
    return low < -REACH || high > REACH ? unknown : (struct place){PLACE_NUMBER, low, high};
}

static struct place moved(struct place p, int64_t low, int64_t high)
{
    if (p.kind == PLACE_UNKNOWN || p.low + low < -REACH || p.high + high > REACH)
        return unknown;
    return (struct place){p.kind, p.low + low, p.high + high};
}

static struct place added(struct place a, struct place b)
{
    if (b.kind == PLACE_NUMBER)
        return moved(a, b.low, b.high);
    return a.kind == PLACE_NUMBER ? moved(b, a.low, a.high) : unknown;
}

static struct place scaled(struct place p, unsigned shift)
{
    return p.kind == PLACE_NUMBER || shift == 0 ? (struct place){p.kind, p.low * (1 << shift), p.high * (1 << shift)} : unknown;
}

static struct place register_place(const struct translator *t, unsigned gpr)
{
    return gpr < 16 ? t->place[gpr] : number(0, 0);
}

/* Of base and index, without the displacement. */
static struct place sum_of(const struct translator *t, const struct op *op)
{
    struct place sum = added(register_place(t, op->base), scaled(register_place(t, op->index), op->scale));

    if (sum.kind == PLACE_UNKNOWN && t->sum.kind != PLACE_UNKNOWN && t->sum_base == op->base && t->sum_index == op->index &&
        t->sum_scale == op->scale)
        return t->sum;
    return sum.low < -REACH || sum.high > REACH ? unknown : sum;
}

void dbt_direct_forget(struct translator *t)
{
    memset(t->place, 0, sizeof(t->place));
    t->sum = unknown;
    t->segment_checked[0] = t->segment_checked[1] = false;
    t->place[X86_RSP] = AT_STACK;
}

void dbt_direct_begin(struct translator *t)
{
    t->direct = t->mirror && t->v->mirror_direct && t->code64;
    dbt_direct_forget(t);
}

bool dbt_operands_are_direct(const struct translator *t)
{
    return t->direct && (t->v->mirror_low || dbt_mirror_window(t->out->linear) != 0);
}

static struct place window_place(uint64_t linear)
{
    int window = dbt_mirror_window(linear);

    if (window > 0)
        return (struct place){PLACE_WINDOW, 0, 0};
    return window == 0 ? number((int64_t)linear, (int64_t)linear) : unknown;
}

static struct place of_lea(const struct translator *t, const struct guest_instruction *g)
{
    struct place sum;

    if (g->operand[1].mem.base == ZYDIS_REGISTER_RIP)
        return window_place(g->next_rip + (uint64_t)(int64_t)g->op.displacement);
    if (g->decoded->address_width != 64)
        return NUMBER_32;
    sum = added(register_place(t, g->op.base), scaled(register_place(t, g->op.index), g->op.scale));
    return moved(sum, g->op.displacement, g->op.displacement);
}

/* A source operand; of memory nothing is known. */
static struct place source(const struct translator *t, const struct guest_instruction *g, unsigned i)
{
    const ZydisDecodedOperand *o = &g->operand[i];

    if (o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return number((int64_t)g->op.immediate, (int64_t)g->op.immediate);
    if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->size == 64 && dbt_thunk_is_gpr(o->reg.value))
        return t->place[dbt_thunk_gpr_number(o->reg.value)];
    return unknown;
}

/* With a mask: as far down as it clears bits, or below it. */
static struct place of_and(struct place p, const struct guest_instruction *g)
{
    int64_t mask = (int64_t)g->op.immediate;

    if (g->operand[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return unknown;
    return mask >= 0 ? number(0, mask) : moved(p, mask + 1, 0);
}

static struct place of_shift(struct place p, const struct guest_instruction *g)
{
    uint64_t by = g->op.immediate & 63;

    if (g->decoded->opcode != 0xc1) /* by a constant in the code */
        return unknown;
    if (g->decoded->mnemonic == ZYDIS_MNEMONIC_SHR)
        return by >= 64 - MIRROR_REACH_BITS ? number(0, (int64_t)(UINT64_MAX >> by)) : unknown;
    if (p.kind != PLACE_NUMBER || by > 8)
        return unknown;
    return number(p.low * (1 << by), p.high * (1 << by));
}

/* What is in the first operand, a register of 64 bits, behind the instruction. */
static struct place result64(const struct translator *t, const struct guest_instruction *g)
{
    struct place to = source(t, g, 0), from = g->decoded->operand_count_visible > 1 ? source(t, g, 1) : unknown;

    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_MOV: return from;
    case ZYDIS_MNEMONIC_MOVZX: return number(0, 0xffff);
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD: return g->operand[1].size <= 32 ? number(INT32_MIN, INT32_MAX) : unknown;
    case ZYDIS_MNEMONIC_LEA: return of_lea(t, g);
    case ZYDIS_MNEMONIC_INC: return moved(to, 1, 1);
    case ZYDIS_MNEMONIC_DEC: return moved(to, -1, -1);
    case ZYDIS_MNEMONIC_ADD: return added(to, from);
    case ZYDIS_MNEMONIC_SUB: return from.kind == PLACE_NUMBER ? moved(to, -from.high, -from.low) : unknown;
    case ZYDIS_MNEMONIC_AND: return of_and(to, g);
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR: return of_shift(to, g);
    default: return unknown;
    }
}

/* A register of 32 bits, where the upper half is zero then whatever the operands are. */
static struct place result32(const struct guest_instruction *g)
{
    bool constant = g->decoded->operand_count_visible > 1 && g->operand[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;

    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_AND:
        return constant ? number(0, (uint32_t)g->op.immediate) : NUMBER_32;
    case ZYDIS_MNEMONIC_MOV:
        return constant ? number((uint32_t)g->op.immediate, (uint32_t)g->op.immediate) : NUMBER_32;
    case ZYDIS_MNEMONIC_MOVZX:
        return number(0, 0xffff);
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
    case ZYDIS_MNEMONIC_LEA:
    case ZYDIS_MNEMONIC_INC:
    case ZYDIS_MNEMONIC_DEC:
    case ZYDIS_MNEMONIC_NEG:
    case ZYDIS_MNEMONIC_NOT:
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_ADC:
    case ZYDIS_MNEMONIC_SBB:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_XOR:
    case ZYDIS_MNEMONIC_IMUL:
        return NUMBER_32;
    default:
        return unknown;
    }
}

static struct place result(const struct translator *t, const struct guest_instruction *g)
{
    unsigned size = g->operand[0].size;

    if (size == 64)
        return result64(t, g);
    if (size == 32)
        return result32(g);
    return unknown;
}

static void write_registers(struct translator *t, const struct guest_instruction *g)
{
    const ZydisDecodedOperand *to = &g->operand[0];
    bool known = g->decoded->operand_count_visible > 0 && to->type == ZYDIS_OPERAND_TYPE_REGISTER && dbt_thunk_is_gpr(to->reg.value) &&
                 (to->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
    unsigned first = known ? dbt_thunk_gpr_number(to->reg.value) : 16;
    struct place value = known ? result(t, g) : unknown;

    for (unsigned i = 0; i < 16; i++)
        if (g->written & 1u << i)
            t->place[i] = i == first ? value : unknown;
    if (t->sum.kind != PLACE_UNKNOWN && (g->written & (1u << t->sum_base | 1u << t->sum_index)))
        t->sum = unknown;
}

/* --- where the distance holds ---------------------------------------------------------------------------------------------- */

/* Of bits 42 and up the lowest eight are compared. What has others above them set is no canonical address: its access faults. */
static void emit_window_number(struct emitter *e, unsigned reg)
{
    if (__builtin_cpu_supports("bmi2")) {
        emit_rotate(e, true, SCRATCH, reg, MIRROR_WINDOW_SHIFT);
        return;
    }
    emit_move(e, SCRATCH, reg);
    emit_registers(e, EMIT_W, 0xc1, 5, SCRATCH); /* shr */
    emit8(e, MIRROR_WINDOW_SHIFT);
}

static unsigned window_number(unsigned window)
{
    return window == 1 ? MIRROR_PROGRAMS : MIRROR_LIBRARIES;
}

static uint8_t *emit_compare_number(struct emitter *e, unsigned window, unsigned condition)
{
    emit_alu_constant(e, EMIT_BYTE, ALU_CMP, SCRATCH, (int32_t)window_number(window));
    return emit_jump_if(e, condition);
}

static struct place emit_compare(struct translator *t, const struct guest_instruction *g, unsigned reg, unsigned window)
{
    struct emitter *e = &t->e;
    struct cold *cold;

    if (window == 0) {
        emit_memory(e, EMIT_W, 0x3b, reg, dbt_mirror_field(0, offsetof(struct mirror_window, limit))); /* cmp */
        cold = dbt_cold(t, COLD_ELSEWHERE, g, emit_jump_if(e, IF_AE));
    } else {
        emit_window_number(e, reg);
        cold = dbt_cold(t, COLD_ELSEWHERE, g, emit_compare_number(e, window, IF_NE));
    }
    cold->retry = e->at;
    cold->window = (uint8_t)window;
    t->host_flags = false;
    if (window == 0)
        return number(0, (int64_t)(t->v->mirror_window[0].limit - 1));
    return (struct place){PLACE_WINDOW, 0, 0};
}

void dbt_emit_elsewhere(struct translator *t, const struct cold *cold)
{
    if (cold->window != 0)
        emit_patch(emit_compare_number(&t->e, 3u - cold->window, IF_E), cold->retry);
}

static unsigned take_register(struct translator *t, unsigned gpr)
{
    if (dbt_host_of[gpr] == IN_MEMORY)
        t->address_holds = 0;
    return dbt_in_register(t, gpr, ADDRESS);
}

/* Base and index together, into SCRATCH. */
static void emit_register_sum(struct translator *t, const struct op *op)
{
    struct host_memory h = {.base = HOST_NONE, .scale = op->scale};

    if (op->base < 16)
        h.base = (uint8_t)take_register(t, op->base);
    h.index = (uint8_t)dbt_in_register(t, op->index, SCRATCH);
    emit_lea(&t->e, true, SCRATCH, h);
}

/* Compares the register that matters, or else the sum. */
static bool emit_find(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand)
{
    const struct op *op = &g->op;
    unsigned window = dbt_mirror_guess(t, g, operand);
    struct place base = register_place(t, op->base), index = register_place(t, op->index);

    if (window == 0 && !t->v->mirror_low)
        return false;
    dbt_flags_spare(t, g);
    if (index.kind == PLACE_NUMBER && base.kind == PLACE_UNKNOWN) {
        t->place[op->base] = emit_compare(t, g, take_register(t, op->base), window);
    } else if (base.kind == PLACE_NUMBER && index.kind == PLACE_UNKNOWN && op->scale == 0) {
        t->place[op->index] = emit_compare(t, g, take_register(t, op->index), window);
    } else {
        emit_register_sum(t, op);
        t->sum = emit_compare(t, g, SCRATCH, window);
        t->sum_base = op->base;
        t->sum_index = op->index;
        t->sum_scale = op->scale;
    }
    return true;
}

/* --- operands -------------------------------------------------------------------------------------------------------------- */

static struct host_memory emit_form(struct translator *t, const struct op *op)
{
    struct host_memory h = {.base = HOST_NONE, .index = HOST_NONE, .scale = op->scale, .displacement = op->displacement};

    if (op->base < 16)
        h.base = (uint8_t)take_register(t, op->base);
    if (op->index >= 16)
        return h;
    if (op->base >= 16) {
        h.index = (uint8_t)take_register(t, op->index);
    } else if (dbt_host_of[op->index] != IN_MEMORY) {
        h.index = dbt_host_of[op->index];
    } else { /* the instruction may need SCRATCH */
        t->address_holds = 0;
        emit_load(&t->e, SCRATCH, dbt_guest_slot(op->index));
        emit_lea(&t->e, true, ADDRESS, (struct host_memory){.base = h.base, .index = SCRATCH, .scale = op->scale});
        h.base = ADDRESS;
    }
    return h;
}

/* Behind an access without a fault: it was in a window (dbt_translated_interpret() sees to the others). */
static void learn(struct translator *t, const struct op *op)
{
    struct place *p = &t->place[op->base & 15];

    if (op->base >= 16 || op->index < 16)
        return;
    if (p->kind == PLACE_WINDOW)
        *p = (struct place){PLACE_WINDOW, -(int64_t)op->displacement, -(int64_t)op->displacement};
}

static bool emit_by_registers(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size,
                              struct host_memory *ret_memory)
{
    const struct op *op = &g->op;
    struct place all;

    if (sum_of(t, op).kind == PLACE_UNKNOWN && !emit_find(t, g, operand))
        return false;
    all = moved(sum_of(t, op), op->displacement, (int64_t)op->displacement + size);
    if (all.kind == PLACE_UNKNOWN || (all.kind == PLACE_NUMBER && !t->v->mirror_low))
        return false;
    *ret_memory = emit_form(t, op);
    ret_memory->gs = all.kind == PLACE_WINDOW;
    learn(t, op);
    return true;
}

/* Thread-local variables: off FS as it is, or off what else is added, which has to be compared each time. */
static bool emit_by_segment(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand,
                            struct host_memory *ret_memory)
{
    unsigned segment = (unsigned)(operand->mem.segment - ZYDIS_REGISTER_ES);
    unsigned window = dbt_mirror_guess(t, g, operand);
    bool plain = g->op.base >= 16 && g->op.index >= 16, *checked = &t->segment_checked[segment - X86_FS];

    if (window == 0 && !t->v->mirror_low)
        return false;
    t->address_holds = 0;
    if (!(plain && *checked))
        dbt_flags_spare(t, g);
    if (plain)
        emit_load(&t->e, ADDRESS, dbt_vcpu_at(offsetof(struct dbt_vcpu, segment_base) + 8u * segment));
    else
        dbt_emit_address(t, g, operand);
    if (!(plain && *checked))
        emit_compare(t, g, ADDRESS, window);
    *checked = *checked || plain;
    *ret_memory = at_base(ADDRESS, plain ? g->op.displacement : 0);
    ret_memory->gs = window != 0;
    return true;
}

/* In the lower window an absolute address is the operand; elsewhere a constant is made (translate_mirror.c). */
static bool by_constant(const struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size,
                        struct host_memory *ret_memory)
{
    uint64_t linear = (operand->mem.base == ZYDIS_REGISTER_RIP ? g->next_rip : 0) + (uint64_t)(int64_t)g->op.displacement;

    if (!t->v->mirror_low || dbt_mirror_window(linear) != 0 || linear + size > INT32_MAX)
        return false;
    *ret_memory = (struct host_memory){.base = HOST_NONE, .index = HOST_NONE, .displacement = (int32_t)linear};
    return true;
}

static bool find_operand(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size,
                         struct host_memory *ret_memory)
{
    const ZydisDecodedOperandMem *m = &operand->mem;

    if (m->segment == ZYDIS_REGISTER_FS || m->segment == ZYDIS_REGISTER_GS)
        return m->base != ZYDIS_REGISTER_RIP && emit_by_segment(t, g, operand, ret_memory);
    if (m->base == ZYDIS_REGISTER_RIP || (g->op.base >= 16 && g->op.index >= 16))
        return by_constant(t, g, operand, size, ret_memory);
    return emit_by_registers(t, g, operand, size, ret_memory);
}

bool dbt_emit_direct(struct translator *t, const struct guest_instruction *g, const ZydisDecodedOperand *operand, unsigned size,
                     struct host_memory *ret_memory)
{
    if (!dbt_uses_mirror(t, g) || operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM || g->decoded->address_width != 64 ||
        dbt_mirror_distrusts(t->v, g->next_rip - g->op.length) || !find_operand(t, g, operand, size, ret_memory))
        return false;
    dbt_cold_mirrored(t, g, size)->where = OPERAND_EXPLICIT;
    return true;
}

/* --- the stack ------------------------------------------------------------------------------------------------------------- */

static struct host_memory stack_word(int32_t displacement)
{
    return (struct host_memory){.base = GUEST_RSP, .index = HOST_NONE, .gs = true, .displacement = displacement};
}

void dbt_direct_words(struct translator *t, const struct guest_instruction *g, unsigned run, int32_t offset, bool push)
{
    struct cold *cold = dbt_cold_mirrored(t, g, 8);

    cold->kind = COLD_WORDS;
    cold->run = (uint8_t)run;
    cold->step = push ? -8 : 8;
    cold->where = push ? OPERAND_PUSHED : OPERAND_POPPED;
    t->words = cold;
    t->words_offset = offset;
    t->words_done = 0;
}

struct host_memory dbt_direct_next_word(struct translator *t, int32_t offset)
{
    t->words->word[t->words_done++] = t->e.at;
    return stack_word(t->words_offset + offset);
}

bool dbt_emit_direct_frame(struct translator *t, const struct guest_instruction *g)
{
    struct place *frame = &t->place[X86_RBP];

    if (dbt_mirror_distrusts(t->v, g->next_rip - g->op.length) || frame->kind == PLACE_NUMBER)
        return false;
    if (frame->kind == PLACE_UNKNOWN) {
        dbt_flags_spare(t, g);
        *frame = emit_compare(t, g, HOST_RBP, 2);
    }
    dbt_cold_mirrored(t, g, 8)->where = OPERAND_FRAME;
    return true;
}

static bool is_settled(struct place p)
{
    return p.kind == PLACE_WINDOW && p.low >= -STACK_REACH && p.high <= STACK_REACH;
}

/* Compared, with the flags kept that somebody may read. */
static void emit_check_stack(struct translator *t, uint32_t flags, uint64_t rip)
{
    struct cold *cold;

    if (flags != 0)
        dbt_flags_to_memory(t);
    emit_window_number(&t->e, GUEST_RSP);
    cold = dbt_cold(t, COLD_ASTRAY, NULL, emit_compare_number(&t->e, 2, IF_NE));
    cold->retry = t->e.at;
    cold->target = rip;
    t->host_flags = false;
    t->place[X86_RSP] = (struct place){PLACE_WINDOW, 0, 0};
}

/* It has moved by something like a frame. Where it was before there is memory: to touch that costs less than to compare, and no flags. */
void dbt_direct_settle(struct translator *t, uint64_t rip)
{
    struct place *stack = &t->place[X86_RSP];
    int64_t back;
    struct cold *cold;

    if (!t->direct || is_settled(*stack))
        return;
    back = -(stack->low + stack->high) / 2;
    if (back < -STACK_REACH || back > STACK_REACH) {
        emit_check_stack(t, FLAGS_ALL, rip);
        return;
    }
    cold = dbt_cold(t, COLD_TOUCHED, NULL, NULL);
    cold->distances = 0;
    cold->retry = t->e.at;
    cold->target = rip;
    cold->save_flags = t->host_flags && !t->memory_flags;
    cold->host_flags = t->host_flags;
    emit_memory(&t->e, EMIT_0F, 0xb6, SCRATCH, stack_word((int32_t)back)); /* movzx */
    cold->next = cold->end = t->e.at;
    *stack = (struct place){PLACE_WINDOW, -back, -back};
}

/* By other code, which the run loop finds; not by the jump tables, which know none. */
void dbt_emit_astray(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;

    if (cold->kind == COLD_ASTRAY)
        emit_patch(emit_compare_number(e, 1, IF_E), cold->retry);
    emit_constant(e, ADDRESS, cold->target);
    emit_store(e, VCPU(gpr[GPR_RIP]), ADDRESS);
    emit_registers(e, 0, 0x31, SCRATCH, SCRATCH);
    emit_jump_to(e, dbt_translations_trampolines(t->v)->exit);
}

void dbt_emit_touched(struct translator *t, const struct cold *cold)
{
    struct emitter *e = &t->e;
    uint8_t *there[2];

    dbt_translations_may_fault(t->v, cold->retry, cold->end, e->at);
    if (cold->save_flags)
        dbt_emit_save_flags(e);
    emit_window_number(e, GUEST_RSP);
    there[0] = emit_compare_number(e, 2, IF_E);
    there[1] = emit_compare_number(e, 1, IF_E);
    dbt_emit_astray(t, cold);
    emit_patch(there[0], e->at);
    emit_patch(there[1], e->at);
    if (cold->host_flags)
        dbt_emit_restore_flags(e);
    emit_jump_to(e, cold->next);
}

/* --- instructions ---------------------------------------------------------------------------------------------------------- */

void dbt_direct_precede(struct translator *t, const struct guest_instruction *g)
{
    if (t->direct && g->translate != NULL && (g->condition >= 0 || g->decoded->mnemonic == ZYDIS_MNEMONIC_JMP))
        dbt_direct_settle(t, g->next_rip - g->op.length);
}

static void set_stack(struct translator *t, int64_t low, int64_t high)
{
    t->place[X86_RSP] = (struct place){PLACE_WINDOW, low, high};
}

/* Its word has been accessed. false: it is not one of those that move RSP by it alone. */
static bool follow_word(struct translator *t, const struct guest_instruction *g)
{
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_PUSHFQ:
        set_stack(t, 0, 0);
        return true;
    case ZYDIS_MNEMONIC_POP:
        if (g->op.reg[0] == X86_RSP)
            return false;
        set_stack(t, 0, 8);
        return true;
    case ZYDIS_MNEMONIC_LEAVE:
        set_stack(t, 0, 8);
        return true;
    default:
        return false;
    }
}

void dbt_direct_follow(struct translator *t, const struct guest_instruction *g)
{
    if (!t->direct)
        return;
    if (g->translate == NULL || g->decoded->mnemonic == ZYDIS_MNEMONIC_CALL || g->decoded->mnemonic == ZYDIS_MNEMONIC_WRFSBASE ||
        g->decoded->mnemonic == ZYDIS_MNEMONIC_WRGSBASE) { /* C has looked at RSP */
        dbt_direct_forget(t);
        return;
    }
    write_registers(t, g);
    if (!follow_word(t, g) && (g->written & 1u << X86_RSP) && t->place[X86_RSP].kind != PLACE_WINDOW && !(g->op.flags & OP_END))
        emit_check_stack(t, g->flags_after, g->next_rip);
}
