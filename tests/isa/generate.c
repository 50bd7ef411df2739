/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The generator. A catalogue of templates is made once by walking all opcodes through the decoder; a case is then a
 * template with random registers, displacements and immediates, and registers set up so that its memory operand falls
 * into the data pages. */
#include "isa.h"

#include <stdlib.h>
#include <string.h>

#define TEMPLATES_MAX 40u /* kept of one mnemonic */

struct template
{
    uint8_t kind;   /* 0 legacy, 1 VEX */
    uint8_t prefix; /* 66, F2, F3 or 0; VEX: pp */
    uint8_t map;    /* 0 one byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode, w, l, modrm;
};

struct entry {
    ZydisMnemonic mnemonic;
    unsigned count, seen;
    struct template template[TEMPLATES_MAX];
};

struct isa_generator {
    ZydisDecoder decoder;
    bool compat;
    isa_filter_fn *filter;
    void *ctx;
    unsigned count;
    struct entry *entry;
    int16_t index[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

uint64_t isa_random(struct isa_random *r) /* splitmix64 */
{
    uint64_t z = r->s += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

unsigned isa_random_below(struct isa_random *r, unsigned limit)
{
    return (unsigned)(isa_random(r) >> 32) % limit;
}

static bool one_in(struct isa_random *r, unsigned n)
{
    return isa_random_below(r, n) == 0;
}

/* Bytes of a template up to and with ModRM; what follows is random. Returns the length. */
static unsigned expand(const struct isa_generator *g, const struct template *t, struct isa_random *r,
                       uint8_t out[static 16])
{
    uint8_t modrm = t->modrm;
    unsigned n = 0, rex = r != NULL && !g->compat ? isa_random_below(r, 8) : 0;

    if (r != NULL && t->kind == 0 && one_in(r, 30) && !g->compat)
        out[n++] = 0x67;
    if (t->kind == 1) {
        out[n++] = 0xc4;
        out[n++] = (uint8_t)((rex ^ 7) << 5 | t->map);
        out[n] = (uint8_t)(t->w << 7 | 0x78 | t->l << 2 | t->prefix);
        if (r != NULL && one_in(r, 8) == false)
            out[n] = (uint8_t)((out[n] & 0x87) | isa_random_below(r, 16) << 3);
        n++;
    } else {
        if (t->prefix != 0)
            out[n++] = t->prefix;
        if (r != NULL && t->prefix != 0x66 && one_in(r, 8))
            out[n++] = 0x66;
        if (!g->compat && (t->w || rex != 0))
            out[n++] = (uint8_t)(0x40 | t->w << 3 | rex);
        if (t->map != 0)
            out[n++] = 0x0f;
        if (t->map > 1)
            out[n++] = t->map == 2 ? 0x38 : 0x3a;
    }
    out[n++] = t->opcode;
    if (r != NULL && !(t->map == 0 && t->opcode >= 0xd8 && t->opcode <= 0xdf)) {
        modrm = modrm >= 0xc0 ? (uint8_t)(0xc0 | (modrm & 0x38) | isa_random_below(r, 8))
                              : (uint8_t)(isa_random_below(r, 3) << 6 | (modrm & 0x38) | isa_random_below(r, 8));
    }
    out[n++] = modrm;
    for (unsigned i = n; i < 16; i++)
        out[i] = r != NULL ? (uint8_t)isa_random(r) : 0;
    return n;
}

bool isa_generator_decode(const struct isa_generator *g, const uint8_t *bytes, ZydisDecodedInstruction *in,
                          ZydisDecodedOperand *operand)
{
    return ZYAN_SUCCESS(ZydisDecoderDecodeFull(&g->decoder, bytes, 15, in, operand)) && g->filter(in, g->ctx);
}

static void add(struct isa_generator *g, const struct template *t, struct isa_random *r)
{
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction in;
    uint8_t bytes[16];
    struct entry *e;
    unsigned slot;

    expand(g, t, NULL, bytes);
    if (!isa_generator_decode(g, bytes, &in, operand))
        return;
    if (g->index[in.mnemonic] < 0) {
        g->index[in.mnemonic] = (int16_t)g->count;
        g->entry[g->count++].mnemonic = in.mnemonic;
    }
    e = &g->entry[g->index[in.mnemonic]];
    slot = e->seen < TEMPLATES_MAX ? e->seen : isa_random_below(r, e->seen + 1);
    e->seen++;
    if (slot < TEMPLATES_MAX)
        e->template[slot] = *t;
    e->count = e->seen < TEMPLATES_MAX ? e->seen : TEMPLATES_MAX;
}

static void add_modrms(struct isa_generator *g, struct template t, struct isa_random *r)
{
    bool x87 = t.kind == 0 && t.map == 0 && t.opcode >= 0xd8 && t.opcode <= 0xdf;

    for (unsigned modrm = 0; modrm < 256; modrm++) {
        if (modrm >= 0xc0 ? !x87 && (modrm & 7) != 1 : (modrm & 0xc7) != 0x01)
            continue;
        t.modrm = (uint8_t)modrm;
        add(g, &t, r);
    }
}

static void catalogue(struct isa_generator *g)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3};
    struct isa_random r = {.s = 1};

