/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cases with control flow. A builder puts instructions of the catalogue and structures of its own (loops, jumps, calls,
 * string instructions, stores into the code ahead) one behind the other. Two things keep a case alive and comparable:
 * some registers hold addresses or counts and are written by the builder's own instructions only, and flags that an
 * instruction leaves undefined are not read before something has defined them. */
#include "isa.h"

#include <string.h>

enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, ALL_FLAGS = CF | PF | AF | ZF | SF | OF };
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
enum { DEPTH_MAX = 3, ROOM = 160 /* bytes that are left for the ends of open structures */ };

struct builder {
    struct isa_generator *g;
    struct isa_random *r;
    struct isa_case *c;
    uint16_t pointers; /* registers with addresses of data, besides RSP */
    uint16_t fixed;    /* registers that catalogue instructions must not write */
    bool no_stack;     /* RSP must stay as it is: a return address is on top */
    uint32_t undefined;
    unsigned left; /* catalogue instructions still to come */
    unsigned depth;
};

/* What compilers make most of, and what engines have code of their own for. */
static const uint16_t common[] = {
#define M(name) ZYDIS_MNEMONIC_##name
    M(MOV),        M(MOV),        M(MOV),         M(MOV),    M(MOV),      M(ADD),        M(ADD),      M(ADC),
    M(SUB),        M(SUB),        M(SBB),         M(CMP),    M(CMP),      M(TEST),       M(AND),      M(OR),
    M(XOR),        M(INC),        M(DEC),         M(NEG),    M(NOT),      M(LEA),        M(LEA),      M(MOVZX),
    M(MOVZX),      M(MOVSX),      M(MOVSXD),      M(SHL),    M(SHR),      M(SAR),        M(ROL),      M(ROR),
    M(RCL),        M(RCR),        M(SHLD),        M(SHRD),   M(IMUL),     M(IMUL),       M(MUL),      M(CMOVZ),
    M(CMOVNB),     M(CMOVLE),     M(CMOVS),       M(CMOVP),  M(CMOVO),    M(SETZ),       M(SETB),     M(SETNLE),
    M(SETO),       M(SETP),       M(SETBE),       M(PUSH),   M(PUSH),     M(POP),        M(POP),      M(PUSHFQ),
    M(PUSHFD),     M(LAHF),       M(SAHF),        M(BT),     M(BTS),      M(BTR),        M(BTC),      M(BSF),
    M(BSR),        M(TZCNT),      M(LZCNT),       M(POPCNT), M(XCHG),     M(CMPXCHG),    M(XADD),     M(CMPXCHG8B),
    M(CMPXCHG16B), M(BSWAP),      M(CDQE),        M(CQO),    M(CDQ),      M(CWDE),       M(CLC),      M(STC),
    M(CMC),        M(MOVBE),      M(ANDN),        M(BEXTR),  M(BLSR),     M(PDEP),       M(RORX),     M(SARX),
    M(ADCX),       M(ADOX),       M(MULX),        M(MOVDQA), M(MOVDQU),   M(MOVUPS),     M(MOVAPS),   M(MOVSD),
    M(MOVSS),      M(MOVQ),       M(MOVD),        M(PXOR),   M(PADDD),    M(PCMPEQB),    M(PMOVMSKB), M(ADDSD),
    M(MULSD),      M(SUBSS),      M(DIVSD),       M(SQRTSD), M(CVTSI2SD), M(CVTTSD2SI),  M(UCOMISD),  M(COMISS),
    M(ADDPD),      M(MULPS),      M(SHUFPS),      M(PSHUFD), M(PSHUFB),   M(PINSRW),     M(PEXTRB),   M(VMOVDQU),
    M(VMOVAPS),    M(VADDPD),     M(VFMADD231PD), M(VPXOR),  M(VPADDQ),   M(VZEROUPPER), M(VPERMQ),   M(VINSERTI128),
    M(VPMASKMOVD), M(MASKMOVDQU), M(FLD),         M(FLD),    M(FSTP),     M(FST),        M(FADD),     M(FADDP),
    M(FMUL),       M(FXCH),       M(FILD),        M(FISTP),  M(FISTTP),   M(FCOMI),      M(FUCOMI),   M(FUCOMPP),
    M(FNSTSW),     M(FNSTCW),     M(FCHS),        M(FLD1),   M(FDIVP),    M(FCMOVB),     M(EMMS),     M(MOVNTI),
    M(LDMXCSR),    M(STMXCSR),    M(XLAT),
#undef M
};

