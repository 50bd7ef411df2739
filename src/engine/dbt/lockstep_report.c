/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of the lock-step mode: guest code, host code, and what differs. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"
#include "engine/dbt/lockstep_state.h"
#include "engine/dbt/op.h"

#define BYTES_SHOWN 24u  /* of memory that differs, a page */
#define HOST_SHOWN 160u  /* instructions */

static const char *const register_names[GPR_SLOTS] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9",
                                                      "r10", "r11", "r12", "r13", "r14", "r15", "zero", "rip"};
static const struct {
    uint32_t flag;
    const char *name;
} flag_names[] = {{X86_CF, "CF"}, {X86_PF, "PF"}, {X86_AF, "AF"}, {X86_ZF, "ZF"}, {X86_SF, "SF"}, {X86_OF, "OF"}};

__attribute__((format(printf, 2, 3))) static void add(struct lockstep *ls, const char *format, ...)
{
    size_t used = strlen(ls->report);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(ls->report + used, sizeof(ls->report) - used, format, arguments);
    va_end(arguments);
}

static unsigned add_instruction(struct lockstep *ls, ZydisDecoder *decoder, const uint8_t *bytes, size_t size, uint64_t address)
{
    ZydisFormatter formatter;
    ZydisDecodedInstruction in;
    ZydisDecodedOperand operand[ZYDIS_MAX_OPERAND_COUNT];
    char text[100];

    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, bytes, size, &in, operand))) {
        add(ls, "%16llx  (no instruction)\n", (unsigned long long)address);
        return 1;
    }
    ZydisFormatterFormatInstruction(&formatter, &in, operand, in.operand_count_visible, text, sizeof(text), address, NULL);
    add(ls, "%16llx  ", (unsigned long long)address);
    for (unsigned i = 0; i < 11 || i < in.length; i++)
        add(ls, i < in.length ? "%02x" : "  ", i < in.length ? bytes[i] : 0);
    add(ls, "  %s\n", text);
    return in.length;
}

static void add_guest_code(struct lockstep *ls, const struct lockstep_code *code)
{
    bool code64 = (code->mode & MODE_CODE_MASK) == MODE_CODE64;
    ZydisDecoder decoder;

    ZydisDecoderInit(&decoder, code64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32,
                     code64 ? ZYDIS_STACK_WIDTH_64 : ZYDIS_STACK_WIDTH_32);
    for (unsigned i = 0; i < code->count; i++)
        add_instruction(ls, &decoder, code->instruction[i].bytes, code->instruction[i].op.length, code->instruction[i].rip);
}

static void add_host_code(struct lockstep *ls, const struct lockstep_code *code)
{
    const uint8_t *at = code->host;
    ZydisDecoder decoder;

    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    add(ls, "host code (RSP: the vCPU; R9: guest RSP; R10, R11: scratch; its less likely part stands elsewhere):\n");
    for (unsigned i = 0; at < code->host_end && i < HOST_SHOWN; i++)
        at += add_instruction(ls, &decoder, at, (size_t)(code->host_end - at), (uint64_t)(uintptr_t)at);
}

static void add_bytes(struct lockstep *ls, const char *who, const uint8_t *bytes, unsigned size)
{
    add(ls, "  %s ", who);
    for (unsigned i = size; i-- > 0;)
        add(ls, "%02x", bytes[i]);
}

static void add_line(void *ctx, const char *name, unsigned index, const uint8_t *start, const uint8_t *interpreted,
                     const uint8_t *translated, unsigned size)
{
    struct lockstep *ls = ctx;

    if (strcmp(name, "general register") == 0)
        add(ls, "  %s:", register_names[index]);
    else if (index != UINT_MAX)
        add(ls, "  %s %u:", name, index);
    else
        add(ls, "  %s:", name);
    add_bytes(ls, "before", start, size);
    add_bytes(ls, "interpreter", interpreted, size);
    add_bytes(ls, "translation", translated, size);
    add(ls, "\n");
}

static void add_memory(struct lockstep *ls)
{
    for (unsigned n = 0; n < ls->pages; n++) {
        const struct lockstep_page *page = &ls->page[n];

        for (unsigned i = 0, shown = 0; i < sizeof(page->copy) && shown < BYTES_SHOWN; i++) {
            if (page->copy[i] == page->translated[i])
                continue;
            add(ls, "  memory at physical %llx:  before %02x  interpreter %02x  translation %02x\n",
                (unsigned long long)(page->physical + i), page->real[i], page->copy[i], page->translated[i]);
            shown++;
        }
    }
}