    for (unsigned i = 0; i < 4u * 4 * 256 * 2; i++) {
        struct template t = {
            .prefix = prefixes[i & 3], .map = i >> 2 & 3, .opcode = (uint8_t)(i >> 4), .w = i >> 12 & 1};

        if (!(t.w && g->compat))
            add_modrms(g, t, &r);
    }
    for (unsigned i = 0; i < 4u * 4 * 256 * 2 * 2; i++) {
        struct template t = {.kind = 1,
                             .prefix = i & 3,
                             .map = i >> 2 & 3,
                             .opcode = (uint8_t)(i >> 4),
                             .w = i >> 12 & 1,
                             .l = i >> 13 & 1};

        if (t.map != 0)
            add_modrms(g, t, &r);
    }
}

struct isa_generator *isa_generator_new(bool compat, isa_filter_fn *filter, void *ctx)
{
    struct isa_generator *g = calloc(1, sizeof(*g));

    if (g == NULL)
        return NULL;
    g->entry = calloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, sizeof(*g->entry));
    g->compat = compat;
    g->filter = filter;
    g->ctx = ctx;
    memset(g->index, 0xff, sizeof(g->index));
    ZydisDecoderInit(&g->decoder, compat ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 : ZYDIS_MACHINE_MODE_LONG_64,
                     compat ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
    if (g->entry != NULL)
        catalogue(g);
    return g;
}

void isa_generator_free(struct isa_generator *g)
{
    if (g == NULL)
        return;
    free(g->entry);
    free(g);
}

unsigned isa_generator_mnemonics(const struct isa_generator *g)
{
    return g->count;
}

ZydisMnemonic isa_generator_mnemonic(const struct isa_generator *g, unsigned index)
{
    return g->entry[index].mnemonic;
}

/* Numbers that hit the corners of integer, float and double arithmetic. */
static uint64_t interesting(struct isa_random *r)
{
    static const uint64_t corners[] = {
        0,
        1,
        UINT64_MAX,
        UINT64_C(0x8000000000000000),
        UINT64_C(0x7fffffffffffffff),
        UINT64_C(0x7ff0000000000000),
        UINT64_C(0xfff8000000000000),
        UINT64_C(0x7ff4000000000000),
        UINT64_C(0x3ff0000000000000),
        UINT64_C(0x000fffffffffffff),
        UINT64_C(0x7f8000003f800000),
        UINT64_C(0xff800000ffc00000),
        UINT64_C(0x7fa0000080000000),
        UINT64_C(0x00800000007fffff),
        UINT64_C(0x4330000000000000),
        UINT64_C(0x0000000100000001),
        UINT64_C(0x80007fff8000ffff),
        UINT64_C(0x807f80ff00ff7f01),
    };
    double d;
    float f[2];
    uint64_t bits;

    switch (isa_random_below(r, 6)) {
    case 0:
        return corners[isa_random_below(r, sizeof(corners) / sizeof(corners[0]))];
    case 1:
        return isa_random_below(r, 512);
    case 2:
        d = ((double)(int32_t)isa_random(r)) / 1024;
        memcpy(&bits, &d, 8);
        return bits;
    case 3:
        f[0] = (float)(int16_t)isa_random(r) / 64;
        f[1] = (float)(int16_t)isa_random(r);
        memcpy(&bits, f, 8);
        return bits;
    default:
        return isa_random(r);
    }
}

static void random_bytes(struct isa_random *r, uint8_t *p, unsigned size)
{
    for (unsigned i = 0; i + 8 <= size; i += 8) {
        uint64_t value = interesting(r);

        memcpy(p + i, &value, 8);
    }
}