static bool one_in(struct builder *b, unsigned n)
{
    return isa_random_below(b->r, n) == 0;
}

/* --- Bytes of our own ------------------------------------------------------------------------------------------------- */

static void mark(struct builder *b, unsigned length, bool removable)
{
    struct isa_case *c = b->c;

    if (c->marks < ISA_MARKS_MAX)
        c->mark[c->marks++] = (struct isa_mark){
            .at = (uint16_t)c->code_size, .length = (uint8_t)length, .removable = removable, .undefined = b->undefined};
}

/* One instruction; returns where it begins. */
static unsigned emit(struct builder *b, const uint8_t *bytes, unsigned length, bool removable)
{
    unsigned at = b->c->code_size;

    mark(b, length, removable);
    memcpy(b->c->code + at, bytes, length);
    b->c->code_size += length;
    return at;
}

#define EMIT(b, ...) emit(b, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), false)

static void put32(struct builder *b, unsigned at, uint32_t value)
{
    memcpy(b->c->code + at, &value, 4);
}

static uint64_t address(const struct builder *b, unsigned at)
{
    return ISA_CODE + b->c->start + at;
}

static bool full(const struct builder *b)
{
    return b->left == 0 || b->c->code_size + ROOM > ISA_CODE_MAX || b->c->marks + 24 > ISA_MARKS_MAX;
}

/* op reg, reg/imm: operations on any of the 16 registers, of 32 bits, or of 64 when wide (ignored in 32-bit code). */
static void emit_modrm(struct builder *b, bool wide, uint8_t opcode, unsigned reg, unsigned rm, const void *imm,
                       unsigned imm_size)
{
    uint8_t bytes[12];
    unsigned n = 0;

    if (!b->c->compat)
        bytes[n++] = (uint8_t)(0x40 | wide << 3 | (reg >> 3) << 2 | rm >> 3);
    bytes[n++] = opcode;
    bytes[n++] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
    if (imm_size > 0)
        memcpy(bytes + n, imm, imm_size);
    emit(b, bytes, n + imm_size, false);
}

static void emit_mov_imm(struct builder *b, unsigned reg, uint32_t value)
{
    emit_modrm(b, false, 0xc7, 0, reg, &value, 4);
}

/* Defines all flags. */
static void emit_cmp(struct builder *b)
{
    emit_modrm(b, one_in(b, 2), 0x39, isa_random_below(b->r, b->c->compat ? 8 : 16),
               isa_random_below(b->r, b->c->compat ? 8 : 16), NULL, 0);
    b->undefined = 0;
}

static void define(struct builder *b, uint32_t flags)
{
    if (b->undefined & flags)
        emit_cmp(b);
}

/* --- Choice of registers ---------------------------------------------------------------------------------------------- */

/* Registers that few instructions imply and that are not fixed. */
static uint16_t free_registers(const struct builder *b)
{
    const uint16_t implied = 1u << RAX | 1u << RCX | 1u << RDX | 1u << RSP;

    return (uint16_t)~b->fixed & (b->c->compat ? 0xff & ~implied : 0xffff & ~(implied | 1u << RSI | 1u << RDI));
}

/* Fixes one of the free registers, of which there must be one. */
static unsigned take_register(struct builder *b)
{
    unsigned n;

    do {
        n = isa_random_below(b->r, 16);
    } while (!(free_registers(b) >> n & 1));
    b->fixed |= (uint16_t)(1u << n);
    return n;
}

/* A register that anything may have changed, and that may be changed. */
static unsigned scratch_register(struct builder *b)
{
    unsigned n;

    do {
        n = isa_random_below(b->r, b->c->compat ? 8 : 16);
    } while (b->fixed >> n & 1);
    return n;
}

