/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code and data whose pages are mapped anew, flushed in every way there is, and run again: isa_remap ENGINE SEED ROUNDS OPERATIONS.
 *
 * Linear pages lead to frames of RAM which hold the same functions with other numbers, so that what a function returns says which frames
 * it ran in. A round is a run of supervisor code made here: it changes entries of page tables, flushes (INVLPG, CR3 with and without
 * keeping a PCID, INVPCID), switches between two address spaces, changes code through another mapping, and calls the functions, as
 * supervisor and as user. A model knows what each entry may be: what was mapped since its last flush, as on any processor. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "engine/engine.h"
#include "isa.h"
#include "memory/memory.h"
#include "x86/cpuid.h"
#include "x86/state.h"
#include "x86/xsave.h"

enum { SPACES = 2, CODE_PAGES = 6, DATA_PAGES = 4, PAGES = CODE_PAGES + DATA_PAGES, FRAMES = 7, NOWHERE = FRAMES, PATCHES = 8 };
enum { /* guest-physical; RAM is mapped at its own addresses for the supervisor */
    PROGRAM = 0x10000, PROGRAM_SIZE = 0x60000, IDENTITY = 0x80000, PML4 = 0x81000, PDPT = 0x83000, PD = 0x85000, PT = 0x87000,
    CODE_FRAMES = 0x90000, DATA_FRAMES = 0xa0000, USER_FRAMES = 0xb0000, GDT = 0xb2000, IDT = 0xb3000, TSS = 0xb4000, STUBS = 0xb5000,
    RESULTS = 0xc0000, STACK_TOP = 0xe0000, RAM_SIZE = 0x100000,
};
#define LINEAR UINT64_C(0x200000)   /* pages of code, of data, then the user's stack, with the code that its functions return to */
#define USER_STACK (LINEAR + PAGES * 4096)
#define USER_RETURN (USER_STACK + 4096)
enum { SELECTOR_TSS = 0x08, SELECTOR_KERNEL = 0x38, SELECTOR_USER = 0x2b, STOP_PORT = 0x80, FAULT = 0x0badfa17 };
enum { PRESENT = 1, WRITABLE = 2, USER = 4 };

/* The functions, at these offsets in their page. */
enum { CONSTANT = 0x10, JUMP_ON = 0x100, CALL_ON = 0x200, LOOP = 0x300, STORE = 0x400, PUSH = 0x500, TAIL = 0x600, CUT = 0xffd };
static const unsigned functions[] = {CONSTANT, JUMP_ON, CALL_ON, LOOP, STORE, PUSH, TAIL, CUT};

static const struct engine_type *type;
static struct memory *memory;
static struct engine_vm *vm;
static struct engine_vcpu *vcpu;
static uint8_t *ram;
static struct isa_random numbers;
static bool pcids; /* CR4.PCIDE in this round */

/* --- the model ----------------------------------------------------------------------------------------------------------------- */

static unsigned mapped[SPACES][PAGES];   /* frame in the page tables */
static unsigned possible[SPACES][PAGES]; /* a bit for each that may still be in a TLB */
static unsigned space;                   /* present one */
static uint16_t constant[FRAMES];        /* what CONSTANT returns in each frame, which changes */

struct expectation {
    char text[160];
    unsigned function, frames, next_frames; /* bits of frames; of the page behind it */
    uint16_t constant[FRAMES];
    uint32_t stored;                        /* STORE, PUSH: the value, */
    unsigned data_frames, offset;           /* and where it should be */
};
static struct expectation *expected;
static unsigned count;

static void flush_page(unsigned s, unsigned page)
{
    possible[s][page] = 1u << mapped[s][page];
}

static void flush_space(unsigned s)
{
    for (unsigned page = 0; page < PAGES; page++)
        flush_page(s, page);
}

static void map(unsigned s, unsigned page, unsigned frame)
{
    mapped[s][page] = frame;
    possible[s][page] |= 1u << frame;
}