static void random_x87(struct isa_random *r, uint8_t *fx)
{
    uint16_t fcw = (uint16_t)(0x7f | (isa_random(r) & 0xf00)), fsw = (uint16_t)(isa_random(r) & 0x7f00);
    uint32_t mxcsr = 0x1f80 | (isa_random(r) & 0xe03f);

    memset(fx, 0, 32);
    if (one_in(r, 8)) /* some exceptions unmasked, none pending */
        fcw &= (uint16_t) ~(1u << isa_random_below(r, 6));
    if (one_in(r, 8))
        mxcsr &= ~(1u << (7 + isa_random_below(r, 6)));
    if (one_in(r, 4))
        mxcsr = 0x1f80;
    memcpy(fx, &fcw, 2);
    memcpy(fx + 2, &fsw, 2);
    fx[4] = one_in(r, 3) ? 0 : (uint8_t)(isa_random(r) | isa_random(r));
    memcpy(fx + 24, &mxcsr, 4);
    for (unsigned i = 0; i < 8; i++) {
        long double value = (long double)(int64_t)isa_random(r) / (long double)(1 + (isa_random(r) & 0xffffff));
        uint64_t bits = interesting(r);

        memset(fx + 32 + 16 * i, 0, 16);
        if (one_in(r, 4)) {
            memcpy(fx + 32 + 16 * i, &bits, 8);
            bits = one_in(r, 2) ? isa_random(r) : 0x7fff;
            memcpy(fx + 40 + 16 * i, &bits, 2);
        } else {
            memcpy(fx + 32 + 16 * i, &value, 10);
        }
    }
}

void isa_random_state(struct isa_random *r, struct isa_case *c)
{
    random_x87(r, c->state.fxsave);
    random_bytes(r, c->state.fxsave + 160, 256);
    random_bytes(r, &c->state.ymm_high[0][0], 256);
    random_bytes(r, c->data, ISA_DATA_SIZE);
    for (unsigned i = 0; i < 16; i++)
        c->state.gpr[i] = one_in(r, 3) ? ISA_DATA + isa_random_below(r, ISA_DATA_SIZE) : interesting(r);
    c->state.gpr[1] = one_in(r, 4) ? c->state.gpr[1] : isa_random_below(r, 64); /* counts */
    c->state.gpr[4] = ISA_STACK;
    c->state.gpr[6] = ISA_DATA + 0x200 + isa_random_below(r, 0x1000);
    c->state.gpr[7] = ISA_DATA + 0x200 + isa_random_below(r, 0x1000);
    c->state.rip = ISA_CODE;
    c->state.rflags = isa_random(r) & 0x8d5;
    if (one_in(r, 8))
        c->state.rflags |= 0x400;
    if (c->compat) {
        for (unsigned i = 0; i < 16; i++)
            c->state.gpr[i] = i < 8 ? (uint32_t)c->state.gpr[i] : 0;
    }
}

/* Where the operand shall lie: mostly within the data, aligned or not, sometimes across the pages' border, at times
 * beyond. */
uint64_t isa_random_target(struct isa_random *r, unsigned size)
{
    uint64_t offset = isa_random_below(r, ISA_DATA_SIZE - 512);

    switch (isa_random_below(r, 32)) {
    case 0:
        return ISA_DATA + ISA_DATA_SIZE - 1 - isa_random_below(r, size + 1);
    case 1:
        return one_in(r, 4) ? isa_random(r) : ISA_DATA - isa_random_below(r, size + 8);
    case 2:
    case 3:
    case 4:
        return ISA_DATA + 4096 - isa_random_below(r, size + 1);
    case 5:
    case 6:
    case 7:
    case 8:
        return ISA_DATA + offset;
    default:
        return ISA_DATA + (offset & ~UINT64_C(63));
    }
}

static unsigned gpr_number(ZydisRegister reg)
{
    return (unsigned)ZydisRegisterGetId(reg) & 15;
}

/* A gather's index vector gets small numbers, its base the data. */
static uint64_t tame_index_vector(struct isa_random *r, struct isa_case *c, unsigned number)
{
    for (unsigned i = 0; i < 8; i++) {
        uint32_t value = isa_random_below(r, 400);
        uint8_t *p = i < 4 ? c->state.fxsave + 160 + 16 * number + 4 * i : c->state.ymm_high[number] + 4 * (i - 4);

        memcpy(p, one_in(r, 2) ? &value : &(uint32_t){0}, 4);
    }
    return ISA_DATA + isa_random_below(r, 4096);
}