static unsigned a_pointer(struct builder *b)
{
    unsigned n;

    do {
        n = isa_random_below(b->r, 16);
    } while (!(b->pointers >> n & 1));
    return n;
}

static void choose_pointers(struct builder *b)
{
    static const uint16_t places[] = {0x400, 0x800, 0xc00, 0x1000, 0x1400, 0x1700};

    b->fixed = 1u << RSP;
    for (unsigned i = 0; i < (b->c->compat ? 2u : 3u); i++) {
        unsigned n = take_register(b), offset = places[isa_random_below(b->r, sizeof(places) / sizeof(places[0]))];

        if (one_in(b, 3))
            offset = 4096 - isa_random_below(b->r, 40);
        else if (one_in(b, 6))
            offset += isa_random_below(b->r, 64);
        b->pointers |= (uint16_t)(1u << n);
        b->c->state.gpr[n] = ISA_DATA + offset;
    }
}

/* --- Instructions of the catalogue ------------------------------------------------------------------------------------ */

static unsigned register_number(const struct builder *b, ZydisRegister reg)
{
    ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

    return ZydisRegisterGetClass(whole) == ZYDIS_REGCLASS_GPR64 ? (unsigned)ZydisRegisterGetId(whole) & 15 : 16;
}

static bool moves_stack(const ZydisDecodedInstruction *in)
{
    return in->meta.category == ZYDIS_CATEGORY_PUSH || in->meta.category == ZYDIS_CATEGORY_POP ||
           in->mnemonic == ZYDIS_MNEMONIC_ENTER || in->mnemonic == ZYDIS_MNEMONIC_LEAVE;
}

static bool register_is_good(struct builder *b, const ZydisDecodedInstruction *in, const ZydisDecodedOperand *o)
{
    unsigned n = register_number(b, o->reg.value);

    if (!(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) || n > 15 || !(b->fixed >> n & 1))
        return true;
    return n == RSP && o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && in->mnemonic != ZYDIS_MNEMONIC_LEAVE &&
           !b->no_stack;
}

/* Whether an operand can be made to hit the data. */
static bool memory_is_good(struct builder *b, const ZydisDecodedInstruction *in, const ZydisDecodedOperand *o)
{
    unsigned base = register_number(b, o->mem.base), index = register_number(b, o->mem.index);

    if (o->mem.type != ZYDIS_MEMOP_TYPE_MEM && o->mem.type != ZYDIS_MEMOP_TYPE_VSIB)
        return true; /* LEA */
    if (in->address_width == 16 || (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB && !one_in(b, 6)))
        return false;
    if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_NONE)
        return o->mem.index == ZYDIS_REGISTER_NONE && in->raw.disp.size >= 32;
    if (index < 16 && !one_in(b, 20)) /* an index may be anything, seldom */
        return false;
    return base == RSP || (base < 16 && (b->pointers >> base & 1));
}

/* Instructions that mostly end a case, by a fault or by what they load. */
static bool is_deadly(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operand)
{
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV:
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR:
    case ZYDIS_MNEMONIC_FLDCW:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_BOUND:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_CLI:
    case ZYDIS_MNEMONIC_STI:
    case ZYDIS_MNEMONIC_AAM:
        return true;
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC: /* a register's bit number reaches far */
        return operand[0].type == ZYDIS_OPERAND_TYPE_MEMORY && operand[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    default:
        return in->meta.category == ZYDIS_CATEGORY_IO || in->meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
    }
}

static bool is_sound(struct builder *b, const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operand)
{
    uint32_t tested = in->cpu_flags != NULL ? in->cpu_flags->tested : 0;

    if (in->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || in->meta.category == ZYDIS_CATEGORY_STRINGOP ||
        in->mnemonic == ZYDIS_MNEMONIC_PUSHA || in->mnemonic == ZYDIS_MNEMONIC_PUSHAD || /* makers differ in what a fault leaves */
        (b->no_stack && moves_stack(in)) || (is_deadly(in, operand) && !one_in(b, 25)))
        return false;
    if (b->undefined != 0 &&
        ((tested & b->undefined) || in->mnemonic == ZYDIS_MNEMONIC_LAHF || in->mnemonic == ZYDIS_MNEMONIC_PUSHF ||
         in->mnemonic == ZYDIS_MNEMONIC_PUSHFD || in->mnemonic == ZYDIS_MNEMONIC_PUSHFQ))
        return false;
    for (unsigned i = 0; i < in->operand_count; i++) {
        if (operand[i].type == ZYDIS_OPERAND_TYPE_REGISTER && !register_is_good(b, in, &operand[i]))
            return false;
        if (operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY && !memory_is_good(b, in, &operand[i]))
            return false;
    }
    return true;
}