static uint64_t entry_for(unsigned page, unsigned frame)
{
    uint64_t first = page < CODE_PAGES ? CODE_FRAMES : DATA_FRAMES;

    return frame == NOWHERE ? 0 : (first + frame * 4096) | PRESENT | WRITABLE | USER;
}

static uint64_t entry_address(unsigned s, unsigned page)
{
    return PT + s * 4096 + page * 8;
}

/* --- the guest's memory ---------------------------------------------------------------------------------------------------------- */

static uint8_t *put32(uint8_t *at, uint32_t value)
{
    store_le32(at, value);
    return at + 4;
}

static uint32_t number_of(unsigned frame)
{
    return 0x100 + frame;
}

static void fill_frame(unsigned frame)
{
    uint8_t *page = ram + CODE_FRAMES + frame * 4096;
    const uint8_t loop[] = {0xb9, 3, 0, 0, 0, 0x31, 0xc0, 0x05, (uint8_t)number_of(frame), 1, 0, 0, 0xff, 0xc9, 0x75, 0xf7, 0xc3};

    memset(page, 0xf4, 4096); /* hlt: #GP for the user, an end for the supervisor */
    memcpy(page, (const uint8_t[]){(uint8_t)number_of(frame), 1, 0xc3}, 3);       /* of CUT: the immediate's upper half; ret */
    page[CONSTANT] = 0xb8;                                                         /* mov eax, number; ret */
    *put32(page + CONSTANT + 1, number_of(frame)) = 0xc3;
    page[JUMP_ON] = 0xe9;                                                          /* jmp to CONSTANT of the next page */
    put32(page + JUMP_ON + 1, 4096 + CONSTANT - (JUMP_ON + 5));
    page[CALL_ON] = 0xe8;                                                          /* call it; add eax, number << 16; ret */
    put32(page + CALL_ON + 1, 4096 + CONSTANT - (CALL_ON + 5));
    page[CALL_ON + 5] = 0x05;
    *put32(page + CALL_ON + 6, number_of(frame) << 16) = 0xc3;
    memcpy(page + LOOP, loop, sizeof(loop));                                       /* three times its number */
    memcpy(page + STORE, (const uint8_t[]){0x89, 0x37, 0x8b, 0x07, 0xc3}, 5);      /* mov [rdi], esi; mov eax, [rdi]; ret */
    memcpy(page + PUSH, (const uint8_t[]){0x48, 0x89, 0xe2, 0x48, 0x8d, 0x67, 8, 0x56, 0x58, 0x48, 0x89, 0xd4, 0xc3}, 13);
    page[TAIL] = 0xb8;                                                             /* mov eax, number << 16; jmp to PUSH here */
    page[TAIL + 5] = 0xe9;
    put32(put32(page + TAIL + 1, number_of(frame) << 16) + 1, (uint32_t)(PUSH - (TAIL + 10)));
    page[CUT] = 0xb8;                                                              /* mov eax, what this and the next page say */
    store_le16(page + CUT + 1, (uint16_t)number_of(frame));
    constant[frame] = (uint16_t)number_of(frame);
}

