/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compares what silicon and engine made of a case, and prints a case so that a person can see what went wrong. */
#include "isa.h"

#include <stdio.h>
#include <string.h>

#define RF 0x10000u

struct report {
    unsigned count;
    char text[4096];
    unsigned used;
};

static void differ(struct report *p, const char *name, uint64_t before, uint64_t native, uint64_t guest)
{
    if (native == guest)
        return;
    p->count++;
    if (p->count > 24)
        return;
    p->used += (unsigned)snprintf(p->text + p->used, sizeof(p->text) - p->used,
                                  "  %-14s was %016llx  silicon %016llx  engine %016llx\n", name,
                                  (unsigned long long)before, (unsigned long long)native, (unsigned long long)guest);
}

static void differ_bytes(struct report *p, const char *name, const uint8_t *before, const uint8_t *native,
                         const uint8_t *guest, unsigned size)
{
    for (unsigned i = 0; i < size; i += 8) {
        uint64_t a, b, c;
        char label[32];

        memcpy(&a, before + i, 8);
        memcpy(&b, native + i, 8);
        memcpy(&c, guest + i, 8);
        snprintf(label, sizeof(label), "%s+%#x", name, i);
        differ(p, label, a, b, c);
    }
}

static void init_decoder(const struct isa_case *c, ZydisDecoder *decoder)
{
    ZydisDecoderInit(decoder, c->compat ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 : ZYDIS_MACHINE_MODE_LONG_64,
                     c->compat ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
}

uint32_t isa_undefined_flags(const ZydisDecodedInstruction *in)
{
    return in->meta.isa_ext == ZYDIS_ISA_EXT_BASE && in->cpu_flags != NULL ? in->cpu_flags->undefined : 0;
}

/* The instruction that raised the exception; false when it isn't one of the case's. */
static bool decode_at(const struct isa_case *c, const struct isa_result *native, ZydisDecodedInstruction *in,
                      ZydisDecodedOperand operand[static ZYDIS_MAX_OPERAND_COUNT])
{
    uint64_t at = native->state.rip - ISA_CODE - c->start;
    ZydisDecoder decoder;

    init_decoder(c, &decoder);
    return at < c->code_size &&
           ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, native->code + at, c->code_size - at, in, operand));
}

static uint64_t register_value(const struct isa_result *r, ZydisRegister reg)
{
    return reg == ZYDIS_REGISTER_NONE ? 0 : r->state.gpr[ZydisRegisterGetId(reg)];
}

/* Offsets from below 4 GiB to above: whether that is a fault, and which, "may vary from one execution to another" (SDM vol. 3
 * section 5.3). */
static bool wraps(const struct isa_case *c, const struct isa_result *r, const ZydisDecodedInstruction *in,
                  const ZydisDecodedOperand *operand)
{
    for (unsigned i = 0; c->compat && in->address_width == 32 && i < in->operand_count_visible; i++) {
        const ZydisDecodedOperandMem *m = &operand[i].mem;

        if (operand[i].type == ZYDIS_OPERAND_TYPE_MEMORY && m->type == ZYDIS_MEMOP_TYPE_MEM &&
            (uint32_t)(register_value(r, m->base) + register_value(r, m->index) * m->scale + (uint64_t)m->disp.value) +
                    (uint64_t)operand[i].size / 8 > UINT64_C(1) << 32)
            return true;
    }
    return false;
}

/* Bits of CR2 that are chance: FLDENV, FRSTOR and FXRSTOR are microcode that does not begin with the lowest byte; which
 * operand of a string instruction is read first is nowhere written. */
static uint64_t undefined_address(const struct isa_case *c, const struct isa_result *native)
{
    ZydisDecodedInstruction in;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];

    if (!decode_at(c, native, &in, operand))
        return 0;
    if (wraps(c, native, &in, operand))
        return UINT64_MAX;
    if (in.mnemonic == ZYDIS_MNEMONIC_FLDENV || in.mnemonic == ZYDIS_MNEMONIC_FRSTOR ||
        in.mnemonic == ZYDIS_MNEMONIC_FXRSTOR || in.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64)
        return UINT32_MAX;
    return in.meta.category == ZYDIS_CATEGORY_STRINGOP ? UINT64_MAX : 0;
}

/* Of a sequence with control flow: what is known where it ended. */
static uint32_t marked_flags(const struct isa_case *c, uint64_t rip)
{
    uint32_t result = 0;

    for (unsigned i = 0; i < c->marks; i++) {
        result |= c->mark[i].undefined;
        if (ISA_CODE + c->start + c->mark[i].at == rip)
            return c->mark[i].undefined;
    }
    return result;
}

static uint32_t undefined_flags(const struct isa_case *c, uint64_t rip)
{
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction in;
    ZydisDecoder decoder;
    uint32_t result = 0;

    if (c->marks != 0)
        return marked_flags(c, rip);
    init_decoder(c, &decoder);
    for (unsigned at = 0; at < c->code_size; at += in.length) {
        if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, c->code + at, c->code_size - at, &in, operand)))
            break;
        result |= isa_undefined_flags(&in);
    }
    return result;
}

bool isa_dead_flags;