/* Sets the displacement so that the operand hits its target, as far as its size allows. */
static void aim(struct builder *b, unsigned at, const ZydisDecodedInstruction *in, const ZydisDecodedOperand *o)
{
    uint64_t target = isa_random_target(b->r, o->size / 8);
    unsigned base = register_number(b, o->mem.base);
    uint64_t displacement = target;
    uint8_t *p = b->c->code + at + in->raw.disp.offset;

    if (o->mem.base == ZYDIS_REGISTER_RIP)
        displacement -= address(b, at) + in->length;
    else if (base < 16)
        displacement -= b->c->state.gpr[base];
    if (in->raw.disp.size == 8 && o->size > 64 && !one_in(b, 8))
        *p &= 0xe0;
    if (in->raw.disp.size == 32)
        memcpy(p, &displacement, 4);
    else if (in->raw.disp.size == 64)
        memcpy(p, &displacement, 8);
}

/* Which flags may be undefined behind it. Shifts and repeated instructions with a count of zero leave flags as they
 * were. */
static uint32_t undefined_behind(const struct builder *b, const ZydisDecodedInstruction *in)
{
    const ZydisAccessedFlags *f = in->cpu_flags;
    bool perhaps = in->meta.category == ZYDIS_CATEGORY_SHIFT || in->meta.category == ZYDIS_CATEGORY_ROTATE ||
                   (in->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));

    if (f == NULL)
        return b->undefined;
    return ((perhaps ? b->undefined : b->undefined & ~(f->modified | f->set_0 | f->set_1)) | f->undefined) & ALL_FLAGS;
}

static unsigned add_lock(struct builder *b, uint8_t bytes[static 16], unsigned length,
                         const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operand)
{
    if (!(in->attributes & ZYDIS_ATTRIB_ACCEPTS_LOCK) || operand[0].type != ZYDIS_OPERAND_TYPE_MEMORY || length > 14 ||
        !one_in(b, 3))
        return length;
    memmove(bytes + 1, bytes, length);
    bytes[0] = 0xf0;
    return length + 1;
}