static void write_tables(void)
{
    for (unsigned i = 0; i < RAM_SIZE / 4096; i++)
        store_le64(ram + IDENTITY + 8 * i, i * 4096 | PRESENT | WRITABLE);
    for (unsigned s = 0; s < SPACES; s++) {
        store_le64(ram + PML4 + s * 4096, (PDPT + s * 4096) | PRESENT | WRITABLE | USER);
        store_le64(ram + PDPT + s * 4096, (PD + s * 4096) | PRESENT | WRITABLE | USER);
        store_le64(ram + PD + s * 4096, IDENTITY | PRESENT | WRITABLE);
        store_le64(ram + PD + s * 4096 + 8, (PT + s * 4096) | PRESENT | WRITABLE | USER);
        for (unsigned page = 0; page < PAGES; page++)
            store_le64(ram + entry_address(s, page), entry_for(page, mapped[s][page]));
        store_le64(ram + entry_address(s, PAGES), USER_FRAMES | PRESENT | WRITABLE | USER);
        store_le64(ram + entry_address(s, PAGES + 1), (USER_FRAMES + 4096) | PRESENT | WRITABLE | USER);
    }
    store_le64(ram + GDT + SELECTOR_TSS, UINT64_C(0x0000890000000067) | (uint64_t)TSS << 16);
    store_le64(ram + GDT + SELECTOR_KERNEL, UINT64_C(0x00af9b000000ffff));
    store_le64(ram + TSS + 36, STACK_TOP - 0x8000); /* a stack for faults: the functions' own may be nowhere */
    for (unsigned vector = 0; vector < 32; vector++)
        store_le64(ram + IDT + 16 * vector, (STUBS & 0xffff) | SELECTOR_KERNEL << 16 | UINT64_C(0x8e01) << 32 |
                                                (uint64_t)(STUBS >> 16) << 48);
    /* From faults: mov eax, FAULT; and for both: mov rsp, r15; jmp rbx. From system calls: 5 bytes on. */
    ram[STUBS] = 0xb8;
    memcpy(put32(ram + STUBS + 1, FAULT), (const uint8_t[]){0x4c, 0x89, 0xfc, 0xff, 0xe3}, 5);
    memcpy(ram + USER_FRAMES + 4096, (const uint8_t[]){0x0f, 0x05}, 2);
}

static void set_state(void)
{
    static struct x86_state s;

    x86_state_reset(&s, true);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++)
        s.segment[i] = (struct x86_segment){.limit = UINT32_MAX, .s = 1, .present = 1, .type = 3, .db = 1, .g = 1};
    s.segment[X86_CS] = (struct x86_segment){.limit = UINT32_MAX, .selector = SELECTOR_KERNEL, .s = 1, .present = 1, .type = 0xb, .l = 1,
                                             .g = 1};
    s.tr = (struct x86_segment){.base = TSS, .limit = 0x67, .selector = SELECTOR_TSS, .type = 0xb, .present = 1};
    s.gdtr = (struct x86_table){.base = GDT, .limit = 0x3f};
    s.idtr = (struct x86_table){.base = IDT, .limit = 32 * 16 - 1};
    s.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
    s.cr3 = PML4 + space * 4096 + (pcids ? space + 1 : 0);
    s.cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | (pcids ? X86_CR4_PCIDE : 0);
    s.msr.efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA;
    s.msr.star = (uint64_t)SELECTOR_KERNEL << 32 | (uint64_t)(SELECTOR_USER - 8) << 48;
    s.msr.lstar = STUBS + 5;
    s.msr.sfmask = X86_IF;
    store_le16(s.xsave + X86_XSAVE_FCW, 0x37f);
    store_le32(s.xsave + X86_XSAVE_MXCSR, 0x1f80);
    store_le64(s.xsave + X86_XSAVE_XSTATE_BV, X86_XSTATE_X87 | X86_XSTATE_SSE);
    s.rflags = 2;
    s.rip = PROGRAM;
    s.gpr[X86_RSP] = STACK_TOP;
    if (type->vcpu_set_state(vcpu, &s, NULL) < 0)
        exit(1);
}

/* --- the program -------------------------------------------------------------------------------------------------------------------- */

static uint8_t program[PROGRAM_SIZE], *at;
static char history[4096]; /* what has been done in this round */

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    size_t used = strlen(history);
    va_list arguments;

    if (used > sizeof(history) - 200) { /* the last will do */
        memmove(history, history + used / 2, used - used / 2 + 1);
        used = strlen(history);
    }
    va_start(arguments, format);
    vsnprintf(history + used, sizeof(history) - used, format, arguments);
    va_end(arguments);
}

static void emit(const uint8_t *bytes, size_t size)
{
    memcpy(at, bytes, size);
    at += size;
}
#define EMIT(...) emit((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void emit_load(unsigned reg, uint32_t value) /* the lower eight, zero-extended */
{
    EMIT((uint8_t)(0xb8 + reg));
    at = put32(at, value);
}

