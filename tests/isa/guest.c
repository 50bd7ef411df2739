/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest runner: a VM without devices in long mode. Exceptions go to supervisor stubs that write a port, whose hook
 * stops the vCPU; what the case left is then in the CPU's state and in the frame on the supervisor's stack. */
#include "isa.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/bits.h"
#include "engine/engine.h"
#include "memory/memory.h"
#include "x86/cpuid.h"
#include "x86/state.h"
#include "x86/xsave.h"

enum { /* guest-physical; the lower 2 MiB are mapped at their own addresses for the supervisor */
    PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000, GDT = 0x5000, IDT = 0x6000, TSS = 0x7000,
    STUBS = 0x8000, STACK_TOP = 0xb000, RAM_SIZE = 0x200000,
};
static const uint32_t code_page[ISA_CODE_SIZE / 4096] = {0x10000, 0x14000};
static const uint32_t data_page[ISA_DATA_SIZE / 4096] = {0x13000, 0x11000};
enum { SELECTOR_TSS = 0x08, SELECTOR_USER32 = 0x23, SELECTOR_DATA = 0x2b, SELECTOR_USER64 = 0x33, SELECTOR_KERNEL = 0x38 };
enum { STUB_SIZE = 16, STOP_PORT = 0x80 };

struct isa_guest {
    const struct engine_type *type;
    struct memory *memory;
    struct engine_vm *vm;
    struct engine_vcpu *vcpu;
    struct cpuid_table cpuid;
    uint8_t *ram;
    uint8_t code[ISA_CODE_SIZE]; /* what was last written to the code pages */
};

static uint64_t on_port_read(void *ctx, unsigned cpu, uint16_t port, unsigned size)
{
    (void)ctx, (void)cpu, (void)port;
    return truncate_to(UINT64_MAX, size);
}

static void on_port_write(void *ctx, unsigned cpu, uint16_t port, unsigned size, uint64_t value)
{
    struct isa_guest *g = ctx;

    (void)cpu, (void)port, (void)size, (void)value;
    g->type->vcpu_kick(g->vcpu);
}

static uint64_t on_mmio_read(void *ctx, unsigned cpu, uint64_t address, unsigned size)
{
    (void)ctx, (void)cpu, (void)address;
    return truncate_to(UINT64_MAX, size);
}

static void on_mmio_write(void *ctx, unsigned cpu, uint64_t address, unsigned size, uint64_t value)
{
    (void)ctx, (void)cpu, (void)address, (void)size, (void)value;
}

static int on_acknowledge(void *ctx, unsigned cpu)
{
    (void)ctx, (void)cpu;
    return -1;
}

static void on_notice(void *ctx, const char *sentence) /* what the lock-step mode found */
{
    (void)ctx;
    fprintf(stderr, "%s\n", sentence);
}

/* A case that does not end by itself. */
static struct isa_guest *timed;

static void on_alarm(int number)
{
    (void)number;
    timed->type->vcpu_kick(timed->vcpu);
}

static void run_timed(struct isa_guest *g, struct exit *ret_stop)
{
    static const struct itimerval limit = {.it_value = {.tv_sec = 5}}, off;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};

    timed = g;
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_PROF, &limit, NULL); /* the machine may have other work */
    g->type->vcpu_run(g->vcpu, ret_stop);
    setitimer(ITIMER_PROF, &off, NULL);
}

static void write_tables(struct isa_guest *g)
{
    enum { PRESENT = 1, WRITABLE = 2, USER = 4, LARGE = 0x80 };
    const uint64_t no_execute = BIT(63);
    uint8_t *m = g->ram;

    store_le64(m + PML4, PDPT | PRESENT | WRITABLE | USER);
    store_le64(m + PML4 + 8 * (ISA_UPPER_STACK >> 39 & 511), PDPT | PRESENT | WRITABLE | USER);
    store_le64(m + PML4 + 8 * (ISA_UPPER_DATA >> 39 & 511), PDPT | PRESENT | WRITABLE | USER);
    store_le64(m + PDPT, PD | PRESENT | WRITABLE | USER);
    store_le64(m + PD, 0 | PRESENT | WRITABLE | LARGE);
    store_le64(m + PD + 8 * (ISA_CODE >> 21), PT | PRESENT | WRITABLE | USER);
    for (unsigned i = 0; i < ISA_CODE_SIZE / 4096; i++)
        store_le64(m + PT + 8 * ((ISA_CODE >> 12 & 511) + i), code_page[i] | PRESENT | WRITABLE | USER);
    for (unsigned i = 0; i < ISA_DATA_SIZE / 4096; i++)
        store_le64(m + PT + 8 * ((ISA_DATA >> 12 & 511) + i), data_page[i] | PRESENT | WRITABLE | USER | no_execute);
    store_le64(m + GDT + SELECTOR_TSS, UINT64_C(0x0000890000000067) | (uint64_t)TSS << 16);
    store_le64(m + GDT + 0x20, UINT64_C(0x00cffb000000ffff));
    store_le64(m + GDT + 0x28, UINT64_C(0x00cff3000000ffff));
    store_le64(m + GDT + 0x30, UINT64_C(0x00affb000000ffff));
    store_le64(m + GDT + 0x38, UINT64_C(0x00af9b000000ffff));
    store_le64(m + TSS + 4, STACK_TOP);
    store_le16(m + TSS + 102, 0x68); /* no I/O permission bitmap */
    for (unsigned i = 0; i < 256; i++) {
        uint64_t stub = STUBS + i * STUB_SIZE, dpl = i == 3 || i == 4 ? 3 : 0;

        store_le64(m + IDT + 16 * i,
                   (stub & 0xffff) | (uint64_t)SELECTOR_KERNEL << 16 | UINT64_C(0x8e00) << 32 | dpl << 45);
        memcpy(m + stub, (const uint8_t[]){0xe6, STOP_PORT, 0xeb, 0xfe}, 4); /* out, al; jmp . */
    }
}