static void add_flag_names(char *out, size_t size, uint32_t flags)
{
    out[0] = '\0';
    for (unsigned i = 0; i < ARRAY_SIZE(flag_names); i++)
        if (flags & flag_names[i].flag)
            text_format(out + strlen(out), size - strlen(out), "%s%s", out[0] != '\0' ? " " : "", flag_names[i].name);
}

static void add_flags(struct lockstep *ls)
{
    uint32_t a = dbt_lockstep_flags(&ls->interpreted.state), b = dbt_lockstep_flags(&ls->translated.state);
    char flags[3][24];

    add_flag_names(flags[0], sizeof(flags[0]), dbt_lockstep_flags(&ls->start));
    add_flag_names(flags[1], sizeof(flags[1]), a);
    add_flag_names(flags[2], sizeof(flags[2]), b);
    if (a != b)
        add(ls, "  flags (a fault only where somebody reads them):  before [%s]  interpreter [%s]  translation [%s]\n", flags[0],
            flags[1], flags[2]);
}

static const char *end_text(const struct lockstep_result *r, char *out, size_t size)
{
    switch (r->end) {
    case LOCKSTEP_RAISED:
        text_format(out, size, "exception %u, error code %x, at %llx", r->raised.vector, r->raised.error,
                    (unsigned long long)dbt_lockstep_rip(&r->state));
        break;
    case LOCKSTEP_STOPPED:
        text_format(out, size, "a device or system register at %llx", (unsigned long long)dbt_lockstep_rip(&r->state));
        break;
    default:
        text_format(out, size, "%llx next", (unsigned long long)dbt_lockstep_rip(&r->state));
    }
    return out;
}

static void add_registers(struct dbt_vcpu *v)
{
    for (unsigned i = 0; i < 16; i++)
        add(v->lockstep, "%6s %016llx%s", register_names[i], (unsigned long long)v->gpr[i], i % 4 == 3 ? "\n" : "");
}

static void begin(struct dbt_vcpu *v, const char *what, const struct lockstep_code *code)
{
    struct lockstep *ls = v->lockstep;

    text_format(ls->message, sizeof(ls->message), "lock-step: %s", what);
    ls->report[0] = '\0';
    add(ls, "%s\nCPU %u, CPL %u, mode %x; guest code:\n", ls->message, v->id, v->cpl, code->mode);
    add_guest_code(ls, code);
    add(ls, "before:\n");
    add_registers(v);
}

/* A line at a time: a log's lines have a limit. */
static void finish(struct dbt_vcpu *v)
{
    char *line = v->lockstep->report, *end;

    for (; v->hooks->notice != NULL && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        v->hooks->notice(v->hooks->ctx, line);
    }
}

void dbt_lockstep_report_difference(struct dbt_vcpu *v)
{
    struct lockstep *ls = v->lockstep;
    char what[150], text[100];

    text_format(what, sizeof(what), "the translation of the code at %llx does not do what the interpreter does",
                (unsigned long long)ls->code->instruction[0].rip);
    begin(v, what, ls->code);
    add(ls, "ends:  interpreter: %s (%u instructions)", end_text(&ls->interpreted, text, sizeof(text)), ls->instructions);
    add(ls, ";  translation: %s\ndifferences:\n", end_text(&ls->translated, text, sizeof(text)));
    dbt_lockstep_differences(&ls->start, &ls->interpreted.state, &ls->translated.state, add_line, ls);
    add_flags(ls);
    add_memory(ls);
    add_host_code(ls, ls->code);
    finish(v);
}

void dbt_lockstep_report_flags(struct dbt_vcpu *v, const struct lockstep_instruction *reader, uint32_t flags)
{
    struct lockstep *ls = v->lockstep;
    char what[150], names[24];

    add_flag_names(names, sizeof(names), flags);
    text_format(what, sizeof(what), "flags %s, which the instruction at %llx reads, were left wrong by the translation at %llx "
                "or one before", names, (unsigned long long)reader->rip, (unsigned long long)ls->stale_code->instruction[0].rip);
    begin(v, what, ls->stale_code);
    add(ls, "the code that reads them:\n");
    add_guest_code(ls, ls->code);
    add_host_code(ls, ls->stale_code);
    finish(v);
}
