/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control flow and the stack in translations: near jumps, calls, returns, PUSH, POP, LEAVE, and the exits they need. */
#include "engine/dbt/entry_check.h"
#include "engine/dbt/exception.h"
#include "engine/dbt/thunk.h"
#include "engine/dbt/translate.h"

#define NEAR_CALL 32u    /* bytes */

static unsigned word_size(const struct translator *t)
{
    return t->code64 ? 8 : 4;
}

bool dbt_is_relative(const struct guest_instruction *g)
{
    return g->relative;
}

uint64_t dbt_relative_target(const struct guest_instruction *g)
{
    return truncate_to(g->next_rip + g->op.immediate, g->op.size);
}

/* --- exits ------------------------------------------------------------------------------------------------------------- */

static struct host_memory jump_table_of(const struct translation *from, unsigned slot)
{
    unsigned user = from->mode & MODE_USER ? 1 : 0;

    return dbt_vcpu_at(offsetof(struct dbt_vcpu, jump_table) + user * sizeof(((struct dbt_vcpu *)NULL)->jump_table[0]) + 8 * slot);
}

void dbt_emit_leave_to(struct translator *t, uint64_t target)
{
    emit_constant(&t->e, ADDRESS, target);
    emit_jump_to(&t->e, dbt_translations_trampolines(t->v)->exit_to_address);
}

/* The code that asks for the link. */
static void emit_unlinked(struct translator *t, struct link *link)
{
    struct emitter *e = &t->e;

    link->unlinked = e->at;
    emit_constant(e, ADDRESS, link->target);
    emit_store(e, VCPU(gpr[GPR_RIP]), ADDRESS);
    emit_constant(e, SCRATCH, (uint64_t)(uintptr_t)link);
    emit_jump_to(e, dbt_translations_trampolines(t->v)->exit);
    emit_patch(link->distance, link->unlinked);
}

static struct link *new_link(struct translator *t, uint64_t target, uint8_t *distance)
{
    struct link *link = dbt_translations_allocate(t->v, sizeof(*link));

    *link = (struct link){.from = t->out, .target = target, .distance = distance, .next_out = t->out->outgoing};
    t->out->outgoing = link;
    return link;
}

static bool same_page(const struct translator *t, uint64_t target)
{
    return TLB_PAGE(target) == TLB_PAGE(t->out->linear);
}

/* In a mirror links may lead into other pages (dbt_links_forget). */
static bool may_link(const struct translator *t, uint64_t target)
{
    return same_page(t, target) || (t->out->mode & MODE_MIRROR);
}

void dbt_emit_through_table(struct emitter *e, const struct translation *from, uint64_t target)
{
    emit_constant(e, ADDRESS, target);
    emit_memory(e, 0, 0xff, 4, jump_table_of(from, dbt_jump_slot(target)));
}

/* Behind the last instruction of the lower half of addresses: the fault is the next fetch's, no jump's. */
static bool emit_exit_to_nowhere(struct translator *t, uint64_t target)
{
    if (!t->code64 || dbt_canonical(target))
        return false;
    emit_memory(&t->e, 0, 0xc7, 0, VCPU(last_indirect));
    emit32(&t->e, 0);
    dbt_emit_leave_to(t, target);
    return true;
}

void dbt_emit_exit(struct translator *t, uint64_t target, bool poll)
{
    if (emit_exit_to_nowhere(t, target))
        return;
    if (poll && may_link(t, target)) { /* else whoever is there looks */
        emit_alu_memory_constant(&t->e, 0, ALU_CMP, VCPU(attention), 0);
        dbt_cold(t, COLD_LEAVE, NULL, emit_jump_if(&t->e, IF_NE))->target = target;
    }
    if (may_link(t, target)) {
        dbt_cold(t, COLD_EXIT, NULL, emit_jump(&t->e))->target = target;
    } else {
        dbt_emit_through_table(&t->e, t->out, target);
    }
}