struct isa_guest *isa_guest_new(const char *engine)
{
    struct isa_guest *g = calloc(1, sizeof(*g));
    const char *options = strchr(engine, ',');
    char name[16];
    struct engine_config config = {
        .cpus = 1, .use_irqchip = strcmp(engine, "kvm") == 0, .options = options != NULL ? options + 1 : NULL};
    struct err err = ERR_INIT;
    struct cpuid_table supported;

    isa_dead_flags = strncmp(engine, "dbt", 3) == 0 && (options == NULL || (strstr(options, "flags=exact") == NULL &&
                                                                            strstr(options, "tier=interp") == NULL));
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(engine, ","), engine);
    if (engine_choose(name, &g->type, NULL, 0, &err) < 0 || g->type->supported_cpuid(&supported, &err) < 0 ||
        memory_new(&g->memory, &err) < 0 || memory_add(g->memory, 0, RAM_SIZE, false, &err) < 0 ||
        cpuid_build(&(struct cpuid_request){.model = "max", .supported = &supported, .cpus = 1, .tsc_khz = 1000000},
                    &g->cpuid, &err) < 0)
        goto fail;
    config.memory = g->memory;
    config.hooks = (struct engine_hooks){.ctx = g,
                                         .port_read = on_port_read,
                                         .port_write = on_port_write,
                                         .mmio_read = on_mmio_read,
                                         .mmio_write = on_mmio_write,
                                         .interrupt_acknowledge = on_acknowledge,
                                         .notice = on_notice};
    if (g->type->vm_new(&config, &g->vm, &err) < 0 || g->type->vcpu_new(g->vm, 0, &g->cpuid, &g->vcpu, &err) < 0)
        goto fail;
    g->ram = memory_pointer(g->memory, 0, RAM_SIZE);
    write_tables(g);
    return g;
fail:
    printf("SKIPPED: no guest: %s\n", err.message);
    isa_guest_free(g);
    return NULL;
}

void isa_guest_free(struct isa_guest *g)
{
    if (g == NULL)
        return;
    if (g->vcpu != NULL)
        g->type->vcpu_free(g->vcpu);
    if (g->vm != NULL)
        g->type->vm_free(g->vm);
    memory_free(g->memory);
    free(g);
}

bool isa_guest_cpuid(const struct isa_guest *g, uint32_t leaf, uint32_t subleaf, unsigned reg, unsigned bit)
{
    uint32_t r[4];

    cpuid_query(&g->cpuid, leaf, subleaf, r);
    return r[reg] >> bit & 1;
}

static struct x86_segment flat(uint16_t selector, unsigned type, bool l, bool db)
{
    return (struct x86_segment){.limit = UINT32_MAX,
                                .selector = selector,
                                .type = (uint8_t)type,
                                .s = 1,
                                .dpl = 3,
                                .present = 1,
                                .l = l,
                                .db = db,
                                .g = 1};
}

