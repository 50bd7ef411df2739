/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The system instructions that kernels use all the time, in translations: on the vCPU's fields, with the interpreter for every
 * case that is not the common one. */
#include "engine/dbt/translate.h"

/* Everything but CPL 0 is the interpreter's. Clobbers the host's flags. */
static struct cold *emit_supervisor_only(struct translator *t, const struct guest_instruction *g)
{
    dbt_flags_spare(t, g);
    emit_alu_memory_constant(&t->e, EMIT_BYTE, ALU_CMP, VCPU(cpl), 0);
    t->host_flags = false;
    return dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(&t->e, IF_NE));
}

static void emit_set_flag(struct translator *t, uint32_t flag)
{
    emit_alu_memory_constant(&t->e, 0, ALU_OR, VCPU(rflags), (int32_t)flag);
}

static void emit_clear_flag(struct translator *t, uint32_t flag)
{
    emit_alu_memory_constant(&t->e, 0, ALU_AND, VCPU(rflags), (int32_t)~flag);
}

static void translate_cli(struct translator *t, const struct guest_instruction *g)
{
    emit_supervisor_only(t, g);
    emit_clear_flag(t, X86_IF);
}

/* The next instruction belongs to the same translation (dbt_choose_system), and nothing looks for attention before it: that is
 * the shadow. With an interrupt waiting the interpreter does it all. */
static void translate_sti(struct translator *t, const struct guest_instruction *g)
{
    struct cold *cold = emit_supervisor_only(t, g);

    emit_alu_memory_constant(&t->e, EMIT_BYTE, ALU_CMP, VCPU(interrupt_line), 0);
    cold->distance[cold->distances++] = emit_jump_if(&t->e, IF_NE);
    emit_set_flag(t, X86_IF);
}

static void emit_alignment_check(struct translator *t, const struct guest_instruction *g, bool on)
{
    struct emitter *e = &t->e;

    emit_supervisor_only(t, g);
    if (on)
        emit_set_flag(t, X86_AC);
    else
        emit_clear_flag(t, X86_AC);
    emit_load(e, SCRATCH, dbt_vcpu_at(offsetof(struct dbt_vcpu, supervisor_tlb) + 8u * on));
    emit_store(e, VCPU(tlb), SCRATCH);
    emit_load32(e, SCRATCH, dbt_vcpu_at(offsetof(struct dbt_vcpu, supervisor_tlb_mode) + 4u * on));
    emit_memory(e, 0, 0x89, SCRATCH, VCPU(tlb_mode));
    emit_memory(e, EMIT_W, 0xc7, 0, VCPU(other_stack_limit)); /* the windows belong to the other one's rights */
    emit32(e, 0);
    for (unsigned i = 0; i < 2; i++) {
        emit_memory(e, EMIT_W, 0xc7, 0, dbt_vcpu_at(offsetof(struct dbt_vcpu, stack_limit) + 8 * i));
        emit32(e, 0);
    }
}

static void translate_stac(struct translator *t, const struct guest_instruction *g)
{
    emit_alignment_check(t, g, true);
}

static void translate_clac(struct translator *t, const struct guest_instruction *g)
{
    emit_alignment_check(t, g, false);
}

static void translate_swapgs(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;

    emit_supervisor_only(t, g);
    emit_load(e, ADDRESS, VCPU(segment_base[X86_GS]));
    emit_load(e, SCRATCH, VCPU(msr.kernel_gs_base));
    emit_store(e, VCPU(segment_base[X86_GS]), SCRATCH);
    emit_store(e, VCPU(segment[X86_GS].base), SCRATCH);
    emit_store(e, VCPU(msr.kernel_gs_base), ADDRESS);
}

static void translate_pushf(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;
    struct host_memory top = at_base(ADDRESS, 0);

    if (t->direct) {
        dbt_emit_interpret(t, g);
        return;
    }
    dbt_flags_to_memory(t);
    emit_lea(e, true, ADDRESS, at_base(GUEST_RSP, -8));
    dbt_emit_stack_access(t, g, 8, ACCESS_WRITE, 0, 1);
    emit_load(e, SCRATCH, VCPU(rflags));
    emit_alu_constant(e, EMIT_W, ALU_AND, SCRATCH, (int32_t) ~(X86_RF | X86_VM));
    emit_store(e, top, SCRATCH);
    emit_memory(e, EMIT_0F, 0xb6, SCRATCH, VCPU(flags));
    emit_memory(e, 0, 0x09, SCRATCH, top); /* or */
    emit_memory(e, EMIT_0F, 0xb6, SCRATCH, VCPU(overflow));
    emit_registers(e, 0, 0xc1, 4, SCRATCH); /* shl: to OF's place */
    emit8(e, 11);
    emit_memory(e, 0, 0x09, SCRATCH, top);
    emit_lea(e, true, GUEST_RSP, at_base(GUEST_RSP, -8));
}

static void translate_direction(struct translator *t, const struct guest_instruction *g)
{
    dbt_flags_spare(t, g);
    t->host_flags = false;
    if (g->decoded->mnemonic == ZYDIS_MNEMONIC_STD)
        emit_set_flag(t, X86_DF);
    else
        emit_clear_flag(t, X86_DF);
}

/* RAX, host ticks, become guest ticks, as dbt_tsc_scale() has them. RDX is lost. */
static void emit_tsc_scale(struct emitter *e, uint64_t multiplier)
{
    emit_constant(e, HOST_RDX, multiplier);
    emit_registers(e, EMIT_W, 0xf7, 4, HOST_RDX); /* mul */
    emit_registers(e, EMIT_W | EMIT_0F, 0xac, HOST_RDX, HOST_RAX); /* shrd */
    emit8(e, TSC_FRACTION_BITS);
}