/* The target of a conditional jump's own distance. */
void dbt_emit_side_exit(struct translator *t, uint64_t target, uint8_t *distance)
{
    if (may_link(t, target))
        emit_unlinked(t, new_link(t, target, distance));
    else
        dbt_emit_through_table(&t->e, t->out, target);
}

/* dbt_jump_slot() of ADDRESS into SCRATCH. */
void dbt_emit_jump_slot(struct emitter *e)
{
    emit_registers(e, 0, 0x69, SCRATCH, ADDRESS); /* imul */
    emit32(e, JUMP_SLOT_FACTOR);
    emit_registers(e, 0, 0xc1, 5, SCRATCH); /* shr */
    emit8(e, JUMP_SLOT_SHIFT);
}

/* A return goes by the host's RET, with the target pushed right before: it predicts what is
 * behind the host's CALL of that call, and there the code for the guest's return address is (emit_call). */
void dbt_emit_exit_indirect(struct translator *t, const struct guest_instruction *g, bool returns)
{
    struct emitter *e = &t->e;
    struct translated_op *op = dbt_translations_allocate(t->v, sizeof(*op));
    struct host_memory table = jump_table_of(t->out, 0);

    table.index = SCRATCH;
    table.scale = 3;
    *op = (struct translated_op){.op = g->op, .next_rip = g->next_rip};
    emit_memory(e, 0, 0xc7, 0, VCPU(last_indirect));
    emit32(e, dbt_translations_number(t->v, op));
    dbt_emit_jump_slot(e);
    emit_memory(e, 0, 0xff, returns ? 6 : 4, table); /* push or jmp */
    if (returns)
        emit8(e, 0xc3);
}

/* --- the stack ---------------------------------------------------------------------------------------------------------- */

/* Accesses `words` words from RSP + offset on. */
static void emit_stack_access(struct translator *t, const struct guest_instruction *g, int32_t offset, unsigned access, unsigned words)
{
    if (t->direct) {
        dbt_direct_words(t, g, words, offset, access == ACCESS_WRITE);
        return;
    }
    dbt_flags_spare(t, g);
    if (offset == 0 && t->code64)
        emit_move(&t->e, ADDRESS, GUEST_RSP);
    else
        emit_lea(&t->e, t->code64, ADDRESS, at_base(GUEST_RSP, offset));
    dbt_emit_stack_access(t, g, words * word_size(t), access, 0, words);
}

static void emit_move_stack_pointer(struct translator *t, int32_t offset)
{
    emit_lea(&t->e, t->code64, GUEST_RSP, at_base(GUEST_RSP, offset));
}

/* The next of the words that emit_stack_access() has seen to. */
static struct host_memory next_word(struct translator *t, int32_t offset)
{
    return t->direct ? dbt_direct_next_word(t, offset) : at_base(ADDRESS, offset);
}

static void emit_word(struct translator *t, bool load, unsigned reg, int32_t offset)
{
    emit_memory(&t->e, t->code64 ? EMIT_W : 0, load ? 0x8b : 0x89, reg, next_word(t, offset));
}

static void emit_push_access(struct translator *t, const struct guest_instruction *g)
{
    emit_stack_access(t, g, -(int32_t)word_size(t), ACCESS_WRITE, 1);
}

/* How many instructions from g on are alike enough to share one look at the stack. */
static unsigned run_length(const struct translator *t, const struct guest_instruction *g,
                           bool (*belongs)(const struct guest_instruction *))
{
    const struct guest_instruction *end = t->instruction + t->count;
    unsigned n = 0;

    while (n < (t->single ? 1 : STACK_RUN_MAX) && g + n < end && belongs(g + n) && !(n > 0 && g[n].label))
        n++;
    return n;
}

static void translate_push(struct translator *t, const struct guest_instruction *g);
static void translate_pop(struct translator *t, const struct guest_instruction *g);
static void translate_return(struct translator *t, const struct guest_instruction *g);