static void fill_state(const struct isa_case *c, struct x86_state *s)
{
    x86_state_reset(s, true);
    memcpy(s->gpr, c->state.gpr, sizeof(s->gpr));
    s->rip = c->state.rip;
    s->rflags = c->state.rflags | 0x202;
    s->segment[X86_CS] = flat(c->compat ? SELECTOR_USER32 : SELECTOR_USER64, 0xb, !c->compat, c->compat);
    for (unsigned i = 0; i < X86_SEGMENT_COUNT; i++) {
        if (i != X86_CS)
            s->segment[i] = flat(SELECTOR_DATA, 3, false, true);
    }
    s->tr = (struct x86_segment){.base = TSS, .limit = 0x67, .selector = SELECTOR_TSS, .type = 0xb, .present = 1};
    s->gdtr = (struct x86_table){.base = GDT, .limit = 0x3f};
    s->idtr = (struct x86_table){.base = IDT, .limit = 0xfff};
    s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
    s->cr3 = PML4;
    s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
    s->msr.efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
    s->xcr0 = X86_XSTATE_X87 | X86_XSTATE_SSE | X86_XSTATE_AVX;
    memset(s->xsave, 0, sizeof(s->xsave));
    memcpy(s->xsave, c->state.fxsave, 416);
    memcpy(s->xsave + x86_xstate_components[2].offset, c->state.ymm_high, 256);
    store_le64(s->xsave + X86_XSAVE_XSTATE_BV, s->xcr0);
}

static bool has_error_code(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static void read_result(struct isa_guest *g, const struct x86_state *s, struct isa_result *r)
{
    uint64_t bv = load_le64(s->xsave + X86_XSAVE_XSTATE_BV);
    const uint8_t *frame;

    r->vector = (int)((s->rip - STUBS) / STUB_SIZE);
    r->address = r->vector == 14 ? s->cr2 : 0;
    frame = g->ram + STACK_TOP - (has_error_code((unsigned)r->vector) ? 48 : 40) +
            (has_error_code((unsigned)r->vector) ? 8 : 0);
    memcpy(r->state.gpr, s->gpr, sizeof(s->gpr));
    r->state.rip = load_le64(frame);
    r->state.rflags = load_le64(frame + 16);
    r->state.gpr[X86_RSP] = load_le64(frame + 24);
    memcpy(r->state.fxsave, s->xsave, 416);
    if (!(bv & X86_XSTATE_SSE))
        memset(r->state.fxsave + X86_XSAVE_XMM, 0, 256);
    memset(r->state.ymm_high, 0, 256);
    if (bv & X86_XSTATE_AVX)
        memcpy(r->state.ymm_high, s->xsave + x86_xstate_components[2].offset, 256);
}

static void write_page(struct isa_guest *g, uint32_t page, const uint8_t *bytes)
{
    memcpy(g->ram + page, bytes, 4096);
    memory_wrote(g->memory, page, 4096);
}

static void write_code(struct isa_guest *g, const struct isa_case *c)
{
    memset(g->code, 0xf4, sizeof(g->code)); /* HLT */
    memcpy(g->code + c->start, c->code, c->code_size);
    for (unsigned i = 0; i < ISA_CODE_SIZE / 4096; i++)
        write_page(g, code_page[i], g->code + 4096 * i);
}

static bool code_is_unchanged(const struct isa_guest *g)
{
    return memcmp(g->ram + code_page[0], g->code, 4096) == 0 && memcmp(g->ram + code_page[1], g->code + 4096, 4096) == 0;
}

static void read_code(const struct isa_guest *g, const struct isa_case *c, struct isa_result *r)
{
    for (unsigned i = 0; i < c->code_size; i++)
        r->code[i] = g->ram[code_page[(c->start + i) >> 12] + (c->start + i) % 4096];
}

void isa_guest_run(struct isa_guest *g, const struct isa_case *c, bool again, struct isa_result *ret_result)
{
    static struct x86_state state; /* large */
    struct err err = ERR_INIT;
    struct exit stop;

    memset(ret_result, 0, sizeof(*ret_result));
    ret_result->vector = -1;
    if (!again || !code_is_unchanged(g))
        write_code(g, c);
    for (unsigned i = 0; i < ISA_DATA_SIZE / 4096; i++)
        write_page(g, data_page[i], c->data + 4096 * i);
    fill_state(c, &state);
    if (g->type->vcpu_set_state(g->vcpu, &state, &err) < 0) {
        fprintf(stderr, "isa: %s\n", err.message);
        return;
    }
    run_timed(g, &stop);
    if (g->type->vcpu_get_state(g->vcpu, &state, &err) < 0 || stop.kind != EXIT_KICKED || state.rip < STUBS ||
        state.rip >= STUBS + 256 * STUB_SIZE) {
        fprintf(stderr, "isa: exit %d at %#llx: %s\n", (int)stop.kind, (unsigned long long)state.rip, stop.message);
        if (stop.kind == EXIT_ERROR) /* it is not to be used again */
            exit(1);
        return;
    }
    read_result(g, &state, ret_result);
    for (unsigned i = 0; i < ISA_DATA_SIZE / 4096; i++)
        memcpy(ret_result->data + 4096 * i, g->ram + data_page[i], 4096);
    read_code(g, c, ret_result);
}