static unsigned below(unsigned limit)
{
    return isa_random_below(&numbers, limit);
}

static void change_mapping(void)
{
    unsigned s = below(2) ? space : below(SPACES), page = below(PAGES), frame = below(10) == 0 ? NOWHERE : below(FRAMES);

    map(s, page, frame);
    note("space %u page %u -> frame %u; ", s, page, frame);
    emit_load(X86_RAX, (uint32_t)entry_for(page, frame));
    EMIT(0x48, 0x89, 0x04, 0x25); /* mov [entry], rax */
    at = put32(at, (uint32_t)entry_address(s, page));
}

static void invalidate_page(void)
{
    unsigned page = below(PAGES);

    flush_page(space, page);
    note("invlpg page %u; ", page);
    emit_load(X86_RAX, (uint32_t)(LINEAR + page * 4096));
    EMIT(0x0f, 0x01, 0x38);
}

static void load_cr3(void)
{
    bool keep = pcids && below(2) == 0;

    space = below(SPACES);
    if (!keep)
        flush_space(space);
    if (!pcids)
        flush_space(!space);
    note("cr3 of space %u%s; ", space, keep ? ", kept" : "");
    emit_load(X86_RAX, (uint32_t)(PML4 + space * 4096 + (pcids ? space + 1 : 0)));
    if (keep)
        EMIT(0x48, 0x0f, 0xba, 0xe8, 63); /* bts rax, 63 */
    EMIT(0x0f, 0x22, 0xd8);
}

static void invalidate_pcid(void)
{
    unsigned how = below(4), s = pcids ? below(SPACES) : space, page = below(PAGES);

    if (!pcids)
        how = 2 + below(2);
    note("invpcid %u of space %u page %u; ", how, s, page);
    if (how == 0)
        flush_page(s, page);
    for (unsigned i = 0; i < SPACES; i++)
        if (how >= 2 || (how == 1 && i == s))
            flush_space(i);
    emit_load(X86_RAX, pcids ? s + 1 : 0);
    emit_load(X86_RCX, (uint32_t)(LINEAR + page * 4096));
    EMIT(0x51, 0x50);                             /* push rcx; push rax */
    emit_load(X86_RAX, how);
    EMIT(0x66, 0x0f, 0x38, 0x82, 0x04, 0x24);     /* invpcid rax, [rsp] */
    EMIT(0x48, 0x83, 0xc4, 0x10);                 /* add rsp, 16 */
}

/* By the address at which RAM is mapped for the supervisor; no flush is needed. */
static void change_code(void)
{
    unsigned frame = below(FRAMES);

    constant[frame] = (uint16_t)(0x1000 + below(0x1000));
    note("frame %u returns %x; ", frame, constant[frame]);
    EMIT(0xc7, 0x04, 0x25); /* mov dword [address], constant */
    at = put32(put32(at, CODE_FRAMES + frame * 4096 + CONSTANT + 1), constant[frame]);
}