/* What is pushed must not depend on the stack pointer, which moves at the end of the run only. */
static bool pushes(const struct guest_instruction *g)
{
    return g->translate == translate_push && (dbt_is_relative(g) || g->op.reg[0] != X86_RSP);
}

static bool pops(const struct guest_instruction *g)
{
    return g->translate == translate_pop && g->op.reg[0] != X86_RSP;
}

static void emit_pushed_word(struct translator *t, const struct guest_instruction *g, int32_t offset)
{
    unsigned guest = g->op.reg[0], reg = dbt_host_of[guest];

    if (dbt_is_relative(g)) { /* an immediate */
        emit_memory(&t->e, t->code64 ? EMIT_W : 0, 0xc7, 0, next_word(t, offset));
        emit32(&t->e, (uint32_t)g->op.immediate);
        return;
    }
    if (reg == IN_MEMORY) {
        reg = SCRATCH;
        emit_load(&t->e, reg, dbt_guest_slot(guest));
    }
    emit_word(t, false, reg, offset);
}

static void translate_push(struct translator *t, const struct guest_instruction *g)
{
    unsigned run = run_length(t, g, pushes);
    int32_t word = (int32_t)word_size(t), bytes;

    run = run > 0 ? run : 1;
    bytes = (int32_t)run * word;
    emit_stack_access(t, g, -bytes, ACCESS_WRITE, run);
    for (unsigned i = 0; i < run; i++)
        emit_pushed_word(t, g + i, bytes - (int32_t)(i + 1) * word);
    emit_move_stack_pointer(t, -bytes);
    t->skip = run - 1;
}

static void emit_popped_word(struct translator *t, const struct guest_instruction *g, int32_t offset)
{
    unsigned guest = g->op.reg[0], reg = dbt_host_of[guest];

    emit_word(t, true, reg == IN_MEMORY ? SCRATCH : reg, offset);
    if (reg == IN_MEMORY)
        emit_store(&t->e, dbt_guest_slot(guest), SCRATCH);
}

/* MOV into the return address, RET: an indirect jump, as kernels make it against speculation. */
static bool jumps_by_return(const struct translator *t, const struct guest_instruction *g)
{
    const struct guest_instruction *before = g > t->instruction ? g - 1 : NULL;

    return before != NULL && before->memory == &before->operand[0] && before->op.base == X86_RSP && before->op.index == GPR_ZERO &&
           before->op.displacement == 0 && before->decoded->mnemonic == ZYDIS_MNEMONIC_MOV;
}

static void emit_return(struct translator *t, const struct guest_instruction *g, int32_t offset)
{
    emit_word(t, true, ADDRESS, offset);
    emit_move_stack_pointer(t, offset + (int32_t)(word_size(t) + g->op.immediate));
    dbt_emit_exit_indirect(t, g, !jumps_by_return(t, g));
}

/* A return right behind the pops shares their look at the stack. */
static void translate_pop(struct translator *t, const struct guest_instruction *g)
{
    unsigned run = run_length(t, g, pops);
    int32_t word = (int32_t)word_size(t);
    bool returns = run > 0 && run < STACK_RUN_MAX && !t->single && g + run < t->instruction + t->count &&
                   g[run].translate == translate_return && !g[run].label;

    if (run == 0) { /* into RSP */
        emit_stack_access(t, g, 0, ACCESS_READ, 1);
        emit_word(t, true, GUEST_RSP, 0);
        return;
    }
    emit_stack_access(t, g, 0, ACCESS_READ, run + returns);
    for (unsigned i = 0; i < run; i++)
        emit_popped_word(t, g + i, (int32_t)i * word);
    t->skip = run - 1 + returns;
    if (returns)
        emit_return(t, g + run, (int32_t)run * word);
    else
        emit_move_stack_pointer(t, (int32_t)run * word);
}