/* The guest's counter is the host's, moved, and scaled where their frequencies differ. */
static void translate_rdtsc(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;
    uint8_t *supervisor;

    dbt_flags_spare(t, g);
    emit_alu_memory_constant(e, EMIT_BYTE, ALU_CMP, VCPU(cpl), 0);
    supervisor = emit_jump_if(e, IF_E);
    emit_memory(e, EMIT_BYTE, 0xf6, 0, VCPU(cr4)); /* test */
    emit8(e, X86_CR4_TSD);
    dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(e, IF_NE));
    emit_patch(supervisor, e->at);
    emit8(e, 0x0f);
    emit8(e, 0x31);
    emit_registers(e, EMIT_W, 0xc1, 4, HOST_RDX);
    emit8(e, 32);
    if (t->v->vm->tsc_multiplier != 0) {
        emit_registers(e, EMIT_W, 0x09, HOST_RDX, HOST_RAX);
        emit_tsc_scale(e, t->v->vm->tsc_multiplier);
        emit_move(e, HOST_RDX, HOST_RAX);
    } else {
        emit_registers(e, EMIT_W, 0x09, HOST_RAX, HOST_RDX);
    }
    emit_memory(e, EMIT_W, 0x03, HOST_RDX, VCPU(tsc_offset));
    emit_registers(e, 0, 0x8b, HOST_RAX, HOST_RDX);
    emit_registers(e, EMIT_W, 0xc1, 5, HOST_RDX);
    emit8(e, 32);
    t->host_flags = false;
}

static void translate_rdtscp(struct translator *t, const struct guest_instruction *g)
{
    emit_bytes(&t->e, (const uint8_t[]){0x0f, 0xae, 0xe8}, 3); /* lfence: it waits for what is before it */
    translate_rdtsc(t, g);
    emit_load32(&t->e, HOST_RCX, VCPU(msr.tsc_aux));
}

/* Both go on by jump tables, which lock-step has none of. */
static void translate_syscall(struct translator *t, const struct guest_instruction *g)
{
    const struct trampolines *trampolines = dbt_translations_trampolines(t->v);

    if (!(t->out->mode & MODE_USER) || (t->out->mode & MODE_MIRROR)) {
        dbt_emit_interpret(t, g);
        return;
    }
    dbt_flags_to_memory(t);
    emit_constant(&t->e, ADDRESS, g->next_rip);
    dbt_emit_interpret_by(t, g, trampolines->syscall);
}

/* Where any user space may be given a mirror C looks at each return there. */
static void translate_sysret(struct translator *t, const struct guest_instruction *g)
{
    const struct trampolines *trampolines = dbt_translations_trampolines(t->v);

    dbt_emit_interpret_by(t, g, t->v->vm->mirror == MIRROR_ALWAYS ? trampolines->interpret : trampolines->sysret);
}

/* Where it faults the interpreter does it. */
static void translate_rdpkru(struct translator *t, const struct guest_instruction *g)
{
    struct emitter *e = &t->e;
    struct cold *cold;

    dbt_flags_spare(t, g);
    emit_memory(e, EMIT_BYTE, 0xf6, 0, dbt_vcpu_at(offsetof(struct dbt_vcpu, cr4) + 2)); /* test */
    emit8(e, X86_CR4_PKE >> 16);
    cold = dbt_cold(t, COLD_INTERPRET, g, emit_jump_if(e, IF_E));
    emit_registers(e, 0, 0x85, HOST_RCX, HOST_RCX); /* test */
    cold->distance[cold->distances++] = emit_jump_if(e, IF_NE);
    emit_load32(e, HOST_RAX, VCPU(pkru));
    emit_registers(e, 0, 0x31, HOST_RDX, HOST_RDX);
    t->host_flags = false;
}

bool dbt_is_sti(const struct guest_instruction *g)
{
    return g->translate == translate_sti;
}

translate_fn *dbt_choose_system(struct translator *t, struct guest_instruction *g)
{
    switch (g->decoded->mnemonic) {
    case ZYDIS_MNEMONIC_CLI: return t->code64 ? translate_cli : NULL;
    case ZYDIS_MNEMONIC_STI: return t->code64 ? translate_sti : NULL;
    case ZYDIS_MNEMONIC_STAC: return translate_stac;
    case ZYDIS_MNEMONIC_CLAC: return translate_clac;
    case ZYDIS_MNEMONIC_SWAPGS: return t->code64 ? translate_swapgs : NULL;
    case ZYDIS_MNEMONIC_PUSHFQ: return translate_pushf;
    case ZYDIS_MNEMONIC_CLD:
    case ZYDIS_MNEMONIC_STD: return translate_direction;
    case ZYDIS_MNEMONIC_SYSCALL: return t->code64 && t->v->lockstep == NULL ? translate_syscall : NULL;
    case ZYDIS_MNEMONIC_SYSRET: return t->code64 && g->op.size == 8 && t->v->lockstep == NULL ? translate_sysret : NULL;
    case ZYDIS_MNEMONIC_RDTSC: return translate_rdtsc;
    case ZYDIS_MNEMONIC_RDTSCP: return translate_rdtscp;
    case ZYDIS_MNEMONIC_RDPKRU: return translate_rdpkru;
    default: return NULL;
    }
}