static void call(void)
{
    struct expectation *e = &expected[count];
    unsigned page = below(CODE_PAGES - 1), data = below(DATA_PAGES);
    bool user = below(2);

    *e = (struct expectation){.function = functions[below(ARRAY_SIZE(functions))], .frames = possible[space][page],
                              .next_frames = possible[space][page + 1], .data_frames = possible[space][CODE_PAGES + data],
                              .offset = 4 * count, .stored = 0x5000000 + count};
    memcpy(e->constant, constant, sizeof(constant));
    snprintf(e->text, sizeof(e->text), "%s calls %x in page %u of space %u, data page %u", user ? "user" : "supervisor", e->function,
             page, space, data);
    note("%s (%u); ", e->text, count);
    emit_load(X86_RSI, e->stored);
    emit_load(X86_RDI, (uint32_t)(USER_STACK - (DATA_PAGES - data) * 4096 + e->offset));
    emit_load(X86_RAX, (uint32_t)(LINEAR + page * 4096 + e->function));
    EMIT(0x48, 0x8d, 0x1d, (uint8_t)(user ? 32 : 5), 0, 0, 0, 0x49, 0x89, 0xe7); /* lea rbx, [behind]; mov r15, rsp */
    if (user) {
        emit_load(X86_RSP, (uint32_t)USER_STACK + 0x800);
        EMIT(0x48, 0xc7, 0x04, 0x24); /* mov qword [rsp], USER_RETURN: as supervisor, which may */
        at = put32(at, (uint32_t)USER_RETURN);
        EMIT(0x48, 0x89, 0xc1, 0x41, 0xbb, 2, 0, 0, 0, 0x48, 0x0f, 0x07, 0x90); /* mov rcx, rax; mov r11d, 2; sysretq */
        EMIT(0x90, 0x90, 0x90);
    } else {
        EMIT(0xff, 0xd0); /* call rax */
    }
    EMIT(0x89, 0x04, 0x25); /* behind: mov [result], eax */
    at = put32(at, RESULTS + 4 * count);
    count++;
}

static void make_program(unsigned operations)
{
    static void (*const others[])(void) = {change_mapping, change_mapping, change_mapping, invalidate_page,
                                           invalidate_page, load_cr3, invalidate_pcid, change_code};

    at = program;
    history[0] = '\0';
    count = 0;
    for (unsigned i = 0; i < operations; i++)
        if (below(3) != 0)
            call();
        else
            others[below(ARRAY_SIZE(others))]();
    EMIT(0xe6, STOP_PORT, 0xeb, 0xfe);
}

/* --- what came out -------------------------------------------------------------------------------------------------------------- */

static bool may_fault(const struct expectation *e)
{
    unsigned nowhere = 1u << NOWHERE, pages = e->frames;

    if (e->function == JUMP_ON || e->function == CALL_ON || e->function == CUT)
        pages |= e->next_frames;
    if (e->function == STORE || e->function == PUSH || e->function == TAIL)
        pages |= e->data_frames;
    return (pages & nowhere) != 0;
}

static uint32_t result_of(const struct expectation *e, unsigned frame, unsigned next)
{
    switch (e->function) {
    case CONSTANT: return e->constant[frame];
    case JUMP_ON: return e->constant[next];
    case CALL_ON: return e->constant[next] + (number_of(frame) << 16);
    case LOOP: return 3 * number_of(frame);
    case CUT: return number_of(frame) | number_of(next) << 16;
    default: return e->stored;
    }
}

static bool result_allowed(const struct expectation *e, uint32_t result)
{
    for (unsigned frame = 0; frame < FRAMES; frame++)
        for (unsigned next = 0; next < FRAMES; next++)
            if ((e->frames >> frame & 1) && (e->next_frames >> next & 1) && result_of(e, frame, next) == result)
                return true;
    /* Those that use one page only. */
    for (unsigned frame = 0; frame < FRAMES; frame++)
        if ((e->frames >> frame & 1) && e->function != JUMP_ON && e->function != CALL_ON && e->function != CUT &&
            result_of(e, frame, 0) == result)
            return true;
    return result == FAULT && may_fault(e);
}

/* What was stored is in one of the frames where it may be, and in no other. */
static bool store_allowed(const struct expectation *e, uint32_t result)
{
    unsigned found = 0;

    if (result == FAULT || (e->function != STORE && e->function != PUSH && e->function != TAIL))
        return true;
    for (unsigned frame = 0; frame < FRAMES; frame++)
        if (load_le32(ram + DATA_FRAMES + frame * 4096 + e->offset) == e->stored)
            found |= 1u << frame;
    return found != 0 && (found & ~e->data_frames) == 0;
}

static bool check(void)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t result = load_le32(ram + RESULTS + 4 * i);

        if (result_allowed(&expected[i], result) && store_allowed(&expected[i], result))
            continue;
        printf("%s\nDIFFERS: call %u, %s, gave %x; frames it may run in %x, then %x; data %x\n", history, i, expected[i].text, result,
               expected[i].frames, expected[i].next_frames, expected[i].data_frames);
        return false;
    }
    return true;
}