static void translate_leave_direct(struct translator *t, const struct guest_instruction *g)
{
    if (!dbt_emit_direct_frame(t, g)) {
        dbt_emit_interpret(t, g);
        return;
    }
    emit_load(&t->e, SCRATCH, (struct host_memory){.base = HOST_RBP, .index = HOST_NONE, .gs = true});
    emit_lea(&t->e, true, GUEST_RSP, at_base(HOST_RBP, 8));
    emit_move(&t->e, HOST_RBP, SCRATCH);
}

static void translate_leave(struct translator *t, const struct guest_instruction *g)
{
    if (t->direct) {
        translate_leave_direct(t, g);
        return;
    }
    dbt_flags_spare(t, g);
    if (t->code64)
        emit_move(&t->e, ADDRESS, HOST_RBP);
    else
        emit_registers(&t->e, 0, 0x8b, ADDRESS, HOST_RBP);
    dbt_emit_stack_access(t, g, word_size(t), ACCESS_READ, 0, 1);
    emit_lea(&t->e, t->code64, GUEST_RSP, at_base(HOST_RBP, (int32_t)word_size(t)));
    emit_word(t, true, HOST_RBP, 0);
}

/* --- jumps --------------------------------------------------------------------------------------------------------------- */

static void translate_jump(struct translator *t, const struct guest_instruction *g)
{
    uint64_t target = dbt_relative_target(g);

    if (g->flags_after != 0)
        dbt_flags_to_memory(t);
    if (dbt_leads_to_label(g))
        dbt_emit_jump_to_label(t, g);
    else
        dbt_emit_exit(t, target, target < g->next_rip);
}

static void translate_jump_if(struct translator *t, const struct guest_instruction *g)
{
    unsigned condition = (unsigned)g->condition;
    uint64_t target = dbt_relative_target(g);
    bool save;
    uint8_t *distance;

    dbt_flags_provide(t, g);
    save = g->flags_taken != 0 && !t->memory_flags;
    if (target < g->next_rip) {
        distance = emit_jump_if(&t->e, condition ^ 1);
        if (save)
            dbt_emit_save_flags(&t->e);
        if (dbt_leads_to_label(g))
            dbt_emit_jump_to_label(t, g);
        else
            dbt_emit_exit(t, target, true);
        emit_patch(distance, t->e.at);
    } else if (dbt_leads_to_label(g) && !save) {
        dbt_emit_jump_to_label_if(t, g, condition);
    } else {
        struct cold *cold = dbt_cold(t, COLD_EXIT, g, emit_jump_if(&t->e, condition));

        cold->target = target;
        cold->save_flags = save;
    }
    if (g != &t->instruction[t->count - 1])
        return;
    if (g->flags_after != 0)
        dbt_flags_to_memory(t);
    dbt_emit_exit(t, g->next_rip, false);
}

bool dbt_is_plain_jump(const struct guest_instruction *g)
{
    return g->translate == translate_jump || g->translate == translate_jump_if;
}

/* Where an indirect jump goes, into SCRATCH; the operand has passed all checks by then. */
static void emit_indirect_target(struct translator *t, const struct guest_instruction *g)
{
    const ZydisDecodedOperand *memory = g->memory;
    unsigned guest = g->op.reg[0];

    dbt_flags_spare(t, g);
    if (memory != NULL) {
        emit_memory(&t->e, t->code64 ? EMIT_W : 0, 0x8b, SCRATCH, dbt_emit_operand(t, g, memory, word_size(t), ACCESS_READ, 0));
    } else if (dbt_host_of[guest] == IN_MEMORY) {
        emit_load(&t->e, SCRATCH, dbt_guest_slot(guest));
    } else {
        emit_registers(&t->e, t->code64 ? EMIT_W : 0, 0x8b, SCRATCH, dbt_host_of[guest]);
    }
}

static void translate_jump_indirect(struct translator *t, const struct guest_instruction *g)
{
    emit_indirect_target(t, g);
    emit_move(&t->e, ADDRESS, SCRATCH);
    dbt_emit_exit_indirect(t, g, false);
}

/* --- calls --------------------------------------------------------------------------------------------------------------- */