static void instruction(struct builder *b)
{
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction in;
    uint8_t bytes[16];
    unsigned at, index = isa_random_below(b->r, isa_generator_mnemonics(b->g));

    b->left--;
    if (!one_in(b, 3)) {
        ZydisMnemonic wanted = (ZydisMnemonic)common[isa_random_below(b->r, sizeof(common) / sizeof(common[0]))];

        for (unsigned i = 0; i < isa_generator_mnemonics(b->g); i++)
            index = isa_generator_mnemonic(b->g, i) == wanted ? i : index;
    }
    for (unsigned tries = 0; tries < 30; tries++) {
        uint32_t before = b->undefined;

        if (!isa_generator_pick(b->g, b->r, index, bytes, &in, operand) || !is_sound(b, &in, operand))
            continue;
        if (add_lock(b, bytes, in.length, &in, operand) != in.length &&
            !isa_generator_decode(b->g, bytes, &in, operand))
            continue;
        at = emit(b, bytes, in.length, before == 0 || in.cpu_flags == NULL);
        for (unsigned i = 0; i < in.operand_count_visible; i++) {
            if (operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
                aim(b, at, &in, &operand[i]);
        }
        b->undefined = undefined_behind(b, &in);
        return;
    }
}

/* --- Structures ------------------------------------------------------------------------------------------------------- */

static void body(struct builder *b, unsigned nodes);

static uint32_t flags_of_condition(unsigned condition)
{
    static const uint32_t tested[8] = {OF, CF, ZF, CF | ZF, SF, PF, SF | OF, ZF | SF | OF};

    return tested[condition >> 1];
}

/* A jump whose target comes later; returns where its displacement ends. */
static unsigned emit_jump(struct builder *b, bool near, uint8_t short_opcode, uint8_t near_opcode, bool escape)
{
    if (!near)
        EMIT(b, short_opcode, 0);
    else if (escape)
        EMIT(b, 0x0f, near_opcode, 0, 0, 0, 0);
    else
        EMIT(b, near_opcode, 0, 0, 0, 0);
    return b->c->code_size;
}

/* The jump that ends at `end` goes to `target`. False when a short one does not reach: then it goes to the next
 * instruction. */
static bool land(struct builder *b, bool near, unsigned end, unsigned target)
{
    int displacement = (int)target - (int)end;

    if (near)
        put32(b, end - 4, (uint32_t)displacement);
    else if (displacement >= -128 && displacement <= 127)
        b->c->code[end - 1] = (uint8_t)displacement;
    return near || (displacement >= -128 && displacement <= 127);
}

static void conditional(struct builder *b)
{
    unsigned condition = isa_random_below(b->r, 16), end;
    bool near = one_in(b, 3);
    uint32_t undefined;

    if (one_in(b, 8)) { /* JRCXZ */
        near = false;
        end = emit_jump(b, false, 0xe3, 0, false);
    } else {
        define(b, flags_of_condition(condition));
        end = emit_jump(b, near, (uint8_t)(0x70 | condition), (uint8_t)(0x80 | condition), true);
    }
    undefined = b->undefined;
    body(b, 1 + isa_random_below(b->r, near ? 5 : 2));
    land(b, near, end, b->c->code_size);
    b->undefined |= undefined;
}

/* Bytes that nobody executes. */
static void junk(struct builder *b)
{
    unsigned length = 1 + isa_random_below(b->r, 12);

    for (unsigned i = 0; i < length; i++)
        b->c->code[b->c->code_size++] = (uint8_t)isa_random(b->r);
}

static void jump_over_junk(struct builder *b)
{
    bool near = one_in(b, 2);
    unsigned end = emit_jump(b, near, 0xeb, 0xe9, false);

    junk(b);
    land(b, near, end, b->c->code_size);
}

/* Register = address of code that comes later; returns where the address field ends. */
static unsigned emit_code_address(struct builder *b, unsigned reg)
{
    if (b->c->compat)
        emit_mov_imm(b, reg, 0);
    else
        EMIT(b, (uint8_t)(0x48 | (reg >> 3) << 2), 0x8d, (uint8_t)((reg & 7) << 3 | 5), 0, 0, 0,
             0); /* lea reg, [rip + x] */
    return b->c->code_size;
}

static void set_code_address(struct builder *b, unsigned end, unsigned target)
{
    put32(b, end - 4, b->c->compat ? (uint32_t)address(b, target) : target - end);
}

/* JMP or CALL through a register, or through memory. */
static void emit_indirect(struct builder *b, unsigned reg, bool call)
{
    unsigned pointer = a_pointer(b), operation = call ? 2 : 4;
    uint8_t rex = (uint8_t)(0x48 | (reg >> 3) << 2 | pointer >> 3),
            displacement = (uint8_t)(isa_random_below(b->r, 8) * 8);

    if (one_in(b, 2)) {
        emit_modrm(b, false, 0xff, operation, reg, NULL, 0);
    } else if (b->c->compat) {
        EMIT(b, 0x89, (uint8_t)(0x40 | reg << 3 | pointer), displacement);
        EMIT(b, 0xff, (uint8_t)(0x40 | operation << 3 | pointer), displacement);
    } else if ((pointer & 7) == 4) {
        EMIT(b, rex, 0x89, (uint8_t)(0x44 | (reg & 7) << 3), 0x24, displacement);
        EMIT(b, (uint8_t)(0x40 | pointer >> 3), 0xff, (uint8_t)(0x44 | operation << 3), 0x24, displacement);
    } else {
        EMIT(b, rex, 0x89, (uint8_t)(0x40 | (reg & 7) << 3 | (pointer & 7)), displacement);
        EMIT(b, (uint8_t)(0x40 | pointer >> 3), 0xff, (uint8_t)(0x40 | operation << 3 | (pointer & 7)), displacement);
    }
}

static void indirect_jump(struct builder *b)
{
    unsigned reg = scratch_register(b), end = emit_code_address(b, reg);

    emit_indirect(b, reg, false);
    junk(b);
    set_code_address(b, end, b->c->code_size);
}

/* call f; jmp behind; f: body; ret; behind: */
static void call(struct builder *b)
{
    bool direct = !one_in(b, 3), no_stack = b->no_stack;
    unsigned reg = scratch_register(b), end, behind;

    if (direct) {
        end = emit_jump(b, true, 0, 0xe8, false);
    } else {
        end = emit_code_address(b, reg);
        emit_indirect(b, reg, true);
    }
    b->undefined = ALL_FLAGS; /* what the body will leave */
    if (one_in(b, 2))
        body(b, 1);
    behind = emit_jump(b, true, 0, 0xe9, false);
    if (direct)
        land(b, true, end, b->c->code_size);
    else
        set_code_address(b, end, b->c->code_size);
    b->no_stack = true;
    b->undefined = ALL_FLAGS;
    body(b, 1 + isa_random_below(b->r, 4));
    b->no_stack = no_stack;
    EMIT(b, 0xc3);
    land(b, true, behind, b->c->code_size);
    b->undefined = ALL_FLAGS;
}

/* Moves a pointer on: the address behind the same instruction changes from turn to turn. */
static void walk(struct builder *b)
{
    uint8_t step = (uint8_t)(int8_t)(8 * (1 + isa_random_below(b->r, 8)));

    emit_modrm(b, true, 0x83, one_in(b, 2) ? 0 : 5, a_pointer(b), &step, 1); /* add or sub */
    b->undefined = 0;
}

static void counted_loop(struct builder *b)
{
    static const uint8_t turns[] = {2, 3, 5, 9, 20, 70};
    bool by_loop = !(b->fixed >> RCX & 1) && one_in(b, 4);
    uint16_t fixed = b->fixed;
    unsigned counter, head, end;

    if (free_registers(b) == 0)
        return;
    counter = by_loop ? RCX : take_register(b);
    b->fixed |= (uint16_t)(1u << counter);
    emit_mov_imm(b, counter, turns[isa_random_below(b->r, b->depth > 1 ? 3 : sizeof(turns))]);
    head = b->c->code_size;
    body(b, 1 + isa_random_below(b->r, by_loop ? 3 : 8));
    if (one_in(b, 2))
        walk(b);
    define(b, by_loop ? ALL_FLAGS : CF);
    if (by_loop && b->c->code_size + 2 - head <= 128) {
        end = emit_jump(b, false, 0xe2, 0, false);
        land(b, false, end, head);
    } else {
        emit_modrm(b, false, 0xff, 1, counter, NULL, 0); /* dec */
        b->undefined = 0;
        end = emit_jump(b, true, 0, 0x85, true);
        land(b, true, end, head);
    }
    b->fixed = fixed;
}

/* lea reg, [pointer + displacement] */
static void emit_lea(struct builder *b, unsigned reg, unsigned pointer, int32_t displacement)
{
    uint8_t bytes[9] = {(uint8_t)(0x48 | (reg >> 3) << 2 | pointer >> 3), 0x8d,
                        (uint8_t)(0x80 | (reg & 7) << 3 | (pointer & 7))};
    unsigned n = 3;

    if ((pointer & 7) == 4)
        bytes[n++] = 0x24;
    memcpy(bytes + n, &displacement, 4);
    emit(b, bytes + b->c->compat, n + 4 - b->c->compat, false);
}

static void string(struct builder *b)
{
    static const uint8_t operation[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    uint16_t needs = 1u << RCX | 1u << RSI | 1u << RDI;
    uint8_t opcode = operation[isa_random_below(b->r, sizeof(operation))], bytes[4];
    unsigned n = 0, repeat = isa_random_below(b->r, 4);
    bool compares = (opcode & 0xfe) == 0xa6 || (opcode & 0xfe) == 0xae;

    if (b->fixed & needs)
        return;
    emit_lea(b, RSI, a_pointer(b), (int32_t)isa_random_below(b->r, 512) - 256);
    emit_lea(b, RDI, a_pointer(b), (int32_t)isa_random_below(b->r, 512) - 256);
    emit_mov_imm(b, RCX, isa_random_below(b->r, one_in(b, 20) ? 5000 : 40));
    if (one_in(b, 4))
        EMIT(b, 0xfd); /* std */
    if (repeat > 1)
        bytes[n++] = repeat == 2 ? 0xf3 : compares ? 0xf2 : 0xf3;
    if (one_in(b, 4))
        bytes[n++] = 0x66;
    else if (!b->c->compat && one_in(b, 2))
        bytes[n++] = 0x48;
    bytes[n++] = opcode;
    emit(b, bytes, n, false);
    if (compares && repeat <= 1)
        b->undefined = 0;
    EMIT(b, 0xfc); /* cld */
}

/* A store into the code ahead: the immediate of a later MOV, or the opcode of a later ADD. */
static void patch(struct builder *b)
{
    unsigned reg = scratch_register(b), at = b->c->code_size, field;
    uint32_t value = (uint32_t)isa_random(b->r);
    bool opcode = one_in(b, 3);

    if (opcode)
        EMIT(b, 0xc6, 0x05, 0, 0, 0, 0, one_in(b, 2) ? 0x29 : 0x01); /* mov byte [x], sub or add */
    else
        EMIT(b, 0xc7, 0x05, 0, 0, 0, 0, (uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
             (uint8_t)(value >> 24));
    if (one_in(b, 2))
        body(b, isa_random_below(b->r, 4));
    if (opcode) {
        field = b->c->code_size + (b->c->compat ? 0 : 1);
        emit_modrm(b, false, 0x01, isa_random_below(b->r, 8), reg, NULL, 0);
        b->undefined = 0;
    } else {
        emit_mov_imm(b, reg, (uint32_t)isa_random(b->r));
        field = b->c->code_size - 4;
    }
    put32(b, at + 2, b->c->compat ? (uint32_t)address(b, field) : field - (at + (opcode ? 7u : 10u)));
}

static void any_node(struct builder *b)
{
    unsigned choice = isa_random_below(b->r, 40);

    if (b->depth >= DEPTH_MAX || choice >= 14)
        instruction(b);
    else if (choice < 4)
        conditional(b);
    else if (choice < 7)
        counted_loop(b);
    else if (choice < 8)
        jump_over_junk(b);
    else if (choice < 9)
        indirect_jump(b);
    else if (choice < 11)
        call(b);
    else if (choice < 12)
        string(b);
    else if (choice < 13)
        patch(b);
    else
        walk(b);
}

static void node(struct builder *b)
{
    struct isa_case *c = b->c;
    unsigned at = c->code_size, marks = c->marks;
    bool sound = b->undefined == 0;

    any_node(b);
    if (sound && c->marks > marks + 1 && c->regions < ISA_REGIONS_MAX)
        c->region[c->regions++] = (struct isa_region){.at = (uint16_t)at, .length = (uint16_t)(c->code_size - at)};
}

static void body(struct builder *b, unsigned nodes)
{
    b->depth++;
    for (unsigned i = 0; i < nodes && !full(b); i++)
        node(b);
    b->depth--;
}

void isa_generate_sequence(struct isa_generator *g, struct isa_random *r, unsigned instructions, struct isa_case *c)
{
    struct builder b = {.g = g, .r = r, .c = c, .left = instructions};

    memset(c, 0, sizeof(*c));
    c->compat = isa_generator_compat(g);
    isa_random_state(r, c);
    if (one_in(&b, 3))
        c->start = 4096 - isa_random_below(r, 64);
    c->state.rip = ISA_CODE + c->start;
    c->state.rflags &= ~UINT64_C(0x400); /* DF is the string instructions' affair */
    choose_pointers(&b);
    while (!full(&b))
        node(&b);
    mark(&b, 1, false);
    c->code[c->code_size++] = 0xf4; /* HLT */
    isa_random_places(r, c);
}