/* Makes a memory operand reach its target by a change of its base register or of its displacement. */
static void aim(struct isa_random *r, struct isa_case *c, unsigned at, const ZydisDecodedInstruction *in,
                const ZydisDecodedOperand *o)
{
    uint64_t target = isa_random_target(r, o->size / 8), index = 0;
    bool vector = o->mem.type == ZYDIS_MEMOP_TYPE_VSIB;
    uint32_t displacement;

    if (vector)
        target = tame_index_vector(r, c, (unsigned)ZydisRegisterGetId(o->mem.index) & 15);
    else if (o->mem.index != ZYDIS_REGISTER_NONE)
        index = c->state.gpr[gpr_number(o->mem.index)] * o->mem.scale;
    if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_NONE) {
        displacement = (uint32_t)(target - index);
        if (o->mem.base == ZYDIS_REGISTER_RIP)
            displacement -= (uint32_t)(ISA_CODE + at + in->length);
        if (in->raw.disp.size == 32)
            memcpy(c->code + at + in->raw.disp.offset, &displacement, 4);
        return;
    }
    if (gpr_number(o->mem.base) == 4 || (o->mem.index != ZYDIS_REGISTER_NONE && !vector && o->mem.base == o->mem.index))
        return;
    c->state.gpr[gpr_number(o->mem.base)] = target - index - (uint64_t)o->mem.disp.value;
    if (c->compat)
        c->state.gpr[gpr_number(o->mem.base)] &= UINT32_MAX;
}

/* A jump back into the case, perhaps into the middle of an instruction, would execute what was never chosen. */
static bool jumps_into_case(const ZydisDecodedInstruction *in)
{
    return in->raw.imm[0].is_relative && in->raw.imm[0].value.s < 0 && in->raw.imm[0].value.s >= -(int64_t)ISA_CODE_MAX;
}

bool isa_generator_compat(const struct isa_generator *g)
{
    return g->compat;
}

bool isa_generator_pick(struct isa_generator *g, struct isa_random *r, unsigned index, uint8_t bytes[static 16],
                        ZydisDecodedInstruction *in, ZydisDecodedOperand *operand)
{
    const struct entry *e = &g->entry[index];

    for (unsigned tries = 0; tries < 20; tries++) {
        expand(g, &e->template[isa_random_below(r, e->count)], r, bytes);
        if (isa_generator_decode(g, bytes, in, operand) && in->mnemonic == e->mnemonic)
            return true;
    }
    return false;
}

void isa_random_places(struct isa_random *r, struct isa_case *c)
{
    if (c->compat || one_in(r, 4))
        return;
    for (unsigned i = 0; i < 16; i++)
        if (c->state.gpr[i] - ISA_DATA < ISA_DATA_SIZE && !one_in(r, 8))
            c->state.gpr[i] += i == 4 || one_in(r, 2) ? ISA_UPPER_STACK : ISA_UPPER_DATA;
}

static void append(struct isa_generator *g, struct isa_random *r, unsigned which, bool last, struct isa_case *c)
{
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    const struct entry *e = &g->entry[which];
    ZydisDecodedInstruction in;
    uint8_t bytes[16];

    for (unsigned tries = 0; tries < 50; tries++) {
        expand(g, &e->template[isa_random_below(r, e->count)], r, bytes);
        if (!isa_generator_decode(g, bytes, &in, operand) || in.mnemonic != e->mnemonic || jumps_into_case(&in) ||
            (!last && (isa_undefined_flags(&in) != 0 || in.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)))
            continue;
        memcpy(c->code + c->code_size, bytes, in.length);
        for (unsigned i = 0; i < in.operand_count_visible; i++) {
            if (operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY && in.address_width != 16)
                aim(r, c, c->code_size, &in, &operand[i]);
        }
        c->code_size += in.length;
        return;
    }
}

void isa_generate(struct isa_generator *g, struct isa_random *r, unsigned first, unsigned instructions,
                  struct isa_case *c)
{
    /* Branches and undefined flags come last in a case only. */
    memset(c, 0, sizeof(*c));
    c->compat = g->compat;
    isa_random_state(r, c);
    append(g, r, first, instructions == 1, c);
    for (unsigned i = 1; i < instructions && c->code_size + 15 < ISA_CODE_MAX; i++)
        append(g, r, isa_random_below(r, g->count), i + 1 == instructions, c);
    isa_random_places(r, c);
}