/* A fault's frame may hold anything in flags that the code overwrites when it goes on. */
static uint32_t unspecified_flags(const struct isa_case *c, uint64_t rip)
{
    bool at_end = rip - ISA_CODE < c->code_size && c->code[rip - ISA_CODE] == 0xf4;

    return undefined_flags(c, rip) | (isa_dead_flags && !at_end ? 0x8d5 : 0);
}

static void compare_state(struct report *p, const struct isa_case *c, const struct isa_state *n,
                          const struct isa_state *g)
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct isa_state *b = &c->state;
    uint64_t mask = c->compat ? UINT32_MAX : UINT64_MAX, flags = ~(uint64_t)(RF | unspecified_flags(c, n->rip));

    for (unsigned i = 0; i < (c->compat ? 8u : 16u); i++)
        differ(p, names[i], b->gpr[i], n->gpr[i] & mask, g->gpr[i] & mask);
    differ(p, "rip", b->rip, n->rip, g->rip);
    differ(p, "rflags", b->rflags, n->rflags & flags, g->rflags & flags);
    differ(p, "fcw", b->fxsave[0] | b->fxsave[1] << 8, n->fxsave[0] | n->fxsave[1] << 8,
           g->fxsave[0] | g->fxsave[1] << 8);
    differ(p, "fsw", b->fxsave[2] | b->fxsave[3] << 8, n->fxsave[2] | n->fxsave[3] << 8,
           g->fxsave[2] | g->fxsave[3] << 8);
    differ(p, "ftw", b->fxsave[4], n->fxsave[4], g->fxsave[4]);
    differ(p, "mxcsr", b->fxsave[24] | b->fxsave[25] << 8, n->fxsave[24] | n->fxsave[25] << 8,
           g->fxsave[24] | g->fxsave[25] << 8);
    for (unsigned i = 0; i < 8; i++) {
        char label[8];

        snprintf(label, sizeof(label), "st%u", i);
        differ_bytes(p, label, b->fxsave + 32 + 16 * i, n->fxsave + 32 + 16 * i, g->fxsave + 32 + 16 * i, 16);
    }
    for (unsigned i = 0; i < (c->compat ? 8u : 16u); i++) {
        char label[8];

        snprintf(label, sizeof(label), "xmm%u", i);
        differ_bytes(p, label, b->fxsave + 160 + 16 * i, n->fxsave + 160 + 16 * i, g->fxsave + 160 + 16 * i, 16);
        snprintf(label, sizeof(label), "ymmh%u", i);
        differ_bytes(p, label, b->ymm_high[i], n->ymm_high[i], g->ymm_high[i], 16);
    }
}

static unsigned print_instruction(const struct isa_case *c, const ZydisDecoder *decoder,
                                  const ZydisFormatter *formatter, unsigned at)
{
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction in;
    char text[128] = "?";

    if (ZYAN_FAILED(ZydisDecoderDecodeFull(decoder, c->code + at, c->code_size - at, &in, operand)))
        return 0;
    ZydisFormatterFormatInstruction(formatter, &in, operand, in.operand_count_visible, text, sizeof(text),
                                    ISA_CODE + c->start + at, NULL);
    printf("  %llx: ", (unsigned long long)(ISA_CODE + c->start + at));
    for (unsigned i = 0; i < in.length; i++)
        printf("%02x", c->code[at + i]);
    printf("  %s\n", text);
    return in.length;
}

void isa_print(const struct isa_case *c)
{
    ZydisDecoder decoder;
    ZydisFormatter formatter;
    unsigned length = 1;

    init_decoder(c, &decoder);
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    for (unsigned i = 0; i < c->marks; i++) {
        if (c->code[c->mark[i].at] != 0x90) /* taken out */
            print_instruction(c, &decoder, &formatter, c->mark[i].at);
    }
    for (unsigned at = 0; c->marks == 0 && at < c->code_size && length != 0; at += length)
        length = print_instruction(c, &decoder, &formatter, at);
}

static bool is_address_fault(int vector)
{
    return vector >= 12 && vector <= 14;
}

bool isa_compare(const struct isa_case *c, const struct isa_result *native, const struct isa_result *guest,
                 const char *title)
{
    struct report report = {0};
    uint64_t chance = undefined_address(c, native);

    if (chance != UINT64_MAX || !is_address_fault(native->vector) || !is_address_fault(guest->vector))
        differ(&report, "exception", 0, (uint64_t)native->vector, (uint64_t)guest->vector);
    if (native->vector >= 0) { /* where an endless sequence was stopped is chance */
        differ(&report, "cr2", 0, native->address & ~chance, guest->address & ~chance);
        compare_state(&report, c, &native->state, &guest->state);
        differ_bytes(&report, "data", c->data, native->data, guest->data, ISA_DATA_SIZE);
        differ_bytes(&report, "code", c->code, native->code, guest->code, c->code_size / 8 * 8);
    }
    if (report.count == 0 || title == NULL)
        return report.count == 0;
    printf("%s: %u differences, exception %d at %llx\n", title, report.count, native->vector,
           (unsigned long long)native->state.rip);
    isa_print(c);
    fputs(report.text, stdout);
    return false;
}