bool dbt_is_call(const struct guest_instruction *g)
{
    return g->translate != NULL && g->call;
}

/* Over a few bytes: for the address, or against speculation. There is no return from it. */
static bool stays_near(const struct guest_instruction *g)
{
    return dbt_is_relative(g) && dbt_relative_target(g) - g->next_rip < NEAR_CALL;
}

static void emit_to_target(struct translator *t, const struct guest_instruction *g)
{
    if (dbt_is_relative(g))
        dbt_emit_exit(t, dbt_relative_target(g), dbt_relative_target(g) < g->next_rip);
    else
        dbt_emit_exit_indirect(t, g, false);
}

static void emit_drop_pushed(struct emitter *e)
{
    emit_lea(e, true, HOST_RSP, at_base(HOST_RSP, 8));
}

/* The host's CALL; what follows is where its return stack expects the return to come to. */
static void emit_host_call(struct translator *t, const struct guest_instruction *g)
{
    t->call[t->calls++] = (struct call){.distance = emit_call_near(&t->e), .instruction = g};
}

void dbt_emit_calls(struct translator *t)
{
    for (unsigned i = 0; i < t->calls; i++) {
        emit_patch(t->call[i].distance, t->e.at);
        emit_drop_pushed(&t->e);
        emit_to_target(t, t->call[i].instruction);
    }
}

/* The code behind the call is in this translation: a way into it. */
static void emit_entry_behind(struct translator *t, const struct guest_instruction *g, uint8_t *host_call)
{
    struct translation *entry = dbt_translations_allocate_one(t->v), **last = &t->out->next_entry;
    uint64_t physical = TLB_PAGE(t->out->physical) | (g->next_rip & 0xfff);

    while (*last != NULL)
        last = &(*last)->next_entry;
    *last = entry;
    *entry = (struct translation){.linear = g->next_rip, .physical = physical, .second_page = NO_PAGE, .mode = t->out->mode,
                                  .valid = true, .call = g->next_rip - g->op.length, .host_call = host_call};
    dbt_emit_head(t, entry);
    dbt_emit_entry_check(t, entry);
    t->host_flags = false;
    t->memory_flags = true;
}

/* It has been translated elsewhere, and is entered from here on. */
static void emit_way_to(struct translator *t, const struct guest_instruction *g, struct translation *behind, uint8_t *host_call)
{
    struct translation way = *behind;

    dbt_emit_head(t, &way);
    emit_jump_to(&t->e, behind->direct);
    dbt_translation_enter_by(t->v, behind, way.checked);
    behind->call = g->next_rip - g->op.length;
    behind->host_call = host_call;
}

static struct translation *find_behind(const struct translator *t, const struct guest_instruction *g)
{
    struct translation *behind = NULL;

    if (same_page(t, g->next_rip))
        behind = dbt_translation_at(t->v, g->next_rip, TLB_PAGE(t->out->physical) | (g->next_rip & 0xfff), t->out->mode);
    return behind != NULL && behind->second_page == NO_PAGE ? behind : NULL;
}

/* The return address is on the stack; the target, if it isn't in the instruction, in ADDRESS. */
static void emit_call(struct translator *t, const struct guest_instruction *g)
{
    uint8_t *host_call = t->e.at;
    struct translation *behind;

    if (stays_near(g)) {
        emit_to_target(t, g);
        if (g < &t->instruction[t->count - 1])
            emit_entry_behind(t, g, NULL);
        return;
    }
    if (g < &t->instruction[t->count - 1]) {
        emit_host_call(t, g);
        emit_entry_behind(t, g, host_call);
        return;
    }
    behind = find_behind(t, g);
    if (behind != NULL && behind->call == g->next_rip - g->op.length && behind->host_call != NULL) {
        emit_jump_to(&t->e, behind->host_call); /* one CALL for one place to return to */
        return;
    }
    emit_host_call(t, g);
    if (behind != NULL)
        emit_way_to(t, g, behind, host_call);
    else
        emit8(&t->e, 0xcc); /* a CALL to right behind itself would not count as one */
}