static bool round_of(unsigned operations)
{
    struct exit stop;

    pcids = below(3) != 0;
    for (unsigned s = 0; s < SPACES; s++)
        flush_space(s);
    for (unsigned frame = 0; frame < FRAMES; frame++)
        fill_frame(frame);
    write_tables();
    set_state();
    make_program(operations);
    memset(ram + RESULTS, 0xee, 4 * count);
    memset(ram + DATA_FRAMES, 0, FRAMES * 4096);
    if (memory_write(memory, PROGRAM, program, (size_t)(at - program)) < 0)
        return false;
    for (unsigned frame = 0; frame < FRAMES; frame++) /* tells the engine what fill_frame() has done */
        memory_wrote(memory, CODE_FRAMES + frame * 4096, 4096);
    type->vcpu_run(vcpu, &stop);
    if (stop.kind == EXIT_KICKED)
        return check();
    printf("%s\nDIFFERS: the guest ended: %s\n", history, stop.message);
    return false;
}

/* --- the machine ---------------------------------------------------------------------------------------------------------------- */

static uint64_t on_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    return 0;
}

static void on_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    type->vcpu_kick(vcpu);
}

static int on_acknowledge(void *ctx, unsigned cpu)
{
    return -1;
}

static void on_notice(void *ctx, const char *sentence)
{
    printf("%s\n", sentence);
}

static bool make_machine(const char *engine)
{
    static struct cpuid_table supported, cpuid;
    const char *options = strchr(engine, ',');
    struct engine_config config = {.cpus = 1, .options = options != NULL ? options + 1 : NULL,
                                   .hooks = {.port_read = on_read, .port_write = on_write, .interrupt_acknowledge = on_acknowledge,
                                             .notice = on_notice}};
    char name[16];

    snprintf(name, sizeof(name), "%.*s", (int)strcspn(engine, ","), engine);
    if (engine_choose(name, &type, NULL, 0, NULL) < 0 || type->supported_cpuid(&supported, NULL) < 0 || memory_new(&memory, NULL) < 0 ||
        memory_add(memory, 0, RAM_SIZE, false, NULL) < 0 ||
        cpuid_build(&(struct cpuid_request){.model = "max", .supported = &supported, .cpus = 1, .tsc_khz = 1000000}, &cpuid, NULL) < 0)
        return false;
    config.memory = memory;
    if (type->vm_new(&config, &vm, NULL) < 0 || type->vcpu_new(vm, 0, &cpuid, &vcpu, NULL) < 0)
        return false;
    ram = memory_pointer(memory, 0, RAM_SIZE);
    return true;
}

int main(int argc, char **argv)
{
    unsigned long seed, rounds, operations, calls = 0;
    bool good = true;

    if (argc != 5) {
        fprintf(stderr, "usage: isa_remap ENGINE SEED ROUNDS OPERATIONS\n");
        return 2;
    }
    seed = strtoul(argv[2], NULL, 0);
    rounds = strtoul(argv[3], NULL, 0);
    operations = strtoul(argv[4], NULL, 0);
    expected = calloc(operations, sizeof(*expected));
    if (operations > 1000 || expected == NULL || !make_machine(argv[1])) {
        fprintf(stderr, "isa_remap: no such guest, or more than 1000 operations\n");
        return 2;
    }
    for (unsigned long i = 0; i < rounds && good; i++) {
        numbers.s = seed + i;
        good = round_of((unsigned)operations);
        calls += count;
        if (!good)
            printf("isa_remap %s %lu 1 %lu\n", argv[1], seed + i, operations);
    }
    printf("%lu calls, %s\n", calls, good ? "0 differ" : "one differs");
    type->vcpu_free(vcpu);
    type->vm_free(vm);
    memory_free(memory);
    free(expected);
    return good ? 0 : 1;
}