static void emit_push_return_address(struct translator *t, const struct guest_instruction *g)
{
    emit_push_access(t, g);
    if ((int64_t)g->next_rip == (int32_t)g->next_rip) {
        emit_memory(&t->e, t->code64 ? EMIT_W : 0, 0xc7, 0, next_word(t, 0));
        emit32(&t->e, (uint32_t)g->next_rip);
    } else {
        emit_constant(&t->e, SCRATCH, g->next_rip);
        emit_word(t, false, SCRATCH, 0);
    }
    emit_move_stack_pointer(t, -(int32_t)word_size(t));
}

static void translate_call(struct translator *t, const struct guest_instruction *g)
{
    emit_push_return_address(t, g);
    emit_call(t, g);
}

/* A target that is not canonical is found out before the return address is stored. */
static void emit_canonical_check(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;

    emit_move(e, ADDRESS, SCRATCH);
    emit_registers(e, EMIT_W, 0xc1, 7, ADDRESS); /* sar: 0 or -1 */
    emit8(e, 47);
    emit_alu_constant(e, EMIT_W, ALU_ADD, ADDRESS, 1);
    emit_alu_constant(e, EMIT_W, ALU_CMP, ADDRESS, 1);
    dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(e, IF_A));
    t->host_flags = false;
}

static void translate_call_indirect(struct translator *t, const struct guest_instruction *g)
{
    emit_indirect_target(t, g);
    if (t->code64)
        emit_canonical_check(t, g);
    emit_store(&t->e, VCPU(jump_target), SCRATCH);
    emit_push_return_address(t, g);
    emit_load(&t->e, ADDRESS, VCPU(jump_target));
    emit_call(t, g);
}

static void translate_return(struct translator *t, const struct guest_instruction *g)
{
    emit_stack_access(t, g, 0, ACCESS_READ, 1);
    emit_return(t, g, 0);
}

/* --- choice -------------------------------------------------------------------------------------------------------------- */

static bool is_word_sized(const struct translator *t, const struct guest_instruction *g)
{
    return g->op.size == word_size(t);
}

static translate_fn *choose_branch(struct translator *t, const struct guest_instruction *g, translate_fn *relative,
                                   translate_fn *indirect)
{
    const ZydisDecodedOperand *memory = g->memory;

    if (g->decoded->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || !is_word_sized(t, g))
        return NULL;
    if (dbt_is_relative(g))
        return !t->code64 || dbt_canonical(dbt_relative_target(g)) ? relative : NULL;
    return memory == NULL || dbt_can_address(t, g, memory) ? indirect : NULL;
}

static translate_fn *choose_push_or_pop(struct translator *t, const struct guest_instruction *g)
{
    bool push = g->decoded->mnemonic == ZYDIS_MNEMONIC_PUSH;
    const ZydisDecodedOperand *operand = &g->operand[0];

    if (!is_word_sized(t, g))
        return NULL;
    if (push && operand->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return translate_push;
    if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER || !dbt_thunk_is_gpr(operand->reg.value))
        return NULL;
    return push ? translate_push : translate_pop;
}

translate_fn *dbt_choose_control(struct translator *t, struct guest_instruction *g)
{
    if (!t->code64 && !(t->out->mode & MODE_STACK32))
        return NULL;
    if (g->condition >= 0)
        return choose_branch(t, g, translate_jump_if, NULL);
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_JMP: return choose_branch(t, g, translate_jump, translate_jump_indirect);
    case ZYDIS_MNEMONIC_CALL: return choose_branch(t, g, translate_call, translate_call_indirect);
    case ZYDIS_MNEMONIC_RET:
        return g->decoded->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR && is_word_sized(t, g) ? translate_return : NULL;
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_POP: return choose_push_or_pop(t, g);
    case ZYDIS_MNEMONIC_LEAVE: return is_word_sized(t, g) ? translate_leave : NULL;
    default: return NULL;
    }
}
